"""tagnet: image annotation from visual cues and social-network tags.

Tesan, Coscia and Ballan, "A CNN-RNN Framework for Image Annotation from Visual
Cues and Social Network Metadata". The modules, in reading order, are listed in
`ARCHITECTURE.md`.
"""

import os
import sys
import tempfile

__version__ = "0.1.0"

os.environ.setdefault("KERAS_BACKEND", "tensorflow")


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


_import_tensorflow_quietly()
