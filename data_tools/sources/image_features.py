"""Φ of all images, from a feature file or from photos, in checked blocks."""

import functools
import hashlib
import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import h5py
import numpy as np

from data_tools.engines import Engine
from tagnet.errors import InputError
from tagnet.system.console import say
from tagnet.system.files import read_arrays, with_hint, write_arrays

if TYPE_CHECKING:  # flags are listed without Keras
    from tagnet.backbones.features import Backbone

BLOCK = 4096  # rows that are checked and written together
SPAN = 2  # how many times the wanted rows a block may read to get them
HDF5 = (".h5", ".hdf5")
CHUNK = 1024  # photographs whose features are kept in one file
FLOAT16_MAX = float(np.finfo(np.float16).max)


class Blocks(Protocol):
    """Yields Φ of a range of images as float32 blocks; can be pickled."""

    def __call__(self, first: int = 0, last: int | None = None, /) -> Iterator[np.ndarray]:
        """Yields the rows from `first` to before `last`, or to the end."""
        ...


@dataclass(frozen=True)
class Features:
    """Φ of N images.

    Attributes:
        dim: D.
        blocks: gives float32 blocks [n_i, D] that add up to N rows, or to some of them.
    """

    dim: int
    blocks: Blocks


def from_file(
    path: Path, num_images: int, orders: Mapping[int, np.ndarray] | None = None
) -> Features:
    """Opens `.npy`, or `.npz` or HDF5 with exactly one array: numbers [rows, D].

    `.npy` and HDF5 are read from disk a block at a time.

    Args:
        path: the file.
        num_images: N.
        orders: for each number of rows that the file may have the N rows that are
            the images'; unless told otherwise N rows, in the images' order.

    Raises:
        InputError: the file is something else, or has another number of rows. A
            number that float16 cannot hold is found when its block is read.
    """
    orders = orders or {num_images: np.arange(num_images)}
    array = _one_array(path)
    if array.ndim != 2 or not array.size or array.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: must hold one array [images, dimensions] of numbers; "
            f"received {array.dtype} {list(array.shape)}"
        )
    if len(array) not in orders:
        raise InputError(
            f"{path}: must have one row per image ({' or '.join(map(str, orders))}); "
            f"received {len(array)} rows"
        )
    return Features(array.shape[1], _ArrayBlocks(array, path, orders[len(array)], path))


def from_array(array: Any, where: str | Path) -> Features:
    """Takes numbers [N, D] that can be sliced.

    Args:
        array: in memory, mapped, or an HDF5 data set; a row for each image.
        where: what an error line calls it.
    """
    return Features(array.shape[1], _ArrayBlocks(array, where, np.arange(len(array))))


def none(num_images: int) -> Features:
    """No features: blocks [n_i, 0] for a data set prepared with tags only."""
    return from_array(np.zeros([num_images, 0], np.float32), "no features")


class _ArrayBlocks:
    """The `Blocks` of an array; if it has a `path`, that is pickled instead."""

    def __init__(
        self, array: Any, where: str | Path, chosen: np.ndarray, path: Path | None = None
    ) -> None:
        self._array = array
        self._where = where
        self._chosen = chosen
        self._path = path

    def __call__(self, first: int = 0, last: int | None = None) -> Iterator[np.ndarray]:
        if self._array is None:
            assert self._path is not None
            self._array = _one_array(self._path)
        asked = self._chosen[first:last]
        for start in range(0, len(asked), BLOCK):
            wanted = asked[start : start + BLOCK]
            # A number beyond float32 becomes infinite here and is refused below.
            with np.errstate(over="ignore"):
                block = _read_rows(self._array, wanted, self._where).astype(np.float32)
            _check_numbers(block, wanted, self._where)
            yield block

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | ({} if self._path is None else {"_array": None})


def _read_rows(array: Any, rows: np.ndarray, where: str | Path) -> np.ndarray:
    low, high = int(rows.min()), int(rows.max()) + 1
    try:
        if high - low <= SPAN * len(rows):  # HDF5 reads a range far faster than chosen rows
            return np.asarray(array[low:high])[rows - low]
        return np.stack([array[row] for row in rows])
    except OSError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{where}: rows {low + 1} to {high} cannot be read ({reason})") from error


def _check_numbers(block: np.ndarray, rows: np.ndarray, where: str | Path) -> None:
    """Checks that Φ fits in float16, as it is stored; `rows` are row numbers of the file."""
    with np.errstate(invalid="ignore"):
        bad = np.argwhere(~(np.abs(block) <= FLOAT16_MAX))  # negated: catches NaN too
    if len(bad):
        row, column = bad[0]
        raise InputError(
            f"{where}: row {rows[row] + 1}, column {column + 1}: a feature must be finite and "
            f"at most {FLOAT16_MAX:.0f} in size (float16); received {block[row, column]}"
        )


def _one_array(path: Path) -> Any:
    if path.suffix == ".npz":
        arrays = read_arrays(path)
        if len(arrays) != 1:
            names = ", ".join(sorted(arrays)) or "none"
            raise InputError(f"{path}: must hold exactly one array; received {names}")
        return next(iter(arrays.values()))
    if path.suffix in HDF5:
        return _one_hdf5_array(path)
    if path.suffix != ".npy":
        raise InputError(f"{path}: features must be a .npy, .npz, {' or '.join(HDF5)} file")
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged header can make NumPy's reader raise anything
        reason = str(error).split("\n")[0]
        raise InputError(f"{path}: is not a valid .npy file of numbers ({reason})") from error


