"""Puts the node together: the only file with clock, entropy, environment and process.

Everything else receives them. The training process is started before any channel exists,
and builds its half here, too (``worker_sessions``).
"""

import asyncio
import fcntl
import importlib.metadata
import importlib.util
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    contextmanager,
    suppress,
)
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consortium.addresses import parse_addresses
from consortium.canonical import Label
from consortium.crypto.keys import Secret
from consortium.crypto.statements import enrolment_statement
from consortium.errors import (
    ConfigurationError,
    EnrolmentError,
    ManifestError,
    OutOfOrderError,
    RefusalCode,
    RefusalError,
    RiskWeaveError,
    SignatureError,
    StorageError,
)
from consortium.ids import Digest, PartnerId, RunId
from consortium.ledger.witness import WitnessKey
from consortium.manifest import digest_of_code
from consortium.messages import (
    PROTOCOL_VERSION,
    EnrolmentRequest,
    Signed,
    WitnessQuestion,
)
from partner_node import config as configuration
from partner_node import door, left_journal
from partner_node.budget import OwnCaps, caps
from partner_node.config import Addresses, Config, load_config, parse_config
from partner_node.door import Door
from partner_node.engine_process import Cluster, EngineProcess, private_environment
from partner_node.entry_book import EntryBook
from partner_node.join_token import parse_token
from partner_node.keystore import (
    Keystore,
    Pin,
    Stamp,
    read_bundle,
    read_file,
    read_pin,
    write_file,
)
from partner_node.kill_switch import KillSwitch
from partner_node.left_journal import LeftJournal
from partner_node.link import Dial, Link, Ports
from partner_node.log_mirror import LogMirror, MirrorPorts
from partner_node.records import OwnEntry
from partner_node.replay_storage import Window
from partner_node.ristretto_library import load_ristretto
from partner_node.storage import NodeStore
from partner_node.trust import check_follows, check_nobody_revoked, check_own_entry
from partner_node.witnessing import LogState, Witnessing, WitnessPorts
from partner_node.worker import Worker
from upkeep import logs
from upkeep.health_door import Page, open_health
from upkeep.traces import Outlet, Traces, open_traces

if TYPE_CHECKING:
    from consortium.features.schema import Schema
    from consortium.inquiries import Purpose
    from consortium.manifest import Manifest
    from consortium.plan import TrainingPlan
    from partner_node.answers import JointAnswer
    from partner_node.hazard_sums import HazardSums
    from partner_node.local_sums import Sums
    from partner_node.metrics import Metrics
    from partner_node.part_bytes import Rows
    from partner_node.replaying import Premises
    from partner_node.scoring_session import ScoringSession
    from partner_node.study import Studies
    from partner_node.table import DataSource
    from partner_node.training_session import TrainingSession
    from partner_node.vitals import Vitals

log = logging.getLogger(__name__)

DISTRIBUTION = "riskweave"
_VOICE = "identity.revoked"
_SWITCH_S, _PAUSE_S = 0.001, 0.0005
"""How long a thread may keep the interpreter from the loop, and how long it then rests."""


_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_FLUSH_S = 5.0


def now() -> int:
    """Seconds since 1970, UTC."""
    return int(time.time())


def now_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


def entropy() -> Secret:
    """32 fresh random bytes of the operating system."""
    return Secret(os.urandom(32))


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


# --- a new node -------------------------------------------------------------------------------


def initialise(directory: Path, partner: PartnerId, settings: Path | None) -> Config:
    """Write keys and ``node.toml`` into a new directory.

    Args:
        directory: Made if it is missing.
        partner: The id that the operator will enrol.
        settings: A file with the tables after ``[coordinator]``; None: a commented sample.

    Raises:
        ConfigurationError: there is a node already, or the settings are refused.
    """
    path = directory / configuration.FILE
    if path.exists():
        raise ConfigurationError(f"{path} exists already; nothing was changed")
    text = configuration.TEMPLATE_HEAD.format(partner=partner)
    text += read_text(settings) if settings else configuration.TEMPLATE_SETTINGS
    config = parse_config(text, path)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{directory}: {error.strerror}") from error
    Keystore(directory).create(entropy)
    write_file(path, text.encode())
    return config


