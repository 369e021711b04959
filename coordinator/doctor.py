"""``riskweave doctor`` for a coordinator: what keeps it from working, and the remedy.

Looks only. Each check stands alone, so that the first fault does not hide the next.
"""

import contextlib
import os
import shutil
import socket
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from consortium.canonical import Label, hash_with
from consortium.diagnosis import Found, Skip, State, examine
from consortium.errors import (
    ConfigurationError,
    DigestMismatchError,
    StorageError,
    TransportError,
)
from consortium.ledger.entries import from_jcs
from consortium.manifest import parse_manifest
from coordinator import commands, control, wiring
from coordinator.config import Config, load_config
from coordinator.leadership import leader_of
from coordinator.storage import Store

SOON_DAYS, DAY_S = 14, 86_400
LITTLE_BYTES, TOO_LITTLE_BYTES = 1 << 30, 64 << 20
SLOW_DISK_S = 0.05
MOST_SKEW_S = 15
CONNECT_S = 5.0


def diagnose(directory: Path) -> tuple[Found, ...]:
    """All checks of the coordinator in ``directory``."""
    home = str(directory)
    opened = examine([("settings", lambda: _settings(directory), "correct coordinator.toml")])
    if opened[0].state is State.FAILED:
        return opened
    return opened + examine(
        [
            ("directory", lambda: _directory(directory), f"chmod -R go= {home}/keys"),
            ("disk", lambda: _disk(directory), "free some space: without it every run waits"),
            ("database", lambda: _database(directory), "is the server up, the password right?"),
            (
                "certificates",
                lambda: _certificates(directory),
                f"riskweave coordinator rotate {home}; a new authority means enrolling anew",
            ),
            ("clock", lambda: _clock(directory), "synchronise it: timedatectl set-ntp true"),
            (
                "doors",
                lambda: _doors(directory),
                "let TCP in on both ports",
            ),
            (
                "manifest",
                lambda: _manifest(directory),
                f"riskweave coordinator manifest {home} propose",
            ),
            (
                "software",
                lambda: _software(directory),
                "install the version that the manifest allows",
            ),
            ("data", lambda: _data(directory), "put schema.toml back, or propose a manifest"),
            ("serving", lambda: _serving(directory), f"riskweave coordinator serve {home}"),
            ("log", lambda: _log(directory), "ask the partners why their nodes are away"),
        ]
    )


def _settings(directory: Path) -> Found:
    config = load_config(directory)
    seen = f"{directory}: {config.federation}, {wiring.software()}"
    return Found(check="settings", state=State.OK, seen=seen)


def _directory(directory: Path) -> None:
    keys = load_config(directory).keys
    seen = [path.name for path in sorted(keys.iterdir()) if path.stat().st_mode & 0o077]
    if seen or keys.stat().st_mode & 0o077:
        raise ConfigurationError(f"others may read {', '.join(seen) or keys.name}")


def _disk(directory: Path) -> Found:
    free = shutil.disk_usage(directory).free
    if free < TOO_LITTLE_BYTES:
        raise StorageError(f"{free >> 20} MiB free")
    began = time.monotonic()
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(f"{directory}: {error.strerror}") from error
    took = time.monotonic() - began
    seen = f"{free >> 20:,} MiB free, a durable write takes {took * 1000:.1f} ms"
    if free < LITTLE_BYTES or took > SLOW_DISK_S:
        remedy = "every round waits for durable writes: use a local disk with space on it"
        return _warn("disk", seen, remedy)
    return Found(check="disk", state=State.OK, seen=seen)


def _database(directory: Path) -> Found:
    config = load_config(directory)
    with contextlib.closing(Store(config.storage_url)) as store:
        entries, runs = len(store.log.leaves()), len(store.runs.unfinished())
        version, led = store.version(), leader_of(store)
    kind = config.storage_url.partition(":")[0].partition("+")[0]
    seen = f"{kind}, version {version}, {entries:,} log entries, {runs} unfinished runs"
    if led is not None:
        since = datetime.fromtimestamp(led.since, tz=UTC).isoformat(timespec="seconds")
        seen += f"; epoch {led.epoch}: {led.holder} leads since {since}"
    return Found(check="database", state=State.OK, seen=seen)


def _certificates(directory: Path) -> Found:
    keys = load_config(directory).keys
    until = {
        name: x509.load_pem_x509_certificate((keys / name).read_bytes()).not_valid_after_utc
        for name in ("ca.pem", "tls.pem")
    }
    first = min(until, key=lambda name: until[name])
    left = int(until[first].timestamp()) - wiring.now()
    seen = f"{first} until {until[first].astimezone(UTC).date()}"
    if left < 0:
        raise ConfigurationError(f"expired: {seen}")
    if left < SOON_DAYS * DAY_S:
        remedy = f"riskweave coordinator rotate {directory}"
        if first == "ca.pem":
            remedy = "the authority ends: plan a new directory and new join tokens"
        return _warn("certificates", seen, remedy)
    return Found(check="certificates", state=State.OK, seen=seen)


