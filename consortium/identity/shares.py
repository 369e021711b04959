"""A key in n shares of which any t make it, and how a share is checked (protocol 6.3, 6.4).

Shamir's shares over the scalars, Feldman's commitments to the polynomial in the group.
Coefficients of Lagrange are public and made with integers; whatever touches a share goes
through the library's constant-time scalars.
"""

from collections.abc import Sequence
from functools import lru_cache

from consortium.crypto.ristretto import (
    ORDER,
    Point,
    Scalar,
    add,
    base_mult,
    mult,
    scalar_add,
    scalar_mul,
    scalar_of,
)
from consortium.errors import DomainError, ScoreRefusal, ScoreRefusalError

_LARGEST_INDEX = 65_535


def threshold_of(members: int) -> int:
    """``t = ⌈2n/3⌉`` (protocol 6.1), or DomainError for less than two members."""
    if members < 2:  # noqa: PLR2004 - a key that one member holds alone is no shared key
        raise DomainError(f"a key shared by {members}")
    return -(-2 * members // 3)


@lru_cache(maxsize=4096)
def lagrange(indices: tuple[int, ...], own: int) -> Scalar:
    """``λ_i = Π_{j∈S, j≠i} j/(j−i)`` at zero (protocol 6.4).

    Args:
        indices: S, the members' indices of the manifest, each once. Public.
        own: i, one of them.

    Raises:
        DomainError: an index is listed twice, is outside 1 to 65,535, or ``own`` is missing.
    """
    if len(set(indices)) != len(indices) or own not in indices:
        raise DomainError("indices of key holders are not unique, or the own one is missing")
    if not all(1 <= index <= _LARGEST_INDEX for index in indices):
        raise DomainError("an index of a key holder is outside 1 to 65535")
    above, below = 1, 1
    for index in indices:
        if index != own:
            above = above * index % ORDER
            below = below * (index - own) % ORDER
    return scalar_of(above * pow(below, -1, ORDER))


def share_at(coefficients: Sequence[Scalar], index: int) -> Scalar:
    """``f(index)`` of the polynomial with ``coefficients``, the constant one first.

    Args:
        coefficients: Secret, as is the result.
        index: The receiver's index, at least 1: at zero lies the key itself.
    """
    _check_index(index)
    x = scalar_of(index)
    value = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        value = scalar_add(scalar_mul(value, x), coefficient)
    return value


def commit(coefficients: Sequence[Scalar]) -> tuple[Point, ...]:
    """``A_k = a_k·G`` of each coefficient (Feldman). Public."""
    return tuple(base_mult(coefficient) for coefficient in coefficients)


def public_share(commitments: Sequence[Point], index: int) -> Point:
    """``Σ_k index^k·A_k = f(index)·G``: what the share at ``index`` must be (protocol 6.3)."""
    _check_index(index)
    x = scalar_of(index)
    value = commitments[-1]
    for commitment in commitments[-2::-1]:
        value = add(mult(x, value), commitment)
    return value


def verify_share(share: Scalar, commitments: Sequence[Point], index: int) -> None:
    """Raise ScoreRefusalError (S15) unless ``f(index)·G`` is ``share·G`` (protocol 6.3)."""
    if base_mult(share) != public_share(commitments, index):
        raise ScoreRefusalError(ScoreRefusal.PROOF, "a key share does not fit its commitments")


def weighted_public(indices: tuple[int, ...], own: int, public: Point) -> Point:
    """``λ_i·P_i``: the key under which holder i proves for the set S (protocol 6.4)."""
    return _weighted(lagrange(indices, own), public)


def combine_secret(values: Sequence[Scalar]) -> Scalar:
    """The sum of the shares that one member received: its share of the common key. Secret."""
    total = values[0]
    for value in values[1:]:
        total = scalar_add(total, value)
    return total


@lru_cache(maxsize=4096)
def _weighted(weight: Scalar, public: Point) -> Point:
    return mult(weight, public)


def _check_index(index: int) -> None:
    if not 1 <= index <= _LARGEST_INDEX:
        raise DomainError(f"index {index} of a key holder is outside 1 to 65535")
