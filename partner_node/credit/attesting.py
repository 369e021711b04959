"""Attestations at a partner: made of its own lines, taken back, verified (credit path 12).

What an attestation is, and when it counts, is ``consortium.credit.attestation``. Here a
person's lines become bands, under a consent that is asked for in the same transaction as the
id is kept, before the paper is anywhere.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from consortium.credit.attestation import (
    Checked,
    SignedAttestation,
    attest,
    check_attestation,
    signed_revocations,
)
from consortium.credit.closures import Cause, first_event
from consortium.credit.outcomes import Lateness, LineStatus, lateness_of
from consortium.credit.terms import MILLION, ConsentPurpose, Ppm, add_months
from consortium.crypto.keys import IdentityKey, VerifyKey
from consortium.documents import parse_document
from consortium.errors import (
    AttestationError,
    ConsentMissingError,
    ManifestError,
    NotFoundError,
    OutOfOrderError,
    PersonError,
)
from consortium.ids import PartnerId, PersonToken
from consortium.manifest import Manifest
from partner_node.credit import storage_attested, storage_people
from partner_node.credit.figure_lines import standings
from partner_node.credit.lines import History
from partner_node.credit.storage import CreditStore
from partner_node.credit.storage_attested import Issued

WINDOW_MONTHS = 24
_LIVE = frozenset({LineStatus.OPEN, LineStatus.FROZEN})
_ARREARS = frozenset({Cause.ARREARS, Cause.DEFAULT})


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestPorts:
    """The surroundings of issuing."""

    store: CreditStore
    key: IdentityKey
    issuer: PartnerId
    subject: Callable[[str], bytes]
    """Keyed hash of an identifier; PersonError."""
    token: Callable[[bytes], tuple[int, PersonToken] | None]
    """Present epoch and pseudonym of a keyed hash, if this node has one."""
    lines: Callable[[], Iterable[History]]
    keyed: Callable[[str], str]
    today: date


@dataclass(frozen=True, slots=True)
class Attested:
    """What a person's lines come to, before it is put into bands. Private."""

    months: int
    lateness: Lateness
    utilisation: Ppm | None
    cause: Cause


# --- the issuer -------------------------------------------------------------------------------


def issue(ports: AttestPorts, person: str, *, consent: str, days: int) -> SignedAttestation:
    """Sign a customer's history, at the customer's wish; its id is on disk when this returns.

    The same history of the same day again is the same paper.

    Args:
        ports: The node.
        person: Identifier, as applications name it.
        consent: The partner's own reference of the consent to ATTESTATION.
        days: For which it is valid, at most 90.

    Raises:
        ConsentMissingError: no reference, or the person has withdrawn the consent here.
        NotFoundError: no line of the person, or no pseudonym of the present epoch.
        OutOfOrderError: the same paper was revoked.
        PersonError, DomainError, DataError: identifier, days, or the table of lines.
    """
    if not consent:
        raise ConsentMissingError("an attestation needs the reference of its consent")
    subject = ports.subject(person)
    _check_consent(ports, subject)
    token = ports.token(subject)
    if token is None:
        raise NotFoundError("no token of the present epoch; run: riskweave node tokenize")
    found = attested_of(_of(ports, subject))
    signed = attest(
        ports.key,
        issuer=ports.issuer,
        subject=token,
        months=found.months,
        lateness=found.lateness,
        utilisation=found.utilisation,
        cause=found.cause,
        issued_on=ports.today,
        days=days,
    )
    _keep(ports, signed, subject, consent)
    return signed


def _check_consent(ports: AttestPorts, subject: bytes) -> None:
    """Before the person's lines are read; it is asked again before anything is kept."""
    with ports.store.reading() as connection:
        gone = storage_people.withdrawn_by(connection, subject)
    if ConsentPurpose.ATTESTATION in gone:
        raise ConsentMissingError("consent to ATTESTATION was withdrawn at this node")


