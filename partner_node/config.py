"""``node.toml``: read strictly, so that a misspelt key is an error and not a default.

What a coordinator may ask is bounded here by the owner, and in the manifest by all; the
smaller bound counts. ``Speed`` stands apart: it may change no released number. Paths in the
file are relative to its directory.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from consortium.addresses import parse_address, parse_addresses
from consortium.errors import ConfigurationError
from consortium.ids import PartnerId, parse_partner_id
from consortium.plan import decimal

FILE = "node.toml"

TEMPLATE_HEAD = """\
# RiskWeave partner node. Unknown keys are refused. `riskweave node --help`

[node]
id = "{partner}"

[coordinator]                # written by `riskweave node join`

"""

TEMPLATE_SETTINGS = """\
[data]
# One SELECT over Parquet, CSV or PostgreSQL; relative paths start at this directory, or at
# `directory`. Its columns are the person, the label (0 = good, 1 = bad) and the features of
# the federation's schema.
# query = "SELECT * FROM 'clients.parquet'"
# person = "client_id"
# label = "default"
# directory = "/srv/risk"
# memory_limit = "1GB"
# threads = 2
# postgres = "service=risk"  # with it, the query may read the attached database as pg

[budget]                     # the coordinator cannot raise these; the manifest may lower them
lifetime_epsilon = "3"       # all runs of one epoch together, for one person
run_epsilon = "1"            # most that one run may ask for
tables_epsilon = "3"         # all table releases of one epoch, beside the runs that train
epoch = "default"            # a new name starts a new account: only for new persons' data

[votes]
min_auc = "0.5"              # `validate` says no to a model below this on the own hold-out

[scoring]
# study_consent = "consent"  # column with the reference of a person's consent to CALIBRATION:
                             # who has none is never asked about in a study
threads = 1                  # for pseudonyms of whole tables
refresh_hours = 24           # how often the table is read anew

[desk]                       # riskweave.v1.CreditDesk: always on desk.sock in this directory
# listen = "127.0.0.1:9443"  # also by gRPC over mutual TLS; `riskweave node desk-client`
# rest = "127.0.0.1:9080"    # REST: host:port, or "socket" for desk-rest.sock
# rest_tls = true            # by client certificate; must be, unless the host is loopback

[audit]                      # what a replay of this node's sums needs is kept in node.db
window_days = 90             # from a run's last sum; then its seed, JOINs and words are erased
words_mib = 1024             # most words kept; without them a difference cannot be explained
erase_after_result = false   # erase as soon as the regulator's result of the run is known

[credit]                     # the credit desk; rules: credit/*.toml, `riskweave desk init`
time_zone = "UTC"            # whose calendar dates a decision has, such as Asia/Taipei
key_hours = 24               # how long an idempotency key brings the same decision
deadline_ms = 500            # how long a decision waits for the others at most

[engine]                     # who reads the rows and adds them up (docs/operations.md)
kind = "local"               # this process; or "ray", with `pip install "riskweave[ray]"`
# address = "local"          # workers on this machine, or host:port of the bank's cluster
# workers = 2
# parts = 2                  # the rows are split by person into as many parts
# query = "SELECT * FROM 'clients/part-{part}.parquet'"  # the rows of one part alone
# deadline_s = 600           # how long a sum waits for the workers

[speed]
worker_nice = 5              # how far the training process steps back for others

