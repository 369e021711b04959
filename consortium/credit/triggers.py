"""The risk register: which reading calls for what, by whom, until when (row 12, credit 3.2).

An item of the register is not written down by anybody: it follows from dated readings, from
what was done and from what was waived, so two who have the same facts have the same register.
A reading that is missing is shown as unknown, never as green.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from types import MappingProxyType

from consortium.errors import DomainError
from consortium.ids import Digest

WAIVER_DAYS = 90
"""Most days for which a trigger may be waived, or something done may take effect."""

_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,47}")
_SUBJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,63}")


class Trigger(StrEnum):
    """What is watched."""

    DRIFT = "drift"
    CALIBRATION = "calibration"
    WAVE = "wave"
    CLOSURE_SHOCK = "closure_shock"
    PARTNER_SHARE = "partner_share"
    BUDGET = "budget"
    WITNESS = "witness"
    FAIRNESS = "fairness"
    COMPLAINTS = "complaints"


class Level(StrEnum):
    """What a reading says."""

    UNKNOWN = "unknown"
    """There is no reading: not measured, or not defined."""
    GREEN = "green"
    AMBER = "amber"
    RED = "red"


class Owner(StrEnum):
    """The role that must act."""

    PE = "PE"
    """Partner's engineer or data scientist."""
    LO = "LO"
    """Loan officer."""
    OP = "OP"
    """Operator."""


