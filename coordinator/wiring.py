"""Puts the coordinator together: the only file with clock, entropy, environment and disk.

Everything else receives them. Keys are files of mode 0600 in a directory of mode 0700; one
that others may read is refused, for then it may have been read.
"""

import asyncio
import importlib.metadata
import json
import logging
import os
import platform
import signal
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consortium.addresses import parse_addresses
from consortium.crypto.keys import IdentityKey, NoteKey, Secret
from consortium.errors import ConfigurationError, DomainError, ManifestError, RiskWeaveError
from consortium.features.schema import Schema, parse_schema
from consortium.ids import Digest, PartnerId, RunId
from consortium.inquiries import Roster
from consortium.ledger.archive import pack
from consortium.ledger.entries import IdentityRevoked, ReleaseGate
from consortium.manifest import Manifest, Policy, Role, digest_of_code
from consortium.scoring.roster import sign_roster
from coordinator import config as configuration
from coordinator import gating, leadership, standby
from coordinator.audit_log import AuditLog, LogKeys
from coordinator.authority import (
    Authority,
    JoinToken,
    KeyPair,
    secret_digest,
    spki_of_pem,
)
from coordinator.calibration import HeadSettings, head_plan
from coordinator.config import DATABASE, Config, load_config, parse_config
from coordinator.control import ControlPorts, ScoringStatus, control_server
from coordinator.doors import Doors
from coordinator.events import EventLog, RunEvent
from coordinator.inquiry_bundle import scoring_files
from coordinator.inquiry_log import Batches, InquiryLog
from coordinator.joint_scoring import ScoringRelay
from coordinator.member_storage import TokenRow
from coordinator.membership import COORDINATOR_ID, Membership, Own
from coordinator.overlap_runs import OverlapLog, OverlapRuns
from coordinator.pseudonym_epochs import PseudonymEpochs
from coordinator.revocation import Enforcer, member_to_revoke
from coordinator.rosters import RosterPorts, Rosters, Served
from coordinator.scoring_storage import ScoringStore
from coordinator.server import Questions, Server
from coordinator.server_certificate import ServerCertificate, ends, renew_when_due
from coordinator.storage import Store
from coordinator.streams import Settings, StreamHub
from coordinator.table_releases import table_files
from upkeep import logs
from upkeep.health_door import Page, open_health
from upkeep.traces import Traces, open_traces

if TYPE_CHECKING:
    from coordinator.inquiry_log import Ended
    from coordinator.metrics import Metrics
    from coordinator.trainer import Trainer

log = logging.getLogger(__name__)

DISTRIBUTION = "riskweave"
_DAY_S = 86_400
_OTHERS = 0o077
_SALT_BYTES = 16


def now() -> int:
    """Seconds since 1970, UTC."""
    return int(time.time())


def now_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


def entropy(size: int = 32) -> Secret:
    """Fresh random bytes of the operating system."""
    return Secret(os.urandom(size))


def software() -> str:
    """Name and version, as sent in greetings."""
    try:
        return f"{DISTRIBUTION}/{importlib.metadata.version(DISTRIBUTION)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{DISTRIBUTION}/source"


def code_digest() -> Digest:
    """The hash of the installed wheel's RECORD, which lists every file (protocol 2.2)."""
    try:
        record = importlib.metadata.distribution(DISTRIBUTION).read_text("RECORD")
    except importlib.metadata.PackageNotFoundError:
        record = None
    return digest_of_code(record or "")


def pause(seconds: float) -> None:
    """Let some time go by, for a command that waits for others."""
    time.sleep(seconds)


def set_up_logging() -> None:
    """One line an event on standard error; RISKWEAVE_LOG, RISKWEAVE_LOG_FORMAT: level, form.

    Raises:
        ConfigurationError: either is unknown.
    """
    environment = os.environ
    logs.set_up(
        environment.get("RISKWEAVE_LOG", "INFO"),
        environment.get("RISKWEAVE_LOG_FORMAT", logs.TEXT),
    )


# --- a new directory --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """What a new coordinator directory is made from."""

    name: str
    schema: Path
    address: str
    enrolment: str
    policy: Path | None = None
    storage: str = DATABASE
    public: tuple[str, str] | None = None
    """What partners dial to work and to enrol, where it differs from the addresses."""


