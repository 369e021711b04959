"""Histories that applicants carry, in the terms of the served model (protocol 7.18).

What is verified before it comes here is ``credit.showing``'s. Here it gets the weights of the
family ``attestation``, and counts where it is not said already: the answers of the others have
their own families, and the issuer of a history may be among them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from consortium.ids import PartnerId
from consortium.scoring.layout import JointSums
from consortium.scoring.premium import ATTESTATION, with_attested
from partner_node.answers import Shown
from partner_node.customers import Codes
from partner_node.score_table import ScoreTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A shown history in the served model's terms. Private."""

    issuer: PartnerId
    logit: int = field(repr=False)
    """Of the family of attestations, units."""
    eta: int = field(repr=False)
    """Own log-odds with it, units."""
    codes: Mapping[str, int] = field(repr=False)
    """Of all own features, those of the history among them."""


class View(NamedTuple):
    """One person of a request. Private."""

    place: int
    carried: Carried | None
    own: frozenset[str]
    """Families that the asker itself holds of the person."""


def carried_of(table: ScoreTable, codes: Codes, shown: Shown | None) -> Carried | None:
    """What a history adds to what is known; None if the served model has no word on it.

    Args:
        table: Served.
        codes: Of the person, shape (1, features). Private.
        shown: Verified. Private.
    """
    if shown is None:
        return None
    codes = table.encode_shown(codes, shown.features)
    logit = table.shown_logit(codes)
    if logit is None:
        return None
    return Carried(
        issuer=shown.issuer,
        logit=logit,
        eta=int(table.local(codes)[0]),
        codes=dict(zip(table.columns, codes[0].tolist(), strict=True)),
    )


def with_carried(
    table: ScoreTable,
    answered: tuple[JointSums, tuple[PartnerId, ...]],
    views: Sequence[View],
) -> tuple[JointSums, frozenset[int]]:
    """The sums of one request with the histories that count, and whose they are.

    A history counts where its issuer's own answer is surely not among those summed, else it
    would be said twice: the issuer was not asked, or nobody but the asker has answered in any
    family that the issuer holds.

    Args:
        table: Of the model that the sums are of.
        answered: Sums, and whose answers are in them. Private.
        views: Those of the request's persons that are asked about here. Private.
    """
    sums, partners = answered
    if ATTESTATION not in sums.columns:
        return sums, frozenset()
    logits = np.zeros(len(sums.partners), dtype=np.int64)
    shown = np.zeros(len(sums.partners), dtype=np.bool_)
    for one in views:
        if one.carried is not None:
            issuer = one.carried.issuer
            inside = issuer in partners and _may_have_answered(table, sums, one, issuer)
            if not inside:
                logits[one.place], shown[one.place] = one.carried.logit, True
    if not shown.any():
        return sums, frozenset()
    return with_attested(sums, logits, shown), frozenset(np.flatnonzero(shown).tolist())


def _may_have_answered(
    table: ScoreTable, sums: JointSums, one: View, issuer: PartnerId
) -> bool:
    counts = dict(zip(sums.columns, sums.counts[one.place].tolist(), strict=True))
    held = table.families_of(issuer)
    return any(counts.get(name, 0) > int(name in one.own) for name in held)
