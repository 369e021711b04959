"""ADAPTER Flower: the ServerApp and the strategy that asks for noisy sums (protocol 12.4).

The strategy carries ``run.RunSession`` over Flower's messages and decides nothing about
privacy: the nodes do. FedAvg is not its base, for FedAvg demands row counts in clear.
"""

import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Strategy

from consortium.documents import document_of, parse_document, plan_digest
from consortium.errors import (
    DecodeError,
    OutOfOrderError,
    RefusalCode,
    RefusalError,
    RiskWeaveError,
    StorageError,
    TransportError,
    TrustError,
)
from consortium.ids import PartnerId, node_id_of
from consortium.manifest import Manifest
from consortium.messages import Join, LogHead, PlanAccepted, PlanOffer, SumRequest, Upload
from consortium.plan import ReleaseKind
from consortium.privacy.mechanism import kinds_of
from consortium.secagg.aggregator import Aggregator
from consortium.secagg.chain import Link, chain_length
from consortium.secagg.context import SumInputs
from consortium.secagg.joins import verify_acceptance
from consortium.secagg.ring import to_ring
from consortium.secagg.states import AggregatorState
from consortium.secagg.vectors import WORDS, read_vector
from coordinator.exclusions import left_out, reason_of
from coordinator.round_witnesses import RoundWitnesses
from coordinator.run_record import RunRecord
from models.run import ClosedSum, RunFailedError, RunSession, StoppedError

log = logging.getLogger(__name__)

OnClosed = Callable[[SumRequest, float, ClosedSum | None], None]
"""Called after each attempt with its wall seconds and the sum, or None if it was aborted:
store the state, report."""

_PASSING = frozenset(
    {"unavailable", "worker lost", "memory", StorageError.public, TransportError.public}
)
"""Answers to an offer that say nothing of the plan: the node may be asked again."""

NO_HEAD = LogHead()
_Value = bytes | int | list[bytes]

