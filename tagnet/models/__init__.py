"""The paper's architectures as Keras models, and the layers that they are built from."""
