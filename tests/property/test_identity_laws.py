"""Laws of key shares, tokens and identifiers."""

import unicodedata

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from consortium.crypto.keys import Secret
from consortium.crypto.ristretto import (
    ORDER,
    Scalar,
    add,
    base_mult,
    hash_to_group,
    mult,
    scalar_add,
    scalar_from,
    scalar_mul,
    scalar_of,
)
from consortium.errors import DomainError, PersonError, ScoreRefusal
from consortium.identity import dleq
from consortium.identity.oprf import (
    blind,
    blind_many,
    combine_many,
    evaluate,
    sum_of,
    token,
    unblind_and_finalise,
)
from consortium.identity.person import PersonRule, canonical_number, person_input
from consortium.identity.shares import (
    commit,
    lagrange,
    public_share,
    share_at,
    threshold_of,
    verify_share,
    weighted_public,
)
from tests.identity_house import reason_of
from tests.secagg_house import secret_of

INTEGERS = st.integers(1, ORDER - 1)
INDICES = st.integers(1, 65_535)
SETS = st.lists(INDICES, min_size=1, max_size=5, unique=True).map(tuple)


def _polynomial(values: list[int]) -> list[Scalar]:
    return [scalar_of(value) for value in values]


@given(values=st.lists(INTEGERS, min_size=1, max_size=5), index=INDICES)
def test_share_is_the_polynomials_value_and_its_commitment_says_so(
    values: list[int], index: int
) -> None:
    share = share_at(_polynomial(values), index)
    assert share == scalar_of(sum(v * pow(index, k, ORDER) for k, v in enumerate(values)))
    partial = 0
    for k, value in enumerate(values):  # no sum on the way may be the identity either
        partial = (partial + value * pow(index, k, ORDER)) % ORDER
        assume(partial)
    partial = 0
    for value in reversed(values):
        partial = (partial * index + value) % ORDER
        assume(partial)
    commitments = commit(_polynomial(values))
    assert public_share(commitments, index) == base_mult(share)
    verify_share(share, commitments, index)
    wrong = scalar_add(share, scalar_of(1))
    assume(wrong != scalar_of(0))
    refused = reason_of(lambda: verify_share(wrong, commitments, index))
    assert refused is ScoreRefusal.PROOF


@given(indices=SETS, data=st.data())
def test_any_t_shares_make_the_key(indices: tuple[int, ...], data: st.DataObject) -> None:
    values = data.draw(
        st.lists(INTEGERS, min_size=len(indices), max_size=len(indices)), label="polynomial"
    )
    key = scalar_of(0)
    for index in indices:
        share = share_at(_polynomial(values), index)
        key = scalar_add(key, scalar_mul(lagrange(indices, index), share))
    assert key == scalar_of(values[0])


@given(data=st.data(), others=st.lists(INDICES, min_size=1, max_size=4, unique=True))
def test_fewer_than_t_shares_fit_every_key_equally(
    data: st.DataObject, others: list[int]
) -> None:
    """For t-1 shares and any key there is one polynomial: the shares say nothing of it."""
    shares = [scalar_of(data.draw(INTEGERS, label="share")) for _ in others]
    key = scalar_of(data.draw(INTEGERS, label="key"))
    probe = data.draw(INDICES.filter(lambda index: index not in others), label="probe")
    everything = (probe, *others)
    # The value at the probe that makes the key come out, whatever the shares are.
    known = scalar_of(0)
    for index, share in zip(others, shares, strict=True):
        known = scalar_add(known, scalar_mul(lagrange(everything, index), share))
    gap = (_integer(key) - _integer(known)) * pow(
        _integer(lagrange(everything, probe)), -1, ORDER
    )
    whole = scalar_add(known, scalar_mul(lagrange(everything, probe), scalar_of(gap)))
    assert whole == key


@settings(max_examples=15)
@given(data=st.data(), others=st.lists(INDICES, min_size=1, max_size=3, unique=True))
def test_view_of_fewer_than_t_holders_is_made_from_the_public_key_alone(
    data: st.DataObject, others: list[int]
) -> None:
    """A simulator that knows P and draws the t-1 shares gives every other public share."""
    values = [data.draw(INTEGERS, label="coefficient") for _ in range(len(others) + 1)]
    commitments = commit(_polynomial(values))
    probe = data.draw(INDICES.filter(lambda index: index not in others), label="probe")
    everything = (probe, *others)
    simulated = commitments[0]
    for index in others:
        share = share_at(_polynomial(values), index)
        assume(share != scalar_of(0))
        weight = scalar_mul(scalar_of(-1), lagrange(everything, index))
        simulated = add(simulated, base_mult(scalar_mul(weight, share)))
    scale = scalar_of(pow(_integer(lagrange(everything, probe)), -1, ORDER))
    assume(share_at(_polynomial(values), probe) != scalar_of(0))
    assert mult(scale, simulated) == public_share(commitments, probe)


