"""The search for what would help, in a process of its own beside the desk (credit 4.20).

A search takes as long as several decisions, so it must not have the interpreter of who
decides: the process is started with the first decision that is no approval, steps back for
everything else on the machine, and is replaced if it dies. Rules and tables go to it once,
a person's part with each question. What it found is kept in a transaction that decisions
share, and whoever tells it decides again first (``Help.promised``).
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from consortium.credit.facts import DecisionInput
from consortium.credit.tiers import Rules
from consortium.errors import RiskWeaveError, TransportError
from consortium.scoring.reasons import Case, Tables
from consortium.scoring.whatif import Labels
from partner_node.credit.what_helps import Basis, Unhelped, help_of

log = logging.getLogger(__name__)

_MOST_WAITING = 512
"""A desk that decides faster than this is worked out does without, and says so."""
_MOST_KNOWN = 16
"""Rules and tables that a process holds; then another is begun."""
_NICE = 10
"""How far it steps back for others."""
_END_S = 3.0

Keep = Callable[[str, bytes], "Future[None]"]
"""Keeps what was found for the decision of that id; on disk when the future is done."""


@dataclass(frozen=True, slots=True)
class _Question:
    """One search. Private; goes to the process as it is."""

    inputs: DecisionInput = field(repr=False)
    case: Case = field(repr=False)
    rules: int
    """Numbers under which the process knows both."""
    tables: int


@dataclass(frozen=True, slots=True)
class _Learn:
    """What many searches rest on."""

    number: int
    what: Rules | tuple[Tables, Labels] = field(repr=False)


class SearchProcess:
    """The process; one question at a time."""

    def __init__(self) -> None:
        """Nothing is started before somebody asks."""
        self._running: tuple[BaseProcess, Connection] | None = None
        self._known: dict[int, Rules | Tables] = {}
        """What the process knows, by its number. Held, so that it is the same one."""

    @property
    def pid(self) -> int | None:
        """Its id; None if it does not run."""
        return self._running[0].pid if self._running else None

    def find(self, asked: Unhelped) -> bytes:
        """The document of what helps; a process that died is replaced once.

        Raises:
            TransportError: it died again, or the search was refused.
        """
        try:
            return self._found(asked)
        except (EOFError, OSError):
            log.warning("the search for what helps died; starting another")
        self.stop()
        try:
            return self._found(asked)
        except (EOFError, OSError):
            self.stop()
            raise TransportError("the search for what helps died twice") from None

    def stop(self) -> None:
        """End it."""
        running, self._running, self._known = self._running, None, {}
        if running is None:
            return
        process, pipe = running
        pipe.close()  # it reads the end of its questions
        process.join(timeout=_END_S)
        if process.is_alive():
            process.kill()
            process.join()

    def _found(self, asked: Unhelped) -> bytes:
        if len(self._known) + 2 > _MOST_KNOWN:
            self.stop()
        if self._running is None:
            self._running = _spawn()
        pipe = self._running[1]
        basis = asked.basis
        rules = self._number(pipe, asked.rules, asked.rules)
        tables = self._number(pipe, basis.tables, (basis.tables, basis.labels))
        pipe.send(_Question(asked.inputs, basis.case, rules, tables))
        found = pipe.recv()
        if not isinstance(found, bytes):
            raise TransportError(f"the search for what helps ended with {found}")
        return found

    def _number(
        self, pipe: Connection, one: Rules | Tables, what: Rules | tuple[Tables, Labels]
    ) -> int:
        """Under which the process knows it; it is told if it does not."""
        for number, known in self._known.items():
            if known is one:
                return number
        number = len(self._known)
        pipe.send(_Learn(number, what))
        self._known[number] = one
        return number


def _spawn() -> tuple[BaseProcess, Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_main, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _main(pipe: Connection) -> None:
    """The process's whole life: it ends with the desk, whatever becomes of that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICE)
    known: dict[int, Rules | tuple[Tables, Labels]] = {}
    while True:
        try:
            asked = pipe.recv()
        except (EOFError, OSError):
            return
        if isinstance(asked, _Learn):
            known[asked.number] = asked.what
            continue
        try:
            pipe.send(_searched(asked, known))
        except OSError:
            return


def _searched(asked: _Question, known: dict[int, Rules | tuple[Tables, Labels]]) -> bytes | str:
    """The document, or the class of what refused it: a text may hold a value."""
    rules, tables = known[asked.rules], known[asked.tables]
    if not isinstance(rules, Rules) or isinstance(tables, Rules):
        return "confused numbers"
    basis = Basis(asked.case, *tables)
    try:
        return help_of(asked.inputs, rules, basis).to_bytes()
    except RiskWeaveError as error:
        return type(error).__name__


class Helper:
    """Has it worked out, one decision after the other, and kept."""

    def __init__(self, keep: Keep) -> None:
        """``keep``: what is done with what was found, in a thread of the helper's."""
        self._keep = keep
        self._search = SearchProcess()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="credit-helps")
        self._turn = threading.Lock()
        self._running: dict[str, threading.Event] = {}

    def submit(self, asked: Unhelped) -> None:
        """Have it worked out; left out if too many wait."""
        with self._turn:
            if len(self._running) >= _MOST_WAITING:
                log.warning("what would help is not worked out: %d wait", _MOST_WAITING)
                return
            self._running[asked.name] = threading.Event()
        self._pool.submit(self._run, asked)

    def wait(self, name: str, seconds: float) -> None:
        """Until what would help with one decision is on disk, or the time is over."""
        with self._turn:
            done = self._running.get(name)
        if done is not None:
            done.wait(seconds)

    def close(self) -> None:
        """Do what waits, then end; what was found is kept before the desk closes."""
        self._pool.shutdown()
        self._search.stop()

    def _run(self, asked: Unhelped) -> None:
        try:
            kept = self._keep(asked.name, self._search.find(asked))
        except RiskWeaveError as error:
            # Never the text of a value: class and code say enough.
            log.warning("what would help was not worked out: %s", type(error).__name__)
            self._done(asked.name)
        else:
            kept.add_done_callback(lambda one: self._kept(asked.name, one))

    def _kept(self, name: str, kept: "Future[None]") -> None:
        if (error := kept.exception()) is not None:
            log.warning("what would help was not kept: %s", type(error).__name__)
        self._done(name)

    def _done(self, name: str) -> None:
        with self._turn:
            done = self._running.pop(name)
        done.set()
