"""Φ of all images: from a features file or from the photographs, in checked blocks."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tagnet.console import say
from tagnet.features import Backbone, extract
from tagnet.files import InputError, read_arrays, write_arrays

BLOCK = 4096  # rows that are checked and written together
CHUNK = 1024  # photographs whose features are kept in one file
FLOAT16_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Features:
    """Φ of N images.

    Attributes:
        dim: D.
        blocks: gives float32 blocks [n_i, D] that add up to N rows.
    """

    dim: int
    blocks: Callable[[], Iterator[np.ndarray]]


def from_file(path: Path, num_images: int) -> Features:
    """Opens `.npy`, or `.npz` with exactly one array: [N, D] numbers in row order.

    Raises:
        InputError: the file is something else, or does not have a row for every
            image. A number that float16 cannot hold is found when its block is read.
    """
    array = _one_array(path)
    if array.ndim != 2 or not array.size or array.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: must hold one array [images, dimensions] of numbers; "
            f"received {array.dtype} {list(array.shape)}"
        )
    if len(array) != num_images:
        raise InputError(
            f"{path}: must have one row for each of the {num_images} images; "
            f"received {len(array)} rows"
        )
    return from_array(array, path)


def from_array(array: np.ndarray, where: str | Path) -> Features:
    """Takes numbers [N, D] that stand in memory; `where` is what an error line calls them."""

    def blocks() -> Iterator[np.ndarray]:
        for first in range(0, len(array), BLOCK):
            # A number beyond float32 becomes infinite here and is refused below.
            with np.errstate(over="ignore"):
                block = np.asarray(array[first : first + BLOCK]).astype(np.float32)
            _check_numbers(block, first, where)
            yield block

    return Features(array.shape[1], blocks)


def _check_numbers(block: np.ndarray, first: int, where: str | Path) -> None:
    """Refuses what float16, in which Φ is stored, cannot hold."""
    with np.errstate(invalid="ignore"):
        bad = np.argwhere(~(np.abs(block) <= FLOAT16_MAX))  # negated: catches NaN too
    if len(bad):
        row, column = bad[0]
        raise InputError(
            f"{where}: row {first + row + 1}, column {column + 1}: a feature must be finite and "
            f"at most {FLOAT16_MAX:.0f} in size (float16); received {block[row, column]}"
        )


def _one_array(path: Path) -> np.ndarray:
    if path.suffix == ".npz":
        arrays = read_arrays(path)
        if len(arrays) != 1:
            names = ", ".join(sorted(arrays)) or "none"
            raise InputError(f"{path}: must hold exactly one array; received {names}")
        return next(iter(arrays.values()))
    if path.suffix != ".npy":
        raise InputError(f"{path}: features must be a .npy or .npz file")
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged header can make NumPy's reader raise anything
        reason = str(error).split("\n")[0]
        raise InputError(f"{path}: is not a whole .npy file of numbers ({reason})") from error


def from_photographs(
    paths: Sequence[str], backbone: Backbone, cache: Path
) -> tuple[Features, dict[int, str]]:
    """Extracts the features of photographs, a chunk at a time.

    A chunk is stored under the digest of its photographs' names, sizes and times,
    so that a killed run goes on with the first chunk that is missing.

    Args:
        paths: the photographs.
        backbone: the network.
        cache: folder of the chunks; those of other photographs are removed from it.

    Returns:
        The features of the readable photographs in order, and for each other one
        its position in `paths` and the reason.

    Raises:
        InputError: not one photograph can be read.
    """
    chunks = [paths[first : first + CHUNK] for first in range(0, len(paths), CHUNK)]
    files = [cache / f"{photographs_digest(chunk, backbone)}.npz" for chunk in chunks]
    unreadable: dict[int, str] = {}
    for number, (chunk, file) in enumerate(zip(chunks, files, strict=True)):
        if not file.exists():
            say(f"features: photographs {number * CHUNK + 1} to {number * CHUNK + len(chunk)}")
            _extract_chunk(chunk, backbone, file)
        stored = read_arrays(file, "unreadable", "reasons")
        for position, reason in zip(stored["unreadable"], stored["reasons"], strict=True):
            unreadable[number * CHUNK + int(position)] = str(reason)
    for stale in set(cache.glob("*.npz")) - set(files):
        stale.unlink()
    if len(unreadable) == len(paths):
        raise InputError(f"no photograph can be read; the first: {unreadable[0]}")
    return (
        Features(backbone.dim, lambda: (read_arrays(file, "phi")["phi"] for file in files)),
        unreadable,
    )


def _extract_chunk(paths: Sequence[str], backbone: Backbone, file: Path) -> None:
    unreadable: dict[int, str] = {}
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


def photographs_digest(paths: Sequence[str], backbone: Backbone) -> str:
    """SHA-256 of the backbone and of path, size and time of its weights and every photograph."""
    seen: list[tuple[str, int | None, int | None]] = []
    for path in [*paths, *([] if backbone.weights is None else [str(backbone.weights)])]:
        try:
            stat = Path(path).stat()
            seen.append((path, stat.st_size, stat.st_mtime_ns))
        except OSError:  # missing now; it changes the digest when it comes
            seen.append((path, None, None))
    return hashlib.sha256(json.dumps([backbone.name, seen]).encode()).hexdigest()
