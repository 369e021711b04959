"""Lists of attestations that were taken back: published by one partner, taken by another.

A list has a number, and the log its digest, said by its issuer (credit path 12.4). A list is
kept before it is said: after a crash it is said again, and no number is used twice. Who takes a
list compares it with the log's own word, so one that was replaced, forked or rolled back is
none. Files travel as the partners like: all of it is public, and signed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from consortium.credit.attestation import (
    LIST_AGAIN_DAYS,
    RevocationList,
    plain_revocations,
    revocation_bytes,
    revocation_digest,
    sign_revocations,
    signed_revocations,
)
from consortium.crypto.keys import IdentityKey, VerifyKey
from consortium.documents import parse_document
from consortium.errors import AttestationError, ManifestError, RiskWeaveError
from consortium.ids import Digest, PartnerId
from consortium.ledger.attestations import Listed, Lists, day_number, lists_of
from consortium.ledger.bodies import AttestationsListed
from consortium.ledger.entries import Entry, from_jcs, verify_entry
from consortium.manifest import Manifest
from partner_node.credit import storage_attested
from partner_node.credit.storage import CreditStore
from partner_node.credit.storage_attested import KeptList
from partner_node.entry_book import EntryBook
from partner_node.log_store import LogStore
from partner_node.records import OwnEntry

KIND = "attestation.listed"
_DAY_S = 86_400


# --- the issuer -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPorts:
    """The surroundings of an issuer's lists."""

    store: CreditStore
    log: LogStore
    book: EntryBook
    key: IdentityKey
    issuer: PartnerId
    today: Callable[[], date]


def publish(ports: ListPorts) -> tuple[KeptList, RevocationList]:
    """The list of all that is taken back and has not expired, with its entry for the log.

    The newest one again while it says all of that and is young; else one of the next number.

    Raises:
        StorageError: a database cannot be read or written.
    """
    with ports.store.transaction() as connection:
        names = storage_attested.revoked(connection, ports.today())
        made = storage_attested.newest_list(connection, ports.issuer)
        if made is None or not _says_all(made, names, ports.today()):
            # A restored database may have fewer lists than the log: its numbers go on there.
            number = max(-1 if made is None else made.number, _said(ports)) + 1
            made = _made(ports, number, names)
            storage_attested.keep_list(connection, made)
    say(ports)
    return made, parse_document(RevocationList, plain_revocations(made.document))


def publish_when_due(ports: ListPorts) -> int:
    """Publish once anything was attested here; returns how many lists were said.

    Raises:
        StorageError: a database cannot be read or written.
    """
    with ports.store.reading() as connection:
        begun = storage_attested.any_issued(connection)
        begun |= storage_attested.newest_list(connection, ports.issuer) is not None
    if not begun:
        return 0
    before = len(ports.log.said(KIND))
    publish(ports)
    return len(ports.log.said(KIND)) - before


def say(ports: ListPorts) -> int:
    """Keep entries for the log of lists that have none; returns how many."""
    with ports.store.reading() as connection:
        found = storage_attested.lists_above(connection, ports.issuer, _said(ports))
    ports.log.say([_entry(ports, one) for one in found])
    return len(found)


def _says_all(made: KeptList, names: Sequence[Digest], today: date) -> bool:
    listed = parse_document(RevocationList, plain_revocations(made.document))
    young = timedelta(0) <= today - listed.as_of < timedelta(days=LIST_AGAIN_DAYS)
    return young and set(names) <= set(listed.revoked)


def _made(ports: ListPorts, number: int, names: Sequence[Digest]) -> KeptList:
    today = ports.today()
    plain = revocation_bytes(ports.issuer, names, number=number, as_of=today)
    return KeptList(
        issuer=ports.issuer,
        number=number,
        digest=revocation_digest(plain),
        listed_on=today,
        document=sign_revocations(ports.key, plain),
    )


def _said(ports: ListPorts) -> int:
    """Number of the last list that was said; -1: none."""
    said = [from_jcs(data).body for data in ports.log.said(KIND)]
    return max((one.number for one in said if isinstance(one, AttestationsListed)), default=-1)


def _entry(ports: ListPorts, one: KeptList) -> OwnEntry:
    body = AttestationsListed(
        number=one.number, listing=one.digest, day=day_number(one.listed_on)
    )
    return OwnEntry(type=KIND, data=ports.book.signed(body))


# --- who takes a list -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TakePorts:
    """The surroundings of a partner that takes lists of others."""

    store: CreditStore
    log: LogStore
    manifest: Manifest
    """Pinned, signed by all."""
    counted: int
    """Size of the newest head that a quorum cosigned."""


def take(ports: TakePorts, data: bytes) -> KeptList:
    """Keep another partner's signed list, if the log vouches for it and it does not go back.

    Args:
        ports: The node.
        data: The file.

    Raises:
        AttestationError: rule ``issuer``, ``altered``, ``form`` or ``list``.
    """
    listed = _checked(ports.manifest, data)
    entries = lists_of(_mirrored(ports)).get(listed.issuer, Lists(listed.issuer))
    digest = revocation_digest(plain_revocations(data))
    _check_dated(entries.one(listed.number, digest), listed)
    made = KeptList(
        issuer=listed.issuer,
        number=listed.number,
        digest=digest,
        listed_on=listed.as_of,
        document=data,
    )
    with ports.store.transaction() as connection:
        known = storage_attested.newest_list(connection, listed.issuer)
        if known is not None and listed.number < known.number:
            text = f"list {listed.number}, but list {known.number} is here: it goes back"
            raise AttestationError(text, rule="list")
        storage_attested.keep_list(connection, made)
    return made


def _checked(manifest: Manifest, data: bytes) -> RevocationList:
    """The list under its issuer's signature."""
    try:
        listed = parse_document(RevocationList, plain_revocations(data))
        issuer = manifest.member(listed.issuer)
        key = VerifyKey(bytes.fromhex(issuer.identity))
        return signed_revocations(data, (issuer.id, key)).listed
    except AttestationError:
        raise
    except ManifestError:
        text = "the issuer is no active member of the manifest"
        raise AttestationError(text, rule="issuer") from None
    except RiskWeaveError as error:
        rule = "form" if error.code == "decode" else "altered"
        raise AttestationError(f"the list: {error}", rule=rule) from None


def _check_dated(entry: Listed, listed: RevocationList) -> None:
    """The list's day is the entry's, and that is when the entry was made."""
    made_on = entry.at // _DAY_S
    if entry.body.day != day_number(listed.as_of) or abs(entry.body.day - made_on) > 1:
        raise AttestationError("the list is dated otherwise than its entry", rule="list")


def _mirrored(ports: TakePorts) -> list[tuple[int, Entry]]:
    """Entries about lists under a head that counts; those that nobody signed so are none."""
    found = []
    for row in ports.log.of_types(KIND):
        try:
            entry = from_jcs(row.data)
            verify_entry(entry, row.data, ports.manifest.member(entry.actor))
        except RiskWeaveError:
            continue  # the mirror's own checks name its fault
        if row.number < ports.counted:
            found.append((row.number, entry))
    return found
