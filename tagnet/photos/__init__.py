"""Opens photographs, and reads the keywords in them and beside them."""
