"""What the words of a joint score mean, and how a holding is written into them (protocol 7.1).

A person is ``D = 2F + 2`` words: for every column its logit and its number of holders, then
the number of contributors that hold anything, then a sentinel. Who holds a person and who does
not run through the same steps and come to the same number of words.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from consortium.errors import DomainError, ScoreRefusal, ScoreRefusalError, ShapeError
from consortium.manifest import Disclosure
from consortium.scoring.scorecard import UNIT_BITS

Words = NDArray[np.uint64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

TOTAL = "total"
"""The only column where the manifest says ``total_only``."""

SENTINEL = (1 << 32) + 1
"""Added by every contributor: the sum tells how many words of a person are in it."""

LOGIT_LIMIT = 16 << UNIT_BITS
"""Most of one partner's logit for one column, in units."""

MOST_FAMILIES = 32
"""Bits that a receipt has for families (protocol 7.8)."""

_TAIL = 2
"""Words after the columns: contributors that hold anything, and the sentinel."""


@dataclass(frozen=True, kw_only=False)
class Layout:
    """Columns and words of a served model. Public.

    Raises:
        DomainError: no families, more than 32, one named twice or named like the total.
    """

    families: tuple[str, ...]
    """Of the served model, in the order of its document."""
    disclosure: Disclosure = Disclosure.FAMILY

    def __post_init__(self) -> None:
        known = set(self.families)
        if not 1 <= len(self.families) <= MOST_FAMILIES or len(known) != len(self.families):
            raise DomainError(f"{len(self.families)} families, {len(known)} of them different")
        if TOTAL in known:
            raise DomainError(f"a family may not be named {TOTAL}")

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """What is summed apart: the families, or the total alone."""
        return self.families if self.disclosure is Disclosure.FAMILY else (TOTAL,)

    @cached_property
    def words(self) -> int:
        """D, words of one person."""
        return 2 * len(self.columns) + _TAIL


@dataclass(frozen=True, slots=True, kw_only=True)
class JointSums:
    """Sums over all contributors, of n persons. Private to the asker: never logged."""

    columns: tuple[str, ...]
    logits: Integers = field(repr=False)
    """Shape (n, F), units: L_f."""
    counts: Integers = field(repr=False)
    """Shape (n, F): N_f, who holds the family."""
    partners: Integers = field(repr=False)
    """Shape (n,): N_any, who holds anything."""


def encode_holding(
    layout: Layout,
    logits: Mapping[str, Integers],
    held: Flags,
    *,
    allowed: Flags | None = None,
) -> Words:
    """One contributor's words for n persons, before masks (protocol 7.1).

    The steps do not depend on who is held: a stranger's logits are multiplied by zero, never
    skipped (protocol 10.17).

    Args:
        layout: Of the served model.
        logits: For each family that this partner has, partial logits in units, int64 of
            shape (n,); where a person is not held, any number. Private.
        held: Who is held here and has not withdrawn, shape (n,). Private.
        allowed: The families that each person's receipt allows, shape (n, families).

    Returns:
        Shape (n, D), uint64. Private: only to be sent under masks.

    Raises:
        DomainError: a family that the model does not have.
        ShapeError: arrays that do not belong together.
    """
    persons, families = len(held), layout.families
    if not logits.keys() <= set(families):
        raise DomainError(f"families {sorted(logits)} are not all of {families}")
    if allowed is not None and allowed.shape != (persons, len(families)):
        raise ShapeError(f"consent of shape {allowed.shape} for {persons} persons")
    words = np.zeros((persons, layout.words), dtype=np.int64)
    whole = layout.disclosure is Disclosure.TOTAL_ONLY
    for place, name in enumerate(families):
        if name in logits:
            _check(logits[name], persons)
            holds = held if allowed is None else held & allowed[:, place]
            column = 0 if whole else 2 * place
            words[:, column] += _clamped(logits[name]) * holds
            words[:, column + 1] |= holds
            words[:, -2] |= holds
    if whole:
        words[:, 0] = _clamped(words[:, 0])
    words[:, -1] = SENTINEL
    return words.view(np.uint64)


def decode(layout: Layout, total: Words, contributors: int) -> JointSums:
    """Read the sum of all contributors' words (protocol 7.6).

    Args:
        layout: Of the served model.
        total: Shape (n, D), uint64, unmasked. Private.
        contributors: |U|: all answers and the asker's own words.

    Raises:
        ScoreRefusalError: the sentinel is not that of so many contributors, or a figure
            that no honest contributors could make (S17). Fault: one of them.
    """
    if total.ndim != _TAIL or total.shape[1] != layout.words or total.dtype != np.uint64:
        raise ShapeError(f"sum {total.dtype} {total.shape}, expected (n, {layout.words})")
    plain = total.view(np.int64)
    if not (plain[:, -1] == contributors * SENTINEL).all():
        raise ScoreRefusalError(ScoreRefusal.ANSWER, "the sum's sentinel is wrong")
    logits, counts, partners = plain[:, 0:-_TAIL:2], plain[:, 1:-_TAIL:2], plain[:, -2]
    # Counts first: of numbers that no count can be, the product and |L| would overflow.
    whole = (
        (counts >= 0).all()
        and (counts <= partners[:, None]).all()
        and (partners <= contributors).all()
        and (logits <= counts * LOGIT_LIMIT).all()
        and (logits >= counts * -LOGIT_LIMIT).all()
    )
    if not whole:
        raise ScoreRefusalError(ScoreRefusal.ANSWER, "the sum is outside its bounds")
    return JointSums(columns=layout.columns, logits=logits, counts=counts, partners=partners)


def _clamped(logits: Integers) -> Integers:
    clamped: Integers = np.minimum(np.maximum(logits, -LOGIT_LIMIT), LOGIT_LIMIT)
    return clamped


def _check(logits: Integers, persons: int) -> None:
    if logits.shape != (persons,) or logits.dtype != np.int64:
        raise ShapeError(f"logits {logits.dtype} {logits.shape} for {persons} persons")
