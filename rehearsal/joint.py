"""Joint scores of a rehearsal: asked at the partners' own doors, as a bank's system would.

Hold-out persons in batches for the report's figures, then some one by one for the time that
a loan officer waits: first persons whose pseudonym is known, then persons of another asker,
who are applicants here and whose pseudonym must be derived first.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from consortium.errors import RiskWeaveError
from consortium.plan import TrainingPlan
from consortium.scoring.scorecard import from_units
from partner_node import node_control
from partner_node.expressions import expressions
from partner_node.table import DataSource, open_table, quoted
from rehearsal.processes import RehearsalError
from rehearsal.results import JointAnswers, JointRecord
from riskweave_client import Applicant, Client, Consent, DeskError, Failure, Score

Words = NDArray[np.uint64]

CONSENT = Consent("rehearsal", purposes=("JOINT_SCORE", "CALIBRATION"))
"""A rehearsal supposes that everybody has consented, and its report says so."""
SINGLES = 300
FIRSTS = 100


_LOOK_S = 0.1


# --- pseudonyms -------------------------------------------------------------------------------


class Tokens:
    """Loads of all nodes' customers, each in its own serving process."""

    def __init__(self, nodes: Mapping[str, Path]) -> None:
        self._failed: dict[str, RiskWeaveError] = {}
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._load, args=item, daemon=True)
            for item in nodes.items()
        ]

    def start(self) -> None:
        """Ask every node; each answers until it is done."""
        for thread in self._threads:
            thread.start()

    def wait(self, alive: Callable[[], None]) -> None:
        """Until all are done; ``alive`` raises if a process has died.

        Raises:
            RehearsalError: a node could not do it.
        """
        for thread in self._threads:
            while thread.is_alive():
                thread.join(_LOOK_S)
                alive()
        for name, error in self._failed.items():
            raise RehearsalError(f"{name}: pseudonyms: {error}") from error

    def _load(self, name: str, directory: Path) -> None:
        try:
            while not _epoch_installed(directory):
                if self._stopped.wait(_LOOK_S):
                    return
            for _ in node_control.ask(directory, "tokenize"):
                pass
        except RiskWeaveError as error:
            self._failed[name] = error

    def stop(self) -> None:
        """Wait for no key ceremony any more."""
        self._stopped.set()


def _epoch_installed(directory: Path) -> bool:
    return any(found.get("epoch_installed") for found in node_control.ask(directory, "scoring"))


@contextmanager
def token_loads(nodes: Mapping[str, Path]) -> Iterator[Tokens]:
    """Start the loads of all nodes; they go on beside whatever the block does."""
    loads = Tokens(nodes)
    loads.start()
    try:
        yield loads
    finally:
        loads.stop()


# --- scores -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Desk:
    """One asker's door, and its own table."""

    socket: Path
    source: DataSource


def serves(socket: Path, head: str) -> bool:
    """Whether a desk would answer jointly now, with that head."""
    if not socket.exists():
        return False
    try:
        with Client(f"unix:{socket}") as desk:
            status = desk.status()
    except DeskError:
        return False
    return not status.fallback and status.head == head


def ask_all(
    desks: Mapping[str, Desk], plan: TrainingPlan, *, head: str, spent: Mapping[str, str]
) -> JointRecord:
    """Ask every asker's desk for its hold-out persons, then the first one by one.

    Raises:
        RehearsalError: a person got no score.
    """
    persons = {name: held_out(desk.source, plan) for name, desk in desks.items()}
    batches = [ask_in_batches(name, desk.socket, persons[name]) for name, desk in desks.items()]
    names = list(desks)
    first = desks[names[0]]
    known, scores = ask_one_by_one(first.socket, persons[names[0]].ids[:SINGLES])
    applicants = persons[names[-1]].ids[:FIRSTS] if len(names) > 1 else ()
    unknown, _ = ask_one_by_one(first.socket, applicants)
    asked = sum(len(batch.answers.persons) for batch in batches)
    return JointRecord(
        answers=tuple(batch.answers for batch in batches),
        milliseconds=tuple(known),
        first_milliseconds=tuple(unknown),
        batch_per_second=asked / sum(batch.seconds for batch in batches),
        example=_example(scores),
        head=head,
        spent=spent,
    )


def _example(scores: Sequence[Score]) -> dict[str, object]:
    """The reply with most to tell: several partners know the person, who lost most points."""
    joint = [score for score in scores if score.band not in {"0", "1"}] or list(scores)
    if not joint:
        return {}
    found = asdict(min(joint, key=lambda score: score.points))
    return {**found, "pd": str(found["pd"])}


@dataclass(frozen=True, slots=True)
class Persons:
    """Held-out persons of one asker, in the order of their hashes."""

    ids: tuple[str, ...]
    heads: Words


def held_out(source: DataSource, plan: TrainingPlan) -> Persons:
    """Who is held out at a partner, by the plan's own rule (protocol 5.8)."""
    ids: dict[int, str] = {}
    with open_table(source) as table:
        columns = expressions(table, (), salt=plan.holdout_salt)
        wanted = {"id": f"{quoted(source.person)}::VARCHAR", "head": columns["person"]}
        for batch in table.batches(wanted):
            pairs = zip(batch.column(1).to_pylist(), batch.column(0).to_pylist(), strict=True)
            ids |= {head: name for head, name in pairs if name}
    limit = float(plan.holdout_fraction) * 2.0**64
    kept = sorted(head for head in ids if head < limit)
    return Persons(tuple(ids[head] for head in kept), np.array(kept, dtype=np.uint64))


@dataclass(frozen=True, slots=True)
class Batch:
    """What one asker was answered, and how long it took."""

    answers: JointAnswers
    seconds: float


def ask_in_batches(asker: str, socket: Path, persons: Persons) -> Batch:
    """Ask for all of them at once.

    Raises:
        RehearsalError: somebody got no score, or nobody a joint one.
    """
    applicants = (Applicant(one, CONSENT, brief=True) for one in persons.ids)
    began = time.monotonic()
    with Client(f"unix:{socket}") as desk:
        results = list(desk.score_batch(applicants))
    seconds = time.monotonic() - began
    scores = [one for one in results if isinstance(one, Score)]
    if len(scores) != len(persons.ids):
        codes = sorted({one.code for one in results if isinstance(one, Failure)})
        raise RehearsalError(f"{asker}: persons without a score: {', '.join(codes)}")
    if not any(score.joint for score in scores):
        raise RehearsalError(f"{asker}: no joint score: {scores[0].fallback}")
    return Batch(
        JointAnswers(
            asker=asker,
            persons=persons.heads,
            eta=np.array([from_units(score.eta) for score in scores]),
            bands=np.array([score.band for score in scores]),
        ),
        seconds,
    )


def ask_one_by_one(socket: Path, ids: Sequence[str]) -> tuple[list[float], list[Score]]:
    """Milliseconds from question to answer, and the answers."""
    milliseconds, scores = [], []
    with Client(f"unix:{socket}") as desk:
        desk.status()
        for one in ids:
            began = time.perf_counter()
            scores.append(desk.score(one, CONSENT))
            milliseconds.append(1000 * (time.perf_counter() - began))
    return milliseconds, scores
