"""The coordinator's own TLS key: made anew beside a serving process, taken up by it (2.6).

Nodes trust the authority and the identity key of the manifest, so a new TLS key changes
nothing for them: connections that are open stay, new ones see the new certificate.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from consortium.crypto.keys import Secret
from consortium.errors import CertificateError, ConfigurationError, RiskWeaveError
from coordinator.authority import Authority, KeyPair, spki_of_key, spki_of_pem

log = logging.getLogger(__name__)

DAY_S = 86_400
RENEW_DAYS = 30
"""A certificate that ends sooner is renewed by the serving coordinator."""
_LOOK_S = 3_600.0
_FILES = (("tls.key", "tls.next.key"), ("tls.pem", "tls.next.pem"))


def ends(pem: bytes) -> int:
    """When a certificate ends, seconds UTC."""
    return int(x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp())


def fits(pair: KeyPair) -> bool:
    """Whether a certificate is over its key: between two files it may not be."""
    try:
        return spki_of_key(pair.key) == spki_of_pem(pair.certificate)
    except (CertificateError, ValueError):
        return False


class ServerCertificate:
    """The files of one coordinator's TLS key, in ``keys``; any process may renew them."""

    def __init__(
        self,
        keys: Path,
        authority: Authority,
        hosts: Sequence[str],
        read: Callable[[Path], Secret],
    ) -> None:
        """``read`` gives a file that nobody else may read, or raises ConfigurationError."""
        self._keys, self._authority, self._hosts, self._read = keys, authority, hosts, read
        self._stamp: object = self._stamped()
        self._newest: KeyPair | None = None

    def pair(self) -> KeyPair:
        """Key and certificate, a renewal that was broken off finished first."""
        self._settle()
        return self._pair()

    def renewed(self) -> KeyPair | None:
        """What was renewed since this object is there, by any process; None: nothing."""
        stamp = self._stamped()
        if stamp == self._stamp:
            return self._newest
        try:
            pair = self._pair()
        except ConfigurationError as error:
            log.warning("the certificate cannot be read: %s", error)
            return self._newest
        if not fits(pair):
            return self._newest  # the other file comes in a moment
        self._stamp, self._newest = stamp, pair
        log.info("serving with another certificate from now on")
        return pair

    def rotate(self, *, now: int) -> int:
        """Make a new key and certificate; returns when it ends, seconds UTC.

        Raises:
            ConfigurationError: a file cannot be written; the old ones stay.
        """
        made = self._authority.issue_server(self._hosts, now=now)
        for (_, name), data in zip(_FILES, (made.key, Secret(made.certificate)), strict=True):
            _write(self._keys / name, data)
        self._settle()
        return ends(made.certificate)

    def _settle(self) -> None:
        """Put the next files in place; the key goes first, the certificate decides."""
        if not (self._keys / "tls.next.pem").exists() and not self._is_of_next_key():
            return
        try:
            for name, following in _FILES:
                with suppress(FileNotFoundError):
                    (self._keys / following).replace(self._keys / name)
        except OSError as error:
            raise ConfigurationError(f"{self._keys}: {error.strerror}") from error

    def _is_of_next_key(self) -> bool:
        """Whether a power cut has kept the new name of the certificate, not of its key."""
        key = self._keys / "tls.next.key"
        if not key.exists():
            return False
        return fits(KeyPair(self._read(key), self._read(self._keys / "tls.pem").expose()))

    def _pair(self) -> KeyPair:
        certificate = self._read(self._keys / "tls.pem").expose()
        return KeyPair(self._read(self._keys / "tls.key"), certificate)

    def _stamped(self) -> object:
        try:
            return tuple(
                ((self._keys / name).stat().st_mtime_ns, (self._keys / name).stat().st_ino)
                for name, _ in _FILES
            )
        except OSError:
            return None


def _write(path: Path, secret: Secret) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o600)
            file.write(secret.expose())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error


async def renew_when_due(certificate: ServerCertificate, now: Callable[[], int]) -> None:
    """Renew what ends within a month, for as long as the coordinator serves."""
    while True:
        try:
            until = ends(certificate.pair().certificate)
            if until - now() < RENEW_DAYS * DAY_S:
                fresh = await asyncio.to_thread(certificate.rotate, now=now())
                day = datetime.fromtimestamp(fresh, tz=UTC).date()
                log.info("the server's certificate was renewed until %s", day)
        except RiskWeaveError as error:
            log.warning("the server's certificate is not renewed: %s", error)
        await asyncio.sleep(_LOOK_S)
