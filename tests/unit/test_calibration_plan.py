"""The plan of a head follows from the active model, the manifest and a few decisions."""

from dataclasses import replace

import pytest

from consortium.errors import ConfigurationError
from consortium.ids import Digest, PartnerId, RunId, digest_of
from consortium.manifest import Delivery, Disclosure, Manifest
from consortium.plan import BudgetShares, ModelKind
from coordinator.calibration import HeadSettings, head_plan
from coordinator.plans import PlanContext, parse_plan
from coordinator.releases import candidate_of
from models.document import ModelDocument, parse_model_document
from partner_node.plan_checks import check_plan
from tests.head_house import BASE as BASE_OF_PLAN
from tests.head_house import PLAN, StudyHouse, with_scoring
from tests.simulator import Consortium

BASE = digest_of(b"model")


@pytest.fixture(scope="module")
def released() -> tuple[Consortium, ModelDocument]:
    consortium = Consortium(rows=2000)
    candidate = candidate_of(consortium.train(), consortium.manifest)
    return consortium, parse_model_document(candidate.document, consortium.schema)


def _scoring(manifest: Manifest, **changes: object) -> Manifest:
    found = with_scoring(manifest)
    scoring = replace(found.policy.scoring, **changes)  # type: ignore[arg-type]
    return replace(found, policy=replace(found.policy, scoring=scoring))


def _parsed(consortium: Consortium, text: str, manifest: Manifest) -> object:
    context = PlanContext(
        run=RunId("1" * 32),
        manifest=manifest,
        schema=consortium.schema,
        code=Digest("c0" * 32),
    )
    return parse_plan(text, context)


def test_plan_has_the_models_families_start_and_holdout_and_the_banks_ask(
    released: tuple[Consortium, ModelDocument],
) -> None:
    consortium, document = released
    manifest = with_scoring(consortium.manifest)
    plan = _parsed(consortium, head_plan(BASE, document, manifest, HeadSettings()), manifest)
    assert (plan.model, plan.base) == (ModelKind.HEAD, BASE)
    assert plan.start == document.joint.base
    assert plan.holdout_salt == document.plan.holdout_salt
    assert plan.shares == BudgetShares(training="0.95", recalibration="0", overlap="0.05")
    (block,) = plan.blocks
    assert block.families == ("repayment", "billing")
    assert block.holders == ("bank_a", "bank_b")
    # A person is at one bank: family_m of the only family that both askers have.
    assert block.holders_per_person == 1
    assert block.normaliser == 2000


def test_askers_of_different_families_may_share_a_person(
    released: tuple[Consortium, ModelDocument],
) -> None:
    consortium, document = released
    manifest = with_scoring(consortium.manifest)
    settings = HeadSettings(askers=(PartnerId("bank_a"), PartnerId("shop_c")))
    plan = _parsed(consortium, head_plan(BASE, document, manifest, settings), manifest)
    assert plan.blocks[0].holders_per_person == 2


def test_normaliser_is_not_above_what_the_studies_may_hold(
    released: tuple[Consortium, ModelDocument],
) -> None:
    consortium, document = released
    manifest = _scoring(consortium.manifest, studies_per_release=300)
    plan = _parsed(consortium, head_plan(BASE, document, manifest, HeadSettings()), manifest)
    assert plan.blocks[0].normaliser == 600


def test_total_only_has_one_column(released: tuple[Consortium, ModelDocument]) -> None:
    consortium, document = released
    manifest = _scoring(consortium.manifest, disclosure=Disclosure.TOTAL_ONLY)
    plan = _parsed(consortium, head_plan(BASE, document, manifest, HeadSettings()), manifest)
    assert plan.blocks[0].families == ("total",)


def test_nobody_who_may_ask_is_no_head(released: tuple[Consortium, ModelDocument]) -> None:
    consortium, document = released
    manifest = _scoring(consortium.manifest, delivery=Delivery.PARTNER_LOCAL)
    with pytest.raises(ConfigurationError, match="nobody"):
        head_plan(BASE, document, manifest, HeadSettings())
    manifest = _scoring(
        consortium.manifest,
        delivery=Delivery.VIA_LICENSED_BUREAU,
        bureau=PartnerId("bank_b"),
    )
    with pytest.raises(ConfigurationError, match="bank_a may not ask"):
        head_plan(BASE, document, manifest, HeadSettings(askers=(PartnerId("bank_a"),)))
    plan = _parsed(consortium, head_plan(BASE, document, manifest, HeadSettings()), manifest)
    assert plan.blocks[0].holders == ("bank_b",)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('model = "head"', 'model = "scorecard"', "does not hold"),
        (f'base = "{BASE_OF_PLAN}"', "", "base and start"),
        ('start = "-1.0"', "", "base and start"),
        ('holders = ["bank_a", "bank_b"]', 'holders = ["bank_x"]', "may not ask"),
        ("[[block]]\n", "[[block]]\nholders_per_person = 0\n", "holders_per_person"),
    ],
)
def test_plan_file_of_a_head_is_read_strictly(old: str, new: str, told: str) -> None:
    house = StudyHouse(rows=50)
    assert old in PLAN
    with pytest.raises(ConfigurationError, match=told):
        _parsed(house, PLAN.replace(old, new), house.manifest)


def test_plan_that_the_coordinator_makes_is_one_that_nodes_accept(
    released: tuple[Consortium, ModelDocument],
) -> None:
    _, document = released
    house = StudyHouse(rows=50)
    text = head_plan(BASE, document, house.manifest, HeadSettings(epsilon="1"))
    session = house.nodes[PartnerId("bank_a")].session
    assert session is not None
    plan = _parsed(house, text, house.manifest)
    facts = replace(session._facts, code=Digest("c0" * 32))
    check_plan(facts, plan)  # type: ignore[arg-type]
