"""ADAPTER gRPC: single questions to the coordinator, and enrolment (protocol 2, 12.1, 12.5).

Blocking, for commands of an operator and the moments before the streams are up. What comes
back is parsed, not believed: whoever asks verifies signatures and digests, save that of a
model, which is verified here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self, cast

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from grpc_health.v1 import health_pb2, health_pb2_grpc

from consortium import enrolment_codec, federation_codec
from consortium.canonical import Label, hash_with
from consortium.errors import DecodeError, DigestMismatchError, TransportError
from consortium.ids import Digest
from consortium.messages import (
    Enrolled,
    EnrolmentRequest,
    GateDocument,
    LogHead,
    ManifestBundle,
    ModelDocument,
    ModelEntry,
    Renewal,
    Renewed,
    Signed,
    Vote,
    WitnessQuestion,
)
from partner_node.coordinator_channel import Dial, error_of, options_for
from partner_node.left_journal import Note
from partner_node.targets import every

ASK_S = 15.0
_CLOCK_DIGITS = 12


class Door:
    """The federation door, for one question at a time; a context manager."""

    def __init__(
        self,
        dial: Dial,
        guard: Callable[[], None] = lambda: None,
        note: Note = lambda _frames: None,
    ) -> None:
        """A door at ``dial``.

        Args:
            dial: Where, and what to show there.
            guard: Called before each question, and may refuse it.
            note: Counts a question before it leaves.
        """
        self._dial = dial
        self._guard = guard
        self._note = note
        self._opened: tuple[str, grpc.Channel] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._opened is not None:
            self._opened[1].close()

    def fetch_manifest(self, digest: Digest | None = None) -> ManifestBundle:
        """The manifest of that digest, or the newest; nothing in it is checked yet."""
        reply = self._ask("GetManifest", federation_codec.encode_manifest_request(digest))
        return federation_codec.decode_manifest_bundle(reply)

    def sign_manifest(self, signed: Signed, entry: bytes) -> None:
        """Hand in this node's signature."""
        federation_codec.decode_ack(
            self._ask("SignManifest", federation_codec.encode_signed(signed, entry))
        )

    def list_models(self) -> tuple[ModelEntry, ...]:
        """The registry's list, newest first."""
        return federation_codec.decode_model_list(
            self._ask("ListModels", federation_codec.encode_models_request())
        )

    def fetch_model(self, version: Digest | None = None) -> ModelDocument:
        """A model, or the active one.

        Raises:
            DigestMismatchError: the document is not what its version says, or the version
                is not the one that was asked for. Fault: the coordinator.
        """
        reply = self._ask("GetModel", federation_codec.encode_model_request(version))
        model = federation_codec.decode_model_document(reply)
        for named in (model.version, version or model.version):
            seen = hash_with(Label.MODEL, model.document)
            if seen != named:
                raise DigestMismatchError("model", seen, named)
        return model

    def fetch_gate(self, version: Digest) -> GateDocument:
        """The newest release gate of a version and all sums of its run; nothing is checked.

        Raises:
            DecodeError: sums are missing. Fault: the coordinator.
            OutOfOrderError: there is no gate.
        """
        found = self._gate(version, 0)
        sums = list(found.sums)
        while len(sums) < found.count:
            more = self._gate(version, len(sums)).sums
            if not more:
                raise DecodeError(f"{len(sums)} sums of {found.count}")
            sums += more
        return replace(found, sums=tuple(sums))

    def _gate(self, version: Digest, after: int) -> GateDocument:
        reply = self._ask("GetGate", federation_codec.encode_gate_request(version, after))
        return federation_codec.decode_gate_document(reply)

    def cast_vote(self, vote: Vote, entry: bytes) -> str:
        """Hand in a vote; returns the model's status after it."""
        return federation_codec.decode_vote_reply(
            self._ask("CastVote", federation_codec.encode_vote(vote, entry))
        )

    def witness(self, question: WitnessQuestion) -> LogHead:
        """Hand in a cosignature, if there is one; returns the head to cosign next."""
        request = federation_codec.encode_witness_question(question)
        return federation_codec.decode_log_head(self._ask("Witness", request))

    def renew(self, renewal: Renewal) -> Renewed:
        """Ask for a certificate of another key; nothing of the answer is checked yet."""
        return enrolment_codec.decode_renewed(
            self._ask("Renew", enrolment_codec.encode_renewal(renewal))
        )

    def check_health(self) -> int | None:
        """Raise TransportError unless the coordinator says that it serves.

        Returns:
            Its clock, seconds UTC, as it stood when it answered; None if it says none.
        """
        self._guard()
        address, channel = self._channel()
        return self._check(address, channel)

    def _check(self, address: str, channel: grpc.Channel) -> int | None:
        self._note([("ask.Health", b"")])
        with _blocking(address):
            stub: Any = health_pb2_grpc.HealthStub(channel)
            reply, call = stub.Check.with_call(health_pb2.HealthCheckRequest(), timeout=ASK_S)
            said = dict(call.initial_metadata() or ()).get(federation_codec.CLOCK_HEADER, "")
        if reply.status != health_pb2.HealthCheckResponse.SERVING:
            raise TransportError(f"{address}: the coordinator does not serve")
        return int(said) if said.isdecimal() and len(said) <= _CLOCK_DIGITS else None

    def _channel(self) -> tuple[str, grpc.Channel]:
        """The channel of all questions: to the first address that serves, of several."""
        if self._opened is not None:
            return self._opened
        addresses = every(self._dial.address)
        for address in addresses:
            channel = grpc.secure_channel(
                address,
                self._dial.credentials(),
                options=options_for(federation_codec.UNARY_LIMIT),
            )
            try:
                if len(addresses) > 1:
                    self._check(address, channel)
            except TransportError:
                channel.close()
            else:
                self._opened = address, channel
                return self._opened
        raise TransportError(f"{self._dial.address}: none of them serves")

    def _ask(self, method: str, request: bytes) -> bytes:
        self._guard()
        address, channel = self._channel()
        self._note([(f"ask.{method}", request)])
        path = f"/{federation_codec.FEDERATION_SERVICE}/{method}"
        return _ask(channel, path, request, address)


