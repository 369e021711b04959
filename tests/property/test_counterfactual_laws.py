"""Counterfactuals: applied, they give what is told; and nothing cheaper would have."""

import itertools
import time
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consortium.credit.capacity import DueKind, Income, Obligation
from consortium.credit.counterfactual import Counterfactual, NoChange, counterfactual
from consortium.credit.decision import assess, decide
from consortium.credit.facts import DecisionInput, Flag
from consortium.credit.levers import DEFAULTS, beside_the_score, lever_of, options_of
from consortium.credit.policy import Lever, LeverKind
from consortium.credit.terms import Grade
from consortium.credit.tiers import Rules, check_rules
from consortium.credit.verdict import Decision, Outcome
from consortium.errors import DomainError
from consortium.features.concepts import Concept
from consortium.features.schema import parse_schema
from consortium.scoring.layout import LOGIT_LIMIT
from consortium.scoring.reasons import Case, Part, tables_of
from consortium.scoring.scorecard import cut_units, points
from tests.credit_house import INCOME, RULES, SCORE, case, catalogue, pack, under
from tests.reasons_house import FAMILIES, LATE, SCHEMA, TABLES, WEIGHTS

ALPHA = -34 * LATE // 10
LEVERS = (
    Lever(feature="late", kind=LeverKind.WITH_TIME, months=2, cost=1, max_steps=255),
    Lever(feature="worst", kind=LeverKind.NOW, months=0, cost=2, max_steps=2),
)
HOUSE: Rules = check_rules(pack("tw"), replace(RULES.policy, levers=LEVERS), catalogue())
OPTIONS = {"late": (2, True), "worst": (6, True), "bill": (1, None), "paid": (1, None)}
"""Thirds for one bin, and whether only downwards (or either way)."""


def clamped(logit: int) -> int:
    return max(-LOGIT_LIMIT, min(LOGIT_LIMIT, logit))