_PLAIN = re.compile(r"[A-Za-z0-9 .,:_-]{1,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Seconds. May change no released number."""

    attempt: float = 30.0
    offer: float = 120.0
    quorum: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPorts:
    """What the run needs of its surroundings."""

    manifest: Manifest
    wait_for_change: Callable[[float], bool]
    """Wait up to the seconds given for a partner to come or go; False after the time-out."""
    on_closed: OnClosed
    sums: Sequence[ClosedSum] = ()
    """Sums that were closed before, in order: what a restarted node has to take up."""
    monotonic: Callable[[], float] = time.monotonic
    stopping: Callable[[], bool] = lambda: False
    record: RunRecord | None = None
    """Takes what members say for the log; None: what they say is dropped."""
    witnesses: RoundWitnesses | None = None
    """Shows the log with each attempt, and waits for its quorum; None: no node asks for it."""


class SumStrategy(Strategy):
    """Each Flower round is one attempt at the session's due sum: join, then upload."""

    def __init__(self, session: RunSession, ports: RunPorts, deadlines: Deadlines) -> None:
        self._session = session
        self._ports = ports
        self._deadlines = deadlines
        self._names = {node_id_of(one.id): one.id for one in ports.manifest.partners}
        self._digest = plan_digest(session.plan)
        self._length = chain_length(session.plan)
        self._members: dict[int, PartnerId] = {}
        """Who accepted the plan, and has not failed since."""
        self._acceptances: dict[PartnerId, PlanAccepted] = {}
        self._links: dict[PartnerId, Link] = {}
        self._knows: dict[int, int] = {}
        """How many closed sums each node's own machine has taken up."""
        self._sums = list(ports.sums)
        self._refused: dict[int, str] = {}
        self._attempt: Aggregator | None = None
        self._began = 0.0

    def summary(self) -> None:
        """Nothing to print: the plan is on record."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Gather the JOINs of the partners here, then ask each of them for its words."""
        del server_round, arrays, config
        self._attempt = None
        if self._session.finished:
            return []
        roster = self._roster(grid)
        self._began = self._ports.monotonic()
        request, inputs = self._session.request(tuple(roster.values()))
        attempt = Aggregator(
            self._ports.manifest, request, links=self._links, length=self._length
        )
        if self._ports.record is not None:
            self._ports.record.begin()
        reasons = self._gather_joins(grid, roster, attempt)
        if attempt.missing and attempt.state is AggregatorState.COLLECTING_JOINS:
            self._abort(attempt, reasons)
            return []
        self._links.update(attempt.links)
        head = NO_HEAD
        if self._ports.witnesses is not None:
            head = self._ports.witnesses.settle(self._deadlines.quorum)
        self._attempt = attempt
        shown: dict[str, _Value] = {
            "request": document_of(request),
            "bins": inputs.bins,
            "joins": [document_of(join) for join in attempt.joins],
            "acceptances": self._committed(request),
            **_of_log(head),
        }
        content = _upload_content(shown, inputs)  # the same for all of them
        return [Message(content, node, "train.upload") for node in roster]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Sum if everybody answered; else abort the attempt, never averaging fewer."""
        del server_round
        attempt = self._attempt
        if attempt is None:
            return None, None
        reasons = self._collect(
            replies, attempt.request, lambda reply: self._take(attempt, reply)
        )
        if attempt.state is not AggregatorState.SUMMED:
            self._abort(attempt, reasons)
            return None, None
        closed = ClosedSum(
            request=attempt.request, joined=attempt.joined, total=attempt.total()
        )
        self._session.on_sum(closed)
        self._sums.append(closed)
        seconds = self._ports.monotonic() - self._began
        self._ports.on_closed(attempt.request, seconds, closed)
        return None, None

    def _gather_joins(
        self, grid: Grid, roster: dict[int, PartnerId], attempt: Aggregator
    ) -> dict[PartnerId, str]:
        """Send the proposal to the roster and take the JOINs; reasons by who gave none."""
        messages = self._proposals(roster, attempt.request)
        replies = grid.send_and_receive(messages, timeout=self._deadlines.attempt)

        def take(reply: Message) -> None:
            join = parse_document(Join, _bytes(reply, "join"))
            if join.member != self._members[reply.metadata.src_node_id]:
                raise DecodeError("a JOIN in another member's name")
            record, said = self._ports.record, _entries(reply)
            if record is not None:
                record.check_join(join, attempt.request, said)
            attempt.on_join(join)
            if record is not None:
                record.on_join(said)
            if self._ports.witnesses is not None:
                self._ports.witnesses.on_joined(join.member, *_cosigned(reply))
            self._knows[reply.metadata.src_node_id] = len(self._sums)

        return self._collect(replies, attempt.request, take)

    def _proposals(self, roster: dict[int, PartnerId], request: SumRequest) -> list[Message]:
        """For each node the request with what it lacks of closed sums and of the log."""
        heads: Mapping[PartnerId, LogHead] = {}
        if self._ports.witnesses is not None:
            heads = self._ports.witnesses.propose(roster.values())
        committed = self._committed(request)
        contents: dict[tuple[int, int, bytes], RecordDict] = {}
        messages = []
        for node, name in roster.items():
            head, known = heads.get(name, NO_HEAD), self._knows.get(node, 0)
            key = (known, head.first, head.note)
            if key not in contents:
                contents[key] = _join_content(request, self._sums[known:], committed, head)
            messages.append(Message(contents[key], node, "query.join"))
        return messages

    def _committed(self, request: SumRequest) -> list[bytes]:
        """The acceptances of the roster: nobody joins before it has seen all of them."""
        return [document_of(self._acceptances[name]) for name in request.roster]

    def _take(self, attempt: Aggregator, reply: Message) -> None:
        """Hand one answer's words to the attempt, and its entries to the record."""
        upload = parse_document(Upload, _bytes(reply, "upload"))
        vector = reply.content.get("words")
        if not isinstance(vector, ArrayRecord) or list(vector) != ["words"]:
            raise DecodeError("answer lacks the words")
        record, said = self._ports.record, _entries(reply)
        if record is not None:
            record.check_upload(upload, attempt.request, said)
        words = read_vector(vector["words"].data, WORDS)
        attempt.on_upload(upload, words)
        if record is not None:
            record.on_upload(upload, attempt.request, words, said)

    def _abort(self, attempt: Aggregator, reasons: dict[PartnerId, str]) -> None:
        """Close the attempt as lost; who failed must accept again, which costs nothing."""
        # A member that made this JOIN before a crash of ours may have sent its words, too.
        joined = (
            attempt.state is not AggregatorState.COLLECTING_JOINS
            or RefusalCode.REPEATED.value in reasons.values()
        )
        missing = attempt.abort(reasons)
        self._knows = {
            node: count
            for node, count in self._knows.items()
            if self._members.get(node) not in missing
        }
        self._members = {
            node: name for node, name in self._members.items() if name not in missing
        }
        try:
            self._session.on_missing(attempt.request, missing, charged=joined)
        finally:  # the last attempt of a run that fails is on record, too
            seconds = self._ports.monotonic() - self._began
            self._ports.on_closed(attempt.request, seconds, None)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """No Flower evaluation: evaluation is one more noisy sum, or local to a partner."""
        del server_round, arrays, config, grid
        return []

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Nothing was asked."""
        del server_round, replies
        return None

    def _collect(
        self,
        replies: Iterable[Message],
        request: SumRequest,
        take: Callable[[Message], None],
    ) -> dict[PartnerId, str]:
        """Hand each member's answer to ``take``; the reasons of those that gave no good one."""
        reasons: dict[PartnerId, str] = {}
        for reply in replies:
            member = self._members.get(reply.metadata.src_node_id)
            if member is None or member not in request.roster:
                # A SuperLink answers in its own name for a node that is gone.
                log.warning("answer of node %d dropped", reply.metadata.src_node_id)
                continue
            if reply.has_error():
                reasons[member] = _reason(reply)
                if self._ports.witnesses and reasons[member] == RefusalCode.CHECKPOINT.value:
                    self._ports.witnesses.on_refused(member)
                continue
            try:
                take(reply)
            except RefusalError as error:
                log.warning("answer of %s refused: %s", member, error)
                reasons[member] = reason_of(error)
            except RiskWeaveError as error:
                log.warning("answer of %s refused: %s", member, error)
                reasons[member] = error.code
        return reasons

    def _roster(self, grid: Grid) -> dict[int, PartnerId]:
        """Nodes that accepted the plan and are here; waits until they can carry the sum.

        Without those whose answers fail verification, as far as the sum can do without.
        """
        end = self._ports.monotonic() + self._deadlines.quorum
        while True:
            here = list(grid.get_node_ids())
            self._offer([node for node in here if node not in self._members], grid)
            roster = {node: self._members[node] for node in here if node in self._members}
            if self._ports.witnesses is not None:
                behind = self._ports.witnesses.left_behind(roster.values())
                roster = {node: name for node, name in roster.items() if name not in behind}
            lacking = self._session.lacks(tuple(sorted(roster.values())))
            if not lacking:
                out = left_out(self._session, roster.values())
                return {node: name for node, name in roster.items() if name not in out}
            if self._ports.stopping():
                raise StoppedError("the coordinator is stopping")
            self._give_up_if_refused()
            left = end - self._ports.monotonic()
            if left <= 0:
                refusals = ", ".join(sorted(set(self._refused.values()))) or "none"
                raise RunFailedError(f"{lacking}; refusals: {refusals}")
            self._ports.wait_for_change(min(left, 1.0))

    def _give_up_if_refused(self) -> None:
        """Who refused a plan is not asked again: without enough others, waiting is in vain."""
        refused = {self._names[n]: why for n, why in self._refused.items() if n in self._names}
        able = sorted(one.id for one in self._ports.manifest.partners if one.id not in refused)
        if refused and self._session.lacks(tuple(able)):
            told = ", ".join(f"{name} ({why})" for name, why in sorted(refused.items()))
            raise RunFailedError(f"the plan is refused by {told}: too few are left for it")

    def _offer(self, nodes: list[int], grid: Grid) -> None:
        fresh = [node for node in nodes if node not in self._refused]
        if not fresh:
            return
        body = ConfigRecord({"plan": document_of(PlanOffer(plan=self._session.plan))})
        offers = [Message(RecordDict({"body": body}), node, "query.offer") for node in fresh]
        for reply in grid.send_and_receive(offers, timeout=self._deadlines.offer):
            self._on_accepted(reply)

    def _on_accepted(self, reply: Message) -> None:
        node = reply.metadata.src_node_id
        if reply.has_error():
            reason = _reason(reply)
            log.warning("%s refused the plan: %s", self._names.get(node, node), reason)
            if reason not in _PASSING:
                self._refused[node] = reason
            return
        try:
            self._members[node] = self._accepted(reply)
        except (DecodeError, OutOfOrderError, TrustError) as error:
            log.warning("acceptance of %s refused: %s", self._names.get(node, node), error)
            self._refused[node] = error.code

    def _accepted(self, reply: Message) -> PartnerId:
        """The member that signed this run's plan; raises if it did not."""
        accepted = parse_document(PlanAccepted, _bytes(reply, "accepted"))
        member = self._ports.manifest.member(accepted.member)
        if member.id in self._members.values():
            raise DecodeError(f"{member.id} accepted twice")
        head = verify_acceptance(accepted, plan=self._digest, member=member)
        earlier = self._acceptances.setdefault(member.id, accepted)
        if (earlier.seed_commitment, earlier.chain_head) != (
            accepted.seed_commitment,
            accepted.chain_head,
        ):
            raise DecodeError(f"{member.id} committed to another seed")
        if self._ports.record is not None:
            self._ports.record.on_accepted(accepted, _entries(reply))
        self._links.setdefault(member.id, head)
        self._knows[reply.metadata.src_node_id] = min(accepted.closed, len(self._sums))
        return member.id


def build_server_app(session: RunSession, ports: RunPorts, deadlines: Deadlines) -> ServerApp:
    """The ServerApp of one run: rounds until the session is finished."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        del context
        strategy = SumStrategy(session, ports, deadlines)
        try:
            while not session.finished:
                strategy.start(
                    grid=grid,
                    initial_arrays=ArrayRecord(),
                    num_rounds=remaining_sums(session),
                    timeout=deadlines.attempt,
                )
        except StoppedError:
            raise  # the run goes on later: what is reserved for it stays so
        except RiskWeaveError:
            _close(grid, session, deadlines)
            raise
        _close(grid, session, deadlines)

    return app


def _close(grid: Grid, session: RunSession, deadlines: Deadlines) -> None:
    """Tell everybody here that the run is over; who is absent learns it from the next."""
    body = ConfigRecord({"run": bytes.fromhex(session.plan.run)})
    messages = [
        Message(RecordDict({"body": body}), node, "query.close") for node in grid.get_node_ids()
    ]
    for reply in grid.send_and_receive(messages, timeout=deadlines.attempt):
        if reply.has_error():
            log.info("node %d did not close the run", reply.metadata.src_node_id)


def remaining_sums(session: RunSession) -> int:
    """Sums until the end if every attempt succeeds."""
    state, order = session.state, kinds_of(session.plan)
    if state.stage is None:
        return 0
    after = len(order) - 1 - order.index(state.stage)
    due = session.plan.rounds - state.round + 1 if state.stage is ReleaseKind.GRADIENT else 1
    return due + after + (session.plan.rounds - 1 if state.stage is ReleaseKind.BINS else 0)


def _reason(reply: Message) -> str:
    """A node's reason if it is a short plain text: it is shown to people and kept."""
    text = reply.error.reason
    return text if text and _PLAIN.fullmatch(text) else "error"


def _bytes(message: Message, name: str) -> bytes:
    record = message.content.get("body") if message.has_content() else None
    value = record.get(name) if isinstance(record, ConfigRecord) else None
    if not isinstance(value, bytes):
        raise DecodeError(f"answer lacks the bytes {name!r}")
    return value


def _entries(message: Message) -> list[bytes]:
    """Entries for the log that ride in an answer; none if it has none."""
    record = message.content.get("body") if message.has_content() else None
    found = record.get("entries") if isinstance(record, ConfigRecord) else None
    return [one for one in found if isinstance(one, bytes)] if isinstance(found, list) else []


def _cosigned(message: Message) -> tuple[int, bytes]:
    """Size of the head that a JOIN's cosignature is of, and the cosignature."""
    record = message.content["body"]
    size = record.get("head", 0) if isinstance(record, ConfigRecord) else 0
    line = record.get("cosignature", b"") if isinstance(record, ConfigRecord) else b""
    if not isinstance(size, int) or not isinstance(line, bytes):
        raise DecodeError("a JOIN with a head or a cosignature of another form")
    return size, line


def _of_log(head: LogHead) -> dict[str, _Value]:
    """What goes out of the log with a proposal, or with all JOINs."""
    if not head.note:
        return {}
    return {
        "log_note": head.note,
        "log_first": head.first,
        "log_entries": list(head.entries),
    }


def _join_content(
    request: SumRequest, sums: list[ClosedSum], acceptances: list[bytes], head: LogHead
) -> RecordDict:
    body = ConfigRecord(
        {
            **_of_log(head),
            "request": document_of(request),
            "acceptances": acceptances,
            "closed": [document_of(one.request) for one in sums],
            "joined": [bytes.fromhex(one.joined) for one in sums],
        }
    )
    totals = ArrayRecord({str(i): Array(to_ring(one.total)) for i, one in enumerate(sums)})
    return RecordDict({"body": body, "sums": totals})


def _upload_content(shown: Mapping[str, _Value], inputs: SumInputs) -> RecordDict:
    """What every member of the roster is shown, JOINs and acceptances of all included."""
    body = ConfigRecord(dict(shown))
    arrays = ArrayRecord({str(i): Array(array) for i, array in enumerate(inputs.arrays)})
    return RecordDict({"body": body, "inputs": arrays})