[metrics]
# listen = "127.0.0.1:9465"  # Prometheus' /metrics, /healthz, /readyz; plain HTTP, so keep it
#                            # inside; health.sock in this directory answers in any case
"""

LOCAL_RAY = "local"
"""``[engine] address`` that means workers on this machine, and no cluster."""
_PASSWORD = re.compile(r"password\s*=|://[^@/\s]*:[^@/\s]*@", re.IGNORECASE)

REST_SOCKET = "socket"
"""``[desk] rest`` that means a unix socket."""

_HEAD = "[coordinator]                # written by `riskweave node join`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """The coordinator's doors, host:port each; of several replicas with commas between them."""

    federation: str
    enrolment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """``[data]``: where the rows are. Private."""

    query: str
    person: str
    label: str
    directory: Path
    """Where relative paths in the query start."""
    memory_limit: str = "1GB"
    threads: int = 2
    postgres: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The owner's own caps, epsilons as decimals (protocol 4.6 (6))."""

    lifetime_epsilon: str = "3"
    run_epsilon: str = "1"
    tables_epsilon: str = "3"
    """All table releases of an epoch: an account of its own (protocol 13.11)."""
    epoch: str = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """When a candidate is good enough for an accepting vote."""

    min_auc: str = "0.5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """``[scoring]``: joint scores, as far as they are this node's own matter."""

    study_consent: str | None = None
    """Column with the reference of a person's consent to studies; None: nobody has one."""
    threads: int = 1
    refresh_hours: int = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskDoors:
    """``[desk]``: where the partner's own systems ask, beside the unix socket."""

    listen: str | None = None
    """host:port of gRPC over mutual TLS."""
    rest: str | None = None
    """host:port, or ``socket``."""
    rest_tls: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Audits:
    """``[audit]``: how long an audit may ask for a replay (protocol 9.4)."""

    window_days: int = 90
    words_mib: int = 1024
    erase_after_result: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditSettings:
    """``[credit]``: the credit desk, as far as it is no policy."""

    time_zone: str = "UTC"
    key_hours: int = 24
    deadline_ms: int = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class RowEngine:
    """``[engine]``: who reads the rows and adds them up. Changes no released number."""

    ray: bool = False
    """Workers of a Ray cluster; else this node's training process."""
    address: str = LOCAL_RAY
    workers: int = 2
    parts: int = 2
    query: str | None = None
    """Gives the rows of the part ``{part}`` alone; None: each part is sought in the whole."""
    deadline_s: int = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Changes no released number."""

    worker_nice: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings of one node; ``directory`` holds its keys and its database."""

    directory: Path
    partner: PartnerId
    addresses: Addresses | None
    """None before the node has joined."""
    data: Data | None
    """None before its owner has named a query."""
    budget: Budget = field(default_factory=Budget)
    votes: Votes = field(default_factory=Votes)
    scoring: Scoring = field(default_factory=Scoring)
    desk: DeskDoors = field(default_factory=DeskDoors)
    audit: Audits = field(default_factory=Audits)
    credit: CreditSettings = field(default_factory=CreditSettings)
    engine: RowEngine = field(default_factory=RowEngine)
    speed: Speed = field(default_factory=Speed)
    metrics: str | None = None
    """host:port where Prometheus scrapes; None: no port."""

    @property
    def path(self) -> Path:
        """The file that was read."""
        return self.directory / FILE

    @property
    def database(self) -> Path:
        """Commitments, budget and journal."""
        return self.directory / "node.db"

    @property
    def scoring_database(self) -> Path:
        """Key shares, pseudonyms, quotas and the access log."""
        return self.directory / "scoring.db"

    @property
    def credit_database(self) -> Path:
        """Decisions, and what is true together with them."""
        return self.directory / "credit.db"

    @property
    def desk_socket(self) -> Path:
        """Where ``riskweave node score`` and the partner's own systems ask."""
        return self.directory / "desk.sock"

    @property
    def rest_socket(self) -> Path:
        """The same over HTTP, if ``rest`` is ``socket``."""
        return self.directory / "desk-rest.sock"

    def joined(self) -> Addresses:
        """The coordinator's doors, or ConfigurationError."""
        if self.addresses is None:
            raise ConfigurationError(
                f"{self.path}: [coordinator] is empty; run: "
                f"riskweave node join {self.directory} --token FILE"
            )
        return self.addresses

    def source(self) -> Data:
        """Where the rows are, or ConfigurationError."""
        if self.data is None:
            raise ConfigurationError(f"{self.path}: [data] names no query, person and label")
        return self.data


_TABLES = {
    "node": {"id"},
    "coordinator": {"address", "enrolment"},
    "data": {
        "query",
        "person",
        "label",
        "directory",
        "memory_limit",
        "threads",
        "postgres",
    },
    "budget": {"lifetime_epsilon", "run_epsilon", "tables_epsilon", "epoch"},
    "votes": {"min_auc"},
    "scoring": {"study_consent", "threads", "refresh_hours"},
    "credit": {"time_zone", "key_hours", "deadline_ms"},
    "desk": {"listen", "rest", "rest_tls"},
    "audit": {"window_days", "words_mib", "erase_after_result"},
    "engine": {"kind", "address", "workers", "parts", "query", "deadline_s"},
    "speed": {"worker_nice"},
    "metrics": {"listen"},
}


