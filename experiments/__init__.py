"""experiments: the commands that train, compare and use the architectures."""

import sys

try:
    import tagnet  # noqa: F401  before TensorFlow, whose start-up it silences
except (MemoryError, FileNotFoundError) as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
