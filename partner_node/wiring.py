"""Opens a node's directory: the only file with clock, entropy, environment and process.

Everything else receives them. What is put together from its parts: ``joining``, ``serving``,
``scoring_parts``, and ``training_parts`` for the training process.
"""

import fcntl
import importlib.metadata
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from consortium.crypto.keys import Secret
from consortium.errors import ConfigurationError, ManifestError, OutOfOrderError
from consortium.ids import Digest
from consortium.ledger.witness import WitnessKey
from consortium.manifest import digest_of_code
from partner_node import left_journal
from partner_node.budget import OwnCaps
from partner_node.config import Config
from partner_node.config_reading import load_config
from partner_node.coordinator_channel import Dial
from partner_node.door import Door
from partner_node.entry_book import EntryBook
from partner_node.keystore import Keystore, Pin, Stamp, read_bundle, read_pin
from partner_node.kill_switch import KillSwitch
from partner_node.left_journal import LeftJournal
from partner_node.log_mirror import LogMirror, MirrorPorts
from partner_node.storage import NodeStore
from partner_node.witnessing import Witnessing, WitnessPorts
from upkeep import logs

if TYPE_CHECKING:
    from partner_node.table import DataSource

log = logging.getLogger(__name__)

DISTRIBUTION = "riskweave"


def now() -> int:
    """Seconds since 1970, UTC."""
    return int(time.time())


def now_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


def now_ns() -> int:
    """Nanoseconds since 1970, UTC."""
    return time.time_ns()


def pause(seconds: float) -> None:
    """Let some time go by, for a command that waits for others."""
    time.sleep(seconds)


def entropy() -> Secret:
    """32 fresh random bytes of the operating system."""
    return Secret(os.urandom(32))


def fresh_bytes(size: int) -> bytes:
    """So many fresh random bytes of the operating system."""
    return os.urandom(size)


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


def environment() -> Mapping[str, str]:
    """What this process was started with."""
    return os.environ


def set_up_logging() -> None:
    """One line an event on standard error; RISKWEAVE_LOG, RISKWEAVE_LOG_FORMAT: level, form.

    Raises:
        ConfigurationError: either is unknown.
    """
    settings = environment()
    logs.set_up(
        settings.get("RISKWEAVE_LOG", "INFO"),
        settings.get("RISKWEAVE_LOG_FORMAT", logs.TEXT),
    )


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


@contextmanager
def only_one(directory: Path) -> Iterator[None]:
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
        with only_one(directory):
            return False
    except ConfigurationError:
        return True


def own_caps(desk: Desk) -> OwnCaps:
    """What the node's owner lets all runs of an epoch cost."""
    own = desk.config.budget
    return OwnCaps(lifetime_epsilon=own.lifetime_epsilon, tables_epsilon=own.tables_epsilon)


def enter_worker(directory: Path) -> Desk:
    """Make this process the training process of a node: its switches, its log, its rank."""
    # Read by flwr at its import, which comes after this call and nowhere else in the node.
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
    set_up_logging()
    desk = open_desk(directory)
    os.nice(desk.config.speed.worker_nice)
    return desk
