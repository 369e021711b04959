"""Sums over rows that workers of an engine hold: the bits of one process, and nothing told."""

import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest

from consortium.crypto.keys import Secret
from consortium.documents import document_of
from consortium.errors import (
    ConfigurationError,
    DataError,
    DecodeError,
    RefusalError,
    TransportError,
)
from consortium.ids import Digest, PartnerId, digest_of
from consortium.messages import PlanOffer
from consortium.plan import Algorithm, ReleaseKind
from consortium.secagg.context import SumInputs
from consortium.secagg.replay import Outcome
from models.run import ClosedSum, RunSession
from partner_node import local_sums, part_bytes
from partner_node.engine_process import Cluster, EngineProcess
from partner_node.local_sums import Sums
from partner_node.part_bytes import Probe, pack_probe, rows_of, unpack_sum
from partner_node.part_worker import PartWorker
from partner_node.parted_sums import PartedSums
from partner_node.replaying import Chosen
from tests.engine_house import BANK, CODE, EngineHouse, InProcess
from tests.replay_house import ReplayHouse
from tests.simulator import FAMILIES, PLAN, SCHEMA, Consortium

SEED, OTHER_SEED = Secret(b"s" * 32), Secret(b"t" * 32)
CONTEXT = digest_of(b"context")
ROSTER = tuple(PartnerId(name) for name in FAMILIES)
PRIVATE = PLAN.replace("rounds = 8", 'rounds = 2\nbins = "private"')
EDGES = re.compile(r"^edges = .*\n", re.MULTILINE)


@pytest.fixture
def house(tmp_path: Path) -> EngineHouse:
    return EngineHouse(tmp_path)


class Gone:
    """An engine whose cluster is not there, from the given call on."""

    name = "ray at 10.0.0.1:6379"

    def __init__(self, engine: InProcess, *, after: int = 0) -> None:
        self._engine, self._left = engine, after

    def run(self, jobs: Sequence[bytes]) -> list[bytes]:
        self._left -= 1
        if self._left < 0:
            raise TransportError(f"{self.name}: the cluster is gone")
        return self._engine.run(jobs)


def exact(sums: Sums, session: RunSession, seed: Secret = SEED) -> local_sums.ExactSum:
    request, inputs = session.request(ROSTER)
    sums.prepare(request, inputs)
    return sums.compute(request, inputs, seed=seed, context=CONTEXT)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parts", "workers"), [pytest.param(2, 2, marks=pytest.mark.slow), (5, 3)]
)
def test_every_sum_of_a_run_is_that_of_one_process_whatever_the_parts_and_workers(
    tmp_path: Path, parts: int, workers: int
) -> None:
    schema = EDGES.sub("", SCHEMA)
    house = EngineHouse(tmp_path, house=Consortium(plan=PRIVATE, schema=schema))
    whole = house.local()
    parted = house.parted(InProcess(workers, forgetful=True), parts=parts)
    session = RunSession(house.house.plan, house.house.schema)
    seen = set()
    while not session.finished:
        request, _ = session.request(ROSTER)
        one, other = exact(whole, session), exact(parted, session)
        assert one.values.any()
        assert np.array_equal(one.values, other.values)
        assert np.array_equal(one.held, other.held)
        assert whole.fingerprint(SEED) == parted.fingerprint(SEED)
        total = 100 * one.values  # enough rows for a fit; the other block gets the same counts
        if request.kind in (ReleaseKind.RECALIBRATION, ReleaseKind.EVALUATION):
            total = np.tile(total[one.held], 2)
        session.on_sum(ClosedSum(request=request, joined=CONTEXT, total=total))
        seen.add(request.kind)
    assert seen == {
        ReleaseKind.BINS,
        ReleaseKind.GRADIENT,
        ReleaseKind.RECALIBRATION,
        ReleaseKind.EVALUATION,
    }


def test_what_workers_are_told_is_the_same_for_every_seed_and_holds_public_fields_alone(
    house: EngineHouse,
) -> None:
    session = RunSession(house.house.plan, house.house.schema)
    told = []
    for seed in (SEED, OTHER_SEED):
        engine = InProcess()
        sums = house.parted(engine)
        exact(sums, session, seed)
        sums.fingerprint(seed)
        told.append(engine.sent)
    assert told[0] == told[1]
    assert set(part_bytes.Job.__slots__) == {
        *("code", "plan", "schema", "member", "families", "rows"),
        *("kind", "sizes", "bins"),
    }
    with pytest.raises(DecodeError):
        document_of(SEED)


