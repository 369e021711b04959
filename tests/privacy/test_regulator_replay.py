"""The regulator's own program on a partner's premises, and partners that open lies (9.4)."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consortium.documents import document_of, parse_document
from consortium.errors import DecodeError, OutOfOrderError, TrustError
from consortium.ids import Digest
from consortium.ledger.entries import from_jcs
from consortium.ledger.evidence import Evidence
from consortium.ledger.facts import Closing, RunFacts
from consortium.ledger.findings import Check, Finding, Grade
from consortium.ledger.run_bodies import (
    RoundJoin,
    RoundSum,
    RoundUpload,
    RunCommit,
    SummedUpload,
)
from consortium.ledger.verify import Audit
from consortium.secagg.opened import OpenedAttempt, OpenedKey, OpenedRun, line_of, read_opened
from consortium.secagg.ring import to_ring
from consortium.secagg.uploads import words_digest
from partner_node.replaying import Chosen, replay_all
from regulator.premises import replay_opened
from tests.replay_house import BANK, SHORT, ReplayHouse, house_of

Lines = list[bytes]


@pytest.fixture(scope="module", params=["shared", "own"])
def house(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[ReplayHouse]:
    plan = SHORT.replace("rounds = 2", f'rounds = 1\nnoise = "{request.param}"')
    for found in house_of(tmp_path_factory.mktemp("r"), plan=plan, rows=300):
        yield found.run()


@pytest.fixture(scope="module")
def lines(house: ReplayHouse, tmp_path_factory: pytest.TempPathFactory) -> Lines:
    path = tmp_path_factory.mktemp("o") / "opened"
    report = replay_all(house.replay(), Chosen(), opened=path)
    assert report["judgement"] == "passed"
    assert path.stat().st_mode & 0o777 == 0o600
    return path.read_bytes().splitlines(keepends=True)


def in_the_log(house: ReplayHouse) -> tuple[Audit, Evidence]:
    """What an audit of this run's log hands on."""
    entries = {
        name: [
            from_jcs(data).body
            for kind in ("run.commit", "round.join", "round.upload")
            for data in store.own_entries(house.house.run, kind)
        ]
        for name, store in house.stores.items()
    }
    uploads = {
        (name, body.joined): body.words
        for name, bodies in entries.items()
        for body in bodies
        if isinstance(body, RoundUpload)
    }
    closings = [
        Closing(
            index=number,
            at=0,
            body=RoundSum(
                request=one.request,
                joined=one.joined,
                total=words_digest(to_ring(one.total)),
                uploads=tuple(
                    SummedUpload(member=name, words=uploads[name, one.joined])
                    for name in one.request.roster
                ),
            ),
        )
        for number, one in enumerate(house.house.sums)
    ]
    facts = RunFacts(
        run=house.house.run,
        proposed=0,
        plan=house.house.plan,
        commits={
            name: (0, body)
            for name, bodies in entries.items()
            for body in bodies
            if isinstance(body, RunCommit)
        },
        joins=[
            (0, name, body)
            for name, bodies in entries.items()
            for body in bodies
            if isinstance(body, RoundJoin)
        ],
        closings=closings,
    )
    audit = Audit(
        findings=(),
        pinned=house.house.manifest.digest,
        federation="tiny",
        entries=0,
        cosigned_by=(),
        head_time=0,
        counts={},
        runs=(facts,),
    )
    evidence = Evidence(
        schemas={house.house.schema.digest: house.house.schema},
        sums={words_digest(to_ring(one.total)): to_ring(one.total) for one in house.house.sums},
    )
    return audit, evidence


def judged(house: ReplayHouse, lines: Lines, *drawn: int) -> dict[str, object]:
    return replay_opened(*in_the_log(house), lines, drawn=drawn)


def changed(lines: Lines, number: int, change: Callable[[OpenedAttempt], object]) -> Lines:
    """The lines with one attempt opened otherwise."""
    found = list(lines)
    other = change(parse_document(OpenedAttempt, found[number].rstrip(b"\n")))
    found[number] = line_of(other)  # type: ignore[arg-type]
    return found


def test_honest_partner_passes_by_the_regulators_own_arithmetic(
    house: ReplayHouse, lines: Lines
) -> None:
    report = judged(house, lines, 1, 2, 3)
    assert report["judgement"] == "passed"
    assert [one["outcome"] for one in report["attempts"]] == ["equal"] * 3  # type: ignore[attr-defined]


def test_sum_that_is_not_opened_although_it_was_drawn_is_no_pass(
    house: ReplayHouse, lines: Lines
) -> None:
    report = judged(house, lines[:-1], 1, 3)
    assert (report["judgement"], report["not_kept"]) == ("incomplete", [3])
    assert judged(house, lines[:-1], 1)["judgement"] == "passed"
    assert judged(house, lines[:1])["judgement"] == "incomplete"


