"""A coordinator that publishes another table than the sum leads to, or one nobody allowed."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from consortium.credit.figure_specs import Wanted, figure
from consortium.credit.table_document import table_bytes, table_digest
from consortium.crypto.keys import Secret
from consortium.figure import FigureKind
from consortium.figure_policy import FigurePolicy
from consortium.ids import Digest, RunId
from consortium.ledger.evidence import Evidence, read_evidence
from consortium.ledger.facts import Closing, RunFacts, Timeline
from consortium.ledger.findings import Findings, Grade
from consortium.ledger.merkle import Tree
from consortium.ledger.run_bodies import RoundSum, RunClosed
from consortium.ledger.tables import audit_tables
from consortium.plan import TrainingPlan
from consortium.privacy.noise import noise_share
from consortium.release import Attempt
from consortium.secagg.ring import to_ring
from consortium.secagg.uploads import words_digest
from coordinator.figure_plans import FigureTerms, table_plan_text
from coordinator.plans import PlanContext, parse_plan
from models.run import RunSession
from tests.simulator import Consortium

SPEC = figure(FigureKind.ROLL_RATES, "2026-01", "2026-02", Wanted())


@dataclass(frozen=True)
class Scene:
    """One finished table run as a log tells it."""

    house: Consortium
    plan: TrainingPlan
    closing: Closing
    total: np.ndarray

    def document(self, total: np.ndarray | None = None) -> bytes:
        attempts: tuple[Attempt, ...] = (self.closing.attempt,)
        return table_bytes(self.plan, self.total if total is None else total, attempts)

    def findings(
        self, closed_with: bytes, shown: bytes, *, policy: FigurePolicy | None = None
    ) -> dict[str, Grade]:
        """What the audit says of the run if it is closed with one document and shows one."""
        allowed = policy or FigurePolicy(kinds=(FigureKind.ROLL_RATES,))
        manifest = replace(
            self.house.manifest, policy=replace(self.house.manifest.policy, figures=allowed)
        )
        evidence = Evidence(
            sums={words_digest(to_ring(self.total)): to_ring(self.total)},
            tables={table_digest(shown): shown} if shown else {},
        )
        closed = RunClosed(
            run=self.plan.run, outcome="finished", attempts=1, version=table_digest(closed_with)
        )
        run = RunFacts(
            run=self.plan.run,
            proposed=0,
            plan=self.plan,
            closings=[self.closing],
            closed=(2, closed),
        )
        timeline = Timeline(
            entries={},
            force=[manifest] * 3,
            counted=(),
            evidence=evidence,
            manifests={},
            tree=Tree(),
        )
        findings = Findings()
        tables = audit_tables(timeline, (run,), findings)
        found = {one.name: one.grade for one in findings.sorted()}
        assert bool(tables) == ("table.wrong" not in found)
        return found


@pytest.fixture(scope="module")
def scene() -> Scene:
    house = Consortium()
    plan = parse_plan(
        table_plan_text(SPEC, FigureTerms(attempts=1)),
        PlanContext(
            run=RunId("ab" * 16),
            manifest=house.manifest,
            schema=house.schema,
            code=Digest("c0" * 32),
        ),
    )
    request, _ = RunSession(plan, house.schema).request(plan.blocks[0].holders)
    total = noise_share(
        Secret(b"n" * 32), Digest("0" * 64), variance=10**14, count=request.dimension
    )
    body = RoundSum(
        request=request,
        joined=Digest("7" * 64),
        total=words_digest(to_ring(total)),
        uploads=(),
    )
    return Scene(house, plan, Closing(index=1, at=1, body=body), total)


def test_the_table_that_the_sum_leads_to_is_proven(scene: Scene) -> None:
    document = scene.document()
    assert scene.findings(document, document) == {}
    assert scene.findings(document, b"") == {"table.missing": Grade.NOTE}


def test_one_person_more_in_one_cell_is_found(scene: Scene) -> None:
    altered = scene.total.copy()
    altered[3] += 1 << 20
    document = scene.document(altered)
    found = scene.findings(document, document)
    assert found["table.wrong"] is Grade.ERROR


def test_an_epsilon_that_is_told_too_low_is_found(scene: Scene) -> None:
    honest = scene.document()
    told = honest.replace(b'"epsilon":"1.0000"', b'"epsilon":"0.5000"')
    assert told != honest
    assert scene.findings(told, told)["table.wrong"] is Grade.ERROR


def test_another_table_in_the_bundle_than_the_run_was_closed_with_is_said(
    scene: Scene,
) -> None:
    altered = scene.total.copy()
    altered[0] += 1
    found = scene.findings(scene.document(), scene.document(altered))
    assert found == {"table.missing": Grade.NOTE, "table.stray": Grade.NOTE}


def test_a_table_that_the_manifest_does_not_allow_is_found(scene: Scene) -> None:
    document = scene.document()
    nothing = FigurePolicy()
    assert scene.findings(document, document, policy=nothing) == {"table.kind": Grade.ERROR}
    cheap = FigurePolicy(kinds=(FigureKind.ROLL_RATES,), run_epsilon="0.5")
    assert scene.findings(document, document, policy=cheap) == {"table.epsilon": Grade.ERROR}


def test_a_file_that_is_not_its_name_is_found(scene: Scene) -> None:
    findings = Findings()
    name = f"tables/{'0' * 64}.json"
    read_evidence({"checkpoint": b"", name: scene.document()}, findings)
    assert "file.broken" in {one.name for one in findings.sorted()}
