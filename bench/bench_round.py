"""A training round of four nodes against bare gRPC with the same bytes, and local work.

Both sides use four processes beside this one, mTLS on loopback and bidirectional streams.
The federation is a real rehearsal; its rounds include gradient, noise, masks, the durable
JOIN and debit, the coordinator's stored state, and the log: entries, heads, cosignatures and
the quorum before each charge. ``bare_grpc_ms``: d float64 down, d words
up, once.

``local_ms`` is what a round computes and writes when nothing travels (``bench.round_work``):
the coordinator's work, plus the work of all nodes divided by the cores that they can use at
once, in CPU seconds. It is measured before and after the federation, and the mean counts, for
the machine may be busy otherwise. ``log_local`` is its ratio to the same round without a log.
So ``masked_vs_bare_plus_compute`` charges to the round what is left:
Flower's messages, pipes, two exchanges, waking nine processes, and waiting for the slowest.
"""

import asyncio
import datetime as dt
import json
import multiprocessing
import queue
import statistics
import subprocess
import sys
import time
from pathlib import Path

import grpc
import matplotlib as mpl
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from bench.result import Result
from bench.round_work import local_ms
from proto.v1 import training_pb2, training_pb2_grpc

mpl.use("Agg")
from matplotlib import pyplot as plt

NODES = 4
ROWS = 2_000
ROUNDS = 60
FILE = "rehearsal.toml"
OPTIONS = [("grpc.max_receive_message_length", 1 << 24)]
WIDTHS = {"200": (10, 18), "10000": (100, 98)}
"""d: (features, edges of each): every feature has edges + 2 bins."""


def run(out: Path) -> Result:
    """Median and 95th percentile of a round in milliseconds, and the ratios to the anchors."""
    figures: dict[str, object] = {}
    anchors: dict[str, object] = {}
    ratios: dict[str, float] = {}
    for width, (features, edges) in WIDTHS.items():
        directory = out / f"round-{width}"
        _files(directory, features, edges)
        local = [local_ms(directory / FILE)]
        ours = _federation(directory)
        local.append(local_ms(directory / FILE))
        without = local_ms(directory / FILE, logged=False)
        bare = _bare(int(width))
        compute = statistics.mean(one["compute"] for one in local)
        anchors[f"local_ms_{width}"] = local
        ratios[f"masked_vs_bare_plus_compute_{width}"] = round(
            ours["p50"] / (bare["p50"] + compute), 2
        )
        anchors[f"local_without_log_ms_{width}"] = without
        ratios[f"log_local_{width}"] = round(compute / without["compute"], 2)
        figures[f"round_ms_{width}"] = ours
        anchors[f"bare_grpc_ms_{width}"] = bare
        ratios[f"bare_grpc_{width}"] = round(ours["p50"] / bare["p50"], 2)
    for name in ("bare_grpc", "masked_vs_bare_plus_compute", "log_local"):
        ratios[name] = ratios[f"{name}_10000"]
    _plot(out / "round.svg", figures, anchors)
    return Result(name="round", figures=figures, anchors=anchors, ratios=ratios)


