"""What is asked about a borrower's way back, read strictly (credit path 10, 11)."""

from dataclasses import dataclass
from datetime import date
from typing import TypeVar

from consortium.credit.closures import Cause
from consortium.credit.debt_plans import Debt
from consortium.credit.facts import Consent
from consortium.credit.outcomes import Lateness
from consortium.credit.restart import ClosedLine, Tier
from consortium.credit.terms import Purpose
from consortium.documents import value_of
from consortium.errors import DecodeError

T = TypeVar("T")

MOST_AT_ONCE = 1_000_000
"""Closed lines that one call may place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartAsked:
    """A closed line, as this partner knows it. Private."""

    line: str
    """The partner's own reference; it never leaves."""
    cause: Cause
    fraud_confirmed: bool
    anomaly_cleared: bool
    dpd: int
    charged_off: bool
    lateness: Lateness
    eta: int | None
    dues: int
    income: int | None
    product: str
    purpose: Purpose
    tenor_months: int
    old_limit: int
    old_price: str
    """A yearly price as a decimal."""
    consents: tuple[Consent, ...]

    @property
    def closed(self) -> ClosedLine:
        """What the tier follows from."""
        return ClosedLine(
            cause=self.cause,
            fraud_confirmed=self.fraud_confirmed,
            anomaly_cleared=self.anomaly_cleared,
            dpd=self.dpd,
            charged_off=self.charged_off,
            lateness=self.lateness,
            eta=self.eta,
            dues=self.dues,
            income=self.income,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CounselAsked:
    """What counselling starts from, and whether a file may be kept. Private."""

    case: str
    cause: Cause
    tier: Tier | None
    dpd: int
    income: int | None
    household: int
    debts: tuple[Debt, ...]
    closed_on: date
    consents: tuple[Consent, ...]


def asked_of(kind: type[T], plain: object, *optional: str) -> T:
    """A request of parsed JSON: each field once, no other; DecodeError names the field."""
    if not isinstance(plain, dict):
        raise DecodeError("not an object")
    found = dict(plain)
    for name in optional:
        value = found.get(name)
        found[name] = [] if value is None else [value]
    for place, one in enumerate(consents := list(found.get("consents", []))):
        if isinstance(one, dict):
            ends = {
                name: [] if one.get(name) is None else [one[name]]
                for name in ("expires_on", "withdrawn_on")
            }
            consents[place] = {**one, **ends}
    lateness = found.get("lateness")
    if isinstance(lateness, dict):
        cured = lateness.get("cured_months")
        found["lateness"] = {**lateness, "cured_months": [] if cured is None else [cured]}
    return value_of(kind, {**found, "consents": consents})


def restart_asked(plain: object) -> RestartAsked:
    """A restart's request; DecodeError."""
    return asked_of(RestartAsked, plain, "eta", "income")


def restarts_asked(plain: object) -> tuple[RestartAsked, ...]:
    """The requests of a list of them; DecodeError says which one cannot be read."""
    if not isinstance(plain, list) or not 1 <= len(plain) <= MOST_AT_ONCE:
        raise DecodeError(f"a list of 1 to {MOST_AT_ONCE} closed lines")
    found = []
    for number, one in enumerate(plain, start=1):
        try:
            found.append(restart_asked(one))
        except DecodeError as error:
            raise DecodeError(f"line {number} of the list: {error}") from error
    return tuple(found)


def counsel_asked(plain: object) -> CounselAsked:
    """A counselling case's request; DecodeError."""
    return asked_of(CounselAsked, plain, "tier", "income")
