"""What a person may ask of this partner: to end a consent, to be deleted; and what time ends.

A withdrawal counts from the next call on, in this process and in every other one of the node:
first the joint score is barred where it is asked for, then what the consent had allowed is
dropped or emptied, in one transaction with the withdrawal. Past decisions stay as they were
(credit 6). A deletion leaves a record that names nobody.
"""

import contextlib
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from consortium.canonical import canonical_json
from consortium.credit.early_warning import Sign
from consortium.credit.terms import ConsentPurpose, add_months
from consortium.credit.waves import Fate
from consortium.errors import ConfigurationError, DataError
from consortium.inquiries import Purpose
from partner_node import budget, wiring
from partner_node.credit import (
    storage_attested,
    storage_elsewhere,
    storage_people,
    storage_rights,
    storage_watch,
)
from partner_node.credit.storage import Connection, CreditStore
from partner_node.credit.storage_campaign import drop_members

if TYPE_CHECKING:
    from partner_node.scoring_store import ScoringStore

FILE = "retention.toml"
_REQUEST = 64
_JOINT = frozenset(purpose.value for purpose in Purpose)
_BITS = storage_elsewhere.ELSEWHERE.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long the desk keeps what; by policy, with a floor where a duty has one."""

    decision_years: int = 5
    watch_months: int = 36
    deletion_years: int = 3

    @classmethod
    def read(cls, folder: Path) -> "Retention":
        """``retention.toml`` in the directory of the rules, or the defaults.

        Raises:
            ConfigurationError: not readable, an unknown key, or less than the floor.
        """
        path = folder / FILE
        if not path.exists():
            return cls()
        try:
            found = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(f"{path}: not readable as TOML") from error
        for name, value in found.items():
            least, most = _BOUNDS.get(name, (0, -1))
            if type(value) is not int or not least <= value <= most:
                expected = f"{least} to {most}" if most > 0 else f"one of {', '.join(_BOUNDS)}"
                raise ConfigurationError(f"{path}: {name}: expected {expected}")
        return cls(**found)


_BOUNDS: Mapping[str, tuple[int, int]] = {
    "decision_years": (5, 30),
    "watch_months": (1, 360),
    "deletion_years": (3, 30),
}
"""Least and most; the least are those of credit 6."""


class Node(Protocol):
    """What of a person stands outside the desk's database."""

    def withdraw(self, subject: bytes, purposes: Sequence[Purpose]) -> None:
        """Bar joint scores; on disk when this returns."""

    def restore(self, subject: bytes, purposes: Sequence[Purpose]) -> None:
        """Allow them again."""

    def forget(self, subject: bytes) -> tuple[int, ...]:
        """Drop all tokens; the epochs that had one."""

    def tokens_left(self, subject: bytes) -> int:
        """Tokens that still stand under the person."""

    def models(self) -> tuple[str, ...]:
        """Versions that were made with this node's rows."""

    def influence(self) -> str:
        """What the rows of one person can at most have changed, as an epsilon."""


class NodeRecords:
    """The node's own databases."""

    def __init__(self, desk: wiring.Desk) -> None:
        self._desk = desk

    def withdraw(self, subject: bytes, purposes: Sequence[Purpose]) -> None:
        """As ``Node``."""
        with self._store() as store:
            store.withdraw(subject, purposes)

    def restore(self, subject: bytes, purposes: Sequence[Purpose]) -> None:
        """As ``Node``."""
        with self._store() as store:
            store.restore(subject, purposes)

    def forget(self, subject: bytes) -> tuple[int, ...]:
        """As ``Node``."""
        with self._store() as store:
            return store.forget(subject)

    def tokens_left(self, subject: bytes) -> int:
        """As ``Node``; of the present epoch."""
        epoch = self._desk.known_pin().manifest.policy.scoring.epoch
        with self._store() as store:
            return len(store.tokens(epoch, [subject]))

    def models(self) -> tuple[str, ...]:
        """As ``Node``: all that it fetched."""
        return tuple(self._desk.store().versions.models())

    def influence(self) -> str:
        """As ``Node``: all that was spent."""
        policy = self._desk.known_pin().manifest.policy
        reports = budget.report(self._desk.store(), policy, wiring.own_caps(self._desk))
        spent = [f"{one.scope} {one.figures.spent:.4f}" for one in reports]
        return f"epsilon for a person, delta {policy.delta}: {', '.join(spent)}"

    def _store(self) -> "contextlib.AbstractContextManager[ScoringStore]":
        from partner_node import scoring_parts  # noqa: PLC0415 - loads DuckDB and models

        return contextlib.closing(scoring_parts.scoring_store(self._desk, wiring.now))