def read_text(path: Path) -> str:
    """The whole file; raise ConfigurationError if it cannot be read."""
    try:
        return read_file(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 text") from error


# --- the parts --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the operator's commands work with."""

    config: Config
    keys: Keystore

    @property
    def switch(self) -> KillSwitch:
        """The owner's kill switch."""
        return KillSwitch(self.config.directory)

    def dial(self) -> Dial:
        """Where to call, and what to show there.

        Raises:
            RefusalError: the kill switch is on (R20).
            CertificateError: there is no certificate, or it has expired.
        """
        self.switch.check()
        partner = self.config.partner
        return Dial(
            address=self.config.joined().federation,
            partner=partner,
            tls=self.keys.tls(partner, now=now()),
            software=software(),
        )

    def door(self) -> Door:
        """The federation door; a context manager."""
        return Door(self.dial(), self.switch.check, self.left().note)

    def left(self) -> LeftJournal:
        """What has left; one connection for this process."""
        return _left(self.config.directory / left_journal.FILE)

    def store(self) -> NodeStore:
        """The node's database."""
        config = self.config
        return NodeStore(
            config.database,
            now=now,
            epoch=config.budget.epoch,
            words_bytes=config.audit.words_mib << 20,
        )

    def book(self, hint: Callable[[], int] | None = None) -> EntryBook:
        """Signs this node's entries for the log, which rest on the newest cosigned head."""
        if hint is None:
            store = self.store().log

            def newest() -> int:
                return store.seen()[0]

            hint = newest
        return EntryBook(self.config.partner, self.keys.identity(), now=now, hint=hint)

    def known_pin(self) -> Pin:
        """The pinned manifest, whoever has signed it yet; ManifestError if there is none."""
        pin = self.keys.pinned()
        if pin is None:
            raise ManifestError(
                f"no manifest is pinned; run: riskweave node trust {self.config.directory}"
            )
        return pin

    def pinned(self) -> Pin:
        """The pinned manifest, signed by all; ManifestError otherwise.

        It is read and verified once, and again when the file is another one: with fifty
        members that costs ten milliseconds, and every heartbeat asks for it.
        """
        stamp = self.keys.trust_stamp
        if stamp is None:
            return self.known_pin()  # raises
        return _signed_pin(self.keys.trust_file, stamp)

    def completed_pin(self) -> Pin:
        """As ``pinned``, but asks the coordinator for signatures that came in later.

        Raises:
            ManifestError: none is pinned.
            OutOfOrderError: a member has not signed it yet.
            SignatureError: a signature does not verify.
            TransportError: signatures are missing, and the coordinator is not reachable.
        """
        pin = self.known_pin()
        with suppress(ManifestError):
            pin.verify(now=now())
            return pin
        with self.door() as coordinator:
            fresh = read_bundle(coordinator.fetch_manifest(pin.digest), pin.digest)
        try:
            fresh.verify(now=now())
        except ManifestError as error:
            raise OutOfOrderError(f"not everybody has signed yet: {error}") from error
        self.keys.pin(fresh)
        log.info("manifest %s is signed by all", fresh.digest)
        return fresh

    def families(self, pin: Pin) -> tuple[str, ...]:
        """What this partner holds, by the manifest."""
        return pin.manifest.member(self.config.partner).families

    def data_source(self) -> "DataSource":
        """Where the rows are, for the node's ingest; ConfigurationError if nowhere."""
        from partner_node.table import DataSource  # noqa: PLC0415 - loads DuckDB

        data = self.config.source()
        return DataSource(
            query=data.query,
            person=data.person,
            label=data.label,
            directory=data.directory,
            memory_limit=data.memory_limit,
            threads=data.threads,
            postgres=data.postgres,
            origin=f"{self.config.path}: [data] query",
        )


@lru_cache(maxsize=4)
def _signed_pin(trust: Path, _stamp: Stamp) -> Pin:
    pin = read_pin(trust)
    pin.verify(now=now())
    return pin


@cache
def _left(path: Path) -> LeftJournal:
    return LeftJournal(path, now=now)


def open_desk(directory: Path) -> Desk:
    """Open a node's directory; ConfigurationError if it is none."""
    return Desk(config=load_config(directory), keys=Keystore(directory))


# --- joining and trusting ---------------------------------------------------------------------


def join(desk: Desk, token_file: Path) -> Addresses:
    """Trade the join token for a certificate, and write down the coordinator's doors.

    Raises:
        EnrolmentError: the token is damaged, for another partner, expired, used, unknown.
        CertificateError: the door, or the certificate, is not of the token's authority.
        TransportError: the door is not reachable; the token is still good.
    """
    config, keys = desk.config, desk.keys
    desk.switch.check()
    token = parse_token(read_text(token_file))
    if token.partner != config.partner:
        raise EnrolmentError(
            f"the join token is for {token.partner}, this node is {config.partner}"
        )
    if now() >= token.expires:
        raise EnrolmentError("the join token has expired; ask the operator for another")
    identity = keys.identity()
    request = EnrolmentRequest(
        protocol_version=PROTOCOL_VERSION,
        partner=config.partner,
        token=token.secret.expose(),
        csr=keys.certificate_request(config.partner),
        identity=identity.public,
        agreement=keys.agreement().public,
        witness=keys.witness().public,
        signature=b"",
    )
    signature = identity.sign(Label.ENROLMENT, enrolment_statement(request))
    enrolled = door.enrol(
        token.enrolment,
        token.authority,
        replace(request, signature=signature),
        desk.left().note,
    )
    keys.save_certificate(enrolled.certificate, token.authority)
    addresses = Addresses(
        federation=",".join(parse_addresses(enrolled.address)), enrolment=token.enrolment
    )
    _write_addresses(config, addresses)
    return addresses


def _write_addresses(config: Config, addresses: Addresses) -> None:
    text = configuration.with_addresses(read_text(config.path), addresses)
    if parse_config(text, config.path) != replace(config, addresses=addresses):
        raise ConfigurationError(
            f"{config.path}: its form is too unusual to be edited; write into [coordinator]: "
            f'address = "{addresses.federation}", enrolment = "{addresses.enrolment}"'
        )
    write_file(config.path, text.encode())


def proposed(desk: Desk, digest: Digest | None) -> Pin:
    """The manifest of that digest, or the newest, with this node's own entry checked.

    Raises:
        ManifestError: none is proposed, or it lists other keys for this node.
        DigestMismatchError: the coordinator sent another. Fault: the coordinator.
    """
    with desk.door() as coordinator:
        pin = read_bundle(coordinator.fetch_manifest(digest), digest)
    check_own_entry(pin.manifest, desk.config.partner, desk.keys)
    check_nobody_revoked(pin.manifest, desk.store().log.revoked())
    return pin


def named_in(token_file: Path) -> PartnerId:
    """Whom a join token is for; EnrolmentError if it is damaged."""
    return parse_token(read_text(token_file)).partner


def proposal(desk: Desk) -> Pin | None:
    """The newest manifest, if there is one that lists this partner; raises as ``proposed``."""
    with desk.door() as coordinator:
        try:
            bundle = coordinator.fetch_manifest(None)
        except ManifestError:
            return None  # none is proposed yet
    if desk.config.partner not in {one.id for one in read_bundle(bundle).manifest.members}:
        return None
    return proposed(desk, None)


def trust(desk: Desk, pin: Pin, *, replace_pinned: bool = False) -> Pin:
    """Sign the manifest, hand the signature in, and pin it; returns it as it stands then.

    Args:
        desk: This node.
        pin: What the operator trusts from now on.
        replace_pinned: Even though it is not the successor of the pinned manifest.

    Raises:
        ManifestError: it is not, and ``replace_pinned`` was not said; nothing is signed.
    """
    if not replace_pinned:
        check_follows(pin, desk.keys.pinned())
    digest = pin.digest
    signature = desk.keys.identity().sign(Label.MANIFEST_SIGNATURE, bytes.fromhex(digest))
    signed = Signed(digest=digest, member=desk.config.partner, signature=signature)
    entry = desk.book().adopted(signed, pin.manifest.version)
    desk.store().keep_own([OwnEntry(type="manifest.adopted", data=entry)])
    with desk.door() as coordinator:
        coordinator.sign_manifest(signed, entry)
        pin = read_bundle(coordinator.fetch_manifest(digest), digest)
    desk.keys.pin(pin)
    return pin


def revoke(desk: Desk, member: PartnerId, reason: str) -> None:
    """Say for the log that a member's identity is to be revoked: one voice (protocol 2.7).

    About this node itself it is enough. It is kept, so that the serving node brings it if the
    coordinator cannot be reached now; said again, it is the same voice.

    Raises:
        ManifestError: no manifest is pinned, or it has no such member.
        TransportError: the coordinator is not reachable; the voice is kept.
    """
    about, store = desk.pinned().manifest.member(member), desk.store()
    said = [one for one in store.log.said(_VOICE) if about.identity.encode() in one]
    entry = said[0] if said else desk.book().revoked(about, reason)
    if not said:
        store.keep_own([OwnEntry(type=_VOICE, data=entry)])
    with desk.door() as coordinator:
        coordinator.witness(WitnessQuestion(known=store.log.size(), entries=(entry,)))


# --- serving ----------------------------------------------------------------------------------


def serve(directory: Path) -> None:
    """Keep the streams up and answer, until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: not joined, or another process serves this node.
        CertificateError: the certificate has expired.
        StorageError: the database cannot be opened.
    """
    desk = open_desk(directory)
    desk.keys.check_modes()
    desk.config.joined()
    desk.keys.tls(desk.config.partner, now=now())
    desk.keys.identity()
    with _only_one(directory):
        desk.store().close()
        worker = Worker(directory)
        try:
            outlet = Outlet(note=desk.left().note, stopped=lambda: desk.switch.on)
            with open_traces(os.environ, "riskweave-node", outlet) as traces:
                asyncio.run(_serve(desk, worker, traces))
        finally:
            worker.stop()


async def _serve(desk: Desk, worker: Worker, traces: Traces) -> None:
    from partner_node import (  # noqa: PLC0415 - after the library, as the session
        desk_serving,
        node_control,
        scoring_parts,
    )
    from partner_node.credit.doors import CreditDesk  # noqa: PLC0415 - likewise
    from partner_node.credit.opening import open_papers, open_service  # noqa: PLC0415 - likewise
    from partner_node.metrics import Counted  # noqa: PLC0415 - likewise
    from partner_node.renewal import renew_when_due  # noqa: PLC0415 - needs Desk
    from partner_node.traced import Traced  # noqa: PLC0415 - after the library
    from partner_node.vitals import Vitals  # noqa: PLC0415 - likewise

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    log.info("%s dials %s", desk.config.partner, desk.config.joined().federation)
    mirror = mirror_of(desk)
    witness = witnessing(desk, mirror)
    vitals = Vitals()
    with scoring_session(desk, witness.state) as session:
        worker.attach(session.study, session.impact)
        traced = Traced(traces, time.time_ns)
        metrics = _metrics(desk, session, vitals, traced.on_scores)
        ports = Ports(
            dial=desk.dial,
            pin=SignedPin(desk).get,
            handle=traced.handle(worker.handle),
            entropy=os.urandom,
            scoring=traced.port(Counted(session, metrics.on_sent)),
            stopped=lambda: desk.switch.on,
            renewed=desk.keys.certificate_stamp,
            on_change=vitals.on_change,
            note=desk.left().note,
        )
        loans = scoring_parts.loan_desk(desk, session, now, entropy=entropy)
        scores = scoring_parts.decision_scores(desk, session, loans, now)
        async with AsyncExitStack() as stack:
            token = scoring_parts.tokens(session)
            service = stack.enter_context(open_service(desk, scores, token))
            papers = stack.enter_context(open_papers(desk, service))
            deadline_ms = desk.config.credit.deadline_ms
            credit = CreditDesk(service, papers, deadline_ms=deadline_ms)
            doors = desk_serving.open_doors(desk.config, loans, now=now, credit=credit)
            listening = node_control.listening(desk.config.directory, session)
            await stack.enter_async_context(listening)
            await stack.enter_async_context(doors)
            await stack.enter_async_context(_health(desk, vitals, metrics))
            await _until(
                stop,
                Link(ports).run(stop),
                session.run(stop),
                witness.run(stop),
                erase_when_due(desk, stop),
                tell_of_days(desk, mirror, stop),
                renew_when_due(desk, now, stop),
                _flush_left(desk.left(), stop),
            )
    log.info("stopping")


def _health(
    desk: Desk, vitals: "Vitals", metrics: "Metrics"
) -> AbstractAsyncContextManager[None]:
    def ready() -> Page:
        vitals.check()
        return Page(b"ready\n")

    pages = {"/readyz": ready, "/metrics": metrics.page}
    return open_health(desk.config.directory, pages, desk.config.metrics)


def _metrics(
    desk: Desk,
    session: "ScoringSession",
    vitals: "Vitals",
    also: "Callable[[Sequence[JointAnswer], float], None]",
) -> "Metrics":
    """What is told and read of all parts; ``also`` is told of scores."""
    from partner_node.credit.storage import CreditStore  # noqa: PLC0415 - as the session
    from partner_node.metrics import Metrics, Sizes  # noqa: PLC0415 - likewise

    decisions = CreditStore(desk.config.credit_database)

    def capped() -> tuple[Mapping[str, int], str]:
        pin = desk.keys.pinned()
        if pin is None:
            return {}, ""
        policy = pin.manifest.policy
        return caps(policy, own_caps(desk)), policy.delta

    def days() -> int:
        until = desk.keys.certificate_until(desk.config.partner) or 0
        return (until - now()) // _DAY_S

    sizes = Sizes(
        caps=capped,
        certificate_days=days,
        decisions=decisions.decided,
        kill_switch=lambda: desk.switch.on,
        joint=lambda: not session.status().fallback,
        left=desk.left().rows,
        now=now,
    )
    metrics = Metrics(desk.config.directory, desk.store(), vitals, sizes)

    def on_scores(answers: "Sequence[JointAnswer]", seconds: float) -> None:
        metrics.on_scores(answers, seconds)
        also(answers, seconds)

    session.on_scores = on_scores
    return metrics


async def _flush_left(left: LeftJournal, stop: asyncio.Event) -> None:
    while not stop.is_set():
        try:
            await asyncio.to_thread(left.flush)
        except StorageError as error:
            log.warning("what has left is not flushed: %s", error)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _FLUSH_S)
    left.flush()


