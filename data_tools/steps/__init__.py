"""The stages of a preparation."""
