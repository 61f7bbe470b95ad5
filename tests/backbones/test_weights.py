"""Published weights: what is read from them, and what a malicious or damaged file gets."""

from pathlib import Path

import numpy as np
import pytest
from helpers.weights import BIAS, KERNEL, Stored, Tensor, caffemodel, torch_modules, write_pth

from tagnet.backbones.weights import read_caffe_weights, read_torch_weights
from tagnet.errors import InputError

# --- PyTorch ----------------------------------------------------------------------------


@pytest.fixture
def torch(monkeypatch):
    return torch_modules(monkeypatch)


def test_tensors_are_read_with_their_offsets_and_strides(tmp_path, torch):
    floats = Stored(torch.FloatStorage, "7", np.arange(7, dtype="<f4"))
    longs = Stored(torch.LongStorage, "8", np.array([2**40], "<i8"))
    rebuild = torch._utils._rebuild_tensor_v2
    tensors = {
        "rows": Tensor(rebuild, floats, 1, (2, 3), (3, 1)),
        "columns": Tensor(rebuild, floats, 1, (2, 3), (1, 2)),
        "count": Tensor(rebuild, longs, 0, (), ()),
    }
    write_pth(tmp_path / "good.pth", tensors, [floats, longs])
    found = read_torch_weights(tmp_path / "good.pth")
    np.testing.assert_array_equal(found["rows"], [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(found["columns"], [[1, 3, 5], [2, 4, 6]])
    assert found["count"] == 2**40


class Malicious:
    def __reduce__(self):
        return exec, ("import tagnet; tagnet.was_attacked = True",)


def test_a_malicious_file_is_refused_and_runs_nothing(tmp_path):
    write_pth(tmp_path / "bad.pth", {"weight": Malicious()})
    with pytest.raises(InputError, match="bad.pth: asks for '__builtin__.exec'; a weight file may"):
        read_torch_weights(tmp_path / "bad.pth")
    import tagnet

    assert not hasattr(tagnet, "was_attacked")


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (8,), (1,)), (-1, (2,), (1,)), (0, (2, 4), (4, 2)), (3, (4,), (-1,)), (0, (0,), (1,))],
)
def test_a_tensor_beyond_its_storage_is_refused(tmp_path, torch, offset, shape, strides):
    floats = Stored(torch.FloatStorage, "7", np.zeros(7, "<f4"))
    tensor = Tensor(torch._utils._rebuild_tensor_v2, floats, offset, shape, strides)
    write_pth(tmp_path / "bad.pth", {"weight": tensor}, [floats])
    with pytest.raises(InputError, match="reaches beyond its storage"):
        read_torch_weights(tmp_path / "bad.pth")


def test_a_storage_longer_than_the_file_is_refused(tmp_path, torch):
    floats = Stored(torch.FloatStorage, "7", range(10**12))
    tensor = Tensor(torch._utils._rebuild_tensor_v2, floats, 0, (1,), (1,))
    write_pth(tmp_path / "bad.pth", {"weight": tensor})
    with pytest.raises(InputError, match="storage 7 is not one of floats or longs within the file"):
        read_torch_weights(tmp_path / "bad.pth")


def test_a_pickle_that_asks_for_much_memory_is_refused(tmp_path, torch):
    """An unpickler makes room for as many objects as the largest number that one is given."""
    write_pth(tmp_path / "bad.pth", {"weight": 1})
    content = (tmp_path / "bad.pth").read_bytes()
    (tmp_path / "bad.pth").write_bytes(b"\x80\x02Nr\xff\xff\xff\x7f." + content)
    with pytest.raises(InputError, match="bad.pth: .*object 2147483647 of a pickle with fewer"):
        read_torch_weights(tmp_path / "bad.pth")


def test_other_kinds_of_storage_are_refused(tmp_path, torch):
    doubles = Stored(torch.DoubleStorage, "7", np.zeros(1))
    tensor = Tensor(torch._utils._rebuild_tensor_v2, doubles, 0, (1,), (1,))
    write_pth(tmp_path / "bad.pth", {"weight": tensor}, [doubles])
    with pytest.raises(InputError, match="asks for 'torch.DoubleStorage'"):
        read_torch_weights(tmp_path / "bad.pth")


def test_a_storage_of_another_length_than_said_is_refused(tmp_path, torch):
    said = Stored(torch.FloatStorage, "7", np.zeros(3, "<f4"))
    tensor = Tensor(torch._utils._rebuild_tensor_v2, said, 0, (3,), (1,))
    held = Stored(torch.FloatStorage, "7", np.zeros(2, "<f4"))
    write_pth(tmp_path / "bad.pth", {"weight": tensor}, [held])
    with pytest.raises(InputError, match="storage 7 must have 3 numbers"):
        read_torch_weights(tmp_path / "bad.pth")


