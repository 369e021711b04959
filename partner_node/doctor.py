"""``riskweave node doctor``: what keeps this node from working, and what to do about it.

Looks only: nothing is changed, signed or sent but what ``status`` sends. Each check stands
alone, so that the first fault does not hide the next.
"""

import importlib.util
import os
import shutil
import socket
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from consortium.addresses import parse_addresses
from consortium.diagnosis import Found, Skip, State, examine
from consortium.errors import (
    ConfigurationError,
    ManifestError,
    RiskWeaveError,
    StorageError,
    TransportError,
)
from partner_node import (
    budget,
    database,
    left_journal,
    scoring_database,
    training_parts,
    wiring,
)
from partner_node.config import Addresses
from partner_node.credit import storage
from partner_node.keystore import Pin, read_bundle
from upkeep.migrations import version_of

SOON_DAYS = 14
"""A certificate that ends sooner is warned about: the serving node renews it a month before."""
LITTLE_BYTES, TOO_LITTLE_BYTES = 1 << 30, 64 << 20
SLOW_DISK_S = 0.05
SOME_SKEW_S, MOST_SKEW_S = 3, 15
"""A roster counts for 45 s and is replaced after 20: 25 s of difference would end scores."""
CONNECT_S = 5.0
LOW_BUDGET, SPENT_BUDGET = 0.30, 0.10
"""Shares of the cap (credit 3.2, row 12)."""
DAY_S = 86_400
_ENGINE = (
    "start the cluster and this machine's `ray start`; the same software, and the data under "
    "the same paths, on every worker"
)


def diagnose(directory: Path) -> tuple[Found, ...]:
    """All checks of the node in ``directory``, in the order in which it is set up."""
    opened = examine([("settings", lambda: _settings(directory), "correct node.toml")])
    if opened[0].state is State.FAILED:
        return opened
    node = _Node(wiring.open_desk(directory))
    home = str(directory)
    return opened + examine(
        [
            ("directory", node.directory, f"chmod -R go= {home}"),
            ("kill switch", node.kill_switch, f"riskweave node kill-switch {home} off"),
            ("keys", node.keys, "put the keys back from a backup; never make others"),
            ("disk", node.disk, "free some space; a full disk stops training, charges stay"),
            ("database", node.database, "stop the node and put node.db back from a backup"),
            ("versions", node.versions, "install the newer program: nothing goes backwards"),
            ("certificate", node.certificate, _renew(home)),
            ("coordinator", node.reachable, "ask the operator, or the own firewall: TCP out"),
            ("mutual TLS", node.door, _renew(home)),
            ("clock", node.clock, "synchronise it: timedatectl set-ntp true"),
            ("manifest", node.manifest, f"riskweave node trust {home}"),
            ("software", node.software, "install the version that the manifest allows"),
            ("data", node.data, f"riskweave node check-data {home}"),
            ("engine", node.engine, _ENGINE),
            ("budget", node.budget, "run less, or start a new epoch with new persons' data"),
            ("serving", node.serving, f"riskweave node serve {home}"),
        ]
    )


def _renew(home: str) -> str:
    return f"ask the operator for a join token: riskweave node join {home} --renew --token FILE"


def _settings(directory: Path) -> Found:
    desk = wiring.open_desk(directory)
    seen = f"{desk.config.path}: partner {desk.config.partner}, {wiring.software()}"
    return Found(check="settings", state=State.OK, seen=seen)


