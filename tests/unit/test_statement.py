from dataclasses import replace

import pytest

from consortium.canonical import canonical_json
from consortium.ids import PartnerId
from consortium.plan import ReleaseKind, TrainingPlan
from consortium.privacy.accountant import epsilon_of_units
from consortium.privacy.mechanism import local_steps_units, mechanism_for
from consortium.privacy.statement import NOT_PROTECTED, spent, statement
from consortium.release import Attempt, Level, Outcome
from tests.unit.test_mechanism import LOCAL, PLAN

FOUR = tuple(PartnerId(f"bank-{letter}") for letter in "abcd")
SHARED = replace(PLAN, noise_mode="shared")
LEVELS = {level.value for level in Level}


def attempt(
    kind: ReleaseKind,
    number: int,
    *,
    partners: int = 4,
    lost: tuple[PartnerId, ...] = (),
    charged: bool = True,
) -> Attempt:
    return Attempt(
        kind=kind,
        round=number,
        attempt=1,
        roster=FOUR[:partners],
        charged=charged,
        outcome=Outcome.ABORTED if lost else Outcome.SUMMED,
        missing=lost,
        reasons=("R16",) * len(lost),
    )


RUN = (
    *(attempt(ReleaseKind.GRADIENT, number) for number in range(1, 51)),
    attempt(ReleaseKind.GRADIENT, 51, lost=(FOUR[3],)),
    *(attempt(ReleaseKind.GRADIENT, number, partners=3) for number in range(51, 61)),
    attempt(ReleaseKind.RECALIBRATION, 1, partners=3),
    attempt(ReleaseKind.EVALUATION, 1, partners=3),
)


def made(plan: TrainingPlan, attempts: tuple[Attempt, ...] = RUN) -> dict[str, object]:
    return statement(plan, attempts, width=195, grid=0)


def at(document: dict[str, object], *path: str) -> object:
    value: object = document
    for name in path:
        assert isinstance(value, dict)
        value = value[name]
    return value


def test_figures_are_those_of_the_charges() -> None:
    document = made(SHARED)
    gradient = [
        mechanism_for(SHARED, ReleaseKind.GRADIENT, width=195, partners=partners)
        for partners in (4, 3)
    ]
    last = mechanism_for(SHARED, ReleaseKind.RECALIBRATION, width=195, partners=3)
    for level in Level:
        units = [one.units(person=True, level=level) for one in (*gradient, last)]
        total = 51 * units[0] + 10 * units[1] + units[2]
        expected = f"{epsilon_of_units(total, 1e-6):.4f}"
        assert (
            at(document, "epsilon", "training", "by_honest", "person", level.value) == expected
        )
    claimed = at(document, "epsilon", "training", "by_honest", "person", "claimed")
    assert at(document, "epsilon", "training", "person") == claimed
    assert float(str(claimed)) <= 1.0
    cost = spent(SHARED, RUN, width=195, grid=0)
    assert at(document, "epsilon", "training", "person_units") == cost.training_person
    assert cost.holdout_record < cost.holdout_person


def test_three_epsilons_and_the_worst_stand_beside_each_epsilon() -> None:
    document = made(SHARED)
    for scope in ("training", "holdout"):
        found = at(document, "epsilon", scope, "by_honest")
        assert isinstance(found, dict)
        assert set(found) == {"record", "person", "record_replace_one", "person_replace_one"}
        assert all(set(figures) == LEVELS for figures in found.values())
    headline = at(document, "headline", "person_by_honest")
    assert isinstance(headline, dict)
    figures = {name: float(text) for name, text in headline.items()}
    assert set(figures) == LEVELS
    assert figures["largest"] >= max(figures.values())
    assert figures["half_collude"] <= figures["claimed"] <= 1.0
    assert at(document, "headline", "person") == headline["claimed"]


@pytest.mark.parametrize(
    ("plan", "attempts", "words"),
    [
        (PLAN, RUN, "none: every partner adds noise that suffices alone"),
        (SHARED, RUN, "at least 2 of 3, 2 of 4 in a roster do not collude"),
        (SHARED, (), "at least 0.5 in a roster do not collude"),
        (
            SHARED,
            (attempt(ReleaseKind.GRADIENT, 1, partners=2),),
            "secure aggregation protects from the coordinator only",
        ),
        (
            SHARED,
            (*RUN, attempt(ReleaseKind.GRADIENT, 61, partners=2)),
            "1 of 2, 2 of 3, 2 of 4 in a roster do not collude; where they are two, nothing",
        ),
    ],
)
def test_trust_is_one_sentence_for_each_mode(
    plan: TrainingPlan, attempts: tuple[Attempt, ...], words: str
) -> None:
    assert words in str(made(plan, attempts)["trust"])