def test_a_weight_file_cut_off_anywhere_is_refused(tmp_path, torch):
    floats = Stored(torch.FloatStorage, "7", np.arange(3, dtype="<f4"))
    tensor = Tensor(torch._utils._rebuild_tensor_v2, floats, 0, (3,), (1,))
    path = tmp_path / "cut.pth"
    write_pth(path, {"weight": tensor}, [floats])
    contents = path.read_bytes()
    for length in range(len(contents)):
        path.write_bytes(contents[:length])
        with pytest.raises(InputError, match="cut.pth: "):
            read_torch_weights(path)


def test_another_format_or_no_file_is_refused(tmp_path):
    write_pth(tmp_path / "other.pth", {}, magic=5)
    with pytest.raises(InputError, match="is not a valid PyTorch weight file .the first number"):
        read_torch_weights(tmp_path / "other.pth")
    (tmp_path / "zip.pth").write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match="is not a valid PyTorch weight file"):
        read_torch_weights(tmp_path / "zip.pth")
    with pytest.raises(InputError, match="absent.pth: cannot be read"):
        read_torch_weights(tmp_path / "absent.pth")


# --- Caffe ------------------------------------------------------------------------------


def check(layers: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    assert list(layers) == ["conv1"]
    np.testing.assert_array_equal(layers["conv1"][0], KERNEL)
    np.testing.assert_array_equal(layers["conv1"][1], BIAS)


def test_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", conv1_weights=KERNEL, conv1_biases=BIAS)
    check(read_caffe_weights(tmp_path / "a.npz"))


@pytest.mark.parametrize(("shaped", "field"), [(True, "layer"), (False, "layers")])
def test_caffemodel(tmp_path: Path, shaped: bool, field: str) -> None:
    (tmp_path / "a.caffemodel").write_bytes(caffemodel(shaped, field))
    check(read_caffe_weights(tmp_path / "a.caffemodel"))


def varint(number: int) -> bytes:
    return bytes([number % 128 | 128]) + varint(number // 128) if number > 127 else bytes([number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def test_caffemodel_by_the_numbers_of_its_format(tmp_path: Path) -> None:
    """The bytes written by hand: field numbers as in Caffe's published caffe.proto."""
    blobs = b""
    for array in (KERNEL, BIAS):
        # BlobProto: shape = 7 { dim = 1, packed }, data = 5, packed; diff = 6 is to be skipped
        blob = field(7, field(1, bytes(array.shape))) + field(5, array.tobytes())
        blobs += field(7, blob + field(6, b"\0\0\0\0"))  # LayerParameter: blobs = 7
    layer = field(1, b"conv1") + field(2, b"Convolution") + blobs
    (tmp_path / "a.caffemodel").write_bytes(field(1, b"net") + field(100, layer))
    check(read_caffe_weights(tmp_path / "a.caffemodel"))


@pytest.mark.parametrize("name", ["a.npz", "a.caffemodel"])
def test_weights_of_caffe_cut_off_anywhere_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.npz":
        np.savez(path, conv1_weights=KERNEL, conv1_biases=BIAS)
    else:
        path.write_bytes(caffemodel(True, "layer"))
    contents = path.read_bytes()
    for length in range(len(contents)):
        path.write_bytes(contents[:length])
        try:
            layers = read_caffe_weights(path)
        except InputError as error:
            assert str(error).startswith(f"{path}: ")
            assert "\n" not in str(error)
        else:  # a message of protocol buffers may end after any field
            assert "conv1" not in layers
            assert name == "a.caffemodel"


@pytest.mark.parametrize(
    ("name", "contents", "line"),
    [
        ("a.pth", b"", "Caffe weights must end in .caffemodel, .npz"),
        ("a.npy", b"abc", "pickled .npy files are not supported; save the arrays with np.savez"),
        ("a.npz", b"abc", "is not a valid .npz file"),
        ("a.caffemodel", b"abc", "is not a valid file of layer weights ("),
    ],
)
def test_other_files_of_caffe_are_refused(
    tmp_path: Path, name: str, contents: bytes, line: str
) -> None:
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(InputError) as caught:
        read_caffe_weights(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert line in str(caught.value)


@pytest.mark.parametrize("name", ["absent.npz", "absent.caffemodel"])
def test_no_file_of_caffe_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"{name}: cannot be read .No such file"):
        read_caffe_weights(tmp_path / name)
