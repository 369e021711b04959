"""The journal of what left: never less than what was sent, whoever dies and whatever fails."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consortium.codec import StreamKind
from consortium.errors import StorageError
from consortium.messages import FlowerMessage, Heartbeat
from partner_node import cli
from partner_node.client_app import RECORDS
from partner_node.door import Door
from partner_node.left_journal import MEANINGS, LeftJournal, chained
from partner_node.link_stream import _ACTIONS, class_of
from proto.v1 import enrolment_pb2, federation_pb2, scoring_pb2, training_pb2
from tests.node_house import DEADLINE_S, Federation, Loop, Seen
from upkeep import traces

FRAMES = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.binary(max_size=40)), max_size=30)


@given(batches=st.lists(FRAMES, max_size=5))
@settings(max_examples=20)
def test_batches_count_as_their_frames_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[str, bytes]]]
) -> None:
    path = tmp_path_factory.mktemp("left") / "left.db"
    expected: dict[str, tuple[int, int, bytes]] = {}
    with closing(LeftJournal(path, now=lambda: 5)) as journal:
        for batch in batches:
            journal.note(batch)
            for kind, frame in batch:
                count, size, chain = expected.get(kind, (0, 0, bytes(32)))
                expected[kind] = (count + 1, size + len(frame), chained(chain, frame))
    with closing(LeftJournal(path, now=lambda: 9)) as again:
        seen = {row.kind: (row.count, row.size, row.chain) for row in again.rows()}
    assert seen == expected
    assert path.stat().st_mode & 0o077 == 0


def test_killed_process_has_noted_all_that_it_sent(tmp_path: Path) -> None:
    path = tmp_path / "left.db"
    code = (
        "import sys, itertools; from pathlib import Path\n"
        "from partner_node.left_journal import LeftJournal\n"
        "journal = LeftJournal(Path(sys.argv[1]), now=lambda: 1)\n"
        "for number in itertools.count():\n"
        "    journal.note([('x', number.to_bytes(8, 'big'))])\n"
        "    sys.stdout.buffer.write(number.to_bytes(8, 'big')); sys.stdout.buffer.flush()\n"
    )
    process = subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    for _ in range(500):
        process.stdout.read(8)
    process.kill()
    sent = 500 + len(process.stdout.read()) // 8
    process.wait()
    with closing(LeftJournal(path, now=lambda: 2)) as journal:
        (row,) = journal.rows()
    assert sent <= row.count <= sent + 1
    chain = bytes(32)
    for number in range(row.count):
        chain = chained(chain, number.to_bytes(8, "big"))
    assert row.chain == chain


def test_two_processes_and_many_threads_lose_no_frame(tmp_path: Path) -> None:
    path = tmp_path / "left.db"
    journals = [LeftJournal(path, now=lambda: 1) for _ in range(2)]

    def work(journal: LeftJournal) -> None:
        for _ in range(50):
            journal.note([("x", b"12")])

    threads = [threading.Thread(target=work, args=(one,)) for one in journals * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(row.count, row.size) for row in journals[0].rows()] == [(300, 600)]
    for journal in journals:
        journal.flush()
        journal.close()


def test_a_note_costs_no_flush_and_little_time(tmp_path: Path) -> None:
    with closing(LeftJournal(tmp_path / "left.db", now=lambda: 1)) as journal:
        began = time.process_time()
        for _ in range(500):
            journal.note([("scoring.ScoreAnswer", bytes(300))])
        assert (time.process_time() - began) / 500 < 0.001


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


def test_what_cannot_be_noted_does_not_leave(tmp_path: Path, loop: Loop) -> None:
    """A full disk: no question and no frame goes out, and the stream is not welcomed."""
    refused, tried = list[str](), threading.Event()

    def full(frames: Sequence[tuple[str, bytes]]) -> None:
        refused.extend(kind for kind, _ in frames)
        if set(refused) >= {"training.Hello", "scoring.Hello"}:
            tried.set()
        raise StorageError("left.db: disk is full")

    federation = Federation(tmp_path, loop)
    with federation.serving() as hub:
        federation.found("bank_a", "bank_b")
        node = federation.nodes["bank_a"]
        with Door(node.dial(), note=full) as door:
            for question in (door.list_models, door.check_health, door.fetch_manifest):
                with pytest.raises(StorageError):
                    question()
        assert refused == ["ask.ListModels", "ask.Health", "ask.GetManifest"]
        with federation.linked(node, note=full) as seen:
            assert tried.wait(DEADLINE_S)
            assert hub.connected() == ()
            assert seen.ups == dict.fromkeys(StreamKind, 0)
        noted: list[str] = []
        with federation.linked(
            node, note=lambda frames: noted.extend(kind for kind, _ in frames)
        ) as seen:
            seen.wait(Seen.both_up)
        assert {"training.Hello", "scoring.Hello", "scoring.Goodbye"} <= set(noted)


def test_joining_and_trusting_are_in_the_journal(
    tmp_path: Path, loop: Loop, capsys: pytest.CaptureFixture[str]
) -> None:
    federation = Federation(tmp_path, loop)
    with federation.serving():
        federation.found("bank_a", "bank_b")
    directory = federation.nodes["bank_a"].config.directory
    assert cli.main(["what-left", str(directory), "--json"]) == 0
    rows = {row["class"]: row for row in json.loads(capsys.readouterr().out)}
    assert {"enrol.Enrol", "ask.SignManifest", "ask.GetManifest"} == set(rows)
    assert set(rows) <= set(MEANINGS)
    assert rows["enrol.Enrol"]["count"] == 1
    assert rows["ask.SignManifest"]["bytes"] > 64
    assert cli.main(["what-left", str(directory)]) == 0
    assert "the join token" in capsys.readouterr().out


def _up_classes() -> set[str]:
    """Of each frame that the wire format lets a node send on a stream."""
    found = set()
    for kind, wire in (
        (StreamKind.TRAINING, training_pb2.TrainingUp),
        (StreamKind.SCORING, scoring_pb2.ScoringUp),
    ):
        for field in wire.DESCRIPTOR.oneofs_by_name["body"].fields:
            if field.message_type is not None:
                found.add(f"{kind.value}.{field.message_type.name}")
            else:
                assert field.name == "flower_message"
                found |= {f"{kind.value}.{action}" for action in RECORDS} | {"training.answer"}
    return found


def _asked_classes() -> set[str]:
    """Of each single question, and of enrolment."""
    services = {
        "ask": federation_pb2.DESCRIPTOR.services_by_name["Federation"],
        "enrol": enrolment_pb2.DESCRIPTOR.services_by_name["Enrolment"],
    }
    asked = {
        f"{name}.{method.name}" for name, one in services.items() for method in one.methods
    }
    return asked | {"ask.Health"}


def test_every_message_that_a_node_can_send_has_a_class_with_a_meaning() -> None:
    """From the wire format's own descriptors: a message that is added there fails here."""
    assert {action.encode() for action in RECORDS} == set(_ACTIONS)
    assert _up_classes() | _asked_classes() | {traces.CLASS} == set(MEANINGS)


def test_classes_name_the_action_that_is_answered() -> None:
    train = StreamKind.TRAINING
    assert class_of(train, FlowerMessage(b"\x0a\x0ctrain.upload" + bytes(2000))) == (
        "training.train.upload"
    )
    assert class_of(train, FlowerMessage(b"no action")) == "training.answer"
    assert class_of(StreamKind.SCORING, Heartbeat()) == "scoring.Heartbeat"
    assert {"training.train.upload", "training.answer", "scoring.Heartbeat"} <= set(MEANINGS)