def test_own_noise_has_one_figure_whoever_colludes() -> None:
    figures = at(made(PLAN), "headline", "person_by_honest")
    assert isinstance(figures, dict)
    assert len(set(figures.values())) == 1
    rosters = made(PLAN)["rosters"]
    assert isinstance(rosters, list)
    assert {one["honest"] for one in rosters} == {1}


def test_rosters_blocks_and_assumptions_are_told() -> None:
    document = made(SHARED)
    assert document["rosters"] == [
        {"partners": 3, "honest": 2, "attempts": 12},
        {"partners": 4, "honest": 2, "attempts": 51},
    ]
    blocks = document["blocks"]
    assert isinstance(blocks, list)
    assert [one["holders_per_person"] for one in blocks] == [2, 2]
    bounded = replace(PLAN.blocks[0], holders_per_person=1)
    stated = made(replace(SHARED, blocks=(bounded, PLAN.blocks[1])))["blocks"]
    assert isinstance(stated, list)
    assert [one["holders_per_person"] for one in stated] == [1, 2]
    assert (document["honest_fraction"], document["noise_mode"]) == ("0.5", "shared")
    assert document["delta_times_rows"] == "0.01"
    assert document["not_protected"] == list(NOT_PROTECTED)


def test_aborted_attempt_is_charged_and_told() -> None:
    document = made(SHARED)
    aborted = at(document, "attempts", "aborted")
    assert isinstance(aborted, list)
    assert [(one["missing"], one["reasons"]) for one in aborted] == [(["bank-d"], ["R16"])]
    without = tuple(one for one in RUN if one.outcome is Outcome.SUMMED)
    more = spent(SHARED, RUN, width=195, grid=0).training_person
    assert more > spent(SHARED, without, width=195, grid=0).training_person


def test_attempt_that_ended_before_any_upload_is_told_and_not_charged() -> None:
    early = attempt(ReleaseKind.GRADIENT, 61, lost=(FOUR[2],), charged=False)
    before, after = made(SHARED), made(SHARED, (*RUN, early))
    for field in ("epsilon", "headline", "charges", "rosters"):
        assert before[field] == after[field]
    aborted = at(after, "attempts", "aborted")
    assert isinstance(aborted, list)
    assert [one["charged"] for one in aborted] == [True, False]


def test_charges_add_up_by_purpose_and_roster() -> None:
    charges = made(SHARED)["charges"]
    assert isinstance(charges, list)
    assert [(one["purpose"], one["partners"], one["attempts"]) for one in charges] == [
        ("gradient", 4, 51),
        ("gradient", 3, 10),
        ("recalibration", 3, 1),
        ("evaluation", 3, 1),
    ]
    cost = spent(SHARED, RUN, width=195, grid=0)
    training = [one["person_units"] for one in charges if one["persons"] == "training"]
    assert sum(training) == cost.training_person


def test_local_steps_are_charged_once_beside_shared_histograms() -> None:
    plan = replace(LOCAL, noise_mode="shared")
    document = made(plan)
    charges = document["charges"]
    assert isinstance(charges, list)
    steps = local_steps_units(plan, person=True)
    assert [one["person_units"] for one in charges if one["purpose"] == "gradient"] == [
        steps,
        0,
    ]
    total = sum(one["person_units"] for one in charges if one["persons"] == "training")
    assert at(document, "epsilon", "training", "person_units") == total


def test_accountants_confirm_the_larger_claim() -> None:
    document = made(SHARED)
    found = document["accountants"]
    assert isinstance(found, dict)
    assert found["closed_form"] == at(document, "headline", "person")
    assert float(found["pld"]) == pytest.approx(float(found["closed_form"]), rel=2e-3)
    assert float(found["closed_form"]) <= float(found["rdp"])
    assert made(SHARED, ())["accountants"] == {}


def test_statement_has_canonical_bytes() -> None:
    assert canonical_json(made(SHARED)) == canonical_json(made(SHARED))
