"""Puts the credit desk of a node's directory together; clock and entropy are wiring's."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from zoneinfo import ZoneInfo

from consortium.errors import ManifestError
from consortium.features.schema import Schema
from consortium.ids import PartnerId, PersonToken
from consortium.ledger.revocations import barred
from partner_node import wiring
from partner_node.credit import storage_attested
from partner_node.credit.application import DeskService
from partner_node.credit.helping import Helper
from partner_node.credit.listing import ListPorts
from partner_node.credit.papers import DoorPapers, PaperDesk
from partner_node.credit.ports import DeskServicePorts
from partner_node.credit.rules import RulesBook
from partner_node.credit.scores import ScoreLeg, ScorePorts
from partner_node.credit.showing import Showing, ShowingPorts
from partner_node.credit.storage import CreditStore
from partner_node.credit.storage_attested import KeptList
from partner_node.log_mirror import LogMirror
from partner_node.people import People, desk_hash

Token = Callable[[str, float], Awaitable[tuple[int, PersonToken]]]
"""Epoch and pseudonym of an identifier, within so many seconds."""


@contextmanager
def open_service(
    desk: wiring.Desk, scores: ScorePorts | None = None, token: Token | None = None
) -> Iterator[DeskService]:
    """The desk over a node's own database and rules.

    Args:
        desk: The node.
        scores: Where scores come from; None in a process that does not serve.
        token: Where pseudonyms of applicants come from; None likewise.

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
            subject=_Subjects(desk),
            keyed=desk_hash(desk.keys.local(wiring.entropy)),
            schema=lambda: schema_of(desk),
            now=wiring.now,
            zone=zone,
            keys_s=3_600 * config.credit.key_hours,
            showing=None if token is None else _showing(desk, store, token),
        )
    )
    try:
        yield service
    finally:
        service.close()
        store.close()


def list_ports(desk: wiring.Desk, mirror: LogMirror, store: CreditStore) -> ListPorts:
    """What this node's lists of attestations that it took back are published with."""
    zone = ZoneInfo(desk.config.credit.time_zone)
    return ListPorts(
        store=store,
        log=mirror.store,
        book=mirror.book,
        key=desk.keys.identity(),
        issuer=desk.config.partner,
        today=lambda: datetime.fromtimestamp(wiring.now(), zone).date(),
    )


def _showing(desk: wiring.Desk, store: CreditStore, token: Token) -> Showing:
    log = desk.store().log

    def newest_list(issuer: PartnerId) -> KeptList | None:
        with store.reading() as connection:
            return storage_attested.newest_list(connection, issuer)

    return Showing(
        ShowingPorts(
            member=desk.config.partner,
            manifest=lambda: desk.pinned().manifest,
            barred=lambda manifest: barred({one.identity for one in log.revoked()}, manifest),
            token=token,
            newest_list=newest_list,
        )
    )


@contextmanager
def open_papers(desk: wiring.Desk, service: DeskService) -> Iterator[DoorPapers]:
    """Papers of a desk that serves, and what would help, worked out beside it."""
    papers = PaperDesk(service, desk.config.directory, schema_of(desk))
    helper = Helper(papers.keep_help)
    service.on_decided = helper.submit
    try:
        yield DoorPapers(papers, helper)
    finally:
        service.on_decided = None
        helper.close()


def schema_of(desk: wiring.Desk) -> Schema | None:
    """The schema of the manifest that is trusted; None before one is."""
    try:
        return desk.known_pin().schema
    except ManifestError:
        return None


def subjects_of(desk: wiring.Desk) -> Callable[[str], bytes]:
    """The keyed hash under which this node keeps a person; raises as ``_Subjects``."""
    return _Subjects(desk)


class _Subjects:
    """Under which this node keeps a person, by the form of identifiers of the pinned manifest.

    The pin is read again when its file has changed, for an operator may have moved it.
    """

    def __init__(self, desk: wiring.Desk) -> None:
        self._desk = desk
        self._made: tuple[tuple[int, int], People] | None = None

    def __call__(self, person: str) -> bytes:
        """ManifestError: none is pinned; PersonError: not of the form."""
        people = self._people()
        return people.subject(people.form(person))

    def _people(self) -> People:
        desk, made = self._desk, self._made
        try:
            stat = desk.keys.trust_file.stat()
        except FileNotFoundError:
            stat = None
        seen = (stat.st_mtime_ns, stat.st_ino) if stat else (0, 0)
        if made is None or made[0] != seen:
            from partner_node.scoring_parts import people_of  # noqa: PLC0415 - loads models

            made = (seen, people_of(desk, desk.known_pin().manifest, wiring.entropy))
            self._made = made
        return made[1]
