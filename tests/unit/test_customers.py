"""The table by token: what it holds, of whom, and that a look-up tells nobody from nobody."""

import csv
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
from numpy.random import Generator  # noqa: TID251 - the type of the tests' generator

from consortium.credit.attested import schema_lines
from consortium.credit.tables import Calibration
from consortium.crypto.keys import IdentityKey
from consortium.errors import AttestationError, ConfigurationError, DataError
from consortium.features.bins import public_bins
from consortium.features.schema import Schema, parse_schema
from consortium.identity.person import PersonRule, person_input
from consortium.ids import PartnerId, RunId
from consortium.scoring.layout import Layout, encode_holding
from consortium.scoring.premium import ATTESTATION
from consortium.scoring.scorecard import to_units
from coordinator.plans import PlanContext, parse_plan
from models.document import ModelDocument, version_of
from models.inference import Model
from models.partials import Joint, families_of
from models.spec import spec_of
from partner_node import customers
from partner_node.customer_index import Index16
from partner_node.customers import Persons, Reading, read_customers
from partner_node.people import People
from partner_node.score_table import ScoreTable
from partner_node.table import DataSource
from tests.joint_house import SCORING, House, _manifest, partial, secret
from tests.simulator import PLAN, SCHEMA

HOLDOUT = ("test", "0.25")
SCHEMA_OBJECT = parse_schema(SCHEMA, source="test")
RULE = PersonRule.parse("xx/record")
PEOPLE = People(lambda text: person_input(RULE, text), secret("local"))


