"""Measurements; each prints machine, versions, date, and a ratio against a stated alternative."""
