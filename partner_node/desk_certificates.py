"""The node's own authority for its desk: certificates of the bank's own systems (13.8).

Nothing of it is known to the coordinator or to another partner. A client is let in while
its certificate lies in ``keys/desk/clients``: to shut one out, delete its file. Keys are
files that only their owner may read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from consortium.crypto.keys import Secret
from consortium.errors import CertificateError, ConfigurationError, IdentifierError
from consortium.ids import PartnerId, parse_partner_id
from partner_node.keystore import Tls, read_file, read_secret, write_file

SERVER_NAME = "desk.riskweave"
"""The name in the desk's certificate, whatever its address."""

AUTHORITY_DAYS = 3652
LOCAL = "local"
"""Name of whoever uses a socket of the node's directory."""
LEAF_DAYS = 365
_SKEW = timedelta(minutes=5)
_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One of the bank's systems, by the certificate that it shows."""

    name: str
    fingerprint: str
    """SHA-256 of the certificate, DER."""


class DeskAuthority:
    """The directory ``keys/desk`` of a node."""

    def __init__(self, directory: Path) -> None:
        """The node's directory; nothing is written before it is needed."""
        self._home = directory / "keys" / "desk"

    @property
    def clients_directory(self) -> Path:
        """Certificates of those who are let in."""
        return self._home / "clients"

    def create(self, partner: PartnerId, *, now: int) -> None:
        """Make the authority, once; ``now`` in seconds, UTC."""
        if (self._home / "ca.key").exists():
            return
        try:
            self.clients_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._home.chmod(0o700)
        except OSError as error:
            raise ConfigurationError(f"{self._home}: {error.strerror}") from error
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"RiskWeave desk of {partner}")
        builder = (
            _builder(name, key.public_key(), now=now, days=AUTHORITY_DAYS)
            .issuer_name(name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
        )
        certificate = builder.sign(key, hashes.SHA256())
        write_file(self._home / "ca.pem", certificate.public_bytes(serialization.Encoding.PEM))
        write_file(self._home / "ca.key", _pem(key))

    def server(self, hosts: Sequence[str], *, now: int) -> Tls:
        """A fresh key and certificate of the desk under SERVER_NAME and ``hosts``.

        Made at each start and kept in memory, so it never expires while it is used.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        listed = dict.fromkeys((*_LOCAL, *hosts))
        names = [x509.DNSName(SERVER_NAME), *map(_general_name, listed)]
        builder = _builder(_name(SERVER_NAME), key.public_key(), now=now, days=LEAF_DAYS)
        certificate = self._sign(builder, names, ExtendedKeyUsageOID.SERVER_AUTH)
        return Tls(
            key=Secret(_pem(key)),
            certificate=certificate.public_bytes(serialization.Encoding.PEM),
            authority=self.certificate(),
        )

    def issue_client(self, name: str, *, now: int) -> Tls:
        """A new key of one client and its certificate, which is let in from now on.

        An earlier certificate of that name is shut out.

        Raises:
            ConfigurationError: the name is not 1 to 32 of a-z, 0-9, hyphen, underscore, or
                that of the socket's own user, whose answers a client must not be given.
        """
        if name == LOCAL:
            raise ConfigurationError(f"client {name!r}: whoever uses the socket has that name")
        try:
            parse_partner_id(name)
        except IdentifierError as error:
            raise ConfigurationError(
                f"client {name[:80]!r} is not 1 to 32 of a-z, 0-9, hyphen, underscore"
            ) from error
        key = ec.generate_private_key(ec.SECP256R1())
        uri = x509.UniformResourceIdentifier(f"riskweave:desk-client:{name}")
        builder = _builder(_name(name), key.public_key(), now=now, days=LEAF_DAYS)
        certificate = self._sign(builder, [uri], ExtendedKeyUsageOID.CLIENT_AUTH)
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        write_file(self.clients_directory / f"{name}.pem", pem)
        return Tls(key=Secret(_pem(key)), certificate=pem, authority=self.certificate())

    def certificate(self) -> bytes:
        """The authority's certificate, PEM."""
        return read_file(self._home / "ca.pem")

    def admit(self, der: bytes, *, now: int) -> Client:
        """Whose certificate this is; the chain was checked by TLS.

        Raises:
            CertificateError: unreadable, outside its validity, or not among the clients.
        """
        try:
            certificate = x509.load_der_x509_certificate(der)
            names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            name = parse_partner_id(str(names[0].value))
        except (ValueError, IndexError, IdentifierError) as error:
            raise CertificateError("the client's certificate cannot be read") from error
        moment = datetime.fromtimestamp(now, tz=UTC)
        if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
            raise CertificateError(f"the certificate of desk client {name} has expired")
        path = self.clients_directory / f"{name}.pem"
        listed = path.read_bytes() if path.exists() else b""
        if listed != certificate.public_bytes(serialization.Encoding.PEM):
            raise CertificateError(f"desk client {name} is not let in any more")
        return Client(name=name, fingerprint=sha256(der).hexdigest())

    def _sign(
        self,
        builder: x509.CertificateBuilder,
        names: Sequence[x509.GeneralName],
        purpose: x509.ObjectIdentifier,
    ) -> x509.Certificate:
        pem = read_secret(self._home / "ca.key").expose()
        key = serialization.load_pem_private_key(pem, password=None)
        issuer = x509.load_pem_x509_certificate(self.certificate())
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigurationError(f"{self._home / 'ca.key'} is not a P-256 key")
        return (
            builder.issuer_name(issuer.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(key, hashes.SHA256())
        )


def issue_to(
    authority: DeskAuthority, partner: PartnerId, name: str, directory: Path, *, now: int
) -> None:
    """A certificate for one of the partner's own systems, written for it to take away.

    Raises:
        ConfigurationError: a name that is not of its form, or a key in ``directory`` already.
    """
    authority.create(partner, now=now)
    check_free(directory)
    write_client(authority.issue_client(name, now=now), directory)


def check_free(directory: Path) -> None:
    """Raise ConfigurationError if a client's key is in ``directory`` already."""
    if (directory / "client.key").exists():
        raise ConfigurationError(f"{directory / 'client.key'} exists already; nothing written")


def write_client(tls: Tls, directory: Path) -> None:
    """Write ``client.key``, ``client.pem`` and ``ca.pem`` for one client to take away.

    Raises:
        ConfigurationError: there is a key already, or the directory cannot be made.
    """
    check_free(directory)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{directory}: {error.strerror}") from error
    write_file(directory / "ca.pem", tls.authority)
    write_file(directory / "client.pem", tls.certificate)
    write_file(directory / "client.key", tls.key.expose())


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


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
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


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
