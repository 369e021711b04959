"""Keys, key streams and the exact bytes that are signed."""