def load_config(directory: Path) -> Config:
    """Read ``node.toml`` in ``directory``.

    Raises:
        ConfigurationError: naming the file and the key.
    """
    path = directory / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{path}: {error.strerror}; `riskweave node init` makes one"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 text") from error
    return parse_config(text, path)


def parse_config(text: str, path: Path) -> Config:
    """Return the settings in ``text``; ``path`` is where it was read.

    Raises:
        ConfigurationError: naming the file and the key.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    try:
        _refuse_unknown(document)
        return _config_of(document, path.parent)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def with_addresses(text: str, addresses: Addresses) -> str:
    """The file's text with its ``[coordinator]`` table replaced; all else stays as it is."""
    written = [
        _HEAD,
        f'address = "{addresses.federation}"',
        f'enrolment = "{addresses.enrolment}"',
        "",
    ]
    kept: list[str] = []
    inside, done = False, False
    for line in text.splitlines():
        if line.lstrip().startswith("["):
            inside = line.split("#")[0].strip() == "[coordinator]"
            if inside:
                kept += written
                done = True
        if not inside:
            kept.append(line)
    return "\n".join(kept if done else [*kept, "", *written]).rstrip("\n") + "\n"


def _config_of(document: Mapping[str, object], directory: Path) -> Config:
    addresses, data = _table(document, "coordinator"), _table(document, "data")
    return Config(
        directory=directory,
        partner=parse_partner_id(_get(_table(document, "node"), "id", str)),
        addresses=_addresses_of(addresses) if addresses else None,
        data=_data_of(data, directory) if data else None,
        budget=_budget_of(_table(document, "budget")),
        votes=_votes_of(_table(document, "votes")),
        scoring=_scoring_of(_table(document, "scoring")),
        desk=_desk_of(_table(document, "desk")),
        audit=_audit_of(_table(document, "audit")),
        credit=_credit_of(_table(document, "credit")),
        engine=_engine_of(_table(document, "engine"), data),
        speed=_speed_of(_table(document, "speed")),
        metrics=_metrics_of(_table(document, "metrics")),
    )


def _addresses_of(table: Mapping[str, object]) -> Addresses:
    return Addresses(
        federation=_addresses(_get(table, "address", str)),
        enrolment=_addresses(_get(table, "enrolment", str)),
    )


def _addresses(text: str) -> str:
    parse_addresses(text)
    return text


def _data_of(table: Mapping[str, object], directory: Path) -> Data:
    postgres = _get(table, "postgres", str) if "postgres" in table else None
    return Data(
        query=_get(table, "query", str),
        person=_get(table, "person", str),
        label=_get(table, "label", str),
        directory=directory / _get(table, "directory", str, "."),
        memory_limit=_get(table, "memory_limit", str, "1GB"),
        threads=_whole(table, "threads", 2, low=1),
        postgres=postgres,
    )


def _budget_of(table: Mapping[str, object]) -> Budget:
    default = Budget()
    budget = Budget(
        lifetime_epsilon=_get(table, "lifetime_epsilon", str, default.lifetime_epsilon),
        run_epsilon=_get(table, "run_epsilon", str, default.run_epsilon),
        tables_epsilon=_get(table, "tables_epsilon", str, default.tables_epsilon),
        epoch=_get(table, "epoch", str, default.epoch),
    )
    decimal(budget.tables_epsilon, "tables_epsilon", low="0.01", high="100")
    decimal(budget.lifetime_epsilon, "lifetime_epsilon", low="0.01", high="100")
    decimal(budget.run_epsilon, "run_epsilon", low="0.01", high="100")
    if not 1 <= len(budget.epoch) <= 64 or not budget.epoch.isprintable():  # noqa: PLR2004
        raise ConfigurationError(f"epoch {budget.epoch[:80]!r} is not 1 to 64 characters")
    return budget


def _votes_of(table: Mapping[str, object]) -> Votes:
    least = _get(table, "min_auc", str, Votes().min_auc)
    decimal(least, "min_auc", low="0", high="1")
    return Votes(min_auc=least)


def _scoring_of(table: Mapping[str, object]) -> Scoring:
    default = Scoring()
    consent = _get(table, "study_consent", str) if "study_consent" in table else None
    if consent == "":
        raise ConfigurationError("study_consent: an empty name; leave the key out")
    return Scoring(
        study_consent=consent,
        threads=_whole(table, "threads", default.threads, low=1),
        refresh_hours=_whole(table, "refresh_hours", default.refresh_hours, low=1),
    )


