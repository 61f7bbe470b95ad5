"""The blocks: each equal to the plain computation that it replaces."""

import contextlib
import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.graphs import multi_hot

from tagnet.data.records import empty_table
from tagnet.data.tables import RowLookup, TagLookup
from tagnet.data.tags import TagLists
from tagnet.models.layers import (
    MAX_NETWORK,
    PADDING,
    MaxOverNeighbours,
    MultiHotDense,
    NeighbourDense,
    Zip,
    for_xla,
    selection_network,
    subset_max_weights,
)

IDS = np.array([[0, 3, PADDING], [PADDING, PADDING, PADDING], [8, 1, 2]], np.int32)


@pytest.mark.parametrize("way", [contextlib.nullcontext, for_xla])
def test_tag_dense_equals_dense_on_the_multi_hot_vector(way):
    layer = MultiHotDense(5, 9, activation="relu")
    with way():
        sums = layer(IDS)
    dense = keras.layers.Dense(5, activation="relu")
    dense.build((None, 9))
    dense.set_weights(layer.get_weights())
    np.testing.assert_allclose(sums, dense(multi_hot(IDS)), atol=1e-6)


def test_tag_dense_equals_dense_on_features_and_multi_hot_joined():
    rng = np.random.default_rng(0)
    ids = np.stack([IDS, IDS[::-1]])  # [2, 3, T], as over neighbours
    phi = rng.random((2, 3, 4), np.float32)
    layer = MultiHotDense(5, 9)
    sums = layer([phi, ids])
    dense = keras.layers.Dense(5)
    dense.build((None, None, 4 + 9))
    dense.set_weights(layer.get_weights())
    joined = np.concatenate([phi, multi_hot(ids)], axis=-1)
    np.testing.assert_allclose(sums, dense(joined), atol=1e-6)


