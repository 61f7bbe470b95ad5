"""β and the sum of eq. 6."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagnet.data import embeddings
from tagnet.data.embeddings import Embedding, rho
from tagnet.data.tags import TagLists
from tagnet.errors import InputError
from tagnet.system.files import write_arrays


def make_embedding(words: int = 10, size: int = 4) -> Embedding:
    vectors = np.random.default_rng(0).normal(size=[words, size]).astype(np.float32)
    known = np.arange(words) % 3 > 0
    return Embedding(vectors * known[:, None], known)


@given(st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=8))
def test_rho_is_the_multi_hot_vector_times_the_table(lists):
    tags, embedding = TagLists.from_lists(lists), make_embedding()
    sums = rho(tags, embedding)
    assert (sums.dtype, sums.shape) == (np.float32, (len(lists), 4))
    np.testing.assert_allclose(sums, tags.multi_hot(10) @ embedding.vectors, rtol=1e-5, atol=1e-6)


def test_rho_adds_in_id_order_in_float64():
    # float32 would lose the 1 beside 2^24, and any other order the 2^-30 beside 2^53.
    vectors = np.array([[2**24], [1], [-(2**24)], [2**53], [-(2**53)], [2.0**-30]], np.float32)
    embedding = Embedding(vectors, np.ones(6, bool))
    sums = rho(TagLists.from_lists([[2, 1, 0], [5, 4, 3]]), embedding)
    assert sums.tolist() == [[1.0], [2.0**-30]]


def test_equal_tag_sets_give_equal_bits_wherever_they_stand(monkeypatch):
    lists = [[1, 4, 5, 8], [2], [8, 5, 4, 1], [], [1, 4, 5, 8]] * 3
    whole = rho(TagLists.from_lists(lists), make_embedding(size=7))
    assert (whole[0] == whole[2]).all() and (whole[0] == whole[4]).all()
    monkeypatch.setattr(embeddings, "BLOCK", 2)
    assert (rho(TagLists.from_lists(lists), make_embedding(size=7)) == whole).all()


def test_words_without_a_vector_add_nothing():
    embedding = make_embedding()  # 0, 3, 6 and 9 are unknown
    sums = rho(TagLists.from_lists([[0, 3, 6], [], [0, 1, 9], [1]]), embedding)
    assert not sums[:2].any()
    assert (sums[2] == sums[3]).all()


def test_an_id_beyond_the_table_is_named():
    with pytest.raises(InputError) as error:
        rho(TagLists.from_lists([[1], [10]]), make_embedding())
    assert str(error.value) == "embedding: has vectors for 10 words; received the tag id 10"


def test_a_saved_embedding_loads_equal(tmp_path):
    embedding = make_embedding()
    embedding.save(tmp_path / "w2v.npz")
    loaded = Embedding.load(tmp_path / "w2v.npz", num_words=10)
    assert loaded.vectors.dtype == np.float32
    assert (loaded.vectors == embedding.vectors).all()
    assert (loaded.known == embedding.known).all()


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (
            {"vectors": np.zeros([9, 4], np.float32)},
            "vectors must have one row for each of the 10 words of the vocabulary; "
            "received shape (9, 4)",
        ),
        (
            {"vectors": np.zeros([10, 0], np.float32)},
            "vectors must have one row for each of the 10 words of the vocabulary; "
            "received shape (10, 0)",
        ),
        ({"vectors": np.zeros([10, 4], int)}, "vectors must be floating-point; received int64"),
        (
            {"known": np.ones(10, int)},
            "known must be a bool for each of the 10 words; received int64 of shape (10,)",
        ),
        (
            {"known": np.ones(9, bool)},
            "known must be a bool for each of the 10 words; received bool of shape (9,)",
        ),
        (
            {"vectors": np.diag([1.0] * 7 + [np.nan] * 3)},
            "vectors must be finite; row 7 is not so",
        ),
        (
            {"known": np.arange(10) != 4},
            "an unknown word must have a vector of zeros; row 4 is not so",
        ),
    ],
)
def test_a_table_of_another_vocabulary_is_refused(tmp_path, changed, line):
    path = tmp_path / "w2v.npz"
    write_arrays(path, {"vectors": np.eye(10, dtype="f4"), "known": np.ones(10, bool)} | changed)
    with pytest.raises(InputError) as error:
        Embedding.load(path, num_words=10)
    assert str(error.value) == f"{path}: {line}"


def test_a_file_without_the_arrays_is_refused(tmp_path):
    path = tmp_path / "w2v.npz"
    write_arrays(path, {"vectors": np.zeros([10, 4])})
    with pytest.raises(InputError, match="must hold the array 'known'"):
        Embedding.load(path, num_words=10)
