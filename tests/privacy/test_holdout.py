"""Who is held out never trains, and who trains is never tested (protocol 5.8)."""

from dataclasses import replace

import numpy as np
import pytest

from consortium.credit.tables import BANDS
from consortium.crypto.keys import Secret
from consortium.features.bins import Bins
from consortium.ids import Digest, PartnerId, digest_of
from consortium.messages import SumRequest
from consortium.plan import ReleaseKind
from consortium.secagg.context import SumInputs
from partner_node.ingest import EncodedTable
from partner_node.local_sums import LocalSums
from tests.simulator import Consortium

BANK = PartnerId("bank_a")


def _sum_of(consortium: Consortium, kind: ReleaseKind, *, flipped: bool | None) -> np.ndarray:
    """A node's exact sum; ``flipped``: swap the labels of held-out or of training rows."""

    def load(bins: Bins) -> EncodedTable:
        table = consortium.table(BANK, 0, bins)
        if flipped is None:
            return table
        swapped = np.where(table.holdout == flipped, 1 - table.labels, table.labels)
        return replace(table, labels=swapped.astype(np.uint8))

    sums = LocalSums(consortium.plan, consortium.schema, BANK, load=load)
    edges = np.tile(np.linspace(-3.0, 3.0, BANDS - 1), len(consortium.plan.blocks))
    weights = np.linspace(-1.0, 1.0, sums.spec.size)
    arrays = (weights, edges) if kind is ReleaseKind.EVALUATION else (weights,)
    inputs = SumInputs(arrays=arrays)
    request = SumRequest(
        run=consortium.plan.run,
        plan=Digest("0" * 64),
        kind=kind,
        round=1,
        attempt=1,
        roster=(BANK,),
        inputs=inputs.digest,
        dimension=8,
        scale_bits=24,
        variance="1",
        head=digest_of(b"head"),
    )
    sums.prepare(request, inputs)
    context = digest_of(b"context")
    return sums.compute(request, inputs, seed=Secret(bytes(32)), context=context).values


@pytest.mark.parametrize("kind", [ReleaseKind.GRADIENT, ReleaseKind.RECALIBRATION])
def test_rows_held_out_change_nothing_that_training_releases(kind: ReleaseKind) -> None:
    consortium = Consortium()
    plain = _sum_of(consortium, kind, flipped=None)
    assert np.array_equal(plain, _sum_of(consortium, kind, flipped=True))
    assert not np.array_equal(plain, _sum_of(consortium, kind, flipped=False))


def test_rows_in_training_change_nothing_that_the_evaluation_releases() -> None:
    consortium = Consortium()
    plain = _sum_of(consortium, ReleaseKind.EVALUATION, flipped=None)
    assert np.array_equal(plain, _sum_of(consortium, ReleaseKind.EVALUATION, flipped=False))
    assert not np.array_equal(plain, _sum_of(consortium, ReleaseKind.EVALUATION, flipped=True))
