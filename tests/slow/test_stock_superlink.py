"""The same ServerApp and ClientApp on Flower's own SuperLink and SuperNodes (protocol 12.4).

On our side: the strategy over ``BidiGrid``, each partner in its persistent training process.
On Flower's: SuperLink, four SuperNodes, a new process for every message. Both start from
copies of the same directories, so every word that leaves a node must be the same.
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.random import Generator  # noqa: TID251 - the type of the tests' generator

from consortium import optimizer
from consortium.canonical import parse_canonical
from consortium.documents import parse_document
from consortium.features.schema import Schema
from consortium.ids import Digest, PartnerId
from consortium.plan import ReleaseKind, TrainingPlan
from coordinator.flower_grid import BidiGrid, run_app
from models import scorecard
from models.document import ModelDocument, parse_model_document, version_of
from models.run_state import RunState
from models.spec import BlockSpec
from partner_node import ingest, wiring
from partner_node.worker import Worker
from tests.partner_directories import FAMILIES, Directories, build
from tests.slow.stock_app.riskweave_stock.server import server_app

ROOT = Path(__file__).resolve().parents[2]
STOCK_APP = Path(__file__).parent / "stock_app"
KINDS = [
    ReleaseKind.BINS,
    *(3 * [ReleaseKind.GRADIENT]),
    ReleaseKind.RECALIBRATION,
    ReleaseKind.EVALUATION,
]
START_S, RUN_S, END_S = 120.0, 600.0, 20.0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_stock_superlink_and_supernodes_give_the_same_model(
    tmp_path: Path, rng: Generator
) -> None:
    ours = build(tmp_path / "ours", rng)
    stock = ours.copied(tmp_path / "stock")
    train_over_our_grid(ours)
    train_on_stock_flower(stock, tmp_path)
    states = states_of(ours)
    assert [state.attempts[-1].kind for state in states] == KINDS
    assert states_of(stock) == states  # weights, moments, bins, counts: all, after each sum
    assert version(stock) == version(ours)
    for partner in ours.nodes:
        uploads = sums_left(ours, partner)
        assert [kind for kind, _, _ in uploads] == [kind.value for kind in KINDS]
        assert sums_left(stock, partner) == uploads
    losses = losses_of(ours)
    np.testing.assert_allclose(losses_of(stock), losses, rtol=0, atol=1e-9)
    assert np.all(np.diff(losses, axis=0) < 0), losses


# --- over our grid ----------------------------------------------------------------------------


class WorkerHub:
    """What the grid asks of the streams, with the nodes' training processes behind it."""

    def __init__(self, directories: Directories) -> None:
        self._workers = {name: Worker(path) for name, path in directories.nodes.items()}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def connected(self) -> tuple[PartnerId, ...]:
        return tuple(self._workers)

    def send(self, partner: PartnerId, payload: bytes, *, timeout_s: float) -> Future[bytes]:
        work = asyncio.wait_for(self._workers[partner].handle(payload), timeout_s)
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        for worker in self._workers.values():
            worker.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(END_S)
        self._loop.close()


def train_over_our_grid(directories: Directories) -> None:
    run = plan_of(directories).run
    with closing(WorkerHub(directories)) as hub, BidiGrid(hub, run) as grid:
        run_app(server_app(directories.coordinator), grid)


# --- on stock Flower --------------------------------------------------------------------------


