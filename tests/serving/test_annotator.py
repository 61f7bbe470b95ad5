"""The annotator: from a folder on disk to ranked labels, and one line for every mistake."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.graphs import D, L, M, N, calibrated, deployed
from PIL import Image

from tagnet.data.dataset import Part
from tagnet.data.embeddings import Embedding, rho
from tagnet.data.tables import Tables, lookup_tables
from tagnet.data.tags import TagLists
from tagnet.errors import InputError
from tagnet.evaluation.scoring import Scorer
from tagnet.search.neighbours import nearest
from tagnet.serving.annotator import MAX_TAGS, Annotator
from tagnet.serving.export import write_saved_model
from tagnet.settings import ScoringSettings
from tagnet.system.checksums import read_checksums, write_checksums

PHI = np.linspace(0, 1, D, dtype=np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel of ltwin, fed with w2v, neighbours by tags, calibrated."""
    return write_saved_model(calibrated(), tmp_path_factory.mktemp("model")).parent


@pytest.fixture(scope="module")
def annotator(folder: Path) -> Annotator:
    return Annotator.load(folder)


def test_what_is_loaded_is_what_was_exported(annotator, folder):
    given = deployed("ltwin", "w2v")
    assert annotator.labels == given.settings.labels
    assert annotator.vocabulary == given.vocabulary.words
    loaded = annotator._deployment
    for name, weights in given.weights.items():
        for one, two in zip(weights, loaded.weights[name], strict=True):
            np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(given.corpus.phi.table, loaded.corpus.phi.table)
    assert loaded.validation_scores.numpy().shape == (40, L)
    assert (loaded.lines.slope != 1).all() and (loaded.lines.offset != 0).all()
    again = Annotator.load(folder / "1").annotate(PHI, ["Tag 1"])
    assert again == annotator.annotate(PHI, ["Tag 1"])


def test_labels_are_ranked_and_neighbours_told(annotator):
    answer = annotator.annotate(PHI, ["TAG 1", " tag_2", "unheard of", "tag 1"])
    probabilities = [label.probability for label in answer.labels]
    assert probabilities == sorted(probabilities, reverse=True)
    assert len(probabilities) == L
    assert answer.known_tags == ("tag_1", "tag_2")
    assert answer.unknown_tags == ("unheard_of",)
    assert not answer.by_features
    assert len(answer.neighbours) == M + 2
    distances = [neighbour.distance for neighbour in answer.neighbours]
    assert distances == sorted(distances)
    nearest = answer.neighbours[0]
    assert {"tag_1", "tag_2"} & set(nearest.tags)
    assert nearest.image_id.startswith("image ")
    for label in answer.labels:
        shares = label.shares
        total = shares.picture + shares.tags + shares.constant + sum(shares.neighbours)
        assert total == pytest.approx(label.score, abs=1e-5)


@pytest.mark.parametrize("tags", [[], ["unheard of"], ["\u200b"]])
def test_without_known_tags_neighbours_are_those_that_look_alike(annotator, tags):
    assert annotator.annotate(PHI, tags).by_features


def test_a_batch_answers_as_its_images_alone(annotator, monkeypatch):
    monkeypatch.setattr("tagnet.serving.annotator.BATCH", 2)
    photos = [PHI, 2 * PHI, PHI[::-1].copy()]
    tags = [["tag 1"], [], ["tag 3", "tag 4"]]
    together = annotator.annotate_all(photos, tags)
    for answer, photo, given in zip(together, photos, tags, strict=True):
        alone = annotator.annotate(photo, given)
        assert answer.neighbours == alone.neighbours
        for one, two in zip(answer.labels, alone.labels, strict=True):
            assert one.name == two.name
            assert one.score == pytest.approx(two.score, abs=1e-5)
    assert annotator.annotate_all([], []) == []


def test_lstm_graphs_cannot_be_split_and_v_only_has_no_neighbours(tmp_path):
    write_saved_model(deployed("rtn", None), tmp_path / "rtn")
    write_saved_model(deployed("v_only", None), tmp_path / "v_only")
    loaded = Annotator.load(tmp_path / "rtn")
    assert (loaded.arch, loaded.explains, loaded.tag_distance) == ("rtn", False, "Jaccard")
    rtn = loaded.annotate(PHI)
    assert [label.shares for label in rtn.labels] == [None] * L
    assert len(rtn.neighbours) == M + 2
    v_only = Annotator.load(tmp_path / "v_only").annotate(PHI)
    assert v_only.neighbours == ()
    assert v_only.labels[0].shares.neighbours == ()


