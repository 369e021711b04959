"""Rules that two parties must compute alike.

A thing lives here if and only if two parties must reach the same answer from it. No socket,
disk, clock or chance: time is an argument (``now``), so is entropy (a ``Secret`` seed).
This package exports nothing; import the module that holds the noun.
"""