@dataclass(frozen=True, slots=True, kw_only=True)
class RightsPorts:
    """The surroundings of people's rights."""

    store: CreditStore
    node: Node
    subject: Callable[[str], bytes]
    now: int
    today: date
    retention: Retention


# --- consent ----------------------------------------------------------------------------------


def withdraw(
    ports: RightsPorts,
    person: str,
    purposes: Sequence[ConsentPurpose],
    lines: Collection[str] = (),
) -> dict[str, int]:
    """End a person's consents at this node; returns rows that went, by table.

    ``lines``: references of the person's lines and cases beside those that are followed up.

    Raises:
        PersonError: the identifier is not of the federation's form.
        StorageError: nothing is said to have ended that has not.
    """
    subject = ports.subject(person)
    joint = _joint(purposes)
    if joint:
        ports.node.withdraw(subject, joint)
    gone: dict[str, int] = {}
    with ports.store.transaction() as connection:
        storage_people.keep_withdrawal(connection, subject, purposes, ports.now)
        every = storage_rights.lines_of(connection, subject) | set(lines)
        for purpose in purposes:
            _add(gone, _ended(connection, subject, purpose, every))
        if ConsentPurpose.ATTESTATION in purposes:
            _add(gone, storage_attested.revoke_of(connection, subject, ports.today))
    return gone


def restore(ports: RightsPorts, person: str, purposes: Sequence[ConsentPurpose]) -> None:
    """The person has consented anew; what was dropped stays dropped."""
    subject = ports.subject(person)
    with ports.store.transaction() as connection:
        storage_people.lift_withdrawal(connection, subject, purposes)
    joint = _joint(purposes)
    if joint:
        ports.node.restore(subject, joint)


def _joint(purposes: Sequence[ConsentPurpose]) -> list[Purpose]:
    return [Purpose(one.value) for one in purposes if one.value in _JOINT]


def _ended(
    connection: Connection, subject: bytes, purpose: ConsentPurpose, lines: Collection[str]
) -> dict[str, int]:
    """Drop what one consent had allowed."""
    gone: dict[str, int] = {}
    if purpose is ConsentPurpose.CLOSURE_SIGNAL:
        dropped = storage_watch.drop_sign(connection, subject, Sign.CLOSED_ELSEWHERE)
        gone[storage_watch.EVENTS.name] = dropped
        gone[_BITS] = storage_elsewhere.drop_bit(connection, subject)
    if purpose is ConsentPurpose.IMPACT_STUDY:
        gone[_BITS] = storage_elsewhere.blank_arm(connection, subject)
    if purpose is ConsentPurpose.INCOME_DATA:
        gone[storage_watch.MONTHS.name] = storage_watch.blank_income(connection, subject)
    if purpose is ConsentPurpose.COUNSELLING:
        _add(gone, storage_rights.drop_cases(connection, lines))
    if purpose is ConsentPurpose.RESTART_CONTACT:
        _add(gone, storage_rights.drop_restarts(connection, lines))
        _add(gone, drop_members(connection, subject, among=(Fate.OFFERED,)))
    return gone


# --- deletion ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Erased:
    """Rows that went, and where they stood."""

    place: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """A deletion record (credit 6). It names no person, and holds no hash of one."""

    request: str
    """The partner's own name of it."""
    received: str
    closed: str
    erased: tuple[Erased, ...]
    kept_decisions: int
    """Whose time is not over: they stay as a record, under nobody."""
    kept_until: str
    epochs: tuple[int, ...]
    """Of tokens that were dropped."""
    models: tuple[str, ...]
    """Versions that may have been trained with the person's rows."""
    action: str
    influence: str
    rows_left: int
    """Rows and tokens under the person, looked for afterwards: 0."""

    def plain(self) -> dict[str, object]:
        """As JSON."""
        return {
            "request": self.request,
            "received": self.received,
            "closed": self.closed,
            "erased": {one.place: one.rows for one in self.erased},
            "kept_decisions": self.kept_decisions,
            "kept_until": self.kept_until,
            "epochs": list(self.epochs),
            "models": list(self.models),
            "action": self.action,
            "influence": self.influence,
            "rows_left": self.rows_left,
        }


EXCLUDED = "excluded from the next training"