def _desk_of(table: Mapping[str, object]) -> DeskDoors:
    listen = parse_address(_get(table, "listen", str)) if "listen" in table else None
    rest = _get(table, "rest", str) if "rest" in table else None
    tls = _flag(table, "rest_tls")
    if rest == REST_SOCKET and tls:
        raise ConfigurationError("rest_tls: a unix socket needs no TLS")
    if rest not in (None, REST_SOCKET):
        host = parse_address(rest or "").rpartition(":")[0].strip("[]")
        if not tls and not _is_loopback(host):
            raise ConfigurationError(
                f"rest = {rest!r}: plain HTTP is for loopback only; set rest_tls = true, or "
                'use rest = "socket"'
            )
    return DeskDoors(listen=listen, rest=rest, rest_tls=tls)


def _credit_of(table: Mapping[str, object]) -> CreditSettings:
    default = CreditSettings()
    zone = _get(table, "time_zone", str, default.time_zone)
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigurationError(
            f"time_zone = {zone!r} is no time zone such as UTC or Asia/Taipei"
        ) from error
    return CreditSettings(
        time_zone=zone,
        key_hours=_whole(table, "key_hours", default.key_hours, low=1),
        deadline_ms=_whole(table, "deadline_ms", default.deadline_ms, low=20),
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _audit_of(table: Mapping[str, object]) -> Audits:
    default = Audits()
    return Audits(
        window_days=_whole(table, "window_days", default.window_days, low=1),
        words_mib=_whole(table, "words_mib", default.words_mib, low=0),
        erase_after_result=_flag(table, "erase_after_result"),
    )


def _flag(table: Mapping[str, object], key: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise ConfigurationError(f"{key} = {value!r} is not true or false")
    return value


def _engine_of(table: Mapping[str, object], data: Mapping[str, object]) -> RowEngine:
    kind = _get(table, "kind", str, "local")
    if kind not in ("local", "ray"):
        raise ConfigurationError(f'kind = {kind!r} is neither "local" nor "ray"')
    default = RowEngine()
    if kind == "local":
        if unused := sorted(set(table) - {"kind"}):
            raise ConfigurationError(f'{unused[0]}: only with kind = "ray"')
        return default
    address = _get(table, "address", str, default.address)
    query = _get(table, "query", str) if "query" in table else None
    if query is not None and "{part}" not in query:
        raise ConfigurationError("query: without {part} every part would be all rows")
    if _PASSWORD.search(_get(data, "postgres", str, "")):
        raise ConfigurationError(
            "postgres: a password would go to every worker; put it into ~/.pgpass there"
        )
    workers = _whole(table, "workers", default.workers, low=1)
    return RowEngine(
        ray=True,
        address=address if address == LOCAL_RAY else parse_address(address),
        workers=workers,
        parts=_whole(table, "parts", workers, low=workers),
        query=query,
        deadline_s=_whole(table, "deadline_s", default.deadline_s, low=1),
    )


def _speed_of(table: Mapping[str, object]) -> Speed:
    return Speed(worker_nice=_whole(table, "worker_nice", Speed().worker_nice, low=0))


def _metrics_of(table: Mapping[str, object]) -> str | None:
    return parse_address(_get(table, "listen", str)) if "listen" in table else None


def _refuse_unknown(document: Mapping[str, object]) -> None:
    for name, table in document.items():
        if name not in _TABLES:
            raise ConfigurationError(f"unknown table [{name}]")
        if not isinstance(table, dict):
            raise ConfigurationError(f"{name} is not a table")
        if unknown := set(table) - _TABLES[name]:
            raise ConfigurationError(f"unknown key {min(unknown)!r} in [{name}]")


def _table(document: Mapping[str, object], name: str) -> Mapping[str, object]:
    return cast("Mapping[str, object]", document.get(name, {}))


_Value = TypeVar("_Value", int, str)


def _get(
    table: Mapping[str, object], key: str, kind: type[_Value], default: _Value | None = None
) -> _Value:
    value = table.get(key, default)
    if value is None:
        raise ConfigurationError(f"{key} is missing")
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConfigurationError(f"{key} = {value!r} is not of type {kind.__name__}")
    return value


def _whole(table: Mapping[str, object], key: str, default: int, *, low: int) -> int:
    value = _get(table, key, int, default)
    if value < low:
        raise ConfigurationError(f"{key} = {value} is not at least {low}")
    return value
