"""What one cell of a table means: lists in several notations, names, numbers, missing values."""

import decimal
import math

import pytest

from data_tools.sources.cells import as_text, is_null, list_in, spelled, trimmed


@pytest.mark.parametrize(
    ("cell", "entries"),
    [
        ('["sea", "sky"]', ["sea", "sky"]),
        ("['sea', 'sky']", ["sea", "sky"]),
        ("  ['sea',\n 'sky']  ", ["sea", "sky"]),
        ("['sea' 'sky']", ["sea", "sky"]),
        ("['sea'\n 'sky']", ["sea", "sky"]),
        ("array(['sea', 'sky'], dtype=object)", ["sea", "sky"]),
        ("('sea', 'sky')", ["sea", "sky"]),
        ("{'sea', 'sky'}", ["sea", "sky"]),
        ("""["it's", 'sky']""", ["it's", "sky"]),
        ("['it's', 'sky']", ["it's", "sky"]),
        ("['it's' 'sky']", ["it's", "sky"]),
        ("[sea, blue sky]", ["sea", " blue sky"]),
        ("[1, 2]", [1, 2]),
        ("[1 -2]", [1, -2]),
        ("[b'sea']", ["sea"]),
        ("['sea', nan, None]", ["sea", None, None]),
        ("['a|b', 'c, d']", ["a|b", "c, d"]),
        ("[]", []),
        ("['[sea]']", ["[sea]"]),
        ("sea|sky", None),
        ("[sea]|[sky", None),
        ("[sea]|[sky]", None),
        ("(sea)", None),
        ("{sea}", None),
        ("", None),
        ("[", None),
    ],
)
def test_lists(cell: str, entries: list | None) -> None:
    assert list_in(cell) == entries


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("['sea' ... 'sky']", "was shortened to '...'"),
        ("[['sea'], ['sky']]", "must not hold lists"),
        ("""["sea", 'sky]""", "quotation marks do not match"),
    ],
)
def test_lists_that_cannot_be_read(cell: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        list_in(cell)


def test_nothing_is_evaluated() -> None:
    with pytest.raises(ValueError, match="quotation marks"):
        list_in("[__import__('os').getcwd()]")
    assert list_in("[print(1)]") == ["print(1)"]


def test_names_are_composed_and_without_what_is_not_seen() -> None:
    # Zero-width and no-break spaces, a byte order mark, a soft hyphen, runs of white space.
    for text in ("blue sky", " blue  sky\u200b", "\ufeffblue\u00a0sky", "blu\u00ade \t sky"):
        assert spelled(text) == "blue sky"
    assert spelled("Mo\u0308we") == "M\u00f6we"
    persian, family = "می\u200cخواهم", "\U0001f468\u200d\U0001f469"
    assert (spelled(persian), spelled(family)) == (persian, family)  # joiners have a meaning
    assert spelled("\u200dsea\u200c") == "sea"
    assert trimmed("\ufeff a\u200db  c\u200b ") == "a\u200db  c"


def test_numbers_are_their_digits() -> None:
    values = [7, 7.0, 1.5, 2**62, decimal.Decimal("7.00"), "7.0"]
    assert list(map(as_text, values)) == ["7", "7", "1.5", str(2**62), "7", "7.0"]
    assert list(map(as_text, [True, None, math.inf, math.nan, [1]])) == [None] * 5
    assert [is_null(value) for value in (None, math.nan, "", 0)] == [True, True, False, False]