def _keep(ports: AttestPorts, signed: SignedAttestation, subject: bytes, consent: str) -> None:
    one = signed.attestation
    with ports.store.transaction() as connection:
        if ConsentPurpose.ATTESTATION in storage_people.withdrawn_by(connection, subject):
            raise ConsentMissingError("consent to ATTESTATION was withdrawn at this node")
        issued = Issued(
            id=one.digest,
            subject=subject,
            consent=ports.keyed(consent),
            issued_on=one.issued_on,
            expires_on=one.expires_on,
        )
        storage_attested.keep(connection, issued)
        kept = storage_attested.issued_by(connection, one.digest)
        if kept is None or kept.revoked_on is not None:
            raise OutOfOrderError("the same attestation was revoked; another day makes another")


def _of(ports: AttestPorts, subject: bytes) -> Iterator[History]:
    for line in ports.lines():
        try:
            theirs = ports.subject(line.person) == subject
        except PersonError:
            continue
        if theirs:
            yield line


def attested_of(lines: Iterable[History]) -> Attested:
    """What all lines of one person come to.

    Months on book are those of the longest line; arrears and utilisation are of the last 24
    months that the table tells of the person; ARREARS is the cause if a line was closed for
    them, or defaulted, within these months.

    Raises:
        NotFoundError: there are no lines.
        DomainError: month ends that do not follow.
    """
    known = list(lines)
    if not known:
        raise NotFoundError("no line of this person in the table of lines")
    since = add_months(max(one.months[-1].end.on for one in known), -WINDOW_MONTHS)
    worst = [lateness_of([end for end in one.ends if end.on > since]).worst_24 for one in known]
    arrears = any(_closed_late(one, since) for one in known)
    return Attested(
        months=max(_on_book(one) for one in known),
        lateness=Lateness(worst_12=max(worst), worst_24=max(worst), cured_months=None),
        utilisation=_utilisation(known, since),
        cause=Cause.ARREARS if arrears else Cause.UNSTATED,
    )


def _on_book(line: History) -> int:
    live = [one.end.on for one in line.months if one.end.status in _LIVE]
    last, opened = max(live, default=line.opened_on), line.opened_on
    return max(0, (last.year - opened.year) * 12 + last.month - opened.month)


def _utilisation(lines: Sequence[History], since: date) -> Ppm | None:
    used = [
        max(0, month.end.balance) * MILLION // month.limit
        for line in lines
        for month in line.months
        if month.limit and month.end.on > since and month.end.status in _LIVE
    ]
    return Ppm(sum(used) // len(used)) if used else None


def _closed_late(line: History, since: date) -> bool:
    """Whether a closure for arrears, or a default, is among the events of the window."""
    history, last = standings(line), line.months[-1]
    day = max(since, history[0].on)
    while True:
        event = first_event(
            history, since=day, until=last.end.on, withdrawn_on=last.product_withdrawn
        )
        if event is None:
            return False
        if event.cause in _ARREARS:
            return True
        day = event.on


def revoke(store: CreditStore, name: str, today: date) -> Issued:
    """Take an attestation back; the next list has it. Again: nothing changes.

    Raises:
        NotFoundError: this partner keeps none of that id.
    """
    with store.transaction() as connection:
        storage_attested.revoke(connection, name, today)
        found = storage_attested.issued_by(connection, name)
    if found is None:
        raise NotFoundError("no attestation of this id")
    return found


# --- the verifier -----------------------------------------------------------------------------


def verify(
    data: bytes,
    manifest: Manifest,
    *,
    revocations: bytes | None,
    subject: tuple[int, PersonToken] | None,
    today: date,
) -> Checked:
    """Verify an attestation by files alone.

    Args:
        data: What the borrower shows.
        manifest: That the verifier trusts, its signatures checked.
        revocations: The issuer's signed list, or None.
        subject: Epoch and pseudonym of who shows it. None: whose it is is not compared.
        today: The day of use.

    Raises:
        AttestationError, SignatureError, DecodeError: as ``check_attestation``.
    """
    one = parse_document(SignedAttestation, data).attestation
    try:
        member = manifest.member(one.issuer)
    except ManifestError:
        raise AttestationError(
            "the issuer is no active member of the manifest", rule="issuer"
        ) from None
    issuer = member.id, VerifyKey(bytes.fromhex(member.identity))
    return check_attestation(
        data,
        issuer=issuer,
        subject=(one.epoch, one.subject) if subject is None else subject,
        revocations=None if revocations is None else signed_revocations(revocations, issuer),
        today=today,
    )
