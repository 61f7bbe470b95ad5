"""The figures that the graphs reach on the demo data set do not change unnoticed."""

import math

import pytest
from golden import EPOCHS, STORE, prepared, reached, tolerance, too_far

from tagnet.data.dataset import PreparedDataset
from tagnet.models.architectures import ARCHITECTURES
from tagnet.system.files import read_json

STORED = read_json(STORE)
GRAPHS = STORED["graphs"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """The demo data set; its tables are held once for all runs."""
    return PreparedDataset(prepared(tmp_path_factory.mktemp("golden") / "data"))


def test_the_store_is_of_all_graphs():
    assert list(GRAPHS) == list(ARCHITECTURES)
    assert STORED["epochs"] == EPOCHS


@pytest.mark.parametrize("name", GRAPHS["ltn"])
def test_what_is_further_is_told(name):
    golden = GRAPHS["ltn"]
    scale = golden["loss"] if name == "loss" else 1
    for far, told in ((0.9, []), (1.1, [name]), (-1.1, [name]), (math.nan, [name])):
        figures = {**golden, name: golden[name] + far * tolerance(name) * scale}
        assert list(too_far(figures, golden)) == told


@pytest.mark.large
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_graph_reaches_what_it_reached(dataset, tmp_path, arch):
    assert too_far(reached(arch, dataset, tmp_path / arch), GRAPHS[arch]) == {}


@pytest.mark.large
def test_another_seed_is_told_apart(dataset, tmp_path):
    figures = reached("v_only", dataset, tmp_path / "v_only", seed=1)
    assert len(too_far(figures, GRAPHS["v_only"])) > len(figures) / 2
