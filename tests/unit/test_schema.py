import json
import tomllib
from pathlib import Path

import pytest

from consortium.canonical import Label, canonical_json, hash_with
from consortium.errors import SchemaError
from consortium.features.concepts import FORBIDDEN, Concept, GroupConcept
from consortium.features.schema import Kind, Schema, parse_schema

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

SMALL = """
name = "small"
version = 1
[label]
name = "bad"
definition = "90 days past due within 12 months"
[grid.share]
range = [0, 2]
edges = [0.5, 1.0]
[reason.R03]
zh = "已用额度占授信额度的比例较高"
en = "High share of the available limit is in use"
[[feature]]
name = "utilisation"
family = "lines"
kind = "number"
unit = "share"
concept = "utilisation"
grid = "share"
reason = "R03"
[[feature]]
name = "purpose"
family = "loan"
kind = "category"
unit = "code"
concept = "loan_purpose"
categories = ["home", "travel"]
reason = "R40"
reason_zh = "贷款用途"
reason_en = "Purpose of the loan"
[[group]]
name = "age"
concept = "age"
edges = [26, 51]
"""

SMALL_DIGEST = "8ceee83c117fa77e01cf400ffea30432546ad094bff8867d77f16553600a2c13"
TAIWAN_DIGEST = "d38b65b03bb18cd7a9b24074e9ced68fbd23d0442e7d0c4edeec80a8c8adafcf"


def parse(text: str = SMALL) -> Schema:
    return parse_schema(text, source="small.toml")


def test_digests_of_known_schemas_do_not_change() -> None:
    taiwan = (EXAMPLES / "taiwan" / "schema.toml").read_text(encoding="utf-8")
    assert parse().digest == SMALL_DIGEST
    assert parse_schema(taiwan, source="schema.toml").digest == TAIWAN_DIGEST


def test_digest_is_that_of_the_common_canonical_form() -> None:
    schema = parse()
    assert schema.digest == hash_with(Label.SCHEMA, canonical_json(schema.to_canonical()))


def test_digest_does_not_depend_on_comments_order_of_keys_or_shared_tables() -> None:
    written_out = SMALL.replace('grid = "share"', 'edges = ["0.5", "1.0"]\nrange = ["0", "2"]')
    written_out = written_out.replace("[grid.share]\nrange = [0, 2]\nedges = [0.5, 1.0]", "#")
    assert parse(written_out).digest == parse().digest


@pytest.mark.parametrize(
    ("old", "new"),
    [("0.5", "0.6"), ('"home"', '"house"'), ("within 12", "within 6"), ("26", "27")],
)
def test_digest_changes_with_edges_categories_label_and_groups(old: str, new: str) -> None:
    assert parse(SMALL.replace(old, new, 1)).digest != parse().digest


def test_schema_survives_its_canonical_form() -> None:
    schema = parse()
    wire = json.loads(canonical_json(schema.to_canonical()))
    assert Schema.from_canonical(wire) == schema


@pytest.mark.parametrize("concept", sorted(FORBIDDEN))
@pytest.mark.parametrize("role", ["feature", "group"])
def test_forbidden_concept_is_refused_in_any_role(concept: str, role: str) -> None:
    old = "utilisation" if role == "feature" else "age"
    text = SMALL.replace(f'concept = "{old}"', f'concept = "{concept}"')
    with pytest.raises(SchemaError, match=concept):
        parse(text)


@pytest.mark.parametrize("concept", sorted(GroupConcept))
def test_group_attribute_is_refused_as_a_feature(concept: str) -> None:
    with pytest.raises(SchemaError, match="never a feature"):
        parse(SMALL.replace('concept = "utilisation"', f'concept = "{concept}"'))


@pytest.mark.parametrize("name", ["SEX", "Religion", "health", "Age"])
def test_forbidden_column_under_an_allowed_concept_is_refused_by_its_name(name: str) -> None:
    text = SMALL.replace('name = "utilisation"', f'name = "{name}"').replace('"age"', '"sex"')
    with pytest.raises(SchemaError, match=name):
        parse(text)


def test_concept_that_nobody_listed_is_refused() -> None:
    with pytest.raises(SchemaError, match="'charm' is none of"):
        parse(SMALL.replace('concept = "utilisation"', 'concept = "charm"'))