def initialise(directory: Path, birth: Birth) -> Config:
    """Write configuration, schema and keys into a new directory.

    Raises:
        ConfigurationError: there is a coordinator already, or an input is refused.
        SchemaError: the schema breaks a rule.
    """
    path = directory / configuration.FILE
    if path.exists():
        raise ConfigurationError(f"{path} exists already; nothing was changed")
    schema = read_text(birth.schema)
    parse_schema(schema, source=str(birth.schema))
    policy = configuration.TEMPLATE_POLICY
    if birth.policy is not None:
        policy = read_text(birth.policy)
        configuration.parse_policy(policy, str(birth.policy))
    head = configuration.TEMPLATE.format(
        name=json.dumps(birth.name),
        address=birth.address,
        enrolment=birth.enrolment,
        public=configuration.public_lines(birth.public),
        storage=json.dumps(birth.storage),
    )
    text = head + policy + configuration.TEMPLATE_LIMITS
    settings = parse_config(text, path)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        settings.keys.mkdir(mode=0o700, exist_ok=True)
        _write_keys(settings)
        settings.schema.write_text(schema, encoding="utf-8")
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{directory}: {error.strerror}") from error
    return settings


def _write_keys(settings: Config) -> None:
    pair = Authority.create(settings.federation, now=now())
    tls = Authority(pair).issue_server(_hosts(settings), now=now())
    for name, data in (
        ("ca.key", pair.key),
        ("ca.pem", Secret(pair.certificate)),
        ("tls.key", tls.key),
        ("tls.pem", Secret(tls.certificate)),
        ("identity.key", Secret(os.urandom(32).hex().encode())),
        ("witness.key", Secret(os.urandom(32).hex().encode())),
    ):
        write_secret(settings.keys / name, data)


def _hosts(settings: Config) -> list[str]:
    """What partners may dial, for the certificate."""
    addresses = (
        settings.federation_address,
        settings.enrolment_address,
        *parse_addresses(settings.federation_public),
        *parse_addresses(settings.enrolment_public),
    )
    named = {address.rpartition(":")[0].strip("[]") for address in addresses}
    return sorted(named - {"0.0.0.0", "::"} or named)  # noqa: S104 - nobody dials these


def write_secret(path: Path, secret: Secret) -> None:
    """Write a new file that only its owner may read; raise ConfigurationError if it exists."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secret.expose())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error


def private_directory(path: Path) -> Path:
    """Make a directory that only its owner may enter; raise ConfigurationError if it exists."""
    try:
        path.mkdir(mode=0o700)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    return path


def _read_secret(path: Path) -> Secret:
    try:
        mode = path.stat().st_mode
        if mode & _OTHERS:
            raise ConfigurationError(f"{path} can be read by others; run: chmod 600 {path}")
        return Secret(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error


def read_text(path: Path) -> str:
    """The whole file; raise ConfigurationError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from error


def write_text(path: Path, text: str) -> None:
    """Write or replace the file; raise ConfigurationError if that cannot be done."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error


# --- the parts --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the operator's commands work with; no network."""

    config: Config
    store: Store
    schema: Schema
    membership: Membership
    authority: Authority
    tls: KeyPair
    certificate: ServerCertificate
    """The files that ``tls`` was read from, and may be renewed in."""
    identity: IdentityKey
    log: AuditLog


def _authority(config: Config) -> tuple[Authority, ServerCertificate]:
    keys = config.keys
    pair = KeyPair(_read_secret(keys / "ca.key"), _read_secret(keys / "ca.pem").expose())
    authority = Authority(pair)
    return authority, ServerCertificate(keys, authority, _hosts(config), _read_secret)


def open_desk(directory: Path) -> Desk:
    """Open a coordinator's directory.

    Raises:
        ConfigurationError: a file is missing, refused, or readable by others.
        StorageError: the database cannot be opened.
    """
    config = load_config(directory)
    keys = config.keys
    authority, certificate = _authority(config)
    tls = certificate.pair()
    identity = IdentityKey.from_secret(_seed(keys / "identity.key"))
    note = NoteKey.from_secret(_seed(keys / "witness.key"))
    own = Own(
        identity=identity,
        witness=note.public,
        tls_spki=spki_of_pem(tls.certificate),
        software=software(),
    )
    store = Store(config.storage_url)
    membership = Membership(store, own, now=now)
    return Desk(
        config=config,
        store=store,
        schema=parse_schema(read_text(config.schema), source=str(config.schema)),
        membership=membership,
        authority=authority,
        tls=tls,
        certificate=certificate,
        identity=identity,
        log=AuditLog(
            store,
            federation=config.federation,
            keys=LogKeys(member=COORDINATOR_ID, identity=identity, note=note),
            now=now,
            manifest=membership.current,
        ),
    )


