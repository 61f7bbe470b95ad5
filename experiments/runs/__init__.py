"""Makes runs: single runs, baselines, sweeps and searches."""
