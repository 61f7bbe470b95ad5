"""Keras as it comes, for graphs that the settings of a run must not change."""

import contextlib
from collections.abc import Iterator

import keras

from tagnet.models.architectures import build


@contextlib.contextmanager
def plain_keras() -> Iterator[None]:
    """Keras with float32 and channels last, whatever the settings of the run."""
    policy = keras.config.dtype_policy()
    data_format = keras.config.image_data_format()
    keras.config.set_dtype_policy("float32")
    keras.config.set_image_data_format("channels_last")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
        keras.config.set_image_data_format(data_format)


def in_float32(model: keras.Model) -> keras.Model:
    """The graph in float32, with weights of its own; the model itself if it is in float32.

    Args:
        model: of `architectures.build`.
    """
    if all(layer.compute_dtype == "float32" for layer in model.layers):
        return model
    with plain_keras():
        return build(model.name, model.graph_settings)