def _clock(directory: Path) -> Found:
    """Nobody's clock is asked: a node's doctor compares its own with this one."""
    now, config = wiring.now(), load_config(directory)
    tls = x509.load_pem_x509_certificate((config.keys / "tls.pem").read_bytes())
    started = int(tls.not_valid_before_utc.timestamp())
    if now < started:
        raise ConfigurationError(
            f"it is before the certificate's first day by {started - now} s"
        )
    with contextlib.closing(Store(config.storage_url)) as store:
        size = max((size for size, _ in store.log.heads(last=1)), default=0)
        last = [from_jcs(one).at for one in store.log.portion(max(0, size - 1), size)]
    if last and now + MOST_SKEW_S < last[0]:
        raise ConfigurationError(f"it is {last[0] - now} s behind the log's newest entry")
    seen = datetime.fromtimestamp(now, tz=UTC).isoformat()
    return Found(check="clock", state=State.OK, seen=seen)


def _doors(directory: Path) -> Found:
    config = load_config(directory)
    try:
        for address in (config.federation_address, config.enrolment_address):
            _connect(address)
    except TransportError:
        _check_served(config)
        raise
    public = {config.federation_public, config.enrolment_public}
    for address in sorted(public - {config.federation_address, config.enrolment_address}):
        try:
            _connect(address)
        except TransportError as error:
            seen = f"from here {error}; partners dial it"
            return _warn("doors", seen, "ask a partner for `riskweave doctor`: NAT, firewall?")
    seen = ", ".join(sorted(public))
    return Found(check="doors", state=State.OK, seen=f"reachable: {seen}")


def _check_served(config: Config) -> None:
    try:
        control.fetch_status(config.control_socket)
    except TransportError as error:
        raise Skip("no process serves") from error


def _connect(address: str) -> None:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - dialled, not bound
    try:
        with socket.create_connection((here, int(port)), timeout=CONNECT_S):
            return
    except OSError as error:
        raise TransportError(f"{address}: {error.strerror or error}") from error


def _manifest(directory: Path) -> Found:
    desk = wiring.open_desk(directory)
    with contextlib.closing(desk.store):
        bundle = desk.membership.bundle(None)
        current = desk.membership.current()
    newest = parse_manifest(bundle.body)
    if current is not None and current.digest == newest.digest:
        seen = f"{newest.digest[:12]}, version {newest.version}, signed by all"
        return Found(check="manifest", state=State.OK, seen=seen)
    signed = {signature.member for signature in bundle.signatures}
    lacking = ", ".join(one.id for one in newest.signers() if one.id not in signed)
    seen = f"version {newest.version} is not in force; still to sign: {lacking or 'nobody'}"
    return _warn("manifest", seen, "ask them: riskweave node trust")


def _software(directory: Path) -> Found:
    desk = wiring.open_desk(directory)
    with contextlib.closing(desk.store):
        current = desk.membership.current()
    own = wiring.code_digest()
    allowed = () if current is None else current.policy.code
    if allowed and own not in allowed:
        raise ConfigurationError(f"code {own[:12]} is not among the manifest's")
    seen = f"{wiring.software()}, code {own[:12]}"
    return Found(check="software", state=State.OK, seen=seen)


def _data(directory: Path) -> Found:
    """All the data that a coordinator has of its own: the schema, and what was released."""
    desk = wiring.open_desk(directory)
    with contextlib.closing(desk.store):
        current = desk.membership.current()
        models = desk.store.models.all()
    for row in models:
        digest = hash_with(Label.MODEL, row.document)
        if digest != row.version:
            raise DigestMismatchError("model", digest, row.version)
    if current is not None and current.schema != desk.schema.digest:
        raise ConfigurationError("schema.toml is not the one of the manifest in force")
    seen = f"schema {desk.schema.name} version {desk.schema.version}, {len(models)} models"
    return Found(check="data", state=State.OK, seen=seen)


def _serving(directory: Path) -> Found:
    config = load_config(directory)
    try:
        status = control.fetch_status(config.control_socket)
    except TransportError:
        remedy = f"riskweave coordinator serve {directory}"
        return _warn("serving", "no process serves", remedy)
    up = sum(one.training for one in status.partners)
    seen = f"{up} of {len(status.partners)} partners connected"
    if not status.manifest_complete:
        return _warn("serving", f"{seen}; no manifest is in force", "see `manifest show`")
    if up < len(status.partners):
        away = ", ".join(one.partner for one in status.partners if not one.training)
        return _warn("serving", f"{seen}; away: {away}", "ask their engineers")
    return Found(check="serving", state=State.OK, seen=seen)


def _log(directory: Path) -> Found:
    desk = wiring.open_desk(directory)
    with contextlib.closing(desk.store):
        heads = desk.store.log.heads(last=1)
        if not heads:
            return Found(check="log", state=State.OK, seen="empty")
        size = heads[-1][0]
        if commands.is_witnessed(desk):
            return Found(check="log", state=State.OK, seen=f"head of {size:,} entries cosigned")
    now = datetime.fromtimestamp(wiring.now(), tz=UTC).isoformat(timespec="seconds")
    seen = f"the head of {size:,} entries is not cosigned by the quorum at {now}"
    return _warn("log", seen, "training stops without witnesses: are the nodes up?")


def _warn(check: str, seen: str, remedy: str) -> Found:
    return Found(check=check, state=State.WARNING, seen=seen, remedy=remedy)
