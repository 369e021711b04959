"""Persons as their lines at this partner stand on a day: for counts and closure inquiries.

One pass over the table of lines (protocol 6.10, 7.17). A person stands here under its keyed
hash, with three bits, one PD and the references of two consents, and nothing of a line.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date

from consortium.credit.closure_signal import Bits, LineHistory, bits_of
from consortium.credit.terms import Ppm
from consortium.errors import PersonError
from partner_node.credit.lines import History, LineMonth

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonStanding:
    """One person on a day. Private."""

    bits: Bits = field(repr=False)
    pd: Ppm | None = field(repr=False)
    """Of twelve months: of the active line with the largest balance, the oldest at a tie, by
    the partner's own rating; else as it was when the line was granted."""
    study: str = field(repr=False)
    """Reference of the consent to IMPACT_STUDY; empty: none."""
    signal: str = field(repr=False)
    """Likewise, to CLOSURE_SIGNAL."""


@dataclass(slots=True)
class _Gathered:
    bits: Bits = field(default_factory=Bits)
    counts: tuple[int, int] | None = None
    """Balance, and how early it was opened, of the line that counts so far."""
    pd: Ppm | None = None
    newest: date = date.min
    study: str = ""
    signal: str = ""


def standings(
    lines: Iterable[History], subject: Callable[[str], bytes], *, today: date
) -> dict[bytes, PersonStanding]:
    """Every person with a line by that day, under its keyed hash.

    Args:
        lines: As ``lines.histories`` reads them. Private.
        subject: Keyed hash of an identifier; raises PersonError.
        today: The day that is looked at; later months are not.

    Raises:
        ConfigurationError, DataError: the table, as ``lines.histories``.
        DomainError: month ends of a line that are not one after the other.
    """
    found: dict[bytes, _Gathered] = {}
    odd = False
    for history in lines:
        months = [month for month in history.months if month.end.on <= today]
        if not months:
            continue
        try:
            key = subject(history.person)
        except PersonError:
            odd = True
            continue
        _gather(found.setdefault(key, _Gathered()), history, months, today)
    if odd:
        log.warning("lines: a person is not of the federation's form and was left out")
    return {
        key: PersonStanding(bits=one.bits, pd=one.pd, study=one.study, signal=one.signal)
        for key, one in found.items()
    }


def _gather(person: _Gathered, history: History, months: list[LineMonth], today: date) -> None:
    last = months[-1]
    bits = bits_of(
        LineHistory(
            months=[month.end for month in months],
            limits=[month.limit for month in months],
            anomalies=[month.anomaly for month in months],
            product_withdrawn=last.product_withdrawn,
        ),
        today=today,
    )
    person.bits |= bits
    if last.end.on > person.newest:
        # A consent stands with the person: what the newest month says of it counts.
        person.newest, person.study, person.signal = last.end.on, "", ""
    if last.end.on == person.newest:
        person.study = person.study or last.study_consent
        person.signal = person.signal or last.signal_consent
    if not bits.active:
        return
    counts = (last.end.balance, -history.opened_on.toordinal())
    if person.counts is None or counts > person.counts:
        person.counts = counts
        person.pd = history.pd_at(last)
