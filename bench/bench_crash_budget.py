"""kill -9 at random instants: is a node's budget ever below what was released?

A federation of real processes, four nodes and a coordinator, trains one small model after
another. In each run one of the five is killed with SIGKILL at an instant drawn from a seeded
hash, over the length of an undisturbed run, and started again at once. When the run has
ended, each node's debits on disk are laid beside the coordinator's record of the attempts:

* every attempt whose words a node gave away must be among its debits, in full. Words were
  given away if the attempt was summed, or if it was aborted after its JOINs and the node is
  not among those missing;
* every upload that stands in the node's own journal must be among its debits: that row is
  written before the first byte leaves, so it is there for words, too, that reached a
  coordinator which died before it wrote anything;
* the debits of the run must add up to at least the charges of all these attempts;
* the run must have finished or failed with a reason.

The opposite, more debits than releases, is counted and allowed.

``BENCH_CRASH_RUNS`` sets the number of runs.
"""

import hashlib
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

from bench.result import Result
from consortium.documents import parse_document
from consortium.errors import RefusalCode, TransportError
from consortium.features.bins import public_bins
from consortium.ids import PartnerId, RunId
from consortium.plan import TrainingPlan
from consortium.privacy.mechanism import mechanism_for
from consortium.release import Attempt, Outcome
from coordinator import control
from models.run_state import RunState
from models.spec import spec_of
from rehearsal.federation import COORDINATOR
from tests.integration.federation import Federation, key_of, rows_of, write_rehearsal

mpl.use("Agg")
from matplotlib import pyplot as plt

