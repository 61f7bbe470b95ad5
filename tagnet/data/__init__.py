"""A prepared directory: its records, tags and embeddings, and batches from it."""
