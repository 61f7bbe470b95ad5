"""Word vectors: from files, from tags, from WordNet."""
