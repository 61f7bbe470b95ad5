"""s(x, θ): exact where it can be, converging to the mean over all subsets where it is drawn."""

import itertools

import numpy as np
import pytest
from helpers.graphs import CASES, TAGS, D, N, lanes, small
from scipy.special import expit

from tagnet.data.dataset import Part
from tagnet.data.tables import Tables, fed_by_rows, lookup_tables
from tagnet.data.tags import TagLists
from tagnet.evaluation.scoring import Scorer, draw_subsets
from tagnet.models.parts import is_order_sensitive
from tagnet.settings import ScoringSettings

IMAGES, QUERIES, MAX_RANK, SUBSET = 30, 8, 5, 3
SUBSETS = list(itertools.combinations(range(MAX_RANK), SUBSET))  # 10


def tables(feed):
    rng = np.random.default_rng(3)
    pi = {
        None: None,
        "w2v": rng.normal(size=(IMAGES, N)).astype(np.float32),
        "id": TagLists.from_lists(
            [rng.choice(TAGS, rng.integers(0, 4), replace=False) for _ in range(IMAGES)]
        ),
    }[feed]
    return Tables(rng.random((IMAGES, D)).astype(np.float16), pi, TAGS)


def part():
    rng = np.random.default_rng(4)
    neighbours = np.stack([rng.choice(IMAGES, MAX_RANK, replace=False) for _ in range(QUERIES)])
    return Part(np.arange(QUERIES), neighbours, np.zeros_like(neighbours, np.float32))


def every_subset(core, on_device, part):
    """f of each image over each of its subsets, by the uncut graph: [C, n, L]."""
    model = fed_by_rows(core, on_device)
    rows = part.rows.astype(np.int32)
    return np.stack(
        [
            model({"row": rows, "neighbours": part.neighbours[:, subset].astype(np.int32)})
            for subset in map(list, SUBSETS)
        ]
    )


@pytest.mark.parametrize(("arch", "feed"), lanes([case for case in CASES if case[0] != "v_only"]))
def test_scores_equal_the_mean_over_all_subsets(arch, feed):
    """Max-pool graphs by the exact expectation, LSTM graphs since 10 samples are all 10."""
    core, on_device = small(arch, feed, m=SUBSET), lookup_tables(tables(feed))
    expected = every_subset(core, on_device, part()).mean(axis=0)
    scores = Scorer(core, on_device, ScoringSettings(SUBSET, samples=10))(part())
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("arch", ["rtn", pytest.param("lzip", marks=pytest.mark.large)])
def test_lstms_that_xla_compiles_in_one_piece_give_the_same_scores(arch):
    feed = "w2v" if arch == "lzip" else None
    core, on_device = small(arch, feed, m=SUBSET), lookup_tables(tables(feed))
    settings = ScoringSettings(SUBSET, samples=4)
    ours, theirs = (Scorer(core, on_device, settings, by_xla)(part()) for by_xla in (True, False))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_exact_scores_are_not_those_of_the_nearest_m():
    """Guards the test above: the subsets' scores differ."""
    core, on_device = small("ltwin", "w2v", m=SUBSET), lookup_tables(tables("w2v"))
    assert every_subset(core, on_device, part()).std(axis=0).max() > 0.01


def test_visual_only_scores_are_the_graph_itself():
    core, on_device = small("v_only", None), lookup_tables(tables(None))
    scores = Scorer(core, on_device, ScoringSettings(SUBSET))(part())
    np.testing.assert_allclose(
        scores, core({"phi_x": tables(None).phi[:QUERIES].astype(np.float32)}), atol=1e-6
    )


@pytest.mark.parametrize("arch", ["ltn", "rtn"])
def test_mean_of_probabilities_over_all_subsets(arch):
    core, on_device = small(arch, None, m=SUBSET), lookup_tables(tables(None))
    settings = ScoringSettings(SUBSET, exact=False, samples=10, average="probabilities")
    expected = expit(every_subset(core, on_device, part())).mean(axis=0)
    np.testing.assert_allclose(
        expit(Scorer(core, on_device, settings)(part())), expected, atol=1e-5
    )


def test_a_mean_of_probabilities_next_to_one():
    """In float64 the sigmoid of 40 is 1, and what is left of it 0."""
    core, on_device = small("v_only", None), lookup_tables(tables(None))
    *kernels, bias = core.get_weights()
    core.set_weights([*(0 * kernel for kernel in kernels), 0 * bias + 40])
    settings = ScoringSettings(SUBSET, exact=False, average="probabilities")
    np.testing.assert_allclose(Scorer(core, on_device, settings)(part()), 40, rtol=1e-6)


@pytest.mark.parametrize("arch", ["ltn", "rtn"])
def test_sampled_scores_converge_to_the_mean(arch):
    """The error over 8 seeds of 2 samples is larger than that of 8 samples (of 10)."""
    core, on_device = small(arch, None, m=SUBSET), lookup_tables(tables(None))
    assert is_order_sensitive(core) == (arch == "rtn")
    exact = every_subset(core, on_device, part()).mean(axis=0)

    def error(samples):
        scorer = Scorer(core, on_device, ScoringSettings(SUBSET, exact=False, samples=samples))
        return np.mean([(scorer(part(), seed) - exact) ** 2 for seed in range(8)])

    # Without replacement the variance falls as (1/S)(1 − (S − 1)/(C − 1)): 16 to 1 here.
    assert error(8) < error(2) / 4


def test_the_draw_repeats_with_its_seed():
    core, on_device = small("rtn", None, m=SUBSET), lookup_tables(tables(None))
    scorer = Scorer(core, on_device, ScoringSettings(SUBSET, samples=2))
    np.testing.assert_array_equal(scorer(part(), seed=1), scorer(part(), seed=1))
    assert np.abs(scorer(part(), seed=1) - scorer(part(), seed=2)).max() > 1e-4


def test_subsets_are_distinct_ordered_and_uniform():
    subsets = draw_subsets(count=4000, max_rank=6, m=3, samples=5, seed=0)
    assert subsets.shape == (4000, 5, 3)
    assert (np.diff(subsets, axis=2) > 0).all()
    assert min(len({tuple(s) for s in image}) for image in subsets) == 5
    # 20,000 of the 20 subsets: 1,000 each, standard deviation below 31.
    counts = np.unique(subsets.reshape(-1, 3), axis=0, return_counts=True)[1]
    assert len(counts) == 20
    assert abs(counts - 1000).max() < 150


def test_few_subsets_are_all_taken():
    assert draw_subsets(count=2, max_rank=4, m=3, samples=10, seed=0).shape == (2, 4, 3)
    assert draw_subsets(count=2, max_rank=70, m=70, samples=10, seed=0).shape == (2, 1, 70)
