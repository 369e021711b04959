"""From the regulator's draw to a signed result in the log, with real processes throughout."""

import contextlib
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from consortium.errors import OutOfOrderError
from consortium.ledger.bodies import DecisionAnswer, DecisionBatch, DecisionResult
from consortium.ledger.entries import (
    AuditAnswer,
    AuditChallenge,
    AuditResult,
    Body,
    from_jcs,
)
from consortium.ledger.findings import Grade
from consortium.ledger.verify import Audit
from coordinator import commands, wiring
from partner_node import cli as node_cli
from partner_node.credit.cli import main as desk_main
from partner_node.credit.sealing import waiting
from partner_node.replaying import waiting_challenge
from partner_node.wiring import open_desk
from regulator import cli as regulator_cli
from regulator.wiring import audit_file
from rehearsal.federation import COORDINATOR
from tests.credit_desk_house import application, decided, desk, write_rules
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
        entries = [from_jcs(data) for data in store.log.entries()]
    return [(str(one.actor), one.body) for one in entries if isinstance(one.body, kind)]


def bundle(live: Federation, path: Path) -> tuple[Path, str]:
    live.steps.wait_for_witnesses()
    desk = wiring.open_desk(live.directory(COORDINATOR))
    return path, commands.write_bundle(desk, path)


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
    name_coin(live, str(live.rehearsal.parties[0].id))
    live.wait(
        lambda: drawn(authority, "--run", run),
        what="the draw",
        blame="authority",
    )
    live.wait(lambda: bool(said(live, AuditChallenge)), what="a challenge", blame=COORDINATOR)
    names = [str(party.id) for party in live.rehearsal.parties]
    opened = {name: near / f"{name}.jsonl" for name in names}
    words: list[str] = []
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


@pytest.mark.slow
def test_decision_that_was_flipped_after_it_was_committed_to_is_drawn_found_and_named(
    live: Federation, near: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = str(live.places.regulator)
    honest, cheat, other, *_ = (str(party.id) for party in live.rehearsal.parties)
    names = {name: decide(live.directory(name)) for name in (honest, cheat)}
    for name in names:
        seal(live, name)
    live.steps.wait_for_witnesses()
    name_coin(live, other)
    flipped = names[cheat][3]
    flip(live.directory(cheat), flipped)

    # Drawn from a file: the regulator's mirror is not needed for it.
    path, digest = bundle(live, near / "before.zip")
    offline = ["--bundle", str(path), "--manifest", digest]
    assert drawn(authority, "--decisions", "20", "--batches", "3", *offline)
    for name in names:
        live.wait(lambda name=name: open_draws(live, name), what="a draw", blame=name)  # type: ignore[misc]
    # What the mirror shows as drawn is not drawn again.
    assert not drawn(authority, "--decisions", "20", "--batches", "3")

    capsys.readouterr()
    reports = {name: near / f"{name}.jsonl" for name in names}
    for name, code in ((honest, 0), (cheat, 4)):
        words = ["answer", str(live.directory(name)), "--sign", "--out", str(reports[name])]
        assert desk_main(words) == code
    told = capsys.readouterr().out
    assert f"{flipped} altered" in told
    for name in (*names[honest], *names[cheat], PERSON):
        assert name.encode() not in reports[honest].read_bytes() + reports[cheat].read_bytes()
    live.wait(
        lambda: {who for who, _ in said(live, DecisionAnswer)} == {honest, cheat},
        what="both answers",
        blame=COORDINATOR,
    )

    path, digest = bundle(live, near / "answered.zip")
    for name, code in ((honest, 0), (cheat, 4)):
        words = ["replay", str(path), "--manifest", digest, "--decisions", str(reports[name])]
        assert regulator_cli.main([*words, "--sign", authority]) == code
    assert re.search(rf"{cheat}, batch [0-9].*failed\n  decision [0-9]\.[0-9] altered", told)
    live.wait(
        lambda: len(said(live, DecisionResult)) == len(said(live, DecisionAnswer)),
        what="results",
        blame="authority",
    )
    path, digest = bundle(live, near / "done.zip")
    check_verdict(audit_file(path, digest), cheat)  # type: ignore[arg-type]


def check_verdict(audit: Audit, cheat: str) -> None:
    """The flipped decision is the one error, and its entries are the cheat's."""
    errors = [one for one in audit.findings if one.grade is Grade.ERROR]
    assert {one.name for one in errors} == {"decision.failed"}
    assert audit.timeline is not None
    named = {audit.timeline.entries[index] for one in errors for index in one.entries}
    assert {str(one.actor) for one in named} == {cheat, "authority"}
    assert not [one for one in audit.findings if one.grade is Grade.WARNING]


PERSON = "11010519"


def decide(directory: Path) -> list[str]:
    """Six decisions at a partner's own desk; their ids, the oldest first."""
    write_rules(directory)
    with desk(directory) as service:
        return [decided(service, application(f"application-{n}"))["id"] for n in range(6)]


def flip(directory: Path, name: str) -> None:
    """Turn one stored decision over, as who has the disk would."""
    with contextlib.closing(sqlite3.connect(directory / "credit.db", timeout=30)) as database:
        (data,) = database.execute(
            "SELECT decision FROM decisions WHERE id = ?", (name,)
        ).fetchone()
        turned = data.replace(b'"outcome":"APPROVE"', b'"outcome":"DECLINE"')
        assert turned != data
        with database:
            database.execute("UPDATE decisions SET decision = ? WHERE id = ?", (turned, name))


def name_coin(live: Federation, name: str) -> None:
    """Have a partner say something that rests on a head over all that is in the log now."""
    with live.store() as store:
        size = len(store.log.entries())
    store_of = open_desk(live.directory(name)).store()
    live.wait(lambda: store_of.log.seen()[0] >= size, what="a counted head", blame=name)
    seal(live, name)
    live.steps.wait_for_witnesses()


def seal(live: Federation, name: str) -> None:
    """Commit to a partner's decisions, and wait until the log has it."""
    before = len(said(live, DecisionBatch))
    assert desk_main(["seal", str(live.directory(name))]) == 0
    live.wait(
        lambda: len(said(live, DecisionBatch)) > before, what="a commitment", blame=COORDINATOR
    )


def open_draws(live: Federation, name: str) -> bool:
    """Whether a node's mirror has a draw that it has not answered."""
    node = open_desk(live.directory(name))
    return any(waiting(node.store().log, node.known_pin().manifest))


def drawn(directory: str, *words: str) -> bool:
    """Whether the regulator could draw: what it draws from is under a counted head."""
    try:
        return regulator_cli.main(["sample", directory, *words]) == 0
    except OutOfOrderError:
        return False


def challenged(directory: str) -> bool:
    """Whether the node finds a challenge in its mirror that waits."""
    desk = open_desk(Path(directory))
    try:
        return bool(waiting_challenge(desk.store(), desk.known_pin().manifest))
    except OutOfOrderError:
        return False
