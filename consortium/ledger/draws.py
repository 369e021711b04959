"""What an audit looks at, drawn so that neither side can choose it (protocol 9.4.1).

Three things make the choice: what is audited, the root of the coin, a head that came after it,
and 32 bytes that the regulator committed to before the coin. The consortium cannot know the
last, and the regulator could not know the second when it committed. Which head and which bytes
these are follows from the log alone (``coins``).
"""

from collections.abc import Sequence

from consortium.canonical import Label, hash_with, lp, u64
from consortium.ids import Digest, RunId

NONCE_BYTES = 32
RECORDS = 32
"""Records of inquiries that one choice opens."""


def nonce_commitment(nonce: bytes) -> Digest:
    """What is logged of the regulator's bytes before they are used."""
    return hash_with(Label.AUDIT_NONCE, nonce)


def choice_of(audited: RunId | Digest, root: bytes, nonce: bytes) -> Digest:
    """The seed of a choice.

    Args:
        audited: The run (16 bytes), or leaf hash of the batch of decisions (32 bytes).
        root: Of the head that the challenge names in its ``seq_hint``.
        nonce: The regulator's 32 bytes. Secret until they are opened.
    """
    return hash_with(Label.AUDIT_CHOICE, bytes.fromhex(audited), root, nonce)


def drawn_sums(choice: Digest, closed: int, count: int) -> tuple[int, ...]:
    """Numbers of ``count`` of the run's ``closed`` sums, from 1, sorted."""
    ranked = sorted(range(1, closed + 1), key=lambda number: _rank(choice, b"sum", number))
    return tuple(sorted(ranked[:count]))


def drawn_records(
    choice: Digest, counts: Sequence[tuple[int, int]], number: int = RECORDS
) -> tuple[tuple[int, int], ...]:
    """Which records of inquiries are to be shown: second of the batch, place in it; sorted.

    Args:
        choice: The seed.
        counts: Second and number of records of every batch under the challenge's head.
        number: How many at most.
    """
    total = sum(count for _, count in counts)
    if total <= number:
        return tuple((second, place) for second, count in counts for place in range(count))
    places: list[tuple[int, int]] = []
    start, wanted = 0, _drawn_below(choice, b"record", total, number)
    for second, count in counts:
        places += [(second, one - start) for one in wanted if start <= one < start + count]
        start += count
    return tuple(places)


def drawn_decisions(choice: Digest, total: int, number: int) -> tuple[int, ...]:
    """Places of the decisions of one batch that are replayed, from 0, sorted.

    Args:
        choice: The seed.
        total: Decisions in the batch. Private: the batch's commitment binds it.
        number: How many at most; if the batch has no more, all of them.
    """
    if total <= number:
        return tuple(range(total))
    return _drawn_below(choice, b"decision", total, number)


def _drawn_below(choice: Digest, kind: bytes, total: int, number: int) -> tuple[int, ...]:
    """``number`` different numbers below ``total``, sorted."""
    found: set[int] = set()
    draw = 0
    while len(found) < number:
        # 256 bits modulo the total: no place is preferred by more than 2**-190.
        found.add(int(_rank(choice, kind, draw), 16) % total)
        draw += 1
    return tuple(sorted(found))


def _rank(choice: Digest, kind: bytes, number: int) -> Digest:
    return hash_with(Label.AUDIT_DRAW, bytes.fromhex(choice), lp(kind), u64(number))
