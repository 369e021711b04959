"""A full copy of the log beside it: what may be added to it, and what may not (8.5, 8.8).

A mirror holds whole prefixes only: all of it is under one head that was checked. So a head
that is shown later either is that of the mirror with what is new, or the log was rewritten.
"""

from collections.abc import Sequence

from consortium.errors import ForkError, OutOfOrderError, ProofError, RollbackError
from consortium.ids import PartnerId
from consortium.ledger.entries import VERSION
from consortium.ledger.merkle import Tree, leaf_hash
from consortium.ledger.witness import Head

_TAIL = f'","v":{VERSION}}}'.encode()
_TYPE = b'"type":"'
_LONGEST_TYPE = 64


def extend(tree: Tree, seen: Head, first: int, entries: Sequence[bytes]) -> list[bytes]:
    """Grow the mirror's tree to a head; returns the leaves that are new.

    Args:
        tree: Of the mirror. After an error it may hold leaves that are no part of the log:
            make it anew.
        seen: A head that the log signed.
        first: Index of the first of ``entries``; those that the mirror has are passed over.
        entries: What the log shows. Those behind ``seen`` are passed over.

    Raises:
        ForkError: the mirror had another root at that size.
        ProofError: what is new does not lead from the mirror to the head.
        OutOfOrderError: entries are missing; ask for those from the mirror's size on.
    """
    held = tree.size
    if seen.size <= held:
        if tree.root(seen.size) != seen.root:
            raise ForkError(seen.size, seen.root.hex(), tree.root(seen.size).hex())
        return []
    if first > held or first + len(entries) < seen.size:
        raise OutOfOrderError(f"entries from {held} to {seen.size} of the log are missing")
    leaves = [leaf_hash(one) for one in entries[held - first : seen.size - first]]
    for leaf in leaves:
        tree.append(leaf)
    if tree.root() != seen.root:
        raise ProofError(
            f"head of {seen.size} entries: not the root of the {held} that were cosigned with "
            "the new ones"
        )
    return leaves


def check_no_rollback(seen: Head, known: int) -> None:
    """Raise RollbackError if a log answers one that knows ``known`` entries with fewer."""
    if seen.size < known:
        raise RollbackError(seen.size, known)


def type_of(data: bytes) -> str:
    """The type of an entry by its last fields; "" if it has none. Nothing is verified.

    In canonical JSON ``type`` and ``v`` are last, and no text within can hold their quotes.
    """
    if not data.endswith(_TAIL):
        return ""
    start = data.rfind(_TYPE, max(0, len(data) - len(_TAIL) - len(_TYPE) - _LONGEST_TYPE))
    if start < 0:
        return ""
    name = data[start + len(_TYPE) : -len(_TAIL)]
    return name.decode("ascii", "replace") if name.replace(b".", b"").isalpha() else ""


def is_by(data: bytes, member: PartnerId) -> bool:
    """Whether an entry is in a member's name: ``actor`` is its first field."""
    return data.startswith(b'{"actor":"' + member.encode() + b'",')
