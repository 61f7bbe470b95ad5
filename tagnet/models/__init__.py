"""The architectures of the paper as Keras models, and the layers that they are composed of."""
