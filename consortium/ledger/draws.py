"""What an audit looks at, drawn so that neither side can choose it (protocol 9.4.1).

Three things make the choice: the run, the root of a head that was cosigned after the run was
closed, and 32 bytes that the regulator committed to before. The consortium cannot know the
last when it closes the run, and the regulator could not know the second when it committed.
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


def choice_of(run: RunId, root: bytes, nonce: bytes) -> Digest:
    """The seed of a choice.

    Args:
        run: That is audited.
        root: Of the head that the challenge names in its ``seq_hint``.
        nonce: The regulator's 32 bytes. Secret until they are opened.
    """
    return hash_with(Label.AUDIT_CHOICE, bytes.fromhex(run), root, nonce)


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
    found: set[int] = set()
    draw = 0
    while len(found) < number:
        # 256 bits modulo the total: no place is preferred by more than 2**-190.
        found.add(int(_rank(choice, b"record", draw), 16) % total)
        draw += 1
    places: list[tuple[int, int]] = []
    start, wanted = 0, sorted(found)
    for second, count in counts:
        places += [(second, one - start) for one in wanted if start <= one < start + count]
        start += count
    return tuple(places)


def _rank(choice: Digest, kind: bytes, number: int) -> Digest:
    return hash_with(Label.AUDIT_DRAW, bytes.fromhex(choice), lp(kind), u64(number))
