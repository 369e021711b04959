"""Pseudonyms of persons that no partner can compute alone (protocol 6)."""