def train_on_stock_flower(directories: Directories, root: Path) -> None:
    """SuperLink, one SuperNode for each directory, ``flwr run``; all on loopback."""
    link, home = f"127.0.0.1:{free_port()}", root / "flwr"
    app = shutil.copytree(STOCK_APP, root / "app", ignore=shutil.ignore_patterns("__pycache__"))
    home.mkdir()
    (home / "config.toml").write_text(
        '[superlink]\ndefault = "loop"\n\n'
        f'[superlink.loop]\naddress = "{link}"\ninsecure = true\n'
    )
    environment = environment_of(home)
    host, port = link.split(":")
    node_ports = {path: free_port() for path in directories.nodes.values()}
    with ExitStack() as running:
        programs = [program(environment, "flower-superlink", "--host", host, port=port)]
        programs += [
            program(
                environment,
                "flower-supernode",
                *("--superlink", link, "--node-config", f'directory="{path}"'),
                port=str(own),
            )
            for path, own in node_ports.items()
        ]
        ended = [running.enter_context(one) for one in programs]
        ports = (int(port), *node_ports.values())
        wait_until(lambda: any(end() for end in ended) or all(map(listens, ports)), START_S)
        assert not any(end() for end in ended), logs(home)
        done = subprocess.run(  # noqa: S603 - fixed commands
            [
                *(str(binary("flwr")), "run", str(app), "loop", "--stream"),
                *("--run-config", f'directory="{directories.coordinator}"'),
            ],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=RUN_S,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (directories.coordinator / "model").exists(), done.stdout + logs(home)


def environment_of(home: Path) -> dict[str, str]:
    """Nothing of the machine's but the interpreter: no proxy, no vendor, one thread each."""
    return {
        "PATH": f"{binary('flwr').parent}{os.pathsep}{os.defpath}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(home),
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "OMP_NUM_THREADS": "1",
        "RISKWEAVE_LOG": "WARNING",
    }


@contextmanager
def program(
    environment: dict[str, str], name: str, *arguments: str, port: str
) -> Iterator[Callable[[], bool]]:
    """A Flower program and its children; yields whether it has ended by itself."""
    log = Path(environment["FLWR_HOME"]) / f"{name}-{port}.log"
    with log.open("w") as output:
        process = subprocess.Popen(  # noqa: S603 - fixed commands
            [str(binary(name)), "--insecure", *arguments, "--port", port],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield lambda: process.poll() is not None
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_S)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its own session: what it left behind
            process.wait(END_S)


def binary(name: str) -> Path:
    """A program of the environment that runs this test."""
    return Path(sys.executable).parent / name


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    """Of another program's state nobody tells us: look every 50 ms."""
    end = time.monotonic() + seconds
    never = threading.Event()
    while not condition():
        assert time.monotonic() < end, "deadline passed"
        never.wait(0.05)


def logs(home: Path) -> str:
    return "\n".join(path.read_text()[-4000:] for path in sorted(home.glob("*.log")))


# --- what is compared -------------------------------------------------------------------------


def plan_of(directories: Directories) -> TrainingPlan:
    return parse_document(TrainingPlan, (directories.coordinator / "plan").read_bytes())


def states_of(directories: Directories) -> list[RunState]:
    """The coordinator's whole state after each sum, in order."""
    files = sorted(directories.coordinator.glob("state-*"))
    return [parse_document(RunState, file.read_bytes()) for file in files]


def version(directories: Directories) -> Digest:
    return version_of((directories.coordinator / "model").read_bytes())


def sums_left(directories: Directories, partner: PartnerId) -> list[tuple[str, int, Digest]]:
    """Kind, bytes and digest of each sum that left the node; its run holds no reserve."""
    store = wiring.open_desk(directories.nodes[partner]).store()
    try:
        assert store.open_runs() == ()
        return [
            (one.kind, one.size, one.sha256) for one in store.disclosures() if one.kind in KINDS
        ]
    finally:
        store.close()


def losses_of(directories: Directories) -> np.ndarray:
    """Log-loss of each iterate on the pooled training rows, shape (rounds, blocks)."""
    schema = Schema.from_canonical(
        parse_canonical((directories.coordinator / "schema").read_bytes()), source="schema"
    )
    document = parse_model_document((directories.coordinator / "model").read_bytes(), schema)
    blocks = pooled(directories, document, schema)
    iterates = [
        optimizer.from_bytes(state.optimizer).weights
        for state in states_of(directories)
        if state.attempts[-1].kind is ReleaseKind.GRADIENT
    ]
    return np.array([[block.loss(weights) for block in blocks] for weights in iterates])


@dataclass(frozen=True)
class PooledBlock:
    """The training rows of one block at all its holders."""

    spec: BlockSpec
    codes: np.ndarray
    labels: np.ndarray

    def loss(self, weights: np.ndarray) -> float:
        eta = scorecard.logits(weights[self.spec.window], self.codes, self.spec.bin_counts)
        return float(np.mean(np.logaddexp(0.0, eta) - self.labels * eta))


def pooled(
    directories: Directories, document: ModelDocument, schema: Schema
) -> list[PooledBlock]:
    plan = document.plan
    blocks = []
    for block, spec in zip(plan.blocks, document.model.spec.blocks, strict=True):
        tables = [
            ingest.load(
                wiring.open_desk(directories.nodes[holder]).data_source(),
                schema,
                document.bins,
                FAMILIES[holder],
                holdout=(plan.holdout_salt, plan.holdout_fraction),
            )
            for holder in block.holders
        ]
        codes = np.concatenate([table.codes[~table.holdout] for table in tables])
        labels = np.concatenate([table.labels[~table.holdout] for table in tables])
        blocks.append(PooledBlock(spec, codes, labels))
    return blocks
