"""Attestations between two nodes, by files alone: issue, show, take back, refuse."""

import contextlib
import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from consortium.canonical import Label
from consortium.credit.attestation import SignedAttestation, Validity
from consortium.credit.closures import Cause
from consortium.credit.outcomes import LineStatus
from consortium.documents import parse_document
from consortium.errors import (
    AttestationError,
    ConsentMissingError,
    DomainError,
    NotFoundError,
    OutOfOrderError,
)
from consortium.features.schema import canonical_bytes, parse_schema
from consortium.ids import PartnerId, PersonToken
from consortium.manifest import Role, manifest_bytes
from consortium.messages import ManifestBundle, Signed
from partner_node import joining, scoring_parts, wiring
from partner_node.credit import attesting, storage_attested
from partner_node.credit.cli import main
from partner_node.credit.cli_attest import REFUSED
from partner_node.credit.lines import FILE
from partner_node.credit.opening import open_service, subjects_of
from partner_node.credit.storage_attested import ATTESTED
from partner_node.keystore import Pin, read_bundle
from tests.ledger_house import SCHEMA, Party, manifest_of, parties_of
from tests.watch_house import COUNT, history, write_table

Output = pytest.CaptureFixture[str]

BANK, OTHER = PartnerId("silo-00"), PartnerId("silo-01")
PERSON, SOMEBODY, LEAVER = "11010519", "22020628", "44040846"
TOKENS = {
    PERSON: PersonToken(b"p" * 16),
    SOMEBODY: PersonToken(b"s" * 16),
    LEAVER: PersonToken(b"l" * 16),
}


@pytest.fixture(scope="module")
def pin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pin, Path, Path]:
    """A manifest that all have signed, and the two nodes that trust it."""
    root = tmp_path_factory.mktemp("attest")
    nodes = {name: root / name for name in (BANK, OTHER)}
    for name, path in nodes.items():
        joining.initialise(path, name, None)
    keys = {name: wiring.open_desk(path).keys.identity() for name, path in nodes.items()}
    schema = parse_schema(SCHEMA, source="attest")
    parties = parties_of(3)
    plain = manifest_of(parties, schema)
    members = tuple(
        replace(one, identity=keys[one.id].public.hex()) if one.id in keys else one
        for one in plain.members
    )
    manifest = replace(plain, members=members)
    signatures = tuple(
        Signed(
            digest=manifest.digest,
            member=one.id,
            signature=_key_of(one.id, parties, keys).sign(
                Label.MANIFEST_SIGNATURE, bytes.fromhex(manifest.digest)
            ),
        )
        for one in manifest.signers()
        if one.role is not Role.COORDINATOR
    )
    bundle = ManifestBundle(
        body=manifest_bytes(manifest),
        schema=canonical_bytes(schema.to_canonical()),
        signatures=signatures,
    )
    found = read_bundle(bundle, manifest.digest)
    for path in nodes.values():
        wiring.open_desk(path).keys.pin(found)
        _keep_tokens(path, found.manifest.policy.scoring.epoch)
    _write_lines(nodes[BANK])
    return found, nodes[BANK], nodes[OTHER]


def _key_of(name: PartnerId, parties: dict[PartnerId, Party], keys: Any) -> Any:  # noqa: ANN401
    return keys.get(name) or parties[name].identity


def _keep_tokens(path: Path, epoch: int) -> None:
    desk = wiring.open_desk(path)
    subject = subjects_of(desk)
    pairs = [(subject(person), bytes(token)) for person, token in TOKENS.items()]
    with contextlib.closing(scoring_parts.scoring_store(desk, wiring.now)) as store:
        store.keep_tokens(epoch, pairs, customers=True)


def _write_lines(path: Path) -> None:
    folder = path / "credit"
    folder.mkdir(exist_ok=True)
    lines = [
        replace(history("a", dpd=[0] * 6 + [40, 0], opened=date(2024, 11, 1)), person=PERSON),
        replace(history("b", balance=[50_000] * COUNT), person=PERSON),
        replace(history("c", dpd=[0] * 7 + [95]), person=SOMEBODY),
        replace(history("d"), person=LEAVER),
    ]
    query = write_table(folder, lines).query
    (folder / FILE).write_text(f'query = "{query}"\n', encoding="utf-8")


