"""The audit of the budget: attempts charged, at the plan's price, within caps (8.7 (13))."""

from collections import defaultdict
from collections.abc import Mapping

from consortium.errors import ConfigurationError, DomainError
from consortium.ids import PartnerId, RunId
from consortium.ledger.facts import Closing, RunAudit, RunFacts, Timeline
from consortium.ledger.findings import Check, Findings
from consortium.ledger.overlaps import overlap_debits
from consortium.ledger.run_bodies import BudgetDebit, RoundAbort, RoundSum, RunCommit
from consortium.manifest import Policy
from consortium.messages import SumRequest
from consortium.plan import Algorithm, ReleaseKind
from consortium.privacy.accountant import units_of
from consortium.privacy.mechanism import account_of, local_steps_units, mechanism_for

_Key = tuple[PartnerId, ReleaseKind, int, int]


def check_charge(
    audit: RunAudit, closing: Closing, body: RoundAbort, *, everyone: bool
) -> None:
    """An attempt that all had joined may have let words out: it is charged (3.6, 13)."""
    request = body.request
    key = (request.kind, request.round, request.attempt)
    debits = [index for index, _ in audit.charged.get(key, ())]
    if not body.charged and (everyone or debits):
        text = "given up as free, but its members had all joined or were charged"
        audit.findings.error(Check.BUDGET, "abort.uncharged", text, closing.index, *debits)
    if not set(body.missing) <= set(request.roster) or len(body.missing) != len(body.reasons):
        text = "names missing members who are not of its roster"
        audit.findings.error(Check.CONTEXTS, "abort.missing", text, closing.index)


def check_budget(audit: RunAudit) -> None:
    """Debits are the attempts, of each member, at the plan's price (13)."""
    run = audit.run
    asked = _asked(audit)
    owed: dict[tuple[PartnerId, ReleaseKind, int, int], Closing] = {}
    allowed: dict[tuple[PartnerId, ReleaseKind, int, int], Closing] = {}
    for closing in run.closings:
        attempt = closing.attempt
        for name in attempt.roster if attempt.charged else ():
            key = (name, attempt.kind, attempt.round, attempt.attempt)
            allowed[key] = closing
            # Before all JOINs are in nobody is asked for words, and nobody is charged.
            if name not in attempt.missing and closing.index in asked:
                owed[key] = closing
    paid: dict[tuple[PartnerId, ReleaseKind, int, int], int] = {}
    for index, name, debit in run.debits:
        key = (name, debit.kind, debit.round, debit.attempt)
        if key in paid:
            text = f"{name} is charged twice for one attempt"
            audit.findings.warn(Check.BUDGET, "debit.twice", text, paid[key], index)
        paid.setdefault(key, index)
        if key in allowed:
            _check_price(audit, index, debit, allowed[key])
        else:
            text = f"{name} is charged for an attempt that the log does not know"
            audit.findings.warn(Check.BUDGET, "debit.stray", text, index)
    for key in set(owed) - set(paid):
        name, kind, number, attempt_no = key
        text = f"{name} was not charged for {kind.value} {number}.{attempt_no}"
        audit.findings.error(Check.BUDGET, "debit.missing", text, owed[key].index)
    _check_reserve(audit)


def _asked(audit: RunAudit) -> set[int]:
    """Closings of attempts whose whole roster had joined, as far as the log knows."""
    joined: dict[tuple[ReleaseKind, int, int], set[PartnerId]] = defaultdict(set)
    for _, name, join in audit.run.joins:
        joined[join.kind, join.round, join.attempt].add(name)
    return {
        one.index
        for one in audit.run.closings
        if set(one.request.roster)
        <= joined[one.request.kind, one.request.round, one.request.attempt]
    }


def _check_price(audit: RunAudit, index: int, debit: BudgetDebit, closing: Closing) -> None:
    plan, request = audit.run.plan, closing.request
    scope = account_of(request.kind)
    with audit.findings.catch(Check.BUDGET, "debit.mechanism", index):
        # An attempt that was lost with the coordinator is closed under the roster that is
        # there afterwards; who had been charged in it was so for the roster before.
        summed = isinstance(closing.body, RoundSum)
        partners = len(request.roster) if summed else debit.partners
        variance, units = _price(audit, request, partners)
        steps = plan.algorithm is Algorithm.LOCAL_STEPS
        if steps and request.kind is ReleaseKind.GRADIENT:
            units = debit.units  # one figure for the whole run, see _check_reserve
        seen = (debit.account, debit.units, debit.variance, debit.partners)
        if seen != (scope, units, variance, partners):
            text = f"charged {seen}, the plan says {(scope, units, variance)}"
            audit.findings.error(Check.BUDGET, "debit.units", text, index)


