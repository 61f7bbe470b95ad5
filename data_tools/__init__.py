"""From a raw data set to a prepared directory: `prepare.py` is the command."""
