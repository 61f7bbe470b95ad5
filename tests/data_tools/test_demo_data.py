"""The demo data set and the example photographs that ship, and the command that made them."""

import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors
from helpers.wordnet import SYNSETS
from helpers.wordnet import write as write_wordnet
from PIL import Image

from data_tools import build_demo
from data_tools.sources import demo
from tagnet.errors import InputError
from tagnet.system.files import write_arrays

EXAMPLES = Path(__file__).parents[2] / "examples" / "photos"

# How many of the 4,200 rows of the captions' CSV file have each label.
IMAGES_OF_LABEL = {
    "person": 2454, "car": 1257, "truck": 636, "bench": 498, "dog": 403, "traffic light": 399,
    "bus": 361, "train": 348, "motorcycle": 343, "cat": 343, "bicycle": 323, "horse": 290,
    "boat": 272, "airplane": 260, "bird": 259, "fire hydrant": 169, "stop sign": 168,
    "parking meter": 74,
}  # fmt: skip
DIMS = {"w2v": 300, "wnet": 650}  # of its word vectors


@pytest.fixture(scope="module")
def shipped():
    return demo.load()


# --- What ships -------------------------------------------------------------------------


def test_the_demo_has_every_image_and_label(shipped):
    assert shipped.manifest.image_id.is_unique
    assert len(shipped.manifest) == 4200
    labels = Counter(label for labels in shipped.manifest.labels for label in labels)
    assert labels == IMAGES_OF_LABEL
    assert all(len(set(labels)) == len(labels) for labels in shipped.manifest.labels)


def test_every_tag_is_a_content_word_of_two_images(shipped):
    tags = Counter(tag for tags in shipped.manifest.tags for tag in set(tags))
    assert min(tags.values()) == 2
    assert all(build_demo.content_words(tag) == [tag] for tag in tags)
    for table in shipped.word_tables.values():
        assert set(table.words) < set(tags)
        assert len(set(table.words)) == len(table.words)


def test_features_and_vectors_have_their_shapes(shipped):
    assert shipped.features.shape == (4200, 1280)
    assert shipped.features.dtype == np.float32
    assert 0 <= shipped.features.min() < shipped.features.max() <= 6  # means of ReLU6
    assert list(shipped.word_tables) == list(DIMS)
    for encoding, table in shipped.word_tables.items():
        assert table.vectors.dtype == np.float32
        assert table.vectors.shape == (len(table.words), DIMS[encoding])
    # float16 has 11 significant bits, so a length of 1 is off by less than 2**-11.
    lengths = np.linalg.norm(shipped.word_tables["w2v"].vectors, axis=1)
    np.testing.assert_allclose(lengths, 1, atol=2**-11)


def test_features_belong_to_their_images(shipped):
    """What tells a label's images from the others in one half does so in the other half."""
    first, second = np.split(shipped.features, 2)
    for label in IMAGES_OF_LABEL:
        has = np.array([label in labels for labels in shipped.manifest.labels])
        in_first, in_second = np.split(has, 2)
        direction = first[in_first].mean(axis=0) - first[~in_first].mean(axis=0)
        scores = second @ direction
        assert scores[in_second].mean() > scores[~in_second].mean()


@pytest.mark.parametrize("encoding", DIMS)
def test_vectors_belong_to_their_words(shipped, encoding):
    table = shipped.word_tables[encoding]
    row = dict(zip(table.words, table.vectors, strict=True))
    assert row["bus"] @ row["train"] > row["bus"] @ row["cat"]
    assert row["cat"] @ row["dog"] > row["cat"] @ row["train"]


def test_the_demo_is_small():
    sizes = {path.name: path.stat().st_size for path in demo.FOLDER.iterdir()}
    assert set(sizes) == {"manifest.jsonl", "features.npz", "word2vec.npz", "wordnet.npz"}
    assert sum(sizes.values()) < 8e6


