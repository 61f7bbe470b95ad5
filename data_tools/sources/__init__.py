"""The kinds of raw data sets, and how each is read."""
