"""What leaves a node: every byte between it and the coordinator, and every socket it opens."""

import json
import sqlite3
import struct
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import duckdb
import psutil
import pytest
from numpy.random import Generator  # noqa: TID251 - the type of the tests' generator

from consortium import codec
from consortium.codec import Frame, StreamKind
from consortium.errors import RiskWeaveError
from consortium.features.bins import public_bins
from consortium.messages import FlowerMessage
from partner_node import cli as node_cli
from partner_node import ingest
from partner_node import wiring as node_wiring
from partner_node.left_journal import Left
from rehearsal.federation import COORDINATOR
from tests.health_house import page_of, probe
from tests.integration.federation import Federation, rows_of, write_rehearsal, write_table
from tests.integration.left_on_the_wire import journal_against, left_at
from tests.integration.wiretap import (
    PLAIN,
    Tap,
    counts_found,
    found,
    messages,
    tapped,
    varint,
)
from tests.simulator import SCHEMA

NODE = "shop_c"
ROWS, BADS = 1237, 419
AMOUNTS = (731946.25, 731957.75, 882213.125)
ACCOUNTS = (918273645, 827364519, 736451928)

_USED = SCHEMA[SCHEMA.rindex("[[feature]]") :]


def _feature(kind: str, name: str, scale: int) -> str:
    """The tiny schema's last feature with another name, kind and range."""
    edges = ", ".join(f'"{scale * part // 4}"' for part in (1, 2, 3))
    changes = (
        ('"used"', f'"{name}"'),
        ('"number"', f'"{kind}"'),
        ('range = ["0", "1"]', f'range = ["0", "{scale}"]'),
        ('edges = ["0.25", "0.5", "0.75"]', f"edges = [{edges}]"),
    )
    text = _USED
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


WIDE = SCHEMA.replace(_USED, "") + "\n".join(
    (_feature("number", "used", 1_000_000), _feature("integer", "account", 1_000_000_000))
)
"""The tiny schema with room for unmistakable values."""

PLANTED = f"""
    SELECT 'PERSON-' || md5('planted' || i) AS person,
           CASE WHEN i % 4 = 0 THEN {list(AMOUNTS)}[1 + (i / 4)::INT % 3]
                ELSE (hash(i, 1) % 900000)::DOUBLE + 0.5 END AS used,
           CASE WHEN i % 5 = 0 THEN {list(ACCOUNTS)}[1 + (i / 5)::INT % 3]
                ELSE (hash(i, 2) % 900000000)::INT END AS account,
           (i < {BADS})::INT AS bad
    FROM range({ROWS}) AS numbers(i)"""  # noqa: S608 - constants


@dataclass
class Capture:
    """A run that went through the tap."""

    federation: Federation
    tap: Tap
    persons: list[str]
    remotes: dict[str, set[tuple[str, int]]]
    """Process -> the other ends of all sockets seen while the run went on."""
    before: dict[str, Left]
    """What had left before the tap was used."""
    pages: list[bytes]
    """Metrics of all processes, after the run."""


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Capture]:
    directory = tmp_path_factory.mktemp("f")
    wide = "SELECT *, 1 AS account FROM ({})".format
    tables = {
        "bank_a": rows_of("bank_a"),
        NODE: PLANTED,
        "shop_d": wide(
            rows_of("shop_d")
            .replace("/ 1000.0", "* 1000.0")
            .replace("30 * used", "30 * used / 1e6")
        ),
    }
    file = write_rehearsal(directory, tables, schema=WIDE, rounds=20)
    persons = duckdb.execute(f"SELECT person FROM ({PLANTED})").fetchall()  # noqa: S608
    with talkative(), Federation.running(directory, file) as federation:
        node = federation.directory(NODE)
        with tapped(federation.places.coordinator, node, federation.address) as tap:
            federation.kill(NODE)
            before = left_at(node)
            settings = node / "node.toml"
            text = settings.read_text(encoding="utf-8")
            host, port = federation.address
            settings.write_text(text.replace(f"{host}:{port}", tap.address), encoding="utf-8")
            federation.start(NODE)
            federation.wait(lambda: tap.flows != [], what="the tap is used", blame=NODE)
            federation.wait_for("bank_a", NODE, "shop_d")
            remotes: dict[str, set[tuple[str, int]]] = {}
            run = federation.start_run()
            for number in range(5, 20, 5):
                run.wait_for_round(number)
                _note_sockets(federation, remotes)
            assert run.wait_for_end().stage == "finished"
            homes = map(federation.directory, (COORDINATOR, "bank_a", NODE, "shop_d"))
            pages = [page_of(home, "/metrics") for home in homes]
            federation.kill(NODE, 15)
            names = [name for (name,) in persons]
            yield Capture(federation, tap, names, remotes, before, pages)