def _integer(scalar: Scalar) -> int:
    return int.from_bytes(scalar, "little")


@settings(max_examples=15)
@given(
    inputs=st.lists(st.binary(min_size=0, max_size=80), min_size=1, max_size=3),
    count=st.integers(2, 6),
    data=st.data(),
)
def test_any_t_of_n_holders_give_the_same_token(
    inputs: list[bytes], count: int, data: st.DataObject
) -> None:
    threshold = threshold_of(count)
    polynomial = _polynomial([data.draw(INTEGERS) for _ in range(threshold)])
    expected = [token(x, mult(polynomial[0], hash_to_group(x))) for x in inputs]
    chosen = data.draw(st.permutations(range(1, count + 1)), label="S")[:threshold]
    indices = tuple(sorted(chosen))
    blinded = blind_many(inputs, secret_of(repr((inputs, indices))))
    shares = []
    for index in indices:
        key = scalar_mul(lagrange(indices, index), share_at(polynomial, index))
        assume(key != scalar_of(0))
        public = weighted_public(indices, index, base_mult(share_at(polynomial, index)))
        points = evaluate(blinded.points, key)
        proof = dleq.prove(key, public, blinded.points, points, entropy=secret_of("nonce"))
        dleq.verify(public, blinded.points, points, proof)
        shares.append(points)
    assert combine_many(inputs, blinded, shares) == expected


@settings(max_examples=15)
@given(x=st.binary(max_size=64), seed=st.binary(min_size=64, max_size=64), key=INTEGERS)
def test_one_input_alone_has_the_token_of_the_batch(x: bytes, seed: bytes, key: int) -> None:
    r = Secret(seed)
    assume(scalar_from(r) != scalar_of(0))
    point = blind(x, r)
    y = evaluate([point], scalar_of(key))
    element = mult(scalar_of(key), hash_to_group(x))
    assert unblind_and_finalise(x, r, sum_of(y)) == token(x, element)


@pytest.mark.parametrize(
    ("members", "threshold"), [(2, 2), (3, 2), (4, 3), (5, 4), (6, 4), (10, 7), (50, 34)]
)
def test_threshold_is_two_thirds_rounded_up(members: int, threshold: int) -> None:
    assert threshold_of(members) == threshold


def test_indices_that_make_no_key_are_errors() -> None:
    for indices, own in (((1, 1), 1), ((1, 2), 3), ((0, 1), 1), ((1, 65_536), 1)):
        with pytest.raises(DomainError):
            lagrange(indices, own)
    with pytest.raises(DomainError):
        threshold_of(1)
    for index in (0, 65_536):  # at zero lies the key itself
        with pytest.raises(DomainError):
            share_at([scalar_of(3), scalar_of(4)], index)
        with pytest.raises(DomainError):
            public_share(commit([scalar_of(3)]), index)


RULES = st.sampled_from(["cn/national_id", "tw/national_id", "e164/phone", "de/record"])


@given(rule=RULES, text=st.text(max_size=40))
def test_any_text_is_refused_or_has_one_stable_form(rule: str, text: str) -> None:
    form = PersonRule.parse(rule)
    try:
        number = canonical_number(form, text)
    except PersonError as error:
        assert str(error) == f"an identifier is not of the form {rule}"  # noqa: PT017
        return
    assert canonical_number(form, number) == number
    assert person_input(form, number) == person_input(form, text)
    assert number.isascii()
    assert number == number.upper()


@given(
    number=st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=1, max_size=20),
    gaps=st.lists(
        st.sampled_from([" ", "-", ".", "", "\u3000", "\u2013"]), min_size=20, max_size=20
    ),
    wide=st.booleans(),
)
def test_separators_case_and_width_do_not_matter(
    number: str,
    gaps: list[str],
    wide: bool,  # noqa: FBT001 - drawn
) -> None:
    form = PersonRule.parse("de/record")
    typed = "".join(a + b for a, b in zip(number.lower(), gaps, strict=False))
    if wide:
        typed = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in typed)
        assert unicodedata.normalize("NFKC", typed) != typed
    assert canonical_number(form, typed) == number


@given(
    digits=st.text("0123456789", min_size=9, max_size=9),
    place=st.integers(0, 8),
    by=st.integers(1, 9),
)
def test_one_wrong_digit_of_a_chinese_number_is_found(digits: str, place: int, by: int) -> None:
    form = PersonRule.parse("cn/national_id")
    weights = [2 ** (17 - i) % 11 for i in range(17)]
    head = f"1{digits[:5]}19900101{digits[5:8]}"
    check = "10X98765432"[sum(int(d) * w for d, w in zip(head, weights, strict=True)) % 11]
    number = head + check
    assert canonical_number(form, number) == number
    places = [1, 2, 3, 4, 5, 14, 15, 16, 16]
    at = places[place]
    wrong = number[:at] + str((int(number[at]) + by) % 10) + number[at + 1 :]
    with pytest.raises(PersonError):
        canonical_number(form, wrong)
