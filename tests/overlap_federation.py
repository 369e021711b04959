"""The coordinator's side of counts, over the nodes of the joint house, in one loop."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from consortium.codec import Body
from consortium.credit.closure_signal import Bits
from consortium.credit.terms import Ppm
from consortium.crypto.keys import IdentityKey
from consortium.identity.overlap import OverlapPlan
from consortium.ids import PartnerId
from consortium.inquiries import OverlapAsk
from consortium.ledger.entries import Body as LogBody
from consortium.ledger.entries import Entry, from_jcs, sign_entry
from coordinator.overlap_runs import OverlapLog, OverlapRuns
from coordinator.rosters import RosterPorts, Rosters
from coordinator.scoring_storage import ScoringStore
from coordinator.storage import Store
from partner_node.credit.standing import PersonStanding
from tests.joint_house import House

BANK, SHOP = PartnerId("bank_a"), PartnerId("shop_c")
ACTIVE = Bits(active=True)
PLAN = OverlapPlan(
    counter=BANK,
    peer=SHOP,
    period="2026-10",
    tiers=("PRIME", "LOW"),
    cuts=(100_000,),
    epoch=1,
    epsilon="1",
    delta="0.000001",
)


def standing(
    *,
    bits: Bits = ACTIVE,
    pd: int | None = 20_000,
    study: str = "S-1",
    signal: str = "",
) -> PersonStanding:
    return PersonStanding(
        bits=bits,
        pd=None if pd is None else Ppm(pd),
        study=study,
        signal=signal,
    )


def lines(house: House, name: str, persons: Iterable[str], **same: object) -> None:
    """Give a partner lines of these persons, and tokens for them."""
    node = house.nodes[PartnerId(name)]
    table = house.lines.setdefault(name, {})
    pairs = []
    for person in persons:
        table[person] = standing(**same)  # type: ignore[arg-type]
        token = hashlib.sha256(person.encode()).digest()[:16]
        pairs.append((node.people.subject(node.people.form(person)), token))
    node.store.keep_tokens(1, pairs, customers=True)


class Driven:
    """The coordinator's counts, with a log of their own."""

    def __init__(self, house: House, store: Store) -> None:
        self._house, self._log = house, store
        self.asked: list[tuple[PartnerId, str]] = []
        """Every step that was asked of whom."""
        rosters = Rosters(
            RosterPorts(
                lines=self,
                manifest=lambda: house.manifest,
                served=lambda: (None, None),
                sign=lambda roster: roster,
                now_ms=house.clock.ms,
            )
        )
        rosters.manifest = house.manifest
        for name in house.nodes:
            rosters.on_up(name)
        said = OverlapLog(entry=self.entry, append=store.log.append)
        self.store = ScoringStore(store)
        self.runs = OverlapRuns(self, rosters, self.store, said)
        house.on_overlap = self.runs.on_tell

    def entry(self, body: LogBody) -> bytes:
        name = self._house.manifest.coordinator.id
        bare = Entry(seq_hint=0, at=self._house.clock.seconds(), actor=name, body=body)
        key: IdentityKey = self._house.coordinator
        return sign_entry(bare, key).to_jcs()

    def push(self, partner: PartnerId, body: Body, number: int = 0) -> bool:
        assert isinstance(body, OverlapAsk)
        self.asked.append((partner, body.step))
        self._house._push(partner, body, number)
        return True

    def spread(
        self, partners: Iterable[PartnerId], body: Body, number: int = 0
    ) -> tuple[PartnerId, ...]:
        raise AssertionError(f"{type(body).__name__} {number} to {partners}: not theirs")

    @property
    def logged(self) -> list[tuple[str, PartnerId]]:
        """Type and actor of every entry, in order."""
        entries = [from_jcs(data) for data in self._log.log.portion(0, 1_000)]
        return [(entry.type, entry.actor) for entry in entries]


@contextmanager
def driven(house: House, root: Path, name: str = "coordinator") -> Iterator[Driven]:
    store = Store(f"sqlite:///{root / f'{name}.db'}")
    try:
        yield Driven(house, store)
    finally:
        store.close()