def _one_hdf5_array(path: Path) -> h5py.Dataset:
    found: dict[str, h5py.Dataset] = {}

    def note(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None:  # None: it is empty
            found[name] = item
            _ = item.dtype  # a damaged type raises here rather than later

    try:
        with open(path, "rb"):  # says what is wrong in the system's words
            pass
        h5py.File(path, "r").visititems(note)  # stays open as long as its array is used
    except Exception as error:  # damaged inner tables can make h5py raise anything
        if isinstance(error, OSError) and error.strerror:  # the system's, not HDF5's
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: is not a valid HDF5 file ({reason})") from error
    if len(found) != 1:
        names = ", ".join(sorted(found)) or "none"
        raise InputError(f"{path}: must hold exactly one array; received {names}")
    return next(iter(found.values()))


@dataclass(frozen=True)
class Cache:
    """Where features of photos are cached, and what extracts them.

    Attributes:
        folder: of the chunks.
        engine: extracts those that are missing.
    """

    folder: Path
    engine: Engine


def from_photographs(
    paths: Sequence[str], backbone: "Backbone", cache: Cache
) -> tuple[Features, dict[int, str]]:
    """Extracts the features of photos, chunk by chunk.

    A chunk is stored under the digest of its photographs' names, sizes and times, so that
    a killed run goes on with the first chunk that is missing.

    Args:
        paths: the photographs.
        backbone: the network.
        cache: of the chunks; those of other photographs are removed from it.

    Returns:
        The features of the readable photographs in order, and for each other one
        its position in `paths` and the reason.

    Raises:
        InputError: not one photograph can be read.
    """
    chunks = [paths[first : first + CHUNK] for first in range(0, len(paths), CHUNK)]
    files = [cache.folder / f"{photographs_digest(chunk, backbone)}.npz" for chunk in chunks]
    missing = [number for number, file in enumerate(files) if not file.exists()]
    extracted = cache.engine.map_with_state(
        functools.partial(_extractor, backbone),
        [(chunks[number], files[number]) for number in missing],
    )
    for number, _ in zip(missing, extracted, strict=True):
        first = number * CHUNK
        say(f"features: photos {first + 1} to {first + len(chunks[number])}")
    unreadable: dict[int, str] = {}
    starts = [0]
    for number, (chunk, file) in enumerate(zip(chunks, files, strict=True)):
        stored = _read_chunk(file, "unreadable", "reasons")
        for position, reason in zip(stored["unreadable"], stored["reasons"], strict=True):
            unreadable[number * CHUNK + int(position)] = str(reason)
        starts.append(starts[-1] + len(chunk) - len(stored["unreadable"]))
    for stale in set(cache.folder.glob("*.npz")) - set(files):
        stale.unlink()
    if len(unreadable) == len(paths):
        raise InputError(f"no photo can be read; first error: {unreadable[0]}")
    return Features(backbone.dim, functools.partial(_chunk_blocks, files, starts)), unreadable


def _chunk_blocks(
    files: Sequence[Path], starts: Sequence[int], first: int = 0, last: int | None = None
) -> Iterator[np.ndarray]:
    last = starts[-1] if last is None else last
    for file, start, end in zip(files, starts, starts[1:], strict=False):
        if start < last and first < end:
            phi = _read_chunk(file, "phi")["phi"]
            yield phi[max(first - start, 0) : last - start]


def _read_chunk(file: Path, *names: str) -> dict[str, np.ndarray]:
    with with_hint("remove the file and prepare again"):
        return read_arrays(file, *names)


def _extractor(backbone: "Backbone") -> Callable[[tuple[Sequence[str], Path]], None]:
    """Extracts chunks with one network."""
    from tagnet.backbones.features import network

    network(backbone)
    return lambda chunk: _extract_chunk(backbone, *chunk)


def _extract_chunk(backbone: "Backbone", paths: Sequence[str], file: Path) -> None:
    # By its name the file is of photographs as they are seen where it was asked for.
    if file.stem != photographs_digest(paths, backbone):
        raise InputError(
            f"{socket.gethostname()}: must see the same photos and weights as the other "
            f"nodes (equal size and time); some of {paths[0]} to {paths[-1]} differ or are missing"
        )
    unreadable: dict[int, str] = {}
    from tagnet.backbones.features import extract

    phi = extract(
        backbone,
        paths,
        on_error=lambda position, error: unreadable.__setitem__(position, str(error)),
    )
    write_arrays(
        file,
        {
            "phi": phi,
            "unreadable": np.array(list(unreadable), np.int64),
            "reasons": np.array(list(unreadable.values()), np.str_),
        },
    )


def photographs_digest(paths: Sequence[str], backbone: "Backbone") -> str:
    """SHA-256 of the backbone, and of path, size and time of its weights and each photo."""
    seen: list[tuple[str, int | None, int | None]] = []
    for path in [*paths, *([] if backbone.weights is None else [str(backbone.weights)])]:
        try:
            stat = Path(path).stat()
            seen.append((path, stat.st_size, stat.st_mtime_ns))
        except OSError:  # missing now; it changes the digest when it comes
            seen.append((path, None, None))
    return hashlib.sha256(json.dumps([backbone.name, seen]).encode()).hexdigest()
