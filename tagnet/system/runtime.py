"""Imports TensorFlow and Keras once, without their start-up messages."""

import contextlib
import functools
import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Iterator

from tagnet.errors import InputError
from tagnet.system.console import say_loading
from tagnet.system.devices import grow_memory

BACKEND = "tensorflow"
# Distributions that bring a package in another name's place.
INSTEAD = {"tensorflow": ("tf_nightly", "tensorflow-cpu"), "keras": ("keras-nightly",)}


@functools.cache
def import_tensorflow(what: str = "TensorFlow") -> None:
    """Imports TensorFlow and Keras quietly; call it before any other import of them.

    Args:
        what: what a person waits for, said on standard error if TensorFlow must be imported.

    Raises:
        InputError: an environment variable asks for something that tagnet cannot run on.
    """
    _require_backend()
    if "tensorflow" not in sys.modules:
        say_loading(what)
    with _quiet():
        import tensorflow as tf

        tf.config.list_physical_devices("GPU")  # looks for drivers, and complains
        grow_memory()
    import keras

    if keras.backend.backend() != BACKEND:
        raise InputError(
            f"tagnet needs Keras on {BACKEND}; received Keras on {keras.backend.backend()}, "
            "which this process imported earlier"
        )
    if keras.config.floatx() != "float32":
        raise InputError(
            f"Keras' floatx must be float32; received {keras.config.floatx()!r}; change it in "
            "~/.keras/keras.json, and choose the arithmetic of a run with --precision"
        )


@functools.cache
def silence_float16_notice() -> None:
    """Uses float16 once, quietly; call it before the first float16 tensor.

    On processors with AVX-512 but without AVX512-FP16, oneDNN's first sight of float16 writes
    an E0000 line, once a process. It cannot be had when TensorFlow is imported: creating a
    tensor ends the time in which devices can be configured.
    """
    import tensorflow as tf

    with _quiet():
        tf.constant(0, tf.float16)


def version_of(package: str) -> str:
    """The version of an installed package, also where a nightly one stands in for it.

    Args:
        package: its name, such as `keras`; it is not imported.

    Returns:
        The version; "" where none is installed.
    """
    for name in (package, *INSTEAD.get(package, ())):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return ""


def _require_backend() -> None:
    """Raises `InputError` if the environment asks for another Keras."""
    backend = os.environ.setdefault("KERAS_BACKEND", BACKEND)
    if backend != BACKEND:
        raise InputError(
            f"the environment variable KERAS_BACKEND must be {BACKEND} or unset; "
            f"received {backend!r}"
        )
    legacy = os.environ.get("TF_USE_LEGACY_KERAS", "0")
    if legacy.lower() in ("1", "true"):
        raise InputError(
            f"the environment variable TF_USE_LEGACY_KERAS must be 0 or unset, since tagnet "
            f"needs Keras 3; received {legacy!r}"
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Holds back standard error; if the block raises, prints what was held back.

    TensorFlow's C++ libraries write to file descriptor 2 before any logging level is read, so
    the descriptor itself is redirected. With `TF_CPP_MIN_LOG_LEVEL` set, nothing is held back.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    with tempfile.TemporaryFile() as held_back:
        sys.stderr.flush()
        stderr = os.dup(2)
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except BaseException:
            held_back.seek(0)
            os.write(stderr, held_back.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            del os.environ["TF_CPP_MIN_LOG_LEVEL"]  # it has been read, and is not for others
