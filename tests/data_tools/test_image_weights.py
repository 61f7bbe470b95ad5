"""Weights of images: from a column of the table to the loss."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.tables import make_table

from data_tools.pipeline import prepare
from tagnet.data.batches import training_batches
from tagnet.data.dataset import PreparedDataset
from tagnet.errors import InputError
from tagnet.settings import BatchSettings, Neighbourhood
from tagnet.training.experiment import loss_weights


def prepared_with(folder: Path, weights: list[str], **changed: str) -> PreparedDataset:
    """A data set whose first images have these weights, and the others empty cells."""
    table = make_table(folder / "raw")
    frame = pd.read_csv(table.raw, dtype=str)
    name = changed.get("weight_column", "weight")
    frame[name] = pd.Series(weights + [None] * (len(frame) - len(weights)))
    frame.to_csv(table.raw, index=False)
    settings = table.settings(splits=1, pools=("open",), word_vectors=None, **changed)
    prepare(settings, folder / "data")
    return PreparedDataset(folder / "data")


def test_a_column_of_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = prepared_with(tmp_path, ["2", "0", "0.5"])
    assert "the column 'weight' weights the images in the loss" in capsys.readouterr().out
    assert dataset.image_weights is not None
    np.testing.assert_array_equal(dataset.image_weights, [2, 0, 0.5] + [1] * 57)
    rows = dataset.split(0)["train"]
    weights = loss_weights(dataset, rows, None)
    assert weights is not None
    np.testing.assert_array_equal(weights, np.repeat(dataset.image_weights[:, None], 5, axis=1))
    both = loss_weights(dataset, rows, "balanced")
    assert both is not None and (both[1] == 0).all()
    settings = BatchSettings(0, "id", "open", Neighbourhood(2, 4), 7, seed=0)
    batches = training_batches(dataset, settings, ["row"], range(1), weights=weights)
    for inputs, targets in batches:
        expected = np.stack([dataset.labels[inputs["row"]], weights[inputs["row"]]], axis=2)
        np.testing.assert_array_equal(targets, expected)


def test_a_column_by_its_flag(tmp_path: Path) -> None:
    dataset = prepared_with(tmp_path, ["3"], weight_column="count")
    assert dataset.image_weights is not None and dataset.image_weights[0] == 3


@pytest.mark.parametrize("weight", ["-1", "much", "nan", "inf"])
def test_weights_that_are_none(tmp_path: Path, weight: str) -> None:
    with pytest.raises(InputError, match="row 2: weight must be a number of 0 or more; received"):
        prepared_with(tmp_path, ["1", weight])


def test_all_weights_are_0(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one image must have a weight above 0"):
        prepared_with(tmp_path, ["0"] * 60)


def test_a_file_of_other_images(tmp_path: Path) -> None:
    prepared_with(tmp_path, ["1"])
    np.savez(tmp_path / "data" / "image_weights.npz", weights=np.ones(3, np.float32))
    with pytest.raises(InputError, match="image_weights.npz"):
        _ = PreparedDataset(tmp_path / "data", checked=False).image_weights
