"""Exact sums over rows that the workers of an engine hold, part by part; the same bits.

What ``local_sums`` is for rows in this process. The split is by person and fixed, so no
person is in two parts and a row is clipped and rounded where it lies; integers add exactly,
so neither the number of workers nor their order changes a bit, and a replay may be made by
another engine. Noise and masks are put on here, in the node's own process, afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from consortium.crypto.keys import Secret
from consortium.errors import DecodeError, RefusalCode, RefusalError, TransportError
from consortium.features.schema import Schema
from consortium.ids import Digest, PartnerId
from consortium.messages import SumRequest
from consortium.plan import Algorithm, ReleaseKind, TrainingPlan
from consortium.secagg.context import SumInputs
from partner_node.fingerprint import sealed
from partner_node.ingest import merged, require
from partner_node.local_sums import ExactSum
from partner_node.part_bytes import Job, PartSum, Rows, pack_job, schema_text, unpack_sum

NOTHING = SumInputs(arrays=())


class Engine(Protocol):
    """Who has jobs done: a cluster of the partner's own."""

    @property
    def name(self) -> str:
        """For the texts of errors."""

    def run(self, jobs: Sequence[bytes]) -> Sequence[bytes]:
        """What ``PartWorker.answer`` makes of each job, in their order.

        A job may be done twice. Jobs of one place in the order go to one worker as long as it
        lives, for it keeps the rows.

        Raises:
            TransportError: not all could be done; names the engine.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class PartedTable:
    """The partner's rows and how they are split."""

    rows: tuple[Rows, ...]
    """One for each part, in order."""
    families: tuple[str, ...]
    code: Digest
    """Of this node's software, which the workers must have as well."""


class PartedSums:
    """The sums of one run over all parts."""

    def __init__(
        self,
        plan: TrainingPlan,
        schema: Schema,
        member: PartnerId,
        *,
        table: PartedTable,
        engine: Engine,
    ) -> None:
        """Have all parts read by the plan's rules.

        Raises:
            DataError, ConfigurationError: as the node's ingest.
            RefusalError: local steps, which are no sum over rows (R05).
            TransportError: the engine cannot now.
        """
        if plan.algorithm is Algorithm.LOCAL_STEPS:
            raise RefusalError(RefusalCode.PLAN, "local steps need the rows in one process")
        self.plan = plan
        self._schema = schema_text(schema)
        self._member = member
        self._table = table
        self._engine = engine
        self._mark = 0
        reports = [part.report for part in self._asked(None, NOTHING)]
        require(merged(reports), table.rows[0].source)

    def fingerprint(self, seed: Secret) -> str:
        """Of the rows that the last sum was over, as ``LocalSums`` has it. Private."""
        return sealed(self._mark, seed)

    def prepare(self, request: SumRequest, inputs: SumInputs) -> None:
        """Do nothing: whether the inputs fit is seen where the rows are, by ``compute``."""

    def compute(
        self, request: SumRequest, inputs: SumInputs, *, seed: Secret, context: Digest
    ) -> ExactSum:
        """The exact sum that the request asks for.

        Raises:
            RefusalError: the inputs are not of the shape that kind and plan give (R11).
            DataError, ConfigurationError: a worker that was started again could not read.
            TransportError: the engine cannot now.
        """
        del seed, context  # stay here: what the workers are told is the same for all of them
        parts = self._asked(request.kind, inputs)
        held = parts[0].held
        for part in parts:
            if part.values.shape != (request.dimension,) or (part.held != held).any():
                raise TransportError(f"{self._engine.name}: parts of different shapes")
        values = np.zeros(request.dimension, dtype=np.int64)
        for part in parts:
            values += part.values
        return ExactSum(values, held, needs_noise=True)

    def _asked(self, kind: ReleaseKind | None, inputs: SumInputs) -> list[PartSum]:
        jobs = [self._job(rows, kind, inputs) for rows in self._table.rows]
        answers = self._engine.run(jobs)
        try:
            found = [unpack_sum(answer) for answer in answers]
        except DecodeError as error:
            raise TransportError(f"{self._engine.name}: {error}") from error
        parts = [part for part in found if part is not None]
        if len(parts) != len(jobs):
            raise TransportError(f"{self._engine.name}: {len(parts)} parts of {len(jobs)}")
        self._mark = sum(part.mark for part in parts)
        return parts

    def _job(self, rows: Rows, kind: ReleaseKind | None, inputs: SumInputs) -> bytes:
        job = Job(
            code=self._table.code,
            plan=self.plan,
            schema=self._schema,
            member=self._member,
            families=self._table.families,
            rows=rows,
            kind=kind,
            sizes=tuple(one.size for one in inputs.arrays),
            bins=len(inputs.bins),
        )
        return pack_job(job, inputs)
