"""The commands that train, compare and use the models. The work is in the sub-packages."""
