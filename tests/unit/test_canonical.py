import hashlib

import pytest

from consortium.canonical import (
    Label,
    canonical_json,
    hash_with,
    lp,
    parse_canonical,
    u16,
    u32,
    u64,
)
from consortium.errors import DecodeError, DomainError

RFC_8785_STRING = "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/"
"""The string of RFC 8785, 3.2.2; its bytes are those of 3.2.4."""
RFC_8785_BYTES = bytes.fromhex("e282ac245c75303030665c6e4127425c225c5c5c5c5c222f")
RFC_8785_NUMBERS = b'{"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27]}'
RFC_8785_LITERALS = b'{"literals":[null,true,false]}'


def test_string_of_rfc_8785_has_the_published_bytes() -> None:
    assert canonical_json({"string": RFC_8785_STRING}) == b'{"string":"%s"}' % RFC_8785_BYTES


def test_keys_are_sorted_by_code_unit_and_space_is_dropped() -> None:
    value = {"b": [1, {"z": -3, "\r": "x"}], "1": True, "B": False, "": ()}
    assert canonical_json(value) == b'{"":[],"1":true,"B":false,"b":[1,{"\\r":"x","z":-3}]}'


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        float("nan"),
        None,
        2**53,
        -(2**53),
        {"\u00f6": 1},
        {1: "a"},
        {"a": [{"b": 0.5}]},
        "\ud800",
        b"bytes",
        {1, 2},
    ],
)
def test_value_without_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(DecodeError):
        canonical_json(value)


def test_value_nested_beyond_the_stack_is_refused() -> None:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(DecodeError):
        canonical_json(value)
    with pytest.raises(DecodeError):
        parse_canonical(b"[" * 100_000)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": 1}',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a":01}',
        b"[1.0]",
        b"[-0]",
        b"[1e3]",
        b"[NaN]",
        b"[null]",
        b'["\\u0041"]',
        b'["\xff"]',
        b'"\\ud800"',
        b"[1]\n",
        b"",
        b"[" + b"9" * 5000 + b"]",
        RFC_8785_NUMBERS,
        RFC_8785_LITERALS,
    ],
)
def test_second_way_to_write_a_value_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        parse_canonical(data)


def test_hash_opens_with_its_domain_line() -> None:
    expected = hashlib.sha256(b"riskweave/plan/v1\n" + b"ab" + b"c").hexdigest()
    assert hash_with(Label.PLAN, b"ab", b"c") == expected


def test_no_label_is_a_prefix_of_another() -> None:
    lines = [label.line for label in Label]
    assert len(set(lines)) == len(lines)
    assert all(line.startswith(b"riskweave/") and line.endswith(b"/v1\n") for line in lines)
    assert not any(a != b and a.startswith(b) for a in lines for b in lines)


def test_length_prefix_keeps_parts_apart() -> None:
    assert lp(b"ab") == b"\x00\x00\x00\x02ab"
    assert hash_with(Label.CODE, lp(b"ab"), lp(b"c")) != hash_with(
        Label.CODE, lp(b"a"), lp(b"bc")
    )


def test_unsigned_integers_are_big_endian_and_bounded() -> None:
    assert u16(258) + u32(1) + u64(2**64 - 1) == b"\x01\x02\x00\x00\x00\x01" + b"\xff" * 8
    for encode, bits in ((u16, 16), (u32, 32), (u64, 64)):
        for value in (-1, 1 << bits):
            with pytest.raises(DomainError):
                encode(value)
