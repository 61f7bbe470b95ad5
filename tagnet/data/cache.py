"""Memory-mapped copies of a prepared directory's images, for data larger than memory.

    cache/features-DIGEST.npy     Φ, float16 [N, D]
    cache/lists-DIGEST.npz        names, tag ids and label ids
    cache/w2v-DIGEST.npy          π by w2v, float32 [N, n]

They are written when they are first asked for. DIGEST is of the checksums of the files that they
are made from, so a file that was made from others has another name. A file gets its name when it
is whole; two processes that write it at once write the same, and need not know of each other.
"""

import contextlib
import fnmatch
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from tagnet.data.embeddings import BLOCK, Embedding, rho
from tagnet.data.records import Images, image_blocks, join_images
from tagnet.data.tags import TagLists
from tagnet.errors import CannotWrite, InputError
from tagnet.system.console import say
from tagnet.system.files import TEMPORARY, mapped_array, read_arrays, write_arrays, write_blocks

CACHE = "cache"
LISTS = Images._fields[1:]
ABANDONED = 3600  # seconds without a write after which the writer of a file must be dead
T = TypeVar("T")


def cached_images(
    directory: Path, num_images: int, feature_dim: int, sums: Mapping[str, str]
) -> Images:
    """All images of a prepared directory, their features mapped from disk.

    Args:
        directory: the prepared directory.
        num_images: N.
        feature_dim: D.
        sums: the checksums of its files, with which the shards are compared.

    Raises:
        InputError: a shard is missing or damaged, or the cache cannot be written or read.
    """
    shape = [num_images, feature_dim]
    features, lists = (
        _path(directory, name, sums, "images-*.tfrecord") for name in ("features.npy", "lists.npz")
    )

    def read() -> Images:
        arrays = read_arrays(lists, *LISTS)
        names = tuple(arrays.pop("image_ids").tolist())
        return Images(mapped_array(features, shape, np.float16), names, **arrays)

    def write() -> None:
        blocks: list[Images] = []

        def phi() -> Iterator[np.ndarray]:
            for block in image_blocks(directory, num_images, feature_dim, sums):
                blocks.append(block.without_features())
                yield block.phi

        write_blocks(features, shape, np.float16, phi())
        joined = join_images(np.empty(0), blocks)._asdict()
        joined["image_ids"] = np.array(joined["image_ids"], np.str_)
        write_arrays(lists, {name: joined[name] for name in LISTS})

    return _read_or_made(read, write, features, lists)


def cached_encoding(
    directory: Path,
    encoding: str,
    tags: TagLists,
    embedding: Embedding,
    sums: Mapping[str, str],
) -> np.ndarray:
    """ρ(o_x; β) of all images, float32 [N, n], mapped from disk.

    Args:
        directory: the prepared directory.
        encoding: the name of β in it.
        tags: the tag ids of all images.
        embedding: β.
        sums: the checksums of the directory's files.

    Raises:
        InputError: the cache cannot be written or read.
    """
    made_from = "images-*.tfrecord", f"embeddings/{encoding}.npz"
    path = _path(directory, f"{encoding}.npy", sums, *made_from)
    shape = [len(tags), embedding.vectors.shape[1]]

    def write() -> None:
        rows = np.arange(len(tags))
        blocks = (
            rho(tags.select(rows[first : first + BLOCK]), embedding)
            for first in range(0, len(rows), BLOCK)
        )
        write_blocks(path, shape, np.float32, blocks)

    return _read_or_made(lambda: mapped_array(path, shape, np.float32), write, path)


def _path(directory: Path, name: str, sums: Mapping[str, str], *patterns: str) -> Path:
    """The path of the cache file that is made from the files of these patterns."""
    made_from = [
        (file, digest)
        for file, digest in sorted(sums.items())
        if any(fnmatch.fnmatch(file, pattern) for pattern in patterns)
    ]
    digest = hashlib.sha256(repr(made_from).encode()).hexdigest()[:16]
    stem, ending = name.split(".")
    return directory / CACHE / f"{stem}-{digest}.{ending}"


def _read_or_made(read: Callable[[], T], write: Callable[[], None], *paths: Path) -> T:
    """Calls `read`; if files are missing, cut off or unreadable, calls `write` first."""
    _remove_abandoned(paths[0].parent)
    with contextlib.suppress(InputError):
        return read()
    say(f"writing the cache: {', '.join(map(str, paths))}")
    try:
        write()
    except CannotWrite as error:
        raise CannotWrite(f"{error}; --placement=host needs no cache") from error
    for path in paths:
        stem = path.name.rpartition("-")[0]
        for earlier in path.parent.glob(f"{stem}-*"):
            if earlier != path:
                earlier.unlink(missing_ok=True)  # whoever has mapped it keeps it
    return read()


def _remove_abandoned(cache: Path) -> None:
    """Removes unfinished cache files of killed processes."""
    for path in cache.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(OSError):  # its writer has finished it, or nothing can be removed
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()
