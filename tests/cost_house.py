"""Loans, sheets and lines that the credit tests share."""

from datetime import date

from consortium.credit.cost import AddOn, Cap, Clause
from consortium.credit.pack import CapBasis
from consortium.credit.schedule import Charge, LoanTerms, Method
from consortium.credit.terms import Money, Ppm

PAYOUT = date(2026, 1, 15)
EARLY = Clause(code="EARLY", zh="可随时提前还款, 不收违约金。", en="Repay early at any time.")
LATE = Clause(code="LATE", zh="逾期利息为每日万分之五。", en="Late payments cost .05 % a day.")
CAP = Cap(annualised=Ppm(240_000), basis=CapBasis.EFFECTIVE)


def yuan(amount: int) -> Money:
    return Money(amount * 100, "CNY")


def charge(amount: int, *, every: int, code: str = "SERVICE") -> Charge:
    """A charge of ``amount`` minor units."""
    return Charge(
        code=code,
        name_zh="服务费",
        name_en="Service charge",
        payee="Bank A",
        amount=Money(amount, "CNY"),
        every=every,
    )


def loan(
    *,
    amount: int = 1_000_000,
    months: int = 12,
    apr: int = 0,
    method: Method = Method.ANNUITY,
    first_due_on: date = date(2026, 2, 15),
    charges: tuple[Charge, ...] = (),
) -> LoanTerms:
    return LoanTerms(
        amount=Money(amount, "CNY"),
        months=months,
        price_apr=Ppm(apr),
        method=method,
        payout_on=PAYOUT,
        first_due_on=first_due_on,
        charges=charges,
    )


def addon(code: str, amount: int, *, every: int = 1) -> AddOn:
    """An add-on of ``amount`` minor units each time."""
    return AddOn(
        code=code,
        name_zh="还款保障",
        name_en="Payment protection",
        payee="Insurer B",
        amount=Money(amount, "CNY"),
        every=every,
        cooling_off_days=14,
    )
