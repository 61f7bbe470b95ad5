"""Opens photos and reads their keywords, embedded and in sidecars."""
