"""Epochs of `tagnet.train` reach what tracks them, as docs/guides/track-runs.md has it."""

import dataclasses
from pathlib import Path

import pytest

import tagnet
from tagnet.settings import TrainingSettings


def train(prepared: Path, folder: Path, **given) -> list[dict]:
    dataset = tagnet.load(prepared)
    settings = dataclasses.replace(dataset.graph_settings(m=2, feed="id"), hidden=4)
    model = tagnet.build("v_only", settings)
    training = TrainingSettings(min_epochs=1, max_epochs=2)
    return tagnet.train(model, dataset, folder, max_rank=4, settings=training, **given)


def test_each_epoch_is_told_once(prepared, tmp_path):
    told: list[dict] = []
    history = train(prepared, tmp_path, on_epoch=told.append)
    assert told == history
    assert [epoch["epoch"] for epoch in told] == [1, 2]


# MLflow brings some forty packages, so it is in no extra; the test is for where it is installed.
@pytest.mark.large
@pytest.mark.filterwarnings("ignore")  # of MLflow and of its data base
def test_mlflow_keeps_epochs(prepared, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is in no extra")
    pytest.importorskip("sqlalchemy", reason="mlflow-skinny has no local store")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    with mlflow.start_run() as run:
        history = train(
            prepared,
            tmp_path / "run",
            on_epoch=lambda epoch: mlflow.log_metrics(epoch, step=int(epoch["epoch"])),
        )
    for name in ("loss", "validation_map_label"):
        stored = mlflow.MlflowClient().get_metric_history(run.info.run_id, name)
        assert [(one.step, one.value) for one in stored] == [
            (epoch["epoch"], epoch[name]) for epoch in history
        ]
