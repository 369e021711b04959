"""A node that did something else than the protocol says, and the replay that finds it (9.4)."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consortium.crypto.keys import AgreementKey, Secret
from consortium.errors import DataError, OutOfOrderError, RefusalError, TransportError
from consortium.ids import RunId
from consortium.plan import ReleaseKind
from consortium.secagg import partner
from consortium.secagg.replay import Outcome, Part, Verdict
from consortium.secagg.replay_report import Judgement, judgement, report_digest
from models import scorecard
from partner_node import training_session
from partner_node.local_sums import ExactSum, Sums
from partner_node.replaying import Chosen
from partner_node.training_session import TrainingSession
from tests.replay_house import BANK, SHORT, ReplayHouse, house_of
from tests.simulator import SCHEMA

CLIPPING = SHORT.replace("rounds = 2", 'rounds = 2\nclip = "0.1"')
EDGES = 'edges = ["0.25", "0.5", "0.75"]\n'
PLANS = {
    "shared noise": (SHORT, SCHEMA),
    "own noise": (SHORT.replace("rounds = 2", 'rounds = 2\nnoise = "own"'), SCHEMA),
    "private bins": (
        SHORT.replace("rounds = 2", 'rounds = 2\nbins = "private"'),
        SCHEMA.replace(EDGES, ""),
    ),
    "clipped hard": (CLIPPING, SCHEMA),
}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[ReplayHouse]:
    yield from house_of(tmp_path)


def differing(verdicts: list[Verdict]) -> list[tuple[str, int, int, tuple[Part, ...]]]:
    return [
        (one.request.kind.value, one.request.round, one.request.attempt, one.parts)
        for one in verdicts
        if one.outcome is not Outcome.EQUAL
    ]


# --- honest nodes -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLANS)
def test_honest_node_is_equal_to_the_bit_in_every_attempt(tmp_path: Path, name: str) -> None:
    plan, schema = PLANS[name]
    for house in house_of(tmp_path, plan=plan, schema=schema, rows=2000):
        house.run(retried=2)
        for member in house.house.nodes:
            replay = house.replay(member)
            verdicts = [one.verdict for one in replay.replayed(Chosen())]
            assert len(verdicts) == len(house.session.state.attempts)
            assert {one.outcome for one in verdicts} == {Outcome.EQUAL}
            assert replay.seed_fault == ""
            assert replay.report(verdicts)["judgement"] == "passed"


def test_attempts_that_came_to_nothing_are_replayed_as_well(house: ReplayHouse) -> None:
    house.run(retried=1)
    first = house.verdicts(chosen=Chosen(rounds=(1,)))
    assert [one.request.attempt for one in first] == [1, 2]
    assert differing(first) == []


def test_drawn_sums_and_no_others_are_replayed(house: ReplayHouse) -> None:
    house.run()
    closed = [one.request.kind for one in house.house.sums]
    assert closed[2:] == [ReleaseKind.RECALIBRATION, ReleaseKind.EVALUATION]
    drawn = house.verdicts(chosen=Chosen(sums=(2, 4)))
    assert [(one.request.kind.value, one.request.round) for one in drawn] == [
        ("gradient", 2),
        ("evaluation", 1),
    ]
    assert house.replay().not_kept((2, 4, 9)) == (9,)


# --- the five mutants, and others -------------------------------------------------------------

Mutate = Callable[[pytest.MonkeyPatch, ReplayHouse], None]


def _bank_only(house: ReplayHouse, usual: Callable[..., object], other: Callable[..., object]):  # noqa: ANN202
    """``other`` where the first argument is the bank's seed, ``usual`` elsewhere."""
    number = list(house.house.nodes).index(BANK)
    own = bytes([number]) * 32

    def chosen(seed: Secret, *arguments: object, **options: object) -> object:
        return (other if seed.expose() == own else usual)(seed, *arguments, **options)

    return chosen


