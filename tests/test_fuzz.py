"""Readers of files that come from elsewhere: whatever the bytes, an answer or one line."""

from pathlib import Path
from typing import Any

import fuzz
import pytest

from tagnet.errors import InputError

FEW = 25


@pytest.mark.parametrize("name", fuzz.READERS)
def test_damaged_files_give_an_answer_or_one_line(name: str, tmp_path: Path) -> None:
    assert fuzz.try_out(name, tmp_path / "files", FEW).wrong == []


def test_what_is_wrong_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A careful reader, one that trusts its file, two that take for ever."""

    def careful(path: Path) -> None:
        if path.read_bytes() != b"whole":
            raise InputError("it must be whole")

    def trusting(path: Path) -> None:
        assert path.read_bytes() == b"whole"

    def endless(path: Path) -> None:
        whole = path.read_bytes() == b"whole"
        while not whole:
            pass

    def catching(path: Path) -> None:
        try:
            endless(path)
        except Exception as error:
            raise InputError("it is damaged") from error

    def outcome(read: Any) -> tuple[int, int]:
        monkeypatch.setitem(fuzz.READERS, "x", fuzz.reader("x", read, fuzz.as_written(b"whole")))
        found = fuzz.try_out("x", tmp_path / read.__name__, 5)
        return found.refused, len(found.wrong)

    monkeypatch.setattr(fuzz, "LONG", 0.05)
    assert outcome(careful) == (5, 0)
    assert [outcome(read) for read in (trusting, endless, catching)] == [(0, 5)] * 3


@pytest.mark.large
@pytest.mark.parametrize("name", fuzz.READERS)
def test_very_many_damaged_files(name: str, tmp_path: Path) -> None:
    found = fuzz.try_out(name, tmp_path / "files", fuzz.MANY)
    print(found)
    assert found.wrong[:3] == []
    assert found.megabytes < fuzz.LARGE
