"""A rehearsal's course: set up, train, vote, score, decide, audit, stop."""

import importlib
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from coordinator.events import RunEvent
from rehearsal.config import Rehearsal
from rehearsal.federation import Federation, Places, Watcher
from rehearsal.processes import Processes
from rehearsal.published import parse_published
from rehearsal.results import JointRecord, RunRecord
from rehearsal.results_desk import DeskRecord
from rehearsal.tamper import tamper_with


@dataclass(frozen=True, slots=True, kw_only=True)
class _Used:
    """A model from its training to the decisions made with it, and when each part ended."""

    events: tuple[RunEvent, ...]
    votes: Mapping[str, bool | None]
    scored: JointRecord | None
    decided: DeskRecord | None
    started: float
    trained: float
    asked: float

    @property
    def version(self) -> str:
        return self.events[-1].version

    def seconds(self, began: float) -> dict[str, float]:
        """How long each part took, of a rehearsal that ends now."""
        return {
            "start": round(self.started - began, 2),
            "train": round(self.trained - self.started, 2),
            **({"score": round(self.asked - self.trained, 2)} if self.scored else {}),
            **({"decide": round(self.decided.seconds, 2)} if self.decided else {}),
            "total": round(time.monotonic() - began, 2),
        }


def run_federation(
    rehearsal: Rehearsal, places: Places, watcher: Watcher, *, tamper: bool = False
) -> RunRecord:
    """Set up, train, vote, stop; with ``tamper`` the log is altered before the end.

    Raises:
        RehearsalError: a process failed; everything was stopped.
        RiskWeaveError: whatever a role says is wrong.
    """
    began = time.monotonic()
    with Processes(places.logs) as processes:
        federation = Federation(rehearsal, places, processes)
        watcher.step(f"setting up {len(rehearsal.parties)} partners and a coordinator")
        federation.set_up()
        watcher.step("waiting for all partners to connect")
        federation.wait_for_all()
        used = _train_and_use(federation, watcher, asked=bool(rehearsal.askers))
        budgets = tuple(federation.budget(party) for party in rehearsal.parties)
        names, peaks = processes.names, processes.peak_rss_mb()
        watcher.step("waiting until the partners have cosigned the log")
        federation.wait_for_witnesses()
        watcher.step("the regulator's program examines the log")
        audit = federation.audit()
        tampered = tamper_with(federation, audit, watcher) if tamper else None
        watcher.step("stopping all processes")
    document, status = federation.release(used.version)
    return RunRecord(
        version=used.version,
        published=parse_published(document, used.version),
        events=used.events,
        status=status,
        votes=used.votes,
        budgets=budgets,
        seconds=used.seconds(began),
        processes=names,
        peak_rss_mb=peaks,
        joint=used.scored,
        desk=used.decided,
        audit=audit,
        tampered=tampered,
    )


def _train_and_use(federation: Federation, watcher: Watcher, *, asked: bool) -> _Used:
    """Train, vote; if anybody may ask, score and decide."""
    started = time.monotonic()
    with ExitStack() as stack:
        tokens = stack.enter_context(federation.tokens()) if asked else None
        watcher.step("training")
        ahead = threading.Thread(target=_load_ahead, daemon=True)
        ahead.start()
        events = federation.train(watcher)
        trained = time.monotonic()
        ahead.join()
        watcher.step("every partner tests the model on its own hold-out and votes")
        version = events[-1].version
        votes = federation.vote_all(version)
        scored = None
        if tokens:
            federation.check_in_use(version, votes, what="model")
            scored = federation.score(tokens, watcher)
        decided = federation.decide(watcher) if scored else None
    return _Used(
        events=events,
        votes=votes,
        scored=scored,
        decided=decided,
        started=started,
        trained=trained,
        asked=time.monotonic(),
    )


def _load_ahead() -> None:
    """Import what the report needs while the nodes train: the rehearsal itself only waits."""
    for name in ("models.opacus_witness", "rehearsal.evidence", "rehearsal.report"):
        importlib.import_module(name)
