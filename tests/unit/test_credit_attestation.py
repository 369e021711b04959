from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consortium.canonical import Label
from consortium.credit.attestation import (
    Attestation,
    CauseClass,
    DpdBand,
    MonthsBand,
    Revocations,
    SignedAttestation,
    UtilisationBand,
    Validity,
    attest,
    attestation_bytes,
    check_attestation,
    dpd_band,
    months_band,
    revocation_bytes,
    revocation_digest,
    trusted_revocations,
    utilisation_band,
)
from consortium.credit.closures import Cause
from consortium.credit.outcomes import Lateness
from consortium.credit.terms import Ppm
from consortium.crypto.keys import IdentityKey, Secret, VerifyKey
from consortium.documents import document_of
from consortium.errors import (
    AttestationError,
    DecodeError,
    DigestMismatchError,
    DomainError,
    SignatureError,
    TrustError,
)
from consortium.ids import PartnerId, PersonToken

BANK, OTHER = PartnerId("bank_a"), PartnerId("bank_b")
KEY, OTHERS_KEY = (IdentityKey.from_secret(Secret(bytes([k]) * 32)) for k in (1, 2))
PERSON, SOMEBODY = (PersonToken(bytes([k]) * 16) for k in (7, 8))
ISSUED = date(2026, 9, 1)
LAST = ISSUED + timedelta(days=89)


def signed(days: int = 90) -> SignedAttestation:
    return attest(
        KEY,
        issuer=BANK,
        subject=(3, PERSON),
        months=30,
        lateness=Lateness(0, 12, 9),
        utilisation=Ppm(450_000),
        cause=Cause.PRODUCT_WITHDRAWN,
        issued_on=ISSUED,
        days=days,
    )


def check(
    data: bytes,
    *,
    today: date = ISSUED,
    person: tuple[int, PersonToken] = (3, PERSON),
    revocations: Revocations | None = None,
) -> tuple[Validity, date]:
    found = check_attestation(
        data,
        issuer=(BANK, VerifyKey(KEY.public)),
        subject=person,
        revocations=revocations,
        today=today,
    )
    return found.validity, found.as_of


GOOD = attestation_bytes(signed())


def listed(*revoked: Attestation, on: date, issuer: PartnerId = BANK) -> Revocations:
    data = revocation_bytes(issuer, [one.digest for one in revoked], number=1, as_of=on)
    return trusted_revocations(data, digest=revocation_digest(data), checkpoint_on=on)


def test_history_leaves_as_bands() -> None:
    one = signed().attestation
    assert (one.months, one.worst_dpd, one.utilisation, one.cause) == (
        MonthsBand.TO_60,
        DpdBand.TO_30,
        UtilisationBand.TO_60,
        CauseClass.OTHER,
    )


def test_attestation_verifies_offline_from_its_bytes_and_the_manifest_alone() -> None:
    assert check(GOOD) == (Validity.VALID_AS_OF, ISSUED)
    fresh = listed(on=ISSUED)
    assert check(GOOD, revocations=fresh) == (Validity.VALID, ISSUED)


def test_list_counts_in_full_for_seven_days() -> None:
    fresh = listed(on=ISSUED)
    seventh, eighth = ISSUED + timedelta(days=7), ISSUED + timedelta(days=8)
    assert check(GOOD, today=seventh, revocations=fresh) == (Validity.VALID, seventh)
    assert check(GOOD, today=eighth, revocations=fresh) == (Validity.VALID_AS_OF, ISSUED)
    ahead = listed(on=eighth)
    assert check(GOOD, today=seventh, revocations=ahead)[0] is Validity.VALID_AS_OF
    before = listed(on=ISSUED - timedelta(days=30))
    assert check(GOOD, revocations=before) == (Validity.VALID_AS_OF, ISSUED)


def test_expired_attestation_is_refused() -> None:
    assert check(GOOD, today=LAST)[0] is Validity.VALID_AS_OF
    for today in (LAST + timedelta(days=1), ISSUED - timedelta(days=1)):
        with pytest.raises(AttestationError, match="expired"):
            check(GOOD, today=today)


