"""Trains a model: the loop, the optimizer, several devices, TensorBoard."""