class _Node:
    """The checks; each returns a finding, None, or raises."""

    def __init__(self, desk: wiring.Desk) -> None:
        self._desk = desk
        self._home = desk.config.directory

    def directory(self) -> Found | None:
        open_to_others = []
        for path in (self._home, *sorted(self._home.iterdir())):
            with suppress(FileNotFoundError):  # a database's side files come and go
                if path.stat().st_mode & 0o077 and path.name != "node.toml":
                    open_to_others.append(path.name)
        if open_to_others:
            raise ConfigurationError(f"others may read {', '.join(open_to_others)}")
        return None

    def kill_switch(self) -> Found | None:
        if self._desk.switch.on:
            raise ConfigurationError(f"it is on, {self._desk.switch.why()}: nothing leaves")
        return None

    def keys(self) -> Found | None:
        keys = self._desk.keys
        keys.check_modes()
        keys.identity(), keys.agreement(), keys.witness(), keys.tls_spki()
        return None

    def disk(self) -> Found:
        free = shutil.disk_usage(self._home).free
        if free < TOO_LITTLE_BYTES:
            raise StorageError(f"{free >> 20} MiB free")
        took = _flush(self._home)
        seen = f"{free >> 20:,} MiB free, a durable write takes {took * 1000:.1f} ms"
        if free < LITTLE_BYTES:
            remedy = "free some space; a full disk stops training, charges stay"
            return _warn("disk", seen, remedy)
        if took > SLOW_DISK_S:
            remedy = "every round waits for durable writes: use a local disk"
            return _warn("disk", seen, remedy)
        return _ok("disk", seen)

    def database(self) -> Found:
        if not self._desk.config.database.exists():
            raise Skip("made when the node first serves")
        store = self._desk.store()
        faults = store.faults()
        if faults:
            raise StorageError(f"damaged: {faults}")
        return _ok("database", f"{self._desk.config.database.stat().st_size >> 10:,} KiB")

    def versions(self) -> Found:
        config = self._desk.config
        seen = []
        for path, history in (
            (config.database, database.HISTORY),
            (config.scoring_database, scoring_database.HISTORY),
            (config.credit_database, storage.HISTORY),
            (self._home / left_journal.FILE, left_journal.HISTORY),
        ):
            version = version_of(path)
            if version is not None:
                late = history.due(version, path.name)
                seen.append(f"{path.name} {version}" + (f" of {history.current}" * bool(late)))
        if not seen:
            raise Skip("made when the node first serves")
        return _ok("versions", ", ".join(seen))

    def certificate(self) -> Found:
        until = self._desk.keys.certificate_until(self._desk.config.partner)
        if until is None:
            raise Skip("not enrolled yet: riskweave node join")
        left = until - wiring.now()
        day = datetime.fromtimestamp(until, tz=UTC).date()
        if left < 0:
            self._desk.keys.tls(self._desk.config.partner, now=wiring.now())
        if left < SOON_DAYS * DAY_S:
            seen = f"ends in {max(0, left) // DAY_S} days, on {day}, and renews itself no more"
            return _warn("certificate", seen, f"riskweave node rotate {self._home}")
        return _ok("certificate", f"until {day}")

    def reachable(self) -> Found:
        addresses = self._joined()
        _connect_one(addresses.enrolment)
        took = _connect_one(addresses.federation)
        return _ok("coordinator", f"{addresses.federation} in {took * 1000:.1f} ms")

    def door(self) -> Found:
        self._joined()
        began = time.monotonic()
        with self._desk.door() as coordinator:
            coordinator.check_health()
        return _ok("mutual TLS", f"the coordinator serves, {time.monotonic() - began:.2f} s")

    def clock(self) -> Found:
        now, started = wiring.now(), _certificate_start(self._desk)
        if now < started:
            raise ConfigurationError(
                f"it is before the certificate's first day by {started - now} s"
            )
        cosigned = self._cosigned_at()
        if now + MOST_SKEW_S < cosigned:
            raise ConfigurationError(
                f"it is {cosigned - now} s behind the log's newest cosigned head"
            )
        seen = datetime.fromtimestamp(now, tz=UTC).isoformat()
        skew = self._skew()
        if skew is None:
            return _ok("clock", f"{seen}; the coordinator's could not be asked")
        if abs(skew) > MOST_SKEW_S:
            raise ConfigurationError(f"it differs from the coordinator's by {skew} s")
        seen = f"{seen}, {skew:+d} s from the coordinator's"
        remedy = "synchronise it, or have the operator do so: timedatectl set-ntp true"
        return _ok("clock", seen) if abs(skew) <= SOME_SKEW_S else _warn("clock", seen, remedy)

    def _cosigned_at(self) -> int:
        if not self._desk.config.database.exists():
            return 0
        return self._desk.store().log.seen()[2]

    def _skew(self) -> int | None:
        """Own clock less the coordinator's, in seconds; None if that is not told."""
        try:
            with self._desk.door() as coordinator:
                before = wiring.now()
                there = coordinator.check_health()
                here = (before + wiring.now()) // 2
        except RiskWeaveError:
            return None
        return None if there is None else here - there

    def manifest(self) -> Found:
        pin = self._desk.known_pin()
        with self._desk.door() as coordinator:
            newest = read_bundle(coordinator.fetch_manifest(None))
        if newest.digest != pin.digest:
            seen = f"pinned {pin.digest[:12]}, the newest is {newest.digest[:12]}"
            return _warn("manifest", seen, f"riskweave node trust {self._home}")
        try:
            newest.verify(now=wiring.now())
        except ManifestError as error:
            return _warn("manifest", str(error), "wait for the others, or ask the operator")
        seen = f"{pin.digest[:12]}, version {pin.manifest.version}, signed by all"
        return _ok("manifest", seen)

    def software(self) -> Found:
        allowed = self._pin().manifest.policy.code
        own = wiring.code_digest()
        if allowed and own not in allowed:
            raise ConfigurationError(f"code {own[:12]} is not among the manifest's")
        return _ok("software", f"{wiring.software()}, code {own[:12]}")

    def data(self) -> Found:
        from partner_node.table import open_table  # noqa: PLC0415 - loads DuckDB

        with open_table(self._desk.data_source()):
            return _ok("data", f"[data] query of {self._desk.config.path.name} can be read")

    def engine(self) -> Found:
        settings = self._desk.config.engine
        if not settings.ray:
            return _ok("engine", "rows are read and summed in the training process")
        if importlib.util.find_spec("ray") is None:
            raise ConfigurationError('Ray is not installed: pip install "riskweave[ray]"')
        from partner_node.part_bytes import (  # noqa: PLC0415 - loads DuckDB
            Probe,
            pack_probe,
            unpack_sum,
        )

        rows, code = training_parts.parts_of(self._desk), wiring.code_digest()
        process = training_parts.row_engine(self._desk)
        try:
            for answer in process.run([pack_probe(Probe(code=code, rows=one)) for one in rows]):
                unpack_sum(answer)
        finally:
            process.close()
        seen = f"{settings.workers} workers read {settings.parts} parts"
        return _ok("engine", f"{process.name}: {seen}")

    def budget(self) -> Found:
        desk = self._desk
        policy = self._pin().manifest.policy
        found = budget.report(desk.store(), policy, wiring.own_caps(desk))
        shares = {one.scope: one.units.left / one.units.cap for one in found if one.units.cap}
        seen = ", ".join(f"{scope} {share:.0%} left" for scope, share in shares.items())
        remedy = "plan the last runs; a new epoch is only for new persons' data"
        least = min(shares.values(), default=1.0)
        if least < SPENT_BUDGET:
            raise ConfigurationError(seen)
        return _warn("budget", seen, remedy) if least < LOW_BUDGET else _ok("budget", seen)

    def serving(self) -> Found | None:
        if wiring.is_served(self._home):
            return None
        return _warn("serving", "no process serves", f"riskweave node serve {self._home}")

    def _pin(self) -> Pin:
        pin = self._desk.keys.pinned()
        if pin is None:
            raise Skip("no manifest is pinned yet: riskweave node trust")
        return pin

    def _joined(self) -> Addresses:
        if self._desk.config.addresses is None:
            raise Skip("not enrolled yet: riskweave node join")
        return self._desk.config.addresses


def _ok(check: str, seen: str) -> Found:
    return Found(check=check, state=State.OK, seen=seen)


def _warn(check: str, seen: str, remedy: str) -> Found:
    return Found(check=check, state=State.WARNING, seen=seen, remedy=remedy)


def _certificate_start(desk: wiring.Desk) -> int:
    started = desk.keys.certificate_since(desk.config.partner)
    if started is None:
        raise Skip("not enrolled yet: riskweave node join")
    return started


def _connect_one(addresses: str) -> float:
    """Seconds to the first that can be reached, of one coordinator or its replicas."""
    failed: TransportError | None = None
    for address in parse_addresses(addresses):
        try:
            return _connect(address)
        except TransportError as error:
            failed = failed or error
    raise failed or TransportError(addresses)


def _connect(address: str) -> float:
    host, _, port = address.rpartition(":")
    began = time.monotonic()
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S):
            return time.monotonic() - began
    except OSError as error:
        raise TransportError(f"{address}: {error.strerror or error}") from error


def _flush(directory: Path) -> float:
    """Seconds that a small durable write takes here."""
    began = time.monotonic()
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(f"{directory}: {error.strerror}") from error
    return time.monotonic() - began
