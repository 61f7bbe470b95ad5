"""The errors that commands print as one line: bad input, and a system that refuses."""

import re

HINT_PREPARE = "prepare the data again"  # ends a line about a damaged prepared directory
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class InputError(ValueError):
    """Invalid input: one line that names the place, the rule and what was received.

    Commands print the line and exit with status 2; nothing else may raise it. What breaks a
    line or moves a terminal's cursor, in a name that it quotes, is escaped.
    """

    def __init__(self, line: str) -> None:
        super().__init__(single_line(line))


class CannotWrite(InputError):
    """The system refused to read or write; another attempt would fail too."""


class DiskFull(CannotWrite):
    """No room is left, for any file."""


def reason_of(error: BaseException) -> str:
    """What an error of another library says, for the parentheses in a line of ours."""
    return " ".join(str(error).split()) or type(error).__name__


def single_line(text: str) -> str:
    """Escapes what breaks a line or moves a terminal's cursor."""
    return CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)
