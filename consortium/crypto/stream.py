"""The one way from a key to words: AES-256 in counter mode (protocol 3.4.2).

A key is used for one stream only, so the counter starts at zero. Masks, noise and Poisson
choices are all read from here; no other generator exists on a protected path.
"""

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

from consortium.crypto.keys import Secret
from consortium.errors import DomainError, ShapeError

Words = NDArray[np.uint64]

_WORD_BYTES = 8
_COUNTER = bytes(16)
_ZEROS = bytes(1 << 20)
"""Encrypted in place of a plaintext. One MiB stays in the cache (protocol 3.4.2)."""


class WordStream:
    """Successive words of one key: ``take(a)`` and ``take(b)`` join to ``take(a + b)``."""

    __slots__ = ("_encryptor",)

    def __init__(self, key: Secret) -> None:
        """Open the stream of a 32-byte key at its first word, or raise DomainError."""
        self._encryptor = _encryptor(key.expose(), _COUNTER)

    def take(self, count: int) -> Words:
        """The next ``count`` words, shape (count,), native uint64."""
        if count < 0:
            raise DomainError(f"cannot take {count} words")
        words = np.empty(count, dtype="<u8")
        self.read_into(words)
        return words.astype(np.uint64, copy=False)

    def read_into(self, words: Words) -> None:
        """Overwrite ``words``, flat, contiguous and of dtype ``<u8``, with the next words."""
        if words.ndim != 1 or words.dtype != np.dtype("<u8"):
            raise ShapeError(f"window of dtype {words.dtype} and shape {words.shape}")
        window = words.view(np.uint8).data
        for start in range(0, len(window), len(_ZEROS)):
            part = window[start : start + len(_ZEROS)]
            self._encryptor.update_into(memoryview(_ZEROS)[: len(part)], part)


def key_stream_words(key: Secret, count: int) -> Words:
    """``F(key, count)``: the first ``count`` words of the key's stream (protocol 3.4.2).

    Args:
        key: 32 bytes, used for this stream and nothing else. Secret.
        count: Number of words.

    Returns:
        Shape (count,), uint64, as secret as the key.
    """
    return WordStream(key).take(count)


def _encryptor(key: bytes, counter: bytes) -> CipherContext:
    if len(key) != AES256.key_size // 8:
        raise DomainError(f"stream key of {len(key)} bytes, expected {AES256.key_size // 8}")
    return Cipher(AES256(key), CTR(counter)).encryptor()
