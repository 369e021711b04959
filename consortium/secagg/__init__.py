"""Sums over partners: ring arithmetic, contexts, signed uploads."""
