"""Presets: a small folder answers as the model did, and one line for every mistake."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import tensorflow as tf
from helpers.graphs import D, calibrated, deployed, random_images

from data_tools.sources import demo
from data_tools.steps.splits import draw_split
from tagnet.data.comparison import comparison_weights
from tagnet.errors import InputError
from tagnet.serving import preset
from tagnet.serving.annotator import Annotator
from tagnet.serving.model import ServingModel
from tagnet.settings import SHIPPED_MODEL
from tagnet.system.checksums import read_checksums, write_checksums
from tagnet.system.files import read_json

ROOT = Path(__file__).parents[2]
PHI = np.random.default_rng(3).random((6, D)).astype(np.float32)
NAMED = [["tag 1"], ["tag 2", "tag 3"], [], ["tag 8"], ["unheard of"], ["tag 0", "tag 4"]]
SPLIT = (2600, 600, 1000)  # of the demo data set
MEGABYTES = 16  # of package data, at most


def kernel_model(feed: str) -> ServingModel:
    """`ltwin_kernel`, whose references are the corpus as after training."""
    images = random_images()
    model = deployed("ltwin_kernel", feed, references=len(images.image_ids))
    tables = {name: table.table.numpy() for name, table in model.corpus.rho.items()}
    pi = images.tags.multi_hot(len(model.vocabulary)) if feed == "id" else tables[feed]
    for end, weights in comparison_weights(images.phi, pi).items():
        model.core.get_layer(f"W_k{end}").set_weights(weights)
    return model


@pytest.fixture(autouse=True)
def eagerly() -> Iterator[None]:
    """Small models answer sooner than they are traced."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def same_answers(given: Annotator, made: Annotator) -> None:
    """Scores of random graphs are large, so that float16 shows in the third digit."""
    for one, two in zip(
        given.annotate_all(list(PHI), NAMED), made.annotate_all(list(PHI), NAMED), strict=True
    ):
        scores = {label.name: label.score for label in two.labels}
        for label in one.labels:
            assert scores[label.name] == pytest.approx(label.score, rel=1e-2, abs=1e-2)
        for here, there in zip(one.neighbours, two.neighbours, strict=True):
            assert there.distance == pytest.approx(here.distance, abs=1e-3)
            assert dataclasses.replace(there, distance=here.distance) == here
        assert one.known_tags == two.known_tags


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(lambda: calibrated(backbone="tiny"), id="ltwin"),
        pytest.param(lambda: deployed("v_only", None), id="v_only"),
        pytest.param(lambda: deployed("lzip", "id"), id="lzip"),
        pytest.param(lambda: kernel_model("id"), id="kernel, id"),
        pytest.param(lambda: kernel_model("w2v"), id="kernel, w2v"),
        pytest.param(lambda: deployed("ltwin_kernel", "w2v", references=7), id="other references"),
    ],
)
def test_a_preset_answers_as_the_model(model, tmp_path):
    given = Annotator(model())
    folder = given.save_to_preset(tmp_path / "new" / "preset")
    made = Annotator.from_preset(folder)
    same_answers(given, made)
    assert made._deployment.settings == given._deployment.settings
    assert made.validation_images == given.validation_images
    for one, other in zip(made._deployment.lines, given._deployment.lines, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "metadata.json", "model.weights.h5", "corpus.npz", "vocabulary.txt"),
        "checksums.sha256",
    }
    assert Annotator.load(folder).labels == given.labels


def test_references_that_are_the_corpus_are_not_stored(tmp_path):
    Annotator(kernel_model("id")).save_to_preset(tmp_path / "a")
    Annotator(deployed("ltwin_kernel", "id", references=7)).save_to_preset(tmp_path / "b")
    stored = []
    for name in "ab":
        with h5py.File(tmp_path / name / "model.weights.h5") as file:
            stored.append(set(file))
            assert file["W_x/kernel"].dtype == np.float16
    assert stored[1] - stored[0] == {"W_kx", "W_ku"}


def test_numbers_beyond_float16_stay_as_they_are(tmp_path):
    model = deployed("v_only", None)
    kernel = model.core.get_layer("W_u").kernel
    kernel.assign(kernel * 1e6)
    Annotator(model).save_to_preset(tmp_path / "preset")
    with h5py.File(tmp_path / "preset" / "model.weights.h5") as file:
        np.testing.assert_array_equal(file["W_u/kernel"], kernel)


def test_other_words_and_images_stay(tmp_path):
    """ρ of the corpus is of vectors that the model has no more."""
    vectors = np.random.default_rng(5).normal(size=(3, 5))
    given = Annotator(deployed("ltwin", "w2v")).with_vocabulary(["sea", "dog", "tag 1"], vectors)
    made = Annotator.from_preset(given.save_to_preset(tmp_path / "words"))
    same_answers(given, made)
    assert made.vocabulary == ("sea", "dog", "tag_1")
    mine = given.with_images(list(PHI), NAMED, image_ids=list("abcdef"))
    same_answers(mine, Annotator.from_preset(mine.save_to_preset(tmp_path / "images")))


