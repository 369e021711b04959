"""The federation manifest: members, keys, floors; signed by all (protocol 2.2 to 2.4).

A node works under one manifest only: the one whose digest its operator pinned. This module
parses and verifies; fetching, signing and pinning are the roles'.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any

from consortium.canonical import Label, canonical_json, hash_with, parse_canonical
from consortium.crypto.keys import verify_signature
from consortium.errors import ConfigurationError, ManifestError, SignatureError
from consortium.figure_policy import (
    FigurePolicy,
    check_figures,
    figures_document,
    figures_of,
)
from consortium.gates import GatePolicy, check_gate, gate_document, gate_of
from consortium.ids import Digest, PartnerId, parse_digest, parse_partner_id
from consortium.messages import Signed
from consortium.plan import decimal

TYPE = "riskweave/manifest/v1"

_PAIR = 2


class Role(StrEnum):
    """What a member does."""

    COORDINATOR = "coordinator"
    PARTNER = "partner"
    REGULATOR = "regulator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One party and its public keys, lower-case hex (protocol 2.1)."""

    id: PartnerId
    index: int
    role: Role
    identity: str
    agreement: str
    witness: str
    tls_spki: Digest
    families: tuple[str, ...]
    active: bool = True


class Delivery(StrEnum):
    """How a joint score reaches its user (protocol 7.16)."""

    PARTNER_LOCAL = "partner_local"
    """Weights go to the node, which scores its own applicant; nobody is asked."""
    JOINT = "joint"
    """Every active partner may ask the others."""
    VIA_LICENSED_BUREAU = "via_licensed_bureau"
    """Only the partner that is named as the bureau may ask."""


