"""Keras as it comes, for graphs that the settings of a run must not change."""

import contextlib
from collections.abc import Iterator

import keras


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
