"""A table on disk, read in one process or in parts by workers of an engine."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np

from consortium.features.bins import Bins
from consortium.ids import Digest, PartnerId, digest_of
from consortium.messages import SumRequest
from consortium.plan import ReleaseKind, TrainingPlan
from consortium.secagg.context import SumInputs
from partner_node import ingest
from partner_node.ingest import DataReport, EncodedTable, FeatureReport
from partner_node.local_sums import LocalSums
from partner_node.part_bytes import Job, PartSum, pack_job, pack_sum, rows_of, schema_text
from partner_node.part_worker import PartWorker
from partner_node.parted_sums import Engine, PartedSums, PartedTable
from partner_node.table import DataSource
from tests.simulator import FAMILIES, Consortium

BANK = PartnerId("bank_a")
CODE = Digest("c0" * 32)

ROWS = """
    SELECT CASE WHEN i % 41 = 3 THEN NULL WHEN i % 37 = 5 THEN 'p1' ELSE 'p' || i END AS person,
           (hash(i, 1) % 5)::INT AS late, (hash(i, 2) % 1000) / 1000.0 AS used,
           CASE WHEN i % 29 = 4 THEN NULL
                ELSE (hash(i, 3) % 100 < 6 + 10 * late + 30 * used)::INT END AS bad
    FROM range({rows}) AS numbers(i)"""
"""Some rows without a person or a label, and one person with many rows."""


@dataclass
class InProcess:
    """An engine of workers in this process; it can be told to lose them."""

    workers: int = 1
    code: Digest = CODE
    forgetful: bool = False
    """Whether each job meets a worker that was just started."""
    name: str = "in-process"
    sent: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._held = [PartWorker(self.code) for _ in range(self.workers)]

    def run(self, jobs: Sequence[bytes]) -> list[bytes]:
        self.sent += jobs
        if self.forgetful:
            self.__post_init__()
        return [self._held[at % self.workers].answer(job) for at, job in enumerate(jobs)]


@dataclass
class EngineHouse:
    """Bank A of the simulator, with its rows in a Parquet file."""

    directory: Path
    rows: int = 600
    house: Consortium = field(default_factory=Consortium)
    code: Digest = CODE
    """What the workers must have."""

    def __post_init__(self) -> None:
        path = self.directory / "bank_a.parquet"
        query = ROWS.format(rows=self.rows)
        duckdb.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
        self.source = DataSource(
            query="SELECT * FROM 'bank_a.parquet'",
            person="person",
            label="bad",
            directory=self.directory,
        )

    def local(self, plan: TrainingPlan | None = None) -> LocalSums:
        """All rows in this process."""
        plan = plan or self.house.plan

        def load(bins: Bins) -> EncodedTable:
            return ingest.load(
                self.source,
                self.house.schema,
                bins,
                FAMILIES[BANK],
                holdout=(plan.holdout_salt, plan.holdout_fraction),
            )

        return LocalSums(plan, self.house.schema, BANK, load=load)

    def parted(
        self,
        engine: Engine,
        *,
        parts: int = 2,
        plan: TrainingPlan | None = None,
        query: str | None = None,
    ) -> PartedSums:
        """The same rows, held by the workers of an engine."""
        table = PartedTable(
            rows=rows_of(self.source, parts, query), families=FAMILIES[BANK], code=self.code
        )
        plan = plan or self.house.plan
        return PartedSums(plan, self.house.schema, BANK, table=table, engine=engine)

    def request(self, kind: ReleaseKind, inputs: SumInputs, dimension: int) -> SumRequest:
        """One that asks for a sum of a kind."""
        return SumRequest(
            run=self.house.plan.run,
            plan=Digest("0" * 64),
            kind=kind,
            round=1,
            attempt=1,
            roster=(BANK,),
            inputs=inputs.digest,
            dimension=dimension,
            scale_bits=24,
            variance="1",
            head=digest_of(b"head"),
        )


def job() -> bytes:
    """A job as it goes to a worker."""
    house = Consortium(rows=10)
    source = DataSource(query="SELECT 1", person="p", label="y")
    inputs = SumInputs(arrays=(np.linspace(-1.0, 1.0, 5),), bins=b"{}")
    sent = Job(
        code=CODE,
        plan=house.plan,
        schema=schema_text(house.schema),
        member=BANK,
        families=FAMILIES[BANK],
        rows=rows_of(source, 2, None)[1],
        kind=ReleaseKind.GRADIENT,
        sizes=(5,),
        bins=2,
    )
    return pack_job(sent, inputs)


def answer() -> bytes:
    """What a worker says to it."""
    feature = FeatureReport(name="late", missing=1, below=0, above=2, consent=None)
    report = DataReport(
        rows=9, accepted=8, rejects=(("why", 1),), positives=3, held_out=2, features=(feature,)
    )
    values, held = np.arange(5, dtype=np.int64), np.ones(5, dtype=np.bool_)
    return pack_sum(PartSum(report=report, mark=7, values=values, held=held))
