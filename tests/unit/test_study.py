"""Joint rows between the serving and the training process: strict bytes, no second asking."""

import asyncio
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consortium.errors import (
    DataError,
    DecodeError,
    RiskWeaveError,
    ScoreRefusal,
    ScoreRefusalError,
    ShapeError,
    TransportError,
)
from consortium.ids import Digest
from consortium.scoring.premium import Impact, Premium
from partner_node.premium_bytes import pack_impact, unpack_impact
from partner_node.study import (
    JointRows,
    NoStudies,
    SocketStudies,
    StudyAsker,
    StudyServer,
    pack,
    rows_of_socket,
    unpack,
)
from tests.head_house import BASE, joint_rows

OTHER = Digest("0d" * 32)


def _same(one: JointRows, two: JointRows) -> bool:
    return (one.base, one.families) == (two.base, two.families) and all(
        np.array_equal(getattr(one, name), getattr(two, name))
        for name in ("logits", "counts", "partners", "labels", "holdout")
    )


@pytest.mark.parametrize("rows", [0, 1, 37])
def test_rows_come_back_as_they_were(rows: int) -> None:
    made = joint_rows(3, rows)
    assert _same(unpack(pack(made)), made)


@given(cut=st.integers(0, 400), tail=st.binary(max_size=9))
@settings(max_examples=60)
def test_bytes_that_are_cut_or_longer_are_refused(cut: int, tail: bytes) -> None:
    data = pack(joint_rows(1, 9))
    changed = data[:cut] + tail
    if changed != data:
        with pytest.raises(DecodeError):
            unpack(changed)


@given(at=st.integers(0, 47), bit=st.integers(0, 7))
@settings(max_examples=60)
def test_head_with_a_bent_bit_is_refused_or_is_of_another_model(at: int, bit: int) -> None:
    data = bytearray(pack(joint_rows(1, 9)))
    data[at] ^= 1 << bit
    with suppress(DecodeError):
        assert unpack(bytes(data)).base != BASE


def test_label_flag_or_count_outside_its_range_is_refused() -> None:
    data = bytearray(pack(joint_rows(1, 9)))
    for place in (-1, -10):
        changed = data.copy()
        changed[place] = 2
        with pytest.raises(DecodeError):
            unpack(bytes(changed))


BROKEN: dict[str, Callable[[JointRows], JointRows]] = {
    "ragged": lambda r: replace(r, partners=r.partners[1:]),
    "of another width": lambda r: replace(r, families=("repayment",)),
    "of floats": lambda r: replace(r, logits=r.logits.astype(np.float64)),
    "with a label of 2": lambda r: replace(r, labels=r.labels + np.uint8(2)),
    "with counts below 0": lambda r: replace(r, counts=r.counts - 9),
    "with partners below 0": lambda r: replace(r, partners=r.partners - 9),
}


@pytest.mark.parametrize("name", BROKEN)
def test_rows_that_do_not_belong_together_are_refused(name: str) -> None:
    with pytest.raises((ShapeError, DataError)):
        BROKEN[name](joint_rows(1, 9))


LOST = Impact(
    premium=Premium(before=np.array([0, -6]), after=np.array([3, 4]), strata=np.array([1, 3])),
    labels=np.array([255, 1], dtype=np.uint8),
    holdout=np.array([False, True]),
    attested=np.array([2, -1]),
)
"""Of two persons; the log-odds before rise with every question."""


