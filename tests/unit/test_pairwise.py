import numpy as np
import pytest

from consortium.crypto.keys import AgreementKey, hkdf
from consortium.crypto.pairwise import (
    OwnKeys,
    PeerKeys,
    apply_masks,
    ephemeral_key,
    pair_key,
)
from consortium.crypto.stream import WordStream, key_stream_words
from consortium.errors import DomainError, RefusalCode, RefusalError, ShapeError
from consortium.ids import PartnerId
from tests.secagg_house import digest, secret_of

A, B, C = PartnerId("bank-a"), PartnerId("bank-b"), PartnerId("c")
RCTX, CTX = digest("rctx"), digest("ctx")


def key_of(name: str) -> AgreementKey:
    return AgreementKey.from_secret(secret_of(name))


def own(name: PartnerId, fresh: str = "e ", lasting: str = "x ") -> OwnKeys:
    return OwnKeys(
        member=name, ephemeral=key_of(fresh + name), agreement=key_of(lasting + name)
    )


def public(keys: OwnKeys) -> PeerKeys:
    return PeerKeys(
        member=keys.member,
        ephemeral=keys.ephemeral.public,
        agreement=keys.agreement.public,
    )


def test_both_sides_make_the_same_key() -> None:
    mine = pair_key(own(A), public(own(B)), joined=RCTX).expose()
    assert pair_key(own(B), public(own(A)), joined=RCTX).expose() == mine
    assert pair_key(own(A), public(own(C)), joined=RCTX).expose() != mine


@pytest.mark.parametrize(
    ("peer", "joined"),
    [
        (own(B, fresh="other "), RCTX),  # agreement keys alone do not open it
        (own(B, lasting="other "), RCTX),  # nor one-time keys alone
        (own(B), digest("another rctx")),
    ],
)
def test_key_needs_both_secrets_and_the_joined_context(peer: OwnKeys, joined: str) -> None:
    usual = pair_key(own(A), public(own(B)), joined=RCTX).expose()
    assert pair_key(own(A), public(peer), joined=joined).expose() != usual


def test_key_is_bound_to_the_names() -> None:
    renamed = PeerKeys(
        member=C, ephemeral=own(B).ephemeral.public, agreement=own(B).agreement.public
    )
    usual = pair_key(own(A), public(own(B)), joined=RCTX).expose()
    assert pair_key(own(A), renamed, joined=RCTX).expose() != usual


def test_one_time_key_is_that_of_seed_and_context() -> None:
    found = ephemeral_key(secret_of("seed"), CTX)
    again = ephemeral_key(secret_of("seed"), CTX)
    assert found.public == again.public
    derived = hkdf(secret_of("seed"), bytes.fromhex(CTX), b"riskweave/eph/v1")
    assert found.public == AgreementKey.from_secret(derived).public
    assert found.public != ephemeral_key(secret_of("seed"), digest("other")).public
    assert found.public != ephemeral_key(secret_of("other"), CTX).public


@pytest.mark.parametrize("field", ["ephemeral", "agreement"])
def test_key_of_small_order_is_refused_r17(field: str) -> None:
    keys = {"ephemeral": own(B).ephemeral.public, "agreement": own(B).agreement.public}
    peer = PeerKeys(member=B, **{**keys, field: bytes(32)})
    with pytest.raises(RefusalError) as caught:
        pair_key(own(A), peer, joined=RCTX)
    assert caught.value.reason is RefusalCode.ZERO_SECRET


def test_no_mask_with_oneself() -> None:
    with pytest.raises(DomainError):
        pair_key(own(A), public(own(A)), joined=RCTX)
    with pytest.raises(DomainError):
        apply_masks(np.zeros(2, dtype=np.uint64), A, {A: secret_of("k")})


@pytest.mark.parametrize("size", [0, 1, 1000, (1 << 17) - 1, 1 << 17, (1 << 17) + 3, 300_001])
def test_masks_are_the_streams_whatever_the_window(size: int) -> None:
    words = np.arange(size, dtype=np.uint64)
    apply_masks(words, B, {A: secret_of("ab"), C: secret_of("bc")})
    low, high = (key_stream_words(secret_of(name), size) for name in ("ab", "bc"))
    # added for the smaller id, subtracted for the larger one (protocol 3.4.8)
    assert np.array_equal(words, np.arange(size, dtype=np.uint64) + low - high)


@pytest.mark.parametrize(
    "words",
    [
        np.zeros(4, dtype=np.int64),
        np.zeros((2, 2), dtype=np.uint64),
        np.zeros(8, dtype=np.uint64)[::2],
    ],
)
def test_words_of_another_form_are_refused(words: np.ndarray) -> None:
    with pytest.raises(ShapeError):
        apply_masks(words, A, {B: secret_of("ab")})


@pytest.mark.parametrize("window", [np.zeros(4, dtype=np.int64), np.zeros((2, 2), dtype="<u8")])
def test_window_of_another_form_is_refused(window: np.ndarray) -> None:
    with pytest.raises(ShapeError):
        WordStream(secret_of("k")).read_into(window)
