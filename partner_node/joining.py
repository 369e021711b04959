"""A node is made, joins its federation and trusts a manifest of it."""

from dataclasses import replace
from pathlib import Path

from consortium.addresses import parse_addresses
from consortium.canonical import Label
from consortium.crypto.statements import enrolment_statement
from consortium.errors import ConfigurationError, EnrolmentError, ManifestError
from consortium.ids import Digest, PartnerId
from consortium.messages import PROTOCOL_VERSION, EnrolmentRequest, Signed
from partner_node import config_text, door, wiring
from partner_node.config import FILE, Addresses, Config
from partner_node.config_reading import parse_config
from partner_node.join_token import parse_token
from partner_node.keystore import Keystore, Pin, read_bundle, read_file, write_file
from partner_node.records import OwnEntry
from partner_node.trust import check_follows, check_nobody_revoked, check_own_entry


def initialise(directory: Path, partner: PartnerId, settings: Path | None) -> Config:
    """Write keys and ``node.toml`` into a new directory.

    Args:
        directory: Made if it is missing.
        partner: The id that the operator will enrol.
        settings: A file with the tables after ``[coordinator]``; None: a commented sample.

    Raises:
        ConfigurationError: there is a node already, or the settings are refused.
    """
    path = directory / FILE
    if path.exists():
        raise ConfigurationError(f"{path} exists already; nothing was changed")
    text = config_text.TEMPLATE_HEAD.format(partner=partner)
    text += _read_text(settings) if settings else config_text.TEMPLATE_SETTINGS
    config = parse_config(text, path)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{directory}: {error.strerror}") from error
    Keystore(directory).create(wiring.entropy)
    write_file(path, text.encode())
    return config


def _read_text(path: Path) -> str:
    """The whole file; raise ConfigurationError if it cannot be read."""
    try:
        return read_file(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 text") from error


def join(desk: wiring.Desk, token_file: Path) -> Addresses:
    """Trade the join token for a certificate, and write down the coordinator's doors.

    Raises:
        EnrolmentError: the token is damaged, for another partner, expired, used, unknown.
        CertificateError: the door, or the certificate, is not of the token's authority.
        TransportError: the door is not reachable; the token is still good.
    """
    config, keys = desk.config, desk.keys
    desk.switch.check()
    token = parse_token(_read_text(token_file))
    if token.partner != config.partner:
        raise EnrolmentError(
            f"the join token is for {token.partner}, this node is {config.partner}"
        )
    if wiring.now() >= token.expires:
        raise EnrolmentError("the join token has expired; ask the operator for another")
    identity = keys.identity()
    request = EnrolmentRequest(
        protocol_version=PROTOCOL_VERSION,
        partner=config.partner,
        token=token.secret.expose(),
        csr=keys.certificate_request(config.partner),
        identity=identity.public,
        agreement=keys.agreement().public,
        witness=keys.witness().public,
        signature=b"",
    )
    signature = identity.sign(Label.ENROLMENT, enrolment_statement(request))
    enrolled = door.enrol(
        token.enrolment,
        token.authority,
        replace(request, signature=signature),
        desk.left().note,
    )
    keys.save_certificate(enrolled.certificate, token.authority)
    addresses = Addresses(
        federation=",".join(parse_addresses(enrolled.address)), enrolment=token.enrolment
    )
    _write_addresses(config, addresses)
    return addresses


def _write_addresses(config: Config, addresses: Addresses) -> None:
    text = config_text.with_addresses(_read_text(config.path), addresses)
    if parse_config(text, config.path) != replace(config, addresses=addresses):
        raise ConfigurationError(
            f"{config.path}: its form is too unusual to be edited; write into [coordinator]: "
            f'address = "{addresses.federation}", enrolment = "{addresses.enrolment}"'
        )
    write_file(config.path, text.encode())


def proposed(desk: wiring.Desk, digest: Digest | None) -> Pin:
    """The manifest of that digest, or the newest, with this node's own entry checked.

    Raises:
        ManifestError: none is proposed, or it lists other keys for this node.
        DigestMismatchError: the coordinator sent another. Fault: the coordinator.
    """
    with desk.door() as coordinator:
        pin = read_bundle(coordinator.fetch_manifest(digest), digest)
    check_own_entry(pin.manifest, desk.config.partner, desk.keys)
    check_nobody_revoked(pin.manifest, desk.store().log.revoked())
    return pin


def named_in(token_file: Path) -> PartnerId:
    """Whom a join token is for; EnrolmentError if it is damaged."""
    return parse_token(_read_text(token_file)).partner


def proposal(desk: wiring.Desk) -> Pin | None:
    """The newest manifest, if there is one that lists this partner; raises as ``proposed``."""
    with desk.door() as coordinator:
        try:
            bundle = coordinator.fetch_manifest(None)
        except ManifestError:
            return None  # none is proposed yet
    if desk.config.partner not in {one.id for one in read_bundle(bundle).manifest.members}:
        return None
    return proposed(desk, None)


def trust(desk: wiring.Desk, pin: Pin, *, replace_pinned: bool = False) -> Pin:
    """Sign the manifest, hand the signature in, and pin it; returns it as it stands then.

    Args:
        desk: This node.
        pin: What the operator trusts from now on.
        replace_pinned: Even though it is not the successor of the pinned manifest.

    Raises:
        ManifestError: it is not, and ``replace_pinned`` was not said; nothing is signed.
    """
    if not replace_pinned:
        check_follows(pin, desk.keys.pinned())
    digest = pin.digest
    signature = desk.keys.identity().sign(Label.MANIFEST_SIGNATURE, bytes.fromhex(digest))
    signed = Signed(digest=digest, member=desk.config.partner, signature=signature)
    entry = desk.book().adopted(signed, pin.manifest.version)
    desk.store().keep_own([OwnEntry(type="manifest.adopted", data=entry)])
    with desk.door() as coordinator:
        coordinator.sign_manifest(signed, entry)
        pin = read_bundle(coordinator.fetch_manifest(digest), digest)
    desk.keys.pin(pin)
    return pin