def test_training_process_loads_no_library_of_a_cluster(house: EngineHouse) -> None:
    """What unpickles must never be where a seed is."""
    EngineProcess(Cluster(address="local", workers=2, deadline_s=1), {}).close()
    house.parted(InProcess())
    assert not {"ray", "partner_node.ray_engine"} & sys.modules.keys()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ReplayHouse, ...]]:
    """One run with the bank's rows in its process, and one with rows at two workers."""
    directory = tmp_path_factory.mktemp("runs")
    rows = EngineHouse(directory)
    houses = []
    for name in ("whole", "parted"):
        (directory / name).mkdir()
        house = ReplayHouse(directory / name)
        house.house.elsewhere[BANK] = (
            rows.local
            if name == "whole"
            else lambda plan: rows.parted(InProcess(2), parts=3, plan=plan)
        )
        houses.append(house.run())
    yield (*houses,)
    for house in houses:
        house.close()


def test_masked_uploads_and_the_model_are_the_same_with_rows_in_parts(
    runs: tuple[ReplayHouse, ...],
) -> None:
    uploads = [
        [one.sha256 for one in house.stores[BANK].disclosures() if one.round] for house in runs
    ]
    assert len(uploads[0]) == 4
    assert uploads[0] == uploads[1]
    weights = [house.session.released_weights.tobytes() for house in runs]
    assert weights[0] == weights[1]


def test_run_over_parts_is_replayed_in_one_process_and_the_other_way_round(
    runs: tuple[ReplayHouse, ...],
) -> None:
    whole, parted = runs
    for house, other in ((whole, parted), (parted, whole)):
        opened = other.house.elsewhere[BANK]
        replay = house.replay(BANK, lambda plan, _manifest, _schema, of=opened: of(plan))
        found = [one.verdict for one in replay.replayed(Chosen())]
        assert [one.outcome for one in found] == [Outcome.EQUAL] * 4


# --- what must not happen ---------------------------------------------------------------------


def test_person_with_rows_in_many_files_is_one_row_in_any_split(house: EngineHouse) -> None:
    """Counted twice, a person would move the sum by more than the noise is made for."""
    file = house.directory / "bank_a.parquet"
    shutil.copy(file, house.directory / "bank_a_again.parquet")
    once = house.local().report.accepted
    house.source = replace(house.source, query="SELECT * FROM 'bank_a*.parquet'")
    engine = InProcess(3)
    sums = house.parted(engine, parts=5)
    exact(sums, RunSession(house.house.plan, house.house.schema))
    answers = [unpack_sum(one) for one in engine.run(engine.sent[-5:])]
    assert sum(one.report.accepted for one in answers if one) == once
    assert sums.fingerprint(SEED) == house.local().fingerprint(SEED)


LAID_OUT = """
    COPY (SELECT * EXCLUDE (home, nth) FROM (
        SELECT *, row_number() OVER () AS nth,
               coalesce(('0x' || substr(md5(nullif(person, '')), 1, 8))::UBIGINT % 4, 0) AS home
        FROM '{folder}/bank_a.parquet'
    ) WHERE (CASE WHEN nth <= {wrong} THEN (home + 1) % 4 ELSE home END) = {part})
    TO '{folder}/part-{part}.parquet' (FORMAT parquet)"""


def laid_out(house: EngineHouse, *, wrong: int) -> str:
    """Files by part as an owner lays them out; ``wrong`` rows are in the part after theirs."""
    for part in range(4):
        duckdb.execute(LAID_OUT.format(folder=house.directory, wrong=wrong, part=part))
    return "SELECT * FROM 'part-{part}.parquet'"


def test_workers_read_the_files_of_their_own_parts_alone(house: EngineHouse) -> None:
    query = laid_out(house, wrong=0)
    session = RunSession(house.house.plan, house.house.schema)
    whole = house.local()
    expected = exact(whole, session).values
    (house.directory / "bank_a.parquet").unlink()
    sums = house.parted(InProcess(2), parts=4, query=query)
    assert np.array_equal(exact(sums, session).values, expected)
    assert sums.fingerprint(SEED) == whole.fingerprint(SEED)


def test_file_with_a_person_of_another_part_is_refused(house: EngineHouse) -> None:
    query = laid_out(house, wrong=1)
    with pytest.raises(DataError, match="persons of another part"):
        house.parted(InProcess(), parts=4, query=query)