def reading(
    directory: Path, rows: list[tuple[object, ...]], *, consent: bool = True
) -> Reading:
    with (directory / "t.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "bad", "agreed", "late"))
        writer.writerows(rows)
    source = DataSource(
        query="SELECT * FROM read_csv('t.csv', types={'id': 'VARCHAR', 'late': 'DOUBLE'})",
        person="id",
        label="bad",
        directory=directory,
        threads=1,
    )
    return Reading(
        source=source,
        schema=SCHEMA_OBJECT,
        families=("repayment",),
        people=PEOPLE,
        consent="agreed" if consent else None,
    )


def read(directory: Path, rows: list[tuple[object, ...]]) -> customers.Customers:
    return read_customers(reading(directory, rows), public_bins(SCHEMA_OBJECT), holdout=HOLDOUT)


def test_rows_without_a_label_are_customers_too(tmp_path: Path) -> None:
    found = read(tmp_path, [("A1", 0, "", 0), ("A2", "", "", 3), ("A3", 1, "", "")])
    assert found.labels.tolist() == [0, 255, 1]
    assert found.codes[:, 0].tolist() == [1, 4, 0]


def test_what_is_left_out_is_counted_by_reason_and_never_shown(tmp_path: Path) -> None:
    rows = [
        ("A1", 0, "", 0),
        ("a-1", 1, "", 1),  # the same person, written otherwise
        ("", 1, "", 1),
        ("A2!", 1, "", 1),
        ("A3", 1, "", "inf"),
        ("A4", 1, "", 0.5),
    ]
    found = read(tmp_path, rows)
    assert len(found.labels) == 1
    assert found.left_out == {
        customers.NO_PERSON: 1,
        customers.BAD_PERSON: 1,
        customers.INFINITE: 1,
        customers.NOT_WHOLE: 1,
        customers.DUPLICATE: 1,
    }


def test_identifiers_come_in_their_canonical_form(tmp_path: Path) -> None:
    persons = Persons(reading(tmp_path, [("a-1", 0, "", 0), ("A2!", 1, "", 1)]))
    assert [list(batch) for batch in persons.batches()] == [[person_input(RULE, "A1")]]
    assert dict(persons.faults) == {customers.BAD_PERSON: 1}


def test_column_of_consent_that_is_not_there_is_named(tmp_path: Path) -> None:
    made = reading(tmp_path, [("A1", 0, "", 0)])
    wrong = Reading(
        source=made.source,
        schema=made.schema,
        families=made.families,
        people=PEOPLE,
        consent="nowhere",
    )
    with pytest.raises((ConfigurationError, DataError), match="nowhere"):
        read_customers(wrong, public_bins(SCHEMA_OBJECT), holdout=HOLDOUT)


def test_index_finds_all_keys_and_no_other(rng: Generator) -> None:
    keys = rng.integers(0, 256, (5_000, 16), dtype=np.uint8)
    index = Index16(keys, np.arange(5_000))
    rows, held = index.find(keys)
    assert held.all()
    assert rows.tolist() == list(range(5_000))
    _, strangers = index.find(rng.integers(0, 256, (5_000, 16), dtype=np.uint8))
    assert not strangers.any()


def test_index_tells_keys_with_one_head_apart() -> None:
    keys = np.zeros((2, 16), dtype=np.uint8)
    keys[:, 15] = (1, 2)
    rows, held = Index16(keys, np.array([7, 9])).find(keys)
    assert (rows.tolist(), held.tolist()) == ([7, 9], [True, True])


def test_empty_index_holds_nobody_not_even_the_key_of_zeros() -> None:
    index = Index16(np.zeros((0, 16), dtype=np.uint8), np.zeros(0, dtype=np.int64))
    assert not index.find(np.zeros((3, 16), dtype=np.uint8))[1].any()


def table(tmp_path: Path, rows: list[tuple[object, ...]]) -> ScoreTable:
    house = House(tmp_path / "house", {})
    try:
        document = house.document
    finally:
        house.close()
    layout = Layout(families_of(document.model.spec))
    made = ScoreTable(
        document,
        layout,
        read(tmp_path, rows),
        PartnerId("bank_a"),
        version=version_of(document.to_bytes()),
    )
    tokens = np.frombuffer(
        b"".join(bytes([place + 1]) * 16 for place in range(made.persons)), dtype=np.uint8
    ).reshape(-1, 16)
    made.set_tokens(made.customers.subjects, tokens)
    return made


def test_lookup_gives_holders_their_partial_logit_and_strangers_zero(tmp_path: Path) -> None:
    made = table(tmp_path, [("A1", 0, "", 1), ("A2", 1, "", 4)])
    asked = np.stack([np.full(16, value, dtype=np.uint8) for value in (2, 99, 1)])
    found = made.lookup(asked)
    assert found.held.tolist() == [True, False, True]
    words = encode_holding(made.layout, found.logits, found.held, allowed=found.covered)
    logits = words.view(np.int64)[:, 0].tolist()
    assert logits == [partial("repayment", 1.0), 0, partial("repayment", 0.25)]


def lines_of(made: ScoreTable, token: int) -> list[tuple[str, int]]:
    """Every line that a look-up runs through."""
    seen: list[tuple[str, int]] = []

    def trace(frame: FrameType, event: str, _argument: object) -> object:
        if event == "line" and frame.f_code.co_name != "gc_callback":  # hypothesis times gc
            seen.append((frame.f_code.co_name, frame.f_lineno))
        return trace

    asked = np.full((1, 16), token, dtype=np.uint8)
    sys.settrace(trace)
    try:
        found = made.lookup(asked)
        encode_holding(made.layout, found.logits, found.held, allowed=found.covered)
    finally:
        sys.settrace(None)
    return seen


def test_strangers_and_holders_take_the_same_steps(tmp_path: Path) -> None:
    made = table(tmp_path, [("A1", 0, "", 1), ("A2", 1, "", 4)])
    lines_of(made, 2)  # what is computed once is computed here
    assert lines_of(made, 1) == lines_of(made, 99)


def test_study_takes_those_with_label_token_and_consent_in_an_order_of_its_own(
    tmp_path: Path,
) -> None:
    rows = [(f"A{number}", number % 2, f"c{number}", 1) for number in range(50)]
    rows += [("B1", "", "c", 1), ("B2", 1, "", 1)]
    made = table(tmp_path, rows)
    chosen = made.study(1_000).tolist()
    assert sorted(chosen) == list(range(50))
    assert chosen != sorted(chosen)


def test_study_never_takes_somebody_in_the_place_of_another(tmp_path: Path) -> None:
    # Protocol 4.2.2: without a person nobody else's row may come or go.
    rows = [(f"A{number}", number % 2, f"c{number}", 1) for number in range(200)]
    most, declared = 120, 180

    def chosen(part: list[tuple[object, ...]], directory: str) -> set[bytes]:
        (tmp_path / directory).mkdir()
        made = table(tmp_path / directory, part)
        found = made.study(most, declared=declared)
        return {made.customers.subjects[row].tobytes() for row in found}

    whole = chosen(rows, "whole")
    assert 0 < len(whole) <= most
    for number in range(0, 200, 29):
        left = chosen(rows[:number] + rows[number + 1 :], f"without {number}")
        assert left <= whole
        assert len(whole - left) <= 1
    (tmp_path / "undeclared").mkdir()
    undeclared = table(tmp_path / "undeclared", rows)
    with pytest.raises(DataError, match="studies_per_release = 120"):
        undeclared.study(most)


def test_study_leaves_out_who_has_withdrawn(tmp_path: Path) -> None:
    made = table(tmp_path, [(f"A{number}", 1, "c", 1) for number in range(9)])
    gone = frozenset({made.customers.subjects[4].tobytes(), b"somebody else's."})
    assert sorted(made.study(9, withdrawn=gone)) == [0, 1, 2, 3, 5, 6, 7, 8]


def test_what_would_be_attested_of_a_customer_is_in_no_answer_and_counts_for_an_applicant() -> (
    None
):
    reason = '[reason.R07]\nzh = "历史"\nen = "History"\n'
    lines = schema_lines(("attested_worst_dpd",), reason="R07")
    schema = parse_schema(f"{SCHEMA}\n{reason}\n{lines}", source="test")
    document = attested_document(schema)
    layout = Layout(families_of(document.model.spec))
    bank = PartnerId("bank_a")
    held = customers.Customers(
        features=schema.of_families(("repayment", ATTESTATION)),
        subjects=np.arange(32, dtype=np.uint8).reshape(2, 16),
        codes=np.array([[1, 1], [2, 5]], dtype=np.uint8),
        labels=np.zeros(2, dtype=np.uint8),
        holdout=np.zeros(2, dtype=np.bool_),
        references=None,
    )
    table = ScoreTable(document, layout, held, bank, version=version_of(document.to_bytes()))
    table.set_tokens(held.subjects, held.subjects)
    holding = table.lookup(held.subjects)
    place = layout.families.index(ATTESTATION)
    words = encode_holding(
        layout, dict(holding.logits), holding.held, allowed=holding.covered
    ).view(np.int64)
    assert not words[:, 2 * place : 2 * place + 2].any()
    assert words[:, 1].tolist() == [1, 1]
    # The own score of a customer has none of it, an applicant's who shows one has.
    rows = np.arange(2, dtype=np.int64)
    assert table.attested(rows).tolist() == [to_units(-1.0), to_units(2.0)]
    assert table.codes_of(rows)[:, 1].tolist() == [0, 0]
    plain = table.encode({"late": 0})
    shown = table.encode_shown(plain, {"attested_worst_dpd": "90+", "attested_months": "60+"})
    assert table.shown_logit(shown) == to_units(2.0)
    assert table.shown_logit(plain) is None
    with pytest.raises(AttestationError, match="signed history"):
        table.encode({"late": 0, "attested_worst_dpd": "90+"})
    assert (table.local(shown) - table.local(plain)).tolist() == [to_units(2.0)]
    assert table.own_of_codes(shown).covered[0, place]
    assert not table.own_of_codes(plain).covered[0, place]


def attested_document(schema: Schema) -> ModelDocument:
    """Three blocks; the bins of attestations weigh -1 to 2."""
    manifest = _manifest(schema.digest, IdentityKey.from_secret(secret("operator")), SCORING)
    members = tuple(
        replace(one, families=(*one.families, ATTESTATION)) if one.id == "bank_a" else one
        for one in manifest.members
    )
    block = f'name = "{ATTESTATION}"\nfamilies = ["{ATTESTATION}"]\nnormaliser = 2000\n'
    text = f"{PLAN}\n[[block]]\n{block}"
    plan = parse_plan(
        text,
        PlanContext(
            run=RunId("ab" * 16),
            manifest=replace(manifest, members=members),
            schema=schema,
            code=manifest.schema,
        ),
    )
    bins = public_bins(schema)
    spec = spec_of(plan, schema, bins)
    weights = [np.zeros(block.size) for block in spec.blocks]
    weights[2] = np.array([0.0, -1.0, 0.0, 0.5, 1.0, 2.0, 0.0])[: spec.blocks[2].size]
    model = Model(
        spec=spec,
        bins=bins.digest,
        weights=tuple(weights),
        calibration=(Calibration(alpha=0.0, beta=1.0),) * 3,
    )
    centres = {"repayment": "0.0", "billing": "0.0", ATTESTATION: "0.0"}
    return ModelDocument(
        manifest=manifest.digest,
        plan=plan,
        bins=bins,
        model=model,
        joint=Joint(base="-1.5", centres=centres),
        metrics={},
        statement={},
    )
