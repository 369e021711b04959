"""The way back after a closure: whom a lender takes back, and how (credit 3.2, rows 20, 31).

Everything is decided at the closing partner, on data it holds and the consented joint score.
Who is held out of a campaign and who comes in which wave is drawn by a public hash, so that
the auditor draws the same ones. The ladder of tier B is ``consortium.credit.ladder``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from consortium.canonical import Label, hash_with, lp
from consortium.credit.closures import COMPETING, Cause
from consortium.credit.outcomes import M3_PLUS_FROM, Lateness
from consortium.credit.policy import RestartRules
from consortium.credit.terms import MILLION, Ppm
from consortium.errors import DomainError
from consortium.ids import PersonToken
from consortium.scoring.scorecard import cut_units

REVIEW_DAYS = 90
"""Tier D is looked at again, and tier C tested again, after so many days at most."""
HEAVY_DEBT = Ppm(400_000)
"""A debt service ratio from which tier B goes to counselling first, as in row 17."""

_B_WORST = 30
_B_CURED = 6
_PERCENT = 100


class Tier(StrEnum):
    """How a closed line's borrower is taken back."""

    A = "A"
    """Reinstated, at no worse a price."""
    B = "B"
    """By the rebuild ladder."""
    C = "C"
    """Counselling first, tested again."""
    D = "D"
    """No offer: reason, dispute route and review date."""


class Bar(StrEnum):
    """What kept somebody out of a better tier."""

    FRAUD = "FRAUD"
    M3_PLUS = "M3_PLUS"
    ANOMALY_OPEN = "ANOMALY_OPEN"
    PD = "PD"
    NO_SCORE = "NO_SCORE"
    LATE = "LATE"
    NOT_CURED = "NOT_CURED"
    DSR = "DSR"
    NO_INCOME = "NO_INCOME"
    CLOSED_FOR_ARREARS = "CLOSED_FOR_ARREARS"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLine:
    """What the tier of one borrower follows from. Private."""

    cause: Cause
    fraud_confirmed: bool
    anomaly_cleared: bool
    """Only asked for if the cause is ANOMALY."""
    dpd: int
    charged_off: bool
    lateness: Lateness
    eta: int | None
    """Log-odds of bad within twelve months, in units of 2**-32; None: no score."""
    dues: int
    """All monthly dues, without those of the line to be restarted."""
    income: int | None
    """Net, monthly, verified; None if missing, stale or not consented."""

    def __post_init__(self) -> None:
        """Refuse what cannot be, or is no closure."""
        if self.cause in COMPETING:
            raise DomainError(f"{self.cause} is no closure by the lender")
        late = self.lateness
        if min(self.dpd, self.dues, late.worst_12) < 0 or late.worst_24 < late.worst_12:
            raise DomainError("days past due or dues that cannot be")

    def dsr_below(self, bound: Ppm) -> bool:
        """Whether the debt service ratio is known and below a bound."""
        if self.income is None or self.income <= 0:
            return False
        return self.dues * MILLION < bound * self.income


@dataclass(frozen=True, slots=True)
class Placed:
    """The tier, and what kept its borrower out of the next better one."""

    tier: Tier
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Treatment:
    """What follows from a tier."""

    tier: Tier
    counselling_first: bool
    again_on: date | None
    """Review of tier D, new test of tier C."""


def tier_of(line: ClosedLine, rules: RestartRules) -> Placed:
    """The tier of a borrower whose line was closed; D, A, B and C are tried in this order."""
    excluded = _bars_of_d(line)
    if excluded:
        return Placed(Tier.D, excluded)
    from_a = _bars_of_a(line, rules)
    if not from_a:
        return Placed(Tier.A, ())
    from_b = _bars_of_b(line, rules)
    return Placed(Tier.C, from_b) if from_b else Placed(Tier.B, from_a)