class Block(StrEnum):
    """What a red trigger stops until it is green again or waived."""

    RELEASE = "release"
    """No version is put to use."""
    TRAINING = "training"
    """No run begins."""
    REPORTS = "reports"
    """No optional table is asked for."""
    TIER_A_PRICING = "tier_a_pricing"
    """Nobody is reinstated at a better price."""
    WAVE = "wave"
    """No wave opens."""
    FURTHER_CUTS = "further_cuts"
    """No line of the affected is cut without review."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Outside of what a reading is amber, or red. None: no bound on that side."""

    low: float | None = None
    high: float | None = None
    closed: bool = False
    """Whether the bound itself is outside, too."""

    def left_by(self, value: float) -> bool:
        """Whether a value is outside."""
        if self.closed and value in (self.low, self.high):
            return True
        return (self.low is not None and value < self.low) or (
            self.high is not None and value > self.high
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line of the trigger table."""

    amber: Band
    red: Band
    unit: str
    action: str
    owner: Owner
    days: int
    """Within which a red trigger must be acted on."""
    blocks: tuple[Block, ...] = ()


RULES: Mapping[Trigger, Rule] = MappingProxyType(
    {
        Trigger.DRIFT: Rule(
            amber=Band(high=0.10),
            red=Band(high=0.25),
            unit="excess PSI",
            action="recalibrate or retrain",
            owner=Owner.PE,
            days=30,
        ),
        Trigger.CALIBRATION: Rule(
            amber=Band(low=0.9, high=1.1),
            red=Band(low=0.8, high=1.25),
            unit="expected over observed",
            action="recalibrate, freeze tier A pricing",
            owner=Owner.PE,
            days=10,
            blocks=(Block.TIER_A_PRICING,),
        ),
        Trigger.WAVE: Rule(
            amber=Band(high=0.5),
            red=Band(high=1.0, closed=True),
            unit="of the bound at which a wave halts",
            action="stop, review cut-off",
            owner=Owner.LO,
            days=1,
            blocks=(Block.WAVE,),
        ),
        Trigger.CLOSURE_SHOCK: Rule(
            amber=Band(high=0.05),
            red=Band(high=0.10),
            unit="change of a partner's expected loss",
            action="outreach list, counselling offers, no further cut without review",
            owner=Owner.OP,
            days=5,
            blocks=(Block.FURTHER_CUTS,),
        ),
        Trigger.PARTNER_SHARE: Rule(
            amber=Band(high=0.40),
            red=Band(high=0.50),
            unit="of the score's variance",
            action="release blocked",
            owner=Owner.OP,
            days=0,
            blocks=(Block.RELEASE,),
        ),
        Trigger.BUDGET: Rule(
            amber=Band(low=0.30),
            red=Band(low=0.10),
            unit="of the privacy budget left",
            action="stop optional reports",
            owner=Owner.PE,
            days=5,
            blocks=(Block.REPORTS,),
        ),
        Trigger.WITNESS: Rule(
            amber=Band(high=6.0),
            red=Band(high=24.0),
            unit="hours since a witness spoke",
            action="training stops",
            owner=Owner.OP,
            days=1,
            blocks=(Block.TRAINING,),
        ),
        Trigger.FAIRNESS: Rule(
            amber=Band(high=1.0, closed=True),
            red=Band(high=2.0, closed=True),
            unit="1 watch, 2 fail",
            action="search for a less unequal alternative, committee note",
            owner=Owner.PE,
            days=30,
        ),
        Trigger.COMPLAINTS: Rule(
            amber=Band(high=0.05),
            red=Band(high=0.10),
            unit="of decisions",
            action="review of rule and texts",
            owner=Owner.LO,
            days=14,
        ),
    }
)
"""The table of credit 3.2."""


def level_of(trigger: Trigger, value: float | None) -> Level:
    """What a value of a trigger says; UNKNOWN without one, or for what is no number."""
    if value is None or not math.isfinite(value):
        return Level.UNKNOWN
    rule = RULES[trigger]
    if rule.red.left_by(value):
        return Level.RED
    return Level.AMBER if rule.amber.left_by(value) else Level.GREEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One value of one trigger on one day. Public: of released figures alone."""

    trigger: Trigger
    subject: str
    """Whose: a partner, a block, a campaign."""
    on: date
    value: float | None
    evidence: Digest | None = None
    """What it was read from: a release, a gate, a report."""

    @property
    def level(self) -> Level:
        """What it says."""
        return level_of(self.trigger, self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Acted:
    """Somebody has acted on a trigger; the log holds it (``register.acted``).

    Raises:
        DomainError: not by the owner, later than 90 days, or words that are no codes.
    """

    trigger: Trigger
    subject: str
    action: str
    """A code of the operator's own."""
    role: Owner
    on: date
    due: date
    """By when it must show."""
    evidence: Digest | None

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        _check(self.trigger, self.subject, self.action, self.role)
        _check_days("what is done", self.on, self.due)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """A red trigger is lived with for a while; the log holds it (``register.waived``).

    Raises:
        DomainError: not by the owner, for more than 90 days, or words that are no codes.
    """

    trigger: Trigger
    subject: str
    reason: str
    """A code of the operator's own."""
    role: Owner
    on: date
    expires: date
    """The last day on which it holds."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        _check(self.trigger, self.subject, self.reason, self.role)
        _check_days("a waiver", self.on, self.expires)

    def holds(self, day: date) -> bool:
        """Whether it does on a day."""
        return self.on <= day <= self.expires


def _check(trigger: Trigger, subject: str, code: str, role: Owner) -> None:
    if not (_SUBJECT.fullmatch(subject) and _CODE.fullmatch(code)):
        raise DomainError("register: a subject, and a code of letters, digits and _.-")
    if role is not RULES[trigger].owner:
        raise DomainError(f"register: {trigger} is owned by {RULES[trigger].owner}")


def _check_days(what: str, first: date, last: date) -> None:
    if not first <= last <= first + timedelta(days=WAIVER_DAYS):
        raise DomainError(f"register: {what} lasts at most {WAIVER_DAYS} days")


# --- the register -----------------------------------------------------------------------------


class Standing(StrEnum):
    """How an item of the register stands."""

    WATCHED = "watched"
    """Amber: to look at, nobody is late."""
    OPEN = "open"
    """Red, within its days to act."""
    IN_HAND = "in_hand"
    """Red; its owner has acted, and what was done may still take effect."""
    WAIVED = "waived"
    OVERDUE = "overdue"
    """Red, its days are over: nobody has acted, or what was done did not help in time."""
    EXPIRED = "expired"
    """Red, and a waiver of it has run out."""


ALARMS = frozenset({Standing.OVERDUE, Standing.EXPIRED})
"""What ``riskweave risk check`` fails for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One trigger of one subject that is not green."""

    reading: Reading
    """The newest."""
    since: date
    """First day of its present level without a break."""
    due: date | None
    """Last day to act; None of amber."""
    standing: Standing
    acted: Acted | None
    waiver: Waiver | None
    blocks: tuple[Block, ...]

    @property
    def rule(self) -> Rule:
        """Its line of the table."""
        return RULES[self.reading.trigger]


@dataclass(frozen=True, slots=True)
class Register:
    """All open items, the worst first, and what has no reading."""

    items: tuple[Item, ...]
    unknown: tuple[Reading, ...]
    on: date

    @property
    def alarms(self) -> tuple[Item, ...]:
        """Items that somebody is late with."""
        return tuple(one for one in self.items if one.standing in ALARMS)

    def blocking(self, block: Block) -> tuple[Item, ...]:
        """Items that stop something."""
        return tuple(one for one in self.items if block in one.blocks)


def register_of(
    readings: Iterable[Reading],
    acts: Sequence[Acted] = (),
    waivers: Sequence[Waiver] = (),
    *,
    today: date,
) -> Register:
    """The register on a day.

    Args:
        readings: Of all days; those of later days are left out.
        acts: What was done.
        waivers: What was waived.
        today: The day.
    """
    series: dict[tuple[Trigger, str], list[Reading]] = {}
    for one in readings:
        if one.on <= today:
            series.setdefault((one.trigger, one.subject), []).append(one)
    items, unknown = list[Item](), list[Reading]()
    for found in series.values():
        found.sort(key=lambda one: one.on)
        if found[-1].level is Level.UNKNOWN:
            unknown.append(found[-1])
        # A reading that stays away does not end an alarm.
        known = [one for one in found if one.level is not Level.UNKNOWN]
        if known and known[-1].level is not Level.GREEN:
            items.append(_item(known, acts, waivers, today))
    order = list(Standing)
    items.sort(
        key=lambda one: (
            -order.index(one.standing),
            one.since,
            one.reading.trigger,
            one.reading.subject,
        )
    )
    unknown.sort(key=lambda one: (one.trigger, one.subject))
    return Register(tuple(items), tuple(unknown), today)


def _item(
    series: Sequence[Reading], acts: Sequence[Acted], waivers: Sequence[Waiver], today: date
) -> Item:
    newest, rule = series[-1], RULES[series[-1].trigger]
    since = _since(series)
    key = newest.trigger, newest.subject
    if newest.level is Level.AMBER:
        return Item(
            reading=newest,
            since=since,
            due=None,
            standing=Standing.WATCHED,
            acted=None,
            waiver=None,
            blocks=(),
        )
    due = since + timedelta(days=rule.days)
    acted = _newest_act(acts, key, since, today)
    waiver = _newest_waiver(waivers, key, since, today)
    standing = _standing(due, acted, waiver, today)
    return Item(
        reading=newest,
        since=since,
        due=due,
        standing=standing,
        acted=acted,
        waiver=waiver,
        blocks=() if standing is Standing.WAIVED else rule.blocks,
    )


def _since(series: Sequence[Reading]) -> date:
    """First day of the newest level; a day without a reading does not end it."""
    level, since = series[-1].level, series[-1].on
    for one in reversed(series):
        if one.level is not level:
            break
        since = one.on
    return since


def _newest_act(
    acts: Sequence[Acted], key: tuple[Trigger, str], since: date, today: date
) -> Acted | None:
    """The last act of this spell: what was done about an earlier one does not count."""
    fits = [
        one for one in acts if (one.trigger, one.subject) == key and since <= one.on <= today
    ]
    return max(fits, key=lambda one: one.on, default=None)


def _newest_waiver(
    waivers: Sequence[Waiver], key: tuple[Trigger, str], since: date, today: date
) -> Waiver | None:
    """The last waiver that held on a day of this spell."""
    fits = [
        one
        for one in waivers
        if (one.trigger, one.subject) == key and one.on <= today and one.expires >= since
    ]
    return max(fits, key=lambda one: (one.expires, one.on), default=None)


def _standing(due: date, acted: Acted | None, waiver: Waiver | None, today: date) -> Standing:
    if waiver is not None and waiver.holds(today):
        return Standing.WAIVED
    if acted is not None and today <= acted.due:
        return Standing.IN_HAND
    if waiver is not None:
        return Standing.EXPIRED
    return Standing.OPEN if acted is None and today <= due else Standing.OVERDUE
