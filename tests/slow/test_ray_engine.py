"""A bank's rows at two workers of a real Ray: the same model, whoever dies, and told nothing.

Needs the extra ``riskweave[ray]``; `make test-slow` installs it.
"""

import importlib.util
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from consortium.errors import TransportError
from consortium.ids import digest_of
from consortium.secagg.replay import Outcome
from models.released import released_bytes
from models.run import RunSession
from partner_node import wiring
from partner_node.config import FILE, LOCAL_RAY
from partner_node.doctor import diagnose
from partner_node.engine_process import Cluster, EngineProcess, private_environment
from partner_node.replaying import Chosen
from tests.engine_house import BANK, EngineHouse
from tests.integration.federation import Federation, write_rehearsal
from tests.integration.test_replay import replayed
from tests.replay_house import ReplayHouse
from tests.unit.test_parted_sums import SEED, exact

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="riskweave[ray]"),
]

WORKERS = 2
PATIENCE_S = 120.0
ENGINE = f'\n[engine]\nkind = "ray"\nworkers = {WORKERS}\nparts = 3\ndeadline_s = 240\n'


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    token = wiring.entropy().expose().hex()
    environment = {**os.environ, **private_environment(token)}
    cluster = Cluster(address=LOCAL_RAY, workers=WORKERS, deadline_s=240)
    process = EngineProcess(cluster, environment)
    yield process
    process.close()


@pytest.fixture
def house(tmp_path: Path) -> EngineHouse:
    return EngineHouse(tmp_path, code=wiring.code_digest())


def processes(name: str) -> list[psutil.Process]:
    """Those of a name below this process."""
    return [
        one
        for one in psutil.Process().children(recursive=True)
        if one.status() != psutil.STATUS_ZOMBIE
        and (one.name() == name or (one.cmdline() or [""])[0].startswith(name))
    ]


def test_four_partners_train_the_same_model_with_one_of_them_on_two_workers(
    house: EngineHouse, engine: EngineProcess, tmp_path: Path
) -> None:
    models, uploads = [], []
    for name in ("whole", "ray"):
        (tmp_path / name).mkdir()
        run = ReplayHouse(tmp_path / name)
        run.house.elsewhere[BANK] = (
            house.local if name == "whole" else lambda plan: house.parted(engine, plan=plan)
        )
        run.run()
        models.append(digest_of(released_bytes(run.session)))
        uploads.append([one.sha256 for one in run.stores[BANK].disclosures() if one.round > 0])
        other = run.replay(BANK, lambda plan, _manifest, _schema: house.local(plan))
        outcomes = {one.verdict.outcome for one in other.replayed(Chosen())}
        assert outcomes == {Outcome.EQUAL}
        run.close()
    assert len(processes("ray::Holder")) == WORKERS
    assert models[0] == models[1]
    assert uploads[0] == uploads[1]


def test_workers_of_this_machine_listen_on_loopback_alone(
    house: EngineHouse, engine: EngineProcess
) -> None:
    house.parted(engine)
    listening = [
        (one.name(), connection.laddr.ip)
        for one in psutil.Process().children(recursive=True)
        for connection in one.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) > WORKERS
    assert [
        one for one in listening if one[1] not in ("127.0.0.1", "::1", "::ffff:127.0.0.1")
    ] == []


def test_worker_that_dies_in_a_sum_is_started_again_and_the_sum_is_the_same(
    house: EngineHouse, engine: EngineProcess
) -> None:
    session = RunSession(house.house.plan, house.house.schema)
    sums, expected = house.parted(engine), exact(house.local(), session)
    victim = processes("ray::Holder")[0]
    victim.suspend()  # so that it is in the middle when it dies
    found: list[np.ndarray] = []
    asking = threading.Thread(target=lambda: found.append(exact(sums, session).values))
    asking.start()
    asking.join(1.0)
    assert asking.is_alive()
    victim.kill()
    asking.join(PATIENCE_S)
    assert np.array_equal(found[0], expected.values)
    assert sums.fingerprint(SEED) == house.local().fingerprint(SEED)
    assert victim.pid not in {one.pid for one in processes("ray::Holder")}


def test_cluster_that_is_gone_fails_the_sum_by_name_and_one_that_is_back_goes_on(
    house: EngineHouse, engine: EngineProcess
) -> None:
    session = RunSession(house.house.plan, house.house.schema)
    sums = house.parted(engine)
    cluster = [one for name in ("gcs_server", "raylet", "ray::") for one in processes(name)]
    assert len(cluster) > WORKERS + 2
    for one in cluster:
        one.kill()
    with pytest.raises(TransportError, match="engine ray at 'local'"):
        exact(sums, session)
    assert processes("ray::Holder") == []
    assert np.array_equal(exact(sums, session).values, exact(house.local(), session).values)


def test_federation_with_a_node_on_ray_trains_and_is_replayed_without_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_rehearsal(tmp_path / "files", rounds=6)
    with Federation.running(tmp_path, file) as live:
        settings = live.directory(BANK) / FILE
        before = settings.read_text(encoding="utf-8")
        settings.write_text(before + ENGINE, encoding="utf-8")
        found = {one.check: one for one in diagnose(live.directory(BANK))}
        assert found["engine"].seen == "engine ray at 'local': 2 workers read 3 parts"
        live.send(BANK, signal.SIGTERM)
        live.processes._running.pop(BANK).popen.wait(PATIENCE_S)
        live.start(BANK)
        live.wait_for(BANK)
        end = live.start_run().wait_for_end()
        assert len(live.journal(BANK, end.run)) == 6 + 2
        settings.write_text(before, encoding="utf-8")
        code, report = replayed(live, BANK, "--run", end.run, capsys=capsys)
        attempts = report["attempts"]
        assert isinstance(attempts, list)
        assert {one["outcome"] for one in attempts} == {"equal"}
        assert code == 0
