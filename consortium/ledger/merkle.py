"""The Merkle tree of the log: hashes, and two kinds of proof (protocol 8.1).

Hashing and proofs are those of RFC 6962 (2.1) and RFC 9162 (2.1.3, 2.1.4), so any tool for
Certificate Transparency checks them. A check returns nothing; failure raises.
"""

import hashlib
from collections.abc import Iterable, Sequence

from consortium.errors import DomainError, ProofError

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
"""Root of the tree without entries."""

_LEAF, _NODE = b"\x00", b"\x01"


def leaf_hash(entry: bytes) -> bytes:
    """``H(0x00 ‖ entry)``."""
    return hashlib.sha256(_LEAF + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """``H(0x01 ‖ left ‖ right)``."""
    return hashlib.sha256(_NODE + left + right).digest()


class Tree:
    """An append-only tree over leaf hashes; every root and proof in logarithmic time.

    ``_levels[l][i]`` is the hash of the complete subtree over the leaves from ``i·2**l`` on,
    twice the leaves' memory in all.
    """

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        """A tree over ``leaves``: leaf hashes, not entries."""
        self._levels: list[list[bytes]] = [[]]
        for leaf in leaves:
            self.append(leaf)

    @property
    def size(self) -> int:
        """Leaves so far."""
        return len(self._levels[0])

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash at the end."""
        if len(leaf) != HASH_BYTES:
            raise DomainError(f"leaf hash of {len(leaf)} bytes")
        level, found = 0, leaf
        self._levels[0].append(found)
        while len(self._levels[level]) % 2 == 0:
            found = node_hash(*self._levels[level][-2:])
            level += 1
            if level == len(self._levels):
                self._levels.append([])
            self._levels[level].append(found)

    def leaf(self, index: int) -> bytes:
        """The leaf hash at ``index``."""
        return self._levels[0][index]

    def complete(self, level: int) -> Sequence[bytes]:
        """Hashes of all complete subtrees of ``2**level`` leaves."""
        return self._levels[level] if level < len(self._levels) else ()

    def root(self, size: int | None = None) -> bytes:
        """MTH of the first ``size`` leaves (RFC 6962, 2.1); of all of them by default."""
        size = self._checked(self.size if size is None else size)
        return self._hash(0, size) if size else EMPTY_ROOT

    def inclusion(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """PATH(index, D[size]), the leaf's sibling first (RFC 6962, 2.1.1)."""
        size = self._checked(self.size if size is None else size)
        if not 0 <= index < size:
            raise DomainError(f"entry {index} of a tree of {size}")
        path: list[bytes] = []
        low, high = 0, size
        while high - low > 1:
            middle = low + _split(high - low)
            if index < middle:
                path.append(self._hash(middle, high))
                high = middle
            else:
                path.append(self._hash(low, middle))
                low = middle
        return tuple(reversed(path))

    def consistency(self, old: int, new: int | None = None) -> tuple[bytes, ...]:
        """PROOF(old, D[new]) (RFC 6962, 2.1.2); empty from size 0 and to the same size."""
        new = self._checked(self.size if new is None else new)
        if not 0 <= old <= new:
            raise DomainError(f"growth from {old} to {new} entries")
        if old in (0, new):
            return ()
        path: list[bytes] = []
        low, high, whole = 0, new, True
        while old != high:
            middle = low + _split(high - low)
            if old <= middle:
                path.append(self._hash(middle, high))
                high = middle
            else:
                path.append(self._hash(low, middle))
                low, whole = middle, False
        if not whole:
            path.append(self._hash(low, high))
        return tuple(reversed(path))

    def _checked(self, size: int) -> int:
        if not 0 <= size <= self.size:
            raise DomainError(f"size {size} of a tree of {self.size}")
        return size

    def _hash(self, low: int, high: int) -> bytes:
        """MTH(D[low:high]); ``low`` is a multiple of the largest complete part."""
        length = high - low
        level = length.bit_length() - 1
        if length == 1 << level:
            return self._levels[level][low >> level]
        middle = low + _split(length)
        return node_hash(self._hash(low, middle), self._hash(middle, high))


def _split(length: int) -> int:
    """The largest power of two below ``length``, which is at least 2."""
    return 1 << ((length - 1).bit_length() - 1)


def verify_inclusion(
    leaf: bytes, index: int, size: int, *, path: Sequence[bytes], root: bytes
) -> None:
    """Raise ProofError unless ``leaf`` is at ``index`` under ``root`` (RFC 9162, 2.1.3.2).

    Args:
        leaf: Leaf hash of the entry.
        index: From 0.
        size: Leaves of the tree that ``root`` is of.
        path: Sibling hashes, the leaf's own first.
        root: As signed.
    """
    if not 0 <= index < size:
        raise ProofError(f"entry {index} lies outside a tree of {size}")
    place, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise ProofError(f"entry {index}: the proof is too long")
        if place & 1 or place == last:
            found = node_hash(sibling, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        place, last = place >> 1, last >> 1
    if last or found != root:
        raise ProofError(f"entry {index} does not lead to the root of {size} entries")


def verify_consistency(
    old: int, new: int, *, path: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Raise ProofError unless the new tree begins with the old one (RFC 9162, 2.1.4.2).

    From size 0 everything grows, and to the same size nothing does: there the path must be
    empty and, at the same size, the roots equal.
    """
    if not 0 <= old <= new:
        raise ProofError(f"a tree of {new} entries is not grown from one of {old}")
    if old in (0, new):
        same = old_root == (EMPTY_ROOT if old == 0 else new_root)
        if path or not same or (new == 0 and new_root != EMPTY_ROOT):
            raise ProofError(f"no growth from {old} to {new} entries")
        return
    hashes = list(path) if old & (old - 1) else [old_root, *path]
    if not hashes or _grown(old, new, hashes) != (old_root, new_root):
        raise ProofError(f"the tree of {new} entries does not begin with the one of {old}")


def _grown(old: int, new: int, hashes: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """Both roots that the proof leads to, or None if it is too long or too short."""
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    first = second = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return None
        if place & 1 or place == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        place, last = place >> 1, last >> 1
    return None if last else (first, second)
