"""The document of an empirical audit says one thing, and no other than its figures say."""

from dataclasses import replace
from typing import Any

import pytest

from consortium.audit.result import (
    AuditVerdict,
    EmpiricalAudit,
    Trial,
    canaries_for,
    seed_commitment_of,
    verdict_of,
)
from consortium.canonical import canonical_json, parse_canonical
from consortium.crypto.keys import Secret
from consortium.errors import DecodeError
from consortium.ids import digest_of

GOOD = Trial(
    seed=digest_of(b"seed"),
    gdp="0.6712",
    threshold="0.1",
    one_run="0",
    null_deviation="1.0010",
    null_tolerance="0.0260",
    null_correlation="0.0310",
    correlation_tolerance="0.1000",
    record_rate="0.0050",
)
BAD = replace(GOOD, gdp="1.2")
AUDIT = EmpiricalAudit(
    code=digest_of(b"code"),
    plan=digest_of(b"plan"),
    epsilon="1",
    delta="0.000001",
    noise_mode="shared",
    partners=4,
    honest=2,
    width=4_195,
    canaries=4_000,
    rounds=60,
    null_rounds=60,
    trials=(GOOD,),
    verdict=AuditVerdict.PASSED,
)


def _plain(audit: EmpiricalAudit = AUDIT) -> dict[str, Any]:
    value = audit.to_canonical()
    assert isinstance(value, dict)
    return value


def test_document_is_read_back_as_it_was_and_has_one_digest() -> None:
    back = EmpiricalAudit.from_canonical(parse_canonical(canonical_json(_plain())))
    assert back == AUDIT
    assert back.digest == AUDIT.digest != replace(AUDIT, rounds=61).digest


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": AuditVerdict.FAILED},
        {"trials": (BAD,)},
        {"trials": (GOOD, GOOD)},
        {"trials": ()},
        {"trials": (BAD, BAD, GOOD)},
        {"trials": (replace(GOOD, seed="seed"),)},
        {"trials": (replace(GOOD, gdp="NaN"),)},
        {"trials": (replace(GOOD, gdp="-1"),)},
        {"code": "ff"},
        {"delta": "2"},
        {"honest": 5},
        {"canaries": 0},
        {"canaries": 4_195},
        {"rounds": 0},
    ],
)
def test_document_that_contradicts_itself_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        EmpiricalAudit.from_canonical(_plain(replace(AUDIT, **change)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"gdp": "1.0001"}, "gdp"),
        ({"null_deviation": "1.0261"}, "null_deviation"),
        ({"null_deviation": "0.9739"}, "null_deviation"),
        ({"null_correlation": "0.1001"}, "null_correlation"),
    ],
)
def test_each_gate_fails_alone_and_is_named(change: dict[str, str], reason: str) -> None:
    assert GOOD.reasons("1") == ()
    assert replace(GOOD, **change).reasons("1") == (reason,)


def test_one_failure_is_repeated_and_the_second_counts() -> None:
    assert verdict_of("1", (BAD,)) is AuditVerdict.FAILED
    assert verdict_of("1", (BAD, GOOD)) is AuditVerdict.PASSED
    assert verdict_of("1", (BAD, BAD)) is AuditVerdict.FAILED


def test_bounds_without_a_gate_do_not_fail_a_release() -> None:
    assert replace(GOOD, threshold="9", one_run="9", record_rate="1").reasons("1") == ()


def test_small_claims_need_more_canaries() -> None:
    assert [canaries_for(text) for text in ("0.1", "1", "1.0001", "8")] == [
        4_000,
        4_000,
        1_000,
        1_000,
    ]
    assert AUDIT.for_release()
    assert not replace(AUDIT, canaries=3_999).for_release()


def test_commitment_is_to_the_seed() -> None:
    first, second = (seed_commitment_of(Secret(bytes([one]) * 32)) for one in (1, 2))
    assert first != second
