"""What one cell of a table means: a list in one of several notations, a name, a number.

Programs write lists into CSV in ways of their own. A cell that begins with `[` and ends with `]`
(or is a tuple or a set of quoted entries) is such a list:

    ["sea", "sky"]      JSON
    ['sea', 'sky']      Python: what pandas writes
    ['sea' 'sky']       NumPy
    [sea, sky]          without quotation marks
    ['it's', 'sky']     with quotation marks that were not escaped

Nothing in a cell is evaluated.
"""

import ast
import decimal
import io
import json
import math
import re
import tokenize
import unicodedata
from typing import Any

from tagnet.data.tags import INVISIBLE

JOINERS = "\u200c\u200d"  # invisible, and part of words in some scripts and of some pictograms
BRACKETS = {"[": "]", "(": ")", "{": "}"}
CLOSING = tuple(BRACKETS.values())
ARRAY = re.compile(r"(?:np\.|numpy\.)?array\((\[.*\])(?:,\s*dtype=[^\]]*)?\)", re.DOTALL)
SEVERAL = re.compile(r"\[[^\[\]'\"]*\][^\[\]'\"]*\[[^'\"]*\]")  # names in brackets of their own
BETWEEN = re.compile(r"""['"]\s*,?\s*['"]""")  # two entries
SKIPPED = (tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER, tokenize.INDENT, tokenize.DEDENT)


def spelled(text: str) -> str:
    r"""The spelling under which a label is counted, and a tag is listed.

    Unicode NFC, runs of white space as one blank, none at the ends, without invisible characters
    other than joiners inside a word.

    >>> spelled(" blue\u00a0 sky\u200b"), spelled("\ufeffa\u0308")
    ('blue sky', 'ä')
    """
    if not text.isascii() or not text.isprintable():
        text = "".join(
            char
            for char in text
            if char.isspace() or char in JOINERS or unicodedata.category(char) not in INVISIBLE
        )
        text = unicodedata.normalize("NFC", text).strip(JOINERS)
    return " ".join(text.split())


def trimmed(text: str) -> str:
    """A table's name of an image or a file: without white space and invisible ends, in NFC."""
    if text.isascii() and text.isprintable():  # nearly all names
        return text.strip()
    start, end = 0, len(text)
    while start < end and _is_blank(text[start]):
        start += 1
    while start < end and _is_blank(text[end - 1]):
        end -= 1
    return unicodedata.normalize("NFC", text[start:end])


def _is_blank(char: str) -> bool:
    return char.isspace() or unicodedata.category(char) in INVISIBLE


def is_null(value: Any) -> bool:
    """Whether a value of JSON or Parquet says that there is none."""
    return value is None or (isinstance(value, float | decimal.Decimal) and math.isnan(value))


def as_text(value: Any) -> str | None:
    """A string, or a number as it stands in CSV; None where the value is something else.

    >>> as_text(7), as_text(7.0), as_text("7.0"), as_text(True)
    ('7', '7', '7.0', None)
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | decimal.Decimal):
        return None
    if not math.isfinite(value):
        return None
    return str(int(value)) if value == int(value) else str(value)


def list_in(cell: str) -> list[Any] | None:
    """The entries of a cell that is a list as a whole; None if it is not one.

    Raises:
        ValueError: it looks like a list and cannot be read as one; the message says why.

    >>> list_in("['sea' 'sky']"), list_in('["sea", 7]'), list_in("sea|sky"), list_in("(sea)")
    (['sea', 'sky'], ['sea', 7], None, None)
    """
    cell = cell.strip()
    if cell[-1:] not in CLOSING:  # nearly all cells
        return None
    if found := ARRAY.fullmatch(cell):
        cell = found[1]
    if len(cell) < 2 or BRACKETS.get(cell[0]) != cell[-1] or SEVERAL.fullmatch(cell):
        return None
    if cell[0] != "[":
        # Names may stand in brackets; the entries of tuples and sets have quotation marks.
        return _tokens(cell) if cell[1:].lstrip()[:1] in ("'", '"') else None
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        pass
    if (entries := _tokens(cell)) is not None:
        return entries
    inside = cell[1:-1].strip()
    if "[" in inside or "]" in inside:
        raise ValueError("a list must not hold lists")
    if re.search(r"(^|\s)\.\.\.(\s|$)", inside):
        raise ValueError("the list was shortened to '...' when it was written")
    if len(inside) > 1 and inside[0] in "'\"" and inside[-1] in "'\"":
        return BETWEEN.split(inside[1:-1])
    if any(mark in inside for mark in "'\"") and not re.search(r"\w['’]\w", inside):
        raise ValueError("its quotation marks do not match")
    return inside.split(",")


def _tokens(cell: str) -> list[Any] | None:
    """The strings and numbers between the brackets; None if there is anything else.

    Strings beside each other are entries of their own, whereas Python would join them.
    """
    entries: list[Any] = []
    sign, depth = "", 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(cell).readline):
            if token.type in (tokenize.STRING, tokenize.NUMBER):
                value = ast.literal_eval(sign + token.string)
                entries.append(value.decode() if isinstance(value, bytes) else value)
                sign = ""
            elif token.string in ("None", "nan", "null"):
                entries.append(None)
            elif token.string == "-":
                sign = "-"
            elif token.string in BRACKETS:
                depth += 1
            elif token.string not in (",", *BRACKETS.values()) and token.type not in SKIPPED:
                return None
    except (tokenize.TokenError, SyntaxError, ValueError):  # also of bytes that are not UTF-8
        return None
    if depth > 1:
        raise ValueError("a list must not hold lists")
    return entries


def plain_name(name: str) -> str:
    """A column's or array's name as usual names are spelt: lower case, no blanks, `_` and `-`."""
    return re.sub(r"[\s_-]", "", name.lower())
