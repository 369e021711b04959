import re
from pathlib import Path

import pytest

from consortium.credit.education import CODES, CONCEPTS, modules_for
from consortium.credit.education_texts import MODULES, Module, Topic
from consortium.errors import DomainError
from consortium.features.concepts import FORBIDDEN, Concept
from consortium.features.schema import Schema, parse_schema
from consortium.scoring.reasons import REMOTE

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = sorted(ROOT.glob("examples/*/schema.toml"))
_HAN = re.compile(r"[\u4e00-\u9fff]")


def schema_of(path: Path) -> Schema:
    return parse_schema(path.read_text(encoding="utf-8"), source=str(path))


def sentences(text: str, ends: str) -> list[str]:
    return [part for part in re.split(f"[{ends}]", text) if part.strip()]


@pytest.mark.parametrize("module", MODULES.values(), ids=lambda one: one.topic)
def test_english_sentences_have_at_most_twenty_five_words_on_average(module: Module) -> None:
    parts = [part for text in module.en for part in sentences(text, ".?!:")]
    words = [len(part.split()) for part in parts]
    assert sum(words) / len(words) <= 25
    assert max(words) <= 35


@pytest.mark.parametrize("module", MODULES.values(), ids=lambda one: one.topic)
def test_chinese_sentences_have_at_most_forty_characters_on_average(module: Module) -> None:
    parts = [part for text in module.zh for part in sentences(text, "。?!")]
    lengths = [len(re.sub(r"\s", "", part)) for part in parts]
    assert sum(lengths) / len(lengths) <= 40
    assert max(lengths) <= 60


@pytest.mark.parametrize("module", MODULES.values(), ids=lambda one: one.topic)
def test_both_languages_say_the_same_number_of_things(module: Module) -> None:
    assert len(module.zh) == len(module.en) >= 5
    assert all(_HAN.search(text) for text in (module.title_zh, *module.zh))
    assert not any(_HAN.search(text) for text in (module.title_en, *module.en))
    assert all(text.endswith(".") for text in module.en)
    assert all(text.endswith("。") for text in module.zh)


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.parent.name)
def test_every_reason_code_of_a_shipped_schema_has_a_module(path: Path) -> None:
    schema = schema_of(path)
    codes = {feature.reason for feature in schema.features}
    assert codes
    for code in codes | set(CODES):
        found = modules_for([code], schema)
        assert found
        assert all(one.title_zh and one.title_en and one.zh and one.en for one in found)


def test_every_code_of_the_design_and_of_other_lenders_has_a_module() -> None:
    design = {
        *(f"R{number:02d}" for number in range(1, 13)),
        *(f"R{number}" for number in range(20, 28)),
        *("F1", "R31", "R32", "R33", "R34", "R35"),
    }
    assert set(CODES) == design
    assert {text.code for text in REMOTE.values()} <= design
    assert set(MODULES) == set(Topic)


def test_every_concept_has_a_module_so_that_own_codes_have_one() -> None:
    assert set(CONCEPTS) == set(Concept)


def test_modules_come_once_and_in_the_order_of_the_reasons() -> None:
    schema = schema_of(SCHEMAS[0])
    found = modules_for(["R21", "R01", "R31", "R20"], schema)
    assert [one.topic for one in found] == [Topic.BUDGET, Topic.PAYING]
    assert modules_for([], schema) == ()
    with pytest.raises(DomainError):
        modules_for(["R99"], schema)


def test_completion_of_a_module_has_no_column_in_any_schema() -> None:
    assert "education_completion" in FORBIDDEN
    assert not {concept for concept in Concept if "module" in concept or "learn" in concept}
