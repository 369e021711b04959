"""A node believes no gate: it retells the run, and compares what it joined itself."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from consortium.documents import document_of
from consortium.errors import DecodeError, OutOfOrderError, SignatureError, TrustError
from consortium.ids import Digest
from consortium.ledger.entries import Entry, ReleaseGate, from_jcs, sign_entry
from consortium.ledger.run_bodies import RoundJoin, RoundSum
from consortium.messages import GateDocument, PublishedSum
from models.document import ModelDocument, parse_model_document
from partner_node import gatekeeping
from partner_node.gatekeeping import NodeFacts, checked
from tests.ledger_house import COORDINATOR, House


@pytest.fixture(scope="module")
def house() -> House:
    return House(silos=3, rounds=2).run()


@pytest.fixture(scope="module")
def document(house: House) -> ModelDocument:
    (data,) = [data for name, data in house.files.items() if name.startswith("models/")]
    return parse_model_document(data, house.schema)


@pytest.fixture(scope="module")
def given(house: House) -> GateDocument:
    bodies = [from_jcs(data).body for data in house.entries]
    sums = tuple(
        PublishedSum(
            request=document_of(body.request),
            joined=body.joined,
            total=house.files[f"sums/{body.total}.bin"],
        )
        for body in bodies
        if isinstance(body, RoundSum)
    )
    (entry,) = [
        data
        for data, body in zip(house.entries, bodies, strict=True)
        if isinstance(body, ReleaseGate)
    ]
    return GateDocument(entry=entry, audit=b"", sums=sums, count=len(sums))


@pytest.fixture(scope="module")
def facts(house: House) -> NodeFacts:
    joins = tuple(
        data
        for data in house.entries
        if isinstance((entry := from_jcs(data)).body, RoundJoin)
        and entry.actor == house.names[0]
    )
    return NodeFacts(
        member=house.names[0],
        manifest=house.manifest,
        schema=house.schema,
        joined=gatekeeping.joined_contexts(joins),
    )


def gate_in(given: GateDocument) -> ReleaseGate:
    body = from_jcs(given.entry).body
    assert isinstance(body, ReleaseGate)
    return body


def said(house: House, body: ReleaseGate) -> bytes:
    entry = Entry(seq_hint=0, at=1, actor=COORDINATOR, body=body)
    return sign_entry(entry, house.identities[COORDINATOR]).to_jcs()


def test_gate_that_follows_from_the_sums_is_taken(
    facts: NodeFacts, document: ModelDocument, given: GateDocument
) -> None:
    found = checked(facts, gate_in(given).version, document, given)
    assert found.gate.passed
    assert found.refusals == []
    assert len(found.run.sums) == given.count


Change = Callable[[ReleaseGate], ReleaseGate]


@pytest.mark.parametrize(
    "change",
    [
        lambda gate: replace(gate, passed=not gate.passed),
        lambda gate: replace(gate, checks=gate.checks[1:]),
        lambda gate: replace(gate, checks=gate.checks[::-1]),
        lambda gate: replace(
            gate, checks=(*gate.checks[:-1], replace(gate.checks[-1], verdict="passed"))
        ),
    ],
    ids=["verdict", "left out", "order", "line"],
)
def test_gate_that_is_nicer_than_its_sums_is_refused(
    house: House,
    facts: NodeFacts,
    document: ModelDocument,
    given: GateDocument,
    *,
    change: Change,
) -> None:
    gate = gate_in(given)
    forged = replace(given, entry=said(house, change(gate)))
    with pytest.raises(TrustError, match="release gate"):
        checked(facts, gate.version, document, forged)


def test_gate_under_another_key_or_of_another_version_is_refused(
    house: House, facts: NodeFacts, document: ModelDocument, given: GateDocument
) -> None:
    gate = gate_in(given)
    entry = sign_entry(from_jcs(given.entry), house.identities[house.names[0]])
    with pytest.raises(SignatureError):
        checked(facts, gate.version, document, replace(given, entry=entry.to_jcs()))
    other = said(house, replace(gate, version=Digest("ab" * 32)))
    with pytest.raises(DecodeError):
        checked(facts, gate.version, document, replace(given, entry=other))


def test_sums_that_lead_to_another_model_are_refused(
    facts: NodeFacts, document: ModelDocument, given: GateDocument
) -> None:
    total = np.frombuffer(given.sums[0].total, dtype="<i8") + (1 << 40)
    bent = replace(given.sums[0], total=total.astype("<i8").tobytes())
    forged = replace(given, sums=(bent, *given.sums[1:]))
    with pytest.raises((TrustError, OutOfOrderError)):
        checked(facts, gate_in(given).version, document, forged)


def test_sums_that_this_node_did_not_join_are_refused(
    facts: NodeFacts, document: ModelDocument, given: GateDocument
) -> None:
    version = gate_in(given).version
    for gone in facts.joined:
        less = replace(facts, joined=facts.joined - {gone})
        with pytest.raises(TrustError, match="none that this node joined"):
            checked(less, version, document, given)


def test_last_sum_that_was_exchanged_changes_the_lines(
    facts: NodeFacts, document: ModelDocument, given: GateDocument
) -> None:
    """It is in no JOIN, so only the lines tell; that it is the logged one is the audit's."""
    total = np.frombuffer(given.sums[-1].total, dtype="<i8") * 2
    bent = replace(given.sums[-1], total=total.astype("<i8").tobytes())
    with pytest.raises(TrustError, match="the gate says"):
        checked(
            facts,
            gate_in(given).version,
            document,
            replace(given, sums=(*given.sums[:-1], bent)),
        )


def test_refused_gate_is_told_line_by_line(given: GateDocument) -> None:
    gate = gate_in(given)
    failed = replace(gate.checks[1], verdict="failed")
    bent = replace(gate, passed=False, checks=(gate.checks[0], failed))
    found = gatekeeping.CheckedGate(bent, None)  # type: ignore[arg-type]
    (line,) = found.refusals
    assert line.startswith(f"release gate: {failed.name} of {failed.subject}")