@pytest.mark.parametrize("way", [contextlib.nullcontext, for_xla])
def test_tag_dense_has_the_gradient_of_dense(way):
    layer = MultiHotDense(5, 9)
    layer.build((None, 3))
    weights = tf.range(15, dtype=tf.float32)
    with way(), tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.reshape(layer(IDS), [-1]) * weights)
    gradient = tape.gradient(loss, layer.kernel.value)
    # d loss / d K = oᵀ W: every row of K gets the weights of the images with that tag.
    expected = multi_hot(IDS).T @ weights.numpy().reshape(3, 5)
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("way", [contextlib.nullcontext, for_xla])
def test_neighbour_dense_has_the_outputs_and_gradients_of_dense(way, pooled):
    phi = tf.constant(np.random.default_rng(0).normal(size=(4, 12, 6)).astype(np.float32))
    layers = [kind(5, activation="relu") for kind in (NeighbourDense, keras.layers.Dense)]
    found = []
    for layer in layers:
        layer.build(phi.shape)
        layer.set_weights([weight.numpy() for weight in layers[0].weights])
        with way(), tf.GradientTape() as tape:
            tape.watch(phi)
            hidden = layer(phi)
            hidden = tf.reduce_max(hidden, axis=1) if pooled else hidden
            loss = tf.reduce_sum(tf.square(hidden))
        found.append([hidden, *tape.gradient(loss, [phi, *layer.trainable_weights])])
    assert all(np.any(values) for values in found[0])
    for ours, plain in zip(*found, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_neighbour_dense_computes_in_the_type_of_its_policy(policy):
    layer = NeighbourDense(5, dtype=keras.dtype_policies.get(policy))
    assert layer(np.ones((1, 2, 6), np.float32)).dtype == layer.compute_dtype


@pytest.mark.parametrize(("given", "m"), [(4, 4), (5, 2), (6, 1), (24, 12), (100, 3)])
def test_subset_weights_equal_binomials(given, m):
    expected = [math.comb(given - k, m - 1) / math.comb(given, m) for k in range(1, given + 1)]
    np.testing.assert_allclose(subset_max_weights(given, m), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_max_over_more_than_m_is_the_mean_over_all_subsets(m):
    activations = np.random.default_rng(1).normal(size=(3, 5, 4)).astype(np.float32)
    subsets = itertools.combinations(range(5), m)
    expected = np.mean([activations[:, list(subset)].max(axis=1) for subset in subsets], axis=0)
    np.testing.assert_allclose(MaxOverNeighbours(m)(activations), expected, atol=1e-6)


@pytest.mark.parametrize("width", range(1, 9))
def test_the_network_brings_the_largest_to_the_front(width):
    """What orders every list of 0 and 1 orders every list (Knuth's 0-1 principle)."""
    for used in range(1, width + 1):
        network = selection_network(width, used)
        for bits in itertools.product([0, 1], repeat=width):
            values = list(bits)
            for high, low in network:
                values[high], values[low] = (
                    max(values[high], values[low]),
                    min(values[high], values[low]),
                )
            assert values[:used] == sorted(bits, reverse=True)[:used]


@pytest.mark.parametrize(("given", "m"), [(24, 12), (MAX_NETWORK, 7), (MAX_NETWORK + 1, 7)])
def test_the_network_and_top_k_agree(given, m):
    activations = np.random.default_rng(3).normal(size=(2, given, 3)).astype(np.float32)
    ranked = np.sort(activations, axis=1)[:, ::-1]
    expected = np.einsum("bkh,k->bh", ranked, subset_max_weights(given, m))
    np.testing.assert_allclose(MaxOverNeighbours(m)(activations), expected, atol=1e-6)


def test_max_over_m_by_hand():
    # Of (5, 3, 1) the pairs are (5, 3), (5, 1), (3, 1): maxima 5, 5, 3; mean 13 / 3.
    pooled = MaxOverNeighbours(2)(np.array([[[3.0], [5.0], [1.0]]], np.float32))
    assert pooled.numpy().item() == pytest.approx(13 / 3)


def test_max_over_a_free_neighbour_axis_equals_the_fixed_one():
    layer = MaxOverNeighbours(3)
    function = tf.function(layer, input_signature=[tf.TensorSpec([None, None, 4])])
    activations = tf.constant(np.random.default_rng(2).random((2, 3, 4), np.float32))
    np.testing.assert_allclose(function(activations), layer(activations), atol=1e-6)


def test_zip_lays_pairs_end_to_end():
    v, u = np.array([[[1.0], [2.0]]]), np.array([[[-1.0], [-2.0]]])
    assert Zip()([v, u]).numpy().ravel().tolist() == [1, -1, 2, -2]


def test_row_lookup_is_no_weight():
    table = np.arange(6, dtype=np.float16).reshape(3, 2)
    layer = RowLookup(table)
    gather_inputs = layer(np.array([[2, 0]], np.int32))
    assert gather_inputs.numpy().tolist() == [[[4, 5], [0, 1]]]
    assert gather_inputs.dtype == tf.float32
    assert layer.variables == []


@pytest.mark.parametrize("shift", [0, 1])
def test_row_lookup_takes_any_array(shift):
    """TensorFlow ends the process over a tensor that is not aligned."""
    table = empty_table([9, 3], np.float16)
    table[:] = np.arange(27).reshape(9, 3)
    shifted = table[shift:]
    shifted.flags.writeable = False
    layer = RowLookup(shifted)
    np.testing.assert_array_equal(layer(np.arange(9 - shift)), shifted)
    np.testing.assert_array_equal(layer._table[1:3] + 0, shifted[1:3])


def test_row_lookup_shares_an_aligned_table():
    table = empty_table([4, 3], np.float16)
    table[:] = 1
    layer = RowLookup(table)
    table[2] = 5
    assert layer(np.array([2])).numpy().tolist() == [[5, 5, 5]]


def test_tag_lookup_pads_all_lists_to_one_size():
    layer = TagLookup(TagLists.from_lists([[4, 5], [], [7]]), size=3)
    assert layer(np.array([[1, 2]], np.int32)).numpy().tolist() == [[[-1] * 3, [7, -1, -1]]]
    assert layer(np.array([0], np.int32)).numpy().tolist() == [[4, 5, -1]]
    assert layer.compute_output_spec(keras.KerasTensor((None, 6), "int32")).shape == (None, 6, 3)


def test_tag_lookup_pads_to_the_longest():
    layer = TagLookup(TagLists.from_lists([[4, 5], [], [7]]))
    assert layer(np.array([[1, 0]], np.int32)).numpy().tolist() == [[[-1, -1], [4, 5]]]
    assert layer(np.array([2], np.int32)).numpy().tolist() == [[7]]


def test_xla_leaves_lists_of_tags_alone():
    """Keras asks each layer before it has XLA compile a step, as it does on a GPU."""
    assert not MultiHotDense(5, 9).supports_jit
    assert not TagLookup(TagLists.from_lists([[4]])).supports_jit
    assert RowLookup(np.zeros((1, 1), np.float16)).supports_jit
