"""The doubly blinded lists of two partners, and their count: two pure machines (6.10).

The counting partner P raises ``H(context ‖ token)`` of its persons to a secret a, the peer j
those of each tier to a secret b, both for one run alone, filled up with random tokens to a
public size and shuffled. P's list goes first. Of it j makes a second one, raised to b and
shuffled anew; P raises j's lists to a, and whatever is in both has the same point. So P sees
how many persons match and not who, and j learns nothing but the padded size of P's list.

Lists travel in pieces of at most 4,096 points, each signed over the run, its place and the
size of the whole. A list is taken only if its size is one of the public ones, no point is in
it, or in another list of its sender, twice, and every point is a group element and not the
identity.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from consortium.canonical import Label, lp, u16, u32
from consortium.crypto.keys import IdentityKey, Secret, hkdf, verify_signature
from consortium.crypto.ristretto import (
    Point,
    Scalar,
    hash_to_group,
    mult_each,
    parse_point,
    scalar_stream,
    split_points,
)
from consortium.crypto.stream import key_stream_words
from consortium.errors import (
    DomainError,
    OutOfOrderError,
    ScoreRefusal,
    ScoreRefusalError,
    SignatureError,
)
from consortium.identity.oprf import CHUNK, TOKEN_BYTES, Each
from consortium.identity.overlap import (
    LARGEST_LIST,
    SMALLEST_LIST,
    ExactCounts,
    OverlapPlan,
    context_of,
)
from consortium.ids import Digest, PartnerId, PersonToken
from consortium.inquiries import MOST_POINTS, OverlapPiece
from consortium.manifest import Manifest

GROUP_CONTEXT = b"riskweave/overlap/v1"
"""Of hash-to-group: no token's point of another protocol is one of these."""

_SCALAR_INFO = b"riskweave/overlap-scalar/v1"
_PADDING_INFO = b"riskweave/overlap-padding/v1"
_ORDER_INFO = b"riskweave/overlap-order/v1"
_WORD_BYTES = 8

Order = NDArray[np.int64]


class ListKind(StrEnum):
    """Which list a piece is of."""

    OWN = "own"
    """P's persons, raised to a."""
    TIER = "tier"
    """j's persons of one tier, raised to b."""
    CROSS = "cross"
    """P's list, raised to b as well."""


def padded_size(persons: int) -> int:
    """The public size of a list: the next of ``2^k`` and ``3·2^(k-1)``, at least 1,024.

    Raises:
        DomainError: more persons than a list may have. The text holds no number.
    """
    size = SMALLEST_LIST
    while size < persons:
        if size + size // 2 >= persons:
            size += size // 2
            break
        size *= 2
    if size > LARGEST_LIST:
        raise DomainError(f"more persons than the {LARGEST_LIST} of a list")
    return size


def is_public_size(size: int) -> bool:
    """Whether some number of persons is padded to this size."""
    return SMALLEST_LIST <= size <= LARGEST_LIST and padded_size(size) == size


