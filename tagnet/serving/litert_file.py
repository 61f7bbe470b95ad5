"""The graph of a model for LiteRT (TensorFlow Lite), of its built-in operations alone."""

from pathlib import Path

import keras
import tensorflow as tf

from tagnet.evaluation.calibration import Lines
from tagnet.models.blocks import Blocks
from tagnet.serving.portable import portable_model
from tagnet.system.files import atomic_write

Tensors = dict[str, tf.Tensor]


def write_litert(core: keras.Model, lines: Lines, neighbours: int, path: Path) -> None:
    """Writes a graph for LiteRT, from vectors to `scores` and `probabilities` [B, L].

    Its signature is `serving_default`. The number of neighbours is fixed: our own layers then
    sort them by a network and follow an LSTM step by step, for which built-in operations suffice.

    Args:
        core: of `architectures.build`.
        lines: what makes probabilities of its scores.
        neighbours: K, how many it takes.
        path: the file.
    """
    model = portable_model(core, Blocks)
    # As constants: a converter leaves Keras' variables to be filled by whoever runs the graph.
    weights = [weight.numpy() for weight in model.trainable_variables]
    state = [variable.numpy() for variable in model.non_trainable_variables]

    def serve(**inputs: tf.Tensor) -> Tensors:
        scores, _ = model.stateless_call(weights, state, inputs, training=False)
        logits = lines.slope * scores + lines.offset
        return {"scores": scores, "probabilities": tf.sigmoid(logits)}

    shapes = {
        tensor.name: [None, *(neighbours if size is None else size for size in tensor.shape[1:])]
        for tensor in model.inputs
    }
    specs = {name: tf.TensorSpec(shape, tf.float32, name) for name, shape in shapes.items()}
    function = tf.function(serve, autograph=False).get_concrete_function(**specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
    content = converter.convert()
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