def test_thresholds_by_label(annotator):
    assert set(annotator.thresholds(0.6)) == set(annotator.labels)
    assert all(value == np.inf for value in annotator.thresholds(1.01).values())


# --- Other tags, other images -------------------------------------------------------------


def test_another_vocabulary_with_the_same_vectors_answers_the_same(annotator):
    """w2v neighbours: the words are other, their vectors the old ones; one word is new."""
    old = annotator._deployment
    beta = np.concatenate([old.beta["w2v"].numpy(), np.ones([1, N], np.float32)])
    german = [f"Wort {i}" for i in range(9)] + ["neu"]
    swapped = annotator.with_vocabulary(german, beta)
    assert swapped.tag_distance == "cosine"  # of tags that the corpus does not have
    one = swapped.annotate(PHI, ["wort 1", "Wort_4"])
    by_vectors = Annotator(deployed("ltwin", "w2v", neighbours="w2v"))
    two = by_vectors.annotate(PHI, ["tag 1", "tag 4"])
    assert [label.score for label in one.labels] == [label.score for label in two.labels]
    assert one.neighbours == two.neighbours
    same = annotator.with_vocabulary(old.vocabulary.words, beta[:-1])  # sets can be compared
    assert same.annotate(PHI, ["tag 1"]) == annotator.annotate(PHI, ["tag 1"])
    assert one.neighbours[0].tags[0].startswith("tag_")  # the corpus keeps its own
    assert swapped.annotate(PHI, ["neu"]).known_tags == ("neu",)
    assert not swapped.annotate(PHI, ["neu"]).by_features


@pytest.mark.parametrize("neighbours", ["id", pytest.param("w2v", marks=pytest.mark.large)])
def test_who_moves_to_another_vocabulary_with_his_images_gets_the_scores_of_the_pipeline(
    neighbours, tmp_path
):
    """Neighbours by the distance of training, on the new tags; π̃ is fed; also once saved."""
    deployment = deployed("ltwin", "w2v", neighbours)
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(12, N)).astype(np.float32)
    words = [f"Wort {i}" for i in range(12)]
    phi = rng.random((29, D)).astype(np.float16)
    tags = [[] if row % 7 == 6 else rng.choice(12, 1 + row % 3, False) for row in range(29)]
    lists = TagLists.from_lists(tags)
    pi = rho(lists, Embedding(vectors, np.ones(12, bool)))
    rows = np.arange(20, 29)
    found = nearest(lists if neighbours == "id" else pi, phi, rows, np.arange(20), M + 2)
    scorer = Scorer(deployment.core, lookup_tables(Tables(phi, pi, 12)), ScoringSettings(M))
    expected = scorer(Part(rows, found.neighbours, found.distances))

    named = [[words[tag] for tag in some] for some in tags]
    moved = Annotator(deployment).with_vocabulary(words, vectors)
    moved = moved.with_images(list(phi[:20].astype(np.float32)), named[:20])
    moved.save(tmp_path)
    for annotator in (moved, Annotator.load(tmp_path)):
        answers = annotator.annotate_all(list(phi[20:].astype(np.float32)), named[20:])
        for answer, scores, near in zip(answers, expected, found.neighbours, strict=True):
            assert [int(neighbour.image_id) for neighbour in answer.neighbours] == near.tolist()
            by_label = {label.name: label.score for label in answer.labels}
            given = [by_label[name] for name in annotator.labels]
            np.testing.assert_allclose(given, scores, atol=1e-5)


def test_a_vocabulary_needs_fitting_vectors(annotator, tmp_path):
    with pytest.raises(InputError, match=r"must be finite numbers \[2, 5\]; received \[2, 4\]"):
        annotator.with_vocabulary(["a", "b"], np.zeros([2, 4]))
    write_saved_model(deployed("ltwin", "id"), tmp_path / "id")
    with pytest.raises(
        InputError, match="a model trained with --feed=w2v or wnet; received a model fed with id"
    ):
        Annotator.load(tmp_path / "id").with_vocabulary(["a"], np.zeros([1, N]))


