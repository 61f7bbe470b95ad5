"""Atomic writes, and reads that check what they read."""

import contextlib
import errno
import json
import math
import mmap
import os
import re
import shutil
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from tagnet.errors import CannotWrite, DiskFull, InputError, reason_of

TEMPORARY = ".tmp-"  # how the name of an unfinished file or folder begins
UNFINISHED = re.compile(rf"{re.escape(TEMPORARY)}[0-9a-f]{{8}}-(.+)", re.DOTALL)
HDF5_REASON = re.compile("error message = '([^']+)'")
# What TensorFlow says of a file: perhaps the operation, the file, the system's words.
OF_FILES = re.compile(r"(\{\{.*?\}\} )?(?P<file>.*); (?P<reason>.*?)( \[Op:.*\])?")
NO_ROOM = {os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT)}
SYSTEM_REASONS = {os.strerror(number) for number in errno.errorcode}
Check: TypeAlias = Callable[[], None]  # see `atomic_write`
# Python has the name since 3.13; before, this is Linux' value.
NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)


class Run(Protocol):
    """As Python's `map`, perhaps by other processes: then work, items and results are pickled."""

    def __call__(self, work: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]:
        """`work(item)` of every item, in order."""
        ...


class Table(Protocol):
    """Numbers [N, n] of which chosen rows are read: an array, or what stands for one."""

    def __getitem__(self, rows: Any, /) -> np.ndarray: ...

    def __len__(self) -> int: ...

    @property
    def shape(self) -> tuple[int, ...]:
        """N and n."""
        ...


@contextlib.contextmanager
def atomic_write(path: str | Path, check: Check | None = None) -> Iterator[Path]:
    """Yields a temporary path, which replaces `path` when the block succeeds.

    Works for a file or a folder (the block creates it). Where the block raises, or a
    file would take the place of a folder, what it wrote is removed and whatever stood
    at `path` stays.

    Args:
        path: the file or folder.
        check: called before `path` is replaced; what it raises keeps the old one. For files
            that only the holder of a lock may write, see `locks.Lock.check`.

    Raises:
        CannotWrite: the system refuses it.
    """
    path = Path(path)
    # The name keeps its ending, since some writers look at it.
    temporary = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if check is not None:
            check()
        if path.is_dir() and temporary.is_dir():  # a folder cannot be replaced in one step
            shutil.rmtree(path)
        os.replace(temporary, path)
    except Exception as error:
        reason = os_error_reason(error)
        if reason is None or _is_of_another(error, path.parent):
            raise
        raise _refused(path, reason) from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                temporary.unlink()


def is_from_tensorflow(error: BaseException) -> bool:
    """Whether TensorFlow raised the error; does not import TensorFlow."""
    return type(error).__module__.startswith("tensorflow.")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python or TensorFlow ran out of memory."""
    exhausted = is_from_tensorflow(error) and type(error).__name__ == "ResourceExhaustedError"
    return exhausted or isinstance(error, MemoryError)


def os_error_reason(error: BaseException) -> str | None:
    """The system's reason for refusing a file operation; None for any other error.

    Args:
        error: of Python, NumPy, h5py or TensorFlow.
    """
    # HDF5 tells in several lines; h5py makes another error of it where a file is closed.
    if isinstance(error, OSError | RuntimeError) and (found := HDF5_REASON.search(str(error))):
        return found[1]
    if isinstance(error, OSError):
        return error.strerror
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    # What TensorFlow says of a file ends in the system's words.
    found = OF_FILES.fullmatch(text) if is_from_tensorflow(error) else None
    return found["reason"] if found and found["reason"] in SYSTEM_REASONS else None


def _is_of_another(error: BaseException, folder: Path) -> bool:
    """Whether an error of the system names a file that is not in `folder`."""
    named = getattr(error, "filename", None)
    return isinstance(named, str | os.PathLike) and folder not in (
        place := Path(named),
        *place.parents,
    )


@contextlib.contextmanager
def with_hint(hint: str) -> Iterator[None]:
    """Appends `hint` to the line of an `InputError`, unless it is there already."""
    try:
        yield
    except CannotWrite:  # what is there may be whole
        raise
    except InputError as error:
        raise InputError(str(error) if hint in str(error) else f"{error}; {hint}") from error


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turns an `OSError` from writing `path` into an `InputError`."""
    try:
        yield
    except OSError as error:
        raise _refused(path, error.strerror) from error


def _refused(path: str | Path, reason: str | None) -> CannotWrite:
    kind = DiskFull if reason in NO_ROOM else CannotWrite
    return kind(f"{path}: cannot be written ({reason})")


def remove_leftovers(directory: str | Path, but: str = "") -> None:
    """Removes unfinished files of a killed process below `directory`.

    Args:
        directory: one that no other process is using.
        but: the name of a folder in it that others may be using.
    """
    for path in sorted(Path(directory).rglob(f"{TEMPORARY}*")):
        if but and path.is_relative_to(Path(directory, but)):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def remove_unfinished(paths: Iterable[Path]) -> None:
    """Removes unfinished files and folders of killed processes that were to become one of `paths`.

    Unlike `remove_leftovers` it is for folders that hold other people's files.
    """
    names: dict[Path, set[str]] = {}
    for path in paths:
        names.setdefault(path.parent, set()).add(path.name)
    for folder, wanted in names.items():
        for left in folder.glob(f"{TEMPORARY}*"):
            if (found := UNFINISHED.fullmatch(left.name)) and found[1] in wanted:
                with contextlib.suppress(OSError):  # what cannot be removed does no harm
                    shutil.rmtree(left) if left.is_dir() else left.unlink()