def delete(
    ports: RightsPorts,
    person: str,
    *,
    request: str,
    received: str,
    lines: Collection[str] = (),
) -> Deletion:
    """Delete a person at this node and keep a record of it.

    The person's rows in the partner's own table are the partner's to delete, before this: a
    node reads that table and keeps no copy.

    Raises:
        DataError: the request has no name, its day is none, or it was carried out before.
        PersonError: the identifier is not of the federation's form.
    """
    _check_request(ports, request, received)
    subject = ports.subject(person)
    # Nobody is answered about the person from here on, whatever happens next.
    ports.node.withdraw(subject, list(Purpose))
    epochs = ports.node.forget(subject)
    with ports.store.transaction() as connection:
        erased = _erased(connection, subject, lines, _before(ports))
        _add(erased, storage_attested.forget(connection, subject, ports.today))
        kept, newest = storage_people.unlink_decisions(connection, subject)
        erased[storage_people.WITHDRAWN.name] = storage_people.drop_withdrawals(
            connection, subject
        )
        left = storage_people.rows_of(connection, subject) + ports.node.tokens_left(subject)
        record = Deletion(
            request=request,
            received=received,
            closed=ports.today.isoformat(),
            erased=tuple(Erased(place, rows) for place, rows in sorted(erased.items())),
            kept_decisions=kept,
            kept_until=_kept_until(newest, ports.retention) if kept else "",
            epochs=epochs,
            models=ports.node.models(),
            action=EXCLUDED,
            influence=ports.node.influence(),
            rows_left=left,
        )
        document = canonical_json(record.plain())
        storage_people.keep_deletion(connection, request, document, ports.now)
    return record


def _erased(
    connection: Connection, subject: bytes, lines: Collection[str], before: int
) -> dict[str, int]:
    """Drop all that stands under the person, its lines and its decisions."""
    every = storage_rights.lines_of(connection, subject) | set(lines)
    erased = storage_watch.drop_watch(connection, subject)
    erased[_BITS] = storage_elsewhere.drop_bit(connection, subject)
    for gone in (
        storage_rights.drop_cases(connection, every),
        storage_rights.drop_ladders(connection, every),
        storage_rights.drop_drafts(connection, subject),
        drop_members(connection, subject),
        storage_people.drop_decisions(connection, before, subject),
        storage_rights.drop_orphans(connection),
    ):
        _add(erased, gone)
    return erased


def _check_request(ports: RightsPorts, request: str, received: str) -> None:
    if not 0 < len(request) <= _REQUEST:
        raise DataError(f"a request has a name of 1 to {_REQUEST} characters")
    try:
        day = date.fromisoformat(received)
    except ValueError:
        raise DataError("the day of the request: expected YYYY-MM-DD") from None
    if day > ports.today:
        raise DataError("the day of the request is not yet come")
    with ports.store.reading() as connection:
        if storage_people.has_deletion(connection, request):
            raise DataError("a request of this name was carried out before")


def _kept_until(at: int, retention: Retention) -> str:
    day = datetime.fromtimestamp(at, UTC).date()
    return add_months(day, 12 * retention.decision_years).isoformat()


def _before(ports: RightsPorts) -> int:
    """Decisions made before this second have had their time."""
    day = add_months(ports.today, -12 * ports.retention.decision_years)
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


# --- time -------------------------------------------------------------------------------------


def sweep(ports: RightsPorts) -> dict[str, int]:
    """Drop all that policy keeps no longer; rows by table. May be called at any time."""
    retention, gone = ports.retention, dict[str, int]()
    with ports.store.transaction() as connection:
        _add(gone, storage_people.drop_decisions(connection, _before(ports)))
        oldest = add_months(ports.today, -retention.watch_months)
        _add(gone, storage_watch.drop_old_watch(connection, oldest))
        _add(gone, {_BITS: storage_elsewhere.drop_old_bits(connection, ports.today)})
        years = add_months(ports.today, -12 * retention.deletion_years)
        until = int(datetime(years.year, years.month, years.day, tzinfo=UTC).timestamp())
        dropped = storage_people.drop_deletions(connection, until)
        _add(gone, {storage_people.DELETIONS.name: dropped})
        _add(gone, storage_rights.drop_orphans(connection))
        _add(gone, storage_attested.drop_expired(connection, ports.today))
        lists = ports.today - timedelta(days=storage_attested.KEEP_DAYS)
        _add(gone, storage_attested.drop_lists(connection, lists))
    return gone


def _add(gone: dict[str, int], found: Mapping[str, int]) -> None:
    for name, rows in found.items():
        gone[name] = gone.get(name, 0) + rows