def test_worker_with_other_software_adds_nothing_up(house: EngineHouse) -> None:
    with pytest.raises(ConfigurationError, match="install the same version"):
        house.parted(InProcess(code=Digest("c1" * 32)))


def test_empty_table_of_many_parts_is_refused_as_a_whole_one_is(house: EngineHouse) -> None:
    house.source = replace(house.source, query="SELECT * FROM 'bank_a.parquet' WHERE bad = 1")
    with pytest.raises(DataError, match="all rows have label 1") as seen:
        house.local()
    with pytest.raises(DataError) as found:
        house.parted(InProcess(), parts=3)
    assert str(found.value) == str(seen.value)


def test_part_without_a_row_is_no_error(tmp_path: Path) -> None:
    house = EngineHouse(tmp_path, rows=6)
    session = RunSession(house.house.plan, house.house.schema)
    sums = house.parted(InProcess(), parts=8)
    assert np.array_equal(exact(sums, session).values, exact(house.local(), session).values)


def test_local_steps_are_refused_before_a_row_is_read(house: EngineHouse) -> None:
    engine = InProcess()
    plan = replace(house.house.plan, algorithm=Algorithm.LOCAL_STEPS)
    with pytest.raises(RefusalError, match="R05"):
        house.parted(engine, plan=plan)
    assert not engine.sent


def test_inputs_of_another_shape_are_refused_by_the_workers_as_here(house: EngineHouse) -> None:
    sums = house.parted(InProcess())
    inputs = SumInputs(arrays=(np.zeros(3),))
    request = house.request(ReleaseKind.GRADIENT, inputs, 8)
    with pytest.raises(RefusalError, match=r"R11 .*of \[3\] numbers"):
        sums.compute(request, inputs, seed=SEED, context=CONTEXT)


def test_engine_that_is_gone_withdraws_the_reserve_at_an_offer_and_is_named(
    house: EngineHouse,
) -> None:
    consortium = house.house
    consortium.elsewhere[BANK] = lambda plan: house.parted(Gone(InProcess()), plan=plan)
    store = consortium.nodes[BANK].store
    with pytest.raises(TransportError, match=r"ray at 10\.0\.0\.1:6379"):
        consortium.session(BANK).on_offer(PlanOffer(plan=consortium.plan))
    assert not store.plans


def test_engine_that_goes_in_a_round_leaves_the_charge_and_serves_the_next_when_back(
    house: EngineHouse,
) -> None:
    consortium, engine = house.house, InProcess(2)
    consortium.elsewhere[BANK] = lambda plan: house.parted(engine, plan=plan)
    session = RunSession(consortium.plan, consortium.schema)
    consortium.close(session)
    held, store = consortium.session(BANK)._sums, consortium.nodes[BANK].store
    assert isinstance(held, PartedSums)
    held._engine = Gone(engine)
    request, inputs = session.request(consortium.connected())
    before = len(store.debits)
    with pytest.raises(TransportError, match="the cluster is gone"):
        consortium.attempt(request, inputs)
    assert len(store.debits) == before + 1
    held._engine = InProcess(3)
    session.on_missing(request, {BANK: "transport"}, charged=True)
    assert consortium.close(session).total.any()


def test_answers_that_are_not_of_their_form_are_refused_and_never_added(
    house: EngineHouse,
) -> None:
    class Torn(InProcess):
        def run(self, jobs: Sequence[bytes]) -> list[bytes]:
            return [answer[:-1] for answer in super().run(jobs)]

    with pytest.raises(TransportError, match="in-process: "):
        house.parted(Torn())
    for data in (b"s", b"s\xff\xff\xff\xff", b"x\x00\x00\x00\x00", b"j\x02\x00\x00\x00{}"):
        with pytest.raises(DecodeError):
            unpack_sum(data)


def test_probe_opens_the_rows_and_says_what_keeps_a_worker_from_them(
    house: EngineHouse,
) -> None:
    worker = PartWorker(CODE)
    probes = [Probe(code=CODE, rows=rows) for rows in rows_of(house.source, 2, None)]
    assert [unpack_sum(worker.answer(pack_probe(one))) for one in probes] == [None, None]
    (house.directory / "bank_a.parquet").unlink()
    with pytest.raises(ConfigurationError, match="No files found"):
        unpack_sum(worker.answer(pack_probe(probes[0])))
