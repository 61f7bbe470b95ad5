"""Run directories of models that were never trained, for reports."""

import dataclasses

import numpy as np
from scipy.special import expit

from experiments.paper import published
from experiments.paper.published import Row
from experiments.runs import results
from helpers.tables import LABELS
from tagnet.evaluation import metrics
from tagnet.evaluation.calibration import CalibrationReport, reliability
from tagnet.system.files import write_arrays, write_json

PARTS = {"train": 40, "validation": 10, "test": 30}


def make_run(
    directory,
    row,
    split,
    seed=0,
    names=LABELS,
    data="/nowhere/data",
    judged=False,
    dataset="nus_wide",
    **config,
):
    """Leaves the run directory of a model that was never trained."""
    rng = np.random.default_rng([split, seed, len(row.name)])
    labels = (rng.random([PARTS["test"], len(names)]) < 0.4).astype(np.uint8)
    scores = (labels + rng.normal(size=labels.shape)).astype(np.float32)
    test = metrics.evaluate(labels, scores)
    write_json(
        directory / "config.json",
        {
            **{name: getattr(row, name) for name in results.NAMED},
            **{"split": split, "seed": seed, "data": str(data), "pool": "open", "preset": "auto"},
            **config,
        },
    )
    arrays = {"scores": scores, "labels": labels, "label_names": np.array(names)}
    write_arrays(directory / "predictions.npz", arrays | {"rows": np.arange(len(labels))})
    curve = [f"{epoch},0.1,{0.1 * epoch}" for epoch in (1, 2, 3)]
    (directory / "history.csv").write_text("\n".join(["epoch,loss,validation_map_label", *curve]))
    written = {"test": test, "validation": test, "images": PARTS, "dataset": dataset}
    if judged:  # as the model of a run that is exported
        before, after = (reliability(expit(scores / t), labels) for t in (1, 2))
        calibration_report = CalibrationReport(len(labels), before, after)
        written["calibration"] = dataclasses.asdict(calibration_report)
    write_json(directory / "metrics.json", written | {"seconds": 1.5})


ROWS = [
    published.Row("v_only"),
    Row("ltn", "id"),
    Row("ltn_vecs", "id", "id"),
    Row("ltwin", "id", "id"),
]


def make_runs(folder, rows=ROWS, splits=(0, 1, 2), **config):
    for row in rows:
        for split in splits:
            make_run(folder / f"{row.name}-split{split}", row, split, **config)
