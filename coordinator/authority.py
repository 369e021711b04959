"""The operator's certificate authority and its one-time join tokens (protocol 12.1).

The authority vouches for one thing: that this TLS key belongs to the partner to whom a token
was handed. Whom a node trusts is the manifest's matter; no public CA is involved. Keys are
made where they are used: of a partner's keys only the public halves are ever seen here.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from consortium.canonical import canonical_json
from consortium.crypto.keys import Secret
from consortium.errors import CertificateError, EnrolmentError, IdentifierError
from consortium.ids import Digest, PartnerId, digest_of, parse_partner_id

SERVER_NAME = "coordinator.riskweave"
"""The name that nodes expect in the coordinator's certificate, whatever its address."""

TOKEN_PREFIX = "riskweave-join-1."  # noqa: S105 - the public head of a token
AUTHORITY_DAYS = 3652
LEAF_DAYS = 365
_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinToken:
    """What the operator hands to a partner out of band."""

    federation: str
    partner: PartnerId
    enrolment: str
    """host:port of the enrolment door."""
    authority: bytes
    """Certificate of the authority, DER."""
    secret: Secret
    expires: int

    def encode(self) -> str:
        """The line that goes into the token file. Secret."""
        body = canonical_json(
            {
                "federation": self.federation,
                "partner": self.partner,
                "enrolment": self.enrolment,
                "ca": self.authority.hex(),
                "secret": self.secret.expose().hex(),
                "expires": self.expires,
            }
        )
        return TOKEN_PREFIX + base64.urlsafe_b64encode(body).decode()


def secret_digest(secret: Secret) -> Digest:
    """What is stored of a token: SHA-256 of its 32 random bytes."""
    return Digest(hashlib.sha256(secret.expose()).hexdigest())


def same_digest(one: Digest, other: Digest) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(one, other)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A private key and its certificate, both PEM. The key is secret."""

    key: Secret
    certificate: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who a certificate says is there."""

    partner: PartnerId
    spki: Digest


class Authority:
    """Signs certificates of partners and of the coordinator itself. P-256 throughout."""

    def __init__(self, pair: KeyPair) -> None:
        """Load the authority.

        Raises:
            CertificateError: not a P-256 key in PEM with its certificate.
        """
        try:
            key = serialization.load_pem_private_key(pair.key.expose(), password=None)
            self._certificate = x509.load_pem_x509_certificate(pair.certificate)
        except ValueError as error:
            raise CertificateError("the authority's key or certificate is not PEM") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise CertificateError("the authority's key is not of type P-256")
        self._key = key

    @classmethod
    def create(cls, federation: str, *, now: int) -> KeyPair:
        """A new authority, valid for ten years from ``now`` (seconds, UTC)."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"RiskWeave {federation}")
        builder = (
            _builder(name, key.public_key(), now=now, days=AUTHORITY_DAYS)
            .issuer_name(name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
        )
        return _pair(key, builder.sign(key, hashes.SHA256()))

    @property
    def certificate(self) -> bytes:
        """The authority's own certificate, DER."""
        return self._certificate.public_bytes(serialization.Encoding.DER)

    @property
    def certificate_pem(self) -> bytes:
        """The authority's own certificate, PEM: what client certificates are checked with."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue_server(self, hosts: Sequence[str], *, now: int) -> KeyPair:
        """A new TLS key of the coordinator, valid for a year under SERVER_NAME and hosts."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(SERVER_NAME), *(_general_name(host) for host in hosts)]
        builder = _builder(_name(SERVER_NAME), key.public_key(), now=now, days=LEAF_DAYS)
        return _pair(key, self._sign(builder, names, ExtendedKeyUsageOID.SERVER_AUTH))

    def issue_partner(self, partner: PartnerId, csr: bytes, *, now: int) -> bytes:
        """The certificate (DER) of a partner's own TLS key, valid for a year.

        Of the request only the key is taken; name and purpose are ours.

        Raises:
            EnrolmentError: no PKCS#10 request over a P-256 key, signed with that key.
        """
        key = _requested_key(csr)
        names = [x509.UniformResourceIdentifier(f"riskweave:partner:{partner}")]
        builder = _builder(_name(partner), key, now=now, days=LEAF_DAYS)
        signed = self._sign(builder, names, ExtendedKeyUsageOID.CLIENT_AUTH)
        return signed.public_bytes(serialization.Encoding.DER)

    def _sign(
        self,
        builder: x509.CertificateBuilder,
        names: Sequence[x509.GeneralName],
        purpose: x509.ObjectIdentifier,
    ) -> x509.Certificate:
        return (
            builder.issuer_name(self._certificate.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )


def peer_of(pem: bytes, *, now: int) -> Peer:
    """Read who stands behind a client certificate; the chain was checked by TLS.

    Raises:
        CertificateError: unreadable, without a partner's name, or outside its validity at
            ``now`` (seconds, UTC). Fault: the peer.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        partner = parse_partner_id(str(names[0].value))
    except (ValueError, IndexError, IdentifierError) as error:
        raise CertificateError("the peer's certificate cannot be read") from error
    moment = datetime.fromtimestamp(now, tz=UTC)
    if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
        raise CertificateError(
            f"certificate of {partner} is valid from {certificate.not_valid_before_utc} "
            f"to {certificate.not_valid_after_utc}, now is {moment}"
        )
    return Peer(partner=partner, spki=spki_digest(certificate))


def spki_digest(certificate: x509.Certificate) -> Digest:
    """SHA-256 of the DER SubjectPublicKeyInfo (protocol 2.5)."""
    return _key_digest(certificate.public_key())


def spki_of_pem(pem: bytes) -> Digest:
    """SPKI digest of a certificate in PEM."""
    return spki_digest(x509.load_pem_x509_certificate(pem))


def spki_of_key(key: Secret) -> Digest:
    """SPKI digest of a private key in PEM; raises CertificateError."""
    try:
        private = serialization.load_pem_private_key(key.expose(), password=None)
    except (ValueError, TypeError) as error:
        raise CertificateError("the key is not PEM") from error
    return _key_digest(private.public_key())


_UNREADABLE = (ValueError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion)
"""What the library raises of a request that somebody made up; they have no common root."""


def spki_of_request(csr: bytes) -> Digest:
    """SPKI digest of the key in a certificate request; raises EnrolmentError."""
    return _key_digest(_requested_key(csr))


def _key_digest(key: object) -> Digest:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise CertificateError("the certificate's key is not of type P-256")
    return digest_of(
        key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def _requested_key(csr: bytes) -> ec.EllipticCurvePublicKey:
    try:
        request = x509.load_der_x509_csr(csr)
        key = request.public_key()
        valid = request.is_signature_valid
    except _UNREADABLE as error:
        raise EnrolmentError("the certificate request cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise EnrolmentError("the certificate request is not over a P-256 key")
    if not valid:
        raise EnrolmentError("the certificate request is not signed with its own key")
    return key


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, *, now: int, days: int
) -> x509.CertificateBuilder:
    start = datetime.fromtimestamp(now, tz=UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - _SKEW)
        .not_valid_after(start + timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pair(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> KeyPair:
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return KeyPair(Secret(secret), certificate.public_bytes(serialization.Encoding.PEM))
