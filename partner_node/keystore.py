"""The node's keys, its certificate and the manifest it is pinned to, as files.

Keys are made here and never leave: others see public halves, signatures and a certificate
request. A key file that others may read is refused, for then it may have been read. A file
is replaced whole or not at all.
"""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from consortium.canonical import parse_canonical
from consortium.crypto.keys import AgreementKey, IdentityKey, NoteKey, Secret
from consortium.errors import (
    CertificateError,
    ConfigurationError,
    DigestMismatchError,
    DomainError,
    ManifestError,
    RiskWeaveError,
    StorageError,
)
from consortium.features.schema import Schema
from consortium.ids import Digest, PartnerId, digest_of, parse_digest, parse_partner_id
from consortium.manifest import Manifest, parse_manifest, verify_manifest
from consortium.messages import ManifestBundle, Signed

OTHERS = 0o077
_SEEDS = ("identity", "agreement", "witness")
Stamp: TypeAlias = tuple[int, int, int]
_NEXT_KEY, _NEXT_CERTIFICATE = "tls.next.key", "node.next.pem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """The manifest that the operator trusts, as the coordinator's files delivered it.

    Body and schema fit the digest; whether all have signed is told by ``verify`` only.
    """

    manifest: Manifest
    schema: Schema
    bundle: ManifestBundle

    @property
    def digest(self) -> Digest:
        """What is pinned."""
        return self.manifest.digest

    def verify(self, *, now: int) -> None:
        """Raise ManifestError or SignatureError unless all have signed (protocol 2.3)."""
        verify_manifest(self.manifest, self.bundle.signatures, now=now)


def read_bundle(bundle: ManifestBundle, digest: Digest | None = None) -> Pin:
    """Check that body and schema are what their digests say.

    Args:
        bundle: As it came.
        digest: What the body must have, if that is known.

    Raises:
        ManifestError, DecodeError: the body is not a manifest.
        DigestMismatchError: another manifest, or another schema. Fault: the coordinator.
    """
    manifest = parse_manifest(bundle.body)
    if digest is not None and manifest.digest != digest:
        raise DigestMismatchError("manifest", manifest.digest, digest)
    schema = Schema.from_canonical(parse_canonical(bundle.schema), source="manifest's schema")
    if schema.digest != manifest.schema:
        raise DigestMismatchError("feature schema", schema.digest, manifest.schema)
    return Pin(manifest=manifest, schema=schema, bundle=bundle)


def read_pin(path: Path) -> Pin:
    """A manifest from a file as a node keeps the one that it trusts.

    Raises:
        ManifestError: the file is damaged.
    """
    try:
        stored = json.loads(read_file(path))
        digest = parse_digest(stored["manifest"])
        bundle = ManifestBundle(
            body=bytes.fromhex(stored["body"]),
            schema=bytes.fromhex(stored["schema"]),
            signatures=tuple(
                Signed(
                    digest=digest,
                    member=parse_partner_id(member),
                    signature=bytes.fromhex(signature),
                )
                for member, signature in stored["signatures"].items()
            ),
        )
        return read_bundle(bundle, digest)
    except (ValueError, KeyError, TypeError, AttributeError, RiskWeaveError) as error:
        raise ManifestError(f"{path} is damaged: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """What a channel shows and checks, PEM each."""

    key: Secret
    certificate: bytes
    authority: bytes


class Keystore:
    """The directory ``keys`` of a node, and ``trust.json`` beside it."""

    def __init__(self, directory: Path) -> None:
        self._keys = directory / "keys"
        self._trust = directory / "trust.json"

    def create(self, entropy: Callable[[], Secret]) -> None:
        """Make all four keys (protocol 2.1).

        Raises:
            ConfigurationError: there are keys already; nothing was changed.
        """
        if self._keys.exists():
            raise ConfigurationError(f"{self._keys} exists already; nothing was changed")
        try:
            self._keys.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise ConfigurationError(f"{self._keys}: {error.strerror}") from error
        write_file(self._keys / "tls.key", _new_tls_key())
        for name in _SEEDS:
            seed = entropy().expose().hex().encode() + b"\n"
            write_file(self._keys / f"{name}.key", seed)

    def identity(self) -> IdentityKey:
        """Signs everything but checkpoints."""
        return IdentityKey.from_secret(self._seed("identity"))

    def agreement(self) -> AgreementKey:
        """Agrees on pairwise secrets."""
        return AgreementKey.from_secret(self._seed("agreement"))

    def witness(self) -> NoteKey:
        """Signs checkpoints and nothing else."""
        return NoteKey.from_secret(self._seed("witness"))

    def local(self, entropy: Callable[[], Secret]) -> Secret:
        """Key of this node's own hashes of persons: made when first asked for, told nobody.

        Without it the pseudonyms in ``scoring.db`` are of nobody, and are made again.
        """
        path = self._keys / "local.key"
        if not path.exists():
            write_file(path, entropy().expose().hex().encode() + b"\n")
        return self._read(path)

    def check_modes(self) -> None:
        """Raise ConfigurationError, naming the repair, if others may read any file of keys."""
        for path in sorted(self._keys.iterdir()) if self._keys.exists() else ():
            if path.is_file() and path.suffix == ".key":
                read_secret(path)

    # --- the certificate (protocol 2.6, 12.1) -------------------------------------------------

    def renewal_request(self, partner: PartnerId) -> bytes:
        """PKCS#10 (DER) over a new TLS key, which is kept beside the one in use."""
        (self._keys / _NEXT_CERTIFICATE).unlink(missing_ok=True)
        write_file(self._keys / _NEXT_KEY, _new_tls_key())
        return _request_of(partner, self._tls_key(_NEXT_KEY))

    def take_renewed(self, certificate: bytes) -> None:
        """Put the new key and its certificate (DER) in the place of those before.

        Whatever stops the node in the middle, it has a key with its certificate afterwards.

        Raises:
            CertificateError: not over the new key, or not signed by this node's authority.
                Fault: the coordinator; the old ones stay.
        """
        try:
            issued = x509.load_der_x509_certificate(certificate)
            root = x509.load_pem_x509_certificate(read_file(self._keys / "ca.pem"))
            issued.verify_directly_issued_by(root)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise CertificateError("the renewed certificate is not the authority's") from error
        if _spki(issued.public_key()) != _spki(self._tls_key(_NEXT_KEY).public_key()):
            raise CertificateError("the renewed certificate is over another key")
        pem = issued.public_bytes(serialization.Encoding.PEM)
        write_file(self._keys / _NEXT_CERTIFICATE, pem)
        flush_directory(self._keys)  # both are there before either name changes
        self.settle()

    def settle(self) -> None:
        """Finish a renewal whose certificate had come when the node was stopped."""
        key, certificate = self._keys / _NEXT_KEY, self._keys / _NEXT_CERTIFICATE
        if not certificate.exists() and not (key.exists() and self._is_of_next_key()):
            return
        try:
            with suppress(FileNotFoundError):
                key.replace(self._keys / "tls.key")
            with suppress(FileNotFoundError):
                certificate.replace(self._keys / "node.pem")
        except OSError as error:
            raise StorageError(f"{self._keys}: {error.strerror}") from error

    def _is_of_next_key(self) -> bool:
        """Whether a power cut has kept the new name of the certificate, not of its key."""
        try:
            issued = x509.load_pem_x509_certificate(read_file(self._keys / "node.pem"))
            return _spki(issued.public_key()) == _spki(self._tls_key(_NEXT_KEY).public_key())
        except (ValueError, RiskWeaveError):
            return False

    def certificate_stamp(self) -> object:
        """Another value after each change of the certificate."""
        try:
            stat = (self._keys / "node.pem").stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_ino

    def certificate_request(self, partner: PartnerId) -> bytes:
        """PKCS#10 (DER) over the TLS key."""
        return _request_of(partner, self._tls_key())

    def tls_spki(self) -> Digest:
        """SHA-256 of the TLS key's SubjectPublicKeyInfo (protocol 2.5)."""
        return _spki(self._tls_key().public_key())

    def save_certificate(self, certificate: bytes, authority: bytes) -> None:
        """Keep the certificate that enrolment brought; both DER.

        Raises:
            CertificateError: not over this node's key, or not signed by the authority of
                the join token. Fault: the coordinator.
        """
        try:
            issued = x509.load_der_x509_certificate(certificate)
            root = x509.load_der_x509_certificate(authority)
            issued.verify_directly_issued_by(root)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise CertificateError(
                "the certificate from enrolment is not the authority's"
            ) from error
        if _spki(issued.public_key()) != self.tls_spki():
            raise CertificateError("the certificate from enrolment is over another key")
        write_file(self._keys / "ca.pem", root.public_bytes(serialization.Encoding.PEM))
        write_file(self._keys / "node.pem", issued.public_bytes(serialization.Encoding.PEM))

    def certificate_until(self, partner: PartnerId) -> int | None:
        """When the node's certificate ends, seconds UTC; None before it has one.

        Raises:
            CertificateError: the file is for another partner or over another key.
        """
        issued = self._certificate(partner)
        return None if issued is None else int(issued.not_valid_after_utc.timestamp())

    def certificate_since(self, partner: PartnerId) -> int | None:
        """When it began, likewise."""
        issued = self._certificate(partner)
        return None if issued is None else int(issued.not_valid_before_utc.timestamp())

    def _certificate(self, partner: PartnerId) -> x509.Certificate | None:
        path = self._keys / "node.pem"
        if not path.exists():
            return None
        try:
            issued = x509.load_pem_x509_certificate(read_file(path))
            name = parse_partner_id(
                str(issued.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
            )
        except (ValueError, IndexError, RiskWeaveError) as error:
            raise CertificateError(f"{path} cannot be read") from error
        if name != partner or _spki(issued.public_key()) != self.tls_spki():
            raise CertificateError(f"{path} is not the certificate of {partner}'s key")
        return issued

    def tls(self, partner: PartnerId, *, now: int) -> Tls:
        """Key and certificates of a channel.

        Raises:
            CertificateError: there is no certificate, or it has expired.
        """
        self.settle()
        until = self.certificate_until(partner)
        if until is None:
            raise CertificateError(
                f"{partner} has no certificate yet; run: riskweave node join"
            )
        if now > until:
            day = datetime.fromtimestamp(until, tz=UTC).date()
            raise CertificateError(
                f"the certificate of {partner} expired on {day}; ask the operator for a join "
                "token and run: riskweave node join"
            )
        return Tls(
            key=read_secret(self._keys / "tls.key"),
            certificate=read_file(self._keys / "node.pem"),
            authority=read_file(self._keys / "ca.pem"),
        )

    # --- the pinned manifest (protocol 2.4) ---------------------------------------------------

    @property
    def trust_file(self) -> Path:
        """Where the pin is kept."""
        return self._trust

    @property
    def trust_stamp(self) -> Stamp | None:
        """Another value after each change of the pin; None before ``riskweave node trust``."""
        try:
            stat = self._trust.stat()
        except FileNotFoundError:
            return None
        return stat.st_mtime_ns, stat.st_ino, stat.st_size

    def pinned(self) -> Pin | None:
        """The pinned manifest, or None before ``riskweave node trust``.

        Raises:
            ManifestError: the file is damaged.
        """
        if not self._trust.exists():
            return None
        return read_pin(self._trust)

    def pin(self, pin: Pin) -> None:
        """Trust this manifest from now on, instead of the one before."""
        document = {
            "manifest": pin.digest,
            "body": pin.bundle.body.hex(),
            "schema": pin.bundle.schema.hex(),
            "signatures": {
                signed.member: signed.signature.hex()
                for signed in pin.bundle.signatures
                if signed.digest == pin.digest
            },
        }
        write_file(self._trust, json.dumps(document, indent=1).encode() + b"\n")

    def _seed(self, name: str) -> Secret:
        return self._read(self._keys / f"{name}.key")

    def _read(self, path: Path) -> Secret:
        try:
            seed = Secret(bytes.fromhex(read_secret(path).expose().decode("ascii").strip()))
            IdentityKey.from_secret(seed)
        except (ValueError, DomainError) as error:
            raise ConfigurationError(f"{path} is not 32 bytes in hex") from error
        return seed

    def _tls_key(self, name: str = "tls.key") -> ec.EllipticCurvePrivateKey:
        path = self._keys / name
        try:
            key = serialization.load_pem_private_key(read_secret(path).expose(), password=None)
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"{path} is not a private key in PEM") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigurationError(f"{path} is not a P-256 key")
        return key


def _new_tls_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _request_of(partner: PartnerId, key: ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, partner)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    request = builder.sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER)


def write_file(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, durably, whole or not at all.

    Raises:
        StorageError: the disk is full, or the directory may not be written.
    """
    draft = path.with_name(f".{path.name}.new")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o600)
            file.write(data)
            file.flush()
            os.fsync(handle)
        draft.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error


def flush_directory(directory: Path) -> None:
    """A name counts after a power cut only if its directory was flushed; or StorageError."""
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise StorageError(f"{directory}: {error.strerror}") from error


def read_secret(path: Path) -> Secret:
    """A file that nobody else may read; raise ConfigurationError naming the repair."""
    for place, mode in ((path.parent, "700"), (path, "600")):
        if _mode(place) & OTHERS:
            raise ConfigurationError(f"{place} is open to others; run: chmod {mode} {place}")
    return Secret(read_file(path))


def read_file(path: Path) -> bytes:
    """The whole file, or ConfigurationError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error


def _spki(key: object) -> Digest:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise CertificateError("the certificate's key is not of type P-256")
    return digest_of(
        key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