def no_noise_in_attempt_2(monkeypatch: pytest.MonkeyPatch, house: ReplayHouse) -> None:
    del house
    usual = TrainingSession._noised

    def noised(self, run, asked, joined, *, variance):  # noqa: ANN001, ANN202
        if self._facts.member == BANK and asked[0].attempt == 2:
            sums = self._table(run.plan)
            return sums.compute(*asked, seed=run.seed, context=joined.digest).values
        return usual(self, run, asked, joined, variance=variance)

    monkeypatch.setattr(TrainingSession, "_noised", noised)


def one_key_for_two_rounds(monkeypatch: pytest.MonkeyPatch, house: ReplayHouse) -> None:
    usual, seen = training_session.noise_share, list[str]()

    def again(seed: Secret, context: str, **law: int) -> np.ndarray:
        seen.append(context)
        return usual(seed, seen[0], **law)  # type: ignore[arg-type]

    monkeypatch.setattr(training_session, "noise_share", _bank_only(house, usual, again))


def half_the_deviation(monkeypatch: pytest.MonkeyPatch, house: ReplayHouse) -> None:
    usual = training_session.noise_share

    def half(seed: Secret, context: str, *, variance: int, count: int) -> np.ndarray:
        return usual(seed, context, variance=variance // 4, count=count)  # type: ignore[arg-type]

    monkeypatch.setattr(training_session, "noise_share", _bank_only(house, usual, half))


def rows_without_a_clip(monkeypatch: pytest.MonkeyPatch, house: ReplayHouse) -> None:
    del house
    usual = scorecard.clipped_gradient_sum

    def unclipped(*arguments: object, clip: float) -> np.ndarray:
        # In the units of the plan's clip, but of rows up to a hundred times as long.
        return usual(*arguments, clip=clip * 100) * 100  # type: ignore[arg-type]

    monkeypatch.setattr(scorecard, "clipped_gradient_sum", unclipped)


def another_mask(monkeypatch: pytest.MonkeyPatch, house: ReplayHouse) -> None:
    del house
    usual = partner.apply_masks

    def other(words: np.ndarray, me: str, keys: dict[str, Secret]) -> None:
        last = max(keys)
        usual(words, me, keys | {last: Secret(b"m" * 32)} if me == BANK else keys)  # type: ignore[arg-type]

    monkeypatch.setattr(partner, "apply_masks", other)


MUTANTS: dict[str, tuple[Mutate, str, list[tuple[str, int, int, tuple[Part, ...]]]]] = {
    "noise omitted in attempt 2": (
        no_noise_in_attempt_2,
        SHORT,
        [("gradient", 1, 2, (Part.NOISE,))],
    ),
    "one noise key in two rounds": (
        one_key_for_two_rounds,
        SHORT,
        [
            ("gradient", 1, 2, (Part.NOISE,)),
            ("gradient", 2, 1, (Part.NOISE,)),
            ("recalibration", 1, 1, (Part.NOISE,)),
            ("evaluation", 1, 1, (Part.NOISE,)),
        ],
    ),
    "half of the deviation": (
        half_the_deviation,
        SHORT,
        [
            ("gradient", 1, 1, (Part.NOISE,)),
            ("gradient", 1, 2, (Part.NOISE,)),
            ("gradient", 2, 1, (Part.NOISE,)),
            ("recalibration", 1, 1, (Part.NOISE,)),
            ("evaluation", 1, 1, (Part.NOISE,)),
        ],
    ),
    "rows that are not clipped": (
        rows_without_a_clip,
        CLIPPING,
        [
            ("gradient", 1, 1, (Part.ROWS,)),
            ("gradient", 1, 2, (Part.ROWS,)),
            ("gradient", 2, 1, (Part.ROWS,)),
        ],
    ),
    "another mask": (
        another_mask,
        SHORT,
        [
            ("gradient", 1, 1, (Part.MASK,)),
            ("gradient", 1, 2, (Part.MASK,)),
            ("gradient", 2, 1, (Part.MASK,)),
        ],
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_caught_and_the_part_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    mutate, plan, expected = MUTANTS[name]
    for house in house_of(tmp_path, plan=plan):
        with monkeypatch.context() as patched:
            mutate(patched, house)
            house.house.close(house.session, attempts=2)
            house.house.close(house.session)
            if name != "another mask":  # its sums are no sums
                house.run()
        verdicts = house.verdicts()
        assert differing(verdicts) == expected
        assert {one.outcome for one in verdicts} <= {Outcome.EQUAL, Outcome.DIFFERS}
        assert judgement(verdicts) is Judgement.FAILED
        others = [one for one in house.house.nodes if one != BANK]
        if name != "rows that are not clipped":  # all of them run that code
            assert all(differing(house.verdicts(one)) == [] for one in others)


def test_noise_omitted_where_everything_is_held_is_told_from_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = SHORT.replace("rounds = 2", 'rounds = 2\nnoise = "own"')
    for house in house_of(tmp_path, plan=own):
        with monkeypatch.context() as patched:
            no_noise_in_attempt_2(patched, house)
            house.run(retried=4)
        assert differing(house.verdicts()) == [
            (one, number, 2, (Part.NOISE,))
            for one, number in (
                ("gradient", 1),
                ("gradient", 2),
                ("recalibration", 1),
                ("evaluation", 1),
            )
        ]


def test_seed_other_than_the_committed_one_is_named(
    house: ReplayHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        usual = training_session.seed_commitment

        def lie(run: RunId, member: str, seed: Secret) -> str:
            return usual(run, member, Secret(b"?" * 32) if member == BANK else seed)  # type: ignore[arg-type]

        patched.setattr(training_session, "seed_commitment", lie)
        house.run()
    replay = house.replay()
    assert "committed" in replay.seed_fault
    assert replay.report([])["judgement"] == "failed"
    assert house.replay(next(one for one in house.stores if one != BANK)).seed_fault == ""


def test_one_time_key_that_was_chosen_is_named(
    house: ReplayHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may choose it when the others' JOINs are known may try rctx until it pleases."""
    with monkeypatch.context() as patched:
        usual = partner.ephemeral_key
        number = list(house.house.nodes).index(BANK)

        def chosen(seed: Secret, context: str) -> AgreementKey:
            own = seed.expose() == bytes([number]) * 32
            return usual(Secret(b"e" * 32) if own else seed, context)  # type: ignore[arg-type]

        patched.setattr(partner, "ephemeral_key", chosen)
        house.run()
    assert {(one.outcome, one.parts) for one in house.verdicts()} == {
        (Outcome.DIFFERS, (Part.JOIN,))
    }


# --- what cannot be told ----------------------------------------------------------------------


def test_rows_that_changed_since_are_said_as_such(house: ReplayHouse) -> None:
    house.run()
    house.house.rows += 1
    verdicts = house.verdicts()
    assert {one.outcome for one in verdicts} == {Outcome.INCOMPLETE}
    assert all("not those of the run" in one.text for one in verdicts)
    assert judgement(verdicts) is Judgement.INCOMPLETE


def test_noise_omitted_is_found_although_the_rows_changed_since(
    house: ReplayHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        no_noise_in_attempt_2(patched, house)
        house.run(retried=1)
    house.house.rows += 1
    parts = {
        one.request.attempt: one.parts for one in house.verdicts(chosen=Chosen(rounds=(1,)))
    }
    assert parts == {1: (Part.ROWS,), 2: (Part.NOISE,)}


@pytest.mark.parametrize("error", [DataError("a table"), TransportError("no study")])
def test_rows_that_cannot_be_read_leave_masks_and_the_noise_of_counts(
    house: ReplayHouse, error: Exception
) -> None:
    house.run()

    def unreadable(*_: object) -> Sums:
        raise error

    verdicts = [one.verdict for one in house.replay(BANK, unreadable).replayed(Chosen())]
    assert {(one.outcome, one.parts) for one in verdicts} == {
        (Outcome.INCOMPLETE, (Part.ROWS,))
    }
    told = {one.request.kind: "the noise is that of the seed" in one.text for one in verdicts}
    assert told == {
        ReleaseKind.GRADIENT: False,
        ReleaseKind.RECALIBRATION: True,
        ReleaseKind.EVALUATION: True,
    }


def test_other_noise_under_counts_is_found_without_the_rows(
    house: ReplayHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        half_the_deviation(patched, house)
        house.run()

    def unreadable(*_: object) -> Sums:
        raise TransportError("no study")

    verdicts = [one.verdict for one in house.replay(BANK, unreadable).replayed(Chosen())]
    found = {one.request.kind: one.parts for one in verdicts if one.outcome is Outcome.DIFFERS}
    assert found == {
        ReleaseKind.RECALIBRATION: (Part.NOISE,),
        ReleaseKind.EVALUATION: (Part.NOISE,),
    }


def test_words_for_which_there_was_no_room_are_compared_by_their_digest(tmp_path: Path) -> None:
    for house in house_of(tmp_path):
        for store in house.stores.values():
            store.replays._most = 10
        house.run()
        assert differing(house.verdicts()) == []
        house.house.rows += 1
        assert {one.parts for one in house.verdicts()} == {(Part.WORDS,)}


@pytest.mark.parametrize(
    ("off", "outcome"), [(1 << 18, Outcome.NEAR), ((1 << 18) + 1, Outcome.DIFFERS)]
)
def test_dense_net_may_be_a_64th_of_a_row_off_and_no_more(
    tmp_path: Path, off: int, outcome: Outcome
) -> None:
    plan = SHORT.replace("rounds = 2", 'rounds = 1\nmodel = "mlp"\nhidden = [2]')
    for house in house_of(tmp_path, plan=plan, rows=200):
        house.run()
        assert differing(house.verdicts()) == []
        honest = house.sums_of()

        def elsewhere(*arguments: object) -> Sums:
            sums = honest(*arguments)  # type: ignore[arg-type]  # noqa: B023
            usual = sums.compute

            def compute(request, inputs, **context) -> ExactSum:  # noqa: ANN001, ANN003
                found = usual(request, inputs, **context)
                if request.kind is ReleaseKind.GRADIENT:
                    found.values[np.flatnonzero(found.held)[0]] += off
                return found

            sums.compute = compute  # type: ignore[method-assign]
            return sums

        verdicts = [one.verdict for one in house.replay(BANK, elsewhere).replayed(Chosen())]
        assert verdicts[0].outcome is outcome
        assert {one.outcome for one in verdicts[1:]} == {Outcome.EQUAL}


def test_tolerance_of_dense_nets_never_covers_missing_noise_of_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = SHORT.replace("rounds = 2", 'rounds = 1\nmodel = "mlp"\nhidden = [2]')
    for house in house_of(tmp_path, plan=plan, rows=200):
        with monkeypatch.context() as patched:
            no_noise_in_attempt_2(patched, house)
            house.run(retried=3)
        found = [one[0] for one in differing(house.verdicts())]
        assert found == ["gradient", "recalibration", "evaluation"]


def test_another_agreement_key_is_said_and_is_no_failure(house: ReplayHouse) -> None:
    house.run()
    house.house.nodes[BANK].agreement = AgreementKey.from_secret(Secret(b"k" * 32))
    assert {(one.outcome, one.parts) for one in house.verdicts()} == {
        (Outcome.INCOMPLETE, (Part.MASK,))
    }


def test_run_of_which_nothing_was_kept_is_no_pass(house: ReplayHouse) -> None:
    with pytest.raises(RefusalError, match="R05"):
        house.replay()
    house.house.accept()
    with pytest.raises(OutOfOrderError, match="nothing of run"):
        house.replay()
    assert judgement([]) is Judgement.INCOMPLETE


def test_report_holds_digests_and_words_and_nothing_of_the_data(house: ReplayHouse) -> None:
    house.run()
    replay = house.replay()
    found = list(replay.replayed(Chosen()))
    report = replay.report([one.verdict for one in found])
    text = repr(report)
    assert replay.opened.seed.expose().hex() not in text
    assert all(
        str(int(value)) not in text for one in found for value in _large(one.exact.values)
    )  # type: ignore[union-attr]
    assert report_digest(report) == report_digest(dict(report))
    assert report_digest(report) != report_digest(report | {"judgement": "failed"})
    assert {type(value) for value in report.values()} == {str, list}
    assert "Secret" not in repr(replace(found[0])) or "Secret(...)" in repr(found[0])


def _large(values: np.ndarray) -> np.ndarray:
    return values[np.abs(values) > 1 << 20]
