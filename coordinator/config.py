"""``coordinator.toml``: read strictly, so that a misspelt key is an error and not a default.

What every node enforces (floors and caps) is proposed from here into the manifest and counts
only once all have signed it. Paths in the file are relative to its directory.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar, cast

from consortium.addresses import parse_addresses
from consortium.errors import ConfigurationError
from consortium.figure_policy import FigurePolicy, figures_of
from consortium.gates import GatePolicy, gate_of
from consortium.ids import parse_digest
from consortium.manifest import Policy
from consortium.plan import ModelKind, decimal
from coordinator.scoring_config import KEYS, TEMPLATE_SCORING, parse_scoring

FILE = "coordinator.toml"

TEMPLATE = """\
# RiskWeave coordinator. Unknown keys are refused. `riskweave coordinator --help`

[federation]
name = {name}

[listen]
federation = "{address}"     # enrolled partners, mutual TLS
enrolment = "{enrolment}"    # join tokens, server-side TLS
{public}
[storage]
url = {storage}   # sqlite:/// relative to this directory, or postgresql://user@host/database

"""

DATABASE = "sqlite:///coordinator.db"
"""Where everything is kept unless something else is said."""


def public_lines(public: tuple[str, str] | None) -> str:
    """The lines of ``[listen]`` about what partners dial to work, and to enrol."""
    federation, enrolment = public or ("host:port", "host:port")
    mark = "" if public else "# "
    return (
        f'{mark}federation_public = "{federation}"   # what partners dial, where it differs\n'
        f'{mark}enrolment_public = "{enrolment}"\n'
    )


TEMPLATE_POLICY = """\
[policy]                           # proposed into the manifest; every partner signs it
min_partners = 2                   # fewest partners in a sum
max_partners_per_person = 2        # most partners that may hold one person
delta = "1e-6"
max_epsilon_per_run = "3"
max_epsilon_lifetime = "8"
model_kinds = ["scorecard", "mlp", "head", "hazard"]
code = []                          # digests of the node software that may train; empty: any
vote_quorum = 2                    # accepting votes that make a model active
honest_fraction = "0.5"            # share of a roster that the shared noise may rely on
allow_pair = false                 # whether two partners may train under shared noise

[policy.family_m]                  # most partners of a family that may hold one person, where
# repayment = 1                    # that is fewer than max_partners_per_person
"""
TEMPLATE_POLICY += """
[gate]                             # what a release must pass; all of it is signed, too
# least_slope = "0.8"              # calibration slope on the hold-out
# most_slope = "1.2"
# most_partner = "0.5"             # largest share of the joint score's variance of one partner
# most_changes = "0.03"            # decisions that may change with another training
# empirical_audit = "if_code_is_named"   # or "required", "optional"
"""
TEMPLATE_POLICY += """
[figures]                          # which noisy tables the operator may ask for; signed, too
# kinds = ["demand", "approvals", "vintages", "roll_rates", "closures"]   # none unless named
# run_epsilon = "1"                # most of one table, for a person
# lifetime_epsilon = "3"           # most of all tables of a data epoch
"""
TEMPLATE_POLICY += TEMPLATE_SCORING

TEMPLATE_LIMITS = """\

[limits]
attempt_timeout_s = 30
training_message_mib = 16
scoring_message_kib = 2048
keep_words_mib = 16                # masked words of a sum are kept up to this size (0: none),
keep_words_days = 90               # for `bundle --uploads`: an auditor adds them up itself