def test_sum_with_its_noise_opened_as_rows_differs(house: ReplayHouse, lines: Lines) -> None:
    """A node that sent no noise cannot open a sum that makes it look as if it had."""

    def noisier(one: OpenedAttempt) -> OpenedAttempt:
        held = np.frombuffer(one.held, dtype=np.uint8)
        values = np.frombuffer(one.values, dtype="<i8") + held
        return replace(one, values=values.astype("<i8").tobytes())

    report = judged(house, changed(lines, 1, noisier))
    assert report["judgement"] == "failed"


def test_rows_where_the_plan_gives_none_are_refused(house: ReplayHouse, lines: Lines) -> None:
    def elsewhere(one: OpenedAttempt) -> OpenedAttempt:
        return replace(one, values=np.ones(len(one.held), dtype="<i8").tobytes())

    with pytest.raises(DecodeError, match="no rows"):
        judged(house, changed(lines, 1, elsewhere))


def test_places_of_the_noise_are_the_plans_and_not_the_files(
    house: ReplayHouse, lines: Lines
) -> None:
    """Else a node would hold nothing, and owe no noise, in its own file."""
    nowhere = changed(lines, 1, lambda one: replace(one, held=bytes(len(one.held))))
    assert judged(house, nowhere)["judgement"] == "passed"


@pytest.mark.parametrize("number", [1, 2, 3])
def test_other_mask_keys_differ(house: ReplayHouse, lines: Lines, number: int) -> None:
    def other(one: OpenedAttempt) -> OpenedAttempt:
        first, *rest = one.keys
        return replace(one, keys=(OpenedKey(member=first.member, key=b"k" * 32), *rest))

    assert judged(house, changed(lines, number, other))["judgement"] == "failed"


def test_mask_keys_of_too_few_are_refused(house: ReplayHouse, lines: Lines) -> None:
    with pytest.raises(DecodeError, match="not one of each"):
        judged(house, changed(lines, 1, lambda one: replace(one, keys=one.keys[1:])))


def test_other_seed_is_found_by_its_commitment(house: ReplayHouse, lines: Lines) -> None:
    first = parse_document(OpenedRun, lines[0].rstrip(b"\n"))
    other = [line_of(replace(first, seed=b"?" * 32)), *lines[1:]]
    report = judged(house, other)
    assert "committed" in str(report["seed"])
    assert report["judgement"] == "failed"


@pytest.mark.parametrize(
    "change",
    [
        {"run": "cd" * 16},
        {"member": "nobody"},
        {"manifest": Digest("00" * 32)},
    ],
)
def test_run_that_the_log_does_not_have_is_refused(
    house: ReplayHouse, lines: Lines, change: dict[str, str]
) -> None:
    first = parse_document(OpenedRun, lines[0].rstrip(b"\n"))
    with pytest.raises(OutOfOrderError):
        judged(house, [line_of(replace(first, **change)), *lines[1:]])  # type: ignore[arg-type]


def test_log_with_errors_is_nothing_to_compare_with(house: ReplayHouse, lines: Lines) -> None:
    audit, evidence = in_the_log(house)
    broken = Finding(check=Check.ROOT, name="log.root", grade=Grade.ERROR, text="x", entries=())
    with pytest.raises(TrustError):
        replay_opened(replace(audit, findings=(broken,)), evidence, lines)


def test_file_of_another_form_is_refused(lines: Lines) -> None:
    with pytest.raises(DecodeError):
        read_opened([])
    first = parse_document(OpenedRun, lines[0].rstrip(b"\n"))
    with pytest.raises(DecodeError, match="32 bytes"):
        read_opened([line_of(replace(first, seed=b"short"))])
    one = parse_document(OpenedAttempt, lines[1].rstrip(b"\n"))
    for other in (replace(one, values=one.values[:-8]), replace(one, held=b"\x02" * 10)):
        with pytest.raises(DecodeError, match="belong together"):
            other.exact()
    with pytest.raises(DecodeError, match="32 bytes"):
        replace(one, keys=(OpenedKey(member=BANK, key=b"k"),)).mask_keys()
    _, rest = read_opened([lines[0], b"garbage\n"])
    with pytest.raises(DecodeError):
        next(rest)


def test_what_is_opened_is_in_no_repr_and_no_report(house: ReplayHouse, lines: Lines) -> None:
    first, rest = read_opened(lines)
    one = next(rest)
    assert first.seed.hex() not in repr(first) + repr(judged(house, lines))
    assert one.values.hex() not in repr(one)
    assert str(one.values) not in repr(one)
    assert all(
        key.key.hex() not in repr(key) + str(document_of(house.house.plan)) for key in one.keys
    )


def test_file_that_is_there_is_not_written_over(house: ReplayHouse, tmp_path: Path) -> None:
    path = tmp_path / "opened"
    path.write_text("mine")
    with pytest.raises(Exception, match="exists"):
        replay_all(house.replay(), Chosen(), opened=path)
    assert path.read_text() == "mine"
