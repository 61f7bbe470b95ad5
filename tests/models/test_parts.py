"""Parts: found by how layers are connected, so that a new architecture needs nothing but itself."""

import dataclasses

import keras
import numpy as np
import pytest
from helpers.graphs import CASES, small

from tagnet.models import architectures
from tagnet.models.blocks import Blocks
from tagnet.models.parts import Parts, fixed_paths, with_path_outputs
from tagnet.settings import GraphSettings


@pytest.mark.parametrize(("arch", "feed"), CASES)
def test_layers_before_the_cut(arch, feed):
    parts = Parts.of(small(arch, feed))
    joint = feed is not None
    names = {"v_only": (("W_u",), ())}.get(arch)
    if names is None:
        twin = joint and not arch.startswith("ltn")
        names = ("W_x", "W_xu")[: 1 + twin], ("W_z", "W_zu")[: 1 + twin]
    if arch == "ltwin_kernel":
        names = (*names[0], "W_k"), names[1]
    assert (set(parts.image), set(parts.neighbour)) == (set(names[0]), set(names[1]))
    assert (parts.zipped is not None) == (arch == "lzip")
    assert bool(parts.paths) == (arch in ("v_only", "ltwin", "ltwin_kernel") or arch[:3] == "ltn")


def test_the_paths_of_a_mean():
    model = small("ltwin_kernel", "w2v")
    ltwin, kernel, again = Parts.of(model).paths
    assert again == kernel  # it counts twice
    assert (ltwin.layer, ltwin.joined) == ("W_y", ("W_x", "W_z", "W_xu", "W_zu"))
    assert (kernel.layer, kernel.joined) == ("W_k", ())
    assert [layer.name for layer in fixed_paths(model)] == ["W_k"]
    assert with_path_outputs(model).output.shape == (None, 3)  # one is trained
    alone = small("ltwin", "w2v")
    assert with_path_outputs(alone) is alone
    assert fixed_paths(alone) == []


def test_trained_paths_have_an_output_each():
    blocks = Blocks(GraphSettings(feature_dim=6, num_labels=3, m=4, hidden=4))
    mean = blocks.mean(blocks.scores("A", blocks.phi_x), blocks.scores("B", blocks.phi_x))
    model = keras.Model(blocks.inputs, mean)
    assert with_path_outputs(model).output.shape == (None, 3, 2)


def test_an_input_that_bypasses_the_layers_is_named():
    def skip(g: Blocks) -> keras.KerasTensor:
        return g.scores("W_y", g.fc("W_x", g.phi_x), g.max(g.fc("W_z", g.phi_z)), g.phi_x)

    blocks = Blocks(GraphSettings(feature_dim=6, num_labels=3, m=4, hidden=4))
    scores = skip(blocks)
    with pytest.raises(ValueError, match="skip: every input must pass .*; phi_x does not"):
        Parts.of(keras.Model(blocks.inputs, scores, name="skip"))


def reversed_twin(g: Blocks) -> keras.KerasTensor:
    """An architecture that the project does not have, with names that nothing else knows."""
    near = g.drop(g.max(g.fc("A", g.phi_z, g.pi_z)))
    own = g.drop(g.fc("B", g.phi_x, g.pi_x))
    return g.mean(g.scores("C", near, own), g.kernel_scores("D"))


def read_in_turn(g: Blocks) -> keras.KerasTensor:
    """Another one, which reads the neighbours' tags by an LSTM."""
    near = g.drop(g.rnn("A", g.fc("B", g.pi_z)))
    return g.scores("C", near, g.drop(g.max(g.fc("D", g.phi_z))), g.drop(g.fc("E", g.phi_x)))


@pytest.mark.parametrize(
    "build", [reversed_twin, pytest.param(read_in_turn, marks=pytest.mark.large)]
)
def test_a_new_architecture_is_trained_scored_exported_and_explained(
    build, prepared, tmp_path, monkeypatch
):
    """From nothing but its function in the dict."""
    import tagnet

    name = build.__name__
    monkeypatch.setitem(architectures.ARCHITECTURES, name, build)
    dataset = tagnet.load(prepared)
    settings = dataclasses.replace(dataset.graph_settings(m=2, feed="w2v"), hidden=4)
    model = tagnet.build(name, settings)
    training = tagnet.TrainingSettings(learning_rate=1e-3, min_epochs=1, max_epochs=2)
    history = tagnet.train(model, dataset, tmp_path, max_rank=4, settings=training)
    assert [epoch["epoch"] for epoch in history] == [1, 2]
    figures = tagnet.evaluate(model, dataset, max_rank=4)
    assert 0 < figures["map_label"] < 1
    tagnet.export(model, dataset, tmp_path / "saved_model", max_rank=4)
    annotator = tagnet.Annotator.load(tmp_path)
    annotation = annotator.annotate(dataset.features[0].astype(np.float32), ["sky", "sea"])
    assert len(annotation.neighbours) == 4
    best = annotation.labels[0]
    if build is read_in_turn:
        assert best.shares is None
        return
    parts = (best.shares.picture, best.shares.tags, *best.shares.neighbours, best.shares.constant)
    assert sum(parts) == pytest.approx(best.score, abs=1e-5)
