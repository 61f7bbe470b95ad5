"""Feature matrices: HDF5 files, and files that have rows for more images than are used."""

import re
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io

from data_tools.pipeline import prepare
from data_tools.settings import Settings
from data_tools.sources import image_features, manifest
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


@pytest.mark.parametrize("ending", [".h5", ".hdf5"])
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


# --- Arrays by name, names beside them, MATLAB --------------------------------------------


def manifest_of(*ids: str) -> pd.DataFrame:
    rows = [
        {"image_id": name, "path": f"x/{name}.jpg", "tags": [], "labels": ["a"]} for name in ids
    ]
    return manifest.from_rows(enumerate(rows, 1), "here", "|")


@pytest.mark.parametrize("ending", [".npz", ".h5"])
@pytest.mark.parametrize("key", ["names", "image_names", "ids", "fileNames"])
def test_rows_follow_the_names_beside_them(tmp_path: Path, ending: str, key: str) -> None:
    array = np.arange(8.0).reshape(4, 2)
    names = np.array(["c.jpg", "folder/a.jpg", "b", "unused"])
    path = tmp_path / f"f{ending}"
    if ending == ".npz":
        np.savez(path, features=array, **{key: names})
    else:
        hdf5(path, features=array, **{key: np.char.encode(names)})
    images = manifest_of("a", "b", "c")
    found = image_features.from_file(path, 3, images=images)
    np.testing.assert_array_equal(read(found), array[[1, 2, 0]])
    with pytest.raises(InputError, match="must have each image once; 'd' is not so"):
        image_features.from_file(path, 4, images=manifest_of("a", "b", "c", "d"))


def test_names_that_are_numbers_and_names_twice(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", phi=np.arange(3)[:, None], ids=np.array([30, 10, 20]))
    found = image_features.from_file(tmp_path / "f.npz", 2, images=manifest_of("10", "30"))
    assert read(found)[:, 0].tolist() == [1, 0]
    np.savez(tmp_path / "f.npz", phi=np.arange(3)[:, None], ids=np.array([10, 10, 20]))
    with pytest.raises(InputError, match="must have each image once; '10' is not so"):
        image_features.from_file(tmp_path / "f.npz", 2, images=manifest_of("10", "20"))
    np.savez(tmp_path / "f.npz", phi=np.arange(3)[:, None], ids=np.array([10, 20]))
    with pytest.raises(InputError, match="ids must name each of the 3 rows of phi; received 2"):
        image_features.from_file(tmp_path / "f.npz", 2, images=manifest_of("10", "20"))


@pytest.mark.parametrize("ending", [".npz", ".h5"])
def test_an_array_is_chosen_by_its_name(table, tmp_path: Path, ending: str) -> None:
    arrays = {"phi": table.phi, "other": -table.phi, "labels": np.arange(60)}
    path = tmp_path / f"f{ending}"
    np.savez(path, **arrays) if ending == ".npz" else hdf5(path, **arrays)
    with pytest.raises(
        InputError, match=r"exactly one array; received labels, other, phi \(choose"
    ):
        image_features.from_file(path, 60)
    with pytest.raises(InputError, match="has no array 'psi'; received labels, other, phi"):
        image_features.from_file(Path(f"{path}:psi"), 60)
    settings = table.settings(
        features=Path(f"{path}:phi"), pools=("train",), encodings=("id",), splits=1
    )
    prepare(settings, tmp_path / "out")
    first = PreparedDataset(tmp_path / "out").features
    np.testing.assert_array_equal(first, table.phi.astype(np.float16))
    other = table.settings(
        features=Path(f"{path}:other"), pools=("train",), encodings=("id",), splits=1
    )
    prepare(other, tmp_path / "out")  # the file is the same
    np.testing.assert_array_equal(PreparedDataset(tmp_path / "out").features, -first)


@pytest.mark.parametrize("rows", [6, 10])
@pytest.mark.parametrize("ending", [".mat", ".h5"])
def test_matlab_stores_arrays_transposed(
    tmp_path: Path, small_blocks: None, rows: int, ending: str
) -> None:
    array = np.random.default_rng(0).random([10, rows])
    path = hdf5(tmp_path / f"f{ending}", feat=array.T)
    with h5py.File(path, "a") as file:
        file["feat"].attrs["MATLAB_class"] = np.bytes_("double")
        file["name"] = np.zeros([1, 4], np.uint16)
        file["name"].attrs["MATLAB_class"] = np.bytes_("char")
    np.testing.assert_array_equal(
        read(image_features.from_file(path, 10)), array.astype(np.float32)
    )
    chosen = np.array([9, 0, 4])
    found = image_features.from_file(path, 3, {10: chosen})
    np.testing.assert_array_equal(read(found), array[chosen].astype(np.float32))


def test_matlab_of_old(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "f.mat", {"feat": np.zeros([3, 2])})
    with pytest.raises(InputError, match="is of MATLAB's older format; save it by save"):
        image_features.from_file(tmp_path / "f.mat", 3)


def test_several_files_are_one_below_the_other(tmp_path: Path, small_blocks: None) -> None:
    array = np.random.default_rng(0).random([11, 3], np.float32)
    np.save(tmp_path / "a.npy", array[:5])
    np.savez(tmp_path / "b.npz", x=array[5:7], y=array[:1])
    hdf5(tmp_path / "c.h5", phi=array[7:])
    text = Path(f"{tmp_path}/a.npy,{tmp_path}/b.npz:x,{tmp_path}/c.h5")
    np.testing.assert_array_equal(read(image_features.from_file(text, 11)), array)
    order = np.array([10, 0, 6, 3])
    found = image_features.from_file(text, 4, {11: order})
    np.testing.assert_array_equal(read(found), array[order])
    np.save(tmp_path / "a.npy", array[:5, :2])
    with pytest.raises(
        InputError, match=r"b\.npz: must have as many features .*\[2\]; received \[3\]"
    ):
        image_features.from_file(text, 11)


def test_features_that_float16_makes_0(tmp_path: Path) -> None:
    array = np.full([3, 2], 1e-9)
    array[0] = 0  # an image without features is one
    np.save(tmp_path / "f.npy", array)
    (tmp_path / "f.npy").rename(tmp_path / "f.NPY")
    with pytest.raises(InputError, match="row 2: features below 6e-08 are 0 in float16"):
        read(image_features.from_file(tmp_path / "f.NPY", 3))
