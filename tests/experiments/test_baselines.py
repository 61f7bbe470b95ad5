"""The baselines: their arithmetic by hand, and run directories like those of graphs."""

import json
import re

import numpy as np
import pytest
from helpers.tables import one_line

from experiments import report
from experiments import run as command
from experiments.runs import baselines, label_transfer
from experiments.runs.baselines import METHODS, NEIGHBOURS, BaselineSettings, Problem
from experiments.runs.label_transfer import EPSILON, TagPropDistance, TagPropRank
from tagnet.data.dataset import PreparedDataset
from tagnet.evaluation import metrics
from tagnet.search import neighbours
from tagnet.system import console


def execute(*flags):
    return console.execute(command.Options, command.main, command.USAGE, ["run", *flags])


@pytest.fixture(scope="module")
def runs(prepared, tmp_path_factory):
    """Every baseline run on the small data set, each in a folder of its name."""
    folder = tmp_path_factory.mktemp("baselines")
    for arch in METHODS:
        assert execute(f"--arch={arch}", f"--data={prepared}", f"--out={folder / arch}") == 0
    return folder


@pytest.mark.parametrize("arch", METHODS)
def test_the_run_directory(runs, arch):
    out = runs / arch
    assert {path.name for path in out.iterdir()} == {
        *("checksums.sha256", "config.json", "metrics.json", "predictions.npz")
    }
    results = json.loads((out / "metrics.json").read_text())
    with np.load(out / "predictions.npz") as predictions:
        again = metrics.evaluate(predictions["labels"], predictions["scores"])
    assert results["test"] == again
    assert results["images"] == {"train": 36, "validation": 12, "test": 12}
    choices = METHODS[arch].choices
    usable = [n for n in choices if n < 36] if choices is NEIGHBOURS else choices
    assert results["chosen"] in usable


def test_one_report_shows_them_all(runs, tmp_path):
    argv = ["report", str(runs), f"--out={tmp_path}"]
    assert console.execute(report.Options, report.main, report.USAGE, argv) == 0
    text = (tmp_path / "report.md").read_text()
    for arch in METHODS:
        assert re.search(rf"^\| {arch}[^|]* \|", text, re.M)
    # The paper's first row, McAuley and Leskovec's tag-only SVM.
    assert re.search(r"^\| Tag-only model \+ linear SVM .* \| 46\.67 \|", text, re.M)


def test_a_finished_baseline_is_shown_again(runs, prepared, capsys):
    out = runs / "knn_tags"
    before = (out / "metrics.json").stat().st_mtime_ns
    assert execute("--arch=knn_tags", f"--data={prepared}", f"--out={out}") == 0
    assert "chosen on the validation split" in capsys.readouterr().out
    assert (out / "metrics.json").stat().st_mtime_ns == before


def test_features_of_another_length_are_another_run(runs, prepared, capsys, monkeypatch):
    monkeypatch.setattr(baselines, "LENGTH", 3.0)
    out = runs / "logistic_both"
    assert execute("--arch=logistic_both", f"--data={prepared}", f"--out={out}") == 2
    assert "holds a run with features_length 2.0; received 3.0" in one_line(capsys)
    assert execute("--arch=svm_tags", f"--data={prepared}", f"--out={runs / 'svm_tags'}") == 0


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--arch=svm_tags", "--hidden=4"], "--hidden has no effect on the baseline svm_tags;"),
        (
            ["--arch=svm_tags", "--precision=mixed_bfloat16"],
            "--precision has no effect on the baseline svm_tags; received mixed_bfloat16",
        ),
        (
            ["--arch=svm_tags", "--deterministic"],
            "--deterministic has no effect on the baseline svm_tags; received True",
        ),
        (["--arch=svm_tags", "--pool=x"], "pool must be one of open, closed, train; received 'x'"),
        (["--arch=knn_tags", "--feed=id"], "--feed has no effect on the baseline knn_tags;"),
        (["--arch=logistic_both", "--feed=wnet"], "--feed must be one of id, w2v; received 'wnet'"),
        (["--arch=knn_tags", "--neighbours=wnet"], "neighbours must be one of id, w2v; received"),
        (["--arch=knn_tags", "--split=2"], "split must be 0 to 1; received 2"),
    ],
)
def test_one_line_for_a_mistake(refused, flags, line):
    refused(execute, flags, line)


