"""Arrays of features in files: `.npy`, `.npz`, HDF5, and MATLAB's HDF5 (`.mat`, -v7.3).

`FILE:NAME` chooses an array where a file has several; `FILE,FILE` are one below the other;
`FILE.zip:MEMBER` is unpacked, since parts of it are read at a time. Where
names of images are beside the features (`names`, `image_names`, `ids`, …) they say whose rows
these are. MATLAB stores its arrays transposed, and says so in an attribute.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from data_tools import packed
from data_tools.sources.cells import as_text, plain_name
from tagnet.errors import InputError, reason_of
from tagnet.system.files import read_arrays

HDF5 = (".h5", ".hdf5", ".mat")
ENDINGS = (".npy", ".npz", *HDF5)
NAMES = ("names", "imagenames", "ids", "imageids", "filenames", "imagefiles", "paths", "imagepaths")


@dataclass(frozen=True)
class FeatureFile:
    """A file, or one in a zip, and which of its arrays is meant; None for the only one."""

    path: Path
    array: str | None = None


@dataclass
class Opened:
    """What was found: numbers [rows, D] that can be sliced, and the names of the rows, if any."""

    array: Any
    names: list[str] | None = None


def parse(text: str | Path) -> list[FeatureFile]:
    """The files that `--features` names.

    >>> parse("a.h5:group/phi,b.npy")[0].array
    'group/phi'
    """
    if os.path.exists(text):
        return [FeatureFile(Path(text))]
    files = []
    for part in str(text).split(","):
        path, _, array = part.rpartition(":")
        if path.lower().endswith(ENDINGS):
            files.append(FeatureFile(Path(path), array))
        else:
            files.append(FeatureFile(Path(part)))
    return files


def open_features(text: str | Path) -> Opened:
    """Opens the files of `--features`; `.npy` and HDF5 are read from disk when rows are asked for.

    Raises:
        InputError: a file is something else, or does not fit the others.
    """
    files = parse(text)
    opened = [_open(file) for file in files]
    if len(opened) == 1:
        return opened[0]
    sizes = [part.array.shape[1:] for part in opened]
    for file, size in zip(files, sizes, strict=True):
        if size != sizes[0]:
            raise InputError(
                f"{file.path}: must have as many features per image as the first file, "
                f"{list(sizes[0])}; received {list(size)}"
            )
    names = [part.names for part in opened]
    if any(found is None for found in names):
        return Opened(_Stacked([part.array for part in opened]))
    joined = [name for found in names for name in found or ()]
    return Opened(_Stacked([part.array for part in opened]), joined)


def _open(file: FeatureFile) -> Opened:
    zipped, member = packed.split(file.path)
    if member is None and zipped.suffix.lower() != ".zip":
        return _open_plain(file)
    try:
        path = packed.unpacked(file.path)
    except OSError as error:
        raise InputError(f"{file.path}: cannot be unpacked ({error.strerror or error})") from error
    try:
        return _open_plain(FeatureFile(path, file.array))
    except InputError as error:
        raise InputError(str(error).replace(str(path), str(file.path))) from error


def _open_plain(file: FeatureFile) -> Opened:
    path, kind = file.path, file.path.suffix.lower()
    if kind == ".npz":
        return _choose(file, read_arrays(path))
    if kind in HDF5:
        return _choose(file, _hdf5_arrays(path))
    if kind != ".npy":
        raise InputError(f"{path}: features must be a {', '.join(ENDINGS[:-1])} or .mat file")
    if file.array is not None:
        raise InputError(f"{path}: has one array without a name; received {file.array!r}")
    try:
        return Opened(np.lib.format.open_memmap(path, mode="r"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged header can make NumPy's reader raise anything
        reason = str(error).split("\n")[0]
        raise InputError(f"{path}: is not a valid .npy file of numbers ({reason})") from error


def _choose(file: FeatureFile, arrays: dict[str, Any]) -> Opened:
    """The features among the arrays of a file, and their names."""
    beside = {
        name: array
        for name, array in arrays.items()
        if plain_name(name.rpartition("/")[2]) in NAMES and len(arrays) > 1 and name != file.array
    }
    candidates = {
        name: array
        for name, array in arrays.items()
        if name not in beside
        and (len(arrays) == 1 or (array.ndim > 1 and array.dtype.kind in "fiu"))
    }
    if file.array is not None:
        candidates = {name: arrays[name] for name in arrays if name == file.array}
    if len(candidates) != 1:
        shown = ", ".join(sorted(arrays)) or "none"
        if file.array is not None:
            raise InputError(f"{file.path}: has no array {file.array!r}; received {shown}")
        raise InputError(
            f"{file.path}: must hold exactly one array; received {shown}"
            + (f" (choose: --features={file.path}:NAME)" if len(arrays) > 1 else "")
        )
    ((chosen, array),) = candidates.items()
    # Names in the same group as the features, rather than those of another.
    group = chosen.rpartition("/")[0]
    near = [name for name in beside if name.rpartition("/")[0] == group] or sorted(beside)
    for name in near:
        texts = _texts(beside[name])
        if texts is not None:
            if len(texts) != array.shape[0]:
                raise InputError(
                    f"{file.path}: {name} must name each of the {array.shape[0]} rows of "
                    f"{chosen}; received {len(texts)}"
                )
            return Opened(array, texts)
    return Opened(array)


def _texts(array: Any) -> list[str] | None:
    """Names as text; None if the array is something else."""
    values = np.asarray(array[()] if isinstance(array, h5py.Dataset) else array)
    if values.ndim == 2 and 1 in values.shape:
        values = values.ravel()
    if values.ndim != 1:
        return None
    texts = [
        value.decode(errors="replace") if isinstance(value, bytes) else as_text(value)
        for value in values.tolist()
    ]
    return [text for text in texts if text is not None] if None not in texts else None


def _hdf5_arrays(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def note(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None and name[0] != "#":
            _ = item.dtype  # a damaged type raises here rather than later
            matlab = item.attrs.get("MATLAB_class")
            if matlab is not None and item.ndim == 2:
                if matlab not in (b"char", b"cell"):  # which hold codes and references
                    found[name] = _Transposed(item)
            else:
                found[name] = item

    try:
        with open(path, "rb") as file:  # says what is wrong in the system's words
            old = file.read(10) == b"MATLAB 5.0"
        if old and path.suffix.lower() == ".mat" and not h5py.is_hdf5(path):
            raise InputError(
                f"{path}: is of MATLAB's older format; save it by save('FILE', 'ARRAY', '-v7.3')"
            )
        h5py.File(path, "r").visititems(note)  # stays open as long as its array is used
    except InputError:
        raise
    except Exception as error:  # damaged inner tables can make h5py raise anything
        if isinstance(error, OSError) and error.strerror:  # the system's, not HDF5's
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        reason = reason_of(error)
        raise InputError(f"{path}: is not a valid HDF5 file ({reason})") from error
    return found


class _Transposed:
    """An HDF5 array whose columns are rows; what is asked for alone is read."""

    def __init__(self, stored: h5py.Dataset) -> None:
        self._stored = stored
        self.shape = stored.shape[::-1]
        self.dtype, self.ndim, self.size = stored.dtype, stored.ndim, stored.size

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: Any) -> np.ndarray:
        return np.asarray(self._stored[:, rows]).T


class _Stacked:
    """Arrays one below the other; rows are read from those that have them."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])
        self.shape = (int(self._ends[-1]), *parts[0].shape[1:])
        self.ndim = len(self.shape)
        self.dtype = np.result_type(*(part.dtype for part in parts))
        self.size = int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        if not isinstance(rows, slice):
            part = int(np.searchsorted(self._ends, rows, side="right"))
            return np.asarray(self._parts[part][rows - (self._ends[part] - len(self._parts[part]))])
        first, last, _ = rows.indices(len(self))
        blocks = []
        for part, end in zip(self._parts, self._ends, strict=True):
            start = end - len(part)
            if first < end and start < last:
                blocks.append(np.asarray(part[max(first - start, 0) : min(last, end) - start]))
        return np.concatenate(blocks)