[metrics]
# listen = "127.0.0.1:9464"        # Prometheus' /metrics, /healthz, /readyz; plain HTTP: for
#                                  # the inside; health.sock here answers in any case
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on time and size."""

    attempt_timeout_s: int = 30
    training_message_mib: int = 16
    scoring_message_kib: int = 2048
    keep_words_mib: int = 16
    keep_words_days: int = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings of one coordinator; ``directory`` holds its keys and its database."""

    directory: Path
    federation: str
    federation_address: str
    enrolment_address: str
    federation_public: str
    """What partners dial; differs from the address behind a NAT or in a container, and names
    each replica, with commas between them, where they have no common address."""
    enrolment_public: str
    storage_url: str
    policy: Policy
    limits: Limits
    metrics: str | None = None
    """host:port where Prometheus scrapes; None: no port."""

    @property
    def keys(self) -> Path:
        """Directory of the private keys, mode 0700."""
        return self.directory / "keys"

    @property
    def schema(self) -> Path:
        """The feature schema."""
        return self.directory / "schema.toml"

    @property
    def control_socket(self) -> Path:
        """The operator's own door."""
        return self.directory / "control.sock"


_TABLES = {
    "federation": {"name"},
    "listen": {"federation", "enrolment", "federation_public", "enrolment_public"},
    "storage": {"url"},
    "metrics": {"listen"},
    "policy": {
        "min_partners",
        "max_partners_per_person",
        "delta",
        "max_epsilon_per_run",
        "max_epsilon_lifetime",
        "model_kinds",
        "code",
        "vote_quorum",
        "honest_fraction",
        "allow_pair",
        "family_m",
    },
    "gate": {field.name for field in fields(GatePolicy)},
    "figures": {field.name for field in fields(FigurePolicy)},
    "scoring": set(KEYS),
    "limits": {
        "attempt_timeout_s",
        "training_message_mib",
        "scoring_message_kib",
        "keep_words_mib",
        "keep_words_days",
    },
}


def load_config(directory: Path) -> Config:
    """Read ``coordinator.toml`` in ``directory``.

    Raises:
        ConfigurationError: naming the file and the key.
    """
    path = directory / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{path}: {error.strerror}; `riskweave coordinator init` makes one"
        ) from error
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
    _refuse_unknown(document, path)
    try:
        return _config_of(document, path)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def parse_policy(text: str, source: str) -> Policy:
    """Read a file whose tables are ``[policy]`` and ``[scoring]``; raise ConfigurationError."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{source}: {error}") from error
    _refuse_unknown(document, Path(source))
    try:
        return _policy_of(document)
    except ConfigurationError as error:
        raise ConfigurationError(f"{source}: {error}") from error


def _config_of(document: Mapping[str, object], path: Path) -> Config:
    listen, limits = _table(document, "listen"), _table(document, "limits")
    metrics = _table(document, "metrics")
    defaults = Limits()
    federation = _get(listen, "federation", str, "127.0.0.1:7443")
    enrolment = _get(listen, "enrolment", str, "127.0.0.1:7444")
    return Config(
        directory=path.parent,
        federation=_get(_table(document, "federation"), "name", str),
        federation_address=address(federation),
        enrolment_address=address(enrolment),
        federation_public=_addresses(_get(listen, "federation_public", str, federation)),
        enrolment_public=_addresses(_get(listen, "enrolment_public", str, enrolment)),
        storage_url=_storage_url(
            _get(_table(document, "storage"), "url", str, DATABASE),
            path.parent,
        ),
        policy=_policy_of(document),
        metrics=address(_get(metrics, "listen", str)) if "listen" in metrics else None,
        limits=Limits(
            attempt_timeout_s=_whole(limits, "attempt_timeout_s", defaults.attempt_timeout_s),
            training_message_mib=_whole(
                limits, "training_message_mib", defaults.training_message_mib
            ),
            scoring_message_kib=_whole(
                limits, "scoring_message_kib", defaults.scoring_message_kib
            ),
            keep_words_mib=_whole(limits, "keep_words_mib", defaults.keep_words_mib, low=0),
            keep_words_days=_whole(limits, "keep_words_days", defaults.keep_words_days),
        ),
    )


def _policy_of(document: Mapping[str, object]) -> Policy:
    table = _table(document, "policy")
    decimal(_get(table, "delta", str, "1e-6"), "delta", low="1e-12", high="1e-3")
    for key, default in (("max_epsilon_per_run", "3"), ("max_epsilon_lifetime", "8")):
        decimal(_get(table, key, str, default), key, low="0.01", high="100")
    able = [kind.value for kind in ModelKind if kind is not ModelKind.TABLE]
    kinds = _names(table, "model_kinds", able)
    if unknown := set(kinds) - set(able):
        raise ConfigurationError(f"model_kinds: {min(unknown)!r} is not a model kind")
    return Policy(
        min_partners=_whole(table, "min_partners", 2),
        max_partners_per_person=_whole(table, "max_partners_per_person", 2),
        delta=_get(table, "delta", str, "1e-6"),
        max_epsilon_per_run=_get(table, "max_epsilon_per_run", str, "3"),
        max_epsilon_lifetime=_get(table, "max_epsilon_lifetime", str, "8"),
        model_kinds=kinds,
        code=tuple(parse_digest(entry) for entry in _names(table, "code", [])),
        vote_quorum=_whole(table, "vote_quorum", 2),
        honest_fraction=_fraction(table),
        allow_pair=_flag(table, "allow_pair"),
        family_m=_family_m(table),
        scoring=parse_scoring(_table(document, "scoring")),
        gate=gate_of(_table(document, "gate")),
        figures=figures_of(_table(document, "figures")),
    )


def _fraction(table: Mapping[str, object]) -> str:
    text = _get(table, "honest_fraction", str, "0.5")
    decimal(text, "honest_fraction", low="0.01", high="1")
    return text


def _flag(table: Mapping[str, object], key: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise ConfigurationError(f"{key} = {value!r} is not true or false")
    return value


def _family_m(table: Mapping[str, object]) -> tuple[tuple[str, int], ...]:
    found = table.get("family_m", {})
    if not isinstance(found, dict):
        raise ConfigurationError(f"family_m = {found!r} is not a table")
    return tuple(sorted((str(name), _whole(found, name, 1)) for name in found))


def address(text: str) -> str:
    """Return ``host:port`` as given, or raise ConfigurationError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 - TCP
        raise ConfigurationError(f"address {text!r} is not host:port")
    return text


