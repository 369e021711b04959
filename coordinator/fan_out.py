"""One question to several partners, answers matched by (question, member) (7.4, 7.9).

The bookkeeping that joint scores and blinded points share. It lives in the loop and waits for
nothing: a question ends when all have answered, soon after it is clear that somebody will
not, or at its deadline. What was asked and answered is opaque here.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from consortium.errors import OutOfOrderError, ScoreRefusal, ScoreRefusalError
from consortium.ids import PartnerId

Subject = TypeVar("Subject")
Reply = TypeVar("Reply")

SETTLE_S = 0.02
"""How long the others may still answer when one will not, so that all of those are named."""
ROOM = 1 << 20
"""Bytes of replies that are held, and that go into one frame if they are more than one."""
ANSWERED, LEFT, SILENT, UNHEARD = "answered", "left", "silent", "unheard"
"""What became of a partner that was asked, beside the code of a refusal."""
_PATIENCE = 500
"""Frames that nobody waits for, from one partner between two rosters."""


class Strays:
    """Frames that nobody waits for, by partner and why; a partner may send some, not floods."""

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        """late, duplicate, stranger: since the start."""
        self._recent: Counter[PartnerId] = Counter()

    def add(self, partner: PartnerId, why: str) -> None:
        """Count a frame that is dropped; raise OutOfOrderError if it is one of too many."""
        self.dropped[why] += 1
        self._recent[partner] += 1
        if self._recent[partner] > _PATIENCE:
            self._recent[partner] = 0
            raise OutOfOrderError(f"{partner}: more than {_PATIENCE} frames that nobody awaits")

    def forgive(self) -> None:
        """A new roster is out: late answers to what was asked before it are forgotten."""
        self._recent.clear()


@dataclass(eq=False, slots=True)
class Question(Generic[Subject, Reply]):
    """What one partner asked of others."""

    asker: PartnerId
    number: int
    """The asker's frame id, which the answer to it carries."""
    subject: Subject
    waiting: set[PartnerId]
    status: dict[PartnerId, str] = field(default_factory=dict)
    """Of those who are not waited for any more: ANSWERED, LEFT, SILENT, or a refusal's code."""
    held: list[Reply] = field(default_factory=list)
    size: int = 0
    """Bytes of the held replies."""
    timer: asyncio.TimerHandle | None = None
    settling: bool = False

    @property
    def complete(self) -> bool:
        """Whether everybody answered and nobody refused."""
        return not self.waiting and set(self.status.values()) <= {ANSWERED}

    def gone(self) -> tuple[PartnerId, ...]:
        """Who left or kept silent, sorted."""
        return tuple(sorted(m for m, how in self.status.items() if how in (LEFT, SILENT)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Handlers(Generic[Subject, Reply]):
    """What a fan-out tells its owner. Both are called in the loop and return at once."""

    size: Callable[[Reply], int]
    spill: Callable[[Question[Subject, Reply]], None]
    """More than ROOM bytes are held, and more will come: empty ``held`` and ``size``."""
    finish: Callable[[Question[Subject, Reply]], None]
    """The question has ended, perhaps because its asker left."""


class FanOut(Generic[Subject, Reply]):
    """The questions that are under way, at most ``most`` of each asker."""

    def __init__(self, most: int, strays: Strays, handlers: Handlers[Subject, Reply]) -> None:
        self._most = most
        self._strays = strays
        self._handlers = handlers
        self._open: dict[str, Question[Subject, Reply]] = {}
        self._numbers: set[tuple[PartnerId, int]] = set()
        self._asking: Counter[PartnerId] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def check(self, asker: PartnerId, number: int) -> None:
        """Refuse a frame id that pairs with nothing: OutOfOrderError. Fault: the asker."""
        if not number or (asker, number) in self._numbers:
            raise OutOfOrderError(f"{asker}: question of id {number}")

    def admit(self, asker: PartnerId, key: str) -> None:
        """Refuse a question that is under way (S09), or one too many (S07)."""
        if key in self._open:
            raise ScoreRefusalError(ScoreRefusal.REPLAY, "this request is under way")
        if self._asking[asker] >= self._most:
            raise ScoreRefusalError(ScoreRefusal.QUOTA, f"{self._most} requests under way")

    def begin(self, key: str, question: Question[Subject, Reply], wait_s: float) -> None:
        """Await the replies for at most ``wait_s`` seconds."""
        self._open[key] = question
        self._numbers.add((question.asker, question.number))
        self._asking[question.asker] += 1
        loop = asyncio.get_running_loop()
        question.timer = loop.call_later(wait_s, self._expire, key)

    def take(self, key: str, member: PartnerId, reply: Reply, *, code: str = "") -> None:
        """Match a reply that came on the member's own stream; drop it if nobody waits for it.

        Args:
            key: Of the question.
            member: Whose stream it came on.
            reply: As it will be handed over.
            code: Empty, or why the member refuses.

        Raises:
            OutOfOrderError: one of too many that nobody waits for. Fault: the member.
        """
        question = self._open.get(key)
        if question is None or member not in question.waiting:
            why = "late"
            if question is not None:
                why = "duplicate" if member in question.status else "stranger"
            self._strays.add(member, why)
            return
        question.waiting.remove(member)
        question.status[member] = code or ANSWERED
        question.held.append(reply)
        question.size += self._handlers.size(reply)
        if not question.waiting:
            self._end(key)
        elif code:
            self._settle(key, question)
        elif question.size > ROOM:
            self._handlers.spill(question)

    def lose(self, key: str, members: Iterable[PartnerId]) -> None:
        """These will not reply: they have no stream any more."""
        question = self._open[key]
        for member in question.waiting.intersection(members):
            question.waiting.remove(member)
            question.status[member] = LEFT
        if question.waiting:
            self._settle(key, question)
        else:
            self._end(key)

    def on_down(self, partner: PartnerId) -> None:
        """The partner's stream has ended: nothing comes from it, nobody can be told there."""
        for key, question in tuple(self._open.items()):
            if question.asker == partner:
                self._end(key)
            elif partner in question.waiting:
                self.lose(key, (partner,))

    def _settle(self, key: str, question: Question[Subject, Reply]) -> None:
        if question.settling or question.timer is None:
            return
        loop = asyncio.get_running_loop()
        question.settling = True
        if question.timer.when() > loop.time() + SETTLE_S:
            question.timer.cancel()
            question.timer = loop.call_later(SETTLE_S, self._expire, key)

    def _expire(self, key: str) -> None:
        question = self._open[key]
        # Whoever was not heard because the question ended early is not called silent.
        how = UNHEARD if question.settling else SILENT
        question.status.update(dict.fromkeys(question.waiting, how))
        question.waiting.clear()
        self._end(key)

    def _end(self, key: str) -> None:
        question = self._open.pop(key)
        self._numbers.discard((question.asker, question.number))
        self._asking[question.asker] -= 1
        if question.timer is not None:
            question.timer.cancel()
        question.status.update(dict.fromkeys(question.waiting, UNHEARD))
        self._handlers.finish(question)


def packed(items: Sequence[Reply], size: Callable[[Reply], int]) -> Iterator[tuple[Reply, ...]]:
    """The items in order, as many in a frame as stay within ROOM bytes; at least one frame."""
    frame: list[Reply] = []
    held = 0
    for item in items:
        if frame and held + size(item) > ROOM:
            yield tuple(frame)
            frame, held = [], 0
        frame.append(item)
        held += size(item)
    yield tuple(frame)
