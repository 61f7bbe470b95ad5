"""The paper's results and claims as data."""
