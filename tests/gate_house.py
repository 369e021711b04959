"""Release gates without a run: rows of the registry, tables and sums with planted truths."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from consortium.credit.gate import (
    Evaluated,
    GateCheck,
    GateInputs,
    Moments,
    Verdict,
)
from consortium.crypto.keys import Secret
from consortium.ids import Digest, PartnerId
from consortium.ledger.entries import Entry, ReleaseGate
from consortium.privacy.mechanism import COUNT_SCALE
from consortium.privacy.noise import noise_share
from coordinator.model_storage import GateRow
from models.head import band_centres

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


BANDS_OF_ONE = (20, 89, 881, 393, 107, 67, 71, 80, 85, 75)
BANDS_OF_THREE = (3, 60, 228, 462, 912, 734, 416, 325, 261, 131, 203, 202, 274)
"""Held-out persons of the Taiwan rehearsal by band of a head, for one and three families."""


def count_noise(*, variance: int, seed: int) -> Callable[[int], np.ndarray]:
    """The product's own noise for counts, in persons, fresh at every call."""
    numbers = itertools.count()

    def draw(count: int) -> np.ndarray:
        context = Digest(f"{next(numbers):064x}")
        secret = Secret(seed.to_bytes(32, "big"))
        return noise_share(secret, context, variance=variance, count=count) / COUNT_SCALE

    return draw


def small_head(draw: Callable[[int], np.ndarray], *, off: float = 0.0) -> GateInputs:
    """A calibrated head on few persons: the Taiwan rehearsal's bands, fresh noise.

    Args:
        draw: Noise of so many counts, in persons; of deviation 30.86, as there.
        off: What is wrong with its log-odds.
    """
    eta, found = band_centres(), []
    for subject, bands in zip(
        ("1", "2", "3+"), (BANDS_OF_ONE, (), BANDS_OF_THREE), strict=True
    ):
        persons = np.zeros(16)
        persons[16 - len(bands) :] = bands
        bad = persons / (1 + np.exp(-(eta + off)))
        table = np.stack([persons - bad, bad], axis=1) + draw(32).reshape(16, 2)
        found.append(Evaluated(subject=subject, table=table, eta=eta, deviation=30.86))
    whole = np.sum([one.table for one in found], axis=0)
    every = Evaluated(subject="all", table=whole, eta=eta, deviation=30.86 * 3**0.5)
    return replace(inputs(*found, every), partners=(), families=("one",))


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