def told(capsys: Output, *words: str, status: int = 0) -> Any:  # noqa: ANN401 - parsed JSON
    capsys.readouterr()
    assert main([*words, "--json"]) == status
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def bank(pin: tuple[Pin, Path, Path]) -> Path:
    """The issuer, with nothing issued and nothing withdrawn."""
    with (
        open_service(wiring.open_desk(pin[1])) as service,
        service.ports.store.transaction() as connection,
    ):
        connection.execute(ATTESTED.delete())
    assert main(["withdraw", str(pin[1]), PERSON, "--purpose", "ATTESTATION", "--restore"]) == 0
    return pin[1]


def issued(bank: Path, out: Path, person: str = PERSON, *more: str) -> SignedAttestation:
    words = ["attest", str(bank), person, "--consent", "c-1", "--out", str(out), *more]
    assert main(words) == 0
    return parse_document(SignedAttestation, out.read_bytes())


def test_attestation_is_issued_and_verified_by_files_alone(
    pin: tuple[Pin, Path, Path], bank: Path, tmp_path: Path, capsys: Output
) -> None:
    out, trust = tmp_path / "paper", str(bank / "trust.json")
    one = issued(bank, out).attestation
    assert out.stat().st_mode & 0o077 == 0
    assert PERSON.encode() not in out.read_bytes()
    words = ["verify-attestation", str(out), "--manifest", trust]
    found = told(capsys, *words, "--node", str(pin[2]), "--person", PERSON)
    assert (found["result"], found["compared"]) == ("VALID_AS_OF", True)
    assert found["bands"] == {
        "months": "13-24",
        "worst_dpd": "31-60",
        "utilisation": "20-40",
        "cause": "OTHER",
    }
    assert told(capsys, *words)["compared"] is False
    assert (one.expires_on - one.issued_on).days == 90


def test_other_token_and_altered_byte_are_refused_with_their_rule(
    pin: tuple[Pin, Path, Path], bank: Path, tmp_path: Path, capsys: Output
) -> None:
    out, trust = tmp_path / "paper", str(bank / "trust.json")
    issued(bank, out)
    words = ["verify-attestation", str(out), "--manifest", trust]
    shown = [*words, "--node", str(pin[2]), "--person", SOMEBODY]
    assert told(capsys, *shown, status=REFUSED)["rule"] == "person"
    data = out.read_bytes()
    for place in range(0, len(data), 37):
        altered = bytearray(data)
        altered[place] ^= 1
        out.write_bytes(altered)
        assert told(capsys, *words, status=REFUSED)["rule"] in ("altered", "issuer")


def test_expired_attestation_is_refused_and_an_old_list_says_up_to_when(
    pin: tuple[Pin, Path, Path], bank: Path, tmp_path: Path
) -> None:
    one = issued(bank, tmp_path / "paper", PERSON, "--days", "30").attestation
    data = (tmp_path / "paper").read_bytes()
    listed = tmp_path / "list"
    assert main(["revoke-attestation", str(bank), "--list", "--out", str(listed)]) == 0
    last = one.issued_on + timedelta(days=29)

    def verified(today: date) -> tuple[Validity, date]:
        found = attesting.verify(
            data,
            pin[0].manifest,
            revocations=listed.read_bytes(),
            subject=(one.epoch, TOKENS[PERSON]),
            today=today,
        )
        return found.validity, found.as_of

    assert verified(last) == (Validity.VALID_AS_OF, one.issued_on)
    with pytest.raises(AttestationError, match="expired") as refused:
        verified(last + timedelta(days=1))
    assert refused.value.rule == "expired"
    with pytest.raises(DomainError, match="90 days"):
        issued(bank, tmp_path / "longer", PERSON, "--days", "91")
    assert not (tmp_path / "longer").exists()


def test_revoked_attestation_is_refused_and_a_list_that_is_altered_too(
    bank: Path, tmp_path: Path, capsys: Output
) -> None:
    out, listed = tmp_path / "paper", tmp_path / "list"
    one = issued(bank, out).attestation
    assert main(["revoke-attestation", str(bank), one.digest]) == 0
    assert main(["revoke-attestation", str(bank), "--list", "--out", str(listed)]) == 0
    words = ["verify-attestation", str(out), "--manifest", str(bank / "trust.json")]
    found = told(capsys, *words, "--revocations", str(listed), status=REFUSED)
    assert found["rule"] == "revoked"
    listed.write_bytes(listed.read_bytes().replace(one.digest.encode(), b"0" * 64))
    found = told(capsys, *words, "--revocations", str(listed), status=REFUSED)
    assert found["rule"] == "altered"
    with pytest.raises(NotFoundError):
        main(["revoke-attestation", str(bank), "0" * 64])
    with pytest.raises(OutOfOrderError, match="revoked"):
        issued(bank, tmp_path / "again")