def _addresses(text: str) -> str:
    parse_addresses(text)
    return text


def _storage_url(url: str, directory: Path) -> str:
    """The URL as SQLAlchemy takes it: absolute path, or the one driver of PostgreSQL."""
    for scheme in ("postgresql://", "postgres://"):
        if url.startswith(scheme):
            return "postgresql+psycopg://" + url.removeprefix(scheme)
    relative = url.removeprefix("sqlite:///")
    if relative == url or relative.startswith("/"):
        return url
    return f"sqlite:///{(directory / relative).absolute()}"


def _refuse_unknown(document: Mapping[str, object], path: Path) -> None:
    for name, table in document.items():
        if name not in _TABLES:
            raise ConfigurationError(f"{path}: unknown table [{name}]")
        if not isinstance(table, dict):
            raise ConfigurationError(f"{path}: {name} is not a table")
        if unknown := set(table) - _TABLES[name]:
            raise ConfigurationError(f"{path}: unknown key {min(unknown)!r} in [{name}]")


def _table(document: Mapping[str, object], name: str) -> Mapping[str, object]:
    return cast("Mapping[str, object]", document.get(name, {}))


_Value = TypeVar("_Value", int, str, list[object])


def _get(
    table: Mapping[str, object], key: str, kind: type[_Value], default: _Value | None = None
) -> _Value:
    value = table.get(key, default)
    if value is None:
        raise ConfigurationError(f"{key} is missing")
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConfigurationError(f"{key} = {value!r} is not of type {kind.__name__}")
    return value


def _whole(table: Mapping[str, object], key: str, default: int, *, low: int = 1) -> int:
    value = _get(table, key, int, default)
    if value < low:
        raise ConfigurationError(f"{key} = {value} is not at least {low}")
    return value


def _names(table: Mapping[str, object], key: str, default: list[str]) -> tuple[str, ...]:
    values: list[object] = _get(table, key, list, list(default))
    return tuple(str(value) for value in values)
