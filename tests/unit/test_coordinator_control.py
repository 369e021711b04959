"""The operator's door and the commands behind it, on a real unix socket."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from consortium.errors import ConfigurationError, TransportError
from consortium.identity.overlap import SCALE, OverlapCount, OverlapPlan, counts_of
from consortium.ids import PartnerId, RunId, digest_of
from consortium.manifest import Role
from coordinator import cli, cli_models, control, wiring
from coordinator.control import ControlPorts, ScoringStatus, control_server
from coordinator.events import EventLog, RunEvent
from coordinator.pseudonym_epochs import EpochStatus
from tests.coordinator_house import DEADLINE_S, SCHEMA, House, free_address
from tests.health_house import page_of, probe

RUN = RunId("ab" * 16)
STORY = (
    RunEvent(run=RUN, stage="preparing", rounds=2),
    RunEvent(run=RUN, stage="training", round=1, rounds=2, attempt=1, seconds=0.5),
    RunEvent(run=RUN, stage="finished", version="01" * 32),
)

SCORING = ScoringStatus(
    epoch=EpochStatus(
        epoch=3,
        state="waiting",
        detail="for bank_b",
        holders=(PartnerId("bank_a"), PartnerId("shop_c")),
        lacking=(PartnerId("shop_c"),),
    ),
    in_flight=2,
    dropped=5,
)


class ToldTrainer:
    """A trainer whose run is told by the test: the second half of the port."""

    def __init__(self, story: tuple[RunEvent, ...]) -> None:
        self.log = EventLog()
        self._story = story

    def start(self, plan_text: str) -> RunId:
        if not plan_text:
            raise ConfigurationError("plan: empty")
        for event in self._story:
            self.log.append(event)
        return RUN

    def events(self, run: RunId, after: int, timeout_s: float) -> tuple[RunEvent, ...]:
        return self.log.events(run, after, timeout_s)


async def counted(plan: OverlapPlan) -> tuple[OverlapCount, ...]:
    """What two partners have in common, as the test says."""
    return counts_of(plan, [60 * SCALE, *[0] * (len(plan.tiers) - 1)])


class NoLinks:
    def connected(self) -> tuple[PartnerId, ...]:
        return (PartnerId("bank_a"),)

    def scoring_connected(self) -> tuple[PartnerId, ...]:
        return ()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House.build(tmp_path / "c")


@asynccontextmanager
async def door(house: House, trainer: ToldTrainer) -> AsyncIterator[Path]:
    socket = house.desk.config.control_socket
    desk = house.desk
    ports = ControlPorts(
        store=desk.store,
        trainer=trainer,
        links=NoLinks(),
        manifest=desk.membership.current,
        scoring=lambda: SCORING,
        overlap=counted,
    )
    server = control_server(ports, socket)
    await server.start()
    try:
        yield socket
    finally:
        await server.stop(0)


def test_run_is_followed_from_its_first_event_to_its_last(house: House) -> None:
    async def story() -> None:
        async with door(house, ToldTrainer(STORY)) as socket:
            seen = await asyncio.to_thread(lambda: tuple(control.start_run(socket, "plan")))
            assert seen == STORY

    asyncio.run(story())


def test_refused_plan_reaches_the_operator_with_its_full_text(house: House) -> None:
    async def story() -> None:
        async with door(house, ToldTrainer(STORY)) as socket:
            with pytest.raises(ConfigurationError, match="plan: empty"):
                await asyncio.to_thread(lambda: tuple(control.start_run(socket, "")))

    asyncio.run(story())


def test_run_that_ended_before_a_restart_is_told_from_the_database(house: House) -> None:
    house.desk.store.runs.add(RUN, b"plan", house.manifest.digest, 1)
    for event in STORY:
        house.desk.store.runs.add_event(RUN, json.dumps(asdict(event)))

    async def story() -> None:
        async with door(house, ToldTrainer(())) as socket:
            seen = await asyncio.to_thread(lambda: tuple(control.watch_run(socket, "")))
            assert seen == STORY

    asyncio.run(story())


def test_watching_a_run_that_never_was_is_refused(house: House) -> None:
    async def story() -> None:
        async with door(house, ToldTrainer(())) as socket:
            with pytest.raises(ConfigurationError, match="no run yet"):
                await asyncio.to_thread(lambda: tuple(control.watch_run(socket, "")))

    asyncio.run(story())


def test_status_tells_who_is_connected_under_which_manifest(house: House) -> None:
    async def story() -> None:
        async with door(house, ToldTrainer(())) as socket:
            seen = await asyncio.to_thread(control.fetch_status, socket)
            assert seen.manifest == house.manifest.digest
            assert seen.manifest_complete
            assert [one.training for one in seen.partners] == [True, False]

    asyncio.run(story())


def test_regulator_has_no_streams_and_is_no_line_of_the_status(house: House) -> None:
    members = house.desk.store.members
    partners, token = members.all(), members.tokens()[0]
    secret, name = digest_of(b"token"), PartnerId("regulator")
    members.add_token(
        replace(token, secret_sha256=secret, partner=name, role=Role.REGULATOR, used_at=None)
    )
    assert members.redeem(secret, replace(partners[0], id=name, role=Role.REGULATOR), 1)

    async def story() -> None:
        async with door(house, ToldTrainer(())) as socket:
            seen = await asyncio.to_thread(control.fetch_status, socket)
            assert [one.partner for one in seen.partners] == [one.id for one in partners]

    asyncio.run(story())


def test_counts_of_common_persons_come_with_what_they_are_worth(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    async def story() -> None:
        async with door(house, ToldTrainer(())):
            argv = ["overlap", str(house.desk.config.directory), "bank_a", "bank_b", "2026-10"]
            assert await asyncio.to_thread(cli.main, argv) == 0
            bent = [*argv, "--tiers", "PRIME:0.2,LOW:0.1,REST:1"]
            with pytest.raises(ConfigurationError, match="cuts must rise"):
                await asyncio.to_thread(cli.main, bent)

    asyncio.run(story())
    said = capsys.readouterr().out
    for told in ("PRIME", "60", "< 50", "which knows the exact counts", "a lower bound"):
        assert told in said


def test_socket_is_the_owners_alone(house: House) -> None:
    async def story() -> None:
        # Before the server is started: what the bind alone has left.
        ports = ControlPorts(
            store=house.desk.store,
            trainer=ToldTrainer(()),
            links=NoLinks(),
            manifest=lambda: None,
            scoring=lambda: SCORING,
            overlap=counted,
        )
        socket = house.desk.config.control_socket
        server = control_server(ports, socket)
        assert socket.stat().st_mode & 0o777 == 0o600
        await server.stop(0)

    before = os.umask(0)
    try:
        asyncio.run(story())
        assert os.umask(0) == 0
    finally:
        os.umask(before)


def test_command_without_a_serving_coordinator_says_so(house: House) -> None:
    with pytest.raises(TransportError, match="no coordinator serves"):
        cli.main(["status", str(house.desk.config.directory)])


def test_socket_path_too_long_for_the_system_is_named(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    (deep / "control.sock").touch()
    with pytest.raises(ConfigurationError, match="longer than 107 bytes"):
        control.fetch_status(deep / "control.sock")


def test_event_log_wakes_a_watcher_that_waits() -> None:
    log = EventLog()
    heard: list[tuple[RunEvent, ...]] = []
    watcher = threading.Thread(target=lambda: heard.append(log.events(RUN, 0, DEADLINE_S)))
    watcher.start()
    log.append(STORY[0])
    watcher.join(DEADLINE_S)
    assert heard == [(STORY[0],)]


def test_event_log_gives_up_in_time() -> None:
    assert EventLog({RUN: STORY}).events(RUN, 3, 0.01) == ()


# --- commands ---------------------------------------------------------------------------------


def test_train_prints_one_json_line_for_each_event(
    house: House, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text("plan")

    async def story() -> int:
        async with door(house, ToldTrainer(STORY)):
            command = ["train", str(house.desk.config.directory), str(plan), "--json"]
            return await asyncio.to_thread(cli.main, command)

    assert asyncio.run(story()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["stage"] for line in lines] == [
        "preparing",
        "training",
        "finished",
    ]


def test_train_of_a_failing_run_ends_with_an_error_status(
    house: House, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text("plan")
    failed = RunEvent(run=RUN, stage="failed", text="quorum lost")

    async def story() -> int:
        async with door(house, ToldTrainer((failed,))):
            command = ["train", str(house.desk.config.directory), str(plan)]
            return await asyncio.to_thread(cli.main, command)

    assert asyncio.run(story()) == 1
    assert "quorum lost" in capsys.readouterr().out


def test_operator_makes_a_federation_with_the_commands_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = str(tmp_path / "c")
    assert cli.main(["init", directory, "--name", 'A "b"', "--schema", str(SCHEMA)]) == 0
    families = wiring.open_desk(Path(directory)).schema.families
    out = tmp_path / "bank.token"
    command = ["token", directory, "bank_a", "--families", families[0], "--out", str(out)]
    assert cli.main(command) == 0
    assert out.stat().st_mode & 0o777 == 0o600
    assert out.read_text().startswith("riskweave-join-1.")
    with pytest.raises(ConfigurationError, match="0 partners are enrolled"):
        cli.main(["manifest", directory, "propose"])
    assert cli_models.main(["list", "--dir", directory]) == 0
    assert cli_models.main(["list", "--dir", directory, "--json"]) == 0
    assert capsys.readouterr().out.endswith("[]\n")


def test_manifest_is_shown_with_who_has_signed(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = str(house.desk.config.directory)
    assert cli.main(["manifest", directory, "show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["digest"] == house.manifest.digest
    assert shown["signed"] == ["bank_a", "bank_b"]
    assert cli.main(["manifest", directory, "show"]) == 0
    assert house.manifest.digest in capsys.readouterr().out


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, "subprocess.Popen[str]"]]:
    directory = tmp_path / "c"
    birth = wiring.Birth(
        name="t", schema=SCHEMA, address=free_address(), enrolment=free_address()
    )
    wiring.initialise(directory, birth)
    code = "import sys; from coordinator.cli import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", code, "serve", str(directory)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "RISKWEAVE_LOG": "WARNING"},
    )
    yield directory, process
    process.kill()
    process.wait(DEADLINE_S)


def test_serving_coordinator_answers_and_stops_on_sigterm(
    served: tuple[Path, "subprocess.Popen[str]"], capsys: pytest.CaptureFixture[str]
) -> None:
    directory, process = served
    assert process.stdout is not None
    assert process.stdout.readline() == f"serving {directory}\n"
    assert cli.main(["status", str(directory), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["manifest"] == ""
    assert probe(directory) == (0, "ok\n")
    assert probe(directory, "--ready") == (0, "ready\n")
    assert b"riskweave_members 0.0" in page_of(directory, "/metrics")
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE_S) == 0
    assert not (directory / "control.sock").exists()
    assert not (directory / "health.sock").exists()
    assert probe(directory)[0] == 1
