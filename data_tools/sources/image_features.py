"""Φ of all images, from a feature file or from photos, in checked blocks."""

import functools
import hashlib
import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from data_tools.engines import Engine
from data_tools.sources import parts
from data_tools.sources.feature_files import open_features
from tagnet.errors import InputError, reason_of
from tagnet.system.console import say
from tagnet.system.files import read_arrays, with_hint, write_arrays

if TYPE_CHECKING:  # flags are listed without Keras
    from tagnet.backbones.features import Backbone

BLOCK = 4096  # rows that are checked and written together
SPAN = 2  # how many times the wanted rows a block may read to get them
CHUNK = 1024  # photographs whose features are kept in one file
FLOAT16_MAX = float(np.finfo(np.float16).max)
FLOAT16_MIN = float(np.finfo(np.float16).smallest_subnormal)


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
    path: Path,
    num_images: int,
    orders: Mapping[int, np.ndarray | None] | None = None,
    images: pd.DataFrame | None = None,
) -> Features:
    """Opens the features of all images in a file, or in several; see `feature_files`.

    Where names are beside them, the images take the rows of their names. Otherwise the
    number of rows says whose they are.

    Args:
        path: the file, perhaps with the array's name, or several files.
        num_images: N.
        orders: for each number of rows that the file may have the N rows that are
            the images', None where there are two ways to number them; unless told
            otherwise N rows, in the images' order.
        images: the manifest, by which names are compared.

    Raises:
        InputError: the file is something else, has another number of rows, or lacks
            an image. A number that float16 cannot hold is found when its block is read.
    """
    orders = orders or {num_images: np.arange(num_images)}
    opened = open_features(path)
    array = opened.array
    if array.ndim != 2 or not array.size or array.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: must hold one array [images, dimensions] of numbers; "
            f"received {array.dtype} {list(array.shape)}"
        )
    rows: np.ndarray | None
    if opened.names is not None and images is not None:
        rows = _rows_of_names(opened.names, images, path)
    elif len(array) not in orders:
        raise InputError(
            f"{path}: must have one row per image ({' or '.join(map(str, orders))}); "
            f"received {len(array)} rows"
        )
    else:
        rows = orders[len(array)]
        if rows is None:
            raise InputError(
                f"{path}: its {len(array):,} rows may be in the order of the data set or of --ids, "
                "which differ; add an array image_names beside the features (.npz, HDF5), or "
                "leave out --ids if they are in the data set's order"
            )
    return Features(array.shape[1], _ArrayBlocks(array, path, rows, path))


def _rows_of_names(names: Sequence[str], images: pd.DataFrame, path: Path) -> np.ndarray:
    """The row of each image among the rows that have these names."""
    index = parts.index_of([name] for name in names)
    rows = np.empty(len(images), np.int64)
    for at, (image_id, photo) in enumerate(zip(images["image_id"], images["path"], strict=True)):
        found = parts.row_of(image_id, index)
        if found is None and photo:
            found = parts.row_of(photo, index)
        if found is None:
            raise InputError(
                f"{path}: the names beside the features, such as {names[0]!r}, must have each "
                f"image once; {image_id!r} is not so (without names, rows are in image order)"
            )
        rows[at] = found
    if len(set(rows.tolist())) < len(rows):
        raise InputError(f"{path}: two images have one name among those beside the features")
    say(f"features: rows are those of the names in {path.name}")
    return rows


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
            self._array = open_features(self._path).array
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
        reason = reason_of(error)
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
    largest = np.abs(block).max(axis=1, initial=0)
    if (vanishing := (largest > 0) & (largest < FLOAT16_MIN)).any():
        row = int(vanishing.argmax())
        raise InputError(
            f"{where}: row {rows[row] + 1}: features below {FLOAT16_MIN:.0e} are 0 in float16; "
            f"multiply all features by a constant; the largest is {largest[row]:.1e}"
        )


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
    parts = [backbone.name, seen, *([] if backbone.record is None else [backbone.record])]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
