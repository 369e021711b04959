"""What each partner's taking part is worth to the others (row 24, credit 4.18).

A model is trained once more without a partner; the gain is by how much the others' held-out
persons are worse off, in log-loss, person by person. Log-loss, because flipped labels leave AUC
as it is. Who harms is set aside before the others are measured. The difference of a person is
clipped at a public bound, so its moments can be summed under noise like any table. Shares of a
settlement follow from the gains alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from consortium.canonical import Label, hash_with
from consortium.credit.intervals import NORMAL_95, Figure
from consortium.credit.terms import MILLION
from consortium.documents import document_of
from consortium.errors import DomainError
from consortium.ids import Digest, PartnerId

BOUND = 1
"""Where a person's difference of log-losses is clipped: that of two odds of e to one. Two
trainings that differ by one partner differ by less for nearly everybody, and noise is made for
the bound."""
FRESH_DAYS = 366
"""A contribution that is older than a year is not assessed."""
_LEAST = 50
"""Persons on whom a gain rests at least."""


class Worth(StrEnum):
    """What a gain says."""

    HELPS = "helps"
    """The whole interval is above 0."""
    UNCLEAR = "unclear"
    HARMS = "harms"
    """The whole interval is below 0: the others are better off without."""
    NOT_ASSESSED = "not_assessed"
    """Too few persons, or measured more than a year ago."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Sums over the others' held-out persons of ``d = loss without − loss with``. Public.

    ``count``, ``total`` and ``squared`` as released; ``deviations`` of their noise, 0 each if
    there is none.
    """

    count: float
    total: float
    squared: float
    deviations: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        """Refuse what is no number."""
        numbers = (self.count, self.total, self.squared, *self.deviations)
        if not all(map(math.isfinite, numbers)) or min(self.deviations) < 0:
            raise DomainError("moments of a contribution: no number")


def gain_of(found: Moments) -> Figure | None:
    """Mean difference with half of its paired 95 % interval; None below 50 persons.

    The interval is of the persons (the differences are paired, so what both models share
    cancels) and of the noise.
    """
    if found.count < _LEAST:
        return None
    mean = found.total / found.count
    spread = max(found.squared / found.count - mean**2, 0.0)
    of_count, of_total, _ = found.deviations
    noise = (of_total**2 + (mean * of_count) ** 2) / found.count**2
    return Figure(mean, NORMAL_95 * math.sqrt(spread / found.count + noise))


def worth_of(gain: Figure | None) -> Worth:
    """What a gain says by its whole interval."""
    if gain is None:
        return Worth.NOT_ASSESSED
    if gain.value - gain.half > 0:
        return Worth.HELPS
    return Worth.HARMS if gain.value + gain.half < 0 else Worth.UNCLEAR


def settlement(gains: Mapping[PartnerId, float]) -> dict[PartnerId, int]:
    """Shares in millionths: ``max(0, gain) / sum of positive gains``; they sum to a million.

    Without a positive gain all get the same. What rounding leaves goes to the largest
    remainders, ties by name.

    Raises:
        DomainError: nobody, or a gain that is no number.
    """
    if not gains or not all(map(math.isfinite, gains.values())):
        raise DomainError("settlement: gains of nobody, or no number")
    kept = {name: max(0.0, gain) for name, gain in sorted(gains.items())}
    whole = math.fsum(kept.values())
    if whole <= 0:
        kept, whole = dict.fromkeys(kept, 1.0), float(len(kept))
    exact = {name: MILLION * (gain / whole) for name, gain in kept.items()}
    shares = {name: math.floor(part) for name, part in exact.items()}
    left = MILLION - sum(shares.values())
    for name in sorted(exact, key=lambda one: (shares[one] - exact[one], one))[:left]:
        shares[name] += 1
    return shares


# --- the statement ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """One partner's line. Decimals are texts; empty where there is none."""

    partner: PartnerId
    gain: str
    at_least: str
    at_most: str
    hanging: str
    """AUC of its own customers' joint scores with its part less without (credit 4.18): what
    hangs on it, by its own count. No settlement follows from it."""
    hanging_at_least: str
    hanging_at_most: str
    settlement: int
    """Millionths."""
    worth: str
    without: Digest | None
    """The model that was trained without this partner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContributionStatement:
    """What each partner's taking part was worth. A document; its digest is in the log."""

    federation: str
    version: Digest
    """The model that all have trained."""
    measured_on: date
    epsilon: str
    """Of a person, of all the trainings and tables that it took; empty: nothing was private."""
    tables: tuple[Digest, ...]
    """Release ids of the tables of contributions that it follows from, in their order."""
    hanging: Digest | None
    """Release id of a table of dependence; None: nothing is said of it."""
    lines: tuple[Contribution, ...]
    synthetic: bool

    @property
    def digest(self) -> Digest:
        """Under which the log names it."""
        return hash_with(Label.CONTRIBUTION, document_of(self))

    def is_fresh(self, day: date) -> bool:
        """Whether it still counts."""
        return day <= self.measured_on + timedelta(days=FRESH_DAYS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured of one partner."""

    partner: PartnerId
    moments: Moments
    hanging: Figure | None = None
    """AUC that hangs on its part."""
    without: Digest | None = None
    aside: bool = False
    """Whether it was found to harm and set aside before the others were measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What a statement rests on, as its fields of the same names."""

    epsilon: str = ""
    tables: tuple[Digest, ...] = ()
    hanging: Digest | None = None
    synthetic: bool = False


def worst_of(gains: Mapping[PartnerId, Figure | None]) -> PartnerId | None:
    """Whom to set aside before the others are measured again; None: nobody harms.

    One that flips its labels has flipped hold-outs as well, and by these the honest look bad,
    too. So the one that harms most goes first, with its hold-out, and the rest is measured
    anew without it.
    """
    harms = {
        name: gain.value + gain.half
        for name, gain in gains.items()
        if gain is not None and worth_of(gain) is Worth.HARMS
    }
    return min(harms, key=lambda name: (harms[name], name), default=None)


def statement_of(
    measured: Sequence[Measured],
    *,
    federation: str,
    version: Digest,
    measured_on: date,
    basis: Basis | None = None,
) -> ContributionStatement:
    """The statement of what was measured, partners in order of their names.

    Who was set aside has no share of the settlement, unless nobody else is left.
    """
    found = basis or Basis()
    gains = {one.partner: gain_of(one.moments) for one in measured}
    rest = [one.partner for one in measured if not one.aside] or list(gains)
    values = {name: 0.0 if (g := gains[name]) is None else g.value for name in rest}
    shares = dict.fromkeys(gains, 0) | settlement(values)
    return ContributionStatement(
        federation=federation,
        version=version,
        measured_on=measured_on,
        epsilon=found.epsilon,
        tables=found.tables,
        hanging=found.hanging,
        lines=tuple(
            _line(one, gains[one.partner], shares[one.partner])
            for one in sorted(measured, key=lambda one: one.partner)
        ),
        synthetic=found.synthetic,
    )


def _line(one: Measured, gain: Figure | None, share: int) -> Contribution:
    value, low, high = _texts(gain)
    hanging, hanging_low, hanging_high = _texts(one.hanging)
    return Contribution(
        partner=one.partner,
        gain=value,
        at_least=low,
        at_most=high,
        hanging=hanging,
        hanging_at_least=hanging_low,
        hanging_at_most=hanging_high,
        settlement=share,
        worth=worth_of(gain).value,
        without=one.without,
    )


def _texts(found: Figure | None) -> tuple[str, str, str]:
    """Value and ends of its interval; empty where there is none."""
    if found is None:
        return "", "", ""
    numbers = (found.value, found.value - found.half, found.value + found.half)
    value, low, high = (f"{number:.6f}" for number in numbers)
    return value, low, high