class Disclosure(StrEnum):
    """What an asker learns beside the sum (protocol 7.6)."""

    FAMILY = "family"
    TOTAL_ONLY = "total_only"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringPolicy:
    """What every node enforces on the scoring stream (protocol 6, 7).

    Quotas count persons, for each asking partner, at each answering one.
    """

    delivery: Delivery = Delivery.PARTNER_LOCAL
    bureau: PartnerId | None = None
    """The partner that may ask under ``via_licensed_bureau``."""
    epoch: int = 0
    """Epoch of the pseudonyms; 0: none are made (protocol 6.3, 6.9)."""
    identifier: str = "xx/record"
    """Form of a person's identifier, alike at all partners (protocol 6.1)."""
    min_responders: int = 2
    """Fewest answering partners beside the asker (protocol 7.2)."""
    disclosure: Disclosure = Disclosure.FAMILY
    reason_step: int = 5
    """Points to which other partners' part of a reason is rounded."""
    scores_per_second: int = 5
    scores_per_day: int = 10_000
    studies_per_release: int = 5_000
    """Persons for whom one partner may ask for calibration of one model version."""
    tokens_per_second: int = 1
    tokens_per_day: int = 10_000
    load_hours: int = 24
    """Hours over which a first load of customers is spread (protocol 6.6)."""
    customers: tuple[tuple[PartnerId, int], ...] = ()
    """Declared number of customers, sorted by partner: what a first load may hold."""
    answer_ms: int = 2
    """Milliseconds after which an answer leaves, whatever the look-up took (protocol 7.5)."""

    def may_ask(self, partner: PartnerId) -> bool:
        """Whether the delivery mode lets this partner ask the others."""
        if self.delivery is Delivery.VIA_LICENSED_BUREAU:
            return partner == self.bureau
        return self.delivery is Delivery.JOINT


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Floors and caps that every node enforces, whatever a plan says."""

    min_partners: int
    max_partners_per_person: int
    delta: str
    max_epsilon_per_run: str
    max_epsilon_lifetime: str
    model_kinds: tuple[str, ...]
    code: tuple[Digest, ...]
    """Digests of the node software that may train; empty: any, and the statement says so."""
    vote_quorum: int
    """Accepting votes that make a release active."""
    honest_fraction: str = "0.5"
    """Most that a plan may assume of a roster not to collude (protocol 4.3)."""
    family_m: tuple[tuple[str, int], ...] = ()
    """Most of the partners with a feature family that may hold one person, sorted by family;
    a family that is not listed has ``max_partners_per_person`` (protocol 4.2)."""
    allow_pair: bool = False
    """Whether rosters of two may train under shared noise (protocol 3.7)."""
    scoring: ScoringPolicy = ScoringPolicy()
    gate: GatePolicy = field(default_factory=GatePolicy)
    """What a release must pass (protocol 13.9)."""
    figures: FigurePolicy = field(default_factory=FigurePolicy)
    """Which table releases are allowed, and at what cost (protocol 13.11)."""

    def holders_floor(self, families: Iterable[str]) -> int:
        """The least m_b that a plan may state for a block of these families.

        A row of the block is at a partner that holds all of them, so the family that fewest
        partners may hold one person in bounds it (protocol 4.2).
        """
        known = dict(self.family_m)
        m = self.max_partners_per_person
        return min((min(known.get(name, m), m) for name in families), default=m)

    def partners_floor(self, partners: int, noise_mode: str) -> int:
        """The least roster of a federation of ``partners`` (protocol 3.7).

        Under shared noise ``max(3, ⌈2K/3⌉)``, or 2 where ``allow_pair`` says so and no third
        partner is there; under own noise nothing rests on hiding in a sum.
        """
        if noise_mode == "own":
            return self.min_partners
        if self.allow_pair and partners <= _PAIR:
            return max(_PAIR, self.min_partners)
        return max(_PAIR + 1, -(-2 * partners // 3), self.min_partners)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The body that every active partner signs."""

    federation: str
    version: int
    previous: Digest | None
    not_before: int
    """Seconds since 1970, UTC."""
    schema: Digest
    members: tuple[Member, ...]
    policy: Policy

    @property
    def digest(self) -> Digest:
        """Hash of the canonical body under its label (protocol 2.3)."""
        return _digest_of(self)

    @property
    def partners(self) -> tuple[Member, ...]:
        """Active partners, sorted by id."""
        found = (m for m in self.members if m.role is Role.PARTNER and m.active)
        return tuple(sorted(found, key=lambda member: member.id))

    @property
    def coordinator(self) -> Member:
        """The coordinator's entry."""
        return next(m for m in self.members if m.role is Role.COORDINATOR)

    def askers_floor(self, askers: Iterable[PartnerId]) -> int:
        """The least m_b of a head with these askers (protocol 4.2.2).

        A row is at an asker that holds the person, with all families that the asker has; so
        what bounds the askers of one person are the families that every asker has.
        """
        held = [set(member.families) for member in self.partners if member.id in set(askers)]
        shared = set.intersection(*held) if held else set()
        return self.policy.holders_floor(sorted(shared))

    def member(self, name: PartnerId) -> Member:
        """Return the active member of that id, or raise ManifestError."""
        for member in self.members:
            if member.id == name and member.active:
                return member
        raise ManifestError(f"{name} is not an active member of manifest {self.digest}")

    def signers(self) -> tuple[Member, ...]:
        """Those without whose signature the manifest counts for nothing (protocol 2.3)."""
        return tuple(m for m in self.members if m.active and m.role is not Role.COORDINATOR)


@lru_cache(maxsize=8)
def _digest_of(manifest: Manifest) -> Digest:
    return hash_with(Label.MANIFEST, manifest_bytes(manifest))


def manifest_bytes(manifest: Manifest) -> bytes:
    """The canonical body that is hashed and signed."""
    policy = manifest.policy
    return canonical_json(
        {
            "type": TYPE,
            "federation": manifest.federation,
            "version": manifest.version,
            "prev": manifest.previous or "",
            "not_before": manifest.not_before,
            "schema": manifest.schema,
            "members": [
                {
                    "id": member.id,
                    "index": member.index,
                    "role": member.role.value,
                    "identity": member.identity,
                    "agreement": member.agreement,
                    "witness": member.witness,
                    "tls_spki_sha256": member.tls_spki,
                    "families": list(member.families),
                    "status": "active" if member.active else "revoked",
                }
                for member in manifest.members
            ],
            "policy": {
                "n_min": policy.min_partners,
                "m": policy.max_partners_per_person,
                "delta": policy.delta,
                "run_epsilon": policy.max_epsilon_per_run,
                "lifetime_epsilon": policy.max_epsilon_lifetime,
                "models": list(policy.model_kinds),
                "code": list(policy.code),
                "vote_quorum": policy.vote_quorum,
                "honest_fraction": policy.honest_fraction,
                "family_m": dict(policy.family_m),
                "allow_pair": policy.allow_pair,
                "scoring": _scoring_document(policy.scoring),
                "gate": gate_document(policy.gate),
                "figures": figures_document(policy.figures),
            },
        }
    )