def mirror_of(desk: Desk, store: NodeStore | None = None) -> LogMirror:
    """This process's hold on the node's mirror of the log."""
    tables = (store or desk.store()).log
    return LogMirror(
        MirrorPorts(
            store=tables,
            witness=WitnessKey(member=desk.config.partner, key=desk.keys.witness()),
            book=desk.book(hint=lambda: tables.seen()[0]),
            now=now,
        )
    )


def witnessing(desk: Desk, mirror: LogMirror) -> Witnessing:
    """This node as a witness of the coordinator's log."""
    return Witnessing(WitnessPorts(pin=desk.pinned, door=desk.door, mirror=mirror, now=now))


def pause(seconds: float) -> None:
    """Let some time go by, for a command that waits for others."""
    time.sleep(seconds)


async def _until(stop: asyncio.Event, *parts: Coroutine[Any, Any, None]) -> None:
    """Run all parts; when one fails the others stop."""
    async with asyncio.TaskGroup() as group:
        for part in parts:
            task = group.create_task(part)
            task.add_done_callback(lambda _: stop.set())


@contextmanager
def scoring_session(
    desk: Desk, log_state: LogState | None = None
) -> "Iterator[ScoringSession]":
    """The session, for the loop that runs the streams; ``log_state``: whom it may answer.

    Raises:
        ConfigurationError: the curve library cannot be loaded from the node's directory.
        StorageError: the database cannot be opened.
    """
    load_ristretto(desk.config.directory / "lib")
    from partner_node import scoring_parts  # noqa: PLC0415 - needs the library

    # The loop waits for the interpreter no longer than this while a table is read.
    sys.setswitchinterval(_SWITCH_S)
    store = scoring_parts.scoring_store(desk, now)
    state = log_state or LogState()
    with ThreadPoolExecutor(desk.config.scoring.threads, "curve") as pool:
        outside = scoring_parts.Outside(
            now_ms=now_ms,
            entropy=entropy,
            pause=lambda: time.sleep(_PAUSE_S),
            pool=pool,
            silence=lambda: state.silence,
            revoked=lambda: state.revoked,
        )
        try:
            yield scoring_parts.open_session(desk, store, outside)
        finally:
            store.close()


