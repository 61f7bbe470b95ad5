"""A prepared directory: its records, tags and embeddings, and the batches that it streams."""
