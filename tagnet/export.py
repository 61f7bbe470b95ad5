"""Writes a trained graph as a SavedModel that needs nothing but TensorFlow."""

from pathlib import Path

import keras
import tensorflow as tf

from tagnet.files import written_whole

VERSION = "1"  # TensorFlow Serving's layout: saved_model/<version>/


def export(core: keras.Model, directory: str | Path) -> Path:
    """Writes `core` to `DIRECTORY/1` with the signature `serving_default`.

    The signature takes the graph's inputs by name (`phi_x` [B, D], `phi_z`
    [B, K, D], `pi_x`, `pi_z`; see `architectures`), with B and K free, and returns
    `scores` (logits, [B, L]) and `probabilities` (their sigmoid).

    Args:
        core: a graph of `architectures.build`.
        directory: `saved_model` of a run.

    Returns:
        The folder written.
    """
    specs = {
        tensor.name: tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name)
        for tensor in core.inputs
    }

    @tf.function(input_signature=[specs])
    def serve(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        scores = core(inputs, training=False)
        return {"scores": scores, "probabilities": tf.sigmoid(scores)}

    archive = keras.export.ExportArchive()
    archive.track(core)
    archive.add_endpoint("serving_default", serve)
    target = Path(directory) / VERSION
    with written_whole(target) as temporary:
        archive.write_out(str(temporary), verbose=False)
    return target
