"""What a node tells its traces: its answers in runs, its own scores, its replies to others'."""

from collections.abc import Awaitable, Callable, Sequence

from consortium.codec import Body, StreamKind
from consortium.inquiries import ScoreRequest
from consortium.messages import FlowerMessage
from partner_node.answers import JointAnswer
from partner_node.link_ports import ScoringPort, Send
from partner_node.link_stream import class_of
from upkeep.traces import Facts, Traces, Work

_NS = 10**9
Handle = Callable[[bytes], Awaitable[bytes]]


class Traced:
    """Never blocks, and changes nothing of what it looks at."""

    def __init__(self, traces: Traces, now_ns: Callable[[], int]) -> None:
        self._traces = traces
        self._now_ns = now_ns

    def handle(self, handle: Handle) -> Handle:
        """The same answers to questions of runs."""

        async def traced(question: bytes) -> bytes:
            began = self._now_ns()
            answer = await handle(question)
            kind = class_of(StreamKind.TRAINING, FlowerMessage(answer)).rpartition(".")[2]
            facts = Facts(kind="refused" if kind == "answer" else kind)
            self._traces.tell(Work.ANSWER, began, self._now_ns(), facts)
            return answer

        return traced

    def on_scores(self, answers: Sequence[JointAnswer], seconds: float) -> None:
        """Questions of the own systems were answered."""
        local = any(one.fallback for one in answers)
        now = self._now_ns()
        facts = Facts(result="fallback" if local else "joint")
        self._traces.tell(Work.SCORE, now - int(seconds * _NS), now, facts)

    def port(self, port: ScoringPort) -> ScoringPort:
        """The same scoring port."""
        return _Traced(port, self._traces, self._now_ns)


class _Traced:
    """Times each request of another partner, from its frame to the end of the work on it."""

    def __init__(self, port: ScoringPort, traces: Traces, now_ns: Callable[[], int]) -> None:
        self._port, self._traces, self._now_ns = port, traces, now_ns

    def attach(self, send: Send) -> None:
        """The stream is welcomed."""
        self._port.attach(send)

    def on_frame(self, body: Body, number: int) -> Awaitable[None] | None:
        """A frame of the coordinator."""
        began = self._now_ns()
        work = self._port.on_frame(body, number)
        if not isinstance(body, ScoreRequest):
            return work
        if work is None:
            self._told(began)
            return None
        return self._timed(work, began)

    def on_down(self) -> None:
        """The stream has ended."""
        self._port.on_down()

    async def _timed(self, work: Awaitable[None], began: int) -> None:
        await work
        self._told(began)

    def _told(self, began: int) -> None:
        self._traces.tell(Work.REPLY, began, self._now_ns(), Facts())