def parts_of(size: int) -> int:
    """Pieces of a list."""
    return -(-size // MOST_POINTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapRun:
    """One attempt at one plan, as one of the two sees it."""

    plan: OverlapPlan
    manifest: Manifest
    attempt: int
    me: PartnerId
    identity: IdentityKey
    secret: Secret = field(repr=False)
    """32 fresh bytes for this attempt alone: scalar, padding and orders come from it."""

    @property
    def context(self) -> Digest:
        """Which all pieces are bound to."""
        return context_of(self.plan, self.manifest.digest, self.attempt)

    def key(self, info: bytes, kind: ListKind, number: int) -> Secret:
        """A key for one list and one use. Secret."""
        salt = bytes.fromhex(self.context)
        return hkdf(self.secret, salt, info + lp(kind.value.encode()) + u16(number))

    def scalar(self) -> Scalar:
        """The one that all lists of this side are raised to. Secret."""
        key = hkdf(self.secret, bytes.fromhex(self.context), _SCALAR_INFO)
        return scalar_stream(key, 1)[0]

    def order(self, kind: ListKind, number: int, size: int) -> Order:
        """A uniform order of a list. Secret."""
        words = key_stream_words(self.key(_ORDER_INFO, kind, number), size)
        order: Order = np.argsort(words, kind="stable").astype(np.int64)
        return order

    def signed(self, piece: OverlapPiece) -> OverlapPiece:
        """The piece under this member's signature."""
        statement = piece_statement(piece)
        return replace(piece, signature=self.identity.sign(Label.OVERLAP_LIST, statement))


def piece_statement(piece: OverlapPiece) -> bytes:
    """What is signed: ``ctx ‖ lp(member) ‖ lp(kind) ‖ u16(n) ‖ u32(part) ‖ u32(size) ‖ H``."""
    head = bytes.fromhex(piece.context) + lp(piece.member.encode()) + lp(piece.kind.encode())
    place = u16(piece.number) + u32(piece.part) + u32(piece.size)
    return head + place + hashlib.sha256(piece.points).digest()


class _Given:
    """A list that this side sends: in a secret order, raised piece by piece."""

    def __init__(
        self, run: OverlapRun, kind: ListKind, number: int, items: Sequence[bytes]
    ) -> None:
        """``items``: tokens with their padding; for the second list the points received."""
        self._run, self._kind, self._number = run, kind, number
        self._items, self._scalar = items, run.scalar()
        self._order = run.order(kind, number, len(items))

    def piece(self, part: int, each: Each) -> OverlapPiece:
        """One piece, signed; the same steps for a person as for padding."""
        size = len(self._items)
        if not 0 <= part < parts_of(size):
            raise ScoreRefusalError(ScoreRefusal.MALFORMED, f"no piece {part} of this list")
        start = part * MOST_POINTS
        places = self._order[start : start + MOST_POINTS].tolist()
        chunks = [places[at : at + CHUNK] for at in range(0, len(places), CHUNK)]
        points = chain.from_iterable(each(self._raised, chunks))
        run = self._run
        return run.signed(
            OverlapPiece(
                context=run.context,
                member=run.me,
                kind=self._kind.value,
                number=self._number,
                part=part,
                size=size,
                points=b"".join(points),
                signature=b"",
            )
        )

    def _raised(self, places: Sequence[int]) -> list[Point]:
        items = [self._items[place] for place in places]
        if self._kind is not ListKind.CROSS:
            bound = bytes.fromhex(self._run.context)
            items = [hash_to_group(bound + token, context=GROUP_CONTEXT) for token in items]
        return mult_each(self._scalar, items)


def _listed(
    run: OverlapRun, kind: ListKind, number: int, tokens: Sequence[PersonToken]
) -> list[bytes]:
    """Tokens and as many random ones as fill the list up to its public size."""
    missing = padded_size(len(tokens)) - len(tokens)
    words = TOKEN_BYTES // _WORD_BYTES * missing
    filling = key_stream_words(run.key(_PADDING_INFO, kind, number), words).tobytes()
    extra = [filling[at : at + TOKEN_BYTES] for at in range(0, len(filling), TOKEN_BYTES)]
    return [*(bytes(token) for token in tokens), *extra]


class _Taken:
    """A list that comes in, piece by piece in order."""

    def __init__(self, kind: ListKind, number: int) -> None:
        self._place = (kind.value, number)
        self._size: int | None = None
        self.points: list[Point] = []

    @property
    def complete(self) -> bool:
        return self._size is not None and len(self.points) == self._size

    def check(self, piece: OverlapPiece, *, size: int | None) -> list[Point]:
        """The piece's points, if it is the next one; ``size``: the only one allowed."""
        fits = is_public_size(piece.size) if size is None else piece.size == size
        if (piece.kind, piece.number) != self._place or not fits:
            raise ScoreRefusalError(ScoreRefusal.MALFORMED, "no list of this run, or its size")
        if self._size not in (None, piece.size) or self.complete:
            raise ScoreRefusalError(ScoreRefusal.MALFORMED, "a list that changes its size")
        points = split_points(piece.points)
        start = piece.part * MOST_POINTS
        expected = min(MOST_POINTS, piece.size - start)
        if start != len(self.points) or len(points) != expected:
            raise ScoreRefusalError(ScoreRefusal.MALFORMED, "a piece out of order, or its size")
        return [parse_point(point) for point in points]

    def add(self, piece: OverlapPiece, points: Sequence[Point]) -> None:
        self._size = piece.size
        self.points.extend(points)


class _Side:
    """What both machines share: pieces of the other, each point once."""

    def __init__(self, run: OverlapRun, other: PartnerId) -> None:
        self._run, self._other = run, other
        self._key = bytes.fromhex(run.manifest.member(other).identity)
        self._seen: set[Point] = set()

    def _take(self, taken: _Taken, piece: OverlapPiece, *, size: int | None = None) -> None:
        run = self._run
        if piece.member != self._other or piece.context != run.context:
            raise ScoreRefusalError(ScoreRefusal.MALFORMED, "a piece of another run or member")
        try:
            statement = piece_statement(piece)
            verify_signature(self._key, Label.OVERLAP_LIST, statement, piece.signature)
        except SignatureError as error:
            raise ScoreRefusalError(ScoreRefusal.SIGNATURE, f"of {piece.member}") from error
        points = taken.check(piece, size=size)
        fresh = set(points)
        if len(fresh) != len(points) or not fresh.isdisjoint(self._seen):
            raise ScoreRefusalError(ScoreRefusal.MALFORMED, "a point that is there twice")
        self._seen |= fresh
        taken.add(piece, points)


class OverlapPeer(_Side):
    """The peer's machine: takes P's list, and only then gives its own and the second one.

    Before its first piece is given both accounts must be charged for the attempt: with the
    pieces the counting partner knows the exact counts.
    """

    def __init__(self, run: OverlapRun, tiers: Sequence[Sequence[PersonToken]]) -> None:
        """``tiers``: this partner's persons of each tier of the plan. Private.

        Raises:
            DomainError: not the plan's tiers, or a person who is in two.
        """
        super().__init__(run, run.plan.counter)
        if len(tiers) != len(run.plan.tiers):
            raise DomainError(f"{len(tiers)} lists for {len(run.plan.tiers)} tiers")
        _check_once([token for tier in tiers for token in tier])
        self._own = [
            _Given(run, ListKind.TIER, number, _listed(run, ListKind.TIER, number, tokens))
            for number, tokens in enumerate(tiers)
        ]
        self._taken = _Taken(ListKind.OWN, 0)
        self._cross: _Given | None = None

    @property
    def ready(self) -> bool:
        """Whether all of P's list is here."""
        return self._taken.complete

    def take(self, piece: OverlapPiece) -> None:
        """The next piece of P's list.

        Raises:
            ScoreRefusalError: not of this run, place or size, or a point that is there twice
                (S11), a signature (S03), a point that is none or the identity (S14).
        """
        self._take(self._taken, piece)
        if self._taken.complete:
            self._cross = _Given(self._run, ListKind.CROSS, 0, self._taken.points)

    def give(self, kind: ListKind, number: int, part: int, each: Each = map) -> OverlapPiece:
        """A piece of a tier's list, or of the second list.

        Raises:
            OutOfOrderError: P's list is not complete: whoever saw b·H(y) first could build
                its own list of them.
            ScoreRefusalError: there is no such piece (S11).
        """
        if self._cross is None:
            raise OutOfOrderError("the counting partner's list is not complete")
        if kind is ListKind.CROSS and number == 0:
            return self._cross.piece(part, each)
        if kind is not ListKind.TIER or not 0 <= number < len(self._own):
            raise ScoreRefusalError(ScoreRefusal.MALFORMED, "no such list")
        return self._own[number].piece(part, each)


class OverlapCounter(_Side):
    """The counting partner's machine: gives its list, takes the peer's, counts.

    Before ``count`` both accounts must be charged for the attempt.
    """

    def __init__(self, run: OverlapRun, tokens: Sequence[PersonToken]) -> None:
        """``tokens``: this partner's persons. Private.

        Raises:
            DomainError: a person who is there twice.
        """
        super().__init__(run, run.plan.peer)
        _check_once(tokens)
        self._items = _listed(run, ListKind.OWN, 0, tokens)
        self._own = _Given(run, ListKind.OWN, 0, self._items)
        self._tiers = [_Taken(ListKind.TIER, n) for n in range(len(run.plan.tiers))]
        self._cross = _Taken(ListKind.CROSS, 0)

    @property
    def ready(self) -> bool:
        """Whether all of the peer's lists are here."""
        return all(taken.complete for taken in (*self._tiers, self._cross))

    def give(self, part: int, each: Each = map) -> OverlapPiece:
        """A piece of this partner's list; S11 if there is none."""
        return self._own.piece(part, each)

    def take(self, piece: OverlapPiece) -> None:
        """The next piece of one of the peer's lists; raises as ``OverlapPeer.take``."""
        if piece.kind == ListKind.CROSS and piece.number == 0:
            self._take(self._cross, piece, size=len(self._items))
            return
        if piece.kind != ListKind.TIER or not 0 <= piece.number < len(self._tiers):
            raise ScoreRefusalError(ScoreRefusal.MALFORMED, "no such list")
        self._take(self._tiers[piece.number], piece)

    def count(self, each: Each = map) -> ExactCounts:
        """How many persons of each tier are in this partner's list, too. Secret.

        Raises:
            OutOfOrderError: a list is not complete.
        """
        if not self.ready:
            raise OutOfOrderError("the peer's lists are not complete")
        scalar, twice = self._run.scalar(), frozenset(self._cross.points)

        def matches(points: Sequence[Point]) -> int:
            return sum(point in twice for point in mult_each(scalar, points))

        def counted(points: Sequence[Point]) -> int:
            starts = range(0, len(points), CHUNK)
            return sum(each(matches, [points[start : start + CHUNK] for start in starts]))

        return ExactCounts([counted(taken.points) for taken in self._tiers])


def _check_once(tokens: Sequence[PersonToken]) -> None:
    if len(set(tokens)) != len(tokens):
        raise DomainError("a person is listed twice")
