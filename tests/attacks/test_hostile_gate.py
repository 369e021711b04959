"""Logs whose releases went around the gate, or whose gates say more than the sums (8.7)."""

from dataclasses import replace

import pytest

from consortium.ids import Digest
from consortium.ledger.entries import (
    ReleaseGate,
    ReleaseServed,
    ReleaseVote,
    from_jcs,
)
from tests.attacks.test_ledger_audit import (
    audit,
    errors,
    forged,
    index_of,
    resealed,
    with_extra,
)
from tests.ledger_house import COORDINATOR, House


@pytest.fixture(scope="module")
def honest() -> House:
    return House(silos=3, rounds=2).run()


def gate_of(house: House) -> ReleaseGate:
    body = from_jcs(house.entries[index_of(house, ReleaseGate)]).body
    assert isinstance(body, ReleaseGate)
    return body


def test_gate_that_the_sums_lead_to_is_shown_and_found_sound(honest: House) -> None:
    found = audit(honest.bundle(), honest)
    (release,) = found.releases
    assert release.gate == gate_of(honest)
    assert release.gate.passed
    assert not [one for one in found.findings if one.name.startswith("gate.")]


def test_release_served_without_a_gate_is_found(honest: House) -> None:
    entries = list(honest.entries)
    del entries[index_of(honest, ReleaseGate)]
    assert "gate.missing" in errors(resealed(honest, entries), honest)


def test_gate_that_comes_after_the_release_is_found(honest: House) -> None:
    entries = list(honest.entries)
    entries.append(entries.pop(index_of(honest, ReleaseGate)))
    assert "gate.missing" in errors(resealed(honest, entries), honest)


def test_release_served_against_its_gate_is_found(honest: House) -> None:
    index = index_of(honest, ReleaseGate)
    found = errors(forged(honest, index, passed=False), honest)
    assert found["gate.refused"].entries == (index_of(honest, ReleaseServed), index)
    assert found["gate.altered"].entries == (index,)


@pytest.mark.parametrize(
    "change",
    [{"value": "1.0000"}, {"verdict": "passed"}, {"low": "0.1000"}, {"why": "noise "}],
)
def test_line_that_the_sums_do_not_lead_to_is_found(
    honest: House, change: dict[str, str]
) -> None:
    index, gate = index_of(honest, ReleaseGate), gate_of(honest)
    for place, line in enumerate(gate.checks):
        bent = replace(line, **change)
        if bent == line:
            continue
        lines = [*gate.checks[:place], bent, *gate.checks[place + 1 :]]
        found = errors(forged(honest, index, checks=tuple(lines)), honest)
        assert found["gate.altered"].entries == (index,)
        return
    pytest.fail("no line to change")


def test_line_that_is_left_out_is_found(honest: House) -> None:
    index, gate = index_of(honest, ReleaseGate), gate_of(honest)
    found = errors(forged(honest, index, checks=gate.checks[1:]), honest)
    assert found["gate.altered"].entries == (index,)


def test_gate_that_rests_on_an_audit_nobody_can_read_is_found(honest: House) -> None:
    index = index_of(honest, ReleaseGate)
    found = errors(forged(honest, index, audit=Digest("ab" * 32)), honest)
    assert found["gate.audit"].entries == (index,)


def test_gate_in_the_name_of_a_partner_is_found(honest: House) -> None:
    late = with_extra(honest, len(honest.entries), (honest.names[0], gate_of(honest)))
    assert "entry.signature" in errors(late, honest)


def test_second_gate_that_refuses_after_the_release_is_compared_as_well(honest: House) -> None:
    worse = replace(gate_of(honest), passed=False)
    end = len(honest.entries)
    assert "gate.altered" in errors(with_extra(honest, end, (COORDINATOR, worse)), honest)


def test_release_served_against_unstable_reasons_is_found(honest: House) -> None:
    index = index_of(honest, ReleaseVote)
    found = errors(forged(honest, index, accept=False, reason="unstable_reasons"), honest)
    assert found["gate.unstable"].entries == (index_of(honest, ReleaseServed),)


def test_stray_audit_file_of_another_digest_is_found(honest: House) -> None:
    files = {**honest.bundle(), f"audits/{Digest('ab' * 32)}.json": b"{}"}
    assert "file.broken" in errors(files, honest)
