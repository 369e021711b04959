"""Following up, month by month: stage, early warning and capacity (rows 4, 7, 16, 27).

A month of a line is judged by the consortium's rules from the months up to it and from where
the month before left the line. Nothing here changes a price, a limit or a line: it says who
should be called, and a decision about a new loan reads the stage.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from fractions import Fraction

from consortium.credit.capacity import (
    CREDITS,
    CapacityState,
    DueKind,
    Income,
    IncomeState,
    Obligation,
    Usage,
    capacity_state,
    dues_of,
    funds_misused,
    income_state,
    utilisation,
)
from consortium.credit.early_warning import (
    NO_FLAG,
    Event,
    Flag,
    Observed,
    Precision,
    flag_of,
    median_lead,
    precision_at,
    signs_of,
)
from consortium.credit.outcomes import (
    INDETERMINATE_FROM,
    Bucket,
    LineStatus,
    Use,
    bucket_of,
    use_of,
)
from consortium.credit.policy import DecisionRules, Policy, StageRules
from consortium.credit.stages import (
    Condition,
    Stage,
    Staging,
    Trigger,
    begin,
    exposure_at_default,
    follow,
    loss_12,
    loss_of_life,
    triggers_of,
)
from consortium.credit.terms import MILLION, ConsentPurpose, Ppm
from partner_node.credit.behaviour import (
    WINDOW,
    BehaviourModel,
    Observation,
    codes_of,
    observation_of,
    pd12_of,
)
from partner_node.credit.lines import History, LineMonth

ALERTED = Fraction(1, 20)
"""Share of the lines that a partner is supposed to have time to call."""
LIFE_MONTHS = 12
"""Remaining life of a line that has no last due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What one month end of one line comes to. Private."""

    line: str
    on: date
    pd3: Ppm | None
    """None: fewer than three months are known."""
    use: Use
    staging: Staging
    triggers: tuple[Trigger, ...]
    flag: Flag
    capacity: CapacityState
    loss: int
    """Expected, minor units: of twelve months in stage 1, else of the remaining life."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Where the last run left a line. Private."""

    on: date | None = None
    staging: Staging | None = None
    events: tuple[Event, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """New months and new events of one line. Private."""

    months: tuple[Watched, ...]
    events: tuple[Event, ...]


def follow_line(
    history: History,
    known: Known,
    *,
    model: BehaviourModel,
    policy: Policy,
    gone: Collection[ConsentPurpose] = (),
) -> Followed:
    """Judge every month of a line that has not been judged.

    Args:
        history: Up to the month that is closed now.
        known: What is stored of it.
        model: The behaviour score.
        policy: In force.
        gone: Consents that the person has withdrawn here, whatever the table says; what they
            allowed is not read.
    """
    history = _allowed(history, gone)
    events, staging = list(known.events), known.staging
    found: list[Watched] = []
    for index in range(_first(history, known), len(history.months)):
        months = history.months[: index + 1]
        if _is_over(months[-1]):
            if staging is not None and not any(map(_is_over, months[-2:-1])):
                found.append(_ended(history, months, policy))
                staging = found[-1].staging
            continue
        seen = signs_of(_observed(months), today=months[-1].end.on)
        events += [Event(sign, months[-1].end.on) for sign in seen]
        seen_so_far = (staging, tuple(events))
        one = _watched(history, months, seen_so_far, (model, policy))
        staging = one.staging
        found.append(one)
    return Followed(months=tuple(found), events=tuple(events[len(known.events) :]))


def _allowed(history: History, gone: Collection[ConsentPurpose]) -> History:
    months = history.months
    if ConsentPurpose.CLOSURE_SIGNAL in gone:
        months = tuple(replace(month, closed_elsewhere=None) for month in months)
    if ConsentPurpose.INCOME_DATA in gone:
        months = tuple(replace(month, income=None, income_consent=False) for month in months)
    return replace(history, months=months)


def _first(history: History, known: Known) -> int:
    """The first month to be judged: of a line older than its table, the third."""
    if known.on is not None:
        return sum(month.end.on <= known.on for month in history.months)
    first = history.months[0].end.on
    is_new = (history.opened_on.year, history.opened_on.month) >= (first.year, first.month)
    return 0 if is_new else min(WINDOW, len(history.months)) - 1


def _is_over(month: LineMonth) -> bool:
    end = month.end
    return bucket_of(end.dpd, end.status, balance=end.balance) is Bucket.X


def _ended(history: History, months: Sequence[LineMonth], policy: Policy) -> Watched:
    """The month in which a line ended with nothing owed: no stage and no flag outlive it."""
    return Watched(
        line=history.line,
        on=months[-1].end.on,
        pd3=None,
        use=use_of([month.end for month in months]),
        staging=Staging(Stage.ONE, 0, 0),
        triggers=(),
        flag=NO_FLAG,
        capacity=capacity_of(months, policy),
        loss=0,
    )


def _watched(
    history: History,
    months: Sequence[LineMonth],
    known: tuple[Staging | None, Sequence[Event]],
    by: tuple[BehaviourModel, Policy],
) -> Watched:
    (before, events), (model, policy) = known, by
    last = months[-1]
    codes = codes_of(months)
    pd3 = None if codes is None else model.pd3(codes)
    condition = _condition(history, last, pd3)
    staging = _staging(before, condition, last, policy.stages)
    return Watched(
        line=history.line,
        on=last.end.on,
        pd3=pd3,
        use=use_of([month.end for month in months]),
        staging=staging,
        triggers=triggers_of(condition, policy.stages),
        flag=flag_of(events, today=last.end.on),
        capacity=capacity_of(months, policy),
        loss=_loss(staging.stage, condition.pd_now, last, policy),
    )


def _condition(history: History, last: LineMonth, pd3: Ppm | None) -> Condition:
    opened, on = history.opened_on, last.end.on
    return Condition(
        dpd=last.end.dpd,
        charged_off=last.end.status is LineStatus.CHARGED_OFF,
        loss_forbearance=last.loss_forbearance,
        pd_origination=history.pd_origination,
        # Before there is a behaviour, nothing newer is known than what it was granted on.
        pd_now=history.pd_origination if pd3 is None else pd12_of(pd3),
        watch=last.watch,
        months_on_book=(on.year - opened.year) * 12 + on.month - opened.month,
    )


def _staging(
    before: Staging | None, condition: Condition, last: LineMonth, rules: StageRules
) -> Staging:
    if before is None:
        return begin(condition, rules)
    return follow(before, condition, paid=last.end.paid >= last.due, rules=rules)


def _loss(stage: Stage, pd: Ppm | None, last: LineMonth, policy: Policy) -> int:
    """Expected loss; a PD that nobody knows counts as certain, as in stage 3."""
    rules = policy.loss
    exposure = exposure_at_default(last.end.balance, last.limit or 0, rules.ccf_revolving)
    certain = stage is Stage.THREE or pd is None
    if certain or pd is None:
        return loss_12(Ppm(MILLION), rules.lgd, exposure)
    if stage is Stage.ONE:
        return loss_12(pd, rules.lgd, exposure)
    months = max(1, LIFE_MONTHS if last.months_left is None else last.months_left)
    monthly = Ppm(pd // LIFE_MONTHS)
    return loss_of_life([monthly] * months, [exposure] * months, lgd=rules.lgd, price=Ppm(0))


def _observed(months: Sequence[LineMonth]) -> Observed:
    last = months[-1]
    before = months[-3] if len(months) > 2 else last  # noqa: PLR2004 - two months ago
    applied = [month.end.on for month in months if month.applications > 0]
    return Observed(
        balance=last.end.balance,
        balance_before=before.end.balance,
        limit=last.limit,
        limit_before=before.limit,
        due=last.due,
        paid=last.end.paid,
        new_credit_on=applied[-1] if applied else None,
        salary_expected=last.salary is not None,
        salary_seen=last.salary is True,
        closed_elsewhere=last.closed_elsewhere,
    )


def income_in(
    months: Sequence[LineMonth], rules: DecisionRules
) -> tuple[Income | None, IncomeState]:
    """The income that a line's last months tell, and whether it may be used."""
    last = months[-1]
    known = tuple(one.income for one in months[-CREDITS:] if one.income is not None)
    income = Income(credits=known, latest_on=last.end.on) if len(known) == CREDITS else None
    return income, income_state(
        income, today=last.end.on, rules=rules, consented=last.income_consent
    )


def dues_in(last: LineMonth, rules: DecisionRules) -> int:
    """Monthly dues that a line's month tells: its own, and those elsewhere if known."""
    kind = DueKind.REVOLVING if last.months_left is None else DueKind.TERM
    here = Obligation(kind=kind, scheduled=max(0, last.due), balance=max(0, last.end.balance))
    return dues_of([here], [], last.dues_elsewhere, rules)


def capacity_of(months: Sequence[LineMonth], policy: Policy) -> CapacityState:
    """The capacity monitor's answer for a line's last month (row 27)."""
    last = months[-1]
    income, state = income_in(months, policy.rules)
    usage = Usage(
        utilisation=utilisation(last.end.balance, last.limit),
        misused=funds_misused(last.barred_debits, last.end.debits, policy.rules),
        elsewhere_known=last.dues_elsewhere is not None,
    )
    return capacity_state(
        income,
        state,
        usage,
        dues=dues_in(last, policy.rules),
        cap=policy.rules.dsr_cap,
    )


# --- was it in time, and was it right? --------------------------------------------------------


@dataclass(slots=True)
class Measures:
    """Lead time and precision over lines whose end is known. Private.

    Lines come one by one, so a table of any size is measured.
    """

    leads: list[tuple[date | None, date]] = field(default_factory=list)
    by_level: list[tuple[int, bool]] = field(default_factory=list)
    by_score: list[tuple[int, bool]] = field(default_factory=list)

    def add(self, history: History, model: BehaviourModel) -> Observation | None:
        """Count one line; returns what it was observed at, if its outcome is known."""
        events = events_of(history.months)
        self._add_lead(history, events)
        seen = observation_of(history)
        if seen is not None and seen.held_out:
            flag = flag_of(events, today=history.months[seen.index].end.on)
            self.by_level.append((int(flag.level), seen.bad))
            self.by_score.append((model.eta(seen.codes), seen.bad))
        return seen

    def _add_lead(self, history: History, events: Sequence[Event]) -> None:
        """A line that was watched before it became 30 days late has a lead, or none: 0."""
        for index, month in enumerate(history.months):
            if month.end.dpd >= INDETERMINATE_FROM:
                if index > 0:
                    earlier = [one for one in events if one.on < month.end.on]
                    self.leads.append(
                        (flag_of(earlier, today=month.end.on).since, month.end.on)
                    )
                return

    @property
    def lead_days(self) -> Fraction | None:
        """Median days from the first flag to the thirtieth day past due."""
        return median_lead(self.leads)

    @property
    def precision_by_level(self) -> Precision | None:
        """Of the twentieth with the most kinds of signs, among lines held out."""
        return precision_at(self.by_level, share=ALERTED)

    @property
    def precision_by_score(self) -> Precision | None:
        """Of the twentieth with the worst behaviour score."""
        return precision_at(self.by_score, share=ALERTED)


def events_of(months: Sequence[LineMonth]) -> list[Event]:
    """All signs of a line's months."""
    return [
        Event(sign, months[index].end.on)
        for index in range(len(months))
        for sign in signs_of(_observed(months[: index + 1]), today=months[index].end.on)
    ]


def measure(
    lines: Iterable[History], model: BehaviourModel, tell: Callable[[Observation], None]
) -> Measures:
    """Measure all lines; ``tell`` gets each observation."""
    found = Measures()
    for history in lines:
        seen = found.add(history, model)
        if seen is not None:
            tell(seen)
    return found
