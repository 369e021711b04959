"""ADAPTER gRPC: the one way from this program to a coordinator (protocol 8.5, 12.1, 12.5).

It enrols, fetches and signs manifests, and asks for the log; it opens no stream. What comes
back is parsed, not believed. Nothing of ``riskweave audit verify`` loads this file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self, cast

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from consortium import enrolment_codec, errors, federation_codec
from consortium.addresses import parse_addresses
from consortium.canonical import Label
from consortium.crypto.keys import IdentityKey
from consortium.crypto.statements import enrolment_statement
from consortium.ids import Digest
from consortium.messages import (
    PROTOCOL_VERSION,
    Enrolled,
    EnrolmentRequest,
    LogHead,
    ManifestBundle,
    Signed,
    WitnessQuestion,
)
from regulator.enrolment import JoinToken
from regulator.keys import Tls

ASK_S = 15.0
SERVER_NAME = "coordinator.riskweave"
"""The name in the coordinator's certificate, whatever its address."""

_BY_STATUS: dict[grpc.StatusCode, type[errors.RiskWeaveError]] = {
    grpc.StatusCode.UNAUTHENTICATED: errors.CertificateError,
    grpc.StatusCode.PERMISSION_DENIED: errors.EnrolmentError,
    grpc.StatusCode.FAILED_PRECONDITION: errors.OutOfOrderError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.ProtocolError,
    grpc.StatusCode.INVALID_ARGUMENT: errors.ProtocolError,
}


class LogReader:
    """The federation door, for one question at a time; a context manager."""

    def __init__(self, address: str, tls: Tls) -> None:
        """Dial at the first question, under mutual TLS and the operator's own authority.

        Of several addresses, with commas between them, the first that serves is asked.
        """
        self._addresses = parse_addresses(address)
        self._credentials = grpc.ssl_channel_credentials(
            root_certificates=tls.authority,
            private_key=tls.key.expose(),
            certificate_chain=tls.certificate,
        )
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
        """Hand in this regulator's signature."""
        federation_codec.decode_ack(
            self._ask("SignManifest", federation_codec.encode_signed(signed, entry))
        )

    def witness(self, question: WitnessQuestion) -> LogHead:
        """Hand in a cosignature and own entries; returns what the mirror lacks."""
        request = federation_codec.encode_witness_question(question)
        return federation_codec.decode_log_head(self._ask("Witness", request))

    def _ask(self, method: str, request: bytes) -> bytes:
        path = f"/{federation_codec.FEDERATION_SERVICE}/{method}"
        address, channel = self._channel()
        return _ask(channel, path, request, address)

    def _channel(self) -> tuple[str, grpc.Channel]:
        if self._opened is not None:
            return self._opened
        for address in self._addresses:
            channel = grpc.secure_channel(address, self._credentials, options=_OPTIONS)
            try:
                serves = len(self._addresses) == 1 or _serves(channel, address)
            except errors.TransportError:
                serves = False
            if serves:
                self._opened = address, channel
                return self._opened
            channel.close()
        raise errors.TransportError(f"{','.join(self._addresses)}: none of them serves")


def enrol(
    token: JoinToken, identity: IdentityKey, *, address: str, witness: bytes, csr: bytes
) -> Enrolled:
    """Trade the join token for a certificate at the enrolment door of that address.

    Raises:
        EnrolmentError: the token is unknown, used, expired or for somebody else.
        CertificateError: the door does not show a certificate of the token's authority.
        TransportError: the door is not reachable.
    """
    bare = EnrolmentRequest(
        protocol_version=PROTOCOL_VERSION,
        partner=token.member,
        token=token.secret.expose(),
        csr=csr,
        identity=identity.public,
        agreement=b"",
        witness=witness,
        signature=b"",
    )
    request = replace(bare, signature=identity.sign(Label.ENROLMENT, enrolment_statement(bare)))
    root = x509.load_der_x509_certificate(token.authority).public_bytes(Encoding.PEM)
    credentials = grpc.ssl_channel_credentials(root_certificates=root)
    path, data = (
        f"/{enrolment_codec.ENROLMENT_SERVICE}/Enrol",
        enrolment_codec.encode_enrolment_request(request),
    )
    failed: errors.TransportError | None = None
    for one in parse_addresses(address):
        with grpc.secure_channel(one, credentials, options=_OPTIONS) as channel:
            try:
                return enrolment_codec.decode_enrolled(_ask(channel, path, data, one))
            except errors.TransportError as error:
                failed = failed or error
    raise failed or errors.TransportError(address)


_SERVING = b"\x08\x01"

_OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.ssl_target_name_override", SERVER_NAME),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", federation_codec.UNARY_LIMIT),
    ("grpc.max_send_message_length", federation_codec.UNARY_LIMIT),
)


def _serves(channel: grpc.Channel, address: str) -> bool:
    """The health service's one answer that counts, {status: SERVING} on the wire."""
    return _ask(channel, "/grpc.health.v1.Health/Check", b"", address) == _SERVING


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
        details = call.details() or ""
        if "CERTIFICATE_VERIFY_FAILED" in details:
            text = f"{address}: its certificate is not of the authority that is trusted here"
            raise errors.CertificateError(text) from error
        kind = _BY_STATUS.get(call.code(), errors.TransportError)
        shown = details.splitlines()[0][:200] if details else call.code().name.lower()
        raise kind(f"{address}: {shown}") from error
