"""Writes what TensorBoard shows of a run besides the scalars of each epoch."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorboard.plugins.graph import keras_util
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.hparams import api_pb2 as hparams_api
from tensorboard.plugins.hparams import summary as hparams_summary
from tensorboard.plugins.pr_curve import summary as pr_curve

from tagnet.evaluation.calibration import CalibrationReport
from tagnet.system.files import write_text

PR_THRESHOLDS = 101


def write_graph(core: keras.Model) -> None:
    """Writes the functional graph, one node per layer, for the Graphs dashboard."""
    config = json.loads(core.to_json())
    for layer in config["config"]["layers"]:  # TensorBoard knows no policy of mixed precision
        if isinstance(policy := layer["config"].get("dtype"), dict):
            layer["config"]["dtype"] = keras.dtype_policies.deserialize(policy).compute_dtype
        for node in layer["inbound_nodes"]:  # nor operations on numbers, beside tensors
            node["args"] = [given for given in node["args"] if isinstance(given, (dict, list))]
    layers = keras_util.keras_model_to_graph_def(config)
    graph = tf.compat.v1.GraphDef.FromString(layers.SerializeToString())
    for node in graph.node:  # names begin with the model's, which would hide all in one box
        node.name = node.name.removeprefix(f"{core.name}/")
        node.input[:] = [name.removeprefix(f"{core.name}/") for name in node.input]
    tf.summary.graph(graph)


def write_hparams(settings: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
    """Writes the settings and the final metrics for the HParams dashboard."""
    hparams.hparams(
        {key: value if value is not None else "none" for key, value in settings.items()}
    )
    for name, value in metrics.items():
        tf.summary.scalar(name, value, step=0)
    ended = hparams_summary.session_end_pb(hparams_api.STATUS_SUCCESS)
    tf.summary.experimental.write_raw_pb(ended.SerializeToString(), step=0)


def write_pr_curves(labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str]) -> None:
    """Writes a precision–recall curve per label.

    Args:
        labels: [n, L] of 0 and 1.
        probabilities: [n, L].
        names: of the L labels.
    """
    for index, name in enumerate(names):
        curve = pr_curve.pb(
            name=f"labels/{name}",
            labels=labels[:, index].astype(bool),
            predictions=probabilities[:, index],
            num_thresholds=PR_THRESHOLDS,
        )
        tf.summary.experimental.write_raw_pb(curve.SerializeToString(), step=0)


def write_calibration(calibration_report: CalibrationReport, diagram: bytes) -> None:
    """Writes the calibration errors on the test split, and the drawing of both (a PNG)."""
    tf.summary.scalar("calibration/error_before", calibration_report.before.error, step=0)
    tf.summary.scalar("calibration/error_after", calibration_report.after.error, step=0)
    tf.summary.image("calibration/reliability", tf.io.decode_png(diagram)[None], step=0)


def write_projector(directory: Path, vectors: np.ndarray, words: Sequence[str], name: str) -> None:
    """Writes the vectors [τ, n] of the tags, with the words, for the Projector dashboard."""
    write_text(directory / f"{name}.tsv", _table(vectors))
    write_text(directory / f"{name}-words.tsv", "\n".join(words) + "\n")
    write_text(
        directory / "projector_config.pbtxt",
        "embeddings {\n"
        f'  tensor_name: "{name}"\n'
        f'  tensor_path: "{name}.tsv"\n'
        f'  metadata_path: "{name}-words.tsv"\n'
        "}\n",
    )


def _table(vectors: np.ndarray) -> str:
    return "".join("\t".join(f"{value:.5g}" for value in row) + "\n" for row in vectors)
