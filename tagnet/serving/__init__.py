"""Annotates: a trained model with all that it needs, in Python and as a SavedModel."""
