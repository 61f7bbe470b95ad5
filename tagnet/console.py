"""How a command speaks: progress on a terminal, plain lines elsewhere, one line for a mistake."""

import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

from absl import app, flags, logging
from tqdm import tqdm

from tagnet.files import InputError

T = TypeVar("T")


def say(line: str = "") -> None:
    """Prints a line to standard output at once, also where the output is a pipe."""
    print(line, flush=True)


def progress(items: Iterable[T], what: str, total: int | None = None) -> Iterable[T]:
    """Iterates over `items` under a bar called `what`; off a terminal it draws nothing."""
    return tqdm(items, desc=what, total=total, disable=not sys.stderr.isatty(), leave=False)


def run(main: Callable[[list[str]], None], usage: str) -> None:
    """Reads the command's flags, runs `main` on its other arguments, and exits.

    The exit status is 0 on success and 2 on a user's mistake, which is printed
    as one line; any other exception is a fault of ours and keeps its traceback.

    Args:
        main: gets what stands on the command line beside the flags.
        usage: what `--help` says above the flags.
    """
    if "--help" in sys.argv[1:]:
        say(_help(usage))
        sys.exit(0)
    app.run(lambda argv: _guarded(main, argv[1:]), flags_parser=_parse_flags)


def _guarded(main: Callable[[list[str]], None], arguments: list[str]) -> int:
    logging.set_verbosity(logging.WARNING)
    try:
        main(arguments)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parse_flags(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        print(f"error: {' '.join(str(error).split())} (see --help)", file=sys.stderr)
        sys.exit(2)


def _help(usage: str) -> str:
    """One line a flag of the command itself: name, what it does, default."""
    command_flags = flags.FLAGS.get_key_flags_for_module("__main__") or (
        flags.FLAGS.get_key_flags_for_module(sys.argv[0])
    )
    lines = [usage, ""]
    for flag in command_flags:
        default = "" if flag.default in (None, "", []) else f" [{flag.default}]"
        lines.append(f"  --{flag.name:<16} {flag.help}{default}")
    return "\n".join(lines)
