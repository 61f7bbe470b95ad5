"""The command line: flags from a dataclass, printed lines, progress, one-line errors."""

import dataclasses
import io
import os
import signal
import sys
import threading
import types
import typing
from collections.abc import Callable, Collection, Iterable, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from absl import flags, logging
from tqdm import tqdm

import tagnet
from tagnet.errors import InputError, single_line
from tagnet.system.files import OF_FILES, is_out_of_memory, os_error_reason

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

INTERRUPTED = 130  # the exit status that shells give a process which Ctrl-C ended
LINE_EVERY = 60.0  # seconds; how often long work says off a terminal how far it is
T = TypeVar("T")
Options = TypeVar("Options", bound="DataclassInstance")

_DEFINE: dict[type, Callable[..., Any]] = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    Path: flags.DEFINE_string,
    tuple: flags.DEFINE_list,
}


_quiet = False  # whether --quiet was given


def say(line: str = "", result: bool = False) -> None:
    """Prints a line to standard output at once, also where the output is a pipe.

    Args:
        line: the line.
        result: whether it is what the command was asked for, which --quiet leaves.
    """
    if result or not _quiet:
        print(line, flush=True)


def say_loading(what: str) -> None:
    """Prints to standard error what a person waits for."""
    if not _quiet:
        print(f"loading {what} …", file=sys.stderr, flush=True)


def is_quiet() -> bool:
    """Whether --quiet was given."""
    return _quiet


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A count with its noun: `1 photo`, `2,000 photos`.

    >>> counted(1, "photo"), counted(2000, "photo"), counted(0, "entry", "entries")
    ('1 photo', '2,000 photos', '0 entries')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def progress(items: Iterable[T] | None, what: str, total: int | None = None) -> "tqdm[T]":
    """Iterates over `items` under a bar called `what`.

    Off a terminal it prints a line every `LINE_EVERY` seconds instead. How long it still takes is
    estimated from the recent speed. Without items the caller moves the bar by its `update`, and
    ends it by its `close`.
    """
    if _quiet or sys.stderr.isatty():
        return tqdm(items, desc=what, total=total, disable=_quiet, leave=False)
    known = "{desc}: {n:,} of {total:,}, about {remaining} left"
    return tqdm(
        items,
        desc=what,
        total=total,
        file=_Lines(),
        leave=False,
        bar_format="{desc}: {n:,}" if _length(items, total) is None else known,
        delay=LINE_EVERY,
        mininterval=LINE_EVERY,
        maxinterval=LINE_EVERY,
    )


def _length(items: Iterable[Any] | None, total: int | None) -> int | None:
    return len(items) if total is None and isinstance(items, Sized) else total


class _Lines:
    """What a bar is drawn on off a terminal: each drawing becomes a line, clearing it none."""

    def write(self, text: str) -> None:
        if line := text.strip():
            print(line, file=sys.stderr, flush=True)

    def flush(self) -> None:
        pass


def option(default: Any, text: str) -> Any:
    """A field of a command's options: its default, and its line of `--help`."""
    return dataclasses.field(default=default, metadata={"help": text})


@dataclasses.dataclass(frozen=True)
class Common:
    """The flags that every command has."""

    quiet: bool = option(False, "print results and errors only")


COMMON = dataclasses.fields(Common)


def require_at_least(options: Any, **least: float) -> None:
    """Raises `InputError` if an option is set to less than `least` allows, or to nan.

    Args:
        options: the options of a command.
        least: the smallest allowed value of each option, by its name.
    """
    for flag, bound in least.items():
        number = getattr(options, flag)
        if number is not None and not number >= bound:  # nan is no number either
            raise InputError(f"--{flag} must be at least {bound}; received {number}")


def require_one_of(flag: str, value: str | None, known: Collection[str]) -> None:
    """Raises `InputError` unless the option `flag` is unset or one of `known`."""
    if value is not None and value not in known:
        raise InputError(f"--{flag} must be one of {', '.join(known)}; received {value!r}")


