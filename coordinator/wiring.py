"""Opens the coordinator's directory: the only file with clock, entropy and environment.

Everything else receives them or asks here. Keys are files of mode 0600 in a directory of mode
0700; one that others may read is refused, for then it may have been read.
"""

import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from consortium.addresses import parse_addresses
from consortium.crypto.keys import IdentityKey, NoteKey, Secret
from consortium.errors import ConfigurationError, DomainError
from consortium.features.schema import Schema, parse_schema
from consortium.ids import Digest
from consortium.manifest import digest_of_code
from coordinator import config as configuration
from coordinator.audit_log import AuditLog, LogKeys
from coordinator.authority import (
    Authority,
    KeyPair,
    spki_of_pem,
)
from coordinator.config import DATABASE, Config, load_config, parse_config
from coordinator.membership import COORDINATOR_ID, Membership, Own
from coordinator.server_certificate import ServerCertificate
from coordinator.storage import Store
from upkeep import logs

DISTRIBUTION = "riskweave"
_OTHERS = 0o077


def now() -> int:
    """Seconds since 1970, UTC."""
    return int(time.time())


def now_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return now_ns() // 1_000_000


def now_ns() -> int:
    """Nanoseconds since 1970, UTC."""
    return time.time_ns()


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


def environment() -> Mapping[str, str]:
    """That of this process."""
    return os.environ


def process_name() -> str:
    """Which process this is, for people."""
    return f"{platform.node()}:{os.getpid()}"


def quiet_flower() -> None:
    """Let Flower tell nobody of this process; it reads this at its import."""
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"


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


def authority_of(config: Config) -> tuple[Authority, ServerCertificate]:
    """Who issues certificates, and the server's own, which it may renew."""
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
    authority, certificate = authority_of(config)
    tls = certificate.pair()
    identity = identity_of(config)
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


def identity_of(config: Config) -> IdentityKey:
    """The coordinator's identity key."""
    return IdentityKey.from_secret(_seed(config.keys / "identity.key"))


def _seed(path: Path) -> Secret:
    try:
        seed = Secret(bytes.fromhex(_read_secret(path).expose().decode("ascii")))
        IdentityKey.from_secret(seed)
    except (ValueError, DomainError) as error:
        raise ConfigurationError(f"{path} is not a key in hex") from error
    return seed
