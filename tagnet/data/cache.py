"""A prepared directory's images as files to be mapped instead of read, for sets larger than memory.

    cache/features-DIGEST.npy     Φ, float16 [N, D]
    cache/lists-DIGEST.npz        names, tag ids and label ids
    cache/w2v-DIGEST.npy          π by w2v, float32 [N, n]

They are written when they are first asked for. DIGEST is of the checksums of the files that they
are made from, so that a file made from others is never taken for one of these; before one is
written, the files it is made from are compared with their checksums. One process writes at a time;
others wait for what it writes.
"""

import contextlib
import fnmatch
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tagnet.data import records
from tagnet.data.embeddings import BLOCK, Embedding, rho
from tagnet.data.records import Images
from tagnet.data.tags import TagLists
from tagnet.errors import InputError, Unavailable
from tagnet.system.checksums import CHECKSUMS, read_checksums, sha256
from tagnet.system.console import say
from tagnet.system.files import (
    mapped_array,
    read_arrays,
    remove_leftovers,
    write_arrays,
    write_blocks,
    writing,
)
from tagnet.system.locks import LOCKS, holder, try_lock, wait_for_lock

CACHE = "cache"
LISTS = Images._fields[1:]
WRITER = "writer"  # the lock of the process that writes
POLL = 0.5  # seconds until those that wait for it look again


def cached_images(directory: Path, num_images: int, feature_dim: int) -> Images:
    """All images of a prepared directory, their features mapped from disk.

    Raises:
        InputError: a shard is missing or damaged, or the cache cannot be written or read.
    """
    features, lists = (
        _Cached(directory, name, ["images-*.tfrecord"]) for name in ("features.npy", "lists.npz")
    )

    def write() -> None:
        blocks: list[Images] = []

        def phi() -> Iterator[np.ndarray]:
            for block in records.image_blocks(directory, num_images, feature_dim):
                blocks.append(block._replace(phi=block.phi[:0]))
                yield block.phi

        with features.being_written():
            write_blocks(features.path, [num_images, feature_dim], np.float16, phi())
        with lists.being_written():
            write_arrays(lists.path, _joined(blocks))

    _write_once(directory, [features, lists], write)
    read = read_arrays(lists.path, *LISTS)
    table = mapped_array(features.path, [num_images, feature_dim], np.float16)
    return Images(table, tuple(read.pop("image_ids").tolist()), **read)


def cached_encoding(
    directory: Path, encoding: str, tags: TagLists, embedding: Embedding
) -> np.ndarray:
    """ρ(o_x; β) of all images, float32 [N, n], mapped from disk.

    Args:
        directory: the prepared directory.
        encoding: the name of β in it.
        tags: the tag ids of all images.
        embedding: β.

    Raises:
        InputError: as `cached_images`.
    """
    made_from = ["images-*.tfrecord", f"embeddings/{encoding}.npz"]
    cached = _Cached(directory, f"{encoding}.npy", made_from)
    shape = [len(tags), embedding.vectors.shape[1]]

    def write() -> None:
        rows = np.arange(len(tags))
        blocks = (
            rho(tags.select(rows[first : first + BLOCK]), embedding)
            for first in range(0, len(rows), BLOCK)
        )
        with cached.being_written():
            write_blocks(cached.path, shape, np.float32, blocks)

    _write_once(directory, [cached], write)
    return mapped_array(cached.path, shape, np.float32)


def remove_unfinished_cache(directory: Path) -> None:
    """Removes what killed processes had begun to write in the cache, if none is at work there."""
    cache = directory / CACHE
    if cache.is_dir() and (lock := try_lock(cache / LOCKS, WRITER)) is not None:
        remove_leftovers(cache)
        lock.release()


def _write_once(directory: Path, files: Sequence["_Cached"], write: Callable[[], None]) -> None:
    """Calls `write` for files that are not there whole, unless another process writes them."""

    def whole() -> bool:
        return all(file.path.exists() for file in files)

    if whole():
        return
    cache = directory / CACHE
    try:
        with contextlib.ExitStack() as held:
            with writing(cache):
                if who := holder(cache / LOCKS, WRITER):
                    say(f"{cache}: waiting until {who} has written it")
                held.enter_context(wait_for_lock(cache / LOCKS, WRITER, POLL))
                remove_leftovers(cache)
            if not whole():
                write()
    except Unavailable as error:
        raise Unavailable(f"{error}; --table=host needs no cache") from error


def _joined(blocks: list[Images]) -> dict[str, np.ndarray]:
    """The lists of all blocks by name."""
    joined = {
        name: np.concatenate([getattr(block, name) for block in blocks]) for name in LISTS[1:]
    }
    names = [name for block in blocks for name in block.image_ids]
    return {"image_ids": np.array(names, np.str_), **joined}


class _Cached:
    """One file of the cache.

    Attributes:
        path: where it is, or will be.
    """

    def __init__(self, directory: Path, name: str, patterns: list[str]) -> None:
        sums = read_checksums(directory)
        self._directory = directory
        self._made_from = {
            file: sums[file] for file in sums for glob in patterns if fnmatch.fnmatch(file, glob)
        }
        if not self._made_from:
            raise InputError(
                f"{directory / CHECKSUMS}: must name the shards of images; received "
                f"{len(sums)} other files; prepare the data again"
            )
        digest = hashlib.sha256(repr(sorted(self._made_from.items())).encode()).hexdigest()[:16]
        self._stem, self._ending = name.split(".")
        self.path = directory / CACHE / f"{self._stem}-{digest}.{self._ending}"

    @contextlib.contextmanager
    def being_written(self) -> Iterator[None]:
        """Checks beforehand what the file is made from, and removes afterwards its predecessors."""
        for file, expected in self._made_from.items():
            path = self._directory / file
            if not path.is_file() or sha256(path) != expected:
                raise InputError(
                    f"{path}: checksum mismatch (see {CHECKSUMS}); prepare the data again"
                )
        say(f"writing {self.path}")
        yield
        for other in self.path.parent.glob(f"{self._stem}-*.{self._ending}"):
            if other != self.path:
                other.unlink(missing_ok=True)  # the data set may be taken away
