"""What the log says of its own course, in numbers: the figures draw it, the tables print it.

Nothing here is taken from a statement: epsilons follow from the plans and from the charged
attempts, budgets from the debits, all from entries that the audit left standing.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from consortium.errors import RiskWeaveError
from consortium.features.bins import private_features
from consortium.ids import PartnerId
from consortium.ledger.bodies import DecisionChallenge, DecisionResult
from consortium.ledger.charges import lifetime_cap
from consortium.ledger.entries import (
    AuditChallenge,
    AuditResult,
    Incident,
    ReleaseVote,
    ScoreBatch,
    StatementPublished,
)
from consortium.ledger.facts import Closing, RunFacts, Timeline
from consortium.ledger.verify import Audit
from consortium.manifest import Manifest, Role
from consortium.plan import Algorithm, ReleaseKind
from consortium.privacy.accountant import epsilon_of_units, units_of
from consortium.privacy.mechanism import account_of, local_steps_units, mechanism_for
from consortium.release import Level, Outcome

UNITS = ("person", "record")
_MOST_POINTS = 240
_HOLDOUT = "holdout"

Costs = Mapping[tuple[str, str, Level], int]
"""Units charged, by account, unit and level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What persons have spent after one charged attempt."""

    number: int
    """Charged attempts of the log up to here."""
    entry: int
    at: int
    epoch: str
    epsilon: Mapping[tuple[str, Level], float]
    """By unit and level: the worse of training and hold-out, for nobody is in both, and
    the tables, in which everybody is (protocol 13.11)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """The attempts of one run, or of one day."""

    name: str
    entry: int
    summed: int
    charged: int
    """Aborted, and charged all the same."""
    free: int
    """Aborted before all had joined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What one partner has charged of one account, against the lifetime cap in force."""

    partner: PartnerId
    account: str
    epoch: str
    spent: float
    cap: float
    left: float
    """Share of the cap's units that is left: epsilons do not subtract."""
    last: int
    """Entry of its last debit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """One vote as the log has it."""

    entry: int
    partner: PartnerId
    version: str
    accept: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiries:
    """Inquiries in one span of time."""

    start: int
    count: int
    batches: int
    peak: int
    """Most in one second."""
    entries: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """Which heads a member cosigned, of those that count."""

    member: PartnerId
    role: str
    sizes: tuple[int, ...]
    last: int
    """Seconds of its newest cosignature, 0 if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """An entry of the regulator, or an incident."""

    entry: int
    actor: PartnerId
    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Everything that the figures are of."""

    points: tuple[Point, ...] = ()
    unpriced: tuple[int, ...] = ()
    """Closings whose charge cannot be computed from the bundle."""
    runs: tuple[Rounds, ...] = ()
    days: tuple[Rounds, ...] = ()
    accounts: tuple[Account, ...] = ()
    votes: tuple[Cast, ...] = ()
    published: Mapping[str, int] = field(default_factory=dict)
    """Entry of each version's statement."""
    inquiries: tuple[Inquiries, ...] = ()
    span: int = 0
    """Seconds of one span of ``inquiries``."""
    witnesses: tuple[Witness, ...] = ()
    words: tuple[Word, ...] = ()


def history_of(audit: Audit) -> History:
    """The history of an audited log; empty where the audit could not begin."""
    timeline = audit.timeline
    if timeline is None:
        return History()
    points, unpriced = _points(audit.runs, timeline)
    span, inquiries = _inquiries(timeline)
    return History(
        points=points,
        unpriced=unpriced,
        runs=tuple(_rounds(run.run, run.proposed, run.closings) for run in audit.runs),
        days=_days(audit.runs),
        accounts=tuple(_accounts(audit.runs, timeline)),
        votes=tuple(_votes(timeline)),
        published={
            entry.body.version: index
            for index, entry in sorted(timeline.entries.items())
            if isinstance(entry.body, StatementPublished)
        },
        inquiries=inquiries,
        span=span,
        witnesses=tuple(_witnesses(audit)),
        words=tuple(_words(timeline)),
    )


