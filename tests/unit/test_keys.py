import copy
import pickle  # noqa: TID251 - to show that a secret refuses it
from collections.abc import Callable

import pytest

from consortium.canonical import Label
from consortium.crypto.keys import (
    AgreementKey,
    IdentityKey,
    Secret,
    hkdf,
    verify_signature,
)
from consortium.errors import (
    DecodeError,
    DomainError,
    RefusalCode,
    RefusalError,
    SignatureError,
)

MakeSecret = Callable[[str], Secret]


def test_secret_is_shown_nowhere() -> None:
    secret = Secret(b"hunter2!")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    assert secret.expose() == b"hunter2!"


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy])
def test_secret_and_private_keys_are_not_serialised(
    take: Callable[[object], object], secret: MakeSecret
) -> None:
    seed = secret("a")
    for value in (seed, IdentityKey.from_secret(seed), AgreementKey.from_secret(seed)):
        with pytest.raises(TypeError):
            take(value)


@pytest.mark.parametrize(
    ("ikm", "salt", "info", "okm"),
    [
        (
            b"\x0b" * 22,
            bytes(range(13)),
            bytes(range(0xF0, 0xFA)),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf",
        ),
        (
            bytes(range(0x50)),
            bytes(range(0x60, 0xB0)),
            bytes(range(0xB0, 0x100)),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c",
        ),
        (
            b"\x0b" * 22,
            b"",
            b"",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d",
        ),
    ],
    ids=["A.1", "A.2", "A.3"],
)
def test_hkdf_gives_the_first_block_of_rfc_5869(
    ikm: bytes, salt: bytes, info: bytes, okm: str
) -> None:
    assert hkdf(Secret(ikm), salt, info).expose().hex() == okm


@pytest.mark.parametrize(
    ("seed", "public", "message", "signature"),
    [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            (
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bac"
                "c61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
            ),
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            (
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e"
                "458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
            ),
        ),
    ],
    ids=["7.1 test 1", "7.1 test 2"],
)
def test_identity_key_signs_as_rfc_8032(
    seed: str, public: str, message: str, signature: str
) -> None:
    key = IdentityKey.from_secret(Secret(bytes.fromhex(seed)))
    assert key.public.hex() == public
    assert key._key.sign(bytes.fromhex(message)).hex() == signature
    assert key.sign(Label.VOTE, b"m") == key._key.sign(b"riskweave/vote/v1\nm")


def test_signature_for_one_use_fails_for_every_other(secret: MakeSecret) -> None:
    key = IdentityKey.from_secret(secret("a"))
    signature = key.sign(Label.UPLOAD, b"m")
    verify_signature(key.public, Label.UPLOAD, b"m", signature)
    for label in Label:
        if label is not Label.UPLOAD:
            with pytest.raises(SignatureError):
                verify_signature(key.public, label, b"m", signature)


def test_signature_by_another_or_over_another_message_is_refused(secret: MakeSecret) -> None:
    key, other = IdentityKey.from_secret(secret("a")), IdentityKey.from_secret(secret("b"))
    signature = key.sign(Label.UPLOAD, b"m")
    flipped = bytes([signature[0] ^ 1]) + signature[1:]
    for public, message, seen in (
        (other.public, b"m", signature),
        (key.public, b"n", signature),
        (key.public, b"m", flipped),
        (key.public, b"m", b""),
        (key.public[:31], b"m", signature),
        (b"", b"m", signature),
    ):
        with pytest.raises(SignatureError):
            verify_signature(public, Label.UPLOAD, message, seen)


@pytest.mark.parametrize(
    ("scalar", "point", "shared"),
    [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
        (
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
            "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
            "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
        ),
    ],
    ids=["5.2 first", "5.2 second", "6.1 Bob"],
)
def test_agreement_key_meets_rfc_7748(scalar: str, point: str, shared: str) -> None:
    key = AgreementKey.from_secret(Secret(bytes.fromhex(scalar)))
    assert key.exchange(bytes.fromhex(point)).expose().hex() == shared


def test_agreement_key_meets_rfc_7748_after_1000_iterations() -> None:
    scalar = point = b"\x09" + bytes(31)
    for _ in range(1000):
        key = AgreementKey.from_secret(Secret(scalar))
        scalar, point = key.exchange(point).expose(), scalar
    expected = "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"
    assert scalar.hex() == expected


def test_both_sides_of_an_agreement_hold_one_secret(secret: MakeSecret) -> None:
    one, two = AgreementKey.from_secret(secret("a")), AgreementKey.from_secret(secret("b"))
    assert one.exchange(two.public).expose() == two.exchange(one.public).expose()


@pytest.mark.parametrize("peer", [bytes(32), b"\x01" + bytes(31)])
def test_peer_key_of_small_order_is_refused(peer: bytes, secret: MakeSecret) -> None:
    with pytest.raises(RefusalError) as caught:
        AgreementKey.from_secret(secret("a")).exchange(peer)
    assert caught.value.reason is RefusalCode.ZERO_SECRET


def test_keys_of_the_wrong_length_are_refused(secret: MakeSecret) -> None:
    for short in (b"", bytes(31), bytes(33)):
        with pytest.raises(DomainError):
            IdentityKey.from_secret(Secret(short))
        with pytest.raises(DomainError):
            AgreementKey.from_secret(Secret(short))
        with pytest.raises(DecodeError):
            AgreementKey.from_secret(secret("a")).exchange(short)