@pytest.mark.parametrize("column", ["utilisation", "UTILISATION", "bad"])
def test_feature_that_is_also_a_group_or_the_label_is_refused(column: str) -> None:
    with pytest.raises(SchemaError, match="named 2 times"):
        parse(SMALL.replace('[[group]]\nname = "age"', f'[[group]]\nname = "{column}"'))


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("version = 1", "version = 1\nowner = 2", "owner"),
        ('reason = "R40"', 'reason = "R40"\nweight = 2', "weight"),
        ("definition =", "horizon = 1\ndefinition =", "horizon"),
        ("edges = [26, 51]", "edges = [26, 51]\nbands = 2", "bands"),
        ("range = [0, 2]", "range = [0, 2]\nbins = 4", "bins"),
        ("[reason.R03]", '[reason.R03]\nfr = "x"', "reason_fr"),
    ],
)
def test_unknown_key_is_refused_by_name(old: str, new: str, key: str) -> None:
    with pytest.raises(SchemaError, match=key):
        parse(SMALL.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("range = [0, 2]", "range = [2, 0]", "low < high"),
        ("range = [0, 2]", "range = [0]", "two decimals"),
        ("range = [0, 2]", 'range = [0, 2]\nscale = "log"', "low > 0 on a log scale"),
        ("edges = [0.5, 1.0]", "edges = [1.0, 0.5]", "rising cut points"),
        ("edges = [0.5, 1.0]", "edges = [0.5, 0.50]", "rising cut points"),
        ("edges = [0.5, 1.0]", "edges = [0, 1.0]", "above low"),
        ("edges = [0.5, 1.0]", "edges = [0.5, 3]", "up to high"),
        ("edges = [0.5, 1.0]", "edges = [5e-1]", "'5e-1' is not a decimal"),
        ("edges = [0.5, 1.0]", "edges = [inf]", "'inf' is not a decimal"),
        ("edges = [0.5, 1.0]", "edges = [true]", "'True' is not a decimal"),
        ("edges = [0.5, 1.0]", "edges = 0.5", "expected a list"),
        ('kind = "number"', 'kind = "integer"', "whole numbers only"),
        ('kind = "number"', 'kind = "text"', "'text' is none of number, integer, category"),
        ('kind = "number"', 'kind = "number"\ncategories = ["a"]', "not for kind number"),
        ('kind = "category"', 'kind = "category"\ndirection = "up"', "no range, edges or dir"),
        ('categories = ["home", "travel"]', "", "expected 1 to 253 texts"),
        ('categories = ["home", "travel"]', 'categories = ["a", "a"]', "different texts"),
        ('family = "lines"', 'family = "My Lines"', "'My Lines' is not of the form"),
        ('unit = "share"', 'unit = ""', "unit: expected a text"),
        ('unit = "share"', "", "unit: missing"),
        ('reason = "R40"', 'reason = "R21"', "'R21' is not of the form"),
        ('reason = "R40"', 'reason = "R03"', "given twice"),
        ('grid = "share"', 'grid = "other"', r"no \[grid.other\]"),
        ('grid = "share"', 'grid = "share"\nedges = [1]', "given twice"),
        ("version = 1", "version = 0", "positive whole number"),
        ("version = 1", 'version = "1"', "positive whole number"),
        ('name = "small"', 'name = "Small!"', "is not of the form"),
        ("edges = [26, 51]", "", "either values or edges"),
        ("edges = [26, 51]", "edges = [51, 26]", "rising cut points"),
        ("[label]", "label = 1\n[other]", "label: expected a table"),
        ("[[feature]]", "[[feature", "not TOML"),
    ],
)
def test_broken_rule_is_named_with_the_file(old: str, new: str, told: str) -> None:
    with pytest.raises(SchemaError, match=told) as refusal:
        parse(SMALL.replace(old, new, 1))
    assert "small.toml" in str(refusal.value)


def test_schema_without_features_is_refused() -> None:
    with pytest.raises(SchemaError, match="no \\[\\[feature\\]\\]"):
        parse(SMALL[: SMALL.index("[[feature]]")])


def test_one_reason_code_with_two_texts_is_refused() -> None:
    text = SMALL.replace("[reason.R03]", "[reason.R05]").replace('reason = "R03"', OWN_R40)
    with pytest.raises(SchemaError, match="R40 has two different texts"):
        parse(text)


OWN_R40 = 'reason = "R40"\nreason_zh = "用途"\nreason_en = "Another text"'


def test_range_too_narrow_for_a_grid_of_64_cells_is_refused() -> None:
    text = SMALL.replace("range = [0, 2]", "range = [1000000, 1000001]")
    with pytest.raises(SchemaError, match="rising cut points"):
        parse(text.replace("edges = [0.5, 1.0]", ""))


def test_features_are_found_by_family_in_schema_order() -> None:
    schema = parse()
    assert schema.families == ("lines", "loan")
    assert [feature.name for feature in schema.of_families({"loan", "lines"})] == [
        "utilisation",
        "purpose",
    ]
    assert schema.feature("purpose").kind is Kind.CATEGORY
    with pytest.raises(SchemaError, match="no family 'income'; it has lines, loan"):
        schema.of_families(["income"])
    with pytest.raises(SchemaError, match="no feature 'income'"):
        schema.feature("income")


def test_income_needs_a_consent_of_its_own_and_utilisation_does_not() -> None:
    income = parse(SMALL.replace('concept = "utilisation"', 'concept = "income"'))
    assert income.feature("utilisation").consent_needed == "INCOME_DATA"
    assert parse().feature("utilisation").consent_needed is None


def test_no_concept_is_both_allowed_and_forbidden() -> None:
    assert not set(Concept) & (set(FORBIDDEN) | set(GroupConcept))
    assert not set(GroupConcept) & set(FORBIDDEN)


@pytest.mark.parametrize("example", ["taiwan", "gmsc", "own_data"])
def test_shipped_schemas_parse_and_keep_people_out_of_the_model(example: str) -> None:
    text = (EXAMPLES / example / "schema.toml").read_text(encoding="utf-8")
    schema = parse_schema(text, source=example)
    features = {feature.name.lower() for feature in schema.features}
    assert not features & {"sex", "age", "education", "marriage", "dependents"}
    assert {group.concept for group in schema.groups} >= {GroupConcept.AGE}
    assert Schema.from_canonical(json.loads(canonical_json(schema.to_canonical()))) == schema
    assert len(tomllib.loads(text)["feature"]) == len(schema.features)
