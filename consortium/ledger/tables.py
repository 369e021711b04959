"""The audit of table releases: allowed, and exactly what their sums lead to (8.7 (23), 13.11).

A finished run of the kind ``table`` is closed with the digest of its document. The document is
made again from plan, published sum and logged attempts, privacy statement included, so one
comparison of bytes covers every number in it. Charges are audited with those of other runs.
"""

from consortium.credit.figures import NoisyTable
from consortium.credit.table_document import parse_table_document, table_bytes, table_digest
from consortium.ids import Digest
from consortium.ledger.facts import RunFacts, Timeline
from consortium.ledger.findings import Check, Findings
from consortium.ledger.run_bodies import RoundSum
from consortium.plan import decimal
from consortium.privacy.recomputed import epsilons_of, worst_of
from consortium.secagg.ring import to_signed


def audit_tables(
    timeline: Timeline, runs: tuple[RunFacts, ...], findings: Findings
) -> tuple[NoisyTable, ...]:
    """Audit every table run; the tables that the log leads to."""
    found: list[NoisyTable] = []
    named: set[Digest] = set()
    for run in runs:
        if run.plan.figure is None:
            continue
        _check_allowed(timeline, run, findings)
        if run.closed is None or run.closed[1].version is None:
            continue
        named.add(run.closed[1].version)
        with findings.catch(Check.TABLES, "table.unproven", run.closed[0]):
            table = _check_table(timeline, run, findings)
            if table is not None:
                found.append(table)
    for digest in sorted(set(timeline.evidence.tables) - named):
        text = "a table that no run up to the head was closed with: it is not proven"
        findings.note(Check.TABLES, "table.stray", text, place=f"tables/{digest}.json")
    return tuple(found)


def _check_allowed(timeline: Timeline, run: RunFacts, findings: Findings) -> None:
    """The manifest in force names the kind of figure, and allows what it costs."""
    policy, figure = timeline.force[run.proposed].policy.figures, run.plan.figure
    if figure is None or figure.kind not in policy.kinds:
        text = "a figure of a kind that the manifest does not allow"
        findings.error(Check.TABLES, "table.kind", text, run.proposed)
    with findings.catch(Check.TABLES, "table.epsilon", run.proposed):
        asked = decimal(run.plan.epsilon, "epsilon", low="0.0001", high="100")
        if asked > decimal(policy.run_epsilon, "figures.run_epsilon", low="0.01", high="100"):
            text = f"a table at epsilon {run.plan.epsilon}, above the manifest's"
            findings.error(Check.TABLES, "table.epsilon", text, run.proposed)


def _check_table(timeline: Timeline, run: RunFacts, findings: Findings) -> NoisyTable | None:
    """The document that the sum leads to, against the one that the run was closed with."""
    sums = [one.body for one in run.closings if isinstance(one.body, RoundSum)]
    if run.closed is None or len(sums) != 1:
        index = run.proposed if run.closed is None else run.closed[0]
        text = f"closed with a table, from {len(sums)} sums"
        findings.error(Check.TABLES, "table.sums", text, index)
        return None
    index, version = run.closed[0], run.closed[1].version
    words = timeline.evidence.sums.get(sums[0].total)
    if words is None:
        return None  # that the sum is missing is a finding of the run
    made = table_bytes(run.plan, to_signed(words), tuple(one.attempt for one in run.closings))
    place = f"tables/{version}.json"
    if table_digest(made) != version:
        text = "not closed with the table that its sum leads to"
        findings.error(Check.TABLES, "table.wrong", text, index, place=place)
        return None
    if version not in timeline.evidence.tables:
        text = "the table is not in the bundle; it follows from the sum"
        findings.note(Check.TABLES, "table.missing", text, index, place=place)
    document = parse_table_document(made)
    _check_epsilon(document.table, run, document.statement, findings)
    return document.table


def _check_epsilon(
    table: NoisyTable, run: RunFacts, statement: object, findings: Findings
) -> None:
    """The second way, as of a model: from the statement's own charges alone (8.7 (14))."""
    charges = statement.get("charges") if isinstance(statement, dict) else None
    figures = epsilons_of(run.plan, charges if isinstance(charges, list) else [])
    if table.epsilon != worst_of(figures, "person"):
        text = f"epsilon {table.epsilon} of a table, its charges lead to another"
        findings.error(Check.EPSILON, "table.epsilon", text, run.proposed)
