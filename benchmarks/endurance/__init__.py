"""What runs for hours: growth, leaks, millions of images."""
