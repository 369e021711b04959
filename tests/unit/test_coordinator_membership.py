"""Enrolment, certificates and manifests against a peer that cheats."""

from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from consortium.crypto.keys import Secret
from consortium.errors import (
    CertificateError,
    ConfigurationError,
    EnrolmentError,
    IdentifierError,
    ManifestError,
    SignatureError,
)
from consortium.ids import PartnerId
from consortium.manifest import Role, verify_manifest
from coordinator import commands, wiring
from coordinator.authority import Authority, JoinToken, peer_of
from coordinator.interceptors import status_of
from coordinator.membership import COORDINATOR_INDEX, Membership, partner_for_token
from coordinator.wiring import Desk
from tests.coordinator_house import POLICY, SCHEMA, House, NodeKeys, enrol

YEAR_S = 366 * 86_400


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House.build(tmp_path / "c")


@pytest.fixture
def newcomer() -> NodeKeys:
    return NodeKeys.of("platform_c")


def later(desk: Desk, seconds: int) -> Membership:
    """The same members, seen after that time."""
    desk.membership._now = lambda: wiring.now() + seconds
    return desk.membership


def token_for(house: House, node: NodeKeys) -> JoinToken:
    families = house.desk.schema.families
    return commands.issue_token(house.desk, node.partner, families, hours=1)


# --- enrolment --------------------------------------------------------------------------------


def test_join_token_used_twice_is_refused(house: House, newcomer: NodeKeys) -> None:
    token = enrol(house.desk, newcomer)
    with pytest.raises(EnrolmentError, match="used already"):
        house.desk.membership.enrol(newcomer.request(token), house.desk.authority)


def test_join_token_past_its_hour_is_refused(house: House, newcomer: NodeKeys) -> None:
    token = token_for(house, newcomer)
    with pytest.raises(EnrolmentError, match="expired"):
        later(house.desk, 3600).enrol(newcomer.request(token), house.desk.authority)


def test_join_token_of_another_partner_is_refused(house: House, newcomer: NodeKeys) -> None:
    token = token_for(house, NodeKeys.of("bank_z"))
    with pytest.raises(EnrolmentError, match="offered by platform_c"):
        house.desk.membership.enrol(newcomer.request(token), house.desk.authority)


def test_guessed_join_token_is_refused(house: House, newcomer: NodeKeys) -> None:
    token = replace(
        token_for(house, newcomer),
        secret=Secret(bytes(32)),
    )
    with pytest.raises(EnrolmentError, match="unknown join token"):
        house.desk.membership.enrol(newcomer.request(token), house.desk.authority)


def test_request_whose_keys_were_exchanged_on_the_way_is_refused_and_costs_no_token(
    house: House, newcomer: NodeKeys
) -> None:
    token = token_for(house, newcomer)
    tampered = replace(newcomer.request(token), agreement=b"m" * 32)
    with pytest.raises(SignatureError):
        house.desk.membership.enrol(tampered, house.desk.authority)
    house.desk.membership.enrol(newcomer.request(token), house.desk.authority)


def test_certificate_request_signed_with_another_key_is_refused(
    house: House, newcomer: NodeKeys
) -> None:
    token = token_for(house, newcomer)
    csr = bytearray(newcomer.csr())
    csr[-1] ^= 1
    with pytest.raises(EnrolmentError, match=r"its own key|cannot be read"):
        house.desk.membership.enrol(
            newcomer.request(token, csr=bytes(csr)), house.desk.authority
        )


def test_certificate_request_over_another_curve_is_refused(
    house: House, newcomer: NodeKeys
) -> None:
    token = token_for(house, newcomer)
    newcomer.tls = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(EnrolmentError, match="P-256"):
        house.desk.membership.enrol(newcomer.request(token), house.desk.authority)


def test_name_in_the_certificate_is_the_tokens_whatever_the_request_says(
    house: House, newcomer: NodeKeys
) -> None:
    token = token_for(house, newcomer)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bank_a")])
    forged = x509.CertificateSigningRequestBuilder().subject_name(name)
    csr = forged.sign(newcomer.tls, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    der = house.desk.membership.enrol(newcomer.request(token, csr=csr), house.desk.authority)
    pem = x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)
    assert peer_of(pem, now=wiring.now()).partner == "platform_c"


def test_secret_of_a_join_token_is_not_in_the_database(
    house: House, newcomer: NodeKeys
) -> None:
    token = token_for(house, newcomer)
    secret = token.secret.expose()
    house.desk.store.close()
    stored = b"".join(
        path.read_bytes() for path in house.desk.config.directory.glob("coordinator.db*")
    )
    assert secret not in stored
    assert secret.hex().encode() not in stored


def test_partner_that_enrols_again_keeps_its_index(house: House) -> None:
    before = house.desk.store.members.get(PartnerId("bank_a"))
    again = NodeKeys.of("bank_a")
    enrol(house.desk, again)
    after = house.desk.store.members.get(PartnerId("bank_a"))
    assert before is not None
    assert after is not None
    assert after.index == before.index
    assert after.tls_spki != before.tls_spki


def test_token_for_the_coordinators_own_id_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="own id"):
        partner_for_token("coordinator")
    with pytest.raises(IdentifierError):
        partner_for_token("Bank A")


def test_token_for_a_family_that_the_schema_lacks_is_refused(house: House) -> None:
    with pytest.raises(ConfigurationError, match="shoe_size"):
        commands.issue_token(house.desk, PartnerId("bank_z"), ("shoe_size",), hours=1)


# --- certificates -----------------------------------------------------------------------------


def test_certificate_out_of_its_year_is_refused(house: House) -> None:
    with pytest.raises(CertificateError, match="is valid from"):
        later(house.desk, YEAR_S).authenticate(house.nodes["bank_a"].certificate, listed=True)


