"""Blinding, evaluation by key shares, and the token (protocol 6.1, 6.2, 6.4; RFC 9497).

The arithmetic alone, for one input and for many; who may ask whom is in ``evaluation``. The
functions for many take ``each``: the built-in ``map``, or the ``map`` of a thread pool, which
then runs chunks of a batch side by side.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol, TypeVar

from consortium.crypto.keys import Secret
from consortium.crypto.ristretto import (
    Point,
    Scalar,
    add,
    add_each,
    hash_to_group,
    mult,
    mult_each,
    mult_pairs,
    scalar_from,
    scalar_invert,
    scalar_invert_each,
    scalar_stream,
)
from consortium.errors import ScoreRefusal, ScoreRefusalError
from consortium.ids import PersonToken

TOKEN_BYTES = 16

CHUNK = 256
"""Inputs that one call of ``each`` works on: long against the cost of a hand-over."""

_L2 = 2
_FINALIZE = b"Finalize"

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


class Each(Protocol):
    """The built-in ``map``, or that of a thread pool: results in the order of the items."""

    def __call__(
        self, function: Callable[[_Item], _Made], items: Iterable[_Item], /
    ) -> Iterable[_Made]:
        """Apply ``function`` to each item."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Blinded:
    """Inputs as the key holders may see them, and what takes the blinding off again."""

    points: tuple[Point, ...]
    """``B = r·HashToGroup(x)``: uniform, whatever the input. Public."""
    unblinding: tuple[Scalar, ...] = field(repr=False)
    """``r⁻¹`` of each. Secret."""


def blind(x: bytes, r: Secret) -> Point:
    """``r·HashToGroup(x)`` for one input (RFC 9497, 3.3.1).

    Args:
        x: The person's input of ``person.person_input``. Private.
        r: 64 bytes, used for this input and nothing else. Secret.
    """
    return mult(scalar_from(r), hash_to_group(x))


def blind_many(xs: Sequence[bytes], entropy: Secret, *, each: Each = map) -> Blinded:
    """Blind every input with its own scalar.

    Args:
        xs: Inputs of ``person.person_input``. Private.
        entropy: 32 bytes of which all scalars are made, never used again. Secret.
        each: Runs the chunks.
    """
    scalars = scalar_stream(entropy, len(xs))
    parts = each(_blind_chunk, list(zip(_chunks(xs), _chunks(scalars), strict=True)))
    points = tuple(chain.from_iterable(parts))
    return Blinded(points=points, unblinding=tuple(scalar_invert_each(scalars)))


def evaluate(
    points: Sequence[bytes], weighted_share: Scalar, *, each: Each = map
) -> list[Point]:
    """``w·B`` of each point under a holder's weighted share (protocol 6.4).

    Args:
        points: As received: each is checked here (protocol 6.5).
        weighted_share: ``w_i = λ_i·k_i``. Secret.
        each: Runs the chunks.

    Raises:
        ScoreRefusalError: a point is none, or the identity (S14).
    """
    parts = each(lambda part: mult_each(weighted_share, part), _chunks(points))
    return list(chain.from_iterable(parts))


def unblind_and_finalise(x: bytes, r: Secret, shares_sum: Point) -> PersonToken:
    """The token of one input from ``Y = Σ y_i`` (protocol 6.4)."""
    return token(x, mult(scalar_invert(scalar_from(r)), shares_sum))


def combine_many(
    xs: Sequence[bytes],
    blinded: Blinded,
    shares: Sequence[Sequence[bytes]],
    *,
    each: Each = map,
) -> list[PersonToken]:
    """The tokens of all inputs from the holders' checked shares (protocol 6.4).

    Args:
        xs: The inputs that were blinded, in order. Private.
        blinded: Of ``blind_many``.
        shares: For each of the t holders its points, in the order of the inputs. Their
            proofs must have been checked before.
        each: Runs the chunks.

    Raises:
        ScoreRefusalError: a holder's points are not as many as the inputs (S11), or a point
            is none (S14).
    """
    if not shares or any(len(points) != len(xs) for points in shares):
        raise ScoreRefusalError(ScoreRefusal.MALFORMED, "not one point for each input")
    columns = [_chunks(column) for column in (xs, blinded.unblinding, *shares)]
    parts = each(_combine_chunk, list(zip(*columns, strict=True)))
    return list(chain.from_iterable(parts))


def finalise(x: bytes, element: Point) -> bytes:
    """``SHA-512(l2(x) ‖ l2(N) ‖ "Finalize")``: 64 bytes (RFC 9497, 3.3.1)."""
    head = len(x).to_bytes(_L2, "big") + x + len(element).to_bytes(_L2, "big")
    return hashlib.sha512(head + element + _FINALIZE).digest()


def token(x: bytes, element: Point) -> PersonToken:
    """The first 16 bytes of ``finalise`` (protocol 6.1)."""
    return PersonToken(finalise(x, element)[:TOKEN_BYTES])


def sum_of(shares: Sequence[Point]) -> Point:
    """``Y = Σ y_i`` of one input; S11 if there is none."""
    if not shares:
        raise ScoreRefusalError(ScoreRefusal.MALFORMED, "a sum of no shares")
    total = shares[0]
    for share in shares[1:]:
        total = add(total, share)
    return total


def _blind_chunk(chunk: tuple[Sequence[bytes], Sequence[Scalar]]) -> list[Point]:
    xs, scalars = chunk
    return mult_pairs(scalars, [hash_to_group(x) for x in xs])


def _combine_chunk(chunk: tuple[Sequence[bytes], ...]) -> list[PersonToken]:
    xs, unblinding, first, *rest = chunk
    total: Sequence[bytes] = first
    for points in rest:
        total = add_each(total, points)
    elements = mult_pairs([Scalar(scalar) for scalar in unblinding], total)
    return [token(x, element) for x, element in zip(xs, elements, strict=True)]


def _chunks(items: Sequence[_Item]) -> list[Sequence[_Item]]:
    return [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
