"""Documents: the compiled way of writing is the plain rule, whatever stands in a field."""

from dataclasses import dataclass, field
from datetime import date
from enum import IntEnum, StrEnum
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consortium.canonical import canonical_json
from consortium.documents import LEFT_OUT, document_of, parse_document, plain_of
from consortium.errors import DecodeError
from consortium.ids import Digest


class Kind(StrEnum):
    """Texts."""

    ONE = "one"
    TWO = 'tw"o\n'


class Number(IntEnum):
    """Integers."""

    ONE = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """One field."""

    alone: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A field of every form that documents have; not in the order of their names."""

    text: str
    count: int
    sure: bool
    kind: Kind
    number: Number
    digest: Digest
    on: date
    data: bytes
    inner: Alone
    maybe: Alone | None
    perhaps: int | None
    several: tuple[Alone, ...]
    texts: tuple[str, ...]
    deep: tuple[tuple[int, ...], ...]
    aside: int | None = field(default=None, metadata={LEFT_OUT: True})
    later: Alone | None = field(default=None, metadata={LEFT_OUT: True})


class Named(str):
    """A text that is not quite one."""

    __slots__ = ()


TEXTS = st.text() | st.sampled_from(["\ud800", '"', "\\", "\x00", "\u2028", "é", "鑫"])
NUMBERS = st.integers(-(2**54), 2**54) | st.sampled_from([2**53, 2**53 - 1, -(2**53)])
ALONE = st.builds(Alone, alone=NUMBERS)
RIGHT = {
    "text": TEXTS,
    "count": NUMBERS,
    "sure": st.booleans(),
    "kind": st.sampled_from(Kind),
    "number": st.sampled_from(Number),
    "digest": TEXTS.map(Digest),
    "on": st.dates(),
    "data": st.binary(max_size=9),
    "inner": ALONE,
    "maybe": st.none() | ALONE,
    "perhaps": st.none() | NUMBERS,
    "several": st.lists(ALONE, max_size=3).map(tuple),
    "texts": st.lists(TEXTS, max_size=3).map(tuple),
    "aside": st.none() | NUMBERS,
    "later": st.none() | ALONE,
    "deep": st.lists(st.lists(NUMBERS, max_size=2).map(tuple), max_size=2).map(tuple),
}
ODD = st.one_of(
    st.none(),
    st.floats(),
    st.booleans(),
    st.just(1.0),
    st.just(Named("one")),
    st.just([1, 2]),
    st.just({"é": 1}),
    st.just({"b": 1, "a": [date(2026, 1, 1)]}),
    st.sampled_from(["one", 1, Kind.ONE, Number.ONE, b"x", date(2026, 1, 1)]),
    st.just((1, "one", None)),
    ALONE,
)


@st.composite
def wholes(draw: st.DrawFn) -> Whole:
    fields = {name: draw(kind) for name, kind in RIGHT.items()}
    wrong = draw(st.sets(st.sampled_from(sorted(RIGHT)), max_size=2))
    return Whole(**cast("dict[str, object]", {**fields, **{name: draw(ODD) for name in wrong}}))  # type: ignore[arg-type]


@given(whole=wholes())
def test_what_is_written_is_the_canonical_json_of_the_plain_value(whole: Whole) -> None:
    try:
        expected = canonical_json(plain_of(whole))
    except DecodeError:
        with pytest.raises(DecodeError):
            document_of(whole)
    else:
        assert document_of(whole) == expected


@given(whole=st.builds(Whole, **RIGHT))
def test_what_was_written_is_read_as_it_was(whole: Whole) -> None:
    try:
        data = document_of(whole)
    except DecodeError:  # a lone surrogate or a large integer
        return
    assert parse_document(Whole, data) == whole
    assert (b'"later"' in data) == (whole.later is not None)


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        (
            '"several":[{"alone":2},{"alone":3}]',
            '"several":[{"alone":2},{"alone":"3"}]',
            "Whole.several[1].alone: expected int, seen str",
        ),
        (
            '"maybe":[]',
            '"maybe":[{"alone":1},{"alone":2}]',
            "Whole.maybe: 2 values for an optional field",
        ),
        ('"on":"2026-01-02"', '"on":"20260102"', "Whole.on: '20260102' is not written as"),
        ('"deep":[[1],[2]]', '"deep":[[1],2]', "Whole.deep[1]: expected a list, seen int"),
        (
            '"inner":{"alone":1}',
            '"inner":{"alone":1,"other":1}',
            "Whole.inner: unknown or missing fields other",
        ),
    ],
)
def test_a_misread_value_is_told_with_its_place(was: str, becomes: str, said: str) -> None:
    whole = Whole(
        text="",
        count=0,
        sure=True,
        kind=Kind.ONE,
        number=Number.ONE,
        digest=Digest("a"),
        on=date(2026, 1, 2),
        data=b"",
        inner=Alone(alone=1),
        maybe=None,
        perhaps=None,
        several=(Alone(alone=2), Alone(alone=3)),
        texts=(),
        deep=((1,), (2,)),
    )
    text = document_of(whole).decode()
    assert was in text
    with pytest.raises(DecodeError) as caught:
        parse_document(Whole, text.replace(was, becomes).encode())
    assert str(caught.value).startswith(said)
