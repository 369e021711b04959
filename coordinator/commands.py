"""What the operator's commands do at the desk: tokens, exits, the bundle, gates made again."""

from pathlib import Path

from consortium.errors import ConfigurationError, ManifestError
from consortium.ids import Digest, PartnerId
from consortium.ledger.archive import pack
from consortium.ledger.entries import IdentityRevoked, ReleaseGate
from consortium.manifest import Manifest, Policy, Role
from coordinator import gating, wiring
from coordinator.authority import JoinToken, secret_digest
from coordinator.calibration import HeadSettings, head_plan
from coordinator.inquiry_bundle import scoring_files
from coordinator.member_storage import TokenRow
from coordinator.revocation import member_to_revoke
from coordinator.scoring_storage import ScoringStore
from coordinator.table_releases import table_files


def plan_of_head(desk: wiring.Desk, settings: HeadSettings) -> str:
    """The plan file of a head for the active model.

    Raises:
        ManifestError: no manifest is in force.
        ConfigurationError: no model is active, or nobody may ask for joint scores.
    """
    from models.document import parse_model_document  # noqa: PLC0415 - loads the models

    manifest, active = desk.membership.current(), desk.store.models.active()
    if manifest is None:
        raise ManifestError("no manifest is in force")
    if active is None:
        raise ConfigurationError("no model is active: there is nothing to calibrate")
    document = parse_model_document(active.document, desk.schema)
    return head_plan(active.version, document, manifest, settings)


def write_bundle(desk: wiring.Desk, path: Path, *, uploads: bool = False) -> Digest:
    """Write the audit bundle (protocol 8.7); returns the digest of the manifest in force.

    With ``uploads`` the masked words that are still kept are in it.

    Raises:
        ManifestError: no manifest is in force.
        DomainError: it is too large for one file.
        ConfigurationError: the file cannot be written.
    """
    manifest = desk.membership.current()
    if manifest is None:
        raise ManifestError("no manifest is in force")
    files = desk.log.bundle(manifest, uploads=uploads)
    data = pack(
        files | scoring_files(ScoringStore(desk.store), files) | table_files(desk.store)
    )
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    return manifest.digest


def gate_again(desk: wiring.Desk, version: Digest, path: Path) -> ReleaseGate:
    """Take up an empirical audit from a file, and make the gate of a version again.

    Raises:
        ConfigurationError: the file cannot be read, or there is no such version.
        DecodeError: it is no audit.
        ManifestError: no manifest is in force.
    """
    document = wiring.read_text(path).strip().encode()
    audit = gating.audit_of(document)
    desk.store.models.add_audit(audit.digest, document)
    return gating.make_again(
        desk.store,
        desk.schema,
        desk.log,
        gating.Again(manifest=desk.membership.current(), version=version, at=wiring.now()),
    )


def is_witnessed(desk: wiring.Desk) -> bool:
    """Whether the newest head of the log counts (protocol 8.5)."""
    manifest = desk.membership.current()
    return manifest is not None and desk.log.witnessed(manifest)


def cosigners(desk: wiring.Desk) -> tuple[PartnerId, ...]:
    """Partners that have cosigned all that is in the log now."""
    manifest = desk.membership.current()
    return () if manifest is None else desk.log.cosigners(manifest)


def issue_token(
    desk: wiring.Desk,
    partner: PartnerId,
    families: tuple[str, ...],
    *,
    hours: int,
    role: Role = Role.PARTNER,
) -> JoinToken:
    """Make a one-time join token and store its digest; a regulator's has no families.

    Raises:
        ConfigurationError: a family that the schema does not know; none for a partner, or
            some for a regulator.
    """
    unknown = sorted(set(families) - set(desk.schema.families))
    if role is Role.REGULATOR and families:
        raise ConfigurationError(f"{partner} is a regulator: it holds no families")
    if unknown or (role is Role.PARTNER and not families):
        known = ", ".join(desk.schema.families)
        raise ConfigurationError(f"families {unknown} are not in the schema; it has: {known}")
    token = JoinToken(
        federation=desk.config.federation,
        partner=partner,
        enrolment=desk.config.enrolment_public,
        authority=desk.authority.certificate,
        secret=wiring.entropy(),
        expires=wiring.now() + hours * 3600,
    )
    desk.store.members.add_token(
        TokenRow(
            secret_sha256=secret_digest(token.secret),
            partner=partner,
            role=role,
            families=families,
            expires=token.expires,
        )
    )
    return token


def revoke(desk: wiring.Desk, partner: PartnerId, reason: str, *, since: int | None) -> bool:
    """Say that a member's identity is revoked; whether it was not before (protocol 2.7).

    Counts at once, also for a coordinator that serves in another process.

    Args:
        desk: The operator's.
        partner: Of the manifest in force; a regulator may be meant, too.
        reason: Of ``revocations.REASONS``.
        since: When the key was lost, seconds UTC; None: now.

    Raises:
        ConfigurationError: no manifest is in force, or it has no such member.
    """
    member = member_to_revoke(desk.membership.current(), partner)
    if member.identity in desk.store.members.revoked():
        return False
    return desk.log.revoke(
        IdentityRevoked(
            member=partner,
            identity=bytes.fromhex(member.identity),
            reason=reason,
            effective_at=wiring.now() if since is None else since,
        )
    )


def exit_member(
    desk: wiring.Desk, partner: PartnerId, policy: Policy
) -> tuple[bool, Manifest | None]:
    """Let a member go: it is in nothing new from now on, and in the next manifest no more.

    A run under way goes on without it under the manifest that is in force, and only after
    that the next one is proposed: call it again then. Idempotent.

    Returns:
        Whether it was revoked by this call, and the manifest without it; None while a run is
        under way.

    Raises:
        ConfigurationError: it was no member, or too few partners are left for the policy.
    """
    current = desk.membership.current()
    listed = {one.id for one in current.members if one.active} if current else set()
    fresh = partner in listed and revoke(desk, partner, "left", since=None)
    member = desk.store.members.get(partner)
    if member is None or member.identity not in desk.store.members.revoked():
        raise ConfigurationError(f"{partner} is no member, or comes in again under a new key")
    if desk.store.runs.unfinished():
        return fresh, None
    return fresh, desk.membership.propose(desk.config.federation, desk.schema, policy)
