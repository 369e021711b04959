"""A history that its owner carries: issued by one lender, verified by another offline (row 11).

All values are bands, so that two histories of one band are alike but for subject and days. What
a verifier needs is the issuer's key from the manifest and the issuer's revocation list, whose
digest a cosigned head of the log vouches for. Reading heads and proofs is the ledger's; whether
consent ATTESTATION was given is asked before anything is issued. An attestation never outweighs
arrears that a lender sees itself.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from consortium.canonical import Label, hash_with
from consortium.credit.closures import Cause
from consortium.credit.outcomes import Lateness
from consortium.credit.terms import Ppm
from consortium.crypto.keys import IdentityKey, VerifyKey
from consortium.documents import document_of, parse_document
from consortium.errors import AttestationError, DigestMismatchError, DomainError
from consortium.ids import Digest, PartnerId, PersonToken

VERSION = 1
LONGEST_DAYS = 90
FRESH_DAYS = 7
"""A revocation list counts in full for so many days after its checkpoint."""
LIST_AGAIN_DAYS = 3
"""An issuer lists again after so many days, though nothing was revoked: no list goes stale."""


class Use(StrEnum):
    """What an attestation may be used for; there is one."""

    LENDER_CHECK = "LENDER_CHECK"


class MonthsBand(StrEnum):
    """Months on book."""

    TO_6 = "0-6"
    TO_12 = "7-12"
    TO_24 = "13-24"
    TO_60 = "25-60"
    MORE = "60+"


class DpdBand(StrEnum):
    """Worst days past due in 24 months."""

    NONE = "0"
    TO_30 = "1-30"
    TO_60 = "31-60"
    TO_90 = "61-90"
    MORE = "90+"


class UtilisationBand(StrEnum):
    """Mean utilisation, in bands of twenty points."""

    TO_20 = "0-20"
    TO_40 = "20-40"
    TO_60 = "40-60"
    TO_80 = "60-80"
    TO_100 = "80-100"
    MORE = "100+"
    NO_LIMIT = "no limit"


class CauseClass(StrEnum):
    """Why the line was closed, and no more than that."""

    ARREARS = "ARREARS"
    OTHER = "OTHER"


class Validity(StrEnum):
    """What was found of an attestation that is not refused."""

    VALID = "VALID"
    VALID_AS_OF = "VALID_AS_OF"
    """Not revoked up to a day; what came after it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """One person's history at one lender. Its owner shows it; nobody else passes it on."""

    version: int
    issuer: PartnerId
    epoch: int
    """Of the subject's pseudonym."""
    subject: PersonToken
    months: MonthsBand
    worst_dpd: DpdBand
    utilisation: UtilisationBand
    cause: CauseClass
    issued_on: date
    expires_on: date
    purpose: Use

    @property
    def digest(self) -> Digest:
        """What a revocation list and the log name."""
        return hash_with(Label.ATTESTATION, document_of(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedAttestation:
    """An attestation and its issuer's Ed25519 signature over its canonical bytes."""

    attestation: Attestation
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationList:
    """All attestations that an issuer took back. Public: digests only."""

    issuer: PartnerId
    number: int
    """Of this issuer's lists, from 0: a later list has a higher one."""
    as_of: date
    revoked: tuple[Digest, ...]
    """Strictly rising."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRevocations:
    """A list and its issuer's Ed25519 signature over its canonical bytes."""

    listed: RevocationList
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocations:
    """A list that somebody vouches for.

    Made by ``trusted_revocations`` and ``signed_revocations`` only.
    """

    listed: RevocationList
    checkpoint_on: date | None
    """Of the cosigned checkpoint; None: its issuer alone says that it is the newest."""


@dataclass(frozen=True, slots=True)
class Checked:
    """An attestation that may be used, and how far it is known to be valid."""

    attestation: Attestation
    validity: Validity
    as_of: date


# --- the issuer -------------------------------------------------------------------------------


def attest(  # noqa: PLR0913 - one argument for each thing that is attested
    key: IdentityKey,
    *,
    issuer: PartnerId,
    subject: tuple[int, PersonToken],
    months: int,
    lateness: Lateness,
    utilisation: Ppm | None,
    cause: Cause,
    issued_on: date,
    days: int = LONGEST_DAYS,
) -> SignedAttestation:
    """Sign a history.

    Args:
        key: The issuer's. Secret.
        issuer: Its id.
        subject: Epoch and pseudonym of the person who asked for it.
        months: On book. Private, leaves as a band.
        lateness: Of 24 months. Private, leaves as a band.
        utilisation: Mean; None without a limit. Private, leaves as a band.
        cause: Of the closure. Private, leaves as one of two classes.
        issued_on: Today.
        days: For which it is valid, at most 90.

    Raises:
        DomainError: negative months, or a life that is not 1 to 90 days.
    """
    if not 1 <= days <= LONGEST_DAYS:
        raise DomainError(f"an attestation lives 1 to {LONGEST_DAYS} days, not {days}")
    attestation = Attestation(
        version=VERSION,
        issuer=issuer,
        epoch=subject[0],
        subject=subject[1],
        months=months_band(months),
        worst_dpd=dpd_band(lateness.worst_24),
        utilisation=utilisation_band(utilisation),
        cause=CauseClass.ARREARS if cause is Cause.ARREARS else CauseClass.OTHER,
        issued_on=issued_on,
        expires_on=issued_on + timedelta(days=days),
        purpose=Use.LENDER_CHECK,
    )
    signature = key.sign(Label.ATTESTATION_SIGNATURE, document_of(attestation))
    return SignedAttestation(attestation=attestation, signature=signature)


def attestation_bytes(signed: SignedAttestation) -> bytes:
    """What the borrower carries: one canonical document."""
    return document_of(signed)


def revocation_bytes(
    issuer: PartnerId, revoked: Sequence[Digest], *, number: int, as_of: date
) -> bytes:
    """An issuer's list of what it took back, the ``number``-th from 0."""
    rising = tuple(sorted(set(revoked)))
    return document_of(
        RevocationList(issuer=issuer, number=number, as_of=as_of, revoked=rising)
    )


def sign_revocations(key: IdentityKey, plain: bytes) -> bytes:
    """The list of ``revocation_bytes``, signed: a file that says by itself whose it is."""
    listed = parse_document(RevocationList, plain)
    signature = key.sign(Label.REVOCATIONS_SIGNATURE, document_of(listed))
    return document_of(SignedRevocations(listed=listed, signature=signature))


def revocation_digest(data: bytes) -> Digest:
    """What the log holds of a list: of its bytes, without the signature."""
    return hash_with(Label.REVOCATIONS, data)


def months_band(months: int) -> MonthsBand:
    """The band of months on book; DomainError if they are negative."""
    return tuple(MonthsBand)[_band(months, (6, 12, 24, 60))]


def dpd_band(days: int) -> DpdBand:
    """The band of days past due; DomainError if they are negative."""
    return tuple(DpdBand)[_band(days, (0, 30, 60, 90))]


def utilisation_band(mean: Ppm | None) -> UtilisationBand:
    """The band of a mean utilisation; DomainError if it is negative."""
    if mean is None:
        return UtilisationBand.NO_LIMIT
    return tuple(UtilisationBand)[_band(mean, (200_000, 400_000, 600_000, 800_000, 1_000_000))]


def _band(value: int, ends: Sequence[int]) -> int:
    if value < 0:
        raise DomainError("a negative value has no band")
    return bisect_left(ends, value)


# --- the verifier -----------------------------------------------------------------------------


def trusted_revocations(data: bytes, *, digest: Digest, checkpoint_on: date) -> Revocations:
    """The list of which a cosigned checkpoint holds the digest.

    Args:
        data: The list as it was received from anybody.
        digest: From the log, under a checkpoint whose cosignatures were verified.
        checkpoint_on: Day of that checkpoint.

    Raises:
        DigestMismatchError: another list.
        DecodeError: no list.
    """
    seen = revocation_digest(data)
    if seen != digest:
        raise DigestMismatchError("the revocation list", seen, digest)
    listed = parse_document(RevocationList, data)
    return Revocations(listed=listed, checkpoint_on=checkpoint_on)


def plain_revocations(data: bytes) -> bytes:
    """The bytes of a signed list without its signature, which the log's digest is of.

    Raises:
        DecodeError: no list.
    """
    return document_of(parse_document(SignedRevocations, data).listed)


def signed_revocations(data: bytes, issuer: tuple[PartnerId, VerifyKey]) -> Revocations:
    """The list that an issuer signed, without the log: it makes no attestation VALID.

    An old list is as well signed as a new one, so what comes after its day is not known.

    Raises:
        AttestationError: another issuer's. SignatureError: altered. DecodeError: no list.
    """
    signed = parse_document(SignedRevocations, data)
    if signed.listed.issuer != issuer[0]:
        raise AttestationError("the revocation list is another issuer's", rule="list")
    issuer[1].verify(Label.REVOCATIONS_SIGNATURE, document_of(signed.listed), signed.signature)
    return Revocations(listed=signed.listed, checkpoint_on=None)


def check_attestation(
    data: bytes,
    *,
    issuer: tuple[PartnerId, VerifyKey],
    subject: tuple[int, PersonToken],
    revocations: Revocations | None,
    today: date,
) -> Checked:
    """Verify a history that a borrower shows, without asking anybody.

    Args:
        data: What the borrower carries.
        issuer: Id and key of the lender that it names, from the manifest.
        subject: Epoch and pseudonym of the person who shows it.
        revocations: The issuer's list, or None.
        today: The day of use.

    Returns:
        VALID with a list whose checkpoint is at most seven days old; else VALID_AS_OF the day
        of the older list, or of one that its issuer alone vouches for, or the day of issue
        without any.

    Raises:
        DecodeError: no attestation of this form. SignatureError: it was altered, or another
            signed it. AttestationError: expired, not valid yet, revoked, of another person, or
            issued under rules that no issuer may follow.
    """
    signed = parse_document(SignedAttestation, data)
    one = signed.attestation
    if one.issuer != issuer[0]:
        raise AttestationError("the attestation names another issuer", rule="issuer")
    issuer[1].verify(Label.ATTESTATION_SIGNATURE, document_of(one), signed.signature)
    if one.version != VERSION:
        raise AttestationError(
            f"attestation of version {one.version}, expected {VERSION}", rule="form"
        )
    if (one.epoch, one.subject) != subject:
        raise AttestationError(
            "the attestation is another person's, or of another epoch", rule="person"
        )
    if not one.issued_on < one.expires_on <= one.issued_on + timedelta(days=LONGEST_DAYS):
        raise AttestationError(
            f"the attestation would live more than {LONGEST_DAYS} days", rule="form"
        )
    if not one.issued_on <= today < one.expires_on:
        raise AttestationError(
            "the attestation has expired, or is not valid yet", rule="expired"
        )
    return _against(one, revocations, today)


def _against(one: Attestation, revocations: Revocations | None, today: date) -> Checked:
    if revocations is None:
        return Checked(one, Validity.VALID_AS_OF, one.issued_on)
    if revocations.listed.issuer != one.issuer:
        raise AttestationError("the revocation list is another issuer's", rule="list")
    if one.digest in revocations.listed.revoked:
        raise AttestationError("the attestation was revoked", rule="revoked")
    known = revocations.checkpoint_on
    if known is None:
        day = min(revocations.listed.as_of, today)
        return Checked(one, Validity.VALID_AS_OF, max(one.issued_on, day))
    if known <= today <= known + timedelta(days=FRESH_DAYS):
        return Checked(one, Validity.VALID, today)
    return Checked(one, Validity.VALID_AS_OF, max(one.issued_on, min(known, today)))
