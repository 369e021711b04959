"""A whole federation on loopback from one file."""
