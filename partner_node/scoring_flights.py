"""Own score requests that are under way on the stream: sent, answered, or lost with it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from consortium.inquiries import ScoreAnswer, ScoreAnswers, ScoreFailed, ScoreRequest
from consortium.scoring_frames import ScoringBody
from partner_node import answers
from partner_node.asked_persons import LocalError

Send = Callable[[ScoringBody, int], None]


@dataclass(eq=False, slots=True)
class _Flight:
    """A request under way."""

    ended: "asyncio.Future[ScoreFailed | None]"
    answers: list[ScoreAnswer] = field(default_factory=list)


class Flights:
    """Requests by the number of their frame. Everything here runs in the link's loop."""

    def __init__(self) -> None:
        self._send: Send | None = None
        self._flights: dict[int, _Flight] = {}
        self._numbers = 0

    @property
    def up(self) -> bool:
        """Whether there is a stream to send on."""
        return self._send is not None

    def attach(self, send: Send) -> None:
        """The scoring stream is up."""
        self._send = send

    def on_down(self) -> None:
        """It has ended: whoever waits learns it now."""
        self._send = None
        for flight in self._flights.values():
            if not flight.ended.done():
                flight.ended.set_exception(LocalError(answers.UNREACHABLE, "the stream ended"))

    def on_answers(self, found: ScoreAnswers, number: int) -> None:
        """Answers to an own request, all or some."""
        flight = self._flights.get(number)
        if flight is not None and not flight.ended.done():
            flight.answers.extend(found.answers)
            if found.last:
                flight.ended.set_result(None)

    def on_failed(self, failed: ScoreFailed, number: int) -> None:
        """The coordinator cannot bring all of them."""
        flight = self._flights.get(number)
        if flight is not None and not flight.ended.done():
            flight.ended.set_result(failed)

    async def exchange(
        self, request: ScoreRequest, seconds: float
    ) -> tuple[ScoreFailed | None, list[ScoreAnswer]]:
        """Send it and wait for its end: all answers, or word of who gave none.

        Raises:
            LocalError: the stream is down or ends, or nothing is heard in time.
        """
        self._numbers += 1
        number = self._numbers
        flight = _Flight(asyncio.get_running_loop().create_future())
        self._flights[number] = flight
        try:
            if self._send is None:  # pragma: no cover - ``Asker`` has looked
                raise LocalError(answers.UNREACHABLE)
            self._send(request, number)
            async with asyncio.timeout(seconds):
                return await flight.ended, flight.answers
        except TimeoutError as error:
            raise LocalError(answers.UNREACHABLE, "no word of the coordinator") from error
        finally:
            del self._flights[number]
