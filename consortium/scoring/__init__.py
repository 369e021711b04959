"""Joint scores (protocol 7), and from log-odds to points (protocol 13.1)."""