@contextmanager
def talkative() -> Iterator[None]:
    """Logs of all processes with all that they can say, as JSON lines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RISKWEAVE_LOG", "debug")
        patch.setenv("RISKWEAVE_LOG_FORMAT", "json")
        yield


def test_capture_holds_the_whole_training_of_the_node(capture: Capture) -> None:
    read = [one for flow in capture.tap.flows for one in messages(bytes(flow))]
    whole = b"".join(read)
    assert whole.count(b"train.upload") >= 2 * 20
    assert b"query.offer" in whole


def test_no_person_and_no_value_of_a_row_is_on_the_wire(capture: Capture) -> None:
    haystacks = capture.tap.captured()
    assert found(haystacks, capture.persons) == set()
    assert found(haystacks, AMOUNTS) == set()
    assert found(haystacks, [float(one) for one in ACCOUNTS]) == set()


def test_no_person_and_no_value_is_in_a_log_a_journal_a_metric_or_at_the_coordinator(
    capture: Capture,
) -> None:
    federation = capture.federation
    logs = {path.name: path.read_bytes() for path in federation.places.logs.iterdir()}
    assert {f"{name}.log" for name in (COORDINATOR, "bank_a", NODE, "shop_d")} <= set(logs)
    journal = (federation.directory(NODE) / "left.db").read_bytes()
    with closing(sqlite3.connect(federation.directory(NODE) / "node.db")) as database:
        disclosed = list(database.execute("SELECT * FROM disclosures"))
    assert disclosed
    kept = [one.read_bytes() for one in federation.places.coordinator.glob("coordinator.db*")]
    seen = [*logs.values(), journal, repr(disclosed).encode(), *capture.pages, *kept]
    assert b"PERSON-" not in b"".join(seen)
    assert found(seen, capture.persons[::100]) == set()
    assert found([*logs.values(), *capture.pages], AMOUNTS) == set()
    assert found([*logs.values(), *capture.pages], [float(one) for one in ACCOUNTS]) == set()


def test_every_line_of_every_serving_process_is_json(capture: Capture) -> None:
    levels = set()
    for name in (COORDINATOR, "bank_a", NODE, "shop_d"):
        for line in capture.federation.log_of(name).splitlines():
            if line.startswith("serving "):  # what the command itself says
                continue
            levels.add(json.loads(line)["level"])
    assert {"debug", "info"} <= levels


def test_refusal_of_a_table_and_of_a_person_quotes_neither(
    capture: Capture, capsys: pytest.CaptureFixture[str]
) -> None:
    node, person = capture.federation.directory(NODE), capture.persons[0]
    said = ""
    for words in (
        ("check-data", node),
        ("score", node, "--person", person, "--consent", "paper-17"),
        ("withdraw", node, "--person", f"{person}\n"),
        ("tokenize", node),
    ):
        with bent_table(capture):
            try:
                node_cli.main([str(word) for word in words])
            except RiskWeaveError as error:
                said += str(error)
    said += "".join(capsys.readouterr())
    assert "used" in said
    assert found([said.encode()], capture.persons) == set()
    assert found([said.encode()], AMOUNTS) == set()
    assert not [one for one in ACCOUNTS if str(10 * one) in said]


@contextmanager
def bent_table(capture: Capture) -> Iterator[None]:
    """The node's table with persons missing, text for numbers, and values out of range."""
    path = capture.federation.places.work.parent / f"{NODE}.parquet"
    bent = f"""
        SELECT CASE WHEN i % 3 = 0 THEN NULL ELSE person END AS person,
               used || CASE WHEN i % 2 = 0 THEN ' DEM' ELSE '' END AS used,
               account::BIGINT * 10 AS account, bad * 7 AS bad
        FROM (SELECT *, row_number() OVER () AS i FROM ({PLANTED}))"""  # noqa: S608 - constants
    write_table(path, bent)
    try:
        yield
    finally:
        write_table(path, PLANTED)


def test_no_count_of_the_partners_rows_is_on_the_wire(capture: Capture) -> None:
    # Sizes of the log are on the wire as numbers, too, and twice as large as zigzag integers:
    # a count below that proves nothing.
    with capture.federation.store() as store:
        entries = len(store.log.leaves())
    counts = {one for one in _counts(capture) if one > 2 * entries}
    assert {ROWS, ROWS - BADS} <= counts
    assert counts_found(capture.tap.captured(), counts) == set()


