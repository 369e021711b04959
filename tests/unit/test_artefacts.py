"""Artefacts: made from a bundle alone, each field with its source or why it has none."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consortium.canonical import canonical_json, parse_canonical
from consortium.credit import tables
from consortium.ids import Digest, PartnerId, RequestId
from consortium.inquiries import Purpose
from consortium.ledger.archive import pack
from consortium.ledger.entries import IdentityRevoked, ScoreBatch
from consortium.ledger.inquiries import (
    Asked,
    InquiryRecord,
    Leaf,
    batch_root,
    encode_batch,
    record_bytes,
)
from consortium.ledger.merkle import leaf_hash
from consortium.ledger.verify import Audit
from regulator.artefacts.collection import artefacts_of
from regulator.artefacts.intervals import band_of, intervals_of
from regulator.artefacts.words import TITLES
from regulator.bundle import audit_bundle
from regulator.cli import main
from tests.ledger_house import COORDINATOR, START, House

NOW = START + 1000

FIELDS = {
    "model_card": (
        *(
            "name",
            "version",
            "weights_digest",
            "purpose",
            "not_for",
            "owner",
            "votes",
            "schema",
        ),
        *(
            "bins",
            "plan",
            "code",
            "windows",
            "label_definition",
            "partners",
            "left_since",
            "method",
            "figures",
        ),
        *("psi", "fairness", "reason_stability", "dependence", "points", "reasons", "limits"),
        *("statement_digest", "monitoring", "change_log", "retire_date"),
    ),
    "privacy_statement": (
        *("unit", "relation", "trust", "mechanism", "clip", "charges", "batch", "rounds"),
        *("attempts", "accountant", "accountants", "epsilon", "cumulative", "delta_times_rows"),
        *("other_charges", "reset_rule", "side_channels", "votes_outside"),
        "empirical_lower_bound",
    ),
    "lineage": (
        *("source_system", "extract_date", "rows_band", "transforms", "schema_fields"),
        *("consent_basis", "rejects", "quality_checks", "published_sums", "totals"),
    ),
    "fairness": (
        *("attributes", "source", "rows_band", "measures", "values", "verdict"),
        *("alternatives", "decision"),
    ),
    "decision_notice": (
        *("outcome", "date", "reasons", "score", "range", "pd", "coverage", "sources"),
        *("what_would_change_it", "offer_or_counselling", "review_route", "dispute_route"),
        *("consents", "cost_sheet", "model", "policy", "pack"),
    ),
    "access_log": ("batches", "inquiries", "records", "subject", "coverage", "result"),
}
"""Of each artefact the fields that credit 6 asks for."""


@pytest.fixture(scope="module")
def house() -> House:
    return House(silos=3, rounds=1).run()


def audit_of(house: House, files: Mapping[str, bytes] | None = None) -> Audit:
    data = pack(house.bundle() if files is None else files)
    return audit_bundle(data, house.manifest.digest, now=NOW)


@pytest.fixture(scope="module")
def files(house: House) -> Mapping[str, bytes]:
    return artefacts_of(audit_of(house))


def document(files: Mapping[str, bytes], kind: str) -> dict[str, Any]:
    (name,) = (one for one in files if one.split(".")[0] == kind and one.endswith(".json"))
    found: dict[str, Any] = json.loads(files[name])
    return found


def test_every_artefact_has_the_fields_that_are_asked_for(files: Mapping[str, bytes]) -> None:
    assert set(FIELDS) == set(TITLES)
    for kind, names in FIELDS.items():
        assert set(names) <= set(document(files, kind)["fields"]), kind


def test_every_field_says_where_it_is_from_or_why_it_is_empty(
    files: Mapping[str, bytes], house: House
) -> None:
    bundle = house.bundle()
    for kind in FIELDS:
        for name, field in document(files, kind)["fields"].items():
            (what,) = {"value", "not_recorded", "to_fill"} & set(field)
            if what == "value":
                assert all(index < len(house.entries) for index in field["entries"])
                assert set(field["files"]) <= set(bundle), name
            else:
                assert field[what]["en"]
                assert field[what]["zh"]
                assert set(field) == {what}


def test_same_bundle_makes_the_same_bytes_whenever_it_is_read(house: House) -> None:
    data = pack(house.bundle())
    early, late = (
        artefacts_of(audit_bundle(data, house.manifest.digest, now=now))
        for now in (NOW, NOW + 3600)
    )
    assert early == late
    for name, content in early.items():
        if name.endswith(".json"):
            assert canonical_json(parse_canonical(content)) == content


def test_header_names_log_subject_and_verdict(files: Mapping[str, bytes], house: House) -> None:
    header = document(files, "model_card")["header"]
    assert header["audit"] == "verified"
    assert header["log"]["entries"] == len(house.entries)
    assert header["log"]["manifest"] == house.manifest.digest
    assert header["generated_at"] == audit_of(house).head_time


def test_artefact_of_a_false_log_says_that_its_audit_failed(house: House) -> None:
    files = house.bundle()
    place = next(name for name in files if name.startswith("sums/"))
    files[place] = bytes([files[place][0] ^ 1]) + files[place][1:]
    made = artefacts_of(audit_of(house, files))
    assert document(made, "model_card")["header"]["audit"] == "failed"
    page = next(data for name, data in made.items() if name.endswith("en.html"))
    assert b"Failed" in page


def test_model_document_that_is_missing_is_not_replaced_by_anything(house: House) -> None:
    files = {n: d for n, d in house.bundle().items() if not n.startswith("models/")}
    fields = document(artefacts_of(audit_of(house, files)), "model_card")["fields"]
    for name in ("weights_digest", "figures", "points"):
        assert "not_recorded" in fields[name]


def test_card_names_who_left_after_the_training_and_nobody_else() -> None:
    house = House(silos=4, rounds=1).run()
    assert fields_of_card(house)["left_since"]["value"] == []
    gone = house.names[3]
    identity = bytes.fromhex(house.manifest.member(gone).identity)
    body = IdentityRevoked(member=gone, identity=identity, reason="left", effective_at=START)
    index = house.append(COORDINATOR, body)
    house.checkpoint()
    left = fields_of_card(house)["left_since"]
    assert left["value"] == [{"partner": gone, "reason": "left"}]
    assert left["entries"] == [index]


def fields_of_card(house: House) -> Any:  # noqa: ANN401 - parsed JSON
    return document(artefacts_of(audit_of(house, house.bundle())), "model_card")["fields"]


def test_figures_of_the_card_are_those_that_were_published(files: Mapping[str, bytes]) -> None:
    rows = document(files, "model_card")["fields"]["figures"]["value"]
    compared = [row for row in rows if row["published"] not in {"–", "n/a"}]
    assert {row["figure"] for row in compared} >= {"auc", "ks", "slope", "in_the_large"}
    for row in compared:
        assert abs(float(row["value"]) - float(row["published"])) < 1e-4
        assert float(row["low"]) < float(row["value"]) < float(row["high"])


def test_statement_is_the_recomputed_one_with_its_cumulative_epsilon(
    files: Mapping[str, bytes], house: House
) -> None:
    fields = document(files, "privacy_statement")["fields"]
    (release,) = audit_of(house).releases
    assert release.statement is not None
    assert fields["epsilon"]["value"] == release.statement["epsilon"]
    headline = fields["headline"]["value"]["person_by_honest"]
    assert fields["cumulative"]["value"]["person"] == headline


def test_notice_has_every_reason_of_the_schema_and_names_no_partner(
    files: Mapping[str, bytes], house: House
) -> None:
    reasons = document(files, "decision_notice")["fields"]["reasons"]["value"]
    assert [one["code"] for one in reasons] == ["R01", "R03"]
    for name, content in files.items():
        if name.startswith("decision_notice"):
            assert not any(str(partner).encode() in content for partner in house.names)


def test_access_log_counts_batches_and_says_that_records_are_missing(house: House) -> None:
    assert (
        document(artefacts_of(audit_of(house)), "access_log")["fields"]["batches"]["value"]
        == []
    )
    busy = House(silos=3)
    busy.adopt()
    for second in (START, START + 7):
        busy.append(COORDINATOR, ScoreBatch(second=second, root=Digest("ab" * 32), count=3))
    busy.checkpoint()
    fields = document(artefacts_of(audit_of(busy)), "access_log")["fields"]
    assert [one["inquiries"] for one in fields["batches"]["value"]] == [3, 3]
    assert fields["inquiries"]["value"] == 6
    assert "not in the bundle" in fields["records"]["not_recorded"]["en"]


def inquiry(number: int) -> InquiryRecord:
    return InquiryRecord(
        request=RequestId(f"{number:032x}"),
        requester=PartnerId("silo-00"),
        roster_version=1,
        purpose=Purpose.JOINT_SCORE,
        model=Digest("ab" * 32),
        consents=f"{number:032x}:{'cd' * 32}",
        context=Digest(f"{number:064x}"),
        persons=1,
        began_ms=START * 1000,
        ended_ms=START * 1000 + 5,
        outcome="incomplete",
        responders=(Asked(member=PartnerId("silo-01"), status="silent"),),
        retry_of=None,
    )


@pytest.mark.parametrize("shown", [(0, 1), (1,), (1, 0)], ids=["all", "one", "out of order"])
def test_access_log_lists_records_that_are_proven_by_their_batch(
    shown: tuple[int, ...],
) -> None:
    busy = House(silos=3)
    busy.adopt()
    records = [record_bytes(inquiry(number)) for number in range(2)]
    batch = ScoreBatch(second=START, root=batch_root(records), count=2)
    entry = busy.append(COORDINATOR, batch)
    busy.checkpoint()
    order = shown if len(shown) > 1 else (0, 1)
    leaves = [
        Leaf(leaf_hash(records[number]), records[number] if number in shown else None)
        for number in order
    ]
    files = busy.bundle() | {f"inquiries/{START}.bin": encode_batch(leaves)}
    field = document(artefacts_of(audit_of(busy, files)), "access_log")["fields"]["records"]
    if order != (0, 1):
        assert "not_recorded" in field
        return
    assert field["entries"] == [entry]
    assert field["files"] == [f"inquiries/{START}.bin"]
    consents = [one["consents_hash"] for one in field["value"]]
    assert consents == [inquiry(number).consents for number in shown]


def test_bundle_without_its_manifest_makes_no_artefact(house: House) -> None:
    assert artefacts_of(audit_of(house, {})) == {}


def test_command_writes_every_artefact_and_the_verdict(
    house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "bundle.zip", tmp_path / "artefacts"
    path.write_bytes(pack(house.bundle()))
    words = ["artefacts", str(path), "--manifest", house.manifest.digest, "--out", str(out)]
    main(words)
    *written, _ = capsys.readouterr().out.splitlines()
    assert {Path(one) for one in written} == set(out.iterdir())
    assert len(written) == 3 * len(FIELDS)


# --- intervals --------------------------------------------------------------------------------


def drawn() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    eta = np.linspace(-4, 1, tables.BANDS)
    persons = np.full(tables.BANDS, 1500.0)
    bad = persons / (1 + np.exp(-eta))
    return np.stack([persons - bad, bad], axis=1), eta


@pytest.mark.parametrize("noise", [0.0, 12.0])
def test_intervals_are_those_of_a_simulation(noise: float) -> None:
    truth, eta = drawn()
    stream = np.random.default_rng(5)  # noqa: TID251 - a seeded stream
    seen: dict[str, list[float]] = {}
    for _ in range(400):
        table = stream.poisson(truth) + stream.normal(0, noise, truth.shape)
        weak = tables.weak_to_strong(table)
        for name, value in (
            ("auc", tables.auc(weak)),
            ("ks", tables.ks(weak)),
            ("in_the_large", tables.in_the_large(table, eta)),
            ("brier_banded", tables.brier(table, eta)),
        ):
            assert value is not None
            seen.setdefault(name, []).append(value)
    made = intervals_of(truth, eta, noise)
    for name, values in seen.items():
        one = made[name]
        assert one.high is not None
        assert one.low is not None
        half = (one.high - one.low) / 2
        assert half == pytest.approx(1.96 * float(np.std(values)), rel=0.2), name


def test_figure_that_is_not_defined_has_no_interval() -> None:
    made = intervals_of(np.zeros((tables.BANDS, 2)), np.zeros(tables.BANDS), 1.0)
    assert made["auc"].value is made["auc"].low is None


@given(st.floats(min_value=-1e6, max_value=1e9))
def test_band_never_says_the_count(count: float) -> None:
    low, _, high = band_of(count).partition(" to ")
    if high:
        assert int(high) >= 3 * int(low)
        assert int(low) <= count < int(high)
