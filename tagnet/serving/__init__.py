"""Annotates photos with a trained model, in Python and as a SavedModel."""