def issue_desk_client(desk: Desk, name: str, directory: Path) -> None:
    """A certificate for one of the partner's own systems (protocol 13.8).

    Raises:
        ConfigurationError: a name that is not of its form, or a key in ``directory`` already.
    """
    from partner_node import desk_certificates  # noqa: PLC0415 - few commands need it

    authority = desk_certificates.DeskAuthority(desk.config.directory)
    authority.create(desk.config.partner, now=now())
    desk_certificates.check_free(directory)
    desk_certificates.write_client(authority.issue_client(name, now=now()), directory)


def withdraw(desk: Desk, person: str, purposes: "Sequence[Purpose]", *, restore: bool) -> None:
    """End a person's consent at this node, or take up a new one; it counts at once.

    Raises:
        ManifestError: no manifest is pinned: the form of identifiers is in it.
        PersonError: the identifier is not of that form.
    """
    from partner_node import scoring_parts  # noqa: PLC0415 - loads DuckDB and models

    people = scoring_parts.people_of(desk, desk.known_pin().manifest, entropy)
    subject = people.subject(people.form(person))
    store = scoring_parts.scoring_store(desk, now)
    try:
        (store.restore if restore else store.withdraw)(subject, purposes)
    finally:
        store.close()
    if not restore:
        scoring_parts.drop_answers(desk, subject, purposes)