def test_revoked_attestation_is_refused_even_by_an_old_list() -> None:
    for on in (LAST, ISSUED):
        with pytest.raises(AttestationError, match="revoked"):
            check(GOOD, today=LAST, revocations=listed(signed().attestation, on=on))
    other = listed(signed(days=60).attestation, on=LAST)
    assert check(GOOD, today=LAST, revocations=other)[0] is Validity.VALID


def test_attestation_shown_for_another_person_or_epoch_is_refused() -> None:
    for person in ((3, SOMEBODY), (4, PERSON)):
        with pytest.raises(AttestationError, match="another person"):
            check(GOOD, person=person)


@given(st.integers(0, 8 * len(GOOD) - 1))
def test_attestation_altered_by_one_bit_is_refused(bit: int) -> None:
    altered = bytearray(GOOD)
    altered[bit // 8] ^= 1 << bit % 8
    with pytest.raises((DecodeError, TrustError)):
        check(bytes(altered))


def test_attestation_altered_in_any_byte_is_refused() -> None:
    for place in range(len(GOOD)):
        altered = GOOD[:place] + bytes([GOOD[place] ^ 1]) + GOOD[place + 1 :]
        with pytest.raises((DecodeError, TrustError)):
            check(altered)


def forged(key: IdentityKey = KEY, **changed: object) -> bytes:
    """An attestation that its own issuer signs against the rules, or somebody else."""
    one = replace(signed().attestation, **changed)
    signature = key.sign(Label.ATTESTATION_SIGNATURE, document_of(one))
    return attestation_bytes(SignedAttestation(attestation=one, signature=signature))


def test_signature_of_another_lender_is_refused() -> None:
    with pytest.raises(SignatureError):
        check(forged(OTHERS_KEY))
    with pytest.raises(AttestationError, match="another issuer"):
        check(forged(OTHERS_KEY, issuer=OTHER))


def test_issuer_that_breaks_the_rules_is_refused() -> None:
    for changed in (
        {"expires_on": ISSUED + timedelta(days=91)},
        {"expires_on": ISSUED},
        {"version": 2},
    ):
        with pytest.raises(AttestationError):
            check(forged(**changed))
    for days in (0, 91):
        with pytest.raises(DomainError):
            signed(days=days)


def test_revocation_list_is_the_one_that_the_log_names() -> None:
    data = revocation_bytes(BANK, [signed().attestation.digest], number=2, as_of=ISSUED)
    empty = revocation_bytes(BANK, [], number=2, as_of=ISSUED)
    with pytest.raises(DigestMismatchError):
        trusted_revocations(empty, digest=revocation_digest(data), checkpoint_on=ISSUED)
    with pytest.raises(AttestationError, match="another issuer"):
        check(GOOD, revocations=listed(on=ISSUED, issuer=OTHER))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        *((months_band(6), "0-6"), (months_band(7), "7-12"), (months_band(12), "7-12")),
        *((months_band(24), "13-24"), (months_band(60), "25-60"), (months_band(61), "60+")),
        *((dpd_band(0), "0"), (dpd_band(1), "1-30"), (dpd_band(30), "1-30")),
        *((dpd_band(31), "31-60"), (dpd_band(90), "61-90"), (dpd_band(91), "90+")),
        *((utilisation_band(Ppm(0)), "0-20"), (utilisation_band(Ppm(200_000)), "0-20")),
        *((utilisation_band(Ppm(200_001)), "20-40"), (utilisation_band(None), "no limit")),
        (utilisation_band(Ppm(1_000_001)), "100+"),
    ],
)
def test_band_ends_on_its_value(found: str, expected: str) -> None:
    assert found == expected


def test_negative_values_have_no_band() -> None:
    for band in (months_band, dpd_band):
        with pytest.raises(DomainError):
            band(-1)
