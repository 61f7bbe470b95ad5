"""Annotates many photographs: the work in batches, sidecars, the gallery."""
