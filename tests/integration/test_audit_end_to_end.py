"""From the regulator's draw to a signed result in the log, with real processes throughout."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from consortium.errors import OutOfOrderError
from consortium.ledger.entries import (
    AuditAnswer,
    AuditChallenge,
    AuditResult,
    Body,
    from_jcs,
)
from consortium.ledger.findings import Grade
from coordinator import wiring
from partner_node import cli as node_cli
from partner_node.replaying import waiting_challenge
from partner_node.wiring import open_desk
from regulator import cli as regulator_cli
from regulator.wiring import audit_file
from rehearsal.federation import COORDINATOR
from tests.integration.federation import Federation, write_rehearsal


@pytest.fixture
def live(near: Path) -> Iterator[Federation]:
    """Three partners and a regulator that watches."""
    file = write_rehearsal(near / "f", rounds=5)
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('title = "test"', 'title = "test"\nregulator = "authority"'))
    with Federation.running(near, file) as live:
        yield live


def said(live: Federation, kind: type[Body]) -> list[tuple[str, Body]]:
    with live.store() as store:
        entries = [from_jcs(data) for data in store.log_entries()]
    return [(str(one.actor), one.body) for one in entries if isinstance(one.body, kind)]


def bundle(live: Federation, path: Path) -> tuple[Path, str]:
    live.steps.wait_for_witnesses()
    desk = wiring.open_desk(live.directory(COORDINATOR))
    return path, wiring.write_bundle(desk, path)


@pytest.mark.slow
def test_challenge_is_answered_by_every_partner_and_its_result_stands_in_the_log(
    live: Federation, near: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = live.start_run().wait_for_end().run
    live.steps.wait_for_witnesses()
    authority = str(live.places.regulator)
    told = live.places.logs / "authority.log"
    live.wait(
        lambda: "run.closed" in told.read_text(encoding="utf-8"),
        what="the regulator has mirrored the end of the run",
        blame="authority",
    )
    live.steps.wait_for_witnesses()
    live.wait(
        lambda: drawn(authority, run),
        what="the draw",
        blame="authority",
    )
    live.wait(lambda: bool(said(live, AuditChallenge)), what="a challenge", blame=COORDINATOR)
    names = [str(party.id) for party in live.rehearsal.parties]
    opened = {name: near / f"{name}.jsonl" for name in names}
    for name in names:
        directory = str(live.directory(name))
        live.wait(lambda directory=directory: challenged(directory), what=name, blame=name)  # type: ignore[misc]
        words = ["replay", directory, "--challenge", "--sign", "--opened", str(opened[name])]
        assert node_cli.main(words) == 0
        assert not challenged(directory)  # it is answered
    live.wait(
        lambda: {name for name, _ in said(live, AuditAnswer)} == set(names),
        what="every answer",
        blame=COORDINATOR,
    )
    assert {body.verdict for _, body in said(live, AuditAnswer)} == {"passed"}  # type: ignore[union-attr]

    path, digest = bundle(live, near / "answered.zip")
    for name in names:
        words = ["replay", str(path), "--manifest", digest, "--opened", str(opened[name])]
        assert regulator_cli.main([*words, "--sign", authority]) == 0
    live.wait(
        lambda: len(said(live, AuditResult)) == len(names), what="results", blame="authority"
    )
    path, digest = bundle(live, near / "done.zip")
    audit = audit_file(path, digest)  # type: ignore[arg-type]
    assert [one for one in audit.findings if one.grade is not Grade.NOTE] == []
    notes = {one.name for one in audit.findings}
    assert not notes & {"audit.none", "answer.due"}

    # What was signed is what the report says, and nothing else was drawn.
    capsys.readouterr()
    assert regulator_cli.main([*words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert ("authority", report["report"]) in {
        (who, body.report)  # type: ignore[union-attr]
        for who, body in said(live, AuditResult)
    }


def drawn(directory: str, run: str) -> bool:
    """Whether the regulator could draw: the end of the run is under a counted head."""
    try:
        return regulator_cli.main(["sample", directory, "--run", run]) == 0
    except OutOfOrderError:
        return False


def challenged(directory: str) -> bool:
    """Whether the node finds a challenge in its mirror that waits."""
    desk = open_desk(Path(directory))
    try:
        return bool(waiting_challenge(desk.store(), desk.known_pin().manifest))
    except OutOfOrderError:
        return False
