"""Files, locks, checksums, the command line, and the quiet import of TensorFlow."""
