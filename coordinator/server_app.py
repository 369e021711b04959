"""ADAPTER Flower: the ServerApp and the strategy that asks for noisy sums (protocol 12.4).

The strategy carries ``rounds.RunSession`` over Flower's messages and decides nothing about
privacy: the nodes do. FedAvg is not its base, for FedAvg demands row counts in clear.
"""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
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
from numpy.typing import NDArray

from consortium.canonical import Label
from consortium.crypto.keys import verify_signature
from consortium.documents import document_of, parse_document, plan_digest
from consortium.errors import DecodeError, RiskWeaveError, StorageError, TrustError
from consortium.ids import PartnerId, node_id_of
from consortium.manifest import Manifest
from consortium.messages import PlanAccepted, PlanOffer, SumRequest, Upload
from consortium.secagg.context import SumInputs, context_of
from consortium.secagg.uploads import verify_upload
from consortium.secagg.vectors import WORDS, read_vector
from coordinator.rounds import RunFailedError, RunSession, StoppedError

log = logging.getLogger(__name__)

Words = NDArray[np.uint64]

OnClosed = Callable[[SumRequest, float], None]
"""Called after each closed or aborted sum with its wall seconds: store the state, report."""

_PASSING = frozenset({"unavailable", "worker lost", "memory", StorageError.public})
"""Answers to an offer that say nothing of the plan: the node may be asked again."""


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
    monotonic: Callable[[], float] = time.monotonic
    stopping: Callable[[], bool] = lambda: False


class SumStrategy(Strategy):
    """Each Flower round is one attempt at the session's due sum."""

    def __init__(self, session: RunSession, ports: RunPorts, deadlines: Deadlines) -> None:
        self._session = session
        self._ports = ports
        self._deadlines = deadlines
        self._names = {node_id_of(one.id): one.id for one in ports.manifest.partners}
        self._members: dict[int, PartnerId] = {}
        """Who accepted the plan, and has not failed since."""
        self._refused: dict[int, str] = {}
        self._asked: tuple[SumRequest, SumInputs] | None = None
        self._began = 0.0
        self._manifest = ports.manifest.digest

    def summary(self) -> None:
        """Nothing to print: the plan is on record."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask the partners that accepted the plan and are here for the due sum."""
        del server_round, arrays, config
        self._asked = None
        if self._session.finished:
            return []
        roster = self._roster(grid)
        self._began = self._ports.monotonic()
        request, inputs = self._session.request(tuple(roster.values()))
        self._asked = (request, inputs)
        body = ConfigRecord({"request": document_of(request), "bins": inputs.bins})
        record = ArrayRecord({str(i): Array(array) for i, array in enumerate(inputs.arrays)})
        return [
            Message(RecordDict({"body": body, "inputs": record}), node, "train.upload")
            for node in roster
        ]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Sum if everybody answered; else abort the attempt, never averaging fewer."""
        del server_round
        if self._asked is None:
            return None, None
        request, _ = self._asked
        uploads, missing = self._collect(request, replies)
        # Who failed is asked for the plan again, which costs nothing, before it is relied on.
        self._members = {
            node: name for node, name in self._members.items() if name not in missing
        }
        if missing:
            self._session.on_missing(request, missing)
        else:
            self._session.on_uploads(request, uploads)
        self._ports.on_closed(request, self._ports.monotonic() - self._began)
        return None, None

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
        self, request: SumRequest, replies: Iterable[Message]
    ) -> tuple[dict[PartnerId, Words], dict[PartnerId, str]]:
        manifest = self._ports.manifest
        context = context_of(request, self._manifest)
        uploads: dict[PartnerId, Words] = {}
        missing = dict.fromkeys(request.roster, "no answer")
        for reply in replies:
            member = self._members.get(reply.metadata.src_node_id)
            if member not in missing:
                # A SuperLink answers in its own name for a node that is gone.
                log.warning("answer of node %d dropped", reply.metadata.src_node_id)
                continue
            if reply.has_error():
                missing[member] = (reply.error.reason or "error")[:40]
                continue
            try:
                words, upload = _upload_of(reply)
                verify_upload(
                    upload,
                    words,
                    context=context,
                    member=manifest.member(member),
                    size=self._session.size(),
                )
            except RiskWeaveError as error:
                log.warning("upload of %s refused: %s", member, error)
                missing[member] = error.code
                continue
            uploads[member] = words
            del missing[member]
        return uploads, missing

    def _roster(self, grid: Grid) -> dict[int, PartnerId]:
        """Nodes that accepted the plan and are here; waits until they can carry the sum."""
        end = self._ports.monotonic() + self._deadlines.quorum
        while True:
            here = list(grid.get_node_ids())
            self._offer([node for node in here if node not in self._members], grid)
            roster = {node: self._members[node] for node in here if node in self._members}
            lacking = self._session.lacks(tuple(sorted(roster.values())))
            if not lacking:
                return roster
            if self._ports.stopping():
                raise StoppedError("the coordinator is stopping")
            left = end - self._ports.monotonic()
            if left <= 0:
                refusals = ", ".join(sorted(set(self._refused.values()))) or "none"
                raise RunFailedError(f"{lacking}; refusals: {refusals}")
            self._ports.wait_for_change(min(left, 1.0))

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
            reason = (reply.error.reason or "error")[:40]
            log.warning("%s refused the plan: %s", self._names.get(node, node), reason)
            if reason not in _PASSING:
                self._refused[node] = reason
            return
        try:
            self._members[node] = self._accepted(reply)
        except (DecodeError, TrustError) as error:
            log.warning("acceptance of %s refused: %s", self._names.get(node, node), error)
            self._refused[node] = error.code

    def _accepted(self, reply: Message) -> PartnerId:
        """The member that signed this run's plan; raises if it did not."""
        accepted = parse_document(PlanAccepted, _bytes(reply, "accepted"))
        member = self._ports.manifest.member(accepted.member)
        digest = plan_digest(self._session.plan)
        if accepted.plan != digest or member.id in self._members.values():
            raise DecodeError(f"{member.id} accepted another plan, or twice")
        key, message = bytes.fromhex(member.identity), bytes.fromhex(digest)
        verify_signature(key, Label.PLAN_ACCEPTED, message, accepted.signature)
        return member.id


def build_server_app(session: RunSession, ports: RunPorts, deadlines: Deadlines) -> ServerApp:
    """The ServerApp of one run: rounds until the session is finished."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        del context
        strategy = SumStrategy(session, ports, deadlines)
        while not session.finished:
            strategy.start(
                grid=grid,
                initial_arrays=ArrayRecord(),
                num_rounds=remaining_sums(session),
                timeout=deadlines.attempt,
            )
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
    state, order = session.state, ("bins", "gradient", "recalibration", "evaluation")
    if state.stage is None:
        return 0
    after = len(order) - 1 - order.index(state.stage.value)
    due = session.plan.rounds - state.round + 1 if state.stage.value == "gradient" else 1
    return due + after + (session.plan.rounds - 1 if state.stage.value == "bins" else 0)


def _bytes(message: Message, name: str) -> bytes:
    record = message.content.get("body") if message.has_content() else None
    value = record.get(name) if isinstance(record, ConfigRecord) else None
    if not isinstance(value, bytes):
        raise DecodeError(f"answer lacks the bytes {name!r}")
    return value


def _upload_of(reply: Message) -> tuple[Words, Upload]:
    upload = parse_document(Upload, _bytes(reply, "upload"))
    record = reply.content.get("words")
    if not isinstance(record, ArrayRecord) or list(record) != ["words"]:
        raise DecodeError("answer lacks the words")
    return read_vector(record["words"].data, WORDS), upload
