"""ADAPTER gRPC: a channel to the coordinator's federation door, and its errors as ours.

Streams and single questions are dialled alike: mutual TLS under the operator's own authority.
Every gRPC error becomes one of ours here.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import grpc.aio

from consortium import errors
from consortium.codec import StreamKind
from consortium.ids import PartnerId
from consortium.messages import Goodbye
from partner_node.keystore import Tls

SERVER_NAME = "coordinator.riskweave"
"""The name in the coordinator's certificate, whatever its address."""

Options = tuple[tuple[str, str | int], ...]

_OPTIONS: Options = (
    ("grpc.ssl_target_name_override", SERVER_NAME),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Without it a frozen coordinator is noticed after 80 s, with it after 25 s.
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A dial that hangs is given up soon; the back-off between dials is ours.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 3_000),
    # Otherwise two channels to one address share one connection, and its fate.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """Where the federation door is, and what to show there."""

    address: str
    """host:port, or several with commas between them: the replicas of one coordinator."""
    partner: PartnerId
    tls: Tls
    software: str

    def credentials(self) -> grpc.ChannelCredentials:
        """Mutual TLS under the operator's own authority; no public one counts."""
        return grpc.ssl_channel_credentials(
            root_certificates=self.tls.authority,
            private_key=self.tls.key.expose(),
            certificate_chain=self.tls.certificate,
        )


def options_for(limit: int) -> Options:
    """The options of one channel; no message of more than ``limit`` bytes passes."""
    return (
        *_OPTIONS,
        ("grpc.max_receive_message_length", limit),
        ("grpc.max_send_message_length", limit),
    )


@asynccontextmanager
async def channel_of(dial: Dial, kind: StreamKind) -> AsyncIterator[grpc.aio.Channel]:
    """A channel for one stream, closed at the end of the block."""
    # One channel a dial: it carries no memory of earlier failures.
    channel = grpc.aio.secure_channel(
        dial.address, dial.credentials(), options=options_for(kind.limit)
    )
    try:
        yield channel
    finally:
        await channel.close()


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Errors of the stream in the block are raised as ours."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise error_of(error.code(), error.details() or "") from error
    except (grpc.aio.BaseError, asyncio.InvalidStateError) as error:
        raise errors.TransportError("the stream ended") from error
    except TimeoutError as error:
        raise errors.TransportError("no answer in time") from error


# --- errors -----------------------------------------------------------------------------------

_BY_STATUS: dict[grpc.StatusCode, type[errors.RiskWeaveError]] = {
    grpc.StatusCode.UNAUTHENTICATED: errors.CertificateError,
    grpc.StatusCode.PERMISSION_DENIED: errors.EnrolmentError,
    grpc.StatusCode.FAILED_PRECONDITION: errors.OutOfOrderError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.ProtocolError,
    grpc.StatusCode.INVALID_ARGUMENT: errors.ProtocolError,
}
_PLAIN: Sequence[type[errors.RiskWeaveError]] = (
    errors.SignatureError,
    errors.CertificateError,
    errors.RevokedError,
    errors.ManifestError,
    errors.EnrolmentError,
    errors.OutOfOrderError,
    errors.StorageError,
    errors.DecodeError,
    errors.DeposedError,
    errors.StandbyError,
)
"""Errors of the other side that come back as themselves: each takes just a text."""
_BY_TEXT = {kind.public: kind for kind in _PLAIN}
_BY_CODE = {kind.code: kind for kind in _PLAIN}


def error_of(
    status: grpc.StatusCode, details: str, address: str = "coordinator"
) -> errors.RiskWeaveError:
    """The error of ours that a status and the other side's public text stand for."""
    if "CERTIFICATE_VERIFY_FAILED" in details or "Hostname Verification" in details:
        return errors.CertificateError(
            f"{address}: its certificate is not of the authority that this node trusts"
        )
    kind = _BY_TEXT.get(details) or _BY_STATUS.get(status, errors.TransportError)
    reason = details.splitlines()[0][:200] if details else status.name.lower()
    return kind(f"{address}: {reason}")


def goodbye_error(goodbye: Goodbye) -> errors.RiskWeaveError:
    """The error of ours that a goodbye reports."""
    kind = _BY_CODE.get(goodbye.code, errors.TransportError)
    if goodbye.code == errors.VersionError.code:
        kind = errors.ProtocolError
    return kind(f"the coordinator said goodbye: {goodbye.reason or goodbye.code}")
