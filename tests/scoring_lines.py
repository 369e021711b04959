"""A serving coordinator with its relay, and nodes whose every scoring frame the test writes.

Seals, words and signatures of these nodes are made up: the coordinator looks into none.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

from consortium.codec import StreamKind
from consortium.ids import Digest, PartnerId, RequestId
from consortium.inquiries import (
    Inquiry,
    Purpose,
    Roster,
    ScoreAnswer,
    ScoreRefused,
    ScoreRequest,
    Wrap,
)
from consortium.manifest import Delivery, ScoringPolicy
from consortium.messages import Goodbye, Welcome
from consortium.scoring.clear import context_of, inquiry_bytes
from coordinator import scoring_parts, wiring
from coordinator.scoring_parts import Scoring
from coordinator.streams import Settings, StreamHub
from tests.coordinator_house import DEADLINE_S, POLICY, House, RawStream

NAMES = ("bank_a", "bank_b", "bank_c", "shop_d", "shop_e")
JOINT = replace(POLICY, vote_quorum=2, scoring=ScoringPolicy(delivery=Delivery.JOINT, epoch=1))
MODEL = Digest("0d" * 32)
SIGNATURE = b"s" * 64

Body = TypeVar("Body")
_REQUESTS = itertools.count(1)


@dataclass
class Relaying:
    """What serves."""

    house: House
    hub: StreamHub
    scoring: Scoring


@asynccontextmanager
async def relaying(house: House, settings: Settings | None = None) -> AsyncIterator[Relaying]:
    """Both doors open and the relay running, until the block ends."""
    made: list[Scoring] = []

    def attach(hub: StreamHub) -> None:
        made.append(scoring_parts.open_scoring(house.desk, hub))

    async with house.serving(settings, attach=attach) as hub:
        task = asyncio.create_task(made[0].relay.run())
        try:
            yield Relaying(house, hub, made[0])
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    await made[0].relay.stop()


@dataclass
class Line:
    """The scoring stream of one hostile node."""

    house: House
    name: PartnerId
    stream: RawStream
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def hear(self, kind: type[Body]) -> Body:
        """The next frame of that kind; others before it are passed over."""
        return (await self.hear_numbered(kind))[0]

    async def hear_numbered(self, kind: type[Body]) -> tuple[Body, int]:
        """The same with the frame's id."""
        while True:
            frame = await self.stream.hear()
            assert frame is not None, f"{self.name}: the stream ended before a {kind.__name__}"
            if isinstance(frame.body, kind):
                return frame.body, frame.id
            assert not isinstance(frame.body, Goodbye), frame.body

    async def roster(self, *names: str) -> Roster:
        """The first roster that lists exactly these partners."""
        while True:
            roster = await self.hear(Roster)
            if roster.partners == tuple(names):
                return roster

    async def ask(self, roster: Roster, /, **changes: object) -> ScoreRequest:
        """Send a request to all of the roster; returns it."""
        request = self.request(roster, **changes)
        await self.stream.say(request, next(self.numbers))
        return request

    def request(self, roster: Roster, /, **changes: object) -> ScoreRequest:
        """A request to all of the roster, unless changed."""
        plain = Inquiry(
            request=RequestId(f"{next(_REQUESTS):032x}"),
            requester=self.name,
            ephemeral=b"E" * 32,
            roster=roster.partners,
            roster_version=roster.version,
            model=MODEL,
            purpose=Purpose.JOINT_SCORE,
            persons=1,
            deadline=wiring.now_ms() + 5_000,
            consents=Digest("0c" * 32),
            sealed=Digest("05" * 32),
            retry_of=None,
        )
        inquiry = replace(plain, **changes)  # type: ignore[arg-type]  # the test's word
        return ScoreRequest(
            inquiry=inquiry_bytes(inquiry),
            sealed=b"sealed",
            wraps=tuple(
                Wrap(member=name, key=bytes(48)) for name in inquiry.roster if name != self.name
            ),
            signature=SIGNATURE,
        )

    def context(self, request: ScoreRequest) -> Digest:
        """sctx of a request."""
        return context_of(request.inquiry, self.house.manifest.digest)

    def answer(self, request: ScoreRequest, words: bytes = bytes(80)) -> ScoreAnswer:
        """This node's answer."""
        return ScoreAnswer(
            context=self.context(request), member=self.name, words=words, signature=SIGNATURE
        )

    async def answer_next(self) -> ScoreRequest:
        """Answer the next request that comes; returns it."""
        request, number = await self.hear_numbered(ScoreRequest)
        await self.stream.say(self.answer(request), number)
        return request

    async def refuse_next(self, code: str) -> None:
        """Refuse the next request that comes."""
        request, number = await self.hear_numbered(ScoreRequest)
        refused = ScoreRefused(
            context=self.context(request), member=self.name, code=code, signature=SIGNATURE
        )
        await self.stream.say(refused, number)


@asynccontextmanager
async def lines(house: House, names: Iterable[str] = NAMES) -> AsyncIterator[list[Line]]:
    """Welcomed scoring streams of these partners, each on a channel of its own."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(line(house, name)) for name in names]


@asynccontextmanager
async def line(house: House, name: str) -> AsyncIterator[Line]:
    """One of them."""
    node = house.nodes[name]
    async with house.channel(node) as channel:
        stream = RawStream.open(channel, StreamKind.SCORING)
        await stream.say(house.hello(node))
        welcome = await stream.hear()
        assert welcome is not None
        assert isinstance(welcome.body, Welcome)
        yield Line(house, node.partner, stream)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until the condition holds."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what is counted has no event
            await asyncio.sleep(0)
