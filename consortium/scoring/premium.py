"""What a person loses when one partner's part leaves the joint score (7.18; credit 4.16).

Computed at the closing partner. It knows its own part and has asked the others once, under
IMPACT_STUDY: so nobody differences two answers. With = the log-odds of all parts; without =
those of ``L_f - own_f`` and ``N_f - 1`` in every family that it held, in the stratum that the
next lender will see. Harm counts positive, and the sign of nothing is dropped. Integers decide;
floats are for print.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from consortium.errors import DomainError, ShapeError
from consortium.scoring.combine import joint_eta
from consortium.scoring.head import Head
from consortium.scoring.layout import Flags, Integers, JointSums
from consortium.scoring.scorecard import ETA_LIMIT, FACTOR, UNIT_BITS

Float = NDArray[np.float64]
Labels = NDArray[np.uint8]

ATTESTATION = "attestation"
"""The family of histories that borrowers carry themselves."""

NO_LABEL = 255

_UNIT = float(1 << UNIT_BITS)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPart:
    """One partner's part of the sums of n persons. Private."""

    logits: Integers = field(repr=False)
    """Shape (n, F), units; 0 where it holds none."""
    counts: Integers = field(repr=False)
    """1 where it holds the family, shape (n, F)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Premium:
    """What the loss costs n persons. Private: only noisy totals by tier may leave."""

    before: Integers = field(repr=False)
    """Log-odds of bad with the partner's part, units, shape (n,)."""
    after: Integers = field(repr=False)
    """Without it."""
    strata: Integers = field(repr=False)
    """That the next lender sees, shape (n,)."""

    @property
    def points(self) -> Float:
        """Points that are lost: positive is harm."""
        lost: Float = FACTOR * (_log_odds(self.after) - _log_odds(self.before))
        return lost

    @property
    def pd(self) -> Float:
        """PD without minus with: positive is harm."""
        more: Float = _pd(self.after) - _pd(self.before)
        return more


@dataclass(frozen=True, slots=True, kw_only=True)
class Impact:
    """A premium, and what is known by now of the same n persons. Private."""

    premium: Premium = field(repr=False)
    labels: Labels = field(repr=False)
    """What became of them by the partner's own table, shape (n,): 0 good, 1 bad, 255 no
    outcome."""
    holdout: Flags = field(repr=False)
    """Whether the model never saw the person (protocol 5.8), shape (n,)."""
    attested: Integers | None = field(repr=False)
    """Log-odds at the next lender of who carries an attestation, units, shape (n,); None: the
    head has no family of attestations."""

    def __post_init__(self) -> None:
        """Raise ShapeError or DomainError unless the columns are of the same persons."""
        shape = self.premium.before.shape
        if {self.labels.shape, self.holdout.shape} != {shape}:
            raise ShapeError(f"outcomes of {self.labels.shape} for a premium of {shape}")
        if self.attested is not None and self.attested.shape != shape:
            raise ShapeError(f"{self.attested.shape} attested of {shape} persons")
        if not np.isin(self.labels, (0, 1, NO_LABEL)).all():
            raise DomainError("a label that is none")


def without_part(sums: JointSums, own: OwnPart) -> JointSums:
    """The sums that are left when a partner's part is taken out.

    Raises:
        ShapeError: another number of persons or families.
        DomainError: a part that is not in the sums.
    """
    if {own.logits.shape, own.counts.shape} != {sums.logits.shape}:
        raise ShapeError(f"part of shape {own.logits.shape} in sums of {sums.logits.shape}")
    held = own.counts > 0
    inside = ((own.counts == 0) | (own.counts == 1)).all() and (own.counts <= sums.counts).all()
    if not inside or (own.logits[~held] != 0).any():
        raise DomainError("a part that is not in the sums")
    return JointSums(
        columns=sums.columns,
        logits=sums.logits - own.logits,
        counts=sums.counts - own.counts,
        partners=sums.partners - held.any(axis=1),
    )


def with_attested(sums: JointSums, logits: Integers, shown: Flags) -> JointSums:
    """The sums with what attestations say, added by the lender to whom they are shown.

    An attestation is one holder of its family: its logit is not averaged with anything.

    Args:
        sums: Without the family. Private.
        logits: Of the family ``attestation``, units, shape (n,). Private.
        shown: Whose attestation is valid and was shown, shape (n,).

    Raises:
        DomainError: the model has no such family, or the sums have parts in it.
    """
    if ATTESTATION not in sums.columns:
        raise DomainError("the model has no family of attestations")
    place = sums.columns.index(ATTESTATION)
    if sums.counts[:, place].any():
        raise DomainError("a holder has answered with attestations: they would count twice")
    added, counts = sums.logits.copy(), sums.counts.copy()
    added[:, place] = logits * shown
    counts[:, place] = shown
    return JointSums(
        columns=sums.columns,
        logits=added,
        counts=counts,
        partners=sums.partners + (shown & (sums.partners == 0)),
    )


def study_variants(
    sums: JointSums, own: OwnPart, attested: Integers, draws: Integers
) -> tuple[JointSums, OwnPart]:
    """Rows of a head's study that teach the slope of attestations, too (protocol 7.18).

    Each person is one row: as it is asked for today, as the next lender would see it if the
    asker's part left the sums, or the same with the asker's attestation; which of the three is
    drawn by what is the person's own alone.

    Args:
        sums: Of the asker's persons, the asker's part in them. Private.
        own: The asker's part. Private.
        attested: Logit of what it would attest of each, units, shape (n,). Private.
        draws: Integers that are uniform over the persons, shape (n,). Private.

    Returns:
        The rows, and what of them is the asker's part.
    """
    left = without_part(sums, own)
    shown = with_attested(left, attested, np.ones(len(attested), dtype=np.bool_))
    kinds = draws % 3
    by_row, by_cell = [kinds == one for one in range(3)], kinds[:, None]
    cells = [by_cell == one for one in range(3)]
    views = (sums, left, shown)
    mixed = JointSums(
        columns=sums.columns,
        logits=np.select(cells, [one.logits for one in views]),
        counts=np.select(cells, [one.counts for one in views]),
        partners=np.select(by_row, [one.partners for one in views]),
    )
    part = OwnPart(logits=own.logits * cells[0], counts=own.counts * cells[0])
    return mixed, part


def premium_of(head: Head, before: JointSums, after: JointSums) -> Premium:
    """What it costs to be seen as ``after`` instead of ``before``; ShapeError as joint_eta."""
    if before.partners.shape != after.partners.shape:
        raise ShapeError(f"{len(before.partners)} persons before, {len(after.partners)} after")
    with_part, _ = joint_eta(head, before)
    without, strata = joint_eta(head, after)
    return Premium(before=with_part, after=without, strata=strata)


def pd_of(units: Integers) -> Float:
    """PD of log-odds in units, shape (n,)."""
    return _pd(units)


def _log_odds(units: Integers) -> Float:
    eta: Float = np.clip(units / _UNIT, -ETA_LIMIT, ETA_LIMIT)
    return eta


def _pd(units: Integers) -> Float:
    pd: Float = 1.0 / (1.0 + np.exp(-_log_odds(units)))
    return pd
