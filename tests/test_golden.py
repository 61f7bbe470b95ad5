"""The figures that the graphs reach on the embedded data set do not change unnoticed."""

import pytest
from golden import EPOCHS, STORE, TOLERANCE, distance, prepared, reached

from experiments.sweep import SharedTables
from tagnet.architectures import ARCHITECTURES
from tagnet.files import read_json


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """The embedded data set; its tables are held once for all runs."""
    return SharedTables(prepared(tmp_path_factory.mktemp("golden") / "data"))


def test_the_store_is_of_all_graphs():
    stored = read_json(STORE)
    assert list(stored["graphs"]) == list(ARCHITECTURES)
    assert stored["epochs"] == EPOCHS


@pytest.mark.large
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_graph_reaches_what_it_reached(dataset, tmp_path, arch):
    apart = distance(reached(arch, dataset, tmp_path / arch), read_json(STORE)["graphs"][arch])
    assert {name: far for name, far in apart.items() if far > TOLERANCE} == {}
