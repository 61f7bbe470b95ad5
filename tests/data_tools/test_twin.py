"""The twin of NUS-WIDE: its shape, that it is the same every time, and that it is streamed."""

import itertools
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from data_tools.pipeline import prepare
from data_tools.settings import Settings
from data_tools.sources import twin
from data_tools.steps.splits import parse_sizes, part_sizes
from tagnet.data.dataset import PreparedDataset
from tagnet.errors import InputError


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return [fields for _, fields in twin.rows(5000)]


def test_the_first_images_of_a_large_twin_are_those_of_a_small_one(rows: list[dict]) -> None:
    assert [fields for _, fields in twin.rows(50)] == rows[:50]
    blocks = list(twin.feature_blocks(4100))
    assert [len(block) for block in blocks] == [4096, 4]
    (small,) = twin.feature_blocks(3)
    np.testing.assert_array_equal(blocks[0][:3], small)
    assert (blocks[1] != blocks[0][:4]).any()


def test_it_has_the_papers_shape(rows: list[dict]) -> None:
    # 190,253 images in 110,000 / 40,000 / 40,253, 81 labels, 4096 features: section 4.1.
    assert twin.IMAGES == 190_253
    sizes = part_sizes(twin.IMAGES, parse_sizes(Settings.of(source="twin").sizes_or_default))
    assert sizes == [110_000, 40_000, 40_253]
    assert len({name for fields in rows for name in fields["labels"]}) == 81
    assert all(fields["labels"] and fields["tags"] for fields in rows)
    block = next(twin.feature_blocks(100))
    assert (block.shape, block.dtype) == ((100, 4096), np.float32)
    assert block.min() == 0 and 0.2 < (block > 0).mean() < 0.4  # as after a ReLU


def test_tags_follow_a_flattened_zipf_law(rows: list[dict]) -> None:
    tags = itertools.chain.from_iterable(set(fields["tags"]) for fields in rows)
    counts = np.sort(np.unique(list(tags), return_counts=True)[1])[::-1] / len(rows)
    assert 0.05 < counts[0] < 0.2  # a tenth of the images
    assert counts[0] < 2 * counts[1] and counts[0] > 20 * counts[1000]


def similarity(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors - vectors.mean(axis=0)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors @ vectors.T


def test_tags_features_and_vectors_tell_of_the_labels(rows: list[dict]) -> None:
    labels = [set(fields["labels"]) for fields in rows[:400]]
    tags = [set(fields["tags"]) for fields in rows[:400]]
    words, vectors = twin.word_vectors()
    index = {word: row for row, word in enumerate(words)}
    sums = np.array([sum(vectors[index[w]] for w in image if w in index) for image in tags])
    shared = np.array([[len(one & other) > 0 for other in labels] for one in labels])
    common = np.array([[len(one & other) for other in tags] for one in tags])
    phi = next(twin.feature_blocks(400))
    others = ~np.eye(400, dtype=bool)
    for measure in (common, similarity(phi), similarity(sums)):
        assert measure[shared & others].mean() > 1.2 * measure[~shared].mean()


def test_features_are_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twin, "BLOCK", 512)
    tracemalloc.start()
    try:
        for _ in twin.feature_blocks(5 * twin.BLOCK):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3.5 * twin.BLOCK * twin.FEATURES * 4  # the blocks at hand, of five


def test_it_is_prepared_and_says_what_it_is_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings.of(source="twin", images=120, M=3, pools=("train",))
    summary = prepare(settings, tmp_path)
    output = capsys.readouterr().out
    assert "for speed and memory only, no accuracy may be quoted from it" in output
    assert summary["name"] == "twin (speed and memory only)"
    assert (summary["images"], summary["feature_dim"]) == (120, 4096)
    assert summary["encodings"] == ["id", "w2v"]
    data = PreparedDataset(tmp_path)
    np.testing.assert_array_equal(data.features, next(twin.feature_blocks(120)).astype(np.float16))
    assert data.image_ids[5] == "twin0000005"


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({"images": 0}, "--images must be at least 1; received 0"),
        (
            {"raw": Path("x.csv")},
            "--raw is for --source=table, photo_folder, nus_wide, mirflickr; received "
            "--source=twin",
        ),
    ],
)
def test_mistakes(flags: dict, line: str) -> None:
    with pytest.raises(InputError) as error:
        Settings.of(source="twin", **flags)
    assert str(error.value) == line