@pytest.mark.parametrize("encoding", ["id", "w2v"])
@pytest.mark.parametrize("by", ["tags", "pixels"])
def test_neighbours_are_training_images_and_never_oneself(prepared, encoding, by):
    dataset = PreparedDataset(prepared)
    problem = Problem(BaselineSettings("knn_tags", "", 0, encoding, None, 0), dataset)
    for part in ("train", "test"):
        near = problem.nearest(part, by).neighbours
        assert near.shape == (len(problem.split[part]), 35)
        assert 0 <= near.min() <= near.max() < 36
        if part == "train":
            assert not (near == np.arange(36)[:, None]).any()
    # An image without tags: its neighbours are those by pixels.
    tagless = np.flatnonzero(dataset.tags.lengths[problem.split["train"]] == 0)[0]
    row = problem.split["train"][[tagless]]
    found = neighbours.cosine(dataset.features, row, problem.split["train"], 35).neighbours[0]
    near = problem.nearest("train", "tags").neighbours[tagless]
    assert problem.split["train"][near].tolist() == found.tolist()


def test_makadia_by_hand():
    # Labels a, b, c, d; frequencies 3, 2, 1, 1 of 4 images.
    labels = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1]])
    scores = label_transfer.makadia(labels, np.array([[0, 1, 3]]))[0]
    # a, b of the nearest: 1 + frequency. c: in 1 of 2 others; together with a in 1 of 3 and
    # with b in 0 of 2 images, mean 1/6. d: never with a or b.
    np.testing.assert_allclose(scores, [1.75, 1.5, 1 / 2 * 1 / 6, 0])


def problem_with_one_telling_rank(rng):
    """Training labels, and neighbours of which the second alone has the same labels mostly."""
    labels = (rng.random([200, 3]) < 0.4).astype(np.uint8)
    codes = labels @ [1, 2, 4]
    near = rng.integers(200, size=[200, 4])
    for image, code in enumerate(codes):
        alike = np.flatnonzero((codes == code) & (np.arange(200) != image))
        if rng.random() < 0.8 and len(alike):
            near[image, 1] = rng.choice(alike)
    return labels, near


def likelihood(labels, near, weights):
    """Σ c_iw log p(y_iw), written out plainly."""
    total = 0.0
    positives = labels.sum()
    for image, row in enumerate(near):
        for label, truth in enumerate(labels[image]):
            same = labels[row, label] == truth
            chance = (weights[image] * np.where(same, 1 - EPSILON, EPSILON)).sum()
            total += np.log(chance) / (positives if truth else labels.size - positives)
    return total


def test_tagprop_by_rank_finds_the_most_likely_weights():
    rng = np.random.default_rng(0)
    labels, near = problem_with_one_telling_rank(rng)
    model = TagPropRank(labels, near)
    assert model.weights.sum() == pytest.approx(1)
    assert model.weights.argmax() == 1
    best = likelihood(labels, near, np.tile(model.weights, (200, 1)))
    for _ in range(10):
        other = 0.9 * model.weights + 0.1 * rng.dirichlet(np.ones(4))
        assert likelihood(labels, near, np.tile(other, (200, 1))) < best + 1e-6


def test_tagprop_by_distance_finds_the_most_likely_weights():
    rng = np.random.default_rng(1)
    labels, near = problem_with_one_telling_rank(rng)
    telling = (labels[near] != labels[:, None]).mean(axis=2) + 0.3 * rng.random(near.shape)
    distances = np.stack([telling, rng.random(near.shape)], axis=2)

    def value(theta):
        weights = np.exp(-distances @ theta)
        return likelihood(labels, near, weights / weights.sum(axis=1, keepdims=True))

    theta = TagPropDistance(labels, near, distances).theta
    assert theta[0] > 1
    for step in ([0.1, 0], [-0.1, 0], [0, 0.1], [0, -0.1]):
        if (theta + step >= 0).all():
            assert value(theta + step) < value(theta) + 1e-6


def test_a_label_without_a_training_image_harms_nothing():
    labels = np.array([[1, 0], [0, 0], [1, 0], [0, 0]], np.uint8)
    near = np.array([[2, 1], [3, 0], [0, 3], [1, 2]])
    scores = TagPropRank(labels, near)(near)
    assert np.isfinite(scores).all()
    assert scores[0, 0] > scores[1, 0]
