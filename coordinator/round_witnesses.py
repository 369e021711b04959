"""The log's part of a run's rounds: what is shown with a proposal, and the wait for a quorum.

The newest head goes out with the proposal, the cosignatures come back with the JOINs, and the
head that the quorum cosigned goes out with all of them: no round trip of its own (8.6).
"""

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from consortium.errors import OutOfOrderError, TrustError
from consortium.ids import PartnerId
from consortium.ledger.witness import quorum_of
from consortium.manifest import Manifest
from consortium.messages import LogHead
from coordinator.audit_log import AuditLog
from models.run import RunFailedError, StoppedError

log = logging.getLogger(__name__)

T = TypeVar("T")

BACKLOG = 4096
"""Entries that a proposal may bring; a node that lacks more fills its mirror first."""
CATCH_UP_S = 10.0
"""What a member that is connected gets in a run to say what its mirror holds: it asks every
two seconds, and for the first time as soon as it is up."""
_LOOK_S = 1.0
_GLANCE_S = 0.25
_PATIENT_S = 5.0
"""How long a quorum is waited for without a word about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessedRun:
    """What the rounds of one run need of the log."""

    log: AuditLog
    manifest: Manifest
    durably: Callable[[Callable[[], None]], None] = lambda write: write()
    tell: Callable[[str], None] = lambda _text: None
    """Says to who watches the run what it waits for."""
    stopping: Callable[[], bool] = lambda: False
    monotonic: Callable[[], float] = time.monotonic


@dataclass(slots=True)
class _Round:
    size: int = 0
    note: bytes = b""
    lines: dict[PartnerId, bytes] = field(default_factory=dict)


class RoundWitnesses:
    """Heads and cosignatures of one run's attempts; used by the trainer's thread alone."""

    def __init__(self, ports: WitnessedRun) -> None:
        self._ports = ports
        self._round = _Round()
        self._late_since: dict[PartnerId, float] = {}
        """When this run first waited for a word of a member."""

    def lagging(self, names: Iterable[PartnerId]) -> set[PartnerId]:
        """Who has not said what its mirror holds, or lacks more than a proposal may bring."""
        size, _ = self._read(self._ports.log.newest)
        held = self._ports.log.witnesses.held
        return {
            name for name in names if (known := held(name)) is None or size - known > BACKLOG
        }

    def left_behind(self, names: Iterable[PartnerId]) -> set[PartnerId]:
        """Who lags although this run has waited for it once, ``CATCH_UP_S`` at the most.

        A stream is up before the mirror's first word, and a coordinator that has just started
        knows of no mirror: a round that asked at once would go without members that are there.
        Who had its time and lags again costs the run no second wait.
        """
        named = tuple(names)
        while True:
            late, now = self.lagging(named), self._ports.monotonic()
            since = [self._late_since.setdefault(name, now) for name in late]
            left = max(since, default=-math.inf) + CATCH_UP_S - now
            if left <= 0 or self._ports.stopping():
                return late
            self._ports.log.witnesses.wait(min(_GLANCE_S, left))

    def propose(self, names: Iterable[PartnerId]) -> Mapping[PartnerId, LogHead]:
        """The newest head for each of them, with the entries that it lacks."""
        named = tuple(names)
        return self._read(lambda: self._proposed(named))

    def _read(self, look: Callable[[], T]) -> T:
        """What ``look`` reads, as soon as the database can be read."""
        found: list[T] = []
        self._ports.durably(lambda: found.append(look()))
        return found[-1]

    def _proposed(self, names: tuple[PartnerId, ...]) -> Mapping[PartnerId, LogHead]:
        size, note = self._ports.log.newest()
        self._round = _Round(size, note)
        portions: dict[int, LogHead] = {}
        found = {}
        for name in names:
            first = min(self._ports.log.witnesses.held(name) or 0, size)
            if first not in portions:
                entries = self._ports.log.entries(first, size)
                portions[first] = LogHead(note=note, first=first, entries=entries)
            found[name] = portions[first]
        return found

    def on_joined(self, member: PartnerId, size: int, cosignature: bytes) -> None:
        """A JOIN came with a cosignature of the head that was proposed, or of none."""
        if size == self._round.size:
            self._ports.log.witnesses.note_held(member, size)
            if cosignature:
                self._round.lines[member] = cosignature

    def on_refused(self, member: PartnerId) -> None:
        """A member says that its mirror does not go with the log: it must ask anew."""
        self._ports.log.witnesses.forget_held(member)

    def settle(self, timeout_s: float) -> LogHead:
        """Hand in the cosignatures; a head with its quorum that covers the one proposed.

        Raises:
            RunFailedError: the quorum does not come; names who is silent.
            StoppedError: the coordinator stops.
        """
        if self._round.lines:
            self._ports.durably(self._hand_in)
        began, told = self._ports.monotonic(), False
        while True:
            if (found := self._read(self._settled)) is not None:
                return found
            if self._ports.stopping():
                raise StoppedError("the coordinator is stopping")
            waited = self._ports.monotonic() - began
            if waited >= timeout_s:
                raise RunFailedError(f"{self._read(self._what_lacks)} after {timeout_s:.0f} s")
            if waited >= _PATIENT_S and not told:
                self._ports.tell(f"the run waits: {self._read(self._what_lacks)}")
                told = True
            self._ports.log.witnesses.wait(min(_LOOK_S, timeout_s - waited))

    def _settled(self) -> LogHead | None:
        """The head that counts, if it covers the one that was proposed."""
        witnesses, manifest = self._ports.log.witnesses, self._ports.manifest
        counted = witnesses.counted(manifest)
        if counted is None or counted.size < self._round.size:
            return None
        if not witnesses.counts(counted.note, manifest, now=self._ports.log.now()):
            return None
        return self._covering(counted.size, counted.note)

    def _covering(self, size: int, note: bytes) -> LogHead:
        """A head and, if it is a later one than was proposed, what led to it."""
        first = min(self._round.size, size)
        entries = self._ports.log.entries(first, size) if size > first else ()
        return LogHead(note=note, first=first, entries=entries)

    def _hand_in(self) -> None:
        witnesses, manifest = self._ports.log.witnesses, self._ports.manifest
        size, lines = self._round.size, self._round.lines
        try:
            witnesses.cosign(size, lines, manifest)
        except (TrustError, OutOfOrderError):
            for name, line in lines.items():  # one that fails spoils no other
                try:
                    witnesses.cosign(size, {name: line}, manifest)
                except (TrustError, OutOfOrderError) as error:
                    log.warning("cosignature of %s refused: %s", name, error)

    def _what_lacks(self) -> str:
        witnesses, manifest = self._ports.log.witnesses, self._ports.manifest
        note = self._ports.log.head_of(self._round.size) or self._round.note
        silent = ", ".join(witnesses.silent(note, manifest)) or "nobody"
        needed = quorum_of(manifest)
        return (
            f"head of {self._round.size} entries lacks the cosignatures of {needed} partners; "
            f"silent: {silent}"
        )
