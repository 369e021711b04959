"""Words and units of credit rules: what two lenders must mean alike (credit 2).

Money is whole minor units of one currency, shares are millionths, dates are calendar dates
in the partner's time zone. Nothing here is a float: what decides an outcome must come out
alike on every machine. There is no conversion between currencies.
"""

import calendar
import re
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import NewType

from consortium.errors import DomainError

MILLION = 1_000_000

Ppm = NewType("Ppm", int)
"""A share or a yearly price in millionths: 0.24 is 240,000."""

LARGEST_MINOR = 2**53 - 1
"""Most that canonical JSON holds (protocol 0.5)."""

_CURRENCY = re.compile(r"[A-Z]{3}")
_DECIMAL = re.compile(r"(0|[1-9][0-9]{0,6})(\.[0-9]{1,6})?")
_PPM_DIGITS = 6
_MONTHS = 12


class Segment(StrEnum):
    """What kind of line it is (credit 2.1)."""

    CONSUMER_REVOLVING = "CONSUMER_REVOLVING"
    CONSUMER_TERM = "CONSUMER_TERM"
    SME = "SME"
    PROJECT = "PROJECT"


class Purpose(StrEnum):
    """What the funds are for; an unknown purpose is a REFER (credit 2.1)."""

    EDUCATION = "EDUCATION"
    MEDICAL = "MEDICAL"
    HOME = "HOME"
    DURABLES = "DURABLES"
    TRAVEL = "TRAVEL"
    REFINANCE = "REFINANCE"
    SME_WORKING = "SME_WORKING"
    PROJECT = "PROJECT"


class Grade(StrEnum):
    """From strong to weak; where one ends is policy (credit 2.3)."""

    G1 = "G1"
    G2 = "G2"
    G3 = "G3"
    G4 = "G4"
    G5 = "G5"


GRADES = tuple(Grade)
PURPOSES = tuple(Purpose)


class ConsentPurpose(StrEnum):
    """What a person allowed; one record each, none bundled (credit 2.4)."""

    CREDIT_DECISION = "CREDIT_DECISION"
    JOINT_SCORE = "JOINT_SCORE"
    INCOME_DATA = "INCOME_DATA"
    CLOSURE_SIGNAL = "CLOSURE_SIGNAL"
    OWNER_LINK = "OWNER_LINK"
    ATTESTATION = "ATTESTATION"
    RESTART_CONTACT = "RESTART_CONTACT"
    COUNSELLING = "COUNSELLING"
    CALIBRATION = "CALIBRATION"
    IMPACT_STUDY = "IMPACT_STUDY"


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """An amount in minor units of a currency; may be negative.

    Raises:
        DomainError: no ISO 4217 code, or more minor units than a document holds; and from
            any arithmetic between two currencies.
    """

    minor: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.minor) is not int or abs(self.minor) > LARGEST_MINOR:
            raise DomainError(f"{self.minor!r} is not a whole number of minor units")
        parse_currency(self.currency)

    def __add__(self, other: "Money") -> "Money":
        return Money(self.minor + self._same(other), self.currency)

    def __sub__(self, other: "Money") -> "Money":
        return Money(self.minor - self._same(other), self.currency)

    def __neg__(self) -> "Money":
        return Money(-self.minor, self.currency)

    def __lt__(self, other: "Money") -> bool:
        return self.minor < self._same(other)

    def __le__(self, other: "Money") -> bool:
        return self.minor <= self._same(other)

    def times(self, share: Ppm) -> "Money":
        """This amount times a share, rounded half up to a minor unit."""
        return Money(half_up(self.minor * share, MILLION), self.currency)

    def _same(self, other: "Money") -> int:
        if other.currency != self.currency:
            raise DomainError(f"{self.currency} meets {other.currency}: nothing is converted")
        return other.minor


def half_up(numerator: int, denominator: int) -> int:
    """``⌊n/d + 1/2⌋`` in whole numbers; the denominator is positive."""
    return (2 * numerator + denominator) // (2 * denominator)


def parse_currency(text: str) -> str:
    """Return an ISO 4217 code, or raise DomainError."""
    if not _CURRENCY.fullmatch(text):
        raise DomainError(f"{text[:16]!r} is not a currency code such as CNY")
    return text


def parse_ppm(text: str) -> Ppm:
    """``"0.24"`` as 240,000; DomainError for what is not written so, or not exact."""
    found = _DECIMAL.fullmatch(text)
    if found is None:
        raise DomainError(f"{text[:32]!r} is not a decimal of at most 6 places such as 0.24")
    whole, fraction = found.group(1), (found.group(2) or ".")[1:]
    return Ppm(int(whole) * MILLION + int(fraction.ljust(_PPM_DIGITS, "0")))


def ppm_text(share: int) -> str:
    """A share as a decimal with six places, for print."""
    sign = "-" if share < 0 else ""
    return f"{sign}{abs(share) // MILLION}.{abs(share) % MILLION:06d}"


def add_months(day: date, months: int) -> date:
    """The same day ``months`` later (or earlier), or the last one of a shorter month.

    Raises:
        DomainError: beyond the years that a date can have.
    """
    place = day.year * _MONTHS + day.month - 1 + months
    year, month = divmod(place, _MONTHS)
    if not date.min.year <= year <= date.max.year:
        raise DomainError(f"{day} and {months} months is not a date")
    last = calendar.monthrange(year, month + 1)[1]
    return date(year, month + 1, min(day.day, last))


@dataclass(frozen=True, slots=True)
class Span:
    """Days on which something is in force: ``start <= day < end``; no end if None."""

    start: date
    end: date | None = None

    def __post_init__(self) -> None:
        if self.end is not None and self.end <= self.start:
            raise DomainError(f"it ends on {self.end}, not after its start on {self.start}")

    def holds(self, day: date) -> bool:
        """Whether it is in force on that day."""
        return self.start <= day and (self.end is None or day < self.end)

    def meets(self, other: "Span") -> bool:
        """Whether both are in force on some day."""
        before = self.end is not None and self.end <= other.start
        after = other.end is not None and other.end <= self.start
        return not (before or after)
