"""tagnet: image annotation from visual cues and social-network tags.

Tesan, Coscia and Ballan, "A CNN-RNN Framework for Image Annotation from Visual
Cues and Social Network Metadata". The modules, in reading order, are listed in
`ARCHITECTURE.md`.
"""

import os
import sys
import tempfile

__version__ = "0.1.0"

LEAST = 2200 * 2**20  # bytes of address space that the libraries take when they are imported

os.environ.setdefault("KERAS_BACKEND", "tensorflow")


def address_space_limit() -> int | None:
    """Bytes of address space that `ulimit -v` allows; None where it sets no limit."""
    if sys.platform != "linux":  # which alone keeps to it
        return None
    import resource  # Windows has none

    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if most == resource.RLIM_INFINITY else most


def _require_room() -> None:
    """Says what TensorFlow cannot do without, where it would fail in some way of its own.

    Raises:
        MemoryError: `ulimit -v` is too low.
        FileNotFoundError: no temporary directory can be written.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error.strerror}; TMPDIR can name another") from error
    most = address_space_limit()
    if most is not None and most < LEAST:
        raise MemoryError(
            f"ulimit -v must allow at least {LEAST >> 10} KB of address space, of which TensorFlow "
            f"uses little; received {most >> 10}"
        )


def _import_tensorflow_quietly() -> None:
    """Imports TensorFlow without the lines that it writes when it starts.

    Its C++ libraries write to file descriptor 2 before any logging level is
    read, so the descriptor itself is parked meanwhile. Whoever sets
    `TF_CPP_MIN_LOG_LEVEL` wants those lines and gets them.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    with tempfile.TemporaryFile() as parked:
        stderr = os.dup(2)
        os.dup2(parked.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices("GPU")  # looks for drivers, and complains
        except BaseException:
            parked.seek(0)
            os.write(stderr, parked.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            del os.environ["TF_CPP_MIN_LOG_LEVEL"]  # it has been read, and is not for others


_require_room()
_import_tensorflow_quietly()
