"""Finds the nearest images, by their tags or by vectors, exactly or with an index."""
