"""Release gates without a run: rows of the registry, tables and sums with planted truths."""

import numpy as np

from consortium.credit.gate import (
    Evaluated,
    GateCheck,
    GateInputs,
    Moments,
    Verdict,
)
from consortium.ids import Digest, PartnerId
from consortium.ledger.entries import Entry, ReleaseGate
from coordinator.storage import GateRow

CODE = Digest("c0" * 32)


def gate_row(version: Digest, *, passed: bool) -> GateRow:
    """A gate of one line, not signed: the registry looks at what it says."""
    verdict = Verdict.PASSED if passed else Verdict.FAILED
    line = GateCheck(
        name="calibration.slope",
        subject="banks",
        value="1.0000" if passed else "0.5000",
        low="0.8000",
        high="1.2000",
        at_least="",
        at_most="",
        verdict=verdict.value,
    )
    body = ReleaseGate(version=version, passed=passed, audit=None, checks=(line,))
    entry = Entry(seq_hint=0, at=1, actor=PartnerId("coordinator"), body=body)
    return GateRow(version=version, passed=passed, audit=None, entry=entry.to_jcs())


def evaluated(
    *, persons: float = 100_000.0, shift: float = 0.0, stretch: float = 1.0, noise: float = 10.0
) -> Evaluated:
    """A table whose true log-odds are ``shift + stretch`` times what the bands expect."""
    eta = np.linspace(-4.0, 0.5, 16)
    rate = 1 / (1 + np.exp(-(shift + stretch * eta)))
    each = persons / 16
    table = np.stack([each * (1 - rate), each * rate], axis=1)
    return Evaluated(subject="banks", table=table, eta=eta, deviation=noise)


def moments(
    parts: dict[str, np.ndarray], families: dict[str, np.ndarray], *, noise: float = 0.0
) -> Moments:
    """Exact sums of persons whose parts are given, one array of all of them for each name."""
    total = sum(families.values(), np.zeros(0) if not families else 0.0)
    own = [
        [len(total), part.sum(), total.sum(), (part * total).sum(), (total**2).sum()]
        if place == 0
        else [0.0, part.sum(), 0.0, (part * total).sum(), 0.0]
        for place, part in enumerate(parts.values())
    ]
    rows = [[part.sum(), (part * total).sum()] for part in families.values()]
    return Moments(
        askers=tuple(parts),
        families=tuple(families),
        own=np.array(own),
        parts=np.array(rows),
        deviation=noise,
    )


def inputs(*tables: Evaluated, sums: Moments | None = None) -> GateInputs:
    """Of a run of two banks."""
    return GateInputs(
        evaluated=tables,
        moments=sums,
        partners=("bank_a", "bank_b"),
        families=sums.families if sums else ("repayment", "billing"),
        code=CODE,
        delta="1e-6",
        noise_mode="shared",
    )
