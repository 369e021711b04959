"""Facts that no rule may see, and texts in which one could travel, do not reach a decision."""

import dataclasses
import json
import typing
from datetime import date
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consortium.credit.decision import decide
from consortium.credit.facts import DecisionInput, input_of, refuse_forbidden
from consortium.credit.verdict import Decision
from consortium.documents import parse_document, plain_of
from consortium.errors import DecodeError, DomainError, ForbiddenFieldError
from consortium.features.concepts import FORBIDDEN, GroupConcept
from tests.credit_house import INCOME, INPUT, RULES, case

PLAIN: dict[str, typing.Any] = json.loads(INPUT.to_bytes())


def leaves(kind: object, name: str = "") -> list[tuple[str, type]]:
    """Every field of a type, down to what is no type of ours."""
    if typing.get_origin(kind) in (typing.Union, tuple) or type(kind).__name__ == "UnionType":
        return [
            leaf
            for inner in typing.get_args(kind)
            if inner not in (type(None), Ellipsis)
            for leaf in leaves(inner, name)
        ]
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return [
            leaf
            for one in dataclasses.fields(kind)
            for leaf in leaves(hints[one.name], f"{name}.{one.name}".strip("."))
        ]
    return [(name, typing.cast("type", kind))]


def test_no_field_that_a_rule_sees_stands_for_a_forbidden_concept() -> None:
    for name, _ in leaves(DecisionInput):
        for part in name.split("."):
            refuse_forbidden(part)


def test_no_field_that_a_rule_sees_is_free_text() -> None:
    """A text is a member of a closed list, or has a form that leaves no room for a sentence."""
    texts = {name for name, kind in leaves(DecisionInput) if kind is str}
    others = {kind for _, kind in leaves(DecisionInput) if kind is not str}
    for kind in others:
        plain = getattr(kind, "__supertype__", kind)
        assert plain in (int, bool, date, str) or issubclass(plain, Enum), kind
    for name in texts:
        for proxy in ("a woman of 61 from the north", "民族", "x" * 65, "a\nb", "a b"):
            with pytest.raises((DomainError, DecodeError)):
                DecisionInput.from_bytes(planted(name, proxy))


def planted(path: str, text: str) -> bytes:
    plain = json.loads(INPUT.to_bytes())
    holder = plain
    *parents, last = path.split(".")
    for key in parents:
        holder = holder[key]
        holder = holder[0] if isinstance(holder, list) else holder
    assert last in holder, path
    holder[last] = text
    form = {"ensure_ascii": False, "sort_keys": True, "separators": (",", ":")}
    return json.dumps(plain, **form).encode()


FORBIDDEN_NAMES = [
    *FORBIDDEN,
    *(concept.value for concept in GroupConcept),
    *("gender", "maritalStatus", "applicant_sex", "SEX", "is-female", "dateOfBirth", "ageBand"),
    *("bloodType", "health_status", "IMEI", "gps", "contact_list_size", "union"),
    *("性别", "客户民族", "宗教信仰", "年龄段"),
]


@pytest.mark.parametrize("place", ["", "wish", "standing", "score", "standing.income"])
@pytest.mark.parametrize("name", FORBIDDEN_NAMES)
def test_forbidden_name_is_refused_wherever_it_stands_and_its_value_is_not_told(
    name: str, place: str
) -> None:
    plain = json.loads(INPUT.to_bytes())
    holder = plain
    for key in filter(None, place.split(".")):
        holder = holder[key]
        holder = holder[0] if isinstance(holder, list) else holder
    holder[name] = "secret value"
    with pytest.raises(ForbiddenFieldError) as error:
        input_of(plain)
    assert "secret value" not in str(error.value)
    assert name in str(error.value)


@given(st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=20))
def test_name_that_the_form_does_not_have_is_refused_too(name: str) -> None:
    plain = PLAIN | {name: 1}
    if name not in PLAIN:
        with pytest.raises((DecodeError, ForbiddenFieldError)):
            input_of(plain)


def test_request_of_the_right_form_is_read_and_decided() -> None:
    assert input_of(PLAIN) == INPUT
    assert input_of(plain_of(INPUT)) == INPUT


def test_fields_of_the_form_itself_are_not_mistaken_for_forbidden_ones() -> None:
    for name in ("usage", "stage", "package", "tenor_months", "message", "sextant", "average"):
        refuse_forbidden(name)


def test_decision_tells_codes_and_numbers_only() -> None:
    for name, kind in leaves(Decision):
        plain = getattr(kind, "__supertype__", kind)
        closed = plain in (int, bool, date) or issubclass(plain, Enum)
        named = name.split(".")[-1]
        assert closed or named in {"application", "input", "code", "documents", "route"}
    made = decide(case(eta=INPUT.score.eta if INPUT.score else 0), RULES)
    assert parse_document(Decision, made.to_bytes()) == made


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": 0},
        {"amount": 2**53},
        {"tenor_months": 601},
        {"dpd_now": -1},
        {"stage": 4},
        {"elsewhere_upper": -1},
        {"headroom": (1, 2, 3, 4)},
        {"headroom": (-1,) * 5},
        {"band": "4"},
        {"eta": 2**53},
        {"points": 1_001},
        {"decided_at": -1},
        {"decided_on": date(2026, 11, 19)},
        {"pack": "0" * 63},
        {"currency": "yuan"},
        {"income": dataclasses.replace(INCOME, latest_on=date(2026, 11, 27))},
        {"income": dataclasses.replace(INCOME, credits=(2**53, 1, 1))},
    ],
    ids=str,
)
def test_value_outside_its_bounds_is_refused_by_the_name_of_its_field(
    changes: dict[str, typing.Any],
) -> None:
    with pytest.raises(DomainError) as error:
        case(**changes)
    told = str(error.value)
    assert told
    assert not any(str(value) in told for value in changes.values() if value != 0)