def treatment_of(line: ClosedLine, placed: Placed, *, today: date) -> Treatment:
    """What is done: who has heavy debt is counselled before a ladder is offered."""
    heavy = placed.tier is Tier.B and not line.dsr_below(HEAVY_DEBT)
    again = placed.tier in (Tier.C, Tier.D)
    return Treatment(
        tier=placed.tier,
        counselling_first=heavy or placed.tier is Tier.C,
        again_on=today + timedelta(days=REVIEW_DAYS) if again else None,
    )


def reinstated_limit(old_limit: int, *, tier_limit: int, dsr_limit: int) -> int:
    """Tier A: all of the old limit, as far as tier and capacity allow."""
    return max(0, min(old_limit, tier_limit, dsr_limit))


def reinstated_price(old_price: Ppm, *, lowest: Ppm) -> Ppm:
    """Tier A: the lowest price of the cell, and never more than before the closure."""
    return min(old_price, lowest)


def _bars_of_d(line: ClosedLine) -> tuple[Bar, ...]:
    fired = {
        Bar.FRAUD: line.fraud_confirmed,
        Bar.M3_PLUS: line.dpd >= M3_PLUS_FROM or line.charged_off,
        Bar.ANOMALY_OPEN: line.cause is Cause.ANOMALY and not line.anomaly_cleared,
    }
    return tuple(bar for bar, is_on in fired.items() if is_on)


def _bars_of_a(line: ClosedLine, rules: RestartRules) -> tuple[Bar, ...]:
    fired = {
        **_score_bars(line, rules.a_pd),
        Bar.LATE: line.lateness.worst_12 > 0 or line.dpd > 0,
        **_capacity_bars(line, rules.a_dsr),
        Bar.CLOSED_FOR_ARREARS: line.cause is Cause.ARREARS,
    }
    return tuple(bar for bar, is_on in fired.items() if is_on)


def _bars_of_b(line: ClosedLine, rules: RestartRules) -> tuple[Bar, ...]:
    late = line.lateness
    never_late = late.worst_24 == 0 and line.dpd == 0
    cured = late.cured_months is not None and late.cured_months >= _B_CURED and line.dpd == 0
    fired = {
        **_score_bars(line, rules.b_pd),
        Bar.LATE: max(late.worst_24, line.dpd) > _B_WORST,
        Bar.NOT_CURED: not (never_late or cured),
        **_capacity_bars(line, rules.b_dsr),
    }
    return tuple(bar for bar, is_on in fired.items() if is_on)


def _score_bars(line: ClosedLine, pd: str) -> dict[Bar, bool]:
    if line.eta is None:
        return {Bar.NO_SCORE: True}
    return {Bar.PD: line.eta >= cut_units(pd)}


def _capacity_bars(line: ClosedLine, bound: Ppm) -> dict[Bar, bool]:
    if line.income is None or line.income <= 0:
        return {Bar.NO_INCOME: True}
    return {Bar.DSR: not line.dsr_below(bound)}


# --- waves ------------------------------------------------------------------------------------


def in_holdout(campaign: str, token: PersonToken, percent: int) -> bool:
    """Whether a person is held out of a campaign; the auditor draws the same ones."""
    return _drawn(Label.RESTART_HOLDOUT, campaign, token) < percent


def wave_of(campaign: str, token: PersonToken, percents: Sequence[int]) -> int:
    """The wave, counted from 0, in which a person that is not held out is offered.

    Args:
        campaign: Its id. Public.
        token: The person's pseudonym. Private.
        percents: Shares that the waves reach, rising, the last 100.
    """
    place = _drawn(Label.RESTART_WAVE, campaign, token)
    return sum(place >= percent for percent in percents)


def _drawn(label: Label, campaign: str, token: PersonToken) -> int:
    """A number below 100, even to one part in 2**57, from a public hash."""
    digest = hash_with(label, lp(campaign.encode("utf-8")), lp(token))
    return int(digest[:16], 16) % _PERCENT
