"""ADAPTER Flower: the node's ClientApp; the same application runs on a stock SuperNode.

Four actions: ``query.offer`` (check a plan, reserve its whole charge), ``query.join`` (sign
for one attempt), ``train.upload`` (one masked noisy sum) and ``query.close`` (the run is
over, free the rest). Code from the
coordinator is never executed: it sends bytes, this installation decides (protocol 3.3, 12.4).
"""

import logging
import traceback
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from consortium.documents import document_of, parse_document
from consortium.errors import DecodeError, RiskWeaveError
from consortium.ids import parse_digest, parse_run_id
from consortium.messages import Join, LogHead, PlanOffer, SumRequest
from consortium.secagg.context import SumInputs
from consortium.secagg.ring import to_signed
from consortium.secagg.vectors import REALS, WORDS, read_vector
from models.run import ClosedSum
from partner_node.training_session import TrainingSession

log = logging.getLogger(__name__)

APP_ERROR = 2
"""Flower's code for an application that raised (flwr 1.41 ``ErrorCode``)."""

LARGEST_ROSTER = 65_535
"""Partner indices end here (protocol 0.4)."""

RECORDS = {
    "query.offer": {"body"},
    "query.close": {"body"},
    "query.join": {"body", "sums"},
    "train.upload": {"body", "inputs"},
}
"""The actions, and the records that a message of each carries."""

Sessions = Callable[[Context], TrainingSession]
Next = Callable[[Message, Context], Message]


def refusals_mod(message: Message, context: Context, call_next: Next) -> Message:
    """Turn every error into one of the fixed codes; its text stays in the local log.

    Data libraries put cell values into their messages, so no exception text may travel.
    """
    try:
        return call_next(message, context)
    except RiskWeaveError as error:
        log.warning("refused %s: %s", message.metadata.message_type, error)
        return Message(Error(APP_ERROR, error.public), reply_to=message)
    except MemoryError:
        log.exception("out of memory in %s", message.metadata.message_type)
        return Message(Error(APP_ERROR, "memory"), reply_to=message)
    except Exception as error:  # noqa: BLE001 - a library's: its text may hold values
        place = traceback.extract_tb(error.__traceback__)[-1]
        name, kind = type(error).__name__, message.metadata.message_type
        log.error("%s in %s at %s:%d", name, kind, place.filename, place.lineno)  # noqa: TRY400
        return Message(Error(APP_ERROR, RiskWeaveError.public), reply_to=message)


def content_mod(message: Message, context: Context, call_next: Next) -> Message:
    """Refuse a message that carries anything beside the records of its action."""
    records = RECORDS.get(message.metadata.message_type)
    if records is None or set(message.content.keys()) != records:
        raise DecodeError(f"{message.metadata.message_type} with unexpected records")
    return call_next(message, context)


def build_app(sessions: Sessions) -> ClientApp:
    """The ClientApp over the session that ``sessions`` finds for a context."""
    app = ClientApp(mods=[refusals_mod, content_mod])

    @app.query("offer")
    def offer(message: Message, context: Context) -> Message:
        body = _body(message, "plan")
        session = sessions(context)
        accepted = session.on_offer(parse_document(PlanOffer, body))
        record = ConfigRecord({"accepted": document_of(accepted), "entries": session.said()})
        return Message(RecordDict({"body": record}), reply_to=message)

    @app.query("close")
    def close(message: Message, context: Context) -> Message:
        sessions(context).on_close(parse_run_id(_body(message, "run").hex()))
        return Message(RecordDict(), reply_to=message)

    @app.query("join")
    def join(message: Message, context: Context) -> Message:
        request = _request(_body(message, "request"))
        session = sessions(context)
        made = session.on_proposal(
            request, _sums(message), _bodies(message, "acceptances"), _shown(message)
        )
        taken = session.cosigned()
        record = ConfigRecord(
            {
                "join": document_of(made),
                "entries": session.said(),
                "head": taken.size,
                "cosignature": taken.cosignature,
            }
        )
        return Message(RecordDict({"body": record}), reply_to=message)

    @app.train("upload")
    def upload(message: Message, context: Context) -> Message:
        request = _request(_body(message, "request"))
        inputs = SumInputs(arrays=_arrays(message), bins=_body(message, "bins"))
        session = sessions(context)
        words, signed = session.on_joins(
            request,
            inputs,
            joins=[parse_document(Join, one) for one in _bodies(message, "joins")],
            acceptances=_bodies(message, "acceptances"),
            shown=_shown(message),
        )
        record = ConfigRecord({"upload": document_of(signed), "entries": session.said()})
        content = RecordDict({"body": record})
        content["words"] = ArrayRecord({"words": Array(words)})
        return Message(content, reply_to=message)

    return app


@lru_cache(maxsize=8)
def _request(document: bytes) -> SumRequest:
    """The request; one comes with its JOIN, with its upload and, closed, with the next."""
    return parse_document(SumRequest, document)


def _body(message: Message, name: str) -> bytes:
    record = message.content["body"]
    value = record.get(name) if isinstance(record, ConfigRecord) else None
    if not isinstance(value, bytes):
        raise DecodeError(f"{message.metadata.message_type} lacks the bytes {name!r}")
    return value


def _bodies(message: Message, name: str) -> list[bytes]:
    record = message.content["body"]
    found = record.get(name) if isinstance(record, ConfigRecord) else None
    if not isinstance(found, list) or len(found) > LARGEST_ROSTER:
        raise DecodeError(f"{message.metadata.message_type} lacks the list {name!r}")
    bodies = [one for one in found if isinstance(one, bytes)]
    if len(bodies) != len(found):
        raise DecodeError(f"{message.metadata.message_type}: {name!r} is no list of bytes")
    return bodies


def _shown(message: Message) -> LogHead:
    """What comes of the log; an empty head if nothing does."""
    record = message.content["body"]
    first = record.get("log_first", 0) if isinstance(record, ConfigRecord) else 0
    if not isinstance(first, int) or "log_note" not in record:
        return LogHead()
    entries = _bodies(message, "log_entries")
    return LogHead(note=_body(message, "log_note"), first=first, entries=tuple(entries))


def _sums(message: Message) -> list[ClosedSum]:
    """The published sums that come with a proposal, in order."""
    record = message.content["sums"]
    if not isinstance(record, ArrayRecord):
        raise DecodeError("query.join: sums are no arrays")
    requests, joined = _bodies(message, "closed"), _bodies(message, "joined")
    if not len(requests) == len(joined) == len(record):
        raise DecodeError("query.join: sums, requests and contexts are not as many")
    return [
        ClosedSum(
            request=_request(request),
            joined=parse_digest(context.hex()),
            total=to_signed(read_vector(array.data, WORDS)),
        )
        for request, context, array in zip(requests, joined, record.values(), strict=True)
    ]


def _arrays(message: Message) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], ...]:
    record = message.content["inputs"]
    if not isinstance(record, ArrayRecord):
        raise DecodeError("train.upload: inputs are no arrays")
    return tuple(read_vector(array.data, REALS) for array in record.values())