def enrol(
    address: str,
    authority: bytes,
    request: EnrolmentRequest,
    note: Note = lambda _frames: None,
) -> Enrolled:
    """Trade the join token for a certificate.

    Args:
        address: The enrolment door, host:port; of replicas with commas between them.
        authority: Certificate of the operator's authority, DER, from the token.
        request: Signed.
        note: Counts the request before it leaves.

    Raises:
        EnrolmentError: the token is unknown, used, expired or for somebody else.
        CertificateError: the door does not show a certificate of that authority.
        TransportError: the door is not reachable.
    """
    root = x509.load_der_x509_certificate(authority).public_bytes(Encoding.PEM)
    credentials = grpc.ssl_channel_credentials(root_certificates=root)
    path, data = (
        f"/{enrolment_codec.ENROLMENT_SERVICE}/Enrol",
        enrolment_codec.encode_enrolment_request(request),
    )
    failed: TransportError | None = None
    for one in every(address):
        with grpc.secure_channel(
            one, credentials, options=options_for(federation_codec.UNARY_LIMIT)
        ) as channel:
            note([("enrol.Enrol", data)])
            try:
                return enrolment_codec.decode_enrolled(_ask(channel, path, data, one))
            except TransportError as error:
                failed = failed or error
    raise failed or TransportError(address)


def _ask(channel: grpc.Channel, path: str, request: bytes, address: str) -> bytes:
    with _blocking(address):
        call: Any = channel.unary_unary(path)
        reply: bytes = call(request, timeout=ASK_S)
    return reply


@contextmanager
def _blocking(address: str) -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        call = cast("grpc.Call", error)
        raise error_of(call.code(), call.details() or "", address) from error