def _price(audit: RunAudit, request: SumRequest, partners: int) -> tuple[str, int]:
    """Variance and person-level units of one attempt of this request by so many."""
    holders = {name for block in audit.run.plan.blocks for name in block.holders}
    if not 1 <= partners <= max(len(request.roster), len(holders | set(audit.run.commits))):
        raise DomainError(f"charged for a roster of {partners}")
    width = request.dimension
    if request.kind is ReleaseKind.BINS:
        width = _private_features(audit)
    key = (request.kind, width, partners)
    if key not in audit.prices:
        made = mechanism_for(audit.run.plan, request.kind, width=width, partners=partners)
        audit.prices[key] = (str(made.variance), made.units(person=True))
    return audit.prices[key]


def _private_features(audit: RunAudit) -> int:
    schema = audit.timeline.evidence.schemas.get(audit.run.plan.schema)
    if schema is None:
        raise ConfigurationError("the plan's schema is not in the bundle")
    return sum(feature.needs_private_bins for feature in schema.features)


def _check_reserve(audit: RunAudit) -> None:
    """No member charged more than it reserved; of local steps, all at once (4.8)."""
    run = audit.run
    spent: dict[tuple[PartnerId, str], int] = defaultdict(int)
    for _, name, debit in run.debits:
        spent[name, debit.account] += debit.units
    for (name, account), units in sorted(spent.items()):
        index, commit = run.commits.get(name, (run.proposed, None))
        held = {} if commit is None else reserved_of(commit)
        if units > held.get(account, 0):
            text = f"{name} was charged {units} of {account}, beyond its reserve"
            audit.findings.error(Check.BUDGET, "debit.reserve", text, index)
    if run.plan.algorithm is Algorithm.LOCAL_STEPS:
        with audit.findings.catch(Check.BUDGET, "debit.local_steps", run.proposed):
            _check_local_steps(audit)


def _check_local_steps(audit: RunAudit) -> None:
    whole: dict[PartnerId, int] = defaultdict(int)
    for _, name, debit in audit.run.debits:
        if debit.kind is ReleaseKind.GRADIENT:
            whole[name] += debit.units
    least = local_steps_units(audit.run.plan, person=True)
    attempts = audit.run.plan.rounds + audit.run.plan.spare_attempts
    for name, units in sorted(whole.items()):
        if units < least - attempts:
            text = f"{name} was charged {units} for its local steps, they cost {least}"
            audit.findings.error(Check.BUDGET, "debit.local_steps", text, audit.run.proposed)


def reserved_of(commit: RunCommit) -> dict[str, int]:
    """Units that a member reserved, by account."""
    return {
        "training": commit.training_units,
        "holdout": commit.holdout_units,
        "tables": commit.tables_units,
    }


def lifetime_cap(policy: Policy, account: str) -> float:
    """Epsilon that the manifest lets an account of one epoch cost."""
    if account == "tables":
        return float(policy.figures.lifetime_epsilon)
    return float(policy.max_epsilon_lifetime)


def check_caps(timeline: Timeline, runs: Mapping[RunId, RunFacts], findings: Findings) -> None:
    """No account of any member is above the manifest's lifetime cap (13)."""
    spent: dict[tuple[PartnerId, str, str], list[tuple[int, int]]] = defaultdict(list)
    for run in runs.values():
        for index, name, debit in run.debits:
            spent[name, debit.account, debit.epoch].append((index, debit.units))
    for name, account, epoch, index, units in overlap_debits(timeline):
        spent[name, account, epoch].append((index, units))
    for (name, account, epoch), charged in sorted(spent.items()):
        last = max(index for index, _ in charged)
        policy = timeline.force[last].policy
        with findings.catch(Check.BUDGET, "account.cap"):
            cap = units_of(lifetime_cap(policy, account), float(policy.delta))
            if sum(units for _, units in charged) > cap:
                text = f"{name}: account {account} of epoch {epoch} is above the lifetime cap"
                findings.error(Check.BUDGET, "account.overdrawn", text, last)