def test_no_process_opens_a_socket_but_to_the_coordinator(capture: Capture) -> None:
    door = capture.federation.address
    host, _, port = capture.tap.address.rpartition(":")
    assert capture.remotes.pop(COORDINATOR) == set(), "the coordinator dials nobody"
    assert capture.remotes.pop(NODE) == {(host, int(port))}
    assert set(capture.remotes) == {"bank_a", "shop_d"}
    assert all(seen == {door} for seen in capture.remotes.values())


def test_journal_of_what_left_is_what_the_wire_saw(capture: Capture) -> None:
    """Class by class: count, bytes and running hash; nothing on the wire is not in it."""
    after = left_at(capture.federation.directory(NODE))
    new = journal_against(capture.tap, capture.before, after)
    assert new["training.train.upload"][0] >= 20


def test_serving_parties_answer_their_probes_and_show_their_metrics(capture: Capture) -> None:
    federation = capture.federation
    for name, shown in (
        ("bank_a", b'riskweave_stream_up{kind="scoring"} 1.0'),
        (COORDINATOR, b'riskweave_attempts_total{result="closed",stage="training"} 20.0'),
    ):
        home = federation.directory(name)
        status, said = probe(home, "--ready")
        assert status == 0, said
        page = page_of(home, "/metrics")
        assert shown in page
        assert b"riskweave_disk_free_bytes" in page
        for party in ("bank_a", NODE, "shop_d"):
            assert party.encode() not in page
    node = page_of(federation.directory("bank_a"), "/metrics")
    assert b'riskweave_left_frames_total{class="training.train.upload"}' in node
    assert b"riskweave_budget_left_ratio{account=" in node


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("wrap", ["plain", "hex", "base64"])
def test_detector_finds_a_value_in_a_frame(name: str, wrap: str) -> None:
    values = ["PERSON-7f3a9c"] if name in {"text", "utf-16"} else [float(x) for x in ACCOUNTS]
    stream = b""
    for value in values:
        plain = PLAIN[name](value)
        assert plain is not None
        wrapped = {"plain": plain, "hex": plain.hex().encode(), "base64": b64encode(plain)}[
            wrap
        ]
        stream += _http2(codec.encode_up(StreamKind.TRAINING, _frame(b"x" + wrapped)))
    assert any(name in one for one in found(messages(stream), values))


@pytest.mark.parametrize(
    "leak", [b'{"rows":1237}', b'{"rows":"1237"}', b"\x0a\x03\x18" + varint(ROWS)]
)
def test_detector_finds_a_count_in_a_frame(leak: bytes) -> None:
    stream = _http2(codec.encode_up(StreamKind.TRAINING, _frame(leak)))
    assert counts_found(messages(stream), {ROWS}) == {ROWS}


def test_detector_finds_nothing_in_noise(rng: Generator) -> None:
    assert found([rng.bytes(1 << 18)], [*AMOUNTS, *map(float, ACCOUNTS)]) == set()


def _counts(capture: Capture) -> set[int]:
    """Rows, bads and goods: all, for training, held out. All are large enough to stand out."""
    desk = node_wiring.open_desk(capture.federation.directory(NODE))
    pin = desk.pinned()
    plan = capture.federation.rehearsal.plan
    table = ingest.load(
        desk.data_source(),
        pin.schema,
        public_bins(pin.schema),
        desk.families(pin),
        holdout=(plan.holdout_salt, plan.holdout_fraction),
    )
    counts = {ROWS, BADS, ROWS - BADS}
    for rows in (table.holdout, ~table.holdout):
        bads = int(table.labels[rows].sum())
        counts |= {int(rows.sum()), bads, int(rows.sum()) - bads}
    return {one for one in counts if one >= 200}


def _note_sockets(federation: Federation, remotes: dict[str, set[tuple[str, int]]]) -> None:
    """The other end of each internet socket that a process, or a child of its, has dialled."""
    doors = {federation.address[1]}
    for name in federation.processes.names:
        parent = psutil.Process(federation.processes.pid(name))
        seen = remotes.setdefault(name, set())
        for process in (parent, *parent.children(recursive=True)):
            for socket in process.net_connections(kind="inet"):
                if socket.raddr and socket.laddr.port not in doors:
                    seen.add((socket.raddr.ip.removeprefix("::ffff:"), socket.raddr.port))


def _frame(payload: bytes) -> Frame:
    return Frame(FlowerMessage(payload), 1)


def _http2(message: bytes) -> bytes:
    body = struct.pack(">BI", 0, len(message)) + message
    return len(body).to_bytes(3, "big") + b"\0\0" + struct.pack(">I", 1) + body
