"""A coordinator that is not ours: it sends what it likes, in Flower's own bytes.

The nodes are the simulator's, each on a real database, so that what is refused, charged and
journalled is what the product refuses, charges and journals.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.supercore.task_identity import TaskIdentity
from numpy.typing import NDArray

from consortium.documents import document_of, parse_document
from consortium.ids import PartnerId, node_id_of
from consortium.messages import Join, PlanOffer, SumRequest, Upload
from consortium.plan import TrainingPlan
from consortium.secagg.context import SumInputs
from consortium.secagg.joins import sign_join
from consortium.secagg.ring import ring_sum, to_ring, to_signed
from coordinator.flower_grid import flower_run_id
from models.run import ClosedSum, RunSession
from partner_node.storage import NodeStore
from tests.simulator import PLAN, Consortium, reply_words

Words = NDArray[np.uint64]
Answer = tuple[Words, Upload]

BANK, BANK_B = PartnerId("bank_a"), PartnerId("bank_b")
SHOP, SHOP_D = PartnerId("shop_c"), PartnerId("shop_d")
ALL = (BANK, BANK_B, SHOP, SHOP_D)

SHORT = PLAN.replace("rounds = 8", "rounds = 2")


class RefusedError(Exception):
    """The node answered with an error; ``code`` is all that it said."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Hostile:
    """The attacker's side of the wire, with an honest coordinator's view to start from."""

    def __init__(self, house: Consortium, directory: Path | None) -> None:
        """Nodes on databases under ``directory``; None: the simulator's own dicts."""
        self.house = house
        for number, node in enumerate(house.nodes.values()):
            if directory is not None:
                path = directory / f"{node.member}.db"
                node.store = NodeStore(path, now=lambda: 7)  # type: ignore[assignment]
            house.start(node, number)
        self.view = RunSession(house.plan, house.schema)
        self.sums: list[ClosedSum] = []
        self.acceptances = [self.offer(name) for name in house.nodes]

    # --- what can be sent ---------------------------------------------------------------------

    def exchange(self, member: PartnerId, kind: str, content: RecordDict) -> Message:
        """One message to a node, as bytes, and its answer; RefusedError if it is an error."""
        answer = self.raw(member, self.payload(member, kind, content))
        if not answer:
            raise RefusedError("nothing")
        reply = message_from_proto(ProtoMessage.FromString(answer))
        if reply.has_error():
            raise RefusedError(reply.error.reason or "error")
        return reply

    def payload(self, member: PartnerId, kind: str, content: RecordDict) -> bytes:
        """The bytes of a message to a node."""
        run = flower_run_id(self.house.run)
        TaskIdentity.run_id = TaskIdentity.task_id = run
        TaskIdentity.node_id = 1
        message = Message(content, node_id_of(member), kind)
        message.metadata.__dict__["_message_id"] = message.object_id
        return message_to_proto(message).SerializeToString()

    def raw(self, member: PartnerId, payload: bytes) -> bytes:
        """Any bytes to a node; what it answers is on the simulator's wire, too."""
        return self.house.send(member, payload, timeout_s=1.0).result(timeout=0)

    def offer(self, member: PartnerId, plan: TrainingPlan | None = None) -> bytes:
        """Offer a plan; the acceptance as it came."""
        offer = PlanOffer(plan=plan or self.house.plan)
        content = RecordDict({"body": ConfigRecord({"plan": document_of(offer)})})
        return _bytes(self.exchange(member, "query.offer", content), "accepted")

    def propose(
        self,
        member: PartnerId,
        request: SumRequest,
        sums: Sequence[ClosedSum] | None = None,
        acceptances: Sequence[bytes] | None = None,
    ) -> Join:
        """Propose an attempt to one node; its JOIN."""
        known = self.sums if sums is None else sums
        shown = self.acceptances if acceptances is None else acceptances
        content = proposal(request, known, shown)
        return parse_document(
            Join, _bytes(self.exchange(member, "query.join", content), "join")
        )

    def ask(
        self,
        member: PartnerId,
        asked: tuple[SumRequest, SumInputs],
        joins: Sequence[Join],
        acceptances: Sequence[bytes] | None = None,
    ) -> Answer:
        """Show one node JOINs and ask for its words."""
        shown = self.acceptances if acceptances is None else acceptances
        reply = self.exchange(member, "train.upload", demand(asked, joins, shown))
        words: Any = reply.content["words"]["words"]
        return words.numpy(), parse_document(Upload, _bytes(reply, "upload"))

    # --- whole steps --------------------------------------------------------------------------

    def due(self, roster: Sequence[PartnerId] = ALL) -> tuple[SumRequest, SumInputs]:
        """What an honest coordinator would ask now."""
        return self.view.request(tuple(roster))

    def joins(self, request: SumRequest) -> list[Join]:
        """Everybody's JOIN of one request."""
        return [self.propose(name, request) for name in request.roster]

    def carry(self, asked: tuple[SumRequest, SumInputs]) -> dict[PartnerId, Answer]:
        """An honest attempt."""
        joins = self.joins(asked[0])
        return {name: self.ask(name, asked, joins) for name in asked[0].roster}

    def close(self) -> dict[PartnerId, Answer]:
        """Carry the due sum and go on to the next."""
        asked = self.due()
        answers = self.carry(asked)
        self.sums.append(closed_sum(asked[0], answers))
        self.view.on_sum(self.sums[-1])
        return answers

    def restart(self, member: PartnerId) -> None:
        """The node's process dies and comes back on its database."""
        self.house.start(self.house.nodes[member], list(self.house.nodes).index(member))

    def forged(self, join: Join, **changes: object) -> Join:
        """A JOIN that is changed and signed by its own member: the member helps."""
        key = self.house.nodes[join.member].key
        return sign_join(replace(join, **changes), key)  # type: ignore[arg-type]

    # --- what is asserted ---------------------------------------------------------------------

    def charged(self, member: PartnerId) -> int:
        """Units that a node charged, whatever for."""
        store: Any = self.house.nodes[member].store
        return int(store.spent("training") + store.spent("holdout"))

    def left(self, member: PartnerId) -> int:
        """Uploads of a node that are in its journal, and on the wire."""
        store: Any = self.house.nodes[member].store
        journal = [one for one in store.disclosures() if one.kind != "acceptance"]
        sent = [
            payload
            for name, payload in self.house.wire
            if name == member and payload and reply_words(payload) is not None
        ]
        assert len(journal) == len(sent)
        return len(sent)

    @contextmanager
    def refused(self, member: PartnerId, code: str) -> Iterator[None]:
        """The node refuses with that code; nothing left it and nothing was charged."""
        before = self.charged(member), self.left(member)
        with pytest.raises(RefusedError) as caught:
            yield
        assert caught.value.code == code
        assert (self.charged(member), self.left(member)) == before


