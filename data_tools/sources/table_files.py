"""The rows of a table's file: CSV, TSV, JSONL, JSON, Parquet; plain, `.gz` or zipped.

JSON is a list of records, COCO's, an export of Label Studio, or FiftyOne's labels.

Rows are counted from 1, a CSV's header not counted; of JSONL they are the lines. A CSV may be
separated by commas, semicolons or tabs, as its header says; rows without any entry are ignored.
"""

import contextlib
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from data_tools import packed
from data_tools.sources import coco, fiftyone_labels, label_studio
from tagnet.errors import InputError, reason_of
from tagnet.system.console import counted

Rows = Iterator[tuple[int, Mapping[str, Any]]]
DELIMITERS = ",;\t"


@dataclass(frozen=True)
class RowFile:
    """The rows of a file, which is read again each time they are asked for.

    Attributes:
        columns: their names.
        read: gives (number, fields) of every row, with these columns at least; a field that a
            row does not have is left out.
        notes: what a user should be told about how the file is read, complete when it was.
    """

    columns: Sequence[str]
    read: Callable[[Sequence[str]], Rows]
    notes: Sequence[str] = ()


def open_rows(path: Path) -> RowFile:
    """Opens a file, whose ending says what it is.

    Raises:
        InputError: names the file, and the row where there is one. So does reading the rows.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder; a table must be a file")
    with _explaining(path):
        name = Path(packed.inner_name(path))
    kind = Path(name.stem if name.suffix.lower() == ".gz" else name).suffix.lower()
    if kind not in KINDS or (kind == ".parquet" and name.suffix.lower() == ".gz"):
        raise InputError(f"{path}: a table must end in {', '.join(KINDS)}")
    with _explaining(path):
        opened = KINDS[kind](path)
    return RowFile(opened.columns, lambda names: _explained_rows(path, opened, names), opened.notes)


def _explained_rows(path: Path, rows: RowFile, names: Sequence[str]) -> Rows:
    with _explaining(path):
        yield from rows.read(names)


@contextlib.contextmanager
def _explaining(path: Path) -> Iterator[None]:
    """Turns what the system or a decoder refuses into one line."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason})") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: must be UTF-8 text ({error.reason}); save it as UTF-8: in Excel as 'CSV "
            f"UTF-8', or by `iconv -f {_encoding(error.object)} -t UTF-8 OLD > NEW`"
        ) from error


def _encoding(content: bytes) -> str:
    """What text that is not UTF-8 seems to be."""
    zeros = content[:1000].count(0) > len(content[:1000]) / 5
    return "UTF-16" if zeros or content[:2] in (b"\xff\xfe", b"\xfe\xff") else "WINDOWS-1252"


@contextlib.contextmanager
def _open_text(path: Path, newline: str = "") -> Iterator[TextIO]:
    """Opens text, with or without a byte order mark."""
    with packed.opened(path) as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        binary = cast(BinaryIO, gzip.open(file)) if is_gzip else file
        with io.TextIOWrapper(binary, encoding="utf-8-sig", newline=newline) as text:
            yield text


def _open_csv(path: Path) -> RowFile:
    with _open_text(path) as file:
        first = file.readline()
        # What Excel is told the separator by.
        hint = first.strip() if first[:4].lower() == "sep=" else None
        delimiter = (hint[4:5] or "\t") if hint else max(DELIMITERS, key=first.count)
        if "\0" in first:
            raise InputError(
                f"{path}: must be UTF-8 text (it holds NUL); save it as UTF-8: in Excel as 'CSV "
                "UTF-8', or by `iconv -f UTF-16 -t UTF-8 OLD > NEW`"
            )
    skipped = 1 if hint else 0
    lines = _csv_lines(path, delimiter, skipped)
    header = next(lines, (0, []))[1]
    notes: list[str] = []
    return RowFile(header, lambda names: _csv_rows(path, delimiter, skipped, notes), notes)


def _csv_lines(
    path: Path, delimiter: str, skipped: int, notes: list[str] | None = None
) -> Iterator[tuple[int, list[str]]]:
    """The header, then the rows that have an entry, with their numbers."""
    with _open_text(path) as file:
        for _ in range(skipped):
            file.readline()
        mended: list[str] = []
        lines = csv.reader(_mended(file, delimiter, mended), delimiter=delimiter, strict=True)
        number = -1
        try:
            for fields in lines:
                if not fields:  # a blank line
                    continue
                number += 1
                if number == 0 or fields[0].strip() or any(field.strip() for field in fields):
                    yield number, fields
            if mended and notes is not None and not notes:
                notes.append(
                    f"table: {counted(len(mended), 'row')} with quotation marks in an entry that "
                    f"are not doubled; the first: {mended[0].strip()[:60]!r}"
                )
        except csv.Error as error:
            raise InputError(f"{path}: row {number + 1} is not CSV ({error})") from error


