"""Scores images, and evaluates scores and probabilities."""
