"""Noise, its cost, and what may still be spent."""
