import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from consortium.canonical import canonical_json
from consortium.crypto.keys import Secret
from consortium.errors import (
    CertificateError,
    ConfigurationError,
    DigestMismatchError,
    ManifestError,
    StorageError,
)
from consortium.features.schema import Schema
from consortium.ids import PartnerId, digest_of
from consortium.manifest import manifest_bytes
from consortium.messages import ManifestBundle
from coordinator.authority import spki_of_request
from partner_node import joining, wiring
from partner_node.keystore import Keystore, read_bundle, write_file
from tests.simulator import Consortium

BANK = PartnerId("bank_a")


@pytest.fixture
def keys(tmp_path: Path) -> Keystore:
    store = Keystore(tmp_path)
    seeds = iter(range(1, 9))
    store.create(lambda: Secret(bytes([next(seeds)]) * 32))
    return store


@pytest.fixture(scope="module")
def bundle() -> ManifestBundle:
    house = Consortium()
    return bundle_of(house, house.schema)


def bundle_of(house: Consortium, schema: Schema) -> ManifestBundle:
    return ManifestBundle(
        body=manifest_bytes(house.manifest),
        signatures=house.signatures(),
        schema=canonical_json(schema.to_canonical()),
    )


def test_key_files_are_their_owners_alone_and_all_differ(
    keys: Keystore, tmp_path: Path
) -> None:
    folder = tmp_path / "keys"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [
        *("agreement.key", "identity.key", "tls.key", "witness.key")
    ]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    publics = {keys.identity().public, keys.agreement().public, keys.witness().public}
    assert len(publics) == 3


def test_keys_are_not_made_twice(keys: Keystore) -> None:
    with pytest.raises(ConfigurationError, match="nothing was changed"):
        keys.create(lambda: Secret(b"x" * 32))


@pytest.mark.parametrize(
    ("name", "mode"), [("keys", 0o755), ("keys/identity.key", 0o640), ("keys/tls.key", 0o604)]
)
def test_key_that_others_may_read_is_refused_with_the_repair(
    keys: Keystore, tmp_path: Path, name: str, mode: int
) -> None:
    path = tmp_path / name
    right = "700" if path.is_dir() else "600"
    path.chmod(mode)
    read: Callable[[], object] = keys.tls_spki if "tls" in name else keys.identity
    with pytest.raises(ConfigurationError, match=f"chmod {right} {path}"):
        read()
    path.chmod(int(right, 8))
    read()


@pytest.mark.parametrize("text", ["", "zz", "00" * 31, "00" * 33])
def test_damaged_seed_is_named(keys: Keystore, tmp_path: Path, text: str) -> None:
    (tmp_path / "keys/identity.key").write_text(text)
    with pytest.raises(ConfigurationError, match=r"identity\.key is not 32 bytes in hex"):
        keys.identity()


def test_damaged_tls_key_is_named(keys: Keystore, tmp_path: Path) -> None:
    (tmp_path / "keys/tls.key").write_text("-----BEGIN NOTHING-----")
    with pytest.raises(ConfigurationError, match=r"tls\.key is not a private key"):
        keys.tls_spki()


def test_node_without_a_certificate_is_told_to_join(keys: Keystore) -> None:
    assert keys.certificate_until(BANK) is None
    with pytest.raises(CertificateError, match="riskweave node join"):
        keys.tls(BANK, now=0)


def test_unreadable_certificate_is_refused(keys: Keystore, tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="not the authority's"):
        keys.save_certificate(b"no certificate", b"none")
    (tmp_path / "keys/node.pem").write_text("-----BEGIN CERTIFICATE-----")
    with pytest.raises(CertificateError, match="cannot be read"):
        keys.certificate_until(BANK)


def test_pin_comes_back_as_it_was_kept(keys: Keystore, bundle: ManifestBundle) -> None:
    assert keys.pinned() is None
    keys.pin(read_bundle(bundle))
    kept = keys.pinned()
    assert kept is not None
    assert kept == read_bundle(bundle)
    kept.verify(now=0)


def test_pin_with_a_signature_less_is_kept_but_not_verified(
    keys: Keystore, bundle: ManifestBundle
) -> None:
    less = ManifestBundle(
        body=bundle.body, schema=bundle.schema, signatures=bundle.signatures[1:]
    )
    keys.pin(read_bundle(less))
    kept = keys.pinned()
    assert kept is not None
    with pytest.raises(ManifestError, match="has not signed"):
        kept.verify(now=0)


def test_verified_pin_is_read_once_and_again_when_its_file_is_another_one(
    tmp_path: Path, bundle: ManifestBundle
) -> None:
    joining.initialise(tmp_path / "node", BANK, None)
    desk = wiring.open_desk(tmp_path / "node")
    desk.keys.pin(read_bundle(bundle))
    assert desk.pinned() is wiring.open_desk(tmp_path / "node").pinned()
    less = ManifestBundle(
        body=bundle.body, schema=bundle.schema, signatures=bundle.signatures[1:]
    )
    desk.keys.pin(read_bundle(less))
    with pytest.raises(ManifestError, match="has not signed"):
        desk.pinned()
    desk.keys.trust_file.unlink()
    with pytest.raises(ManifestError, match="no manifest is pinned"):
        desk.pinned()


def test_pin_whose_body_was_changed_on_disk_is_refused(
    keys: Keystore, bundle: ManifestBundle
) -> None:
    keys.pin(read_bundle(bundle))
    path = keys.trust_file
    text = path.read_text()
    lax = text.replace(b'"n_min":3'.hex(), b'"n_min":1'.hex())
    assert lax != text
    path.write_text(lax)
    with pytest.raises(ManifestError, match="is damaged: manifest has digest"):
        keys.pinned()
    path.write_text("{}")
    with pytest.raises(ManifestError, match="is damaged"):
        keys.pinned()


def test_schema_other_than_the_manifests_is_refused(bundle: ManifestBundle) -> None:
    other = bundle.schema.replace(b'"months"', b'"weeks!"')
    assert other != bundle.schema
    swapped = ManifestBundle(body=bundle.body, signatures=(), schema=other)
    with pytest.raises(DigestMismatchError, match="feature schema"):
        read_bundle(swapped)


def test_manifest_other_than_the_one_asked_for_is_refused(bundle: ManifestBundle) -> None:
    with pytest.raises(DigestMismatchError, match="manifest has digest"):
        read_bundle(bundle, digest_of(b"another"))


def test_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_file(path, b"old")
    (tmp_path / ".f.new").mkdir()  # the draft cannot be written
    with pytest.raises(StorageError):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"


def test_certificate_request_carries_the_tls_key(keys: Keystore) -> None:
    assert spki_of_request(keys.certificate_request(BANK)) == keys.tls_spki()
