"""Feature matrices: HDF5 files, and files that have rows for more images than are used."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from data_tools.pipeline import prepare
from data_tools.settings import Settings
from data_tools.sources import image_features
from tagnet.data.dataset import PreparedDataset
from tagnet.errors import InputError


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_features, "BLOCK", 4)


def hdf5(path: Path, **arrays: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name.replace("__", "/")] = array
    return path


def read(features: image_features.Features) -> np.ndarray:
    return np.concatenate(list(features.blocks()))


@pytest.mark.parametrize("ending", image_features.HDF5)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8])
def test_one_array_anywhere_in_the_file(tmp_path: Path, ending: str, dtype: type) -> None:
    array = np.arange(30).reshape(10, 3).astype(dtype)
    path = hdf5(tmp_path / f"f{ending}", fc7__values=array)
    features = image_features.from_file(path, 10)
    assert features.dim == 3
    assert read(features).dtype == np.float32
    np.testing.assert_array_equal(read(features), array)


def test_a_table_takes_hdf5(table, tmp_path: Path) -> None:
    path = hdf5(tmp_path / "f.h5", phi=table.phi)
    settings = table.settings(features=path, pools=("train",), encodings=("id",), splits=1)
    prepare(settings, tmp_path / "out")
    stored = PreparedDataset(tmp_path / "out").features
    np.testing.assert_array_equal(stored, table.phi.astype(np.float16))


@pytest.mark.parametrize(
    "rows",
    [
        [0, 1, 2, 4, 5, 8, 9, 17],  # each block within twice its rows: read as ranges
        [3, 0, 2, 1, 9, 6, 8, 7],  # in ranges, out of order
        [19, 0, 7, 3, 12, 1, 18, 5],  # too far apart: read row by row
    ],
)
@pytest.mark.parametrize("ending", [".npy", ".npz", ".h5"])
def test_rows_are_chosen(tmp_path: Path, small_blocks: None, rows: list[int], ending: str) -> None:
    array = np.random.default_rng(0).random([20, 3], np.float32)
    path = tmp_path / f"f{ending}"
    if ending == ".h5":
        hdf5(path, phi=array)
    elif ending == ".npz":
        np.savez(path, array)
    else:
        np.save(path, array)
    features = image_features.from_file(path, 8, {20: np.array(rows), 8: np.arange(8)})
    np.testing.assert_array_equal(read(features), array[rows])


def test_the_number_of_rows_says_whose_they_are(tmp_path: Path) -> None:
    orders = {20: np.array([3, 5]), 2: np.array([1, 0])}
    for rows, expected in [(20, [3, 5]), (2, [1, 0])]:
        np.save(tmp_path / "f.npy", np.arange(rows)[:, None])
        features = image_features.from_file(tmp_path / "f.npy", 2, orders)
        assert read(features)[:, 0].tolist() == expected
    np.save(tmp_path / "f.npy", np.zeros([3, 1]))
    message = r"must have one row per image \(20 or 2\); received 3 rows"
    with pytest.raises(InputError, match=message):
        image_features.from_file(tmp_path / "f.npy", 2, orders)


def test_a_bad_number_is_named_by_its_row_in_the_file(tmp_path: Path) -> None:
    array = np.zeros([20, 3])
    array[12, 1] = np.nan
    path = hdf5(tmp_path / "f.h5", phi=array)
    with pytest.raises(InputError, match=r"f\.h5: row 13, column 2: a feature must be finite"):
        read(image_features.from_file(path, 2, {20: np.array([5, 12])}))


def test_files_that_are_something_else(tmp_path: Path) -> None:
    array = np.zeros([3, 2])
    whole = hdf5(tmp_path / "whole.h5", a=array).read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[:-1])
    (tmp_path / "text.h5").write_text("1,2")
    (tmp_path / "empty.h5").write_bytes(b"")
    (tmp_path / "folder.h5").mkdir()
    with h5py.File(tmp_path / "null.h5", "w") as file:
        file["a"] = h5py.Empty("f4")
    for path, message in [
        (hdf5(tmp_path / "two.h5", a=array, b__c=array), "exactly one array; received a, b/c"),
        (hdf5(tmp_path / "none.h5"), "exactly one array; received none"),
        (tmp_path / "null.h5", "exactly one array; received none"),
        (hdf5(tmp_path / "words.h5", a=np.array([[b"x"]])), "of numbers; received |S1 [1, 1]"),
        (hdf5(tmp_path / "scalar.h5", a=np.float32(1)), "of numbers; received float32 []"),
        (tmp_path / "cut.h5", "is not a valid HDF5 file ("),
        (tmp_path / "text.h5", "is not a valid HDF5 file ("),
        (tmp_path / "empty.h5", "is not a valid HDF5 file ("),
        (tmp_path / "folder.h5", "cannot be read (Is a directory)"),
        (tmp_path / "absent.h5", "cannot be read (No such file or directory)"),
    ]:
        with pytest.raises(InputError, match=re.escape(message)) as caught:
            image_features.from_file(path, 3)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_damaged_block_is_named(tmp_path: Path) -> None:
    array = np.random.default_rng(0).random([10, 300])
    with h5py.File(tmp_path / "f.h5", "w") as file:
        stored = file.create_dataset("phi", data=array, chunks=(10, 300), fletcher32=True)
        at = stored.id.get_chunk_info(0).byte_offset
    content = bytearray((tmp_path / "f.h5").read_bytes())
    content[at + 50] ^= 255
    (tmp_path / "f.h5").write_bytes(content)
    features = image_features.from_file(tmp_path / "f.h5", 10)
    with pytest.raises(InputError, match=r"f\.h5: rows 1 to 10 cannot be read \("):
        read(features)


def test_any_damaged_byte_is_one_line_or_none(tmp_path: Path) -> None:
    whole = hdf5(tmp_path / "f.h5", phi=np.arange(40.0).reshape(10, 4)).read_bytes()
    with h5py.File(tmp_path / "f.h5") as file:
        header = h5py.h5o.get_info(file["phi"].id).addr  # says shape, type and place
    refused = 0
    for at in [*range(100), *range(header, header + 300)]:
        content = bytearray(whole)
        content[at] ^= 255
        (tmp_path / "f.h5").write_bytes(content)
        try:
            read(image_features.from_file(tmp_path / "f.h5", 10))
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 100  # else nothing of importance was hit


def test_a_table_without_features_or_photographs(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("image_id,tags,labels\na,sea|sky,x\nb,sea,x\nc,sky,y\nd,sea|sky,y\n")
    given = {"raw": path, "sizes": "2,1,1", "M": 1, "pools": ("open",)}
    with pytest.raises(InputError, match="every image must have a path .or give --features.; 'a'"):
        prepare(Settings.of(**given), tmp_path / "out")
    prepare(Settings.of(**given, tags_only=True), tmp_path / "out")
    data = PreparedDataset(tmp_path / "out")
    assert data.features.shape == (4, 0)
    with pytest.raises(InputError, match="prepared with --tags_only"):
        data.tables(None)
