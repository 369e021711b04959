"""The regulator's own keys, its certificate and the manifest that it is pinned to.

A regulator is a member: it signs manifests, cosigns heads and draws audits. It has an
identity, a witness and a TLS key; it takes part in no sum, so it has no agreement key. Keys
are made here and never leave.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from consortium.canonical import canonical_json, parse_canonical
from consortium.crypto.keys import IdentityKey, NoteKey, Secret
from consortium.errors import (
    CertificateError,
    ConfigurationError,
    DigestMismatchError,
    DomainError,
    ManifestError,
    RiskWeaveError,
)
from consortium.features.schema import Schema
from consortium.ids import Digest, PartnerId, digest_of, parse_digest, parse_partner_id
from consortium.manifest import Manifest, Role, parse_manifest, verify_manifest
from consortium.messages import ManifestBundle, Signed
from regulator.files import read_file, read_secret, write_file

_SEEDS = ("identity", "witness")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Who this regulator is, and where its coordinator is."""

    member: PartnerId
    federation: str
    address: str
    """host:port of the federation door."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """What a channel shows and checks, PEM each."""

    key: Secret
    certificate: bytes
    authority: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """A manifest whose body and schema fit its digest; ``verify`` tells whether all signed."""

    manifest: Manifest
    schema: Schema
    bundle: ManifestBundle

    def missing(self) -> tuple[PartnerId, ...]:
        """Signers who have not signed yet."""
        signed = {one.member for one in self.bundle.signatures}
        return tuple(one.id for one in self.manifest.signers() if one.id not in signed)

    def verify(self, *, now: int) -> None:
        """Raise ManifestError or SignatureError unless all have signed (protocol 2.3)."""
        verify_manifest(self.manifest, self.bundle.signatures, now=now)


def read_bundle(bundle: ManifestBundle, digest: Digest | None = None) -> Pin:
    """Check that body and schema are what their digests say.

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