# --- Mistakes -------------------------------------------------------------------------------


def test_an_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="mine: exists; choose another name or remove it"):
        Annotator(deployed("v_only", None)).save_to_preset(tmp_path / "mine")
    assert not list((tmp_path / "mine").iterdir())


def test_what_is_no_preset(tmp_path):
    for given in (tmp_path, "ltwin_imagenet"):
        with pytest.raises(InputError, match=f"must be a preset .* or one of {SHIPPED_MODEL}$"):
            Annotator.from_preset(given)


def test_a_damaged_preset_is_one_line(tmp_path):
    whole = Annotator(deployed("ltwin", "w2v")).save_to_preset(tmp_path / "preset")
    (whole / "README.md").write_text("a model card")
    Annotator.from_preset(whole)  # other files may be beside it
    for name in ("config.json", "corpus.npz", "model.weights.h5", "vocabulary.txt"):
        copy = shutil.copytree(whole, tmp_path / name)
        contents = (copy / name).read_bytes()
        (copy / name).write_bytes(contents.replace(b"label 0", b"label 9")[: len(contents) // 2])
        with pytest.raises(InputError, match="download or write the preset again") as caught:
            Annotator.from_preset(copy)
        assert len(str(caught.value).splitlines()) == 1
        write_checksums(copy, read_checksums(copy))  # as if it had been written so
        if name != "vocabulary.txt":  # which is whole with half its words
            with pytest.raises(InputError):
                Annotator.from_preset(copy)


def test_links_out_of_the_weights_are_not_followed(tmp_path):
    folder = Annotator(deployed("v_only", None)).save_to_preset(tmp_path / "preset")
    with h5py.File(folder / "model.weights.h5", "a") as file:
        shutil.copy(folder / "model.weights.h5", tmp_path / "other.h5")
        del file["W_u/kernel"]
        file["W_u/kernel"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "W_u/kernel")
    write_checksums(folder, read_checksums(folder))
    with pytest.raises(InputError, match="is damaged"):
        Annotator.from_preset(folder)


# --- The preset that comes with tagnet ------------------------------------------------------


@pytest.fixture(scope="module")
def shipped() -> Annotator:
    return Annotator.from_preset(SHIPPED_MODEL)


def test_the_shipped_model_annotates_a_photo(shipped):
    photo = ROOT / "examples" / "photos" / "000000007281.jpg"
    answer = shipped.annotate(photo, ["horses", "beach", "xyzzy"])
    assert {label.name for label in answer.labels[:2]} == {"person", "horse"}
    assert answer.labels[1].probability > 0.5 > answer.labels[2].probability
    assert answer.known_tags == ("horses", "beach")
    assert answer.unknown_tags == ("xyzzy",)
    assert answer.labels[0].shares is not None
    assert set(shipped.thresholds(0.8)) == set(shipped.labels)


def test_its_probabilities_are_those_of_the_model_that_it_was_made_from(shipped):
    """That model's scores of the validation images are stored with it."""
    data = demo.load()
    rows = draw_split(SPLIT, len(data.manifest), 0, 0)["validation"][:64]
    answers = shipped.annotate_all(
        list(data.features[rows].astype(np.float16).astype(np.float32)),
        [data.manifest.tags[row] for row in rows],
    )
    model = shipped._deployment
    expected = model.probabilities(model.validation_scores[: len(rows)]).numpy()
    for answer, probabilities in zip(answers, expected, strict=True):
        found = {label.name: label.probability for label in answer.labels}
        np.testing.assert_allclose(
            [found[name] for name in shipped.labels], probabilities, atol=1e-3
        )
    assert shipped.validation_images == SPLIT[1]


def test_the_size_of_package_data():
    places = [preset.SHIPPED, demo.FOLDER]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    assert preset.SHIPPED / SHIPPED_MODEL / "model.weights.h5" in files
    assert sum(path.stat().st_size for path in files) <= MEGABYTES * 1e6
    metadata = read_json(preset.SHIPPED / SHIPPED_MODEL / "metadata.json")
    assert metadata["parameter_count"] > 1e6


def test_a_model_is_a_folder_or_a_shipped_name(tmp_path):
    assert preset.shipped() == [SHIPPED_MODEL]
    assert preset.located(SHIPPED_MODEL) == preset.SHIPPED / SHIPPED_MODEL
    assert preset.located(tmp_path / SHIPPED_MODEL) == tmp_path / SHIPPED_MODEL
