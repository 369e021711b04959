"""What canaries in a shadow federation say about a claimed epsilon (protocol 9.1 to 9.3)."""
