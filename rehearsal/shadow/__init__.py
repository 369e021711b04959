"""A federation of nobody's rows, to test what the installed software leaks (protocol 9.2)."""
