"""Exact integer sum of one table over this partner's rows, before noise. Nothing leaves.

What ``local_sums`` is for training. A partner that the plan does not name as a holder adds
nothing but its noise (protocol 4.3, 13.11).
"""

import hashlib
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from consortium.canonical import canonical_json
from consortium.credit.figures import Entry, contribution
from consortium.crypto.keys import Secret
from consortium.errors import RefusalCode, RefusalError
from consortium.figure import FigureSpec
from consortium.ids import Digest, PartnerId
from consortium.messages import SumRequest
from consortium.plan import ReleaseKind, TrainingPlan
from consortium.secagg.context import SumInputs
from partner_node.fingerprint import fingerprint
from partner_node.local_sums import ExactSum

Integers = NDArray[np.int64]


class TableSums:
    """The one sum of a table run."""

    def __init__(
        self,
        plan: TrainingPlan,
        member: PartnerId,
        *,
        load: Callable[[FigureSpec], Iterable[Entry]],
    ) -> None:
        """Count the rows once, if the plan names this partner.

        Raises:
            DataError, ConfigurationError, DomainError: of the sources of rows.
            RefusalError: the plan is of no table (R05).
        """
        if plan.figure is None:
            raise RefusalError(RefusalCode.PLAN, "a table without a figure")
        self.plan = plan
        self._spec = plan.figure
        self._mine = member in plan.blocks[0].holders
        entries = list(load(plan.figure)) if self._mine else []
        self._rows = _bytes_of(entries)
        self._values = contribution(plan.figure, entries)
        self._print: str | None = None

    def fingerprint(self, seed: Secret) -> str:
        """Of all entries; one run has one seed. Private."""
        if self._print is None:
            self._print = fingerprint(self._rows, seed)
        return self._print

    def prepare(self, request: SumRequest, inputs: SumInputs) -> None:
        """Raise RefusalError if the request brings anything to compute with (R11)."""
        if request.kind is not ReleaseKind.TABLE or inputs.arrays or inputs.bins:
            raise RefusalError(RefusalCode.SHAPE, "a table is counted from nothing but rows")

    def compute(
        self, request: SumRequest, inputs: SumInputs, *, seed: Secret, context: Digest
    ) -> ExactSum:
        """The exact counts; zero, and nothing held, if the plan does not name this partner.

        Raises:
            RefusalError: the request is of another shape (R11).
        """
        del inputs, seed, context
        if request.dimension != self._spec.size:
            raise RefusalError(RefusalCode.SHAPE, f"{request.dimension} words of a table")
        held = np.full(self._spec.size, self._mine, dtype=np.bool_)
        return ExactSum(self._values.copy(), held, needs_noise=True)


def _bytes_of(entries: Iterable[Entry]) -> NDArray[np.uint8]:
    """A row of 32 bytes for each entry."""
    rows = [
        hashlib.sha256(
            canonical_json(
                [one.person, list(one.cell), list(one.values), one.balance, one.since]
            )
        ).digest()
        for one in entries
    ]
    return np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), 32)
