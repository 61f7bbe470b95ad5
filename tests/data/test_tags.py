"""Tags: one spelling for each, ids for the known ones, and back."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tagnet.data.tags import TagLists, Vocabulary, count_tags, normalise
from tagnet.errors import InputError

id_lists = st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=8)


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("Sky", "sky"),
        ("  sky\n", "sky"),
        ("New  York\tCity", "new_york_city"),
        ("new\u00a0york", "new_york"),  # a no-break space is white space too
        ("\uff33\uff2b\uff39", "sky"),  # full-width letters: NFKC
        ("\ufb01sh", "fish"),  # the ligature fi
        ("cafe\u0301", "caf\u00e9"),  # a letter and an accent, or both in one
        ("J\u030c", "\u01f0"),  # only the small letter exists with the accent in one
        ("\u0130zmir", "izmir"),  # lower-casing makes two characters of one: i and a dot
        ("I\u0307zmir", "izmir"),
        ("i\u0307\u0307zmir", "izmir"),  # as other programs lower-case
        ("i\u0307\u0301", "\u00ed"),  # Lithuanian keeps the dot below an accent
        ("\u2764\ufe0f", "\u2764"),  # a heart as emoji; \ufe0e: as text
        ("\u2764\ufe0e", "\u2764"),
        ("1\ufe0f\u20e3", "1\u20e3"),
        ("\u8fbb\U000e0100", "\u8fbb"),  # one of several forms of an ideograph
        ("\ufe0f", ""),
        ("s\u200bk\x00y", "sky"),  # a zero-width space and a control character
        ("sky\ud800", "sky"),  # half a surrogate pair cannot be written to a file
        ("sk\u2028y", "sk_y"),  # a line separator must not break a line of vocabulary.txt
        ("\u200b \x07", ""),
        ("", ""),
    ],
)
def test_normalise(tag, expected):
    assert normalise(tag) == expected


@given(st.text(st.characters() | st.sampled_from("iI\u0130\u0307\u0323\u0301\ufe0f"), max_size=6))
def test_normalised_tags_stay_as_they_are_and_fit_on_a_line(tag):
    word = normalise(tag)
    assert normalise(word) == word
    assert word.splitlines() == ([word] if word else [])
    assert not any(char.isspace() for char in word)
    word.encode("utf-8")


@given(id_lists)
def test_tag_lists_give_back_sorted_sets(lists):
    packed = TagLists.from_lists(lists)
    assert [packed[row].tolist() for row in range(len(packed))] == [sorted({*row}) for row in lists]
    assert packed.lengths.tolist() == [len({*row}) for row in lists]
    assert (packed.ids.dtype, packed.offsets.dtype) == (np.int32, np.int64)


@given(id_lists.filter(bool), st.data())
def test_select_takes_rows_in_the_given_order(lists, data):
    rows = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=10))
    selected = TagLists.from_lists(lists).select(np.array(rows, int))
    assert [ids.tolist() for ids in selected] == [sorted({*lists[row]}) for row in rows]


@given(id_lists)
def test_multi_hot_marks_exactly_the_tags(lists):
    o_x = TagLists.from_lists(lists).multi_hot(10)
    assert (o_x.dtype, o_x.shape) == (np.float32, (len(lists), 10))
    assert [np.flatnonzero(row).tolist() for row in o_x] == [sorted({*row}) for row in lists]
    assert set(np.unique(o_x)) <= {0, 1}


def test_tag_lists_index_as_lists_do():
    packed = TagLists.from_lists([[1], [], [2, 3]])
    assert packed[-1].tolist() == [2, 3]
    with pytest.raises(IndexError):
        packed[3]
    assert len(list(packed)) == 3


def test_a_vocabulary_counts_images_and_breaks_ties_by_the_alphabet():
    # In images: sea 3 (four times written), ant 2, sky 2, zoo 1.
    images = [["sea", "SEA", "sky"], ["Sea", "ant"], ["sea ", "sky", "ant", "\u200b"], ["zoo"]]
    assert Vocabulary.of_counts(count_tags(images), 2).words == ("sea", "ant")
    assert Vocabulary.of_counts(count_tags(images), 9).words == ("sea", "ant", "sky", "zoo")
    assert Vocabulary.of_counts(count_tags(images), 9, min_images=2).words == ("sea", "ant", "sky")


@pytest.mark.parametrize(
    ("images", "options", "line"),
    [
        ([["sky"]], {"size": 0}, "vocabulary: size must be at least 1; received 0"),
        (
            [["sky"]],
            {"size": 1, "min_images": 0},
            "vocabulary: min_images must be at least 1; received 0",
        ),
        (
            [["sky"], ["sky", "sea"]],
            {"size": 1, "min_images": 3},
            "vocabulary: no tag occurs in at least 3 images; the most frequent has 2",
        ),
        (
            [[], [" "]],
            {"size": 1},
            "vocabulary: no tag occurs in at least 1 image; no image has a tag",
        ),
    ],
)
def test_an_empty_vocabulary_is_refused(images, options, line):
    with pytest.raises(InputError) as error:
        Vocabulary.of_counts(count_tags(images), **options)
    assert str(error.value) == line


def test_encode_normalises_sorts_and_drops_the_unknown():
    vocabulary = Vocabulary(("sky", "new_york", "sea"))
    ids = vocabulary.encode(["SEA", "moon", "New York", "sea", ""])
    assert (ids.tolist(), ids.dtype) == ([1, 2], np.int32)
    assert vocabulary.decode(ids) == ["new_york", "sea"]
    assert vocabulary.encode([]).tolist() == []
    packed = vocabulary.encode_all([["sky", "moon"], [], ["sea", "sky"]])
    assert [row.tolist() for row in packed] == [[0], [], [0, 2]]


@given(st.lists(st.lists(st.text(max_size=4), max_size=5), max_size=5))
def test_encode_then_decode_keeps_the_known_tags(images):
    words = {normalise(tag) for tags in images for tag in tags} - {""}
    assume(words)
    vocabulary = Vocabulary.of_counts(count_tags(images), size=100)
    for tags in images:
        known = {normalise(tag) for tag in tags} - {""}
        assert set(vocabulary.decode(vocabulary.encode(tags))) == known
    assert len(vocabulary) == len(words)


def test_a_saved_vocabulary_loads_equal(tmp_path):
    path = tmp_path / "vocabulary.txt"
    vocabulary = Vocabulary(("sky", "caf\u00e9", "#1", "\u6771\u4eac"))
    vocabulary.save(path)
    assert path.read_bytes() == "sky\ncaf\u00e9\n#1\n\u6771\u4eac\n".encode()
    assert Vocabulary.load(path) == vocabulary


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "must hold one word per line; the file is empty"),
        (b"sky\n\nsea\n", "line 2 is empty; it must hold a word"),
        (b"sky\nSea\n", "line 2 must be normalised ('sea'); received 'Sea'"),
        (b"sky\nsea\nsky\n", "line 3 repeats line 1: 'sky'"),
        (b"sky\n\xff\n", "must be UTF-8 text; byte 4 is 0xff"),
    ],
)
def test_a_broken_vocabulary_file_is_named(tmp_path, content, line):
    path = tmp_path / "vocabulary.txt"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        Vocabulary.load(path)
    assert str(error.value) == f"{path}: {line}"


def test_a_vocabulary_of_version_0_2_is_read_and_its_words_are_found(tmp_path):
    path = tmp_path / "vocabulary.txt"
    path.write_text("sky\ni\u0307zmir\n\u2764\ufe0f\n\u2764\n", encoding="utf-8")
    vocabulary = Vocabulary.load(path)
    assert vocabulary.encode(["\u0130zmir"]).tolist() == [1]
    assert vocabulary.encode(["\u2764", "\u2764\ufe0e"]).tolist() == [2]
    assert vocabulary.words[1] == "i\u0307zmir"
