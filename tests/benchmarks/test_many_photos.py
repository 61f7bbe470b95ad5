"""The benchmark of many photographs: what it makes, and how it reads its samples."""

import importlib
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tagnet.backbones import onnx_models
from tagnet.backbones.preparation import Changes
from tagnet.photos.images import read_image


@pytest.fixture(scope="module")
def many() -> SimpleNamespace:
    """The modules."""
    return SimpleNamespace(
        photos=importlib.import_module("benchmarks.endurance.many_photos"),
        made=importlib.import_module("benchmarks.endurance.photo_library"),
    )


def test_no_two_photographs_are_alike_and_those_there_stay(many, tmp_path):
    many.made.write_photographs(tmp_path, 25)
    contents = [path.read_bytes() for path in sorted(tmp_path.rglob("*.jpg"))]
    assert len(set(contents)) == len(contents) == 25
    first = many.made.photograph(tmp_path, 0)
    assert read_image(first).size == (many.made.SIDE, many.made.SIDE)
    first.write_bytes(b"mine")
    many.made.write_photographs(tmp_path, 30)
    assert first.read_bytes() == b"mine"
    assert [path.read_bytes() for path in sorted(tmp_path.rglob("*.jpg"))][1:25] == contents[1:]


def test_the_encoder_is_one_that_tagnet_runs(many, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    many.made.write_encoder(tmp_path / "pixels.onnx")
    settings = onnx_models.chosen(tmp_path / "pixels.onnx", Changes())
    assert onnx_models.dim_of(settings) == 3 * many.made.SEEN**2


def test_speed_and_memory_of_each_thousand(many):
    """Two processes of 500 photographs a second; the second begins at 1,700 after 9 seconds."""
    rows = [(1, 3 + s, 500 * s, 0, 100 + s) for s in range(5)]
    rows += [(2, s, 1700, s, 50) for s in range(9)]
    rows += [(2, 9 + s, 1700 + 500 * s, 9, 60) for s in range(1, 8)]
    samples = pd.DataFrame(rows, columns=["piece", "seconds", "lines", "pages", "memory_mb"])
    found = many.photos.by_thousand(samples)
    assert found["photos"].tolist() == [2000, 4000, 5000]
    np.testing.assert_allclose(found["per_second"], 500)
    assert found["memory_mb"].tolist() == [104, 60, 60]
