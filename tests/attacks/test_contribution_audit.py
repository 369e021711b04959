"""The auditor and an operator who states other contributions than its tables lead to."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime

import pytest

from bench.contribution_market import plan_of, version_of
from consortium.credit.contribution_table import Look, stated
from consortium.credit.figures import Terms, figure_plan
from consortium.ids import Digest, PartnerId, RunId
from consortium.ledger.contributions import audit_contributions
from consortium.ledger.entries import Body, Entry, ReleaseCandidate
from consortium.ledger.evidence import read_evidence
from consortium.ledger.facts import RunFacts, Timeline
from consortium.ledger.findings import Findings, Grade
from consortium.ledger.governing import ContributionStated
from consortium.ledger.merkle import Tree
from consortium.ledger.run_bodies import RunClosed
from tests.simulator import Consortium
from tests.unit.test_contribution_table import ALL, FIRST, SECOND

DAY = date(2026, 11, 1)
NOON = int(datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp())
MANIFEST = Consortium().manifest
NONE = Digest("0" * 64)
LOOKS = (FIRST, SECOND)
RIGHT = stated(LOOKS, None, federation=MANIFEST.federation, measured_on=DAY)
SAID = ContributionStated(
    version=RIGHT.version,
    statement=RIGHT.digest,
    tables=RIGHT.tables,
    hanging=None,
    on=DAY,
)


@dataclass
class Log:
    """Models, two tables and then a statement, as a log tells them."""

    entries: dict[int, Entry] = field(default_factory=dict)
    runs: list[RunFacts] = field(default_factory=list)

    def say(self, body: Body, at: int = NOON) -> int:
        index = len(self.entries)
        actor = PartnerId("coordinator")
        self.entries[index] = Entry(seq_hint=0, at=at, actor=actor, body=body)
        return index

    def train(self, who: tuple[int, ...]) -> None:
        run = RunId(f"{len(self.runs):032x}")
        plan = replace(plan_of(who), run=run)
        self.runs.append(RunFacts(run=run, proposed=len(self.entries), plan=plan))
        self.say(ReleaseCandidate(version=version_of(who), run=run, statement=NONE))

    def release(self, look: Look) -> Look:
        run = RunId(f"{len(self.runs):032x}")
        plan = figure_plan(
            look.table.spec,
            Terms(),
            run=run,
            holders=tuple(look.judges),
            under=(NONE, NONE, NONE),
        )
        closed = RunClosed(run=run, outcome="finished", attempts=1, version=NONE)
        index = self.say(closed)
        facts = RunFacts(run=run, proposed=index, plan=plan, closed=(index, closed))
        self.runs.append(facts)
        return replace(look, table=replace(look.table, run=run))


def found(
    said: ContributionStated,
    *,
    at: int = NOON,
    looks: tuple[Look, ...] = LOOKS,
    early: bool = False,
) -> list[str]:
    log = Log()
    for who in (ALL, (1, 2, 3), (0, 2, 3), (0, 1, 3), (0, 1, 2), (1, 2), (0, 2), (0, 1)):
        log.train(who)
    if early:
        log.say(said, at)
    tables = [log.release(look).table for look in looks]
    if not early:
        log.say(said, at)
    findings = Findings()
    timeline = Timeline(
        entries=log.entries,
        force=[MANIFEST] * len(log.entries),
        counted=(),
        evidence=read_evidence({}, Findings()),
        manifests={},
        tree=Tree(),
    )
    audit_contributions(timeline, log.runs, tables, findings)
    assert all(one.grade is Grade.ERROR for one in findings.found)
    return [one.name for one in findings.found]


def test_statement_that_its_tables_lead_to_is_no_finding() -> None:
    assert found(SAID) == []


@pytest.mark.parametrize(
    "lie",
    [
        lambda one: replace(one, statement=Digest("11" * 32)),
        lambda one: replace(one, version=version_of((0, 1, 2))),
        lambda one: replace(one, tables=one.tables[:1]),
        lambda one: replace(one, tables=one.tables[::-1]),
        lambda one: replace(one, on=date(2026, 11, 2)),
    ],
    ids=["another digest", "another model", "who harms is left in", "turned", "another day"],
)
def test_statement_that_its_tables_do_not_lead_to_is_found(
    lie: Callable[[ContributionStated], ContributionStated],
) -> None:
    assert found(lie(SAID)) == ["contribution.figures"]


def test_statement_on_a_table_that_is_not_proven_or_comes_later_is_found() -> None:
    assert found(SAID, looks=(FIRST,)) == ["contribution.tables"]
    assert found(SAID, early=True) == ["contribution.tables"]


def test_statement_of_an_old_table_or_another_day_is_found() -> None:
    assert "contribution.date" in found(replace(SAID, on=date(2026, 10, 1)))
    assert found(SAID, at=NOON + 368 * 86_400) == ["contribution.date"]


def test_contribution_to_a_version_that_nobody_trained_is_found() -> None:
    assert found(replace(SAID, version=Digest("11" * 32))) == ["contribution.version"]


def test_judge_who_was_set_aside_is_found() -> None:
    again = replace(SECOND, judges=FIRST.judges)
    assert found(SAID, looks=(FIRST, again)) == ["contribution.figures"]
