"""Growth caps by week and grade, and the ramp that opens them (row 26, credit 4.17).

A ramp starts with a small share of each week's cap and opens the next stage when the last
one has passed its sequential test; a bad wave halts it. ``Admission`` is a value and each
event makes a new one: whoever keeps it (the node's database) reads, reserves and writes in
one transaction, so that no number of clients gets more than a cap.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from types import MappingProxyType

from consortium.credit.policy import Policy
from consortium.credit.stopping import Counts, Verdict, verdict
from consortium.credit.terms import GRADES, Grade
from consortium.documents import document_of, parse_document
from consortium.errors import DecodeError, DomainError, OutOfOrderError

_PERCENT = 100


class Phase(StrEnum):
    """Where a ramp stands."""

    RUNNING = "running"
    REVIEW = "review"
    """Undecided after the most accounts: passed, but a person must look before it opens."""
    HALTED = "halted"
    """Nothing new is granted until a signed decision."""
    OPEN = "open"
    """The last stage has passed: the caps alone hold."""
    ENDED = "ended"


class Event(StrEnum):
    """What happens to a ramp."""

    PASSED = "passed"
    UNDECIDED = "undecided"
    BAD_WAVE = "bad_wave"
    REVIEWED = "reviewed"
    RESUME = "resume"
    """At the same stage, by a signed decision; its counts start again."""
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What is granted, and what may be. Private to the partner.

    Raises:
        DomainError: numbers that no history leads to.
    """

    week: date
    """The Monday."""
    used: tuple[int, ...]
    """Exposure granted this week, G1 to G5, minor units."""
    phase: Phase
    stage: int
    """Index into the policy's ramp."""
    good: int
    bad: int
    """First payments of this stage's accounts, by what became of them."""

    def __post_init__(self) -> None:
        if self.week.weekday() != 0 or len(self.used) != len(GRADES):
            raise DomainError("admission: a week that begins on Monday, and five grades")
        if min(*self.used, self.stage, self.good, self.bad) < 0:
            raise DomainError("admission: a count is negative")

    def to_bytes(self) -> bytes:
        """Canonical JSON (protocol 0.5)."""
        return document_of(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Admission":
        """The state whose canonical bytes are ``data``, or DecodeError."""
        try:
            return parse_document(cls, data)
        except DomainError as error:
            raise DecodeError(f"admission: {error}") from error


def start(day: date) -> Admission:
    """A ramp at its first stage."""
    return Admission(
        week=monday(day), used=(0,) * len(GRADES), phase=Phase.RUNNING, stage=0, good=0, bad=0
    )


def monday(day: date) -> date:
    """The first day of a day's week."""
    return day - timedelta(days=day.weekday())


def at(state: Admission, day: date) -> Admission:
    """The state on a day: with a new week the caps are whole again.

    Raises:
        OutOfOrderError: a day of a week that is over.
    """
    week = monday(day)
    if week < state.week:
        raise OutOfOrderError(f"week of {week} after that of {state.week}")
    return state if week == state.week else replace(state, week=week, used=(0,) * len(GRADES))


def headroom(state: Admission, policy: Policy) -> tuple[int, ...]:
    """What may still be granted this week, G1 to G5: an input of each decision."""
    if state.phase in (Phase.HALTED, Phase.ENDED):
        return (0,) * len(GRADES)
    ramp = policy.growth.ramp_percent
    percent = _PERCENT if state.phase is Phase.OPEN else ramp[min(state.stage, len(ramp) - 1)]
    return tuple(
        max(0, cap * percent // _PERCENT - used)
        for cap, used in zip(policy.growth.weekly_exposure, state.used, strict=True)
    )


def reserve(state: Admission, policy: Policy, grade: Grade, amount: int) -> Admission:
    """The state with ``amount`` granted in a grade.

    Raises:
        DomainError: not positive, or more than the headroom: then nothing is granted.
    """
    place = GRADES.index(grade)
    if not 0 < amount <= headroom(state, policy)[place]:
        raise DomainError(f"{grade}: not between 1 and what the week's cap leaves")
    used = list(state.used)
    used[place] += amount
    return replace(state, used=tuple(used))


def release(state: Admission, grade: Grade, amount: int) -> Admission:
    """The state with a reservation of this week given back: the offer was not taken.

    Raises:
        DomainError: more than was reserved.
    """
    place = GRADES.index(grade)
    if not 0 < amount <= state.used[place]:
        raise DomainError(f"{grade}: not between 1 and what was reserved this week")
    used = list(state.used)
    used[place] -= amount
    return replace(state, used=tuple(used))


def observe(state: Admission, policy: Policy, good: int, bad: int) -> Admission:
    """The state after first payments of this stage fell due: one look at its totals.

    Once a stage has its verdict, later payments of its accounts change nothing here.

    Raises:
        DomainError: a negative count.
    """
    if good < 0 or bad < 0:
        raise DomainError("first payments: a count is negative")
    if state.phase is not Phase.RUNNING:
        return state
    state = replace(state, good=state.good + good, bad=state.bad + bad)
    found = EVENTS.get(verdict(Counts(state.good, state.bad), policy.stop))
    return state if found is None else apply(state, found, policy)


EVENTS: Mapping[Verdict, Event] = MappingProxyType(
    {
        Verdict.PASS: Event.PASSED,
        Verdict.PASS_WITH_REVIEW: Event.UNDECIDED,
        Verdict.HALT: Event.BAD_WAVE,
    }
)


def _next_stage(state: Admission, policy: Policy) -> Admission:
    last = state.stage + 1 >= len(policy.growth.ramp_percent)
    phase = Phase.OPEN if last else Phase.RUNNING
    stage = state.stage if last else state.stage + 1
    return replace(state, phase=phase, stage=stage, good=0, bad=0)


def _again(state: Admission, _policy: Policy) -> Admission:
    return replace(state, phase=Phase.RUNNING, good=0, bad=0)


def _into(phase: Phase) -> Callable[[Admission, Policy], Admission]:
    return lambda state, _policy: replace(state, phase=phase)


TRANSITIONS: Mapping[tuple[Phase, Event], Callable[[Admission, Policy], Admission]] = (
    MappingProxyType(
        {
            (Phase.RUNNING, Event.PASSED): _next_stage,
            (Phase.RUNNING, Event.UNDECIDED): _into(Phase.REVIEW),
            (Phase.RUNNING, Event.BAD_WAVE): _into(Phase.HALTED),
            (Phase.REVIEW, Event.REVIEWED): _next_stage,
            (Phase.HALTED, Event.RESUME): _again,
            (Phase.RUNNING, Event.END): _into(Phase.ENDED),
            (Phase.REVIEW, Event.END): _into(Phase.ENDED),
            (Phase.HALTED, Event.END): _into(Phase.ENDED),
            (Phase.OPEN, Event.END): _into(Phase.ENDED),
        }
    )
)


def apply(state: Admission, event: Event, policy: Policy) -> Admission:
    """The state after an event; OutOfOrderError for a pair that is not in the table."""
    step = TRANSITIONS.get((state.phase, event))
    if step is None:
        raise OutOfOrderError(f"a ramp that is {state.phase} does not take {event}")
    return step(state, policy)