def test_nothing_is_attested_without_consent_or_without_a_line(
    bank: Path, tmp_path: Path
) -> None:
    out = tmp_path / "paper"
    with pytest.raises(ConsentMissingError):
        main(["attest", str(bank), PERSON, "--consent", "", "--out", str(out)])
    assert main(["withdraw", str(bank), PERSON, "--purpose", "ATTESTATION"]) == 0
    with pytest.raises(ConsentMissingError):
        issued(bank, out)
    with pytest.raises(NotFoundError, match="token"):
        issued(bank, out, "33030737")
    assert not out.exists()


def listed(bank: Path, out: Path) -> bytes:
    assert main(["revoke-attestation", str(bank), "--list", "--out", str(out)]) == 0
    return out.read_bytes()


def test_withdrawal_takes_back_what_was_attested(bank: Path, tmp_path: Path) -> None:
    one = issued(bank, tmp_path / "paper").attestation
    other = issued(bank, tmp_path / "other", SOMEBODY).attestation
    assert main(["withdraw", str(bank), PERSON, "--purpose", "ATTESTATION"]) == 0
    data = listed(bank, tmp_path / "list")
    assert one.digest.encode() in data
    assert other.digest.encode() not in data


def test_deletion_takes_back_what_was_attested_and_leaves_it_under_nobody(
    bank: Path, tmp_path: Path, capsys: Output
) -> None:
    one = issued(bank, tmp_path / "paper", LEAVER).attestation
    day = one.issued_on.isoformat()
    words = ["delete", str(bank), LEAVER, "--request", "r-1", "--received", day]
    found = told(capsys, *words)
    assert (found["erased"]["attestations"], found["rows_left"]) == (1, 0)
    desk = wiring.open_desk(bank)
    with open_service(desk) as service, service.ports.store.reading() as connection:
        row = connection.execute(ATTESTED.select()).one()
    assert (row.id, row.subject, row.consent) == (one.digest, b"", "")
    assert one.digest.encode() in listed(bank, tmp_path / "list")
    with pytest.raises(NotFoundError):
        issued(bank, tmp_path / "after", LEAVER)


def test_list_has_what_was_revoked_until_it_expires_by_itself(
    bank: Path, tmp_path: Path
) -> None:
    one = issued(bank, tmp_path / "paper", PERSON, "--days", "1").attestation
    other = issued(bank, tmp_path / "other", PERSON, "--days", "2").attestation
    assert main(["revoke-attestation", str(bank), one.digest]) == 0
    over = one.expires_on + timedelta(days=1)
    desk = wiring.open_desk(bank)
    with open_service(desk) as service, service.ports.store.transaction() as connection:
        assert storage_attested.drop_expired(connection, one.expires_on) == {"attestations": 0}
        assert storage_attested.revoked(connection, one.expires_on) == [one.digest]
        assert storage_attested.revoked(connection, over) == []
        assert storage_attested.drop_expired(connection, over) == {"attestations": 1}
        assert storage_attested.issued_by(connection, other.digest) is not None


def test_closure_for_arrears_is_attested_though_a_cut_came_before_it() -> None:
    closed = [LineStatus.OPEN] * 7 + [LineStatus.CLOSED_LENDER]
    dpd = [0] * 5 + [40, 40, 40]
    late = history("l", dpd=dpd, status=closed)  # type: ignore[arg-type]
    limits = (100_000, 20_000, 20_000)
    months = tuple(
        replace(one, limit=limits[min(place, 2)]) for place, one in enumerate(late.months)
    )
    cut = replace(late, months=months)
    assert attesting.attested_of([cut, history("k")]).cause is Cause.ARREARS
    assert attesting.attested_of([history("k")]).cause is Cause.UNSTATED
    with pytest.raises(NotFoundError):
        attesting.attested_of([])