def _scoring_document(scoring: ScoringPolicy) -> dict[str, object]:
    return {
        "delivery": scoring.delivery.value,
        "bureau": scoring.bureau or "",
        "epoch": scoring.epoch,
        "identifier": scoring.identifier,
        "min_responders": scoring.min_responders,
        "disclosure": scoring.disclosure.value,
        "reason_step": scoring.reason_step,
        "scores_per_second": scoring.scores_per_second,
        "scores_per_day": scoring.scores_per_day,
        "studies_per_release": scoring.studies_per_release,
        "tokens_per_second": scoring.tokens_per_second,
        "tokens_per_day": scoring.tokens_per_day,
        "load_hours": scoring.load_hours,
        "customers": dict(scoring.customers),
        "answer_ms": scoring.answer_ms,
    }


def parse_manifest(body: bytes) -> Manifest:
    """Return the manifest, or raise ManifestError naming the field."""
    document = parse_canonical(body)
    try:
        manifest = _manifest_of(document)
    except (KeyError, TypeError, ValueError, AttributeError, ConfigurationError) as error:
        raise ManifestError(f"manifest body: {type(error).__name__}: {error}") from error
    if manifest_bytes(manifest) != body:
        raise ManifestError("manifest body has fields that this version does not know")
    _check_members(manifest)
    _check_policy(manifest.policy)
    return manifest


def _manifest_of(document: object) -> Manifest:
    if not isinstance(document, dict) or document.get("type") != TYPE:
        raise ManifestError(f"manifest body is not of type {TYPE}")
    policy = document["policy"]
    return Manifest(
        federation=str(document["federation"]),
        version=int(document["version"]),
        previous=parse_digest(document["prev"]) if document["prev"] else None,
        not_before=int(document["not_before"]),
        schema=parse_digest(document["schema"]),
        members=tuple(_member_of(entry) for entry in document["members"]),
        policy=Policy(
            min_partners=int(policy["n_min"]),
            max_partners_per_person=int(policy["m"]),
            delta=str(policy["delta"]),
            max_epsilon_per_run=str(policy["run_epsilon"]),
            max_epsilon_lifetime=str(policy["lifetime_epsilon"]),
            model_kinds=tuple(str(kind) for kind in policy["models"]),
            code=tuple(parse_digest(entry) for entry in policy["code"]),
            vote_quorum=int(policy["vote_quorum"]),
            honest_fraction=str(policy["honest_fraction"]),
            family_m=tuple(sorted((str(k), int(v)) for k, v in policy["family_m"].items())),
            allow_pair=bool(policy["allow_pair"]),
            scoring=_scoring_of(policy["scoring"]),
            gate=gate_of(policy["gate"]),
            figures=figures_of(policy["figures"]),
        ),
    )


def _scoring_of(entry: Mapping[str, Any]) -> ScoringPolicy:
    customers = ((parse_partner_id(str(k)), int(v)) for k, v in entry["customers"].items())
    return ScoringPolicy(
        delivery=Delivery(str(entry["delivery"])),
        bureau=parse_partner_id(str(entry["bureau"])) if entry["bureau"] else None,
        epoch=int(entry["epoch"]),
        identifier=str(entry["identifier"]),
        min_responders=int(entry["min_responders"]),
        disclosure=Disclosure(str(entry["disclosure"])),
        reason_step=int(entry["reason_step"]),
        scores_per_second=int(entry["scores_per_second"]),
        scores_per_day=int(entry["scores_per_day"]),
        studies_per_release=int(entry["studies_per_release"]),
        tokens_per_second=int(entry["tokens_per_second"]),
        tokens_per_day=int(entry["tokens_per_day"]),
        load_hours=int(entry["load_hours"]),
        customers=tuple(sorted(customers)),
        answer_ms=int(entry["answer_ms"]),
    )


_SCORING_BOUNDS: Mapping[str, tuple[int, int]] = {
    "epoch": (0, 65_535),
    "min_responders": (2, 64),
    "reason_step": (1, 100),
    "scores_per_second": (1, 10**6),
    "scores_per_day": (1, 10**9),
    "studies_per_release": (0, 10**9),
    "tokens_per_second": (1, 10**6),
    "tokens_per_day": (1, 10**9),
    "load_hours": (0, 8_760),
    "answer_ms": (0, 1_000),
}


