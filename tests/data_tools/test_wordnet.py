"""Word vectors from a WordNet database: a tiny one in the same format, against dense NumPy."""

from pathlib import Path

import numpy as np
import pytest
from helpers.tables import data_tools_command
from helpers.wordnet import SYNSETS, write
from scipy import sparse

from data_tools import wordnet
from data_tools.vectors import random_walk
from data_tools.vectors.vector_files import read_vectors
from data_tools.vectors.wordnet import most_linked, read_graph
from tagnet.errors import InputError

WORDS = (
    "alone animal beast big cat chase dog domestic_dog guy huge large pursue quickly small tail"
).split()
WEIGHT = {"~": 1, "@": 1, "!": 1, "%p": 0.8, "#p": 0.8}  # others .5, where weights are typed


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return write(tmp_path / "wordnet")


def lemmas(words: list[str]) -> list[str]:
    return [word.split("(")[0].lower() for word in words]


def dense_links(typed: bool = False) -> np.ndarray:
    """The method's links by its words: pointers add up, synonyms are 1, nobody links to itself."""
    links = np.zeros([len(WORDS), len(WORDS)])
    words_of = {(pos, offset): lemmas(words) for pos, offset, words, _ in SYNSETS}
    for pos, offset, words, pointers in SYNSETS:
        for symbol, target, target_pos in pointers:
            key = (target_pos.replace("s", "a"), target)
            if key == (pos, offset):
                continue
            for source in lemmas(words):
                for other in words_of[key]:
                    if other != source:
                        weight = WEIGHT.get(symbol, 0.5) if typed else 1
                        links[WORDS.index(source), WORDS.index(other)] += weight
    for words in words_of.values():
        for source in words:
            for other in words:
                if other != source:
                    links[WORDS.index(source), WORDS.index(other)] = 1
    return links


def dense_ppmi(links: np.ndarray) -> np.ndarray:
    sums = links.sum(axis=1, keepdims=True)
    walks = np.linalg.inv(np.eye(len(links)) - 0.75 * links / np.where(sums > 0, sums, 1))
    found = np.log2(np.maximum(len(links) * walks / walks.sum(axis=0), 1))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def random_links(size: int) -> sparse.csr_array:
    """Links that go both ways: each to a few near numbers, some to anywhere."""
    rng = np.random.default_rng(0)
    near = np.repeat(np.arange(size), 3)
    ends = np.where(rng.random(3 * size) < 0.8, near + rng.integers(1, 9, 3 * size), near * 7 + 3)
    one = sparse.coo_array((rng.integers(1, 4, 3 * size), (near, ends % size)), (size, size))
    links = sparse.csr_array(one + one.T)
    links.setdiag(0)
    links.eliminate_zeros()
    return links.astype(np.float32)


# --- The graph ----------------------------------------------------------------------------


def test_words_are_lemmas_in_lower_case_without_markers(database: Path) -> None:
    assert read_graph(database).words == tuple(WORDS)


@pytest.mark.parametrize("weights", ["equal", "typed"])
def test_links_are_those_of_the_method(database: Path, weights: str) -> None:
    links = read_graph(database, weights).links.toarray()
    np.testing.assert_allclose(links, dense_links(weights == "typed"), rtol=1e-6)


def test_two_pointers_count_twice_and_synonyms_once(database: Path) -> None:
    graph = read_graph(database)
    links = {
        (graph.words[i], graph.words[j]): graph.links[i, j]
        for i, j in zip(*graph.links.nonzero(), strict=True)
    }
    assert links["guy", "chase"] == 2  # two pointers "+"
    assert links["cat", "tail"] == 1
    assert links["cat", "guy"] == 1  # synonyms
    assert links["dog", "animal"] == 1
    assert ("pursue", "pursue") not in links  # its synset points to itself
    assert ("alone", "animal") not in links


def test_the_most_linked_words_are_kept_and_those_wanted(database: Path) -> None:
    graph = read_graph(database)
    degree = dict(zip(graph.words, (dense_links() > 0).sum(axis=1), strict=True))
    ranked = sorted((word for word in WORDS if degree[word]), key=lambda w: (-degree[w], w))
    kept = most_linked(graph, 5, lambda word: False)
    assert kept.words == tuple(ranked[:5])
    rows = [WORDS.index(word) for word in kept.words]
    np.testing.assert_array_equal(kept.links.toarray(), dense_links()[np.ix_(rows, rows)])
    wanted = {"quickly", "alone", "unheard"}  # alone has no link
    kept = most_linked(graph, 5, wanted.__contains__)
    assert set(kept.words) == {*ranked[:4], "quickly"}
    assert most_linked(graph, 99, lambda word: False).words == tuple(ranked)
    assert most_linked(graph, 1, lambda word: word in ("cat", "dog")).words == ("dog", "cat")


# --- The walk -----------------------------------------------------------------------------
# The walks are solved for to random_walk.TOLERANCE, 1e-5 of the sums, which are some times 1:
# hence 1e-4 below.


def test_ppmi_equals_the_dense_one(database: Path) -> None:
    links = most_linked(read_graph(database), 99, lambda word: False).links
    found = random_walk.ppmi(links).toarray()
    np.testing.assert_allclose(found, dense_ppmi(links.toarray()), atol=1e-4)