def _mended(lines: Iterable[str], delimiter: str, mended: list[str]) -> Iterator[str]:
    """The lines; quotation marks inside of an entry are doubled where they should have been."""
    inside = re.compile(rf'(?<=[^{delimiter}\r\n])"(?=[^{delimiter}\r\n])')
    number = 0
    for line in lines:
        if '"' in line:
            try:
                next(csv.reader([line], delimiter=delimiter, strict=True))
            except csv.Error as error:
                doubled = inside.sub('""', line)
                if "expected after" in str(error) and _is_row(doubled, delimiter, number):
                    mended.append(line)
                    line = doubled
        number = number or line.count(delimiter) + 1
        yield line


def _is_row(line: str, delimiter: str, fields: int) -> bool:
    """Whether a line is a row of this many fields."""
    try:
        return len(next(csv.reader([line], delimiter=delimiter, strict=True))) == fields
    except csv.Error:
        return False


def _csv_rows(path: Path, delimiter: str, skipped: int, notes: list[str]) -> Rows:
    lines = _csv_lines(path, delimiter, skipped, notes)
    _, header = next(lines)
    for number, fields in lines:
        more = fields[len(header) :]
        if len(fields) < len(header) or (more and any(field.strip() for field in more)):
            raise InputError(
                f"{path}: row {number} must have {len(header)} fields, as the header; "
                f"received {len(fields)} (an entry with {delimiter!r} in it needs quotation marks)"
            )
        yield number, dict(zip(header, fields, strict=False))


def _open_jsonl(path: Path) -> RowFile:
    columns: dict[str, None] = {}
    for _, fields in _jsonl_rows(path):
        columns |= dict.fromkeys(fields)
    return RowFile(list(columns), lambda names: _jsonl_rows(path))


def _jsonl_rows(path: Path) -> Rows:
    with _open_text(path, newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                fields = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}: row {number} is not JSON ({error})") from error
            yield number, _object(fields, path, number)


def _object(fields: Any, path: Path, number: int) -> dict[str, Any]:
    if not isinstance(fields, dict):
        raise InputError(
            f"{path}: row {number} must be a JSON object; received {type(fields).__name__}"
        )
    return fields


def _open_json(path: Path) -> RowFile:
    content = read_json_file(path)
    if content is None:
        return _open_jsonl(path)
    if coco.is_coco(content):
        rows, notes = coco.read(content, path, read_json_file)
    elif label_studio.is_label_studio(content):
        rows, notes = label_studio.read(content, path)
    elif fiftyone_labels.is_fiftyone(content):
        rows, notes = fiftyone_labels.read(content, path)
    elif isinstance(content, list):
        rows = [_object(row, path, number) for number, row in enumerate(content, 1)]
        notes = []
    else:
        raise InputError(
            f"{path}: must hold a list of objects, one for each image, or be in COCO's format "
            "(images, annotations, categories) or in FiftyOne's (classes, labels); received "
            "another JSON object"
        )
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return RowFile(columns, lambda names: iter(enumerate(rows, 1)), notes)


def read_json_file(path: Path) -> Any:
    """What a JSON file holds; None if it is JSON lines.

    Raises:
        InputError: it is neither.
    """
    with _open_text(path) as file:
        text = file.read()
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        first = text.lstrip().split("\n", 1)[0]
        if first.startswith("{") and first.rstrip().endswith("}"):
            return None
        raise InputError(f"{path}: is not JSON ({error})") from error


def _open_parquet(path: Path) -> RowFile:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise InputError(f"{path}: Parquet needs pyarrow; run `pip install pyarrow`") from error
    try:
        columns = list(parquet.read_schema(packed.seekable(path)).names)
    except ArrowException as error:
        reason = reason_of(error)
        raise InputError(f"{path}: is not a valid Parquet file ({reason})") from error
    return RowFile(columns, lambda names: _parquet_rows(path, names))


def _parquet_rows(path: Path, names: Sequence[str]) -> Rows:
    from pyarrow import ArrowException, parquet

    number = 0
    try:
        # Without pandas, whose own types a file may name and another version not know.
        with parquet.ParquetFile(packed.seekable(path)) as file:
            for batch in file.iter_batches(columns=list(names)):
                for fields in batch.to_pylist():
                    number += 1
                    yield number, {name: _as_json(value) for name, value in fields.items()}
    except (ArrowException, UnicodeDecodeError) as error:
        reason = reason_of(error)
        raise InputError(f"{path}: cannot be read after row {number} ({reason})") from error


def _as_json(value: Any) -> Any:
    """Text that was stored as bytes is text."""
    if isinstance(value, list):
        return [_as_json(entry) for entry in value]
    return value.decode() if isinstance(value, bytes) else value


KINDS: dict[str, Callable[[Path], RowFile]] = {
    ".csv": _open_csv,
    ".tsv": _open_csv,
    ".jsonl": _open_jsonl,
    ".ndjson": _open_jsonl,
    ".json": _open_json,
    ".parquet": _open_parquet,
}