def test_every_example_photograph_has_its_credit():
    with open(EXAMPLES / "credits.csv", encoding="utf-8", newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    photos = sorted(EXAMPLES.glob("*.jpg"))
    assert sorted(rows) == [photo.name for photo in photos]
    assert len(photos) == 20
    assert sum(photo.stat().st_size for photo in photos) < 600_000
    for photo in photos:
        row = rows[photo.name]
        assert all(row.values())
        assert row["licence_url"].split("/licenses/")[1] in ("by/2.0/", "by-sa/2.0/")
        assert row["photo_page"].split("id=")[1] in row["flickr_url"]
        with Image.open(photo) as image:
            assert max(image.size) == build_demo.EXAMPLE_SIDE
            assert not image.getexif()


# --- Loading ----------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """A sound demo data set of two images."""
    rows = [{"image_id": str(i), "tags": ["a"], "labels": ["b"]} for i in range(2)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "manifest.jsonl").write_text(lines, encoding="utf-8")
    codes = np.array([[0, 255, 1], [10, 0, 2]], np.uint8)
    scale = np.array([0.5, 1, 2], np.float32)
    write_arrays(tmp_path / "features.npz", {"codes": codes, "scale": scale})
    vectors = np.ones((1, 4), np.float16)
    for name in demo.WORD_TABLES.values():
        write_arrays(tmp_path / name, {"words": np.array(["a"]), "vectors": vectors})
    return tmp_path


def test_codes_times_scale_are_the_features(folder):
    loaded = demo.load(folder)
    np.testing.assert_array_equal(loaded.features, [[0, 255, 2], [5, 0, 4]])
    assert loaded.manifest.to_dict("records")[1] == {
        "image_id": "1",
        "tags": ["a"],
        "labels": ["b"],
    }
    assert loaded.word_tables["w2v"].words == ("a",)


@pytest.mark.parametrize("name", ["manifest.jsonl", "features.npz", "word2vec.npz", "wordnet.npz"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"{name}: cannot be read"):
        demo.load(folder)


@pytest.mark.parametrize("line", ["{", "[]", "3", '{"image_id": "1", "tags": []}'])
def test_a_bad_manifest_line_is_named(folder, line):
    with open(folder / "manifest.jsonl", "a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match="line 3 must be a JSON object with image_id, tags"):
        demo.load(folder)


@pytest.mark.parametrize(
    ("codes", "scale"),
    [
        (np.zeros((3, 3), np.uint8), np.ones(3, np.float32)),
        (np.zeros((2, 2), np.uint8), np.ones(3, np.float32)),
        (np.zeros((2, 3), np.float32), np.ones(3, np.float32)),
    ],
)
def test_features_that_do_not_fit_are_refused(folder, codes, scale):
    write_arrays(folder / "features.npz", {"codes": codes, "scale": scale})
    with pytest.raises(InputError, match=r"codes must be uint8 \[2, 3\].*received"):
        demo.load(folder)


def test_words_that_do_not_fit_their_vectors_are_refused(folder):
    arrays = {"words": np.array(["a", "b"]), "vectors": np.ones((1, 4), np.float16)}
    write_arrays(folder / "word2vec.npz", arrays)
    with pytest.raises(InputError, match=r"one vector per word; received words \[2\]"):
        demo.load(folder)


# --- Building ---------------------------------------------------------------------------


def test_content_words_are_lower_case_unique_and_no_stop_words():
    caption = 'The black-and-white cat\'s 2 toys, a CAT & "toys"\n.'
    assert build_demo.content_words(caption) == ["black", "white", "cat", "toys"]


def test_captions_may_hold_quotes_and_line_ends(tmp_path):
    path = tmp_path / "captions.csv"
    path.write_text('a,b\n1,"with "caution" tape"\n2,"two\nlines"\n3,"say ""art""."\n', "utf-8")
    captions = [row["b"] for row in build_demo.read_rows(path, ["a", "b"])]
    assert captions == ['with caution" tape"', "two\nlines", 'say "art".']


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a,c\n1,2\n", "must have the columns a, b; b not found"),
        ("a,b\n1,2,3\n", "the row that ends in line 2 must have 2 fields"),
        ('a,b\n1,2\n3\n4,"', "the row that ends in line 3 must have 2 fields"),
    ],
)
def test_a_bad_csv_row_is_named(tmp_path, text, line):
    (tmp_path / "bad.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=f"bad.csv: {line}"):
        build_demo.read_rows(tmp_path / "bad.csv", ["a", "b"])


def test_words_of_one_image_are_no_tags():
    captions = [
        {"ImageID": "7.jpg", "Labels": "19 1", "Caption": "A rider and a horse"},
        {"ImageID": "8.jpg", "Labels": "", "Caption": "horse horse meadow meadow"},
    ]
    assert build_demo.manifest_rows(captions, {"1": "person", "19": "horse"}) == [
        {"image_id": "7", "tags": ["horse"], "labels": ["horse", "person"]},
        {"image_id": "8", "tags": ["horse"], "labels": []},
    ]


def test_an_unknown_label_is_named(tmp_path):
    captions = [{"ImageID": "7.jpg", "Labels": "1 12", "Caption": ""}]
    with pytest.raises(InputError, match="image 7.jpg: labels must be one of 1; received '12'"):
        build_demo.manifest_rows(captions, {"1": "person"})
    (tmp_path / "labels.tsv").write_text("1\tperson\n2 bicycle\n", encoding="utf-8")
    with pytest.raises(InputError, match="labels.tsv: line 2 must be number, tab, name"):
        build_demo.read_label_names(tmp_path / "labels.tsv")


def test_eight_bits_are_off_by_half_a_step_at_most():
    features = np.random.default_rng(0).exponential(size=(50, 8)).astype(np.float32)
    features[:, 3] = 0  # a unit that never fires
    packed = build_demo.eight_bits(features)
    assert packed["codes"].dtype == np.uint8
    np.testing.assert_array_equal(packed["scale"], features.max(axis=0) / np.float32(255))
    off = np.abs(packed["codes"] * packed["scale"] - features)
    assert (off <= packed["scale"] * 0.5001).all()


@pytest.fixture
def sources(tmp_path):
    """Small inputs of `build`: the shipped examples serve as both kinds of photograph."""
    shutil.copytree(EXAMPLES, tmp_path / "credited" / "images")
    shutil.move(tmp_path / "credited" / "images" / "credits.csv", tmp_path / "credited")
    (tmp_path / "captions.csv").write_text(
        "ImageID,Labels,Caption\n"
        "000000000785.jpg,1,A skier on white snow\n"
        "000000008762.jpg,10 3,Snow under a traffic light\n",
        encoding="utf-8",
    )
    (tmp_path / "labels.tsv").write_text("1\tperson\n3\tcar\n10\ttraffic light\n", encoding="utf-8")
    vectors = KeyedVectors(2)
    vectors.add_vectors(["snow", "skier"], np.eye(2, dtype=np.float32))
    vectors.save_word2vec_format(str(tmp_path / "vectors.bin"), binary=True)
    return {
        "photos": tmp_path / "credited" / "images",
        "captions": tmp_path / "captions.csv",
        "label_names": tmp_path / "labels.tsv",
        "word_vectors": tmp_path / "vectors.bin",
        "wordnet": write_wordnet(
            tmp_path / "wordnet", [*SYNSETS, ("n", "00000600", ["Snow"], [("@", "00000400", "n")])]
        ),
        "credited": tmp_path / "credited",
    }


def test_building_again_gives_the_same_bytes(sources, tmp_path, capsys):
    for out in ("first", "second"):
        build_demo.build(**sources, out=tmp_path / out)
    first, second = (
        {path.relative_to(tmp_path / out): path.read_bytes() for path in files}
        for out in ("first", "second")
        for files in [[path for path in (tmp_path / out).rglob("*") if path.is_file()]]
    )
    assert first == second
    assert len(first) == 4 + 20 + 2
    tags = Path("examples", "photos", "tags.csv")
    assert first[tags] == (EXAMPLES / "tags.csv").read_bytes()
    built = demo.load(tmp_path / "first" / "data_tools" / "demo_data")
    assert built.manifest.tags.tolist() == [["snow"], ["snow"]]
    assert built.word_tables["w2v"].words == ("snow",)
    np.testing.assert_array_equal(built.word_tables["w2v"].vectors, [[1, 0]])
    assert built.word_tables["wnet"].words == ("snow",)
    assert built.word_tables["wnet"].vectors.any()
    output = capsys.readouterr().out
    assert "w2v: 1 of 1 tags have a vector" in output
    assert "wnet: 1 of 1 tags have a vector" in output


def test_wrong_sources_leave_nothing_behind(sources, tmp_path):
    sources["word_vectors"].write_bytes(b"not vectors")
    with pytest.raises(InputError, match="vectors.bin: is not a binary word2vec file"):
        build_demo.build(**sources, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_example_without_a_credit_is_named(sources, tmp_path):
    text = (sources["credited"] / "credits.csv").read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    (sources["credited"] / "credits.csv").write_text("".join(lines[:-1]), encoding="utf-8")
    with pytest.raises(InputError, match="credits.csv: must have a row for each example; 0000"):
        build_demo.build(**sources, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
