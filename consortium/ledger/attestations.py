"""Lists of attestations that were taken back, as the log says them (protocol 8.7 (25)).

The log has a number, a digest and a day of each list, never what stands in it. Numbers have no
gap and none comes twice, so a list that was replaced or that goes back is seen by everybody; a
lender shows by its own record which list it looked at (credit path 12). One reader for the
audit and for the nodes that take a list.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from consortium.credit.attestation import FRESH_DAYS
from consortium.errors import AttestationError
from consortium.ids import Digest, PartnerId
from consortium.ledger.bodies import AttestationsListed
from consortium.ledger.entries import Entry
from consortium.ledger.facts import Timeline
from consortium.ledger.findings import Check, Findings

_DAY_S = 86_400
_EPOCH = date(1970, 1, 1)
_ZONES = 1
"""Days by which a partner's calendar may differ from UTC."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One list in the log."""

    index: int
    at: int
    body: AttestationsListed

    @property
    def on(self) -> date:
        """The day of the list; of a number that is no day, the first day of all."""
        day = self.body.day
        return day_of(day) if 0 <= day < _LAST_DAY else _EPOCH


_LAST_DAY = (date.max - _EPOCH).days


@dataclass(slots=True)
class Lists:
    """All lists of one partner, in the log's order."""

    issuer: PartnerId
    found: list[Listed] = field(default_factory=list)

    @property
    def newest(self) -> Listed:
        """The last one."""
        return self.found[-1]

    def one(self, number: int, digest: Digest) -> Listed:
        """The list of that number.

        Raises:
            AttestationError: rule ``list``: the log has none, another one, or two.
        """
        same = [one for one in self.found if one.body.number == number]
        digests = {one.body.listing for one in same}
        if len(digests) > 1:
            raise AttestationError(
                f"the log has two lists of number {number}: it forks", rule="list"
            )
        if digests != {digest}:
            text = "another list" if digests else "no list"
            raise AttestationError(f"the log has {text} of number {number}", rule="list")
        return same[0]


def day_number(day: date) -> int:
    """Days since 1970, as entries have them."""
    return (day - _EPOCH).days


def day_of(number: int) -> date:
    """The calendar date of ``day_number``."""
    return _EPOCH + timedelta(days=number)


def lists_of(entries: Iterable[tuple[int, Entry]]) -> Mapping[PartnerId, Lists]:
    """The lists of each partner; entries in the log's order, their signatures verified."""
    lists: dict[PartnerId, Lists] = {}
    for index, entry in entries:
        if isinstance(entry.body, AttestationsListed):
            found = lists.setdefault(entry.actor, Lists(entry.actor))
            found.found.append(Listed(index, entry.at, entry.body))
    return lists


def audit_attestations(timeline: Timeline, findings: Findings, *, now: int) -> None:
    """Compare numbers and days of lists; name those that fork, go back or are stale.

    How old a list is is asked at the log's own end, so that a bundle says the same next year.

    Args:
        timeline: The log.
        findings: What is found goes here.
        now: Seconds since 1970.
    """
    if not timeline.entries:
        return
    end = min(now, max(entry.at for entry in timeline.entries.values()))
    manifest = timeline.force[max(timeline.entries)]
    active = {one.id for one in manifest.members if one.active}
    for name, lists in lists_of(sorted(timeline.entries.items())).items():
        for before, one in zip((None, *lists.found), lists.found, strict=False):
            _check_order(lists, before, one, findings)
            _check_day(name, before, one, findings)
        newest = lists.newest
        age = end // _DAY_S - newest.body.day
        if age > FRESH_DAYS and name in active:
            text = (
                f"{name}: its newest list of attestations taken back, number "
                f"{newest.body.number}, is {age} days old: nobody may rely on it"
            )
            findings.warn(Check.ATTESTATIONS, "listing.stale", text, newest.index)


def _check_order(lists: Lists, before: Listed | None, one: Listed, findings: Findings) -> None:
    due = 0 if before is None else before.body.number + 1
    number = one.body.number
    if number == due:
        return
    rest, name = () if before is None else (before.index,), lists.issuer
    other = [
        same.index
        for same in lists.found
        if same.body.number == number and same.body.listing != one.body.listing
    ]
    if other:
        text = f"{name}: two lists of number {number}: its lists fork"
        findings.error(Check.ATTESTATIONS, "listing.fork", text, one.index, *other)
    else:
        text = f"{name}: list {number} of attestations taken back where {due} is due"
        findings.error(Check.ATTESTATIONS, "listing.order", text, one.index, *rest)


def _check_day(name: PartnerId, before: Listed | None, one: Listed, findings: Findings) -> None:
    if abs(one.body.day - one.at // _DAY_S) > _ZONES:
        text = f"{name}: list {one.body.number} is dated otherwise than its entry"
        findings.error(Check.ATTESTATIONS, "listing.day", text, one.index)
    elif before is not None and one.body.day < before.body.day:
        text = f"{name}: list {one.body.number} is of an earlier day than the one before"
        findings.error(Check.ATTESTATIONS, "listing.day", text, one.index, before.index)
