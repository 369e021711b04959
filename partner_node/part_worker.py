"""One worker of an engine: reads its parts of the rows once, adds them up for each sum.

A job is complete in itself: a worker that was started again reads its parts anew and comes to
the same integers, so an engine may repeat what it likes. The worker knows no round, no member
but its own partner, no key and no noise.
"""

from dataclasses import replace

import numpy as np

from consortium.errors import ConfigurationError, RiskWeaveError
from consortium.features.bins import Bins
from consortium.ids import Digest
from consortium.secagg.context import SumInputs
from partner_node import ingest
from partner_node.ingest import EncodedTable
from partner_node.local_sums import LocalSums
from partner_node.part_bytes import Job, PartSum, Probe, pack_failure, pack_sum, unpack_job
from partner_node.table import open_table


class PartWorker:
    """Answers jobs; keeps the parts that it was asked about last."""

    def __init__(self, code: Digest) -> None:
        self._code = code
        self._parts: dict[int, tuple[Job, LocalSums]] = {}

    def answer(self, data: bytes) -> bytes:
        """The answer to one job, or the error that it ends in; empty for a good probe."""
        try:
            asked = unpack_job(data)
            if isinstance(asked, Probe):
                return self._probed(asked)
            return pack_sum(self._sum(*asked))
        except RiskWeaveError as error:
            return pack_failure(error)

    def _probed(self, probe: Probe) -> bytes:
        self._check(probe.code)
        with open_table(probe.rows.source):
            return b""

    def _check(self, code: Digest) -> None:
        if code != self._code:
            raise ConfigurationError(
                f"a worker has software {self._code[:12]}, the node {code[:12]}: "
                "install the same version"
            )

    def _sum(self, job: Job, inputs: SumInputs) -> PartSum:
        self._check(job.code)
        sums = self._rows(replace(job, kind=None, sizes=(), bins=0))
        if job.kind is None:
            values, held = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_)
        else:
            sums.take(job.kind, inputs)
            exact = sums.exact(job.kind, inputs)
            values, held = exact.values, exact.held
        return PartSum(report=sums.report, mark=sums.mark(), values=values, held=held)

    def _rows(self, job: Job) -> LocalSums:
        """The part's rows, read once for a run; those of an earlier run go first."""
        kept = self._parts.get(job.rows.number)
        if kept is not None and kept[0] == job:
            return kept[1]
        self._parts = {
            number: one for number, one in self._parts.items() if _alike(one[0], job)
        }
        self._parts.pop(job.rows.number, None)
        schema, holdout = job.read_schema(), (job.plan.holdout_salt, job.plan.holdout_fraction)

        def load(bins: Bins) -> EncodedTable:
            return ingest.load(job.rows.source, schema, bins, job.families, holdout=holdout)

        sums = LocalSums(job.plan, schema, job.member, load=load)
        self._parts[job.rows.number] = job, sums
        return sums


def _alike(one: Job, other: Job) -> bool:
    """Whether two jobs are of one run and one split of the rows."""
    return (one.plan, one.rows.parts) == (other.plan, other.rows.parts)
