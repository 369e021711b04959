"""Shares of a head's partners and families, from masked noisy sums of real nodes."""

import pytest

from consortium.credit.gate import (
    GateCheck,
    dominance_checks,
    gate_checks,
    refused,
    width_of,
)
from consortium.gates import GatePolicy
from consortium.ids import PartnerId
from consortium.plan import ReleaseKind
from coordinator.releases import candidate_of
from models.document import parse_any
from models.gate import gate_inputs
from models.run import RunSession
from tests.head_house import StudyHouse, joint_rows

POLICY = GatePolicy(most_family="1")


def trained(first: int, second: int) -> RunSession:
    """Two banks whose customers' scores rest on what the banks know themselves."""
    house = StudyHouse(rows=first)
    house.joint[PartnerId("bank_b")] = joint_rows(1, second)
    return house.train()


def lines(session: RunSession, name: str) -> dict[str, GateCheck]:
    inputs = gate_inputs(session)
    found = dominance_checks(inputs, POLICY, width=width_of(inputs))
    return {one.subject: one for one in found if one.name == name}


@pytest.fixture(scope="module")
def planted() -> RunSession:
    return trained(24_000, 2_000)


def test_bank_that_carries_most_of_the_score_blocks_the_release(planted: RunSession) -> None:
    partner = lines(planted, "dominance.partner")
    assert partner["bank_a"].failed
    assert float(partner["bank_a"].at_least) > 0.5
    assert not partner["bank_b"].failed
    checks = gate_checks(gate_inputs(planted), POLICY, code_is_named=False)
    assert refused(checks)


def test_banks_of_one_size_share_the_score(planted: RunSession) -> None:
    session = trained(12_000, 12_000)
    partner = lines(session, "dominance.partner")
    assert not any(one.failed for one in partner.values())
    assert abs(float(partner["bank_a"].value) - float(partner["bank_b"].value)) < 0.3
    for run in (session, planted):
        family = lines(run, "dominance.family").values()
        whole = sum(float(one.value) for one in family)
        noise = sum(float(one.at_most) - float(one.value) for one in family)
        assert abs(whole - 1) < 2 * noise


def test_sums_of_shares_are_charged_and_in_the_statement(planted: RunSession) -> None:
    house = StudyHouse(rows=10)
    document = parse_any(candidate_of(planted, house.manifest).document, house.schema)
    charges = document.statement["charges"]
    assert isinstance(charges, list)
    (line,) = [one for one in charges if one["purpose"] == ReleaseKind.EVALUATION.value]
    assert line["sensitivity"] == "1449"  # ⌈√2·2^10⌉
