"""ADAPTER gRPC: a coordinator's two addresses, and how anything is bound to them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import grpc
import grpc.aio

from consortium.errors import ConfigurationError
from coordinator.authority import KeyPair

CALLS = 16
"""Calls at a time on one connection; a node makes one stream or one question on each."""

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_concurrent_streams", CALLS),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Without it a frozen node is noticed after 80 s, with it after 25 s.
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Without it an idle stream is killed as too_many_pings after 100 s.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    # A second coordinator on the same port must fail, not share it.
    ("grpc.so_reuseport", 0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """Addresses, and the key that TLS shows on both of them."""

    federation: str
    enrolment: str
    federation_public: str
    """What an enrolled partner is told to dial."""
    tls: KeyPair
    renewed: Callable[[], KeyPair | None] = lambda: None
    """Asked at each connection: another key and certificate from now on, or None."""


def credentials(doors: Doors, root: bytes | None) -> grpc.ServerCredentials:
    """The door's own certificate, which may be renewed while it is open.

    With ``root`` one of the other side is asked for, too.
    """

    def configuration(pair: KeyPair) -> grpc.ServerCertificateConfiguration:
        made = [(pair.key.expose(), pair.certificate)]
        return grpc.ssl_server_certificate_configuration(made, root_certificates=root)

    # Each door takes a renewal up for itself, at its own next connection.
    known = doors.tls

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal known
        pair = doors.renewed()
        if pair is None or pair == known:
            return None
        known = pair
        return configuration(pair)

    return grpc.dynamic_ssl_server_credentials(
        configuration(doors.tls),
        cast("Any", renewed),  # None, for no change, is missing in the stubs
        require_client_authentication=root is not None,
    )


def bind(server: grpc.aio.Server, address: str, shown: grpc.ServerCredentials) -> None:
    """Listen there; raise ConfigurationError if that cannot be."""
    try:
        port = server.add_secure_port(address, shown)
    except RuntimeError as error:
        raise ConfigurationError(f"cannot listen on {address}: in use or not ours") from error
    if port == 0:
        raise ConfigurationError(f"cannot listen on {address}: in use or not ours")