def require_all_of(flag: str, values: Iterable[str], known: Collection[str]) -> None:
    """Raises `InputError` unless all values of the list option `flag` are `known`."""
    for value in values:
        require_one_of(flag, value, known)


def run(options_type: type[Options], main: Callable[[Options], None], usage: str) -> None:
    """Runs a command and ends the process; see `execute`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # Windows' code pages have no λ, for example
            stream.reconfigure(errors="backslashreplace")
    sys.exit(execute(options_type, main, usage, sys.argv))


def execute(
    options_type: type[Options], main: Callable[[Options], None], usage: str, argv: list[str]
) -> int:
    """Parses the flags, calls `main` with them and prints errors.

    Args:
        options_type: a dataclass of `option` fields. Each is a flag of its name; a
            field called `arguments` takes the positional arguments.
        main: the command.
        usage: the text of `--help` above the flags.
        argv: the command line, the command itself first.

    Returns:
        The exit status: 0 on success; 2 on invalid input or when the system refuses (disk,
        folder, memory), printed as one line; 1 when the reader of the output (e.g. `head`)
        has closed it; 130 after Ctrl-C or SIGTERM. Any other exception is a bug and is
        raised.
    """
    logging.set_verbosity(logging.WARNING)
    global _quiet
    _quiet = False  # of an earlier command of this process
    fields = [field for field in dataclasses.fields(options_type) if field.name != "arguments"]
    if threading.current_thread() is threading.main_thread():  # no other thread can set handlers
        # Schedulers send SIGTERM. Like Ctrl-C, it ends the command and releases its locks.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if "--help" in argv[1:]:
            say("\n".join([usage.strip(), "", *map(_help, [*fields, *COMMON])]))
        elif "--version" in argv[1:]:
            say(f"tagnet {tagnet.__version__}")
        else:
            main(_parse(options_type, fields, argv))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # else Python fails to flush the old one
        return 1
    except KeyboardInterrupt:
        print("interrupted; finished files are complete", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if (line := _error_line(error)) is None:
            raise
        print(f"error: {single_line(line)}", file=sys.stderr)
        return 2
    return 0


def _error_line(error: Exception) -> str | None:
    """A line on what the system refused; None for a bug."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    if (reason := os_error_reason(error)) is not None:
        found = OF_FILES.fullmatch(text)
        named = getattr(error, "filename", None) or (found["file"] if found else "the system")
        return f"{os.fsdecode(named)}: {reason}"
    if is_out_of_memory(error):
        return f"not enough memory ({text})"
    return None


def _parse(options_type: type[Options], fields: list, argv: list[str]) -> Options:
    global _quiet
    given = flags.FlagValues()
    for field in [*fields, *COMMON]:
        _DEFINE[_plain(field.type)](field.name, None, field.metadata["help"], flag_values=given)
    try:
        arguments = given(argv)[1:]
    except flags.Error as error:
        raise InputError(f"{' '.join(str(error).split())} (see --help)") from error
    _quiet = bool(given["quiet"].value)
    values = {}
    for field in fields:
        value = given[field.name].value
        if value is not None:
            values[field.name] = _plain(field.type)(value)
    if len(fields) < len(dataclasses.fields(options_type)):
        values["arguments"] = tuple(arguments)
    elif arguments:
        raise InputError(f"unexpected argument {arguments[0]!r}; flags start with --")
    return options_type(**values)


def _plain(annotation: Any) -> type:
    """The bare type: without `| None`, and without a tuple's element types."""
    if isinstance(annotation, types.UnionType):
        (annotation,) = (part for part in typing.get_args(annotation) if part is not types.NoneType)
    return typing.get_origin(annotation) or annotation


def _help(field: dataclasses.Field) -> str:
    default = field.default
    if isinstance(default, tuple):
        default = ",".join(default)
    if default is False:
        default = "off"
    shown = "" if default is None or default == "" else f" [{default}]"
    return f"  --{field.name:<16} {field.metadata['help']}{shown}"