def write_text(path: str | Path, text: str, check: Check | None = None) -> None:
    """Writes `text` as UTF-8, whole or not at all; `check` as in `atomic_write`."""
    with atomic_write(path, check) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")  # on Windows too


def read_text(path: str | Path) -> str:
    """Reads a UTF-8 file; raises `InputError` where it is missing or is not UTF-8."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: must be UTF-8 text; byte {error.start} is {error.object[error.start]:#04x}"
        ) from error


def as_json(value: Any) -> str:
    """`value` as indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def write_json(path: str | Path, value: Any, check: Check | None = None) -> None:
    """Writes `value` as indented JSON, whole or not at all; `check` as in `atomic_write`."""
    write_text(path, as_json(value), check)


def read_json(path: str | Path) -> dict[str, Any]:
    """Reads a JSON object; raises `InputError` for anything else."""
    try:
        value = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}: line {error.lineno} is not JSON ({error.msg}); was the file cut off?"
        ) from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: must hold a JSON object; received {type(value).__name__}")
    return value


def write_arrays(
    path: str | Path, arrays: Mapping[str, np.ndarray], check: Check | None = None
) -> None:
    """Writes named arrays as an `.npz`, whole or not at all; `check` as in `atomic_write`."""
    with atomic_write(path, check) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_arrays(path: str | Path, *names: str) -> dict[str, np.ndarray]:
    """Reads the arrays called `names` (all of them when none is given) from an `.npz`.

    Raises:
        InputError: the file is missing, cut off, holds Python objects, or lacks a name.
    """
    try:
        # np.load would leave a file open that it cannot read.
        with open(path, "rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as archive:
            if missing := [name for name in names if name not in archive.files]:
                raise InputError(
                    f"{path}: must hold the array {missing[0]!r}; received {sorted(archive.files)}"
                )
            return {name: archive[name] for name in names or archive.files}
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged archive fails in whatever way its bytes suggest
        reason = reason_of(error)
        raise InputError(f"{path}: is not a valid .npz file ({reason})") from error


def write_blocks(
    path: str | Path, shape: Sequence[int], dtype: npt.DTypeLike, blocks: Iterable[np.ndarray]
) -> None:
    """Writes an array that need not fit in memory as a `.npy`, whole or not at all.

    Args:
        path: the file.
        shape: [N, …] of the whole.
        dtype: of the whole.
        blocks: its rows, [n_i, …] that add up to N.
    """
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": tuple(shape)}
    written = 0
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            # Not into mapped memory: on a full disk that ends the process.
            file.write(np.ascontiguousarray(block, dtype).data)
            written += len(block)
        if written != shape[0]:
            raise ValueError(f"{path}: expected {shape[0]} rows, got {written}")


def mapped_array(path: str | Path, shape: Sequence[int], dtype: npt.DTypeLike) -> np.ndarray:
    """Maps a file of `write_blocks`: pages are read when needed and may be evicted.

    Raises:
        InputError: the file is missing, cut off, or holds another array.
    """
    try:
        with open(path, "rb") as file:
            np.lib.format.read_magic(file)
            stored = np.lib.format.read_array_header_1_0(file)
            start = file.tell()
            pages = _private_pages(file.fileno())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        reason = reason_of(error)
        raise InputError(f"{path}: is not a valid .npy file ({reason})") from error
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if stored != (tuple(shape), False, np.dtype(dtype)) or len(pages) != start + size:
        raise InputError(
            f"{path}: must hold {np.dtype(dtype)} of shape {tuple(shape)} in {start + size} bytes; "
            f"received {stored[2]} of shape {stored[0]} in {len(pages)}"
        )
    return np.frombuffer(pages, dtype, offset=start).reshape(shape)


def _private_pages(descriptor: int) -> mmap.mmap:
    """Maps a whole file as memory that can be written to, which does not change the file.

    TensorFlow shares writable memory alone, so it is a private copy, of pages that are written
    to: of none. Unreserved, the file may be larger than the memory.
    """
    if sys.platform == "win32":
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    return mmap.mmap(descriptor, 0, flags=mmap.MAP_PRIVATE | NO_RESERVE, prot=protection)


class MappedTable:
    """A file of `write_blocks` that is mapped when its rows are asked for.

    Pickled it is a path and a shape, so that other processes that see the file can be given it.

    Args:
        path: the file.
        shape: [N, …] of it, an attribute too.
        dtype: of it.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self.shape = shape
        self._made_of = path, shape, dtype
        self._array: np.ndarray | None = None

    def __getitem__(self, rows: Any) -> np.ndarray:
        if self._array is None:
            self._array = mapped_array(*self._made_of)
        return self._array[rows]

    def __len__(self) -> int:
        return self.shape[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return MappedTable, self._made_of
