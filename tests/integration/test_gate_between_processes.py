"""The release gate between real processes: what it refuses is refused by all, and logged."""

import json
from pathlib import Path

import pytest

from consortium.credit.gate import Verdict
from consortium.ledger.archive import unpack
from consortium.ledger.entries import ReleaseGate, ReleaseServed, ReleaseVote, from_jcs
from consortium.ledger.findings import Findings
from consortium.ledger.tiles import decode_bundle
from rehearsal.cli import main
from rehearsal.processes import RehearsalError
from tests.rehearsal_house import JOINT, furnish


def bodies_of(report: Path) -> list[object]:
    """All entries of the log that the rehearsal left."""
    files = unpack((report / "audit.zip").read_bytes(), Findings())
    places = sorted(name for name in files if name.startswith("tile/entries/"))
    return [from_jcs(data).body for name in places for data in decode_bundle(files[name])]


def test_miscalibrated_candidate_is_refused_by_every_node_and_never_served(
    near: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = near / "report"
    gate = 'least_rows = 100\nmost_changes = "1"\nleast_agreement = "0"'
    file = furnish(near, rows=1200, rounds=6, gate=gate, worse_when_held_out=True)
    assert main([str(file), "--report", str(report), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-2]["verdict"] == "verified"
    found = json.loads((report / "report.json").read_text(encoding="utf-8"))
    assert found["model"]["status"] == "candidate"
    assert found["model"]["votes"] == {"north": False, "south": False}
    bodies = bodies_of(report)
    (verdict,) = [body for body in bodies if isinstance(body, ReleaseGate)]
    assert not verdict.passed
    assert "calibration.in_the_large" in {
        one.name for one in verdict.checks if one.verdict == Verdict.FAILED.value
    }
    votes = [body for body in bodies if isinstance(body, ReleaseVote)]
    assert [(one.accept, one.reason) for one in votes] == [(False, "gate")] * 2
    assert not [body for body in bodies if isinstance(body, ReleaseServed)]


@pytest.mark.slow
def test_refused_candidate_ends_a_rehearsal_of_joint_scores_at_once_with_the_reasons(
    near: Path,
) -> None:
    report = near / "report"
    gate = 'least_rows = 100\nmost_changes = "1"\nleast_agreement = "0"'
    file = furnish(
        near, rows=1200, rounds=6, gate=gate, worse_when_held_out=True, scoring=JOINT
    )
    with pytest.raises(RehearsalError, match=r"gate refuses it: calibration\.in_the_large"):
        main([str(file), "--report", str(report), "--json"])


@pytest.mark.slow
def test_model_whose_reasons_hang_on_the_noise_is_refused_by_its_members(near: Path) -> None:
    report = near / "report"
    gate = 'most_changes = "0"\ndecline_pd = "0.3"\nleast_declined = 1'
    file = furnish(near, rows=600, rounds=6, gate=gate)
    assert main([str(file), "--report", str(report), "--json"]) == 0
    bodies = bodies_of(report)
    votes = [body for body in bodies if isinstance(body, ReleaseVote)]
    assert {(one.accept, one.reason) for one in votes} == {(False, "unstable_reasons")}
    assert not [body for body in bodies if isinstance(body, ReleaseServed)]
