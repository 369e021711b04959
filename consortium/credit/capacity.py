"""What a person can carry: dues, income, and the largest loan that fits (credit 4.10).

DSR = (dues here + dues elsewhere + dues of the new loan) / net monthly income, compared in
whole numbers. An income that is missing, zero, stale or without consent has no DSR: it is
None and a REFER, never 0 and never infinity.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from consortium.credit.instalments import due_of, largest_amount
from consortium.credit.policy import DecisionRules
from consortium.credit.terms import LARGEST_MINOR, MILLION, Ppm, add_months, half_up, ppm_text
from consortium.credit.tiers import Repayment
from consortium.errors import DomainError

CREDITS = 3
"""Net salary credits whose mean is the income."""

UTILISATION_LIMIT = 2 * MILLION
_LARGEST_DSR = 9_990_000


class DueKind(StrEnum):
    """How the due of a line is found."""

    TERM = "term"
    REVOLVING = "revolving"


@dataclass(frozen=True, slots=True, kw_only=True)
class Obligation:
    """One line that is being repaid, in minor units. Private."""

    kind: DueKind
    scheduled: int
    """Scheduled payment of a term loan, or contract minimum of a revolving line."""
    balance: int

    def __post_init__(self) -> None:
        if not 0 <= self.scheduled <= LARGEST_MINOR or not 0 <= self.balance <= LARGEST_MINOR:
            raise DomainError("obligation: an amount is negative or too large")


@dataclass(frozen=True, slots=True, kw_only=True)
class Income:
    """Verified net credits of a person, latest last. Private."""

    credits: tuple[int, ...]
    """Minor units."""
    latest_on: date


class IncomeState(StrEnum):
    """Whether an income may be divided by."""

    USABLE = "usable"
    MISSING = "missing"
    ZERO = "zero"
    STALE = "stale"
    NO_CONSENT = "no_consent"


@dataclass(frozen=True, slots=True)
class NewLoan:
    """What decides the due of a loan that is asked for."""

    repayment: Repayment
    price: Ppm
    """The highest of the tier: what is offered later is no dearer."""
    months: int


def income_state(
    income: Income | None, *, today: date, rules: DecisionRules, consented: bool
) -> IncomeState:
    """Whether the income may be used today; only ``USABLE`` has a DSR."""
    if income is None or len(income.credits) < CREDITS:
        return IncomeState.MISSING
    if not consented:
        return IncomeState.NO_CONSENT
    if sum(income.credits[-CREDITS:]) <= 0:
        return IncomeState.ZERO
    if add_months(income.latest_on, rules.income_max_age_months) < today:
        return IncomeState.STALE
    return IncomeState.USABLE


def monthly_due(one: Obligation, rules: DecisionRules) -> int:
    """Scheduled payment, or of a revolving line at least the policy's share of its balance."""
    if one.kind is DueKind.TERM:
        return one.scheduled
    return max(one.scheduled, half_up(one.balance * rules.revolving_due_share, MILLION))


def dues_of(
    here: Sequence[Obligation],
    elsewhere: Sequence[Obligation],
    upper: int | None,
    rules: DecisionRules,
) -> int:
    """Monthly dues without the new loan.

    Args:
        here: Lines at this partner.
        elsewhere: Declared lines at others.
        upper: Upper edge of the consented band of dues elsewhere; None: unknown. The larger
            of the band and what was declared counts.
        rules: The policy's.
    """
    declared = sum(monthly_due(one, rules) for one in elsewhere)
    return sum(monthly_due(one, rules) for one in here) + max(declared, upper or 0)


def new_due(amount: int, loan: NewLoan, rules: DecisionRules) -> int:
    """Monthly due of a new loan.

    A loan that is repaid at its end counts as if it were saved for in equal dues.
    """
    if loan.repayment is Repayment.REVOLVING:
        return half_up(amount * rules.revolving_due_share, MILLION)
    return due_of(amount, loan.price, loan.months)


def dsr(dues: int, income: Income) -> Ppm:
    """Dues over a usable income, in millionths, rounded down; for print.

    Raises:
        DomainError: negative dues, or an income that has no DSR.
    """
    total = sum(income.credits[-CREDITS:])
    if dues < 0 or total <= 0 or len(income.credits) < CREDITS:
        raise DomainError("dues are negative, or the income has no DSR")
    return Ppm(dues * CREDITS * MILLION // total)


def dsr_text(share: Ppm | None) -> str:
    """As it is printed: ``n/a`` and ``9.99+`` at the ends."""
    if share is None:
        return "n/a"
    return "9.99+" if share > _LARGEST_DSR else ppm_text(share)[:-4]


def exceeds(dues: int, income: Income, cap: Ppm) -> bool:
    """Whether the DSR is above the cap, exactly."""
    return dues * CREDITS * MILLION > cap * sum(income.credits[-CREDITS:])


def amount_that_fits(
    loan: NewLoan, income: Income, *, dues: int, cap: Ppm, rules: DecisionRules
) -> int:
    """Largest new loan with which the DSR is at most the cap; 0 if there is none.

    Args:
        loan: What decides the new due.
        income: Usable.
        dues: Monthly, without the new loan.
        cap: Of the DSR.
        rules: The policy's.
    """
    left = cap * sum(income.credits[-CREDITS:]) // (CREDITS * MILLION) - dues
    if left < 0:
        return 0
    if loan.repayment is not Repayment.REVOLVING:
        return largest_amount(left, loan.price, loan.months)
    share = rules.revolving_due_share
    if share == 0:
        return LARGEST_MINOR
    return min((MILLION * (2 * left + 1) - 1) // (2 * share), LARGEST_MINOR)


# --- what is watched --------------------------------------------------------------------------


def utilisation(balance: int, limit: int | None) -> Ppm | None:
    """Share of a limit in use, 0 to 2; None without a limit: a bin of its own."""
    if not limit or limit < 0:
        return None
    return Ppm(min(max(balance, 0) * MILLION // limit, UTILISATION_LIMIT))


def payment_ratio(paid: int, due: int) -> Ppm | None:
    """Share of a due that was paid; without a due None, or 1 if something was paid."""
    if due <= 0:
        return Ppm(MILLION) if paid > 0 else None
    return Ppm(max(paid, 0) * MILLION // due)


def funds_misused(barred: int, draws: int, rules: DecisionRules) -> bool:
    """Whether debits in barred categories exceed the policy's share of 30 days' draws."""
    return barred > 0 and barred * MILLION > rules.barred_funds_share * max(draws, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """How a line is used, beside its dues. Private."""

    utilisation: Ppm | None
    misused: bool
    elsewhere_known: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityState:
    """What the capacity monitor tells of a line (row 27). Private."""

    utilisation: Ppm | None
    dsr: Ppm | None
    income: IncomeState
    dues_elsewhere_unknown: bool
    codes: tuple[str, ...]
    """REFER codes: R20 without a usable income, R21 above the cap, F1 for use of funds."""


def capacity_state(
    income: Income | None, state: IncomeState, usage: Usage, *, dues: int, cap: Ppm
) -> CapacityState:
    """The monitor's answer; nothing here changes a price, a limit or a line."""
    share, codes = None, []
    if income is None or state is not IncomeState.USABLE:
        codes.append("R20")
    else:
        share = dsr(dues, income)
        if exceeds(dues, income, cap):
            codes.append("R21")
    if usage.misused:
        codes.append("F1")
    return CapacityState(
        utilisation=usage.utilisation,
        dsr=share,
        income=state,
        dues_elsewhere_unknown=not usage.elsewhere_known,
        codes=tuple(codes),
    )