def eta_of(alpha: int, parts: dict[str, tuple[int, int, int]], codes: dict[str, int]) -> int:
    """From bins to log-odds as protocol 7.1 and 7.7 say, in plain words.

    ``parts``: slope, other holders, and what they sum up to, by family.
    """
    eta = alpha
    for family, (slope, others, elsewhere) in parts.items():
        own = clamped(
            sum(
                WEIGHTS[name][code]
                for name, code in codes.items()
                if SCHEMA.feature(name).family == family
            )
        )
        eta += slope * ((own + elsewhere) // (others + 1)) >> 32
    return eta


def answer(alpha: int, parts: dict[str, tuple[int, int, int]], codes: dict[str, int]) -> Case:
    made = []
    for family, (slope, others, elsewhere) in parts.items():
        own = eta_of(0, {family: (1 << 32, 0, 0)}, codes)
        made.append(Part(family, slope, own, own + elsewhere, others + 1))
    return Case(alpha=alpha, eta=eta_of(alpha, parts, codes), parts=tuple(made), codes=codes)


def asked(inputs: DecisionInput, eta: int) -> DecisionInput:
    return case(inputs, eta=eta, points=points(eta / 2**32), reasons=SCORE.reasons)


def outcome(inputs: DecisionInput) -> Decision:
    return decide(inputs, HOUSE)


def cheapest(  # noqa: C901 - five nested loops are the oracle
    inputs: DecisionInput,
    alpha: int,
    parts: dict[str, tuple[int, int, int]],
    codes: dict[str, int],
) -> tuple[int, int, int] | None:
    """Cost, changes and eta of the best choice, by asking the rules about every single one."""
    now = outcome(inputs)
    reach: dict[str, list[tuple[int, int]]] = {}
    for name, (cost, down) in OPTIONS.items():
        if codes.get(name):
            reach[name] = [
                (code, cost * abs(code - codes[name]))
                for code in range(1, 5)
                if code != codes[name]
                and not (down and code > codes[name])
                and not (name == "worst" and codes[name] - code > 2)
            ]
    best = None
    for applied in beside_the_score(inputs, HOUSE, 3):
        for count in range(4 - len(applied.moves)):
            for names in itertools.combinations(reach, count):
                for picks in itertools.product(*(reach[name] for name in names)):
                    new = codes | {
                        name: pick[0] for name, pick in zip(names, picks, strict=True)
                    }
                    eta = eta_of(alpha, parts, new)
                    key = (
                        applied.cost + sum(pick[1] for pick in picks),
                        len(applied.moves) + count,
                        eta,
                    )
                    if (best is None or key < best) and key[1] > 0:
                        (made,) = assess(asked(applied.inputs, eta), HOUSE)
                        better = now.outcome is not Outcome.APPROVE or made.grade < now.grade
                        if made.outcome is Outcome.APPROVE and better:
                            best = key
    return best


codes_of_persons = st.fixed_dictionaries(
    {
        **{name: st.integers(0, 4) for name in ("late", "worst", "months", "bill", "paid")},
        "kind": st.integers(0, 3),
        "shy": st.integers(0, 4),
        "mute": st.integers(0, 4),
    }
)
parts_of_persons = st.fixed_dictionaries(
    {
        family: st.tuples(
            st.integers(LATE // 2, 2 * LATE),
            st.integers(0, 2),
            st.integers(-2 * LATE, 2 * LATE),
        ).map(lambda one: one if one[1] else (one[0], 0, 0))
        for family in FAMILIES
    }
)


@settings(max_examples=25)
@given(
    st.integers(-3 * LATE, 2 * LATE),
    parts_of_persons,
    codes_of_persons.filter(lambda codes: all(codes[n] for n in ("late", "bill", "paid"))),
    st.sampled_from([900_000, 1_600_000, 6_000_000]),
    st.sampled_from([6, 12, 30, 40]),
    st.sampled_from([2_000_000, 11_000_000]),
)
def test_applied_it_gives_what_is_told_and_nothing_cheaper_does(  # noqa: PLR0917 - drawn
    alpha: int,
    parts: dict[str, tuple[int, int, int]],
    codes: dict[str, int],
    income: int,
    tenor: int,
    amount: int,
) -> None:
    found_case = answer(alpha, parts, codes)
    inputs = asked(
        case(
            under(HOUSE),
            income=replace(INCOME, credits=(income,) * 3),
            tenor_months=tenor,
            amount=amount,
        ),
        found_case.eta,
    )
    now = outcome(inputs)
    found = counterfactual(inputs, HOUSE, found_case, TABLES)
    expected = cheapest(inputs, alpha, parts, codes)
    if isinstance(found, NoChange):
        assert expected is None
        return
    assert (found.cost, len(found.moves), found.eta) == expected
    new = codes | {move.what: move.after for move in found.moves if move.what in codes}
    assert eta_of(alpha, parts, new) == found.eta
    again = outcome(asked(found.applied, found.eta))
    assert again.outcome is Outcome.APPROVE
    assert (again.grade, again.limit) == (found.decision.grade, found.decision.limit)
    if now.outcome is Outcome.APPROVE:
        assert now.grade is not None
        assert again.grade is not None
        assert again.grade < now.grade


def person(late: int = 4, **changes: object) -> tuple[DecisionInput, Case]:
    parts = dict.fromkeys(FAMILIES, (LATE, 0, 0))
    codes = {"late": late, "worst": 3, "months": 4, "bill": 3, "kind": 1, "paid": 2}
    found = answer(-LATE, parts, codes)
    return asked(case(under(HOUSE), **changes), found.eta), found


def test_declined_for_the_score_learns_which_own_items_would_help() -> None:
    inputs, found_case = person()
    assert outcome(inputs).outcome is Outcome.DECLINE
    found = counterfactual(inputs, HOUSE, found_case, TABLES)
    assert isinstance(found, Counterfactual)
    assert found.decision.outcome is Outcome.APPROVE
    assert {move.what for move in found.moves} <= {"late", "worst", "bill", "paid"}
    assert found.eta < cut_units("0.25")


def test_tenor_that_is_too_short_for_the_dues_is_stretched() -> None:
    inputs, found_case = person(
        late=1,
        income=Income(credits=(1_350_000,) * 3, latest_on=INCOME.latest_on),
        tenor_months=3,
        amount=1_000_000,
    )
    assert outcome(inputs).code == "R21"
    found = counterfactual(inputs, HOUSE, found_case, TABLES)
    assert isinstance(found, Counterfactual)
    assert {move.what for move in found.moves} <= {"tenor", "pay_off", "amount"}


def test_dearer_change_is_looked_at_if_it_leaves_room_for_two_more() -> None:
    """A quarter of tenor and a line paid off are cheaper than a year, but they are two."""
    parts = dict.fromkeys(FAMILIES, (LATE, 0, 0))
    codes = {"late": 2, "worst": 4, "months": 1, "bill": 3, "kind": 1, "paid": 1}
    found_case = answer(-7 * LATE // 4, parts, codes)
    loan = Obligation(kind=DueKind.TERM, scheduled=500_000, balance=1)
    card = Obligation(kind=DueKind.REVOLVING, scheduled=30_000, balance=100_000)
    inputs = asked(
        case(
            under(HOUSE),
            income=replace(INCOME, credits=(1_150_000,) * 3),
            tenor_months=5,
            amount=700_000,
            here=(loan,),
            elsewhere=(card,),
        ),
        found_case.eta,
    )
    found = counterfactual(inputs, HOUSE, found_case, TABLES)
    assert isinstance(found, Counterfactual)
    assert [move.what for move in found.moves] == ["tenor", "bill", "paid"]
    assert (found.cost, len(found.moves), found.eta) == cheapest(
        inputs, found_case.alpha, parts, codes
    )


def test_amount_outside_the_product_is_moved_inside() -> None:
    inputs, found_case = person(late=1, amount=10_000_001)
    found = counterfactual(inputs, HOUSE, found_case, TABLES)
    assert isinstance(found, Counterfactual)
    assert [(move.what, move.after) for move in found.moves] == [("amount", 10_000_000)]


@pytest.mark.parametrize(
    "changes",
    [
        {"flags": (Flag.FRAUD,)},
        {"income": None},
        {"dpd_now": 91},
        {"adult": False},
        {"headroom": (0,) * 5},
        {"product": "unheard_of"},
    ],
    ids=str,
)
def test_what_no_change_of_items_answers_promises_nothing(changes: dict[str, object]) -> None:
    inputs, found_case = person(**changes)
    found = counterfactual(inputs, HOUSE, found_case, TABLES, arrears_on=date(2026, 8, 31))
    assert found == NoChange(leaves_on=date(2027, 8, 31))


def test_cap_that_is_used_up_in_the_better_grade_is_not_promised() -> None:
    """The strongest grade's week is used up: a way to the next one is told instead."""
    inputs, found_case = person(headroom=(0, 10**12, 10**12, 10**12, 10**12))
    found = counterfactual(inputs, HOUSE, found_case, TABLES)
    assert isinstance(found, Counterfactual)
    assert found.decision.grade is not Grade.G1


def test_history_past_arrears_and_other_partners_are_never_a_lever() -> None:
    for concept in (
        Concept.HISTORY_LENGTH,
        Concept.ARREARS,
        Concept.INCOME,
        Concept.OCCUPATION,
        Concept.LINE_CLOSURE,
    ):
        assert concept not in DEFAULTS
    assert lever_of(SCHEMA.feature("months"), HOUSE.policy).kind is LeverKind.NO


def reachable(name: str, code: int) -> list[tuple[int, int, int]]:
    attribute = next(
        one for table in TABLES.values() for one in table.attributes if one.name == name
    )
    found = options_of(attribute, code, LATE, HOUSE.policy)
    return [(one.code, one.cost, one.months) for one in found]


def test_missing_value_is_neither_a_target_nor_something_to_improve() -> None:
    assert reachable("paid", 0) == []
    assert reachable("bill", 0) == []
    # The missing bin of "bill" is lighter than its third; it is no way out.
    assert reachable("bill", 3) == [(1, 2, 2), (2, 1, 1), (4, 1, 1)]


def test_steps_directions_and_costs_are_those_of_the_lever() -> None:
    assert reachable("late", 4) == [(1, 6, 6), (2, 4, 4), (3, 2, 2)]
    assert reachable("worst", 4) == [(2, 12, 0), (3, 6, 0)]
    assert reachable("late", 1) == []
    for unmoved in ("months", "kind", "shy", "mute"):
        assert reachable(unmoved, 1) == []


def test_case_of_another_answer_is_refused() -> None:
    inputs, found_case = person()
    with pytest.raises(DomainError):
        counterfactual(inputs, HOUSE, replace(found_case, eta=found_case.eta + 1), TABLES)


def test_twelve_attributes_of_ten_bins_are_searched_in_a_moment() -> None:
    feature = (
        '[[feature]]\nname = "a{n}"\nfamily = "f{f}"\nkind = "integer"\nunit = "x"\n'
        'concept = "utilisation"\nrange = [0, 100]\n'
        "edges = [10, 20, 30, 40, 50, 60, 70, 80, 90]\n"
        'direction = "up"\ndisclosure = "own"\nreason = "R03"\nreason_zh = "中"\n'
        'reason_en = "used"\n'
    )
    schema = parse_schema(
        'name = "wide"\nversion = 1\n[label]\nname = "bad"\ndefinition = "bad"\n'
        + "".join(feature.format(n=n, f=n % 3) for n in range(12)),
        source="wide",
    )
    weights = {f"a{n}": tuple(LATE * b * (n + 5) // 400 for b in range(11)) for n in range(12)}
    tables = tables_of(schema, weights, families=("f0", "f1", "f2"))
    codes = dict.fromkeys(weights, 10)
    parts = []
    for f in range(3):
        own = sum(weights[f"a{n}"][10] for n in range(12) if n % 3 == f)
        parts.append(Part(f"f{f}", LATE, own, own, 1))
    eta = ALPHA + sum(part.own for part in parts)
    found_case = Case(alpha=ALPHA, eta=eta, parts=tuple(parts), codes=codes)
    inputs = asked(under(HOUSE), eta)
    begin = time.process_time()
    found = counterfactual(inputs, HOUSE, found_case, tables)
    assert time.process_time() - begin < 0.5
    assert isinstance(found, Counterfactual)
    assert len(found.moves) == 3
