"""``node.toml``: read strictly, so that a misspelt key is an error and not a default.

Paths in the file are relative to its directory.
"""

import re
import tomllib
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from consortium.addresses import parse_address, parse_addresses
from consortium.errors import ConfigurationError
from consortium.ids import parse_partner_id
from consortium.plan import decimal
from partner_node.config import (
    FILE,
    LOCAL_RAY,
    REST_SOCKET,
    Addresses,
    Audits,
    Budget,
    Config,
    CreditSettings,
    Data,
    DeskDoors,
    RowEngine,
    Scoring,
    Speed,
    Votes,
)

_PASSWORD = re.compile(r"password\s*=|://[^@/\s]*:[^@/\s]*@", re.IGNORECASE)

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
