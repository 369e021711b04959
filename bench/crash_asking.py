"""Systems of the banks that ask for scores while their nodes are killed.

Each question has a key of its own and is asked again under it until there is an answer: what a
careful client does. So a question ends in a joint score, in the asker's own score with the
reason why nobody else was asked, or in nothing at all, which may not be.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from riskweave_client import Client, Consent, DeskError, Score

CONSENT = Consent("bench")
CALL_S = 5.0
"""The client's own time for one call."""
PATIENCE_S = 120.0
"""A question without an answer by then has vanished: no process is away so long."""
PAUSE_S = 0.2
_LATE_S = 3.0
"""A call that comes back so long after its deadline has hung."""


@dataclass(slots=True)
class Question:
    """One person at one desk."""

    desk: str
    person: str
    key: str
    answer: Score | None = None
    refusals: list[str] = field(default_factory=list)
    """Codes of the calls that brought nothing."""
    seconds: float = 0.0
    hung: int = 0
    at: float = field(default_factory=time.monotonic)


class Asking:
    """One client at each desk, so many questions a second each."""

    def __init__(self, desks: dict[str, Path], persons: Sequence[str], rate: float) -> None:
        self.questions: list[Question] = []
        self._desks, self._persons, self._rate = desks, persons, rate
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask_always, args=(name,), daemon=True)
            for name in desks
        ]

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Ask until the block ends; then every question is brought to its end."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    def _ask_always(self, name: str) -> None:
        with Client(f"unix:{self._desks[name]}") as desk:
            number = 0
            while not self._stop.is_set():
                began = time.monotonic()
                person = self._persons[number % len(self._persons)]
                question = Question(name, person, f"{name}-{number}")
                self.questions.append(question)
                ask(desk, question)
                number += 1
                self._stop.wait(max(0.0, began + 1 / self._rate - time.monotonic()))

    def repeated(self, most: int) -> int:
        """Ask some answered questions again, under their keys: how many answers differ."""
        answered = [one for one in self.questions if one.answer is not None]
        step = max(1, len(answered) // most)
        differing = 0
        for one in answered[::step]:
            again = Question(one.desk, one.person, one.key)
            with Client(f"unix:{self._desks[one.desk]}") as desk:
                ask(desk, again)
            differing += again.answer != one.answer
        return differing

    def figures(self) -> dict[str, object]:
        """How the questions ended."""
        answers = [one.answer for one in self.questions if one.answer is not None]
        refusals = Counter(code for one in self.questions for code in one.refusals)
        return {
            "asked": len(self.questions),
            "joint": sum(one.joint for one in answers),
            "own_with_reason": dict(Counter(one.fallback for one in answers if not one.joint)),
            "asked_again": sum(bool(one.refusals) for one in self.questions),
            "refusals": dict(refusals),
            "unanswered": len(self.questions) - len(answers),
            "hung": sum(one.hung for one in self.questions),
            "longest_s": round(max((one.seconds for one in self.questions), default=0.0), 1),
        }


def ask(desk: Client, question: Question) -> None:
    """Ask until there is an answer, or patience is over."""
    began = time.monotonic()
    pause = threading.Event()
    while question.answer is None and time.monotonic() - began < PATIENCE_S:
        called = time.monotonic()
        try:
            question.answer = desk.score(
                question.person, CONSENT, idempotency_key=question.key, timeout=CALL_S
            )
        except DeskError as error:
            question.refusals.append(error.code)
            pause.wait(PAUSE_S)
        question.hung += time.monotonic() - called > CALL_S + _LATE_S
    question.seconds = time.monotonic() - began