def _files(directory: Path, features: int, edges: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for node in range(NODES):
        _table(directory / f"p{node}.csv", node, features, edges)
    (directory / "schema.toml").write_text(_schema(features, edges), encoding="utf-8")
    (directory / FILE).write_text(_rehearsal(), encoding="utf-8")


def _federation(directory: Path) -> dict[str, float]:
    report = directory / "report"
    command = [sys.executable, "-m", "riskweave", "rehearse", str(directory / FILE)]
    subprocess.run([*command, "--report", str(report)], check=True, capture_output=True)  # noqa: S603
    document = json.loads((report / "report.json").read_text(encoding="utf-8"))
    return {name: float(document["round_ms"][name]) for name in ("p50", "p95")}


def _table(path: Path, node: int, features: int, edges: int) -> None:
    header = ",".join(["person", "bad", *(f"f{i}" for i in range(features))])
    rows = [header]
    for row in range(ROWS):
        values = [str((row * (i + 7) + node) % (edges + 1)) for i in range(features)]
        rows.append(",".join([f"n{node}r{row}", str((row * 13 + node) % 5 // 4), *values]))
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def _schema(features: int, edges: int) -> str:
    cuts = ", ".join(f'"{edge}"' for edge in range(1, edges + 1))
    head = 'name = "bench"\nversion = 1\n\n[label]\nname = "bad"\ndefinition = "synthetic"\n'
    one = (
        '\n[[feature]]\nname = "f{i}"\nfamily = "all"\nkind = "integer"\nunit = "count"\n'
        'concept = "utilisation"\nrange = ["0", "{top}"]\nedges = [{cuts}]\n'
        'reason = "R03"\nreason_zh = "x"\nreason_en = "x"\n'
    )
    return head + "".join(one.format(i=i, top=edges + 1, cuts=cuts) for i in range(features))


def _rehearsal() -> str:
    head = (
        '[rehearsal]\ntitle = "bench"\nschema = "schema.toml"\nepsilon = "1"\n'
        'delta = "1e-6"\nmax_partners_per_person = 1\n\n'
        f'[plan]\nrounds = {ROUNDS}\n\n[[block]]\nname = "all"\nfamilies = ["all"]\n'
        f"normaliser = {ROWS * NODES}\n"
    )
    one = (
        '\n[[partner]]\nid = "p{i}"\nfamilies = ["all"]\n'
        'query = "SELECT * FROM \'p{i}.csv\'"\nperson = "person"\nlabel = "bad"\n'
    )
    return head + "".join(one.format(i=i) for i in range(NODES))


def _bare(width: int) -> dict[str, float]:
    """A bare round trip of the same arrays: milliseconds, median and 95th percentile."""
    return asyncio.run(_serve(width, _certificates(), multiprocessing.get_context("spawn")))


class _Meeting(training_pb2_grpc.TrainingServicer):
    """Holds the open streams until all clients are there, then runs the rounds."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._streams: list[grpc.aio.ServicerContext] = []
        self._all_here = asyncio.Event()
        self.done = asyncio.Event()

    async def Connect(  # noqa: N802 - gRPC's name
        self, _requests: object, context: grpc.aio.ServicerContext
    ) -> None:
        await context.read()
        self._streams.append(context)
        if len(self._streams) == NODES:
            self._all_here.set()
        await self.done.wait()

    async def rounds(self) -> list[float]:
        await self._all_here.wait()
        frame = training_pb2.TrainingDown(id=1, flower_message=self._payload)
        seconds = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            await asyncio.gather(*(self._exchange(one, frame) for one in self._streams))
            seconds.append(time.perf_counter() - began)
        self.done.set()
        return seconds

    async def _exchange(self, stream: grpc.aio.ServicerContext, frame: object) -> None:
        await stream.write(frame)
        await stream.read()


async def _serve(width: int, certificates: dict[str, bytes], context) -> dict[str, float]:  # noqa: ANN001
    server = grpc.aio.server(options=OPTIONS)
    meeting = _Meeting(bytes(8 * width))
    training_pb2_grpc.add_TrainingServicer_to_server(meeting, server)
    credentials = grpc.ssl_server_credentials(
        [(certificates["server_key"], certificates["server"])],
        root_certificates=certificates["ca"],
        require_client_auth=True,
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    clients = [context.Process(target=_client, args=(port, certificates)) for _ in range(NODES)]
    for client in clients:
        client.start()
    seconds = await meeting.rounds()
    await server.stop(1)
    for client in clients:
        client.join()
    return _percentiles([1000 * one for one in seconds[5:]])


def _client(port: int, certificates: dict[str, bytes]) -> None:
    credentials = grpc.ssl_channel_credentials(
        certificates["ca"], certificates["client_key"], certificates["client"]
    )
    options = [*OPTIONS, ("grpc.ssl_target_name_override", "bench")]
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        outgoing: queue.SimpleQueue[training_pb2.TrainingUp | None] = queue.SimpleQueue()
        outgoing.put(training_pb2.TrainingUp(id=0))
        stream = training_pb2_grpc.TrainingStub(channel).Connect(iter(outgoing.get, None))
        for frame in stream:
            answer = training_pb2.TrainingUp(id=frame.id, flower_message=frame.flower_message)
            outgoing.put(answer)
        outgoing.put(None)


def _certificates() -> dict[str, bytes]:
    """A throw-away authority, one server and one client certificate, PEM."""
    now = dt.datetime.now(dt.UTC)
    root_key = ec.generate_private_key(ec.SECP256R1())
    root = _sign("bench root", root_key.public_key(), "bench root", root_key, now)
    pems = {"ca": root.public_bytes(Encoding.PEM)}
    for name in ("server", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _sign("bench", key.public_key(), "bench root", root_key, now)
        pems[name] = certificate.public_bytes(Encoding.PEM)
        pems[f"{name}_key"] = key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
    return pems


def _sign(  # noqa: PLR0917 - what a certificate says
    subject: str,
    public: ec.EllipticCurvePublicKey,
    issuer: str,
    key: ec.EllipticCurvePrivateKey,
    now: dt.datetime,
) -> x509.Certificate:
    day = dt.timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.BasicConstraints(ca=subject == issuer, path_length=None), True)  # noqa: FBT003
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("bench")]), False)  # noqa: FBT003
        .sign(key, hashes.SHA256())
    )


def _percentiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "p50": round(statistics.median(ordered), 3),
        "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 3),
    }


def _plot(path: Path, figures: dict[str, object], anchors: dict[str, object]) -> None:
    figure, axes = plt.subplots(figsize=(6, 3))
    widths = list(WIDTHS)
    for offset, (label, prefix, source) in enumerate(
        (("bare gRPC", "bare_grpc_ms", anchors), ("a training round", "round_ms", figures))
    ):
        heights = [source[f"{prefix}_{width}"]["p50"] for width in widths]  # type: ignore[index]
        tops = [source[f"{prefix}_{width}"]["p95"] for width in widths]  # type: ignore[index]
        places = [index + 0.4 * offset for index in range(len(widths))]
        errors = [[0.0] * len(widths), [t - h for t, h in zip(tops, heights, strict=True)]]
        axes.bar(places, heights, width=0.38, yerr=errors, label=label)
    axes.set_xticks([index + 0.2 for index in range(len(widths))], [f"d = {w}" for w in widths])
    axes.set_ylabel("ms, median (bar to p95)")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
