r"""What stands in the log: one frozen class for each event (protocol 8.2 to 8.4).

An entry is ``JCS({"v","type","seq_hint","at","actor","body","sig"})``. ``sig`` is the actor's
identity key over ``"riskweave/entry/v1\n" ‖ JCS(entry without sig)``: whoever appends it cannot
write in another's name. What is not in a class here is in no entry; counts of rows, losses and
times of one partner are absent on purpose (protocol 10.9).
"""

import base64
import binascii
import json
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from functools import lru_cache

from consortium.canonical import Label
from consortium.credit.gate import GateCheck
from consortium.crypto.keys import IdentityKey, verify_signature
from consortium.documents import plain_of, value_of
from consortium.errors import DecodeError, DomainError, IdentifierError
from consortium.ids import (
    Digest,
    PartnerId,
    RequestId,
    RunId,
    parse_digest,
    parse_partner_id,
    parse_request_id,
    parse_run_id,
)
from consortium.ledger.bodies import SCORING_ACTORS, SCORING_TYPES, ScoringBody
from consortium.ledger.governing import GOVERNING_ACTORS, GOVERNING_TYPES, GoverningBody
from consortium.ledger.run_bodies import RUN_ACTORS, RUN_TYPES, RunBody
from consortium.manifest import Member, Role
from consortium.messages import LARGEST_ENTRY

VERSION = 1

_KEYS = ("actor", "at", "body", "seq_hint", "sig", "type", "v")
_LIMIT = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestAdopted:
    """A member has signed a manifest; in force once all its signers have."""

    manifest: Digest
    version: int
    signature: bytes
    """Over the manifest's digest (protocol 2.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityRevoked:
    """One voice for the revocation of an identity (protocol 2.7); enough voices revoke it."""

    member: PartnerId
    identity: bytes
    """The member's identity key, 32 bytes: a new one under the same name is not meant."""
    reason: str
    """Of ``revocations.REASONS``."""
    effective_at: int
    """Since when the key is not the member's own any more, as far as the voice knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseCandidate:
    """A model version to be voted on; its figures are in the document of that digest."""

    version: Digest
    run: RunId
    statement: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementPublished:
    """The claimed epsilons of a release, as its privacy statement says them."""

    version: Digest
    statement: Digest
    person: str
    record: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseVote:
    """A partner's word on a version, with a reason class and never a figure."""

    version: Digest
    manifest: Digest
    accept: bool
    reason: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseServed:
    """A version becomes the active one."""

    version: Digest
    previous: Digest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreBatch:
    """Inquiries of one second: the Merkle root of their records (protocol 7.13)."""

    second: int
    root: Digest
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditChallenge:
    """The regulator draws sums of a closed run to be replayed (protocol 9)."""

    run: RunId
    sums: tuple[int, ...]
    """Numbers of closed sums, from 1."""
    choice: Digest
    """The seed that they were drawn with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditResult:
    """What an audit found: passed, failed or waived; good and bad in the same place (9.6)."""

    run: RunId
    verdict: str
    report: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditAnswer:
    """A partner has replayed the sums that a challenge drew, on its premises (9.4)."""

    challenge: Digest
    """Leaf hash of the challenge's entry."""
    run: RunId
    verdict: str
    """passed, failed, or incomplete: something could not be made again."""
    report: Digest
    """Of digests and verdicts; it stays with the partner until the regulator sees it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Anybody says that something is wrong; the text is elsewhere, under its digest."""

    kind: str
    text: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseGate:
    """What the gate says of a candidate, good and bad alike; the newest one counts (13.9)."""

    version: Digest
    passed: bool
    audit: Digest | None
    """The empirical audit that it rests on."""
    checks: tuple[GateCheck, ...]


Body = (
    ManifestAdopted
    | IdentityRevoked
    | RunBody
    | ReleaseCandidate
    | StatementPublished
    | ReleaseVote
    | ReleaseServed
    | ScoreBatch
    | AuditChallenge
    | AuditResult
    | AuditAnswer
    | Incident
    | ReleaseGate
    | ScoringBody
    | GoverningBody
)

