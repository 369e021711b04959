"""Everything of the scoring stream that belongs to one manifest, and what it is made of.

Under another manifest nothing of it is valid: persons, keys, rosters, tokens and tables begin
anew together, so they are owned together. Who was revoked is told here, once for all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import date

from consortium.crypto.keys import AgreementKey, IdentityKey, Secret
from consortium.errors import ScoreRefusalError
from consortium.ids import PartnerId
from consortium.inquiries import Roster
from consortium.ledger.bodies import OverlapDebit, OverlapReleased
from consortium.ledger.revocations import barred
from consortium.manifest import Manifest
from consortium.scoring.pairs import PairCache
from consortium.scoring.roster import Rosters
from partner_node.closure_table import ClosurePorts, ClosureShelf
from partner_node.credit.standing import PersonStanding
from partner_node.credit.storage_elsewhere import KeptBit
from partner_node.customers import Persons
from partner_node.key_ceremony import KeyCeremony
from partner_node.overlap_storage import OverlapStore
from partner_node.overlaps import OverlapPorts, Overlaps
from partner_node.people import People
from partner_node.pseudonyms import PseudonymPorts, Pseudonyms
from partner_node.scoring_answering import Responder
from partner_node.scoring_asking import Asker, AskerPorts
from partner_node.scoring_flights import Flights
from partner_node.scoring_store import ScoringStore
from partner_node.served import Shelf


@dataclass(frozen=True, slots=True, kw_only=True)
class LinesPorts:
    """What closure inquiries and counts of common persons need of the node."""

    standings: Callable[[People, date], Mapping[bytes, PersonStanding]]
    """Everybody with a line by that day; nobody where no table of lines is named. Blocks."""
    today: Callable[[], date]
    keep: Callable[[Sequence[KeptBit]], None]
    """Keeps answers in the desk's database. Blocks."""
    overlaps: Callable[[], OverlapStore]
    caps: Callable[[Manifest], Mapping[str, int]]
    sign: Callable[[OverlapDebit | OverlapReleased], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPorts:
    """What the session needs of the node."""

    member: PartnerId
    identity: IdentityKey
    agreement: AgreementKey
    manifest: Callable[[], Manifest]
    """The pinned manifest, signed by all; ManifestError before that. Blocks on a file."""
    people: Callable[[Manifest], People]
    shelf: Callable[[Manifest, People], Shelf]
    persons: Callable[[People], Persons]
    """Identifiers of this partner's table; ConfigurationError without one."""
    store: ScoringStore
    now_ms: Callable[[], int]
    entropy: Callable[[], Secret]
    pool: Executor
    lines: LinesPorts
    """The table of lines, and what is made of it."""
    revoked: Callable[[], frozenset[str]] = frozenset
    """Identity keys that the log has revoked, in hex; the same object while nothing is new."""
    refresh_s: float = 86_400.0
    """Seconds after which the partner's rows are read anew."""


class Era:
    """Everything under one manifest."""

    def __init__(self, manifest: Manifest, ports: SessionPorts) -> None:
        self.ports = ports
        self.manifest = manifest
        self.digest = manifest.digest
        self.people = ports.people(manifest)
        self.shelf = ports.shelf(manifest, self.people)
        self.rosters = Rosters(manifest)
        keys = PairCache(
            manifest, ports.member, identity=ports.identity, agreement=ports.agreement
        )
        known = PseudonymPorts(
            manifest=manifest,
            member=ports.member,
            identity=ports.identity,
            agreement=ports.agreement,
            store=ports.store,
            people=self.people,
            entropy=ports.entropy,
            now_ms=ports.now_ms,
            pool=ports.pool,
            live=self.live,
        )
        self.ceremony = KeyCeremony(known)
        self.pseudonyms = Pseudonyms(known, lambda: self.ceremony.holding)
        lines = ports.lines
        self.closures = ClosureShelf(
            ClosurePorts(
                persons=lambda: lines.standings(self.people, lines.today()),
                store=ports.store,
                epoch=manifest.policy.scoring.epoch,
            )
        )
        self.overlaps = _overlaps_of(manifest, ports, self.people)
        self.responder = Responder(
            keys,
            self.rosters,
            ports.store,
            tables=lambda: self.shelf.tables,
            closures=lambda: self.closures.table,
        )
        self.flights = Flights()
        self.asker = Asker(
            AskerPorts(
                keys=keys,
                rosters=self.rosters,
                store=ports.store,
                flights=self.flights,
                tables=lambda: self.shelf.tables,
                entropy=ports.entropy,
                now_ms=ports.now_ms,
            )
        )
        self._keys = keys
        self._heeded: frozenset[str] = frozenset()

    def heed(self, revoked: frozenset[str]) -> None:
        """Have nothing to do any more with members that were revoked (protocol 2.7)."""
        if revoked is self._heeded:
            return
        self._heeded = revoked
        out = barred(revoked, self.manifest)
        self._keys.bar(out)
        self.rosters.bar(out)
        self.pseudonyms.bar(out)
        self.ceremony.bar(out)

    def roster(self) -> Roster | None:
        """The newest valid one."""
        try:
            return self.rosters.newest(now=self.ports.now_ms() // 1000)
        except ScoreRefusalError:
            return None

    def live(self) -> tuple[PartnerId, ...]:
        """Who can be asked now."""
        roster = self.roster()
        return () if roster is None else roster.partners


def _overlaps_of(manifest: Manifest, ports: SessionPorts, people: People) -> Overlaps:
    """Counts of common persons under this manifest (protocol 6.10)."""
    lines = ports.lines
    return Overlaps(
        OverlapPorts(
            manifest=manifest,
            member=ports.member,
            identity=ports.identity,
            tokens=ports.store,
            overlaps=lines.overlaps,
            caps=lines.caps(manifest),
            standings=lambda day: lines.standings(people, day),
            sign=lines.sign,
            entropy=ports.entropy,
            pool=ports.pool,
        )
    )
