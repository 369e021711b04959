"""From log-odds to points."""
