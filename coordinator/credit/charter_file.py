"""A charter as an operator writes it: TOML in, the document that partners sign out."""

import tomllib
from datetime import date
from typing import Any

from consortium.credit.governance import RETRAIN_DAYS, Charter, Clause
from consortium.credit.terms import parse_ppm
from consortium.errors import ConfigurationError, DomainError

_CHARTER = {"in_force", "settlement_share", "exit_notice_days", "retrain_days"}
_CLAUSE = {"code", "zh", "en"}


def parse_charter(
    text: str, *, federation: str, before: Charter | None, source: str = "charter"
) -> Charter:
    """The charter of a file.

    Args:
        text: TOML with [charter] and one [[clause]] for each thing that is agreed.
        federation: Whose it is.
        before: The charter that it follows.
        source: Named in errors.

    Raises:
        ConfigurationError: not TOML, an unknown or missing key, or a value that cannot be.
    """
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{source}: {error}") from error
    head, clauses = found.pop("charter", {}), found.pop("clause", [])
    if found:
        raise ConfigurationError(f"{source}: unknown table {min(found)!r}")
    try:
        return Charter(
            federation=federation,
            version=1 if before is None else before.version + 1,
            previous=None if before is None else before.digest,
            in_force=_typed(_known(head, _CHARTER), "in_force", date),
            clauses=tuple(_clause(one) for one in clauses),
            settlement_ppm=parse_ppm(_typed(head, "settlement_share", str)),
            exit_notice_days=_typed(head, "exit_notice_days", int),
            retrain_days=head.get("retrain_days", RETRAIN_DAYS),
        )
    except (DomainError, TypeError) as error:
        raise ConfigurationError(f"{source}: {error}") from error


def _clause(plain: dict[str, Any]) -> Clause:
    table = _known(plain, _CLAUSE)
    texts = {name: _typed(table, name, str) for name in ("code", "zh", "en")}
    return Clause(**texts)


def _known(table: object, names: set[str]) -> dict[str, Any]:
    if not isinstance(table, dict) or set(table) - names:
        raise DomainError(f"a table with a key that is none of {', '.join(sorted(names))}")
    return table


def _typed(table: dict[str, Any], name: str, kind: type) -> Any:  # noqa: ANN401 - as asked
    value = table.get(name)
    if type(value) is not kind:
        raise DomainError(f"{name}: expected a {kind.__name__}")
    return value
