"""What is asked in many messages: packed by number and by bytes, read as it is answered."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import TypeVar

from google.protobuf.message import Message

from proto.v1 import desk_pb2 as wire
from riskweave_client.decisions import AskedDecision, CreditDecision, decision_of
from riskweave_client.messages import request_of
from riskweave_client.values import Applicant, Failure

M = TypeVar("M", bound=Message)

MOST = 256
"""Persons of one message of a batch."""
_LARGEST = 3 << 20
"""Bytes of one message; a desk takes 4 MiB."""


class _Packer(list[M]):
    """Messages that go together; ``add`` brings those that are full."""

    def __init__(self) -> None:
        super().__init__()
        self._size = 0

    def add(self, one: M) -> list[M]:
        """Take one more; what has to go before it, or nothing."""
        size, gone = one.ByteSize(), list[M]()
        if self and (len(self) == MOST or self._size + size > _LARGEST):
            gone, self[:], self._size = list(self), [], 0
        self.append(one)
        self._size += size
        return gone


def packed(messages: Iterable[M]) -> Iterator[list[M]]:
    """Parts of at most 256 messages and 3 MiB."""
    packer = _Packer[M]()
    for one in messages:
        if gone := packer.add(one):
            yield gone
    if packer:
        yield list(packer)


async def packed_async(messages: AsyncIterable[M]) -> AsyncIterator[list[M]]:
    """As ``packed``."""
    packer = _Packer[M]()
    async for one in messages:
        if gone := packer.add(one):
            yield gone
    if packer:
        yield list(packer)


def score_messages(asked: Iterable[Applicant]) -> Iterator[wire.DeskBatchRequest]:
    """Messages of ScoreBatch."""
    for part in packed(map(request_of, asked)):
        yield wire.DeskBatchRequest(requests=part)


async def score_messages_async(
    asked: AsyncIterable[Applicant],
) -> AsyncIterator[wire.DeskBatchRequest]:
    """As ``score_messages``."""
    async for part in packed_async(_requests(asked)):
        yield wire.DeskBatchRequest(requests=part)


async def _requests(asked: AsyncIterable[Applicant]) -> AsyncIterator[wire.DeskScoreRequest]:
    async for one in asked:
        yield request_of(one)


def decide_messages(asked: Iterable[AskedDecision]) -> Iterator[wire.DeskDecideBatch]:
    """Messages of DecideMany."""
    for part in packed(map(_asked, asked)):
        yield wire.DeskDecideBatch(requests=part)


def _asked(one: AskedDecision) -> wire.DeskDecideRequest:
    return wire.DeskDecideRequest(
        application=one.application.to_json(), idempotency_key=one.idempotency_key
    )


def decided(reply: wire.DeskDecideReply) -> list[CreditDecision | Failure]:
    """Results of one reply of DecideMany."""
    return [
        decision_of(one.document)
        if one.HasField("document")
        else Failure(one.failure.code, one.failure.text)
        for one in reply.results
    ]
