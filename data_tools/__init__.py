"""Turns a raw data set into a prepared directory; the command is `prepare.py`."""
