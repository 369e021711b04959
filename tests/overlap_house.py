"""Two partners that count their common persons, the lists between them in the test's hands."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from consortium.figure import FigureKind
from consortium.figure_policy import FigurePolicy
from consortium.identity.overlap import OverlapPlan
from consortium.identity.overlap_lists import (
    ListKind,
    OverlapCounter,
    OverlapPeer,
    OverlapRun,
    parts_of,
)
from consortium.ids import PartnerId, PersonToken
from consortium.inquiries import OverlapPiece
from tests.identity_house import manifest_of, names_of
from tests.secagg_house import Party, secret_of

NAMES = names_of(3)
COUNTER, PEER, OTHER = NAMES
FIGURES = FigurePolicy(kinds=(FigureKind.COMMON,), run_epsilon="3")
BARE = manifest_of(NAMES)
MANIFEST = replace(BARE, policy=replace(BARE.policy, figures=FIGURES))
PLAN = OverlapPlan(
    counter=COUNTER,
    peer=PEER,
    period="2026-10",
    tiers=("PRIME", "LOW"),
    cuts=(100_000,),
    epoch=1,
    epsilon="1",
    delta="0.000001",
)


def token(number: int) -> PersonToken:
    return PersonToken(hashlib.sha256(f"person {number}".encode()).digest()[:16])


def tokens(numbers: Sequence[int]) -> list[PersonToken]:
    return [token(number) for number in numbers]


def run_of(me: PartnerId, *, plan: OverlapPlan = PLAN, attempt: int = 1) -> OverlapRun:
    return OverlapRun(
        plan=plan,
        manifest=MANIFEST,
        attempt=attempt,
        me=me,
        identity=Party(me).identity,
        secret=secret_of(f"overlap {me} {attempt}"),
    )


def give_own(counter: OverlapCounter) -> list[OverlapPiece]:
    """All pieces of the counting partner's list."""
    first = counter.give(0)
    return [first, *(counter.give(part) for part in range(1, parts_of(first.size)))]


def give_all(peer: OverlapPeer, tiers: int) -> list[OverlapPiece]:
    """All pieces of the peer's lists."""
    found = []
    for kind, number in [*((ListKind.TIER, n) for n in range(tiers)), (ListKind.CROSS, 0)]:
        first = peer.give(kind, number, 0)
        parts = range(1, parts_of(first.size))
        found += [first, *(peer.give(kind, number, part) for part in parts)]
    return found


def signed_anew(piece: OverlapPiece, **changes: object) -> OverlapPiece:
    """As its own dishonest member would sign it."""
    bent = replace(piece, **changes)  # type: ignore[arg-type]
    return run_of(bent.member).signed(bent)