def test_the_users_own_images_as_neighbours(annotator):
    photos = [PHI * factor for factor in (1, 2, 3, 4, 5)]
    tags = [["tag 1"], ["tag 2"], ["tag 1", "tag 2"], [], ["tag 8"]]
    mine = annotator.with_images(photos, tags, [["label 1"], [], [], [], []], list("abcde"))
    answer = mine.annotate(PHI, ["tag 1"])
    assert [neighbour.image_id for neighbour in answer.neighbours] == ["a", "c", "b", "d", "e"]
    assert answer.neighbours[0].labels == ("label 1",)
    assert len(mine.with_images(photos, tags).annotate(PHI).neighbours) == 5
    with pytest.raises(InputError, match="labels must be among the model's 3; received 'x'"):
        annotator.with_images(photos, tags, [["x"]] * 5)
    with pytest.raises(InputError, match="must hold at least m = 4 images; received 3"):
        annotator.with_images(photos[:3], tags[:3])
    others = annotator.with_images([*photos[1:], photos[0]], tags, [["label 1"], [], [], [], []])
    same_names = annotator.with_images(photos, tags, [["label 1"], [], [], [], []])
    assert others.digest != same_names.digest
    other_tags = annotator.with_images(photos, [*tags[1:], tags[0]], [["label 1"], [], [], [], []])
    assert other_tags.digest != same_names.digest


# --- Mistakes -------------------------------------------------------------------------------


def test_tags_and_photographs_that_cannot_be_used(annotator, tmp_path):
    too_many = [f"t{i}" for i in range(MAX_TAGS + 1)]
    for photo, tags, line in (
        (PHI, too_many, "at most 1000 strings; received 1001 tags"),
        (PHI, "beach", "list of at most 1000 strings; received 'beach'"),
        (PHI[:-1], [], r"must be 6 finite numbers; received \(5,\)"),
        (PHI * np.nan, [], "must be 6 finite numbers"),
        (Image.new("RGB", (9, 9)), [], "features of an unnamed network"),
    ):
        with pytest.raises(InputError, match=line):
            annotator.annotate(photo, tags)
    with pytest.raises(InputError, match="received 1 photo and 2 lists"):
        annotator.annotate_all([PHI], [[], []])


def test_folders_that_hold_no_model(folder, tmp_path):
    with pytest.raises(InputError, match="not a finished run or a SavedModel"):
        Annotator.load(tmp_path)
    copy = shutil.copytree(folder / "1", tmp_path / "copy")
    settings = json.loads((copy / "assets" / "annotator.json").read_text())
    inner = settings["settings"]
    for changed, line in (
        ({"format": 0}, "annotator.json: must have format 3"),
        ({"settings": inner | {"arch": "x"}}, "arch must be a known architecture; received 'x'"),
        ({"settings": inner | {"new": 1}}, "has other fields than this version"),
        ({"judgement": {"images": 1}}, "has other fields than this version"),
        ({"settings": inner | {"graph": inner["graph"] | {"hidden": 5}}}, "checksum mismatch"),
    ):
        (copy / "assets" / "annotator.json").write_text(json.dumps(settings | changed))
        with pytest.raises(InputError, match=line):
            Annotator.load(copy)
    write_checksums(copy, read_checksums(copy))  # as if it had been written so
    with pytest.raises(InputError, match="copy: is damaged"):
        Annotator.load(copy)
    (copy / "assets" / "annotator.json").unlink()
    with pytest.raises(InputError, match="must be a SavedModel that a run of this version wrote"):
        Annotator.load(copy)


def test_a_damaged_model_is_one_line(folder, tmp_path):
    copy = shutil.copytree(folder / "1", tmp_path / "copy")
    for name in ("variables/variables.data-00000-of-00001", "variables/variables.index"):
        contents = (copy / name).read_bytes()
        (copy / name).write_bytes(contents[: len(contents) // 2])
        line = f"{name}: checksum mismatch .*; to export it again, remove"
        with pytest.raises(InputError, match=line) as caught:
            Annotator.load(copy)
        assert len(str(caught.value).splitlines()) == 1
        (copy / name).write_bytes(contents)