_OPERATOR = frozenset({Role.COORDINATOR})
_PARTNER = frozenset({Role.PARTNER})
_REGULATOR = frozenset({Role.REGULATOR})
_WITNESSES = _PARTNER | _REGULATOR

TYPES: Mapping[str, type[Body]] = {
    "manifest.adopted": ManifestAdopted,
    "identity.revoked": IdentityRevoked,
    **RUN_TYPES,
    "release.candidate": ReleaseCandidate,
    "statement.published": StatementPublished,
    "release.vote": ReleaseVote,
    "release.served": ReleaseServed,
    "score.batch": ScoreBatch,
    "audit.challenge": AuditChallenge,
    "audit.result": AuditResult,
    "audit.answer": AuditAnswer,
    "incident": Incident,
    "release.gate": ReleaseGate,
    **SCORING_TYPES,
    **GOVERNING_TYPES,
}
"""The name of each class in an entry."""

ACTORS: Mapping[type[object], frozenset[Role]] = {
    ManifestAdopted: _WITNESSES,
    IdentityRevoked: _OPERATOR | _WITNESSES,
    **RUN_ACTORS,
    ReleaseCandidate: _OPERATOR,
    StatementPublished: _OPERATOR,
    ReleaseVote: _PARTNER,
    ReleaseServed: _OPERATOR,
    ScoreBatch: _OPERATOR,
    AuditChallenge: _REGULATOR,
    AuditResult: _REGULATOR,
    AuditAnswer: _PARTNER,
    Incident: _OPERATOR | _WITNESSES,
    ReleaseGate: _OPERATOR,
    **SCORING_ACTORS,
    **GOVERNING_ACTORS,
}
"""In whose name each may stand."""