class SignedPin:
    """The pinned manifest once all have signed it; asks the coordinator until they have."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._turn = asyncio.Lock()

    async def get(self) -> Pin:
        """The pin, read again each time, for an operator may have moved it.

        Raises:
            ManifestError, OutOfOrderError, SignatureError: as ``Desk.completed_pin``.
        """
        async with self._turn:
            return await asyncio.to_thread(self._desk.completed_pin)


@contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    """Hold the node's lock (protocol 4.6 (5)), or raise ConfigurationError."""
    try:
        handle = os.open(directory / "node.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigurationError(f"{directory}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(f"{directory} is served by another process") from error
        yield
    finally:
        os.close(handle)


def is_served(directory: Path) -> bool:
    """Whether a process serves this node now."""
    try:
        with _only_one(directory):
            return False
    except ConfigurationError:
        return True


# --- the training process ---------------------------------------------------------------------


def worker_sessions(
    directory: Path, study: "Studies | None" = None
) -> "Callable[[object], TrainingSession]":
    """What the training process answers with: one session for each pinned manifest.

    Args:
        directory: The node's.
        study: Where joint sums are asked for; None: no head can be trained here.
    """
    # Read by flwr at its import, which comes after this call and nowhere else in the node.
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
    set_up_logging()
    desk = open_desk(directory)
    os.nice(desk.config.speed.worker_nice)
    sessions = _Sessions(desk, study)
    return lambda _context: sessions.current()


class _Sessions:
    """Builds the session anew when the operator has pinned another manifest."""

    def __init__(self, desk: Desk, study: "Studies | None") -> None:
        self._desk = desk
        self._study = study
        self._store = desk.store()
        self._seen: Stamp | None = None
        self._session: TrainingSession | None = None

    def current(self) -> "TrainingSession":
        self._desk.switch.check()
        try:
            seen = self._desk.keys.trust_stamp
            if self._session is None or seen != self._seen:
                self._session, self._seen = self._build(self._desk.pinned()), seen
        except (OSError, RiskWeaveError) as error:
            log.warning("no session: %s", error)
            raise RefusalError(RefusalCode.MANIFEST, "no manifest is in force here") from error
        return self._session

    def _build(self, pin: Pin) -> "TrainingSession":
        from partner_node.log_gate import LogGate  # noqa: PLC0415 - as the session
        from partner_node.plan_checks import SessionFacts  # noqa: PLC0415 - loads models
        from partner_node.training_session import (  # noqa: PLC0415 - loads numpy and models
            SessionKeys,
            TrainingSession,
        )

        desk = self._desk
        mirror = mirror_of(desk, self._store)
        facts = SessionFacts(
            member=desk.config.partner,
            manifest=pin.manifest,
            schema=pin.schema,
            code=code_digest(),
            caps=dict(caps(pin.manifest.policy, own_caps(desk))),
            run_epsilon=desk.config.budget.run_epsilon,
            networks=importlib.util.find_spec("torch") is not None,
            one_process=not desk.config.engine.ray,
        )
        return TrainingSession(
            facts,
            keys=SessionKeys(identity=desk.keys.identity(), agreement=desk.keys.agreement()),
            store=self._store,
            entropy=entropy,
            open_sums=lambda plan: open_sums(desk, pin, plan, study=self._study),
            book=desk.book(hint=mirror.counted),
            gate=LogGate(mirror, pin.manifest),
            replays=self._store.replays,
        )


def own_caps(desk: Desk) -> OwnCaps:
    """What the node's owner lets all runs of an epoch cost."""
    own = desk.config.budget
    return OwnCaps(lifetime_epsilon=own.lifetime_epsilon, tables_epsilon=own.tables_epsilon)


def open_sums(
    desk: Desk, pin: Pin, plan: "TrainingPlan", *, study: "Studies | None" = None
) -> "Sums":
    """Read this partner's table by the plan's rules; DataError if it does not fit.

    For a head and a table of premiums, ask for joint sums; TransportError if nobody can be
    asked now.
    """
    from partner_node.study import NoStudies  # noqa: PLC0415 - loads numpy

    asked = NoStudies("no scoring stream here to ask") if study is None else study
    return _sums_of(desk, (pin.manifest, pin.schema), plan, asked)


def _sums_of(
    desk: Desk,
    under: "tuple[Manifest, Schema]",
    plan: "TrainingPlan",
    studies: "Studies",
) -> "Sums":
    from consortium.plan import ModelKind  # noqa: PLC0415 - as the rest here

    if plan.model is ModelKind.HEAD:
        from partner_node.head_sums import HeadSums  # noqa: PLC0415 - loads models

        return HeadSums(plan, desk.config.partner, joint_rows=studies.rows)
    if plan.model is ModelKind.TABLE:
        from partner_node.credit.figures import entries_of  # noqa: PLC0415 - loads DuckDB
        from partner_node.table_sums import TableSums  # noqa: PLC0415 - likewise

        return TableSums(
            plan, desk.config.partner, load=lambda spec: entries_of(desk, spec, studies)
        )
    if plan.model is ModelKind.HAZARD:
        return hazard_sums(desk, plan)
    from partner_node import ingest  # noqa: PLC0415 - loads DuckDB
    from partner_node.local_sums import LocalSums  # noqa: PLC0415

    manifest, schema = under
    source = desk.data_source()
    families = manifest.member(desk.config.partner).families
    if desk.config.engine.ray:
        from partner_node.parted_sums import PartedSums, PartedTable  # noqa: PLC0415 - likewise

        table = PartedTable(rows=parts_of(desk), families=families, code=code_digest())
        member, engine = desk.config.partner, row_engine(desk)
        return PartedSums(plan, schema, member, table=table, engine=engine)
    holdout = (plan.holdout_salt, plan.holdout_fraction)
    return LocalSums(
        plan,
        schema,
        desk.config.partner,
        load=lambda bins: ingest.load(source, schema, bins, families, holdout=holdout),
    )


def parts_of(desk: Desk) -> "tuple[Rows, ...]":
    """Every part of the rows, as ``[engine]`` splits them."""
    from partner_node.part_bytes import rows_of  # noqa: PLC0415 - loads DuckDB

    settings = desk.config.engine
    return rows_of(desk.data_source(), settings.parts, settings.query)


def row_engine(desk: Desk) -> EngineProcess:
    """The cluster's process, not started yet. It inherits no setting of this program."""
    settings = desk.config.engine
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("RISKWEAVE_")
    }
    if settings.address == configuration.LOCAL_RAY:
        environment.update(private_environment(entropy().expose().hex()))
    cluster = Cluster(
        address=settings.address, workers=settings.workers, deadline_s=settings.deadline_s
    )
    return EngineProcess(cluster, environment)


