"""A deployed model: the search of its corpus, the scores of eq. 2, and what they are the sum of."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from helpers.graphs import CASES, TAGS, D, M, deployed, lanes, multi_hot, operations, random_images

from tagnet.data.embeddings import Embedding, rho
from tagnet.data.tags import TagLists
from tagnet.errors import InputError
from tagnet.evaluation.scoring import draw_subsets
from tagnet.search.neighbours import cosine, nearest
from tagnet.serving.corpus import Vectors

MAX_POOL_GRAPHS = ("ltn", "ltn_vecs", "ltn_allvecs", "ltwin", "ltwin_kernel")
MAX_POOL = lanes([case for case in CASES if case[0] in MAX_POOL_GRAPHS])
WITH_BOTH_FEEDS = ("ltn_allvecs", "lzip", "ltwin_kernel")
FEWER = lanes([case for case in CASES if case[1] != "id" or case[0] in WITH_BOTH_FEEDS])
QUERIES = random_images(9, seed=5)  # two of them without tags


def ragged(lists: TagLists) -> tf.RaggedTensor:
    return tf.RaggedTensor.from_row_splits(lists.ids, lists.offsets)


def answer(deployment, explain: bool = False) -> dict[str, tf.Tensor]:
    phi = tf.constant(QUERIES.phi, tf.float32)
    return deployment.answer(phi, ragged(QUERIES.tags), explain)  # eagerly, which is quicker here


def together(one: TagLists, two: TagLists) -> TagLists:
    return TagLists.from_lists([*one, *two])


@pytest.mark.parametrize("neighbours", ["id", "w2v"])
def test_neighbours_are_those_of_the_search_outside_of_tensorflow(neighbours):
    deployment = deployed("ltwin", "w2v", neighbours)
    answers = answer(deployment)
    images = random_images()
    tags = together(images.tags, QUERIES.tags)
    beta = deployment.beta["w2v"].numpy()
    pi = tags if neighbours == "id" else rho(tags, Embedding(beta, beta.any(axis=1)))
    rows = 20 + np.arange(9)
    phi = np.concatenate([images.phi, QUERIES.phi])
    expected = nearest(pi, phi, rows, np.arange(20), M=M + 2)
    np.testing.assert_array_equal(answers["neighbours"], expected.neighbours)
    np.testing.assert_allclose(answers["distances"], expected.distances, atol=1e-6)
    np.testing.assert_array_equal(answers["by_features"], expected.by_features)
    assert 0 < expected.by_features.sum() < 9


def test_a_large_corpus_with_many_ties_is_searched_in_blocks(monkeypatch):
    """Whole numbers, so that distances repeat; the block does not divide the corpus."""
    monkeypatch.setattr("tagnet.serving.corpus.BLOCK", 4 * 64)
    rng = np.random.default_rng(3)
    table = rng.integers(-1, 2, size=(300, 4)).astype(np.float16)  # zero vectors among them
    queries = rng.integers(1, 3, size=(7, 4)).astype(np.float32)
    rows, distances = Vectors(table).nearest(tf.constant(queries), 12)
    both = np.concatenate([table.astype(np.float32), queries])
    expected = cosine(both, 300 + np.arange(7), np.arange(300), 12)
    np.testing.assert_array_equal(rows, expected.neighbours)
    np.testing.assert_allclose(distances, expected.distances, atol=1e-6)


def test_a_search_reads_its_table_without_copying_it():
    """After a gather from the variable itself every read of it would be a copy."""
    table = Vectors(np.ones([5, 4], np.float16))
    search = tf.function(
        lambda queries: (table.nearest(queries, 2), table.gather(tf.constant([0])))
    )
    graph = search.get_concrete_function(tf.TensorSpec([None, 4])).graph.as_graph_def()
    found = operations(graph)
    assert "ReadVariableOp" in found
    assert not {op for op in found if op.startswith("ResourceGather")}


def expected_scores(deployment, row: int, subset: tuple[int, ...], places: np.ndarray):
    """f of one query and one neighbourhood, by the graph as it was trained."""
    z = places[list(subset)]
    images, core, feed = random_images(), deployment.core, deployment.settings.graph.feed
    inputs = {
        "phi_x": QUERIES.phi[row : row + 1].astype(np.float32),
        "phi_z": images.phi[z].astype(np.float32)[None],
    }
    if feed == "w2v":
        beta = deployment.beta["w2v"].numpy()
        inputs["pi_x"] = multi_hot(QUERIES.tags[row][None])[None, :][0] @ beta
        inputs["pi_z"] = np.stack([multi_hot(images.tags[i]) @ beta for i in z])[None]
    elif feed == "id":
        inputs["pi_x"] = padded([QUERIES.tags[row]])
        inputs["pi_z"] = padded([images.tags[i] for i in z])[None]
    return core({t.name: tf.cast(inputs[t.name], t.dtype) for t in core.inputs}).numpy()[0]


def padded(lists: list) -> np.ndarray:
    return tf.ragged.constant([list(ids) for ids in lists], dtype=tf.int32).to_tensor(-1).numpy()


@pytest.mark.parametrize(("arch", "feed"), FEWER)
def test_scores_are_the_mean_over_neighbourhoods(arch, feed):
    """Max-pool graphs: over all C(6, 4) = 15; LSTM graphs: over the 3 drawn; v_only: f itself."""
    deployment = deployed(arch, feed)
    answers = answer(deployment)
    if arch == "v_only":
        np.testing.assert_allclose(
            answers["scores"],
            deployment.core({"phi_x": tf.cast(QUERIES.phi, tf.float32)}),
            atol=1e-5,
        )
        assert answers["neighbours"].shape == (9, 0)
        return
    subsets = list(itertools.combinations(range(M + 2), M))
    if not deployment.can_be_split:
        subsets = draw_subsets(1, M + 2, M, samples=3, seed=0)[0].tolist()
    for row in (0, 4):  # with tags, and without
        places = answers["neighbours"][row].numpy()
        f = [expected_scores(deployment, row, subset, places) for subset in subsets]
        np.testing.assert_allclose(answers["scores"][row], np.mean(f, axis=0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("max_rank", [M, M + 2])
@pytest.mark.parametrize(("arch", "feed"), [("v_only", None), *MAX_POOL])
def test_a_score_is_the_sum_of_its_shares(arch, feed, max_rank):
    deployment = deployed(arch, feed, max_rank=max_rank)
    answers = answer(deployment, explain=True)
    total = answers["picture"] + answers["tags"] + answers["constant"]
    total += tf.reduce_sum(answers["neighbour_shares"], axis=1)
    np.testing.assert_allclose(total, answers["scores"], rtol=1e-5, atol=1e-5)


def test_shares_come_from_where_they_say():
    """Without a kernel for tags, pictures or neighbours their share is nothing."""
    for layer, share in (("W_x", "picture"), ("W_xu", "tags")):
        deployment = deployed("ltwin", "w2v")
        for weight in deployment.weights[layer]:
            weight.assign(tf.zeros_like(weight))
        answers = answer(deployment, explain=True)
        np.testing.assert_allclose(answers[share], 0, atol=1e-6)
        assert np.abs(answers["neighbour_shares"]).max() > 0.1


def test_a_kernel_path_gives_to_pictures_and_tags_alone():
    """With the weights of all other layers at zero neighbours have no share."""
    deployment = deployed("ltwin_kernel", "w2v")
    for layer in ("W_x", "W_z", "W_xu", "W_zu"):
        for weight in deployment.weights[layer]:
            weight.assign(tf.zeros_like(weight))
    answers = answer(deployment, explain=True)
    np.testing.assert_array_equal(answers["neighbour_shares"], 0)
    np.testing.assert_allclose(answers["tags"][4], 0, atol=1e-4)  # it has none
    assert np.abs(answers["tags"][0]).max() > 0.1
    assert np.abs(answers["picture"]).max() > 0.01


def test_one_layer_over_pixels_and_tags_is_split_at_its_kernel():
    """ltn_vecs: an image without tags has no share of tags, one with tags has some."""
    deployment = deployed("ltn_vecs", "w2v")
    answers = answer(deployment, explain=True)
    np.testing.assert_allclose(answers["tags"][4], 0, atol=1e-6)
    assert np.abs(answers["tags"][0]).max() > 1e-3


def test_neighbours_that_win_no_unit_have_no_share():
    """M = m: the plain maximum, which a neighbour that is dark everywhere never is."""
    deployment = deployed("ltn", None, max_rank=M)
    weights, bias = deployment.weights["W_z"]
    weights.assign(tf.abs(weights))
    bias.assign(tf.zeros_like(bias))
    table = deployment.corpus.phi.table
    phi, tags = tf.ones([1, D]), QUERIES.tags.select(np.array([0]))
    rows = deployment.answer(phi, ragged(tags))
    dark = int(rows["neighbours"][0, 2])
    table[dark].assign(tf.zeros([D], table.dtype))
    answers = deployment.answer(phi, ragged(tags), explain=True)
    assert int(answers["neighbours"][0, 2]) == dark
    np.testing.assert_array_equal(answers["neighbour_shares"][0, 2], np.zeros(3))
    assert (np.abs(answers["neighbour_shares"][0]).sum(axis=1) > 0).sum() >= 1


def test_a_corpus_that_is_too_small_or_not_finite():
    with pytest.raises(InputError, match="must hold at least m = 21 images; received 20"):
        deployed("ltn", None, m=21)
    with pytest.raises(InputError, match="vectors must be finite; row 1 is not"):
        Vectors(np.array([[1.0], [np.nan]], np.float32))
    assert TAGS == 9  # what the random images draw from


def test_functions_that_are_run_eagerly_for_debugging_take_arrays():
    deployment = deployed("ltn", None)
    expected = answer(deployment)["scores"]
    tf.config.run_functions_eagerly(True)
    try:
        phi = QUERIES.phi.astype(np.float32)
        found = deployment.function()(phi, ragged(QUERIES.tags))["scores"]
    finally:
        tf.config.run_functions_eagerly(False)
    np.testing.assert_allclose(found, expected, atol=1e-6)