def plan_of_head(desk: Desk, settings: HeadSettings) -> str:
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


def _seed(path: Path) -> Secret:
    try:
        seed = Secret(bytes.fromhex(_read_secret(path).expose().decode("ascii")))
        IdentityKey.from_secret(seed)
    except (ValueError, DomainError) as error:
        raise ConfigurationError(f"{path} is not a key in hex") from error
    return seed


def write_bundle(desk: Desk, path: Path, *, uploads: bool = False) -> Digest:
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


def gate_again(desk: Desk, version: Digest, path: Path) -> ReleaseGate:
    """Take up an empirical audit from a file, and make the gate of a version again.

    Raises:
        ConfigurationError: the file cannot be read, or there is no such version.
        DecodeError: it is no audit.
        ManifestError: no manifest is in force.
    """
    document = read_text(path).strip().encode()
    audit = gating.audit_of(document)
    desk.store.models.add_audit(audit.digest, document)
    return gating.make_again(
        desk.store,
        desk.schema,
        desk.log,
        gating.Again(manifest=desk.membership.current(), version=version, at=now()),
    )


def is_witnessed(desk: Desk) -> bool:
    """Whether the newest head of the log counts (protocol 8.5)."""
    manifest = desk.membership.current()
    return manifest is not None and desk.log.witnessed(manifest)


def cosigners(desk: Desk) -> tuple[PartnerId, ...]:
    """Partners that have cosigned all that is in the log now."""
    manifest = desk.membership.current()
    return () if manifest is None else desk.log.cosigners(manifest)


def issue_token(
    desk: Desk,
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
        secret=entropy(),
        expires=now() + hours * 3600,
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


def revoke(desk: Desk, partner: PartnerId, reason: str, *, since: int | None) -> bool:
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
            effective_at=now() if since is None else since,
        )
    )


def exit_member(desk: Desk, partner: PartnerId, policy: Policy) -> tuple[bool, Manifest | None]:
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


# --- the server -------------------------------------------------------------------------------