def check_scoring(scoring: ScoringPolicy) -> None:
    """Raise ManifestError naming the first field that is outside its bounds."""
    for name, (low, high) in _SCORING_BOUNDS.items():
        value = getattr(scoring, name)
        if not low <= value <= high:
            raise ManifestError(f"policy.scoring.{name}: {value} is outside {low} to {high}")
    if (scoring.delivery is Delivery.VIA_LICENSED_BUREAU) != (scoring.bureau is not None):
        raise ManifestError(
            "policy.scoring.bureau: goes with delivery via_licensed_bureau, and only so"
        )
    if scoring.delivery is not Delivery.PARTNER_LOCAL and not scoring.epoch:
        raise ManifestError(
            "policy.scoring.epoch: 0, but a joint score needs pseudonyms; expected 1 or more"
        )


def _check_policy(policy: Policy) -> None:
    check_scoring(policy.scoring)
    try:
        check_gate(policy.gate)
        check_figures(policy.figures)
        decimal(policy.honest_fraction, "policy.honest_fraction", low="0.01", high="1")
    except ConfigurationError as error:
        raise ManifestError(str(error)) from error
    for name, most in policy.family_m:
        if most < 1:
            raise ManifestError(f"family {name}: one person at {most} partners")


def _member_of(entry: Mapping[str, object]) -> Member:
    families = entry["families"]
    index = entry["index"]
    if not isinstance(families, list) or not isinstance(index, int):
        raise ManifestError(f"member {entry.get('id')}: families or index of the wrong type")
    return Member(
        id=parse_partner_id(str(entry["id"])),
        index=index,
        role=Role(str(entry["role"])),
        identity=_key(entry, "identity"),
        agreement=_key(entry, "agreement"),
        witness=_key(entry, "witness"),
        tls_spki=parse_digest(str(entry["tls_spki_sha256"])),
        families=tuple(str(family) for family in families),
        active={"active": True, "revoked": False}[str(entry["status"])],
    )


def _key(entry: Mapping[str, object], field: str) -> str:
    value = str(entry[field])
    if value and len(bytes.fromhex(value)) != 32:  # noqa: PLR2004 - RFC 8032, RFC 7748
        raise ManifestError(f"member {entry.get('id')}: {field} is not 32 bytes in hex")
    return value


def _check_members(manifest: Manifest) -> None:
    ids = [member.id for member in manifest.members]
    indices = [member.index for member in manifest.members]
    if len(set(ids)) != len(ids) or len(set(indices)) != len(indices):
        raise ManifestError("a member or a member index is listed twice")
    if not all(1 <= index <= 65535 for index in indices):  # noqa: PLR2004 - protocol 0.4
        raise ManifestError("a member index is outside 1 to 65535 (protocol 0.4)")
    coordinators = [m for m in manifest.members if m.role is Role.COORDINATOR]
    if len(coordinators) != 1:
        raise ManifestError(f"{len(coordinators)} coordinators listed, expected one")


def verify_manifest(manifest: Manifest, signatures: Iterable[Signed], *, now: int) -> None:
    """Raise ManifestError unless every active partner and regulator has signed (protocol 2.3).

    Raises:
        ManifestError: a signature is missing, or ``now`` (seconds, UTC) is too early.
        SignatureError: one does not verify. Fault: the signer, or who relayed it.
    """
    digest = manifest.digest
    if now < manifest.not_before:
        raise ManifestError(f"manifest {digest} is not valid before {manifest.not_before}")
    by_member = {signed.member: signed for signed in signatures}
    for member in manifest.signers():
        signed = by_member.get(member.id)
        if signed is None:
            raise ManifestError(f"{member.id} has not signed manifest {digest}")
        if signed.digest != digest:
            raise SignatureError(f"{member.id} signed {signed.digest}, not {digest}")
        verify_signature(
            bytes.fromhex(member.identity),
            Label.MANIFEST_SIGNATURE,
            bytes.fromhex(digest),
            signed.signature,
        )


def digest_of_code(record: str) -> Digest:
    """Hash of a wheel's RECORD (protocol 2.2), or ``NO_CODE`` if no source file is in it.

    An editable installation records links and no file: two of them with different code would
    have one digest, so they are said to have none.
    """
    covers = any(line.startswith("consortium/") for line in record.splitlines())
    return hash_with(Label.CODE, record.encode() if covers else b"")


NO_CODE = digest_of_code("")
"""Digest of an installation whose files nobody has recorded."""
