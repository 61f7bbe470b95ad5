"""Tags inside a graph are spelt and looked up as outside of it."""

from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tagnet.data.tags import Vocabulary, normalise
from tagnet.serving.tag_text import TagReader

WORDS = ("sea", "new_york", "café", "sky", "가", "ấ", "izmir", "\u2764", "\u00ed")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> TagReader:
    path: Path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.txt"
    Vocabulary(WORDS).save(path)
    return TagReader(path, len(WORDS))


def test_ids_are_those_of_the_vocabulary(reader):
    tags = [
        ["  New\tYork ", "SEA", "sea", "unheard of"],
        ["", "", "", ""],
        ["ＳＫＹ", "cafe\u0301", "s\u200bea", ""],
        ["\u1100\u1161", "A\u0302\u0301", "", "\ufffd"],
        ["\u0130zm\u0130r", "i\u0307zmir", "\u2764\ufe0f", "\ufe0e"],
        ["I\u0307zmir", "\u2764\ufe0e", "\u0130\u0301", "\u0307"],
    ]
    expected = [Vocabulary(WORDS).encode(row).tolist() for row in tags]
    assert expected == [[0, 1], [], [0, 2, 3], [4, 5], [6, 7], [6, 7, 8]]
    assert reader.ids(tf.constant(tags)).to_list() == expected
    assert reader.ids(tf.zeros([2, 0], tf.string)).to_list() == [[], []]
    assert reader.ids(tf.constant([[b"\xff\xfe", b"sea"]])).to_list() == [[0]]


def test_a_model_without_tags_knows_none(tmp_path: Path) -> None:
    (tmp_path / "vocabulary.txt").write_text("")
    none = TagReader(tmp_path / "vocabulary.txt", 0)
    assert none.ids(tf.constant([["sea", ""], ["", "\0"]])).to_list() == [[], []]


# Without capital sigma, which ends a word otherwise, and without marks that stand alone.
LETTERS = st.characters(exclude_categories=["Cs", "Mn", "Mc"], exclude_characters="Σ")


@settings(max_examples=60)
@given(tags=st.lists(st.text(LETTERS, max_size=12), min_size=1, max_size=20))
def test_any_text_is_spelt_as_outside(reader, tags):
    made = [word.decode() for word in reader.normalised(tf.constant(tags)).numpy()]
    assert made == [normalise(tag) for tag in tags]
