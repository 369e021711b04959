"""Who pays what on which day: schedules in whole minor units (credit 4.9).

Each row is rounded half up; the last instalment absorbs the rest, so that principals add up to
the amount exactly. Interest of a full month is a twelfth of the yearly price; a first period
that is no full month is counted by days, 365 to a year.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from fractions import Fraction

from consortium.credit.rates import YEAR_DAYS, YEAR_MONTHS, Clock, Flow
from consortium.credit.terms import MILLION, Money, Ppm, add_months, half_up
from consortium.errors import DomainError

MOST_INSTALMENTS = 600


class Method(StrEnum):
    """How the amount is paid back."""

    ANNUITY = "annuity"
    """Equal instalments of interest and principal."""
    EQUAL_PRINCIPAL = "equal_principal"
    INTEREST_ONLY = "interest_only"
    """Interest each month, the amount with the last."""
    BULLET = "bullet"
    """Everything at the end of the term, in one payment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What must be paid to have the credit, beside interest.

    Fee, service, guarantee, insurance or membership that is not the borrower's to refuse.
    """

    code: str
    name_zh: str
    name_en: str
    payee: str
    amount: Money
    """Each time."""
    every: int
    """0: once, held back at payout; m: with each m-th instalment."""

    def __post_init__(self) -> None:
        """Refuse what is no charge."""
        if self.amount.minor < 0 or self.every < 0:
            raise DomainError(f"charge {self.code!r} has a negative amount or rhythm")

    def times(self, instalments: int) -> int:
        """How often it is paid over a schedule."""
        return 1 if self.every == 0 else instalments // self.every


@dataclass(frozen=True, slots=True, kw_only=True)
class LoanTerms:
    """All that a schedule follows from. Add-ons are not among it (credit 4.9)."""

    amount: Money
    months: int
    """Term in months; so many instalments, or one for a bullet."""
    price_apr: Ppm
    """Yearly interest; a twelfth of it each month."""
    method: Method
    payout_on: date
    first_due_on: date
    charges: tuple[Charge, ...]

    def __post_init__(self) -> None:
        """Refuse terms that no schedule can have."""
        if self.amount.minor <= 0:
            raise DomainError("a loan has a positive amount")
        if not 1 <= self.months <= MOST_INSTALMENTS:
            raise DomainError(f"a term of {self.months} months is not 1 to {MOST_INSTALMENTS}")
        if self.price_apr < 0:
            raise DomainError("a price below 0")
        if self.first_due_on <= self.payout_on:
            raise DomainError("the first instalment is due after payout")
        if any(charge.amount.currency != self.amount.currency for charge in self.charges):
            raise DomainError("a charge in another currency than the loan's")
        if self.upfront >= self.amount.minor:
            raise DomainError("charges at payout leave nothing to pay out")

    @property
    def upfront(self) -> int:
        """What is held back at payout, in minor units."""
        return sum(charge.amount.minor for charge in self.charges if charge.every == 0)

    @property
    def clock(self) -> Clock:
        """Equal months, if the first due date is a full month after payout."""
        return Clock.MONTHS if self.first_due_on == self._months_on(1) else Clock.DAYS

    def due_dates(self) -> tuple[date, ...]:
        """The day of each instalment."""
        if self.method is Method.BULLET:
            return (self._due(self.months),)
        return tuple(self._due(number) for number in range(1, self.months + 1))

    def _due(self, number: int) -> date:
        if self.clock is Clock.MONTHS:
            return self._months_on(number)
        return add_months(self.first_due_on, number - 1)

    def _months_on(self, number: int) -> date:
        return add_months(self.payout_on, number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One instalment, in minor units: ``due = interest + fees + principal``."""

    on: date
    opening: int
    interest: int
    fees: int
    principal: int
    due: int
    closing: int


def schedule_of(terms: LoanTerms) -> tuple[Row, ...]:
    """The rows of a loan, the last one bringing what is owed to 0."""
    apr = Fraction(terms.price_apr, MILLION)
    dates = terms.due_dates()
    shares = _first_share(terms), Fraction(1, YEAR_MONTHS)
    level = _level_payment(terms.amount.minor, apr / YEAR_MONTHS, terms.months)
    rows: list[Row] = []
    opening = terms.amount.minor
    for number, on in enumerate(dates, 1):
        interest = _rounded(opening * apr * shares[number > 1])
        principal = opening
        if number < len(dates):
            principal = _principal(terms, opening, interest, level)
        fees = _fees(terms.charges, number, terms.months, single=len(dates) == 1)
        due = interest + fees + principal
        closing = opening - principal
        rows.append(
            Row(
                on=on,
                opening=opening,
                interest=interest,
                fees=fees,
                principal=principal,
                due=due,
                closing=closing,
            )
        )
        opening = closing
    return tuple(rows)


def flows_of(terms: LoanTerms, rows: Sequence[Row]) -> tuple[Flow, ...]:
    """What the borrower receives and pays: payout less charges, then every instalment."""
    flows = [Flow(0, terms.amount.minor - terms.upfront)]
    if terms.clock is Clock.MONTHS:
        numbers = (terms.months,) if len(rows) == 1 else range(1, len(rows) + 1)
        flows += [Flow(k, -row.due) for k, row in zip(numbers, rows, strict=True)]
    else:
        flows += [Flow((row.on - terms.payout_on).days, -row.due) for row in rows]
    return tuple(flows)


def _first_share(terms: LoanTerms) -> Fraction:
    """The part of a year that the first row's interest is for."""
    single = terms.method is Method.BULLET
    months = terms.months if single else 1
    if terms.clock is Clock.MONTHS:
        return Fraction(months, YEAR_MONTHS)
    stub = Fraction((terms.first_due_on - terms.payout_on).days, YEAR_DAYS)
    return stub + Fraction(months - 1, YEAR_MONTHS)


def _rounded(value: Fraction) -> int:
    return half_up(value.numerator, value.denominator)


def _level_payment(amount: int, rate: Fraction, months: int) -> int:
    """``A·i / (1 − (1 + i)^−n)``, half up; ``A/n`` without interest."""
    if rate == 0:
        return half_up(amount, months)
    grown = (1 + rate) ** months
    return _rounded(amount * rate * grown / (grown - 1))


def _principal(terms: LoanTerms, opening: int, interest: int, level: int) -> int:
    """What a row before the last one pays back, never more than is owed."""
    wanted = 0
    if terms.method is Method.ANNUITY:
        wanted = level - interest
    elif terms.method is Method.EQUAL_PRINCIPAL:
        wanted = half_up(terms.amount.minor, terms.months)
    return max(0, min(wanted, opening))


def _fees(charges: Sequence[Charge], number: int, months: int, *, single: bool) -> int:
    """Charges that fall on a row; a bullet's one row bears those of the whole term."""
    recurring = [charge for charge in charges if charge.every > 0]
    if single:
        return sum(charge.amount.minor * charge.times(months) for charge in recurring)
    return sum(charge.amount.minor for charge in recurring if number % charge.every == 0)
