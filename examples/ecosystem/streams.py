"""Chance, one counter-based stream for each entity and month."""

import hashlib

import numpy as np

VERSION = "riskweave-ecosystem-v1"


def stream(seed: int, entity: str, month: int = 0) -> np.random.Generator:
    """The generator of one entity in one month, whatever was drawn elsewhere before."""
    name = f"{VERSION}|{seed}|{entity}|{month}".encode()
    key = int.from_bytes(hashlib.sha256(name).digest()[:16], "big")
    return np.random.Generator(np.random.Philox(key=key))
