"""All settings of one node, as values.

What a coordinator may ask is bounded here by the owner, and in the manifest by all; the
smaller bound counts. ``Speed`` stands apart: it may change no released number.
"""

from dataclasses import dataclass, field
from pathlib import Path

from consortium.errors import ConfigurationError
from consortium.ids import PartnerId

FILE = "node.toml"
LOCAL_RAY = "local"
"""``[engine] address`` that means workers on this machine, and no cluster."""
REST_SOCKET = "socket"
"""``[desk] rest`` that means a unix socket."""


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
