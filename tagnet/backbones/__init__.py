"""The CNNs that turn a photograph into a feature vector, and the readers of their weights."""