def hazard_sums(desk: Desk, plan: "TrainingPlan") -> "HazardSums":
    """The sums over this partner's line-months, by ``lines.toml`` in its rules.

    Raises:
        ConfigurationError, DataError: as the reader of the table of lines.
    """
    from partner_node.credit.line_months import read_lines  # noqa: PLC0415 - loads DuckDB
    from partner_node.credit.lines import lines_source  # noqa: PLC0415
    from partner_node.credit.rules import FOLDER  # noqa: PLC0415
    from partner_node.hazard_sums import HazardSums  # noqa: PLC0415

    source = lines_source(desk.config.directory / FOLDER)
    return HazardSums(
        plan, desk.config.partner, load=lambda: read_lines(source, salt=plan.holdout_salt)
    )


# --- audits -----------------------------------------------------------------------------------


def premises(desk: Desk, *, joint_rows: bool = False) -> "Premises":
    """What a replay of this node's uploads is made with; beside the process that serves.

    With ``joint_rows`` the serving process is asked for those of a head: if its memory has
    them no more, it asks the other partners again.
    """
    from partner_node.replaying import Premises  # noqa: PLC0415 - loads numpy and models
    from partner_node.study import SOCKET, NoStudies, SocketStudies  # noqa: PLC0415

    studies: Studies = NoStudies("joint sums are in no file")
    if joint_rows:
        studies = SocketStudies(desk.config.directory / SOCKET)
    return Premises(
        store=desk.store(),
        member=desk.config.partner,
        agreement=desk.keys.agreement(),
        open_sums=lambda plan, manifest, schema: _sums_of(
            desk, (manifest, schema), plan, studies
        ),
        code=code_digest(),
    )