_NAMES = {kind: name for name, kind in TYPES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the log."""

    seq_hint: int
    """Size of the newest cosigned checkpoint that the actor knew: the entry comes after all
    of that, and the log can hold it nowhere before (protocol 8.2)."""
    at: int
    """Seconds since 1970, by the actor's clock."""
    actor: PartnerId
    body: Body
    signature: bytes = b""

    @property
    def type(self) -> str:
        """The event's name."""
        return _NAMES[type(self.body)]

    def to_jcs(self) -> bytes:
        """The canonical bytes: what is appended and hashed.

        Raises:
            DomainError: longer than an entry may be.
        """
        signed = {"sig": base64.b64encode(self.signature).decode("ascii")}
        data = _dump(self._plain() | signed)
        if len(data) > LARGEST_ENTRY:
            raise DomainError(f"{self.type} of {len(data)} bytes")
        return data

    def _plain(self) -> dict[str, object]:
        return {
            "v": VERSION,
            "type": self.type,
            "seq_hint": self.seq_hint,
            "at": self.at,
            "actor": self.actor,
            "body": plain_of(self.body),
        }

    def statement(self) -> bytes:
        """What the actor signs under Label.ENTRY: the entry without its signature."""
        return _dump(self._plain())


def sign_entry(entry: Entry, key: IdentityKey) -> Entry:
    """``entry`` under its actor's signature; the one that it has is not looked at."""
    return Entry(
        seq_hint=entry.seq_hint,
        at=entry.at,
        actor=entry.actor,
        body=entry.body,
        signature=key.sign(Label.ENTRY, entry.statement()),
    )


def from_jcs(data: bytes) -> Entry:
    """The entry whose canonical bytes are ``data``; its signature is not verified.

    Raises:
        DecodeError: not canonical, of an unknown type or version, a field unknown, missing or
            of another type. Fault: the actor, or who changed it.
    """
    if len(data) > LARGEST_ENTRY:
        raise DecodeError(f"entry of {len(data)} bytes")
    try:
        plain = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DecodeError("entry: not JSON") from error
    if not isinstance(plain, dict) or tuple(sorted(plain)) != _KEYS:
        raise DecodeError("entry: unknown or missing fields")
    if type(plain["v"]) is not int or plain["v"] != VERSION or not _known(plain["type"]):
        raise DecodeError(f"entry: version {plain['v']!r:.20}, type {plain['type']!r:.40}")
    entry = Entry(
        seq_hint=_whole(plain["seq_hint"]),
        at=_whole(plain["at"]),
        actor=_actor(plain["actor"]),
        body=_body(plain["type"], plain["body"]),
        signature=_signature(plain["sig"]),
    )
    _check(entry.body)
    try:
        # What was parsed is written again, not the entry: each value of a class has one plain
        # form (``documents``), so both are the same bytes, and this is half the work.
        same = _dump(plain) == data
    except ValueError as error:
        raise DecodeError("entry: no canonical form") from error
    if not same:
        raise DecodeError("entry: the bytes differ from the canonical form")
    return entry


def verify_entry(entry: Entry, data: bytes, member: Member) -> None:
    """Raise unless ``member`` signed this entry and may say such a thing.

    Args:
        entry: As ``from_jcs`` read it from ``data``.
        data: Its canonical bytes.
        member: The actor's entry in the manifest that is in force.

    Raises:
        DecodeError: the role may not write this type. Fault: the actor.
        SignatureError: the signature fails under the manifest's key.
    """
    if member.role not in ACTORS[type(entry.body)]:
        raise DecodeError(f"{entry.type} in the name of {member.role.value} {member.id}")
    # The signature is the third field from the end, and its text needs no escapes: cutting it
    # out is cheaper than writing the entry again, which reading it has done already.
    end = f'"type":"{entry.type}","v":{VERSION}}}'.encode()
    signature = base64.b64encode(entry.signature)
    head = data.removesuffix(b'"sig":"' + signature + b'",' + end)
    verify_signature(bytes.fromhex(member.identity), Label.ENTRY, head + end, entry.signature)


def _dump(plain: object) -> bytes:
    """RFC 8785 of what an entry may hold; the encoder of the standard library is in C.

    Of texts, booleans, whole numbers, lists and objects with ASCII keys both make the same
    bytes; a property test compares them.
    """
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8")


def _body(name: str, plain: object) -> Body:
    try:
        return value_of(TYPES[name], plain)
    except DomainError as error:
        raise DecodeError(f"entry: {name}: {error}") from error


def _known(name: object) -> bool:
    return isinstance(name, str) and name in TYPES


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value < _LIMIT:
        raise DecodeError(f"entry: {value!r:.40} is no whole number")
    return value


def _actor(value: object) -> PartnerId:
    try:
        return parse_partner_id(value if isinstance(value, str) else "")
    except IdentifierError as error:
        raise DecodeError(f"entry: actor {value!r:.40}") from error


def _signature(value: object) -> bytes:
    text = value if isinstance(value, str) else "not a text"
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DecodeError("entry: signature is not base64") from error
    if base64.b64encode(found).decode("ascii") != text:
        raise DecodeError("entry: a second way to write the signature")
    return found


def _check(value: object) -> None:
    """Raise DecodeError unless names are of their form and numbers have a canonical form."""
    if type(value) is int and not -_LIMIT < value < _LIMIT:
        raise DecodeError("entry: a number of 2**53 or more")
    if isinstance(value, tuple):
        for item in value:
            _check(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for name, parse in _parsers(type(value)):
            if parse is None:
                _check(getattr(value, name))
            else:
                _check_names(getattr(value, name), parse, name)


def _check_names(found: object, parse: Callable[[str], str], field: str) -> None:
    """One name, a tuple of them, or none where the field is optional."""
    names = found if isinstance(found, tuple) else () if found is None else (found,)
    for name in names:
        try:
            parse(str(name))
        except IdentifierError as error:
            raise DecodeError(f"entry: {field}: {error}") from error


@lru_cache(maxsize=64)
def _parsers(kind: type) -> tuple[tuple[str, Callable[[str], str] | None], ...]:
    """The fields of a class, each with what its names must be of."""
    found: list[tuple[str, Callable[[str], str] | None]] = []
    for name, hint in typing.get_type_hints(kind).items():
        parts = {hint, *typing.get_args(hint)}
        parse = next((parser for one, parser in _NAMES_OF if one in parts), None)
        found.append((name, parse))
    return tuple(found)


_NAMES_OF: tuple[tuple[object, Callable[[str], str]], ...] = (
    (Digest, parse_digest),
    (RunId, parse_run_id),
    (PartnerId, parse_partner_id),
    (RequestId, parse_request_id),
)
