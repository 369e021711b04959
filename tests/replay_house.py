"""A consortium in memory whose nodes keep real databases, and the replay of one of them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from consortium.features.schema import Schema
from consortium.ids import Digest, PartnerId
from consortium.manifest import Manifest
from consortium.plan import TrainingPlan
from consortium.secagg.replay import Verdict
from models.run import RunSession
from partner_node.local_sums import LocalSums, Sums
from partner_node.replaying import Chosen, OpenSums, Premises, Replay, Replayed
from partner_node.storage import NodeStore
from tests.simulator import PLAN, SCHEMA, Consortium

BANK = PartnerId("bank_a")
CODE = Digest("c0" * 32)
SHORT = PLAN.replace("rounds = 8", "rounds = 2")


@dataclass
class ReplayHouse:
    """One run, carried to its end without a coordinator, and replays of it."""

    directory: Path
    plan: str = SHORT
    schema: str = SCHEMA
    rows: int = 600
    now: int = 1_700_000_000
    house: Consortium = field(init=False)
    session: RunSession = field(init=False)

    def __post_init__(self) -> None:
        self.house = Consortium(plan=self.plan, schema=self.schema, rows=self.rows)
        self.stores = {
            name: NodeStore(self.directory / f"{name}.db", now=lambda: self.now)
            for name in self.house.nodes
        }
        for number, (name, node) in enumerate(self.house.nodes.items()):
            node.store = self.stores[name]  # type: ignore[assignment]
            self.house.start(node, number)
        self.session = RunSession(self.house.plan, self.house.schema)

    def run(self, *, retried: int = 0) -> "ReplayHouse":
        """Every sum of the plan; the first ``retried`` ones take two attempts."""
        number = 0
        while not self.session.finished:
            number += 1
            self.house.close(self.session, attempts=2 if number <= retried else 1)
        return self

    def sums_of(self, name: PartnerId = BANK) -> OpenSums:
        """The honest sums of a node, over the rows of the run."""
        number = list(self.house.nodes).index(name)

        def opened(plan: TrainingPlan, _manifest: Manifest, schema: Schema) -> Sums:
            load = lambda bins: self.house.table(name, number, bins)  # noqa: E731
            return LocalSums(plan, schema, name, load=load)

        return opened

    def replay(self, name: PartnerId = BANK, open_sums: OpenSums | None = None) -> Replay:
        """The replay of a node's uploads, by honest code."""
        premises = Premises(
            store=self.stores[name],
            member=name,
            agreement=self.house.nodes[name].agreement,
            open_sums=open_sums or self.sums_of(name),
            code=CODE,
        )
        return Replay(premises, self.house.run)

    def replayed(self, name: PartnerId = BANK, chosen: Chosen | None = None) -> list[Replayed]:
        """Everything that a node's replay finds."""
        return list(self.replay(name).replayed(chosen or Chosen()))

    def verdicts(self, name: PartnerId = BANK, chosen: Chosen | None = None) -> list[Verdict]:
        """What it says."""
        return [one.verdict for one in self.replayed(name, chosen)]

    def close(self) -> None:
        """Close the databases."""
        for store in self.stores.values():
            store.close()


def house_of(directory: Path, **settings: str | int) -> Iterator[ReplayHouse]:
    """For fixtures: a house whose databases are closed at the end."""
    house = ReplayHouse(directory, **settings)  # type: ignore[arg-type]
    yield house
    house.close()