def _erase(desk: Desk, store: NodeStore, window: Window) -> Sequence[RunId]:
    """Take up what the log says of audits, then erase what no audit needs any more."""
    from partner_node.replaying import take_entries  # noqa: PLC0415 - loads numpy and models

    said = store.log.of_types("audit.challenge", "audit.result")
    with suppress(ManifestError, SignatureError):
        take_entries(store, desk.pinned().manifest, [one.data for one in said])
    return store.replays.erase(window)


async def erase_when_due(desk: Desk, stop: asyncio.Event) -> None:
    """Once an hour, erase what is kept of runs whose window has ended (protocol 9.4)."""
    settings = desk.config.audit
    window = Window(
        seconds=settings.window_days * _DAY_S, after_result=settings.erase_after_result
    )
    store = desk.store()
    while not stop.is_set():
        try:
            for run in await asyncio.to_thread(_erase, desk, store, window):
                log.info("run %s: its audit window has ended, its seed is erased", run)
        except StorageError as error:
            log.warning("nothing erased: %s", error)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _HOUR_S)


async def tell_of_days(desk: Desk, mirror: LogMirror, stop: asyncio.Event) -> None:
    """Write up each day that is over, faults of key holders, and commit to decisions (8.4)."""
    from partner_node import scoring_parts  # noqa: PLC0415 - loads DuckDB and models
    from partner_node.credit.listing import publish_when_due  # noqa: PLC0415 - likewise
    from partner_node.credit.opening import list_ports  # noqa: PLC0415 - likewise
    from partner_node.credit.sealing import Sealer, SealPorts  # noqa: PLC0415 - likewise
    from partner_node.credit.storage import CreditStore  # noqa: PLC0415 - likewise
    from partner_node.day_book import DayBook, DayPorts  # noqa: PLC0415 - likewise

    store = scoring_parts.scoring_store(desk, now)
    days = DayBook(
        DayPorts(
            store=store,
            log=mirror.store,
            book=mirror.book,
            people=lambda: scoring_parts.people_of(desk, desk.pinned().manifest, entropy),
            now=now,
        )
    )
    decisions = CreditStore(desk.config.credit_database)
    sealer = Sealer(
        SealPorts(store=decisions, log=mirror.store, book=mirror.book, entropy=entropy, now=now)
    )
    lists = list_ports(desk, mirror, decisions)
    try:
        while not stop.is_set():
            try:
                await asyncio.to_thread(days.write_up)
                await asyncio.to_thread(sealer.seal_when_due)
                await asyncio.to_thread(publish_when_due, lists)
            except (StorageError, ManifestError, SignatureError, OutOfOrderError) as error:
                log.debug("no day is written up: %s", error)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _MINUTE_S)
    finally:
        decisions.close()
        store.close()
