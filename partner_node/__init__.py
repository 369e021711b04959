"""A partner's node: its rows, its budget, its half of every protocol."""
