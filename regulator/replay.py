"""The run's machine as the audit drives it: the one that coordinator and nodes run.

It holds no learning code: published sums go in, requests and weights come out.
"""

from collections.abc import Mapping
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from consortium.credit.gate import GateInputs
from consortium.features.schema import Schema
from consortium.ids import Digest, PartnerId
from consortium.messages import SumRequest
from consortium.plan import TrainingPlan
from models.figures import published_parts
from models.gate import gate_inputs
from models.released import released_bytes
from models.run import ClosedSum, RunFailedError, RunSession


class ReplayedRun:
    """A ``consortium.ledger.facts.Machine`` over ``models.run``."""

    def __init__(self, plan: TrainingPlan, schema: Schema) -> None:
        self._session = RunSession(plan, schema)

    @property
    def finished(self) -> bool:
        """Whether every sum of the plan is closed."""
        return self._session.finished

    def request(self, roster: tuple[PartnerId, ...]) -> SumRequest:
        """The request that is due."""
        return self._session.request(roster)[0]

    def on_sum(self, request: SumRequest, joined: Digest, total: NDArray[np.int64]) -> None:
        """Take up a closed sum."""
        self._session.on_sum(ClosedSum(request=request, joined=joined, total=total))

    def on_missing(
        self, request: SumRequest, missing: Mapping[PartnerId, str], *, charged: bool
    ) -> None:
        """Take up an aborted attempt; that it was the last one is the run's end, no error."""
        with suppress(RunFailedError):
            self._session.on_missing(request, missing, charged=charged)

    def model(self) -> bytes:
        """Canonical bytes of the released model, or of the released head."""
        return released_bytes(self._session)

    def published(self) -> Mapping[str, object]:
        """What the document must say beside the model: figures, bins, centres."""
        return published_parts(self._session)

    def gate(self) -> GateInputs:
        """What the release gate is computed from."""
        return gate_inputs(self._session)
