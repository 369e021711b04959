"""What does the log cost a score?

Nothing of it is on the relay's path but one ``list.append``; the batch of each second is
hashed, signed and stored in a thread. That thread shares the interpreter with the loop, so
what a score can lose is measured as the loop's own lag: a callback is due every millisecond
while ``RATE`` inquiries a second are kept for ``SECONDS``, once with a database that only
stores rows, once with batches, entries and heads. Figures are milliseconds later than due.
Goal: the log adds less than 1 ms. On a machine that is busy with
other things the tail is theirs; the median and the mean say what the log adds.
"""

import asyncio
import hashlib
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

from bench.result import Result
from consortium.crypto.keys import IdentityKey, NoteKey, Secret
from consortium.ids import Digest, PartnerId, RequestId
from consortium.inquiries import Inquiry, Purpose
from consortium.ledger.bodies import ScoreRetry
from coordinator.audit_log import AuditLog, LogKeys
from coordinator.inquiry_log import Batches, Ended, InquiryLog, Keep
from coordinator.scoring_storage import Batch, InquiryRow, ScoringStore
from coordinator.storage import Store

mpl.use("Agg")
from matplotlib import pyplot as plt

RATE, SECONDS = 300, 10
GOAL_MS = 1.0
_TICK_S = 0.001
_NAMES = tuple(PartnerId(f"bank_{letter}") for letter in "abcde")


def run(out: Path) -> Result:
    """Measure without and with the log, in turn, three times each."""
    lags: dict[str, list[float]] = {"rows": [], "log": []}
    adds: list[float] = []
    for _ in range(3):
        for name, found in lags.items():
            lag, add = asyncio.run(_story(with_log=name == "log"))
            found.extend(lag)
            adds += add
    figures = {
        f"{name}_{label}_ms": round(float(np.percentile(found, share)), 3)
        for name, found in lags.items()
        for label, share in (("p50", 50), ("p99", 99), ("p999", 99.9))
    }
    for name, found in lags.items():
        figures[f"{name}_mean_ms"] = round(float(np.mean(found)), 3)
    figures["add_p99_us"] = round(float(np.percentile(adds, 99)) * 1000, 2)
    for label in ("p50", "mean", "p99"):
        added = figures[f"log_{label}_ms"] - figures[f"rows_{label}_ms"]
        figures[f"log_adds_{label}_ms"] = round(added, 3)
    out.mkdir(parents=True, exist_ok=True)
    _plot(out / "score_log.svg", lags)
    return Result(
        name="score_log",
        figures=figures,
        anchors={"goal_ms": GOAL_MS, "inquiries_per_second": RATE},
        ratios={"log_over_rows_p99": round(figures["log_p99_ms"] / figures["rows_p99_ms"], 3)},
    )


async def _story(*, with_log: bool) -> tuple[list[float], list[float]]:
    with tempfile.TemporaryDirectory() as directory:
        store = Store(f"sqlite:///{directory}/coordinator.db")
        try:
            log = InquiryLog(_keep(store, with_log=with_log), lambda: os.urandom(16))
            writing = asyncio.create_task(log.run())
            found = await _ticks(log)
            await log.flush()
            writing.cancel()
            return found
        finally:
            store.close()


def _keep(store: Store, *, with_log: bool) -> Keep:
    shelf = ScoringStore(store)
    if with_log:
        identity = IdentityKey.from_secret(Secret(b"\x01" * 32))
        keys = LogKeys(
            member=PartnerId("coordinator"),
            identity=identity,
            note=NoteKey.from_secret(Secret(b"\x02" * 32)),
        )
        log = AuditLog(store, federation="bench", keys=keys, now=lambda: int(time.time()))
        return Batches(shelf, log.entry, lambda: int(time.time())).keep

    seconds = iter(range(1, 10**6))

    def plain(rows: Sequence[InquiryRow], _: Sequence[ScoreRetry]) -> None:
        shelf.add_inquiries(rows, Batch(second=next(seconds), count=len(rows)))

    return plain


async def _ticks(log: InquiryLog) -> tuple[list[float], list[float]]:
    loop = asyncio.get_running_loop()
    lags: list[float] = []
    adds: list[float] = []
    began = loop.time()
    every = round(1 / (_TICK_S * RATE))
    for number in range(round(SECONDS / _TICK_S)):
        due = began + (number + 1) * _TICK_S
        await asyncio.sleep(due - loop.time())
        lags.append(max(0.0, loop.time() - due) * 1000)
        if number % every == 0:
            start = time.perf_counter()
            log.add(_ended(number))
            adds.append((time.perf_counter() - start) * 1000)
    return lags, adds


def _ended(number: int) -> Ended:
    digest = Digest(hashlib.sha256(str(number).encode()).hexdigest())
    inquiry = Inquiry(
        request=RequestId(digest[:32]),
        requester=_NAMES[0],
        ephemeral=b"E" * 32,
        roster=_NAMES,
        roster_version=1,
        model=digest,
        purpose=Purpose.JOINT_SCORE,
        persons=1,
        deadline=1,
        consents=digest,
        sealed=digest,
        retry_of=None,
    )
    return Ended(
        inquiry=inquiry,
        context=digest,
        began_ms=1,
        ended_ms=2,
        outcome="answered",
        responders=dict.fromkeys(_NAMES[1:], "answered"),
    )


def _plot(path: Path, lags: dict[str, list[float]]) -> None:
    figure, axes = plt.subplots(figsize=(6, 3.5))
    for name, found in lags.items():
        ordered = np.sort(found)
        axes.plot(ordered, 1 - np.arange(ordered.size) / ordered.size, label=name)
    axes.set(xscale="symlog", yscale="log", xlabel="late by, ms", ylabel="share later")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
