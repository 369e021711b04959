"""Puts the credit desk of a node's directory together; clock and entropy are wiring's."""

from collections.abc import Iterator
from contextlib import contextmanager
from zoneinfo import ZoneInfo

from partner_node import wiring
from partner_node.credit.application import DeskService, DeskServicePorts
from partner_node.credit.rules import RulesBook
from partner_node.credit.scores import ScoreLeg, ScorePorts
from partner_node.credit.storage import CreditStore
from partner_node.people import desk_hash


@contextmanager
def open_service(desk: wiring.Desk, scores: ScorePorts | None = None) -> Iterator[DeskService]:
    """The desk over a node's own database and rules.

    Args:
        desk: The node.
        scores: Where scores come from; None in a process that does not serve.

    Raises:
        StorageError: the database cannot be opened.
    """
    config = desk.config
    zone = ZoneInfo(config.credit.time_zone)
    store = CreditStore(config.credit_database)
    service = DeskService(
        DeskServicePorts(
            store=store,
            rules=RulesBook(config.directory),
            scores=None if scores is None else ScoreLeg(scores, zone),
            subject=lambda person: _subject(desk, person),
            keyed=desk_hash(desk.keys.local(wiring.entropy)),
            now=wiring.now,
            zone=zone,
            keys_s=3_600 * config.credit.key_hours,
        )
    )
    try:
        yield service
    finally:
        service.close()
        store.close()


def _subject(desk: wiring.Desk, person: str) -> bytes:
    """Under which this node keeps a person, by the federation's form of identifiers."""
    from partner_node.scoring_parts import people_of  # noqa: PLC0415 - loads models

    people = people_of(desk, desk.known_pin().manifest, wiring.entropy)
    return people.subject(people.form(person))
