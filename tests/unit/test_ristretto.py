"""The group's one binding: RFC vectors, and every return code looked at (protocol 6.2, 6.7)."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from consortium.crypto.keys import Secret
from consortium.crypto.ristretto import (
    IDENTITY,
    ORDER,
    Point,
    Scalar,
    add,
    add_each,
    base_mult,
    expand,
    hash_to_group,
    hash_to_scalar,
    mult,
    mult_each,
    mult_pairs,
    parse_point,
    parse_scalar,
    scalar_add,
    scalar_from,
    scalar_invert,
    scalar_invert_each,
    scalar_mul,
    scalar_of,
    scalar_stream,
    scalar_sub,
    split_points,
    sub,
    weighted_sum,
)
from consortium.errors import DomainError, ScoreRefusal
from consortium.identity.dleq import composite, prove_with, verify
from consortium.identity.oprf import blind, evaluate, finalise, unblind_and_finalise
from tests.identity_house import reason_of

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "rfc9497.json").read_text())
SUITES = VECTORS["suites"]
CASES = [
    pytest.param(suite, vector, id=f"mode{suite['mode']}-{number}")
    for suite in SUITES
    for number, vector in enumerate(suite["vectors"], 1)
]
G = base_mult(scalar_of(1))
NOT_ON_THE_CURVE = bytes.fromhex("01" + "00" * 31)
NOT_CANONICAL = (2**255 - 19).to_bytes(32, "little")


def _context(suite: dict[str, int]) -> bytes:
    return b"OPRFV1-" + bytes([suite["mode"]]) + b"-ristretto255-SHA512"


def _hex_list(text: str) -> list[bytes]:
    return [bytes.fromhex(part) for part in text.split(",")]


@pytest.mark.parametrize("suite", SUITES, ids=["oprf", "voprf"])
def test_keys_of_rfc_9497_are_derived_to_the_byte(suite: dict[str, str]) -> None:
    info = bytes.fromhex(suite["keyInfo"])
    derived = hash_to_scalar(
        bytes.fromhex(suite["seed"]),
        len(info).to_bytes(2, "big"),
        info,
        b"\x00",
        dst=b"DeriveKeyPair" + _context(suite),  # type: ignore[arg-type]
    )
    assert derived.hex() == suite["skSm"]
    assert base_mult(derived).hex() == suite.get("pkSm", base_mult(derived).hex())


@pytest.mark.parametrize(("suite", "vector"), CASES)
def test_blinding_evaluation_and_output_are_those_of_rfc_9497(
    suite: dict[str, str], vector: dict[str, str]
) -> None:
    key = Scalar(bytes.fromhex(suite["skSm"]))
    context = _context(suite)  # type: ignore[arg-type]
    inputs, blinds = _hex_list(vector["Input"]), _hex_list(vector["Blind"])
    points = [
        mult(Scalar(r), hash_to_group(x, context=context))
        for x, r in zip(inputs, blinds, strict=True)
    ]
    assert points == _hex_list(vector["BlindedElement"])
    evaluated = evaluate(points, key)
    assert evaluated == _hex_list(vector["EvaluationElement"])
    outputs = [
        finalise(x, mult(scalar_invert(Scalar(r)), y))
        for x, r, y in zip(inputs, blinds, evaluated, strict=True)
    ]
    assert outputs == _hex_list(vector["Output"])
    if suite["mode"] == 1:  # type: ignore[comparison-overlap]
        # The product's own calls use the verifiable mode's context.
        wide = [Secret(r + bytes(32)) for r in blinds]
        assert [blind(x, r) for x, r in zip(inputs, wide, strict=True)] == points
        tokens = [
            unblind_and_finalise(x, r, y)
            for x, r, y in zip(inputs, wide, evaluated, strict=True)
        ]
        assert tokens == [output[:16] for output in outputs]


@pytest.mark.parametrize(
    ("suite", "vector"), [case for case in CASES if "mode1" in str(case.id)]
)
def test_proofs_of_rfc_9497_are_made_to_the_byte_and_verify(
    suite: dict[str, str], vector: dict[str, dict[str, str]]
) -> None:
    key, public = Scalar(bytes.fromhex(suite["skSm"])), Point(bytes.fromhex(suite["pkSm"]))
    points = _hex_list(vector["BlindedElement"])  # type: ignore[arg-type]
    evaluated = _hex_list(vector["EvaluationElement"])  # type: ignore[arg-type]
    nonce = Scalar(bytes.fromhex(vector["Proof"]["r"]))
    proof = prove_with(key, public, composite(public, points, evaluated), nonce)
    assert proof.hex() == vector["Proof"]["proof"]
    verify(public, points, evaluated, proof)


def test_expand_message_is_that_of_rfc_9380() -> None:
    # RFC 9380, K.3 (SHA-512): the vectors are of 32 bytes, ours of 64; the length is hashed,
    # so a formula of the RFC's text with hashlib is compared instead.
    import hashlib  # noqa: PLC0415 - the oracle of this test alone

    tag = b"QUUX-V01-CS02-with-expander-SHA512-256"
    prime = tag + bytes([len(tag)])
    first = hashlib.sha512(bytes(128) + b"abc" + b"\x00\x40" + b"\x00" + prime).digest()
    assert expand((b"a", b"bc"), tag) == hashlib.sha512(first + b"\x01" + prime).digest()
    with pytest.raises(DomainError):
        expand((b"",), bytes(256))


@pytest.mark.parametrize(
    "data", [IDENTITY, NOT_ON_THE_CURVE, NOT_CANONICAL, b"\xff" * 32, b"", bytes(31), bytes(33)]
)
def test_point_that_is_none_or_the_identity_is_refused_on_parsing(data: bytes) -> None:
    assert reason_of(lambda: parse_point(data)) is ScoreRefusal.POINT


@pytest.mark.parametrize(
    "call",
    [
        lambda bad: mult(scalar_of(3), bad),
        lambda bad: mult_each(scalar_of(3), [G, bad]),
        lambda bad: mult_pairs([scalar_of(3), scalar_of(4)], [G, bad]),
        lambda bad: weighted_sum([scalar_of(3), scalar_of(4)], [G, bad]),
        lambda bad: add(G, bad),
        lambda bad: add(bad, G),
        lambda bad: sub(G, bad),
        lambda bad: add_each([G, G], [G, bad]),
        lambda bad: add_each([bad], [G]),
    ],
)
@pytest.mark.parametrize("bad", [NOT_ON_THE_CURVE, NOT_CANONICAL, bytes(31), bytes(33)])
def test_no_operation_takes_what_is_no_point(
    call: Callable[[bytes], object], bad: bytes
) -> None:
    assert reason_of(lambda: call(bad)) is ScoreRefusal.POINT


@pytest.mark.parametrize(
    "call",
    [
        lambda: mult(scalar_of(3), IDENTITY),
        lambda: mult(scalar_of(0), G),
        lambda: base_mult(scalar_of(0)),
        lambda: mult_each(scalar_of(3), [IDENTITY]),
        lambda: mult_pairs([scalar_of(3)], [IDENTITY]),
        lambda: weighted_sum([scalar_of(3)], [IDENTITY]),
    ],
)
def test_product_that_is_the_identity_is_refused(call: Callable[[], object]) -> None:
    assert reason_of(call) is ScoreRefusal.POINT


def test_sums_may_be_the_identity() -> None:
    assert sub(G, G) == IDENTITY
    assert add(G, IDENTITY) == G
    assert weighted_sum([], []) == IDENTITY


def test_scalars_are_integers_modulo_the_order() -> None:
    a, b = ORDER - 5, 2**200 + 9
    x, y = scalar_of(a), scalar_of(b)
    assert scalar_add(x, y) == scalar_of(a + b)
    assert scalar_sub(y, x) == scalar_of(b - a)
    assert scalar_mul(x, y) == scalar_of(a * b)
    assert scalar_invert(x) == scalar_of(pow(a, -1, ORDER))
    assert scalar_from(b"\xff" * 64) == scalar_of(2**512 - 1)
    assert mult(x, mult(scalar_invert(x), G)) == G


def test_inverses_of_many_are_those_of_each() -> None:
    scalars = scalar_stream(Secret(b"\x07" * 32), 9)
    assert len(set(scalars)) == 9
    for count in (0, 1, 2, 9):
        inverses = [scalar_invert(scalar) for scalar in scalars[:count]]
        assert scalar_invert_each(scalars[:count]) == inverses
    with pytest.raises(DomainError):
        scalar_invert_each([scalars[0], scalar_of(0)])
    with pytest.raises(DomainError):
        scalar_invert(scalar_of(0))


def test_scalar_that_is_not_reduced_is_refused() -> None:
    assert parse_scalar((ORDER - 1).to_bytes(32, "little")) == scalar_of(-1)
    for data in (ORDER.to_bytes(32, "little"), b"\xff" * 32, bytes(31)):
        assert reason_of(lambda data=data: parse_scalar(data)) is ScoreRefusal.MALFORMED
    with pytest.raises(DomainError):
        scalar_from(bytes(32))


def test_packed_points_of_another_length_are_refused() -> None:
    assert split_points(G + G) == [G, G]
    assert reason_of(lambda: split_points(G + b"\x00")) is ScoreRefusal.MALFORMED