class Keys:
    """The directory ``keys``, with ``member.json`` and ``trust.json`` beside it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._keys = directory / "keys"

    def create(self, entropy: Callable[[], Secret]) -> None:
        """Make all keys; a directory that has some is left as it is, for a new certificate.

        Raises:
            ConfigurationError: the directory cannot be made.
        """
        if self._keys.exists():
            return
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._directory.chmod(0o700)
            self._keys.mkdir(mode=0o700)
        except OSError as error:
            raise ConfigurationError(f"{self._keys}: {error.strerror}") from error
        for name in _SEEDS:
            seed = entropy().expose().hex().encode() + b"\n"
            write_file(self._keys / f"{name}.key", seed)
        pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        write_file(self._keys / "tls.key", pem)

    def identity(self) -> IdentityKey:
        """Signs manifests and entries."""
        return IdentityKey.from_secret(self._seed("identity"))

    def witness(self) -> NoteKey:
        """Signs heads of the log and nothing else."""
        return NoteKey.from_secret(self._seed("witness"))

    def nonce_root(self) -> Secret:
        """From which the bytes of draws come: the identity's seed, under a use of its own."""
        return self._seed("identity")

    # --- the certificate (protocol 12.1) ------------------------------------------------------

    def certificate_request(self, member: PartnerId) -> bytes:
        """PKCS#10 (DER) over the TLS key."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, member)])
        builder = x509.CertificateSigningRequestBuilder().subject_name(name)
        request = builder.sign(self._tls_key(), hashes.SHA256())
        return request.public_bytes(serialization.Encoding.DER)

    def tls_spki(self) -> Digest:
        """SHA-256 of the TLS key's SubjectPublicKeyInfo (protocol 2.5)."""
        return _spki(self._tls_key().public_key())

    def save_membership(self, place: Place, certificate: bytes, authority: bytes) -> None:
        """Keep what enrolment brought; certificates in DER.

        Raises:
            CertificateError: not over this regulator's key, or not signed by the authority
                of the join token. Fault: the coordinator.
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
        write_file(self._keys / "tls.pem", issued.public_bytes(serialization.Encoding.PEM))
        document = {
            "member": place.member,
            "federation": place.federation,
            "address": place.address,
        }
        write_file(self._directory / "member.json", canonical_json(document) + b"\n")

    def place(self) -> Place:
        """Who this is; ConfigurationError before ``riskweave audit join``."""
        path = self._directory / "member.json"
        if not path.exists():
            raise ConfigurationError(f"{path} is missing; run: riskweave audit join")
        try:
            stored = json.loads(read_file(path))
            return Place(
                member=parse_partner_id(stored["member"]),
                federation=str(stored["federation"]),
                address=str(stored["address"]),
            )
        except (ValueError, KeyError, TypeError, RiskWeaveError) as error:
            raise ConfigurationError(f"{path} is damaged") from error

    def tls(self) -> Tls:
        """Key and certificates of a channel."""
        return Tls(
            key=read_secret(self._keys / "tls.key"),
            certificate=read_file(self._keys / "tls.pem"),
            authority=read_file(self._keys / "ca.pem"),
        )

    # --- the pinned manifest (protocol 2.4) ---------------------------------------------------

    def pinned(self) -> Pin | None:
        """The manifest that this regulator signed last; None before it signed one.

        Raises:
            ManifestError: the file is damaged.
        """
        path = self._directory / "trust.json"
        if not path.exists():
            return None
        try:
            stored = json.loads(read_file(path))
            digest = parse_digest(stored["manifest"])
            signatures = tuple(
                Signed(
                    digest=digest,
                    member=parse_partner_id(member),
                    signature=bytes.fromhex(signature),
                )
                for member, signature in stored["signatures"].items()
            )
            bundle = ManifestBundle(
                body=bytes.fromhex(stored["body"]),
                schema=bytes.fromhex(stored["schema"]),
                signatures=signatures,
            )
            return read_bundle(bundle, digest)
        except (ValueError, KeyError, TypeError, AttributeError, RiskWeaveError) as error:
            raise ManifestError(f"{path} is damaged: {error}") from error

    def pin(self, pin: Pin) -> None:
        """Trust this manifest from now on."""
        document = {
            "manifest": pin.manifest.digest,
            "body": pin.bundle.body.hex(),
            "schema": pin.bundle.schema.hex(),
            "signatures": {
                one.member: one.signature.hex()
                for one in pin.bundle.signatures
                if one.digest == pin.manifest.digest
            },
        }
        write_file(self._directory / "trust.json", json.dumps(document, indent=1).encode())

    def check_own(self, manifest: Manifest) -> None:
        """Raise ManifestError unless this regulator is listed, as one, under its own keys."""
        member = manifest.member(self.place().member)
        own = (
            Role.REGULATOR,
            self.identity().public.hex(),
            self.witness().public.hex(),
            self.tls_spki(),
        )
        if (member.role, member.identity, member.witness, member.tls_spki) != own:
            raise ManifestError(
                f"the manifest lists {member.id} in another role or with keys "
                "that are not its own"
            )

    def _seed(self, name: str) -> Secret:
        path = self._keys / f"{name}.key"
        try:
            seed = Secret(bytes.fromhex(read_secret(path).expose().decode("ascii").strip()))
            IdentityKey.from_secret(seed)
        except (ValueError, DomainError) as error:
            raise ConfigurationError(f"{path} is not 32 bytes in hex") from error
        return seed

    def _tls_key(self) -> ec.EllipticCurvePrivateKey:
        path = self._keys / "tls.key"
        try:
            key = serialization.load_pem_private_key(read_secret(path).expose(), password=None)
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"{path} is not a private key in PEM") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigurationError(f"{path} is not a P-256 key")
        return key


def _spki(key: object) -> Digest:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise CertificateError("the certificate's key is not of type P-256")
    return digest_of(
        key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