RUNS = 200
ROUNDS = 12
SEED = b"riskweave crash budget 1"
TABLES = {name: rows_of(name, 4_000) for name in ("bank_a", "bank_b", "shop_c", "shop_d")}
UNDISTURBED = 2
"""Runs at the start of a federation that nobody is killed in; the last one is timed."""
FLOOR = len(TABLES) - 1
"""Members of the smallest roster."""
_POLL_S = 0.05
END_S = 120.0
"""A run that has not ended by then has hung."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """One run with one kill."""

    victim: str
    instant: float
    """Seconds after the start of the run."""
    end: str
    """finished, failed or hung."""
    reason: str
    undercounted: tuple[str, ...]
    """Nodes whose debits do not cover what they gave away."""
    released: int
    """Uploads of all nodes that the coordinator has on record."""
    charged: int
    """Debits of all nodes."""


def run(out: Path) -> Result:
    """Runs, and how many of them left a budget too low."""
    out.mkdir(parents=True, exist_ok=True)
    wanted = int(os.environ.get("BENCH_CRASH_RUNS", RUNS))
    began = time.monotonic()
    crashes: list[Crash] = []
    while len(crashes) < wanted:
        # Only a run that hung ends a federation before its time.
        with _federation() as federation:
            length = [_timed(federation) for _ in range(UNDISTURBED)][-1]
            for number in range(len(crashes), wanted):
                crashes.append(_crash(federation, number, length))
                if crashes[-1].end == "hung":
                    break
    _plot(out / "crash_budget.svg", crashes)
    return Result(
        name="crash_budget",
        figures={
            "runs": len(crashes),
            "undercounted": sum(bool(one.undercounted) for one in crashes),
            "ends": dict(Counter(one.end for one in crashes)),
            "reasons": dict(Counter(one.reason for one in crashes if one.end == "failed")),
            "unexplained": sum(one.end == "failed" and not one.reason for one in crashes),
            "victims": dict(Counter(one.victim for one in crashes)),
            "uploads_on_record": sum(one.released for one in crashes),
            "debits": sum(one.charged for one in crashes),
            "undisturbed_run_s": round(length, 2),
            "minutes": round((time.monotonic() - began) / 60, 1),
        },
        anchors={"undercounted_by_run": [list(one.undercounted) for one in crashes]},
        ratios={},
    )


@contextmanager
def _federation() -> Iterator[Federation]:
    """Five processes; the budget is enough for some hundred runs."""
    # A unix socket's path is short: no directory under build/.
    with tempfile.TemporaryDirectory(prefix="rwc-") as name:
        directory = Path(name)
        file = write_rehearsal(directory, TABLES, rounds=ROUNDS)
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace('\nepsilon = "8"', '\nepsilon = "1"'), encoding="utf-8")
        with Federation.running(directory, file) as federation:
            yield federation


def _timed(federation: Federation) -> float:
    began = time.monotonic()
    federation.start_run().wait_for_end()
    return time.monotonic() - began


def _crash(federation: Federation, number: int, length: float) -> Crash:
    """One run with one kill, and the comparison."""
    victim, share = _drawn(number)
    # The victim has to be there. One of the run before may still be on its way back: then
    # this run starts without it.
    present = [victim] if victim in TABLES else []
    federation.wait(
        lambda: {*present} <= federation.connected() and len(federation.connected()) >= FLOOR,
        what="enough nodes are connected",
        blame=COORDINATOR,
    )
    following = federation.start_run()
    following.wait(lambda _: True)
    began = time.monotonic()
    time.sleep(share * length)
    federation.kill(victim)
    at = time.monotonic() - began
    federation.start(victim)
    if victim == COORDINATOR:
        federation.wait(
            lambda: _serves(federation), what="the coordinator is back", blame=COORDINATOR
        )
    run_id = following.events[0].run
    end, reason = _end(federation, run_id)
    received = _received(federation, run_id)
    under: list[str] = []
    charged = 0
    for name in TABLES:
        debits = {key_of(one): one.units for one in federation.debits(name, run_id)}
        owed = received.get(PartnerId(name), {})
        charged += len(debits)
        short = any(debits.get(key, 0) < units for key, units in owed.items())
        short = short or not set(federation.journal(name, run_id)) <= set(debits)
        if short or sum(debits.values()) < sum(owed.values()):
            under.append(name)
    found = Crash(
        victim=victim,
        instant=at,
        end=end,
        reason=reason,
        undercounted=tuple(under),
        released=sum(len(one) for one in received.values()),
        charged=charged,
    )
    print(f"  {number}: {found}", flush=True)
    return found


def _drawn(number: int) -> tuple[str, float]:
    """Whom, and at which share of a run: uniform, from a hash."""
    word = hashlib.sha256(SEED + number.to_bytes(4, "big")).digest()
    victims = [*TABLES, COORDINATOR, COORDINATOR]
    victim = victims[int.from_bytes(word[:8], "big") % len(victims)]
    return victim, int.from_bytes(word[8:16], "big") / 2**64


def _serves(federation: Federation) -> bool:
    try:
        control.fetch_status(federation.places.control_socket)
    except TransportError:
        return False
    return True


def _end(federation: Federation, run_id: RunId) -> tuple[str, str]:
    """How a run ended: finished, failed or hung, and the reason if it failed.

    What counts is the record, not the stream of events: a watcher dies with its coordinator.
    """
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline:
        with federation.store() as store:
            row = store.runs.get(run_id)
        if row is None:
            return "failed", ""
        if row.status != "running":
            return row.status, row.detail if row.status == "failed" else ""
        time.sleep(_POLL_S)
    return "hung", f"not at its end after {END_S:.0f} s"


def _received(
    federation: Federation, run_id: RunId
) -> dict[PartnerId, dict[tuple[str, int, int], int]]:
    """What each node gave away by the coordinator's record: attempts and their charges."""
    with federation.store() as store:
        checkpoint, row = store.runs.checkpoint(run_id), store.runs.get(run_id)
    found: dict[PartnerId, dict[tuple[str, int, int], int]] = {}
    if checkpoint is None or row is None:
        return found
    plan = parse_document(TrainingPlan, row.plan)
    schema = federation.rehearsal.schema
    width = spec_of(plan, schema, public_bins(schema)).size
    for one in parse_document(RunState, checkpoint.payload).attempts:
        mechanism = mechanism_for(plan, one.kind, width=width, partners=len(one.roster))
        for member in _givers(one):
            units = mechanism.units(person=True)
            found.setdefault(member, {})[one.kind.value, one.round, one.attempt] = units
    return found


def _givers(attempt: Attempt) -> set[PartnerId]:
    """Members whose words the coordinator had."""
    if attempt.outcome is Outcome.SUMMED:
        return set(attempt.roster)
    if RefusalCode.REPEATED.value in attempt.reasons:
        # Asked again after a crash of the coordinator: it stopped at the JOINs, so it has
        # nobody's words, and counts the attempt because some may have left before the crash.
        return set()
    return set(attempt.roster) - set(attempt.missing) if attempt.charged else set()


def _plot(path: Path, crashes: list[Crash]) -> None:
    figure, axes = plt.subplots(figsize=(7, 3))
    names = [*TABLES, COORDINATOR]
    for end, colour in (
        ("finished", "tab:green"),
        ("failed", "tab:orange"),
        ("hung", "tab:red"),
    ):
        some = [one for one in crashes if one.end == end]
        places = [names.index(one.victim) for one in some]
        axes.scatter([one.instant for one in some], places, s=14, c=colour, label=end)
    bad = [one for one in crashes if one.undercounted]
    axes.scatter(
        [one.instant for one in bad],
        [names.index(one.victim) for one in bad],
        marker="x",
        c="black",
        label="budget too low",
    )
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("kill -9, seconds after the start of the run")
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
