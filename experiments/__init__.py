"""experiments: the commands that train, compare and use the architectures."""

import tagnet  # noqa: F401  before TensorFlow, whose start-up it silences