def serve(directory: Path, on_ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; ``on_ready`` is called when the doors are open.

    Over PostgreSQL a process that finds another one leading waits as its standby first.

    Raises:
        ConfigurationError: an address or the control socket cannot be bound.
        StorageError: the database cannot be opened, or has been away for long.
        DeposedError: another replica leads since; start this one again.
    """
    # Read by flwr at its import. Only this command loads it, and only after this line.
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
    asyncio.run(_run(load_config(directory), on_ready))


async def _run(config: Config, on_ready: Callable[[], None]) -> None:
    stopped = _stop_signal()
    with ExitStack() as stack:
        seat = _seat(config)
        if seat is not None:
            stack.callback(seat.leave)
            # The first attempt raises: a wrong address or password is no reason to wait.
            if not seat.attempt() and not await _stand_by(config, seat, stopped):
                return

        def open_store() -> Desk:
            desk = open_desk(config.directory)
            stack.callback(desk.store.close)
            if seat is not None:
                holder = f"{platform.node()}:{os.getpid()}"
                office = leadership.take_office(desk.store, desk.identity.public, holder, now())
                desk.store.lead(office)
                log.info("leads in epoch %d", office.epoch)
            return desk

        opening = asyncio.to_thread(open_store)
        desk = await (opening if seat is None else standby.breathing(seat, opening))
        keeping = None if seat is None else standby.keep_seat(seat, desk.store)
        with open_traces(os.environ, "riskweave-coordinator") as traces:
            await _serve(desk, stopped, keeping, on_ready, traces=traces)


def _seat(config: Config) -> leadership.Seat | None:
    """What one of several replicas takes; None: this database has one process only."""
    if not config.storage_url.startswith("postgresql"):
        return None
    identity = IdentityKey.from_secret(_seed(config.keys / "identity.key"))
    return leadership.Seat(config.storage_url, identity.public)


async def _stand_by(config: Config, seat: leadership.Seat, stopped: asyncio.Event) -> bool:
    """Wait as the standby of a leader; False: stopped before the seat was free."""
    authority, certificate = _authority(config)
    metrics = standby.metrics_page(config.directory, lambda: certificate_days(config))
    pages = {"/readyz": standby.not_ready, "/metrics": metrics}
    renewing = asyncio.create_task(renew_when_due(certificate, now))
    try:
        async with (
            open_health(config.directory, pages, config.metrics),
            standby.standby_doors(_doors(config, certificate), authority.certificate_pem),
        ):
            log.info("standby: another replica leads")
            return await standby.take_seat(seat, stopped)
    finally:
        renewing.cancel()


def _doors(config: Config, certificate: ServerCertificate) -> Doors:
    return Doors(
        federation=config.federation_address,
        enrolment=config.enrolment_address,
        federation_public=config.federation_public,
        tls=certificate.pair(),
        renewed=certificate.renewed,
    )


def _metrics(
    desk: Desk, hub: StreamHub, scoring: "Scoring", trainer: "Trainer", *, traces: Traces
) -> "Metrics":
    """What is told and read of all parts; traces are told the same."""
    from coordinator.metrics import Metrics, MetricsPorts  # noqa: PLC0415 - serving only
    from coordinator.traced import Traced  # noqa: PLC0415 - likewise

    metrics = Metrics(
        MetricsPorts(
            directory=desk.config.directory,
            store=desk.store,
            log=desk.log,
            membership=desk.membership,
            links=hub,
            in_flight=lambda: scoring.relay.in_flight,
            certificate_days=lambda: certificate_days(desk.config),
        )
    )
    traced = Traced(traces, time.time_ns)

    def on_event(event: "RunEvent") -> None:
        metrics.on_event(event)
        traced.on_event(event)

    def on_ended(ended: "Ended") -> None:
        metrics.on_ended(ended)
        traced.on_ended(ended)

    trainer.log.on_append = on_event
    scoring.inquiries.on_ended = on_ended
    return metrics


def certificate_days(config: Config) -> int:
    """Days that the server's certificate still counts; below 0 it has ended."""
    return (ends((config.keys / "tls.pem").read_bytes()) - now()) // _DAY_S


def _ready(store: Store) -> Page:
    store.runs.newest()
    return Page(b"ready\n")


async def _serve(
    desk: Desk,
    stopped: asyncio.Event,
    keeping: Coroutine[Any, Any, None] | None,
    on_ready: Callable[[], None],
    *,
    traces: Traces,
) -> None:
    limits = desk.config.limits
    settings = Settings(
        training_limit=limits.training_message_mib << 20,
        scoring_limit=limits.scoring_message_kib << 10,
    )
    hub = StreamHub(desk.membership.greet, settings)
    scoring = open_scoring(desk, hub)
    trainer = _trainer(desk, hub)
    ports = ControlPorts(
        store=desk.store,
        trainer=trainer,
        links=hub,
        manifest=desk.membership.current,
        scoring=scoring.status,
        overlap=scoring.overlaps.run,
    )
    server = Server(
        _doors(desk.config, desk.certificate),
        questions=Questions(desk.store, desk.membership, hub, now=now, log=desk.log),
        membership=desk.membership,
        hub=hub,
        authority=desk.authority,
    )
    await server.start()
    parts = [
        asyncio.create_task(scoring.relay.run()),
        asyncio.create_task(renew_when_due(desk.certificate, now)),
    ]
    if keeping is not None:
        parts.append(asyncio.create_task(keeping))
    enforcer = Enforcer(desk.store, hub, lambda: _tell_of_revoked(desk, scoring))
    desk.log.before_shown = enforcer.before_shown
    parts.append(asyncio.create_task(enforcer.run()))
    control = control_server(ports, desk.config.control_socket)
    await control.start()
    metrics = _metrics(desk, hub, scoring, trainer, traces=traces)
    pages = {"/readyz": lambda: _ready(desk.store), "/metrics": metrics.page}
    health = open_health(desk.config.directory, pages, desk.config.metrics)
    try:
        async with health:
            await asyncio.to_thread(_resume, trainer)
            on_ready()
            await _first(stopped.wait(), *parts)
        log.info("stopping")
    finally:
        # The trainer first: an attempt under way is closed rather than lost.
        await asyncio.to_thread(trainer.stop)
        await server.stop()
        for part in parts:
            part.cancel()
        await scoring.relay.stop()
        await control.stop(0)
        desk.config.control_socket.unlink(missing_ok=True)


def _tell_of_revoked(desk: Desk, scoring: "Scoring") -> None:
    """A roster without them goes out now, and all witnesses are shown the newest head."""
    scoring.relay.renew_rosters()
    desk.log.witnesses.show_newest()


async def _first(stopped: Coroutine[Any, Any, Any], *parts: "asyncio.Task[None]") -> None:
    """Wait for the signal to stop; a part that ends before it ends the coordinator."""
    stopping = asyncio.create_task(stopped)
    await asyncio.wait((stopping, *parts), return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        stopping.cancel()
        for part in parts:
            if part.done():
                await part


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """The coordinator's side of joint scores, attached to a hub."""

    relay: ScoringRelay
    epochs: PseudonymEpochs
    overlaps: OverlapRuns
    inquiries: InquiryLog

    def status(self) -> ScoringStatus:
        """As it stands now; from any thread."""
        return ScoringStatus(
            epoch=self.epochs.status,
            in_flight=self.relay.in_flight,
            dropped=sum(self.relay.dropped.values()),
        )


def open_scoring(desk: Desk, hub: StreamHub) -> Scoring:
    """Build it and attach it; ``relay.run`` must then run in the hub's loop."""
    store = ScoringStore(desk.store)

    def sign(roster: Roster) -> Roster:
        return sign_roster(roster, desk.identity)

    rosters = Rosters(
        RosterPorts(
            lines=hub,
            manifest=desk.membership.current,
            served=lambda: served(desk.store),
            sign=sign,
            now_ms=now_ms,
        )
    )
    epochs = PseudonymEpochs(hub, rosters, store, now=now, append=desk.log.append)
    said = OverlapLog(entry=desk.log.entry, append=desk.log.append)
    overlaps = OverlapRuns(hub, rosters, store, said)
    batches = Batches(store, desk.log.entry, now)
    inquiries = InquiryLog(batches.keep, lambda: os.urandom(_SALT_BYTES))
    relay = ScoringRelay(
        hub,
        rosters=rosters,
        epochs=epochs,
        overlaps=overlaps,
        inquiries=inquiries,
        now_ms=now_ms,
    )
    hub.attach(relay)
    return Scoring(relay=relay, epochs=epochs, overlaps=overlaps, inquiries=inquiries)


def served(store: Store) -> Served:
    """The model that nodes should score with, and the head over it."""
    model, head = store.models.active(), store.models.active_head()
    return (None if model is None else model.version), (None if head is None else head.version)


def _trainer(desk: Desk, hub: StreamHub) -> "Trainer":
    from coordinator.credit.opening import refusal_of, registers_of  # noqa: PLC0415 - numpy
    from coordinator.server_app import Deadlines  # noqa: PLC0415 - loads flwr, see serve
    from coordinator.trainer import KeptWords, Trainer, TrainerPorts  # noqa: PLC0415

    registers = registers_of(desk)
    return Trainer(
        TrainerPorts(
            store=desk.store,
            hub=hub,
            manifest=desk.membership.current,
            schema=desk.schema,
            code=code_digest(),
            now=now,
            run_id=lambda: RunId(os.urandom(16).hex()),
            log=EventLog(_earlier(desk.store)),
            deadlines=Deadlines(attempt=float(desk.config.limits.attempt_timeout_s)),
            audit=desk.log,
            words=KeptWords(
                bytes=desk.config.limits.keep_words_mib << 20,
                seconds=desk.config.limits.keep_words_days * _DAY_S,
            ),
            stopped=lambda plan: refusal_of(registers, plan),
        )
    )


def _earlier(store: Store) -> dict[RunId, tuple[RunEvent, ...]]:
    """What watchers of an interrupted run have seen so far."""
    return {
        row.run: tuple(RunEvent(**json.loads(text)) for text in store.runs.events(row.run))
        for row in store.runs.unfinished()
    }


def _resume(trainer: "Trainer") -> None:
    try:
        run = trainer.resume()
    except RiskWeaveError:
        log.exception("the interrupted run cannot go on")
    else:
        if run is not None:
            log.info("run %s goes on", run)


def _stop_signal() -> asyncio.Event:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    return stopped
