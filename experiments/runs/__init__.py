"""One run, a baseline, and plans of many runs."""
