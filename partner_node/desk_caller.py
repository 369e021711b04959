"""ADAPTER gRPC: the operator's end of the desk's socket, for ``riskweave node score``.

Blocking. The bank's own systems use ``riskweave_client`` instead.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, cast

import grpc

from consortium import errors
from partner_node import desk_wire
from partner_node.desk import Score
from partner_node.desk_door import CODE, unix_target
from partner_node.loan_desk import DeskStatus, Failure, Question

ASK_S = 5.0

_CODES: dict[str, type[errors.RiskWeaveError]] = {
    kind.code: kind
    for kind in (
        errors.CertificateError,
        errors.ConfigurationError,
        errors.ConsentMissingError,
        errors.DataError,
        errors.DecodeError,
        errors.DomainError,
        errors.ForbiddenFieldError,
        errors.ManifestError,
        errors.NotFoundError,
        errors.PersonError,
        errors.PolicyError,
        errors.RepeatedKeyError,
        errors.StorageError,
    )
}


class DeskCaller:
    """The desk of a serving node; a context manager."""

    def __init__(self, socket: Path) -> None:
        """Raise TransportError if nobody serves there."""
        if not socket.exists():
            raise errors.TransportError(f"no node serves {socket.parent}")
        limit = desk_wire.BATCH_LIMIT
        self._channel = grpc.insecure_channel(
            unix_target(socket),
            options=(
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", limit),
                ("grpc.enable_retries", 0),
            ),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def score(self, question: Question) -> Score:
        """One score; raises what the desk refused with."""
        return desk_wire.decode_score(self._ask("Score", desk_wire.encode_question(question)))

    def status(self) -> DeskStatus:
        """How the desk stands."""
        return desk_wire.decode_status(self._ask("Status", b""))

    def decide(self, application: bytes, key: str = "") -> bytes:
        """The answer to an application, both JSON; raises what the desk refused with."""
        data = self._ask("Decide", desk_wire.encode_decide(application, key))
        return desk_wire.decode_document(data)

    def decide_many(
        self, batches: Iterable[list[desk_wire.Named]]
    ) -> Iterator[list[bytes | Failure]]:
        """Answers to each batch of 1 to 256 applications, in order."""
        call: Any = self._channel.stream_stream(f"/{desk_wire.SERVICE}/DecideMany")
        with _translated():
            for data in call(map(desk_wire.encode_decide_batch, batches)):
                yield desk_wire.decode_decided(data)

    def score_batch(self, batches: Iterable[list[Question]]) -> Iterator[list[Score | Failure]]:
        """Results of each batch of 1 to 256 questions, in order."""
        call: Any = self._channel.stream_stream(f"/{desk_wire.SERVICE}/ScoreBatch")
        with _translated():
            for data in call(map(desk_wire.encode_batch, batches)):
                yield desk_wire.decode_results(data)

    def _ask(self, method: str, data: bytes) -> bytes:
        call: Any = self._channel.unary_unary(f"/{desk_wire.SERVICE}/{method}")
        with _translated():
            reply: bytes = call(data, timeout=ASK_S)
        return reply


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        raise _error_of(cast("grpc.Call", error)) from error


def _error_of(call: grpc.Call) -> errors.RiskWeaveError:
    text = (call.details() or call.code().name.lower()).splitlines()[0]
    code = next((str(v) for k, v in call.trailing_metadata() or () if k == CODE), "")
    if code in set(errors.ScoreRefusal):
        return errors.ScoreRefusalError(
            errors.ScoreRefusal(code), text.removeprefix(f"{code} ")
        )
    kind = _CODES.get(code)
    if kind is None:
        return errors.TransportError(f"the desk does not answer: {text}")
    return kind(text)
