"""What a serving node does by the clock, until it is stopped."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from consortium.errors import ManifestError, OutOfOrderError, SignatureError, StorageError
from consortium.ids import RunId
from partner_node import wiring
from partner_node.left_journal import LeftJournal
from partner_node.log_mirror import LogMirror
from partner_node.replay_storage import Window
from partner_node.storage import NodeStore

log = logging.getLogger(__name__)

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_FLUSH_S = 5.0


async def flush_left(left: LeftJournal, stop: asyncio.Event) -> None:
    """Bring what has left to the disk every few seconds, and once more at the end."""
    while not stop.is_set():
        try:
            await asyncio.to_thread(left.flush)
        except StorageError as error:
            log.warning("what has left is not flushed: %s", error)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _FLUSH_S)
    left.flush()


def _erase(desk: wiring.Desk, store: NodeStore, window: Window) -> Sequence[RunId]:
    """Take up what the log says of audits, then erase what no audit needs any more."""
    from partner_node.replaying import take_entries  # noqa: PLC0415 - loads numpy and models

    said = store.log.of_types("audit.challenge", "audit.result")
    with suppress(ManifestError, SignatureError):
        take_entries(store, desk.pinned().manifest, [one.data for one in said])
    return store.replays.erase(window)


async def erase_when_due(desk: wiring.Desk, stop: asyncio.Event) -> None:
    """Once an hour, erase what is kept of runs whose window has ended (protocol 9.4)."""
    settings = desk.config.audit
    window = Window(
        seconds=settings.window_days * _DAY_S, after_result=settings.erase_after_result
    )
    store = desk.store()
    while not stop.is_set():
        try:
            for run in await asyncio.to_thread(_erase, desk, store, window):
                log.info("run %s: its audit window has ended, its seed is erased", run)
        except StorageError as error:
            log.warning("nothing erased: %s", error)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _HOUR_S)


async def tell_of_days(desk: wiring.Desk, mirror: LogMirror, stop: asyncio.Event) -> None:
    """Write up each day that is over, faults of key holders, and commit to decisions (8.4)."""
    from partner_node import scoring_parts  # noqa: PLC0415 - loads DuckDB and models
    from partner_node.credit.listing import publish_when_due  # noqa: PLC0415 - likewise
    from partner_node.credit.opening import list_ports  # noqa: PLC0415 - likewise
    from partner_node.credit.sealing import Sealer, SealPorts  # noqa: PLC0415 - likewise
    from partner_node.credit.storage import CreditStore  # noqa: PLC0415 - likewise
    from partner_node.day_book import DayBook, DayPorts  # noqa: PLC0415 - likewise

    store = scoring_parts.scoring_store(desk, wiring.now)
    days = DayBook(
        DayPorts(
            store=store,
            log=mirror.store,
            book=mirror.book,
            people=lambda: scoring_parts.people_of(
                desk, desk.pinned().manifest, wiring.entropy
            ),
            now=wiring.now,
        )
    )
    decisions = CreditStore(desk.config.credit_database)
    sealer = Sealer(
        SealPorts(
            store=decisions,
            log=mirror.store,
            book=mirror.book,
            entropy=wiring.entropy,
            now=wiring.now,
        )
    )
    lists = list_ports(desk, mirror, decisions)
    try:
        while not stop.is_set():
            try:
                await asyncio.to_thread(days.write_up)
                await asyncio.to_thread(sealer.seal_when_due)
                await asyncio.to_thread(publish_when_due, lists)
            except (StorageError, ManifestError, SignatureError, OutOfOrderError) as error:
                log.debug("no day is written up: %s", error)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _MINUTE_S)
    finally:
        decisions.close()
        store.close()
