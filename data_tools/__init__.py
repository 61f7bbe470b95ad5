"""data_tools: from a raw data set to a prepared directory, one file per source and stage.

`prepare.py` is the command, `pipeline.py` the order of the stages; neither the
library nor the experiments import anything from here.
"""

import sys

try:
    import tagnet  # noqa: F401  before TensorFlow, whose start-up it silences
except FileNotFoundError as error:  # no temporary directory can be written
    print(f"error: {error.strerror}", file=sys.stderr)
    sys.exit(2)
