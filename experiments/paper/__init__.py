"""What the paper published, and what it claims, as data."""