# --- epsilon ----------------------------------------------------------------------------------


def _points(
    runs: tuple[RunFacts, ...], timeline: Timeline
) -> tuple[tuple[Point, ...], tuple[int, ...]]:
    """The course of epsilon over all charged attempts, epoch by epoch."""
    charged = sorted(
        (
            (closing.index, run, closing)
            for run in runs
            for closing in run.closings
            if closing.attempt.charged
        ),
        key=lambda one: one[0],
    )
    every = max(1, -(-len(charged) // _MOST_POINTS))
    prices = _Prices(timeline)
    spent: dict[str, Counter[tuple[str, str, Level]]] = defaultdict(Counter)
    points, unpriced = list[Point](), list[int]()
    for number, (index, run, closing) in enumerate(charged, start=1):
        epoch = _epoch(run)
        try:
            spent[epoch].update(prices.of(run, closing))
        except RiskWeaveError:
            unpriced.append(index)
            continue
        last = number == len(charged) or charged[number][1] is not run
        if number % every == 0 or number == 1 or last:
            points.append(
                Point(
                    number=number,
                    entry=index,
                    at=closing.at,
                    epoch=epoch,
                    epsilon=_epsilons(spent[epoch], float(run.plan.delta)),
                )
            )
    return tuple(points), tuple(unpriced)


def _epoch(run: RunFacts) -> str:
    return run.debits[0][2].epoch if run.debits else ""


def _epsilons(
    spent: Mapping[tuple[str, str, Level], int], delta: float
) -> Mapping[tuple[str, Level], float]:
    found: dict[tuple[str, Level], float] = {}
    for unit in UNITS:
        for level in Level:
            worst = max(spent.get((scope, unit, level), 0) for scope in ("training", _HOLDOUT))
            worst += spent.get(("tables", unit, level), 0)
            try:
                found[unit, level] = epsilon_of_units(worst, delta)
            except RiskWeaveError:
                found[unit, level] = float("nan")
    return found


@dataclass(slots=True)
class _Prices:
    """What one attempt costs, by run, kind, width and roster; each computed once."""

    timeline: Timeline
    known: dict[tuple[str, ReleaseKind, int, int], Costs] = field(default_factory=dict)
    stepped: set[str] = field(default_factory=set)
    """Runs whose local steps are charged already, all at once (protocol 4.8)."""

    def of(self, run: RunFacts, closing: Closing) -> Costs:
        """Units of one attempt.

        Raises:
            RiskWeaveError: the plan or the schema does not give them.
        """
        plan, request = run.plan, closing.request
        steps = plan.algorithm is Algorithm.LOCAL_STEPS and request.kind is ReleaseKind.GRADIENT
        if steps:
            first = run.run not in self.stepped
            self.stepped.add(run.run)
            return {
                ("training", unit, level): local_steps_units(plan, person=unit == UNITS[0])
                for unit in UNITS
                for level in Level
                if first
            }
        width = request.dimension
        if request.kind is ReleaseKind.BINS:
            schema = self.timeline.evidence.schemas.get(plan.schema)
            width = len(private_features(schema)) if schema else width
        key = (run.run, request.kind, width, len(request.roster))
        if key not in self.known:
            made = mechanism_for(plan, request.kind, width=width, partners=key[3])
            scope = account_of(request.kind)
            self.known[key] = {
                (scope, unit, level): made.units(person=unit == UNITS[0], level=level)
                for unit in UNITS
                for level in Level
            }
        return self.known[key]


# --- rounds and budgets -----------------------------------------------------------------------


def _rounds(name: str, entry: int, closings: list[Closing]) -> Rounds:
    attempts = [one.attempt for one in closings]
    aborted = [one for one in attempts if one.outcome is Outcome.ABORTED]
    return Rounds(
        name=name,
        entry=entry,
        summed=len(attempts) - len(aborted),
        charged=sum(one.charged for one in aborted),
        free=sum(not one.charged for one in aborted),
    )


def _days(runs: tuple[RunFacts, ...]) -> tuple[Rounds, ...]:
    by_day: dict[int, list[Closing]] = defaultdict(list)
    for run in runs:
        for closing in run.closings:
            by_day[closing.at // 86_400].append(closing)
    return tuple(
        _rounds(str(day), min(one.index for one in closings), closings)
        for day, closings in sorted(by_day.items())
    )


def _accounts(runs: tuple[RunFacts, ...], timeline: Timeline) -> Iterator[Account]:
    spent: dict[tuple[PartnerId, str, str], int] = defaultdict(int)
    last: dict[tuple[PartnerId, str, str], int] = {}
    for run in runs:
        for index, name, debit in run.debits:
            key = (name, debit.account, debit.epoch)
            spent[key] += debit.units
            last[key] = max(index, last.get(key, 0))
    for key, units in sorted(spent.items()):
        policy = timeline.force[last[key]].policy
        cap, delta = lifetime_cap(policy, key[1]), float(policy.delta)
        try:
            most, epsilon = units_of(cap, delta), epsilon_of_units(units, delta)
        except RiskWeaveError:
            continue
        yield Account(
            partner=key[0],
            account=key[1],
            epoch=key[2],
            spent=epsilon,
            cap=cap,
            left=max(0.0, 1 - units / most) if most else 0.0,
            last=last[key],
        )


# --- releases, inquiries, witnesses -----------------------------------------------------------


def _votes(timeline: Timeline) -> Iterator[Cast]:
    for index, entry in sorted(timeline.entries.items()):
        body = entry.body
        if isinstance(body, ReleaseVote):
            yield Cast(
                entry=index,
                partner=entry.actor,
                version=body.version,
                accept=body.accept,
                reason=body.reason,
            )


_SPANS = (1, 60, 3_600, 86_400)
_MOST_SPANS = 120


def _inquiries(timeline: Timeline) -> tuple[int, tuple[Inquiries, ...]]:
    """Inquiries by second, minute, hour or day: the finest that a picture has room for."""
    batches = [
        (index, entry.body)
        for index, entry in sorted(timeline.entries.items())
        if isinstance(entry.body, ScoreBatch)
    ]
    if not batches:
        return 0, ()
    seconds = [body.second for _, body in batches]
    length = max(seconds) - min(seconds)
    span = next((one for one in _SPANS if length < one * _MOST_SPANS), _SPANS[-1])
    grouped: dict[int, list[tuple[int, ScoreBatch]]] = defaultdict(list)
    for index, body in batches:
        grouped[body.second // span].append((index, body))
    return span, tuple(
        Inquiries(
            start=start * span,
            count=sum(body.count for _, body in found),
            batches=len(found),
            peak=max(body.count for _, body in found),
            entries=tuple(index for index, _ in found),
        )
        for start, found in sorted(grouped.items())
    )


def _witnesses(audit: Audit) -> Iterator[Witness]:
    newest = _newest(audit)
    if newest is None:
        return
    for member in newest.members:
        if member.role is Role.COORDINATOR or not member.active or not member.witness:
            continue
        heads = [head for head in audit.heads if member.id in head.times]
        yield Witness(
            member=member.id,
            role=member.role.value,
            sizes=tuple(sorted(head.checkpoint.size for head in heads)),
            last=max((head.times[member.id] for head in heads), default=0),
        )


def _newest(audit: Audit) -> Manifest | None:
    return audit.timeline.manifests.get(audit.pinned) if audit.timeline else None


def _words(timeline: Timeline) -> Iterator[Word]:
    for index, entry in sorted(timeline.entries.items()):
        match entry.body:
            case AuditChallenge() as body:
                text = f"{body.run}: {', '.join(map(str, body.sums))}"
            case AuditResult() as body:
                text = f"{body.run}: {body.verdict}"
            case DecisionChallenge() as body:
                text = f"{body.batch[:12]}: {body.places}"
            case DecisionResult() as body:
                text = f"{body.challenge[:12]}: {body.verdict}"
            case Incident() as body:
                text = body.kind
            case _:
                continue
        yield Word(entry=index, actor=entry.actor, kind=entry.type, text=text)
