"""experiments: the commands that train, compare and use the architectures."""

import sys

try:
    import tagnet  # noqa: F401  before TensorFlow, whose start-up it silences
except FileNotFoundError as error:  # no temporary directory can be written
    print(f"error: {error.strerror}", file=sys.stderr)
    sys.exit(2)
