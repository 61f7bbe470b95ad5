"""Files, locks, checksums, the command line, and a quiet start of TensorFlow."""