def test_certificate_before_its_time_is_refused(house: House) -> None:
    with pytest.raises(CertificateError, match="is valid from"):
        later(house.desk, -3600).authenticate(house.nodes["bank_a"].certificate, listed=True)


def test_certificate_that_was_replaced_by_a_second_enrolment_is_refused(house: House) -> None:
    enrol(house.desk, NodeKeys.of("bank_a"))
    with pytest.raises(CertificateError, match="not the enrolled one"):
        house.desk.membership.authenticate(house.nodes["bank_a"].certificate, listed=False)


def test_certificate_of_an_unknown_partner_is_refused(house: House) -> None:
    stranger = NodeKeys.of("stranger")
    der = house.desk.authority.issue_partner(stranger.partner, stranger.csr(), now=wiring.now())
    pem = x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(CertificateError, match="not the enrolled one"):
        house.desk.membership.authenticate(pem, listed=False)


def test_new_key_works_on_the_streams_only_after_the_next_manifest(house: House) -> None:
    again = NodeKeys.of("bank_a")
    enrol(house.desk, again)
    membership = house.desk.membership
    assert membership.authenticate(again.certificate, listed=False) == "bank_a"
    with pytest.raises(CertificateError, match="not the manifest's"):
        membership.authenticate(again.certificate, listed=True)
    second = membership.propose("test", house.desk.schema, POLICY)
    for node in house.nodes.values():
        membership.sign(node.sign(second.digest), peer=node.partner)
    assert membership.authenticate(again.certificate, listed=True) == "bank_a"


@pytest.mark.parametrize("pem", [b"", b"-----BEGIN CERTIFICATE-----\n"])
def test_certificate_that_cannot_be_read_is_refused(house: House, pem: bytes) -> None:
    with pytest.raises(CertificateError, match="cannot be read"):
        house.desk.membership.authenticate(pem, listed=False)


def test_authority_that_is_no_key_is_refused(house: House) -> None:
    with pytest.raises(CertificateError):
        Authority(replace(house.desk.tls, key=Secret(b"no key")))


# --- manifests --------------------------------------------------------------------------------


def test_manifest_counts_only_when_every_partner_has_signed(house: House) -> None:
    membership, nodes = house.desk.membership, house.nodes
    second = membership.propose("test", house.desk.schema, POLICY)
    assert second.previous == house.manifest.digest
    assert second.version == house.manifest.version + 1
    assert membership.current() == house.manifest
    assert (
        membership.sign(nodes["bank_a"].sign(second.digest), peer=PartnerId("bank_a")) is False
    )
    assert membership.current() == house.manifest
    assert (
        membership.sign(nodes["bank_b"].sign(second.digest), peer=PartnerId("bank_b")) is True
    )
    assert membership.current() == second
    bundle = membership.bundle(None)
    verify_manifest(second, bundle.signatures, now=wiring.now())


def test_manifest_names_the_coordinator_and_counts_partners_from_one(house: House) -> None:
    assert [member.index for member in house.manifest.partners] == [1, 2]
    assert house.manifest.coordinator.role is Role.COORDINATOR
    assert house.manifest.coordinator.index == COORDINATOR_INDEX


def test_signature_in_the_name_of_another_partner_is_refused(house: House) -> None:
    second = house.desk.membership.propose("test", house.desk.schema, POLICY)
    signed = house.nodes["bank_b"].sign(second.digest)
    with pytest.raises(ManifestError, match="bank_a sent a signature of bank_b"):
        house.desk.membership.sign(signed, peer=PartnerId("bank_a"))


def test_signature_over_another_manifest_is_refused(house: House) -> None:
    second = house.desk.membership.propose("test", house.desk.schema, POLICY)
    signed = replace(house.nodes["bank_a"].sign(house.manifest.digest), digest=second.digest)
    with pytest.raises(SignatureError):
        house.desk.membership.sign(signed, peer=PartnerId("bank_a"))


def test_policy_above_the_number_of_partners_is_refused(house: House) -> None:
    with pytest.raises(ConfigurationError, match="2 partners are enrolled"):
        house.desk.membership.propose(
            "test", house.desk.schema, replace(POLICY, min_partners=3)
        )


def test_unknown_manifest_is_refused(house: House) -> None:
    with pytest.raises(ManifestError, match="no manifest"):
        house.desk.membership.bundle(house.desk.schema.digest)


# --- keys on disk -----------------------------------------------------------------------------


def test_keys_are_written_for_their_owner_only(house: House) -> None:
    keys = house.desk.config.keys
    assert keys.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in keys.iterdir())


def test_key_that_others_may_read_is_refused_with_the_repair(house: House) -> None:
    path = house.desk.config.keys / "ca.key"
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match=f"chmod 600 {path}"):
        wiring.open_desk(house.desk.config.directory)


def test_init_over_an_existing_coordinator_changes_nothing(house: House) -> None:
    directory = house.desk.config.directory
    before = (directory / "keys" / "identity.key").read_bytes()
    birth = wiring.Birth(
        name="x", schema=SCHEMA, address="127.0.0.1:1", enrolment="127.0.0.1:2"
    )
    with pytest.raises(ConfigurationError, match="exists already"):
        wiring.initialise(directory, birth)
    assert (directory / "keys" / "identity.key").read_bytes() == before


def test_error_leaves_as_the_status_of_its_nearest_class() -> None:
    assert status_of(CertificateError("x")) is grpc.StatusCode.UNAUTHENTICATED
    assert status_of(ManifestError("x")) is grpc.StatusCode.FAILED_PRECONDITION
    assert status_of(EnrolmentError("x")) is grpc.StatusCode.PERMISSION_DENIED