def test_ppmi_of_more_nodes_than_a_block() -> None:
    links = random_links(3 * random_walk.WIDTH + 5)
    found = random_walk.ppmi(links)
    assert found.nnz < 0.8 * found.shape[0] ** 2
    np.testing.assert_allclose(found.toarray(), dense_ppmi(links.toarray()), atol=1e-4)


def test_a_node_without_links_has_itself_only() -> None:
    links = random_links(20).tolil()
    links[7] = 0
    links[:, 7] = 0
    found = random_walk.ppmi(sparse.csr_array(links)).toarray()
    np.testing.assert_array_equal(found[7], np.eye(20)[7])


def test_a_graph_of_one_way_circles_is_refused() -> None:
    circles = np.kron(np.eye(9), np.roll(np.eye(4), 1, axis=1))
    circles[0, 5] = 1  # the column sums of circles alone would be found at once
    with pytest.raises(
        InputError, match="graph: most links must go both ways; 200 steps did not solve it"
    ):
        random_walk.ppmi(sparse.csr_array(circles))


def test_principal_components_equal_those_of_an_svd() -> None:
    rows = random_walk.ppmi(random_links(90))  # no more than a block: the search is exact
    centred = rows.toarray() - rows.toarray().mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    found = random_walk.principal_components(rows, 6)
    expected = left[:, :6] * sizes[:6]
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found, expected * signs, atol=1e-3)
    assert (found[np.abs(found).argmax(axis=0), np.arange(6)] > 0).all()


def test_principal_components_of_a_larger_graph_keep_the_variance() -> None:
    rows = random_walk.ppmi(random_links(600))
    found = random_walk.principal_components(rows, 40)
    sizes = np.linalg.svd(rows.toarray() - rows.toarray().mean(axis=0), compute_uv=False)
    assert found.shape == (600, 40)
    assert 0.999 < (found**2).sum() / (sizes[:40] ** 2).sum() < 1 + 1e-5
    np.testing.assert_array_equal(found, random_walk.principal_components(rows, 40))


def test_vectors_have_no_more_numbers_than_there_are_words(database: Path) -> None:
    table = wordnet.build(database, dim=650)
    assert table.vectors.shape == (14, 14)  # of 15 words, `alone` has no link
    row = dict(zip(table.words, table.vectors, strict=True))

    def cosine(first: str, second: str) -> float:
        product = row[first] @ row[second]
        return product / np.linalg.norm(row[first]) / np.linalg.norm(row[second])

    assert cosine("big", "large") > cosine("big", "tail")
    assert cosine("animal", "beast") > cosine("animal", "huge")


# --- What is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("00000900 03 n 01 word 0 001 @ 00000100 n", "line 8 must be a synset (see wndb(5))"),
        ("00000900 03 n 01 word 0 x", "line 8 must be a synset (see wndb(5)); received '00000900"),
        ("00000900 03 n 00 000", "line 8 must be a synset"),
        ("00000900", "line 8 must be a synset"),
        ("00000900 03 n 01 word 0 001 @ 00000100 x 0000", "line 8 must be a synset"),
        (
            "00000900 03 n 01 word 0 001 @ 00000777 v 0000",
            "line 8 points to synset 00000777 of data.verb, which does not exist",
        ),
    ],
)
def test_a_broken_line_is_named(database: Path, broken: str, message: str) -> None:
    with open(database / "data.noun", "a") as file:
        file.write(f"{broken} | a gloss\n")
    with pytest.raises(InputError) as caught:
        read_graph(database)
    assert str(caught.value).startswith(f"{database / 'data.noun'}: {message}")


def test_missing_and_empty_files(database: Path) -> None:
    (database / "data.adv").write_text("  1 This software\n")
    with pytest.raises(InputError, match=r"data\.adv: has no synsets \(see wndb\(5\)\)"):
        read_graph(database)
    (database / "data.adv").unlink()
    with pytest.raises(InputError, match=r"data\.adv: cannot be read \(No such file"):
        read_graph(database)


# --- The command --------------------------------------------------------------------------


def test_command(database: Path, tmp_path: Path) -> None:
    (tmp_path / "keep.txt").write_text("quickly\n")
    result = data_tools_command("wordnet",
        f"--database={database}", f"--out={tmp_path / 'wnet.bin'}", "--dim=3", "--words=5",
        f"--keep={tmp_path / 'keep.txt'}",
    )  # fmt: skip
    assert result.stderr == ""
    assert result.stdout == f"{tmp_path / 'wnet.bin'}: 5 words of 3 numbers\n"
    read = read_vectors(tmp_path / "wnet.bin")
    built = wordnet.build(database, 3, 5, lambda word: word == "quickly")
    assert read.words == built.words
    np.testing.assert_array_equal(read.vectors, built.vectors)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"database": None}, "--database is missing (see --help)"),
        ({"out": None}, "--out is missing (see --help)"),
        ({"dim": 0}, "--dim must be at least 1; received 0"),
        ({"words": 0}, "--words must be at least 1; received 0"),
        ({"pointer_weights": "x"}, "--pointer_weights must be one of equal, typed; received 'x'"),
    ],
)
def test_bad_options(database: Path, tmp_path: Path, changed: dict, message: str) -> None:
    options = {"database": database, "out": tmp_path / "wnet.bin", **changed}
    with pytest.raises(InputError) as caught:
        wordnet.main(wordnet.Options(**options))
    assert str(caught.value) == message
