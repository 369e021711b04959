"""The cost sheet: what a credit costs, shown and confirmed before anybody is bound.

A sheet follows from the loan's terms and the pack's cap alone (credit 4.9, rows 22 and 29).
What the borrower may take beside it is priced apart: neither rate, total nor decision knows of
it. An add-on cannot be pre-ticked, for its type holds no choice; a ``Choice`` is made when the
borrower makes one, names the sheet that was shown, and none of its fields has a default.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from consortium.canonical import Label, hash_with
from consortium.credit.hooks import Params
from consortium.credit.pack import CapBasis, Pack
from consortium.credit.rates import (
    Clock,
    Flow,
    costs_more_than,
    percent_text,
    ppm_of,
    yearly_rates,
)
from consortium.credit.schedule import Charge, LoanTerms, Method, Row, flows_of, schedule_of
from consortium.credit.terms import Money, Ppm, Segment
from consortium.documents import document_of
from consortium.errors import CostCapError, DomainError, NotConfirmedError, PolicyError
from consortium.ids import Digest


class Channel(StrEnum):
    """Where a sheet was shown."""

    ONLINE = "online"
    PAPER = "paper"
    CHECKOUT = "checkout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """The most that a credit may cost a year, and which figure is compared. The pack's."""

    annualised: Ppm
    basis: CapBasis


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """Terms that are shown beside the price: penalties and early repayment."""

    code: str
    zh: str
    en: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddOn:
    """Something the borrower may take, or not: insurance, instalment plan, service.

    Whether it is taken is no part of it.
    """

    code: str
    name_zh: str
    name_en: str
    payee: str
    amount: Money
    """Each time."""
    every: int
    """As for ``Charge``: 0 at payout, m with each m-th instalment."""
    cooling_off_days: int

    def __post_init__(self) -> None:
        """Refuse what is no add-on."""
        if min(self.amount.minor, self.every, self.cooling_off_days) < 0:
            raise DomainError(f"add-on {self.code!r} has a negative amount, rhythm or span")

    def as_charge(self) -> Charge:
        """What it would cost as a charge, to say what the credit costs with it."""
        return Charge(
            code=self.code,
            name_zh=self.name_zh,
            name_en=self.name_en,
            payee=self.payee,
            amount=self.amount,
            every=self.every,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedAddOn:
    """An add-on beside a credit: its own price, and the total with and without it."""

    addon: AddOn
    total: Money
    total_without: Money
    total_with: Money
    effective_with: Ppm | None
    """Yearly rate if it is taken; told, never compared with the cap. None: it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedCharge:
    """A charge by name and payee, and its sum over the term."""

    charge: Charge
    total: Money


@dataclass(frozen=True, slots=True, kw_only=True)
class CostSheet:
    """All that is told of a credit's cost; its digest is what a contract names."""

    amount: Money
    payout_on: date
    payout: Money
    """The amount less what is held back at payout."""
    method: Method
    price_apr: Ppm
    clock: Clock
    rows: tuple[Row, ...]
    charges: tuple[ListedCharge, ...]
    nominal: Ppm
    effective: Ppm
    cap: Cap | None
    """None: the pack bounds no price."""
    total_paid: Money
    """All instalments; what was held back at payout is in the payout."""
    total_cost: Money
    """What is paid beyond what was received."""
    penalties: tuple[Clause, ...]
    """Contingent: beside the price, not inside it."""
    early_repayment: Clause
    addons: tuple[PricedAddOn, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What the borrower said to one add-on under a sheet. There is no default."""

    sheet: Digest
    addon: str
    taken: bool
    on: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """That a borrower had a sheet before them, and said so. Times in seconds since 1970."""

    sheet: Digest
    channel: Channel
    shown_at: int
    confirmed_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a pack asks for before a contract."""

    forced_reading_s: int
    confirm: bool
    channels: tuple[Channel, ...]

    @classmethod
    def of(cls, params: Params) -> "Reading":
        """From the parameters of a pack's duty ``cost_sheet``; PolicyError."""
        named = params.items("channels")
        odd = [name for name in named if name not in set(Channel)]
        if odd:
            raise PolicyError(f"cost_sheet: channels: seen {odd[0]}, expected {list(Channel)}")
        return cls(
            forced_reading_s=params.whole("forced_reading_s"),
            confirm=params.flag("confirm"),
            channels=tuple(Channel(name) for name in named),
        )


# --- the sheet --------------------------------------------------------------------------------


def cost_sheet(
    terms: LoanTerms,
    *,
    cap: Cap | None,
    penalties: tuple[Clause, ...],
    early_repayment: Clause,
    addons: tuple[AddOn, ...],
) -> CostSheet:
    """The sheet of a loan.

    Raises:
        CostCapError: it costs more than the cap; a sheet over it does not exist.
        DomainError: terms that have no yearly rate, or an add-on listed twice.
    """
    rows = schedule_of(terms)
    flows = flows_of(terms, rows)
    if cap is not None and _over(flows, terms.clock, cap):
        raise CostCapError(f"costs more than {percent_text(cap.annualised)} % ({cap.basis})")
    rates = yearly_rates(flows, terms.clock)
    if len({addon.code for addon in addons}) < len(addons):
        raise DomainError("an add-on is listed twice")
    currency = terms.amount.currency
    return CostSheet(
        amount=terms.amount,
        payout_on=terms.payout_on,
        payout=Money(flows[0].amount, currency),
        method=terms.method,
        price_apr=terms.price_apr,
        clock=terms.clock,
        rows=rows,
        charges=tuple(_listed(charge, terms.months) for charge in terms.charges),
        nominal=ppm_of(rates.nominal),
        effective=ppm_of(rates.effective),
        cap=cap,
        total_paid=Money(sum(row.due for row in rows), currency),
        total_cost=cost_of(flows, currency),
        penalties=penalties,
        early_repayment=early_repayment,
        addons=tuple(priced_apart(terms, addon, rows=rows) for addon in addons),
    )


def sheet_digest(sheet: CostSheet) -> Digest:
    """What a contract, a choice and a confirmation name."""
    return hash_with(Label.COST_SHEET, document_of(sheet))


def cost_of(flows: Sequence[Flow], currency: str) -> Money:
    """What is paid beyond what is received."""
    return Money(-sum(flow.amount for flow in flows), currency)


def within_cap(terms: LoanTerms, rows: Sequence[Row], cap: Cap | None) -> bool:
    """Whether a loan with this schedule may be offered under the pack."""
    return cap is None or not _over(flows_of(terms, rows), terms.clock, cap)


def _over(flows: Sequence[Flow], clock: Clock, cap: Cap) -> bool:
    return costs_more_than(flows, clock, cap=cap.annualised, basis=cap.basis)


def priced_apart(terms: LoanTerms, addon: AddOn, *, rows: Sequence[Row]) -> PricedAddOn:
    """An add-on's own price beside a loan whose rows are ``rows``."""
    flows = flows_of(terms, rows)
    total = _total(addon.as_charge(), terms.months)
    without = cost_of(flows, terms.amount.currency)
    extra = _extra_flows(addon, terms, rows)
    return PricedAddOn(
        addon=addon,
        total=total,
        total_without=without,
        total_with=without + total,
        effective_with=_effective([*flows, *extra], terms.clock),
    )


def _effective(flows: Sequence[Flow], clock: Clock) -> Ppm | None:
    try:
        return ppm_of(yearly_rates(flows, clock).effective)
    except DomainError:  # dearer than what is paid out: no rate, but no reason to hide the loan
        return None


def _extra_flows(addon: AddOn, terms: LoanTerms, rows: Sequence[Row]) -> list[Flow]:
    if addon.every == 0:
        return [Flow(0, -addon.amount.minor)]
    times = [flow.at for flow in flows_of(terms, rows)[1:]]
    if terms.method is Method.BULLET:
        return [Flow(times[0], -addon.amount.minor * (terms.months // addon.every))]
    paid = enumerate(times, 1)
    return [Flow(at, -addon.amount.minor) for number, at in paid if number % addon.every == 0]


def _listed(charge: Charge, months: int) -> ListedCharge:
    return ListedCharge(charge=charge, total=_total(charge, months))


def _total(charge: Charge, months: int) -> Money:
    return Money(charge.amount.minor * charge.times(months), charge.amount.currency)


def cap_of(pack: Pack, segment: Segment, day: date) -> Cap | None:
    """The cap on the yearly cost that a pack sets for a segment on a day."""
    most = pack.cost_cap(day, segment)
    return None if most is None else Cap(annualised=most, basis=pack.caps.cap_basis)


# --- before the contract ----------------------------------------------------------------------


def require_confirmation(
    sheet: CostSheet, confirmation: Confirmation, reading: Reading, *, now: int
) -> Digest:
    """The digest that the contract shall name.

    Args:
        sheet: What would be signed.
        confirmation: What the borrower saw and confirmed.
        reading: What the pack asks for.
        now: Seconds since 1970.

    Raises:
        NotConfirmedError: another sheet, a channel that the pack does not allow, too short a
            time (online), or a confirmation that is missing or lies ahead.
    """
    digest = sheet_digest(sheet)
    if confirmation.sheet != digest:
        raise NotConfirmedError("the confirmed sheet is another one")
    if confirmation.channel not in reading.channels:
        raise NotConfirmedError(f"a sheet is not shown by channel {confirmation.channel}")
    if reading.confirm and not confirmation.shown_at <= confirmation.confirmed_at <= now:
        raise NotConfirmedError("not confirmed between its showing and now")
    shown = min(confirmation.confirmed_at, now) - confirmation.shown_at
    online = confirmation.channel is Channel.ONLINE
    if online and shown < reading.forced_reading_s:
        raise NotConfirmedError(f"shown for {shown} s of {reading.forced_reading_s}")
    return digest


def chosen(sheet: CostSheet, choices: Sequence[Choice]) -> tuple[AddOn, ...]:
    """The add-ons that the borrower took, in the sheet's order.

    An add-on without a choice is not taken.

    Raises:
        NotConfirmedError: a choice under another sheet.
        DomainError: an add-on that was not on it, or two choices for one.
    """
    digest = sheet_digest(sheet)
    said: dict[str, bool] = {}
    known = {priced.addon.code for priced in sheet.addons}
    for choice in choices:
        if choice.sheet != digest:
            raise NotConfirmedError("an add-on was chosen under another sheet")
        if choice.addon not in known or choice.addon in said:
            raise DomainError(f"add-on {choice.addon!r} is not on the sheet, or chosen twice")
        said[choice.addon] = choice.taken
    return tuple(one.addon for one in sheet.addons if said.get(one.addon.code, False))


def may_withdraw(addon: AddOn, choice: Choice, *, today: date) -> bool:
    """Whether the add-on may still be given back; the last day of cooling off counts."""
    return today <= choice.on + timedelta(days=addon.cooling_off_days)
