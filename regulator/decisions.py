"""Reports on decisions that a partner made again, checked against the audited log (9.4.2).

What was committed to and what was drawn is taken from the log and from nowhere else; a report
opens count and root, and its verdict follows from its digests.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from consortium.errors import DecodeError, OutOfOrderError, TrustError
from consortium.ledger.bodies import DecisionBatch
from consortium.ledger.decisions import DecisionFacts, Draw, decisions_of
from consortium.ledger.findings import Check, Grade
from consortium.ledger.sealed import DecisionReport, faults_of, lines_of
from consortium.ledger.verify import Audit
from consortium.secagg.replay_report import Judgement


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One report, and whether it may be believed."""

    report: DecisionReport
    batch: DecisionBatch
    faults: tuple[str, ...]
    """What of it does not follow from the log."""

    @property
    def verdict(self) -> Judgement:
        """Failed as well if the report itself does not hold."""
        return Judgement.FAILED if self.faults else Judgement(self.report.verdict)

    def lines(self) -> Iterator[str]:
        """For whoever looks on."""
        yield from lines_of(self.report, self.batch)
        for fault in self.faults:
            yield f"  not believed: {fault}"


def check_reports(audit: Audit, lines: Iterable[bytes]) -> tuple[Checked, ...]:
    """Check every report of a file.

    Args:
        audit: Of the bundle; but for what it says of decisions it must have no errors.
        lines: As ``riskweave desk answer --out`` wrote them.

    Raises:
        TrustError: the audit found other errors.
        DecodeError: a line is no report, or there is none. Fault: the partner.
        OutOfOrderError: of a challenge that the log does not have.
    """
    wrong = [one for one in audit.findings if one.grade is Grade.ERROR]
    if audit.timeline is None or any(one.check is not Check.DECISIONS for one in wrong):
        raise TrustError("the bundle has errors: there is nothing to compare with")
    facts = decisions_of(audit.timeline)
    found = tuple(_checked(facts, line.rstrip(b"\n")) for line in lines)
    if not found:
        raise DecodeError("no report on decisions")
    return found


def _checked(facts: DecisionFacts, line: bytes) -> Checked:
    report = DecisionReport.from_bytes(line)
    draw = facts.draws.get(report.challenge)
    batch = None if draw is None else draw.batch
    if draw is None or batch is None or batch.member != report.member:
        raise OutOfOrderError(
            f"the log has no draw {report.challenge[:12]} of decisions of {report.member}"
        )
    faults = (*faults_of(report, batch.body, draw.body), *_answered(draw, report))
    return Checked(report=report, batch=batch.body, faults=faults)


def _answered(draw: Draw, report: DecisionReport) -> Iterator[str]:
    if draw.answers and report.digest not in {one.report for _, one in draw.answers}:
        yield "the partner has answered in the log with another report"
