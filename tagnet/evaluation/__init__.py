"""Scores a set of images, and says how good the scores and probabilities are."""