def proposal(
    request: SumRequest, sums: Sequence[ClosedSum], acceptances: Sequence[bytes]
) -> RecordDict:
    """The content of ``query.join``."""
    body = ConfigRecord(
        {
            "request": document_of(request),
            "acceptances": list(acceptances),
            "closed": [document_of(one.request) for one in sums],
            "joined": [bytes.fromhex(one.joined) for one in sums],
        }
    )
    totals = ArrayRecord({str(i): Array(to_ring(one.total)) for i, one in enumerate(sums)})
    return RecordDict({"body": body, "sums": totals})


def demand(
    asked: tuple[SumRequest, SumInputs], joins: Sequence[Join], acceptances: Sequence[bytes]
) -> RecordDict:
    """The content of ``train.upload``."""
    request, inputs = asked
    body = ConfigRecord(
        {
            "request": document_of(request),
            "bins": inputs.bins,
            "joins": [document_of(join) for join in joins],
            "acceptances": list(acceptances),
        }
    )
    arrays = ArrayRecord({str(i): Array(array) for i, array in enumerate(inputs.arrays)})
    return RecordDict({"body": body, "inputs": arrays})


def closed_sum(request: SumRequest, answers: dict[PartnerId, Answer]) -> ClosedSum:
    """What the answers add up to."""
    return ClosedSum(
        request=request,
        joined=next(iter(answers.values()))[1].context,
        total=to_signed(ring_sum(words for words, _ in answers.values())),
    )


def _bytes(message: Message, name: str) -> bytes:
    body: Any = message.content["body"]
    return bytes(body[name])