class Serving:
    """A loop in a thread, as the serving process has one."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.asked: list[Digest] = []
        self.answer: JointRows | RiskWeaveError = joint_rows(5, 30)
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.server = StudyServer(self.study, self.impact, self.loop)

    async def study(self, base: Digest) -> JointRows:
        self.asked.append(base)
        if isinstance(self.answer, RiskWeaveError):
            raise self.answer
        return replace(self.answer, base=base)

    async def impact(self, head: Digest) -> Impact:
        self.asked.append(head)
        if isinstance(self.answer, RiskWeaveError):
            raise self.answer
        lost = replace(LOST.premium, before=LOST.premium.before + len(self.asked) - 1)
        return replace(LOST, premium=lost)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()


@pytest.fixture
def serving() -> Iterator[Serving]:
    found = Serving()
    yield found
    found.stop()


def _asker(serving: Serving) -> StudyAsker:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    serving.server.serve(ours)
    return StudyAsker(theirs)


def test_training_process_that_is_started_again_gets_the_same_rows(serving: Serving) -> None:
    first = _asker(serving).rows(BASE)
    serving.answer = joint_rows(6, 30)
    assert _same(_asker(serving).rows(BASE), first)
    assert serving.asked == [BASE]


def test_rows_of_another_model_are_asked_for_anew(serving: Serving) -> None:
    asker = _asker(serving)
    assert asker.rows(BASE).base == BASE
    assert asker.rows(OTHER).base == OTHER
    assert serving.asked == [BASE, OTHER]


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (TransportError("gone"), TransportError),
        (ScoreRefusalError(ScoreRefusal.QUOTA, "too many"), TransportError),
        (DataError("a value: 17"), DataError),
    ],
)
def test_study_that_fails_says_whether_it_may_be_asked_again(
    serving: Serving, error: RiskWeaveError, seen: type[RiskWeaveError]
) -> None:
    serving.answer = error
    with pytest.raises(seen) as raised:
        _asker(serving).rows(BASE)
    assert "17" not in str(raised.value)


def test_failed_study_is_not_kept(serving: Serving) -> None:
    asker = _asker(serving)
    serving.answer = TransportError("gone")
    with pytest.raises(TransportError):
        asker.rows(BASE)
    serving.answer = joint_rows(5, 30)
    assert asker.rows(BASE).labels.size == 30


def test_serving_process_that_is_gone_is_named() -> None:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    ours.close()
    with pytest.raises(TransportError):
        StudyAsker(theirs).rows(BASE)


def test_operators_command_gets_the_rows_through_a_socket_of_its_owner_alone(
    serving: Serving, tmp_path: Path
) -> None:
    door = tmp_path / "study.sock"
    assert serving.server.listen(door)
    assert door.stat().st_mode & 0o777 == 0o600
    assert _same(rows_of_socket(door, BASE), joint_rows(5, 30))
    assert serving.asked == [BASE]


def test_socket_of_a_node_that_is_not_served_says_so(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="not served"):
        rows_of_socket(tmp_path / "study.sock", BASE)


def test_door_that_cannot_be_bound_is_no_reason_to_stop(
    serving: Serving, tmp_path: Path
) -> None:
    assert not serving.server.listen(tmp_path / ("x" * 200))


def test_answers_wait_for_the_study_that_is_under_way(serving: Serving) -> None:
    gate: Future[None] = Future()
    usual = serving.study

    async def slow(base: Digest) -> JointRows:
        await asyncio.wrap_future(gate)
        return await usual(base)

    serving.server = StudyServer(slow, serving.impact, serving.loop)
    askers = [_asker(serving) for _ in range(2)]
    found: list[JointRows] = []
    threads = [
        threading.Thread(target=lambda a=asker: found.append(a.rows(BASE)))  # type: ignore[misc]
        for asker in askers
    ]
    for thread in threads:
        thread.start()
    gate.set_result(None)
    for thread in threads:
        thread.join(5)
    assert len(found) == 2
    assert serving.asked == [BASE]


def test_premium_is_the_same_within_its_month_and_pushes_no_joint_rows_out(
    serving: Serving, tmp_path: Path
) -> None:
    door = tmp_path / "study.sock"
    assert serving.server.listen(door)
    asker = _asker(serving)
    rows = asker.rows(BASE)
    found = asker.impact(OTHER, "2026-11")
    assert (found.labels.tolist(), found.holdout.tolist()) == ([255, 1], [False, True])
    assert found.attested is not None
    assert found.attested.tolist() == [2, -1]
    first = found.premium
    assert [part.tolist() for part in (first.before, first.after, first.strata)] == [
        [1, -5],
        [3, 4],
        [1, 3],
    ]
    again = SocketStudies(door).impact(OTHER, "2026-11").premium
    assert again.before.tolist() == first.before.tolist()
    assert _same(asker.rows(BASE), rows)
    assert serving.asked == [BASE, OTHER]
    # A month later consents and tables have changed.
    assert asker.impact(OTHER, "2026-12").premium.before.tolist() == [2, -4]
    serving.answer = TransportError("a value: 17")
    with pytest.raises(TransportError, match="cannot be made now") as raised:
        asker.impact(BASE, "2026-12")
    assert "17" not in str(raised.value)


def test_premium_of_other_bytes_or_another_head_is_refused() -> None:
    data = pack_impact(BASE, LOST)
    flag, label = data[:-1] + b"\x02", data[:-3] + b"\x07" + data[-2:]
    for broken in (data[:-1], data + b"0", b"X" + data[1:], data[:20], flag, label):
        with pytest.raises(DecodeError):
            unpack_impact(broken, BASE)
    with pytest.raises(DecodeError, match="another head"):
        unpack_impact(data, OTHER)


def test_process_that_can_ask_nobody_says_so() -> None:
    with pytest.raises(TransportError, match="no stream: no premium under baba"):
        NoStudies("no stream").impact(BASE, "2026-11")
