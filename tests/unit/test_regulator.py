"""``riskweave audit verify``: what it prints and how it ends."""

import json
from pathlib import Path

import pytest

from consortium.errors import ConfigurationError, IdentifierError, MessageTooLargeError
from consortium.ledger.archive import LARGEST_ARCHIVE, pack
from consortium.ledger.findings import Check
from regulator.bundle import read_bundle
from regulator.cli import FAILED, main
from tests.ledger_house import House


@pytest.fixture(scope="module")
def house() -> House:
    return House(silos=3, rounds=1).run()


@pytest.fixture
def bundle(house: House, tmp_path: Path) -> Path:
    path = tmp_path / "bundle.zip"
    path.write_bytes(pack(house.bundle()))
    return path


def test_honest_bundle_is_verified_with_exit_code_0(
    house: House, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(bundle), "--manifest", house.manifest.digest]) == 0
    shown = capsys.readouterr().out
    every = f"checks: {len(Check)} of {len(Check)} without an error"
    assert shown.endswith(f"{every}\nverdict: verified\n")
    assert f"log of {len(house.entries)} entries" in shown


def test_flipped_byte_ends_with_the_code_of_an_error_and_names_the_file(
    house: House, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(bundle.read_bytes())
    data[data.index(b'"type":"round.join"') - 200] ^= 1
    bundle.write_bytes(bytes(data))
    assert main(["verify", str(bundle), "--manifest", house.manifest.digest]) == FAILED
    shown = capsys.readouterr().out
    assert "error 8.7(8) entry." in shown
    assert "error 8.7(1) bundle.header" in shown
    assert "verdict: failed" in shown


def test_json_has_the_headings_of_the_guide_and_every_check(
    house: House, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(bundle), "--manifest", house.manifest.digest, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report) == [
        *("type", "verdict", "unit_and_epsilon", "correctness", "trust", "data_collection")
    ]
    assert [one["check"] for one in report["correctness"]] == [one.value for one in Check]
    assert {one["result"] for one in report["correctness"]} == {"passed"}
    (release,) = report["unit_and_epsilon"]
    assert float(release["epsilon"]["person"]) <= 1
    assert report["trust"]["head_cosigned_by"] == list(house.names)


def test_bundle_that_is_not_there_or_too_large_makes_no_audit(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        read_bundle(tmp_path / "none.zip")
    large = tmp_path / "large.zip"
    with large.open("wb") as file:
        file.truncate(LARGEST_ARCHIVE + 1)
    with pytest.raises(MessageTooLargeError):
        read_bundle(large)


def test_manifest_digest_that_is_none_makes_no_audit(bundle: Path) -> None:
    with pytest.raises(IdentifierError):
        main(["verify", str(bundle), "--manifest", "AB"])
