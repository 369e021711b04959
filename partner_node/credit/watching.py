"""Runs over the whole table of lines: fit, follow a month, measure (rows 4, 7, 16, 27)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from itertools import islice

from consortium.credit.policy import Policy
from consortium.errors import DataError, OutOfOrderError
from partner_node.credit import storage_elsewhere, storage_people, storage_watch
from partner_node.credit.behaviour import (
    BehaviourModel,
    Ginis,
    Observation,
    fit,
    ginis_of,
    observation_of,
)
from partner_node.credit.lines import History, histories
from partner_node.credit.storage import CreditStore
from partner_node.credit.storage_elsewhere import KeptBit
from partner_node.credit.storage_watch import NewRows
from partner_node.credit.watch import Measures, follow_line, measure
from partner_node.table import DataSource

LABEL = "more than 90 days late, charged off or restructured within three months"
_MONTH_DAYS = 31
_LINES = 256
"""Of one transaction, so that no decision waits long for the write lock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchPorts:
    """The surroundings of following up."""

    store: CreditStore
    source: DataSource
    subject: Callable[[str], bytes]
    """Keyed hash of a person; PersonError."""
    policy: Policy
    today: date
    now: int


@dataclass(slots=True)
class Ran:
    """What a run wrote. Private."""

    lines: int = 0
    months: int = 0
    events: int = 0


def fit_behaviour(ports: WatchPorts) -> tuple[BehaviourModel, Ginis]:
    """Fit the behaviour score on the partner's lines and keep it.

    Raises:
        ConfigurationError, DataError: the table; or too few outcomes.
    """
    seen = [one for history in histories(ports.source) if (one := observation_of(history))]
    model = fit(seen, today=ports.today, label=LABEL)
    with ports.store.transaction() as connection:
        storage_watch.keep_model(connection, model.to_bytes(), ports.now)
    return model, ginis_of(seen, model)


def run(ports: WatchPorts) -> Ran:
    """Judge all months that have not been judged; what is stored is not judged again.

    Raises:
        OutOfOrderError: no behaviour score was fitted yet.
        ConfigurationError, DataError: the table. What was read before is kept.
    """
    model, done = _model(ports.store), Ran()
    lines = histories(ports.source)
    while part := list(islice(lines, _LINES)):
        with ports.store.transaction() as connection:
            # Read in the transaction: who withdraws meanwhile comes before it or after it.
            found = []
            for history in part:
                subject = ports.subject(history.person)
                known = storage_watch.known_of(connection, history.line)
                gone = storage_people.withdrawn_by(connection, subject)
                bit = storage_elsewhere.bit_of(connection, subject)
                followed = follow_line(
                    with_bit(history, bit), known, model=model, policy=ports.policy, gone=gone
                )
                found.append(
                    NewRows(
                        line=history.line,
                        subject=subject,
                        months=followed.months,
                        events=followed.events,
                    )
                )
            storage_watch.keep_rows(connection, found)
        done.lines += len(part)
        done.months += sum(len(one.months) for one in found)
        done.events += sum(len(one.events) for one in found)
    return done


def with_bit(history: History, bit: KeptBit | None) -> History:
    """The history with what a closure inquiry said, where its table says nothing.

    An answer belongs to the last month end before it, if that is no older than a month.
    """
    last = history.months[-1]
    if bit is None or bit.closed is None or last.closed_elsewhere is not None:
        return history
    if not 0 <= (bit.on - last.end.on).days <= _MONTH_DAYS:
        return history
    return replace(
        history, months=(*history.months[:-1], replace(last, closed_elsewhere=bit.closed))
    )


def measure_lines(ports: WatchPorts) -> tuple[Measures, Ginis]:
    """Lead time, precision and Gini on the persons who took no part in the fit.

    Raises:
        OutOfOrderError: no behaviour score was fitted yet.
        ConfigurationError, DataError: the table.
    """
    model = _model(ports.store)
    seen: list[Observation] = []
    found = measure(_with_outcome(histories(ports.source)), model, seen.append)
    return found, ginis_of(seen, model)


def _with_outcome(lines: Iterator[History]) -> Iterator[History]:
    empty = True
    for one in lines:
        empty = False
        yield one
    if empty:
        raise DataError("the table of lines is empty")


def _model(store: CreditStore) -> BehaviourModel:
    with store.reading() as connection:
        document = storage_watch.newest_model(connection)
    if document is None:
        raise OutOfOrderError("no behaviour score yet; run: riskweave desk watch DIR fit")
    return BehaviourModel.from_bytes(document)
