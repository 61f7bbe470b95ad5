"""Annotates many photos: batches, sidecars, gallery, browser app."""
