"""Several applications at a time come to the bytes of single calls, one after the other."""

import asyncio
import json
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from consortium.credit.facts import ScoreFacts
from consortium.errors import RiskWeaveError
from consortium.scoring.scorecard import cut_units
from partner_node.credit.application import DeskService
from partner_node.credit.storage import GRANTS
from tests.credit_desk_house import Scores, application, desk, write_rules
from tests.credit_house import SCORE
from tests.scoring_lines import until

PEOPLE: dict[str, ScoreFacts] = {
    name: replace(SCORE, eta=cut_units(pd))
    for name, pd in (("good", "0.01"), ("fair", "0.12"), ("bad", "0.40"))
}

asked = st.tuples(
    st.fixed_dictionaries(
        {
            "person": st.sampled_from([*PEOPLE, ""]),
            "wish": st.fixed_dictionaries(
                {"amount": st.sampled_from([600_000, 1_500_000, 0, 10**9])}
            ),
            "standing": st.sampled_from([{}, {"income": None}, {"dpd_now": 91}, {"age": 4}]),
            "consents": st.sampled_from([[], None, None, None]),
        }
    ).map(lambda parts: {name: one for name, one in parts.items() if one is not None}),
    st.sampled_from(["", "", "", str(UUID(int=1)), str(UUID(int=2)), "no key"]),
    st.integers(0, 3),
)


def told(one: bytes | RiskWeaveError) -> object:
    return one if isinstance(one, bytes) else (type(one), str(one))


async def single(service: DeskService, plain: object, key: str) -> object:
    try:
        return await service.decide(plain, key=key, caller="loans")
    except RiskWeaveError as error:
        return told(error)


async def one_after_the_other(service: DeskService, pairs: list[Any]) -> list[object]:
    return [await single(service, plain, key) for plain, key in pairs]


async def together(service: DeskService, pairs: list[Any]) -> list[object]:
    asked = [(partial(dict, plain), key) for plain, key in pairs]
    return [told(one) for one in await service.decide_many(asked, caller="loans")]


def kept(service: DeskService) -> object:
    with service.ports.store.reading() as connection:
        grants = connection.execute(GRANTS.select().order_by(GRANTS.c.decision)).all()
        rows = connection.exec_driver_sql(
            "SELECT id, input, decision, answer FROM decisions ORDER BY number"
        ).all()
        state = connection.exec_driver_sql("SELECT * FROM admission").all()
    return grants, rows, state


def ask(pairs: list[Any], *, at_once: bool) -> tuple[list[object], object]:
    way = together if at_once else one_after_the_other
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        write_rules(home, **{"ramp_percent = [1, 5, 20, 100]": "ramp_percent = [100]"})
        with desk(home, Scores(PEOPLE)) as service:
            found = asyncio.run(way(service, pairs))
            # Asked again: what has a key brings its bytes, one by one or together.
            again = asyncio.run(together(service, [pair for pair in pairs if pair[1]]))
            return [*found, *again], kept(service)


_LATER = ({"person": "good", "wish": {}, "standing": {}, "consents": []}, str(UUID(int=1)), 0)
_FIRST = ({"person": "good", "wish": {}, "standing": {}}, str(UUID(int=1)), 0)


@settings(max_examples=12)
@example([_FIRST, _LATER])
@example([_LATER, _FIRST])
@given(st.lists(asked, min_size=1, max_size=12))
def test_applications_at_a_time_come_to_the_bytes_of_single_ones(drawn: list[Any]) -> None:
    pairs = [(application(f"a-{name}", **parts), key) for parts, key, name in drawn]
    assert ask(pairs, at_once=True) == ask(pairs, at_once=False)


def test_batch_never_grants_more_than_a_cap_leaves(tmp_path: Path) -> None:
    write_rules(tmp_path)
    plain = [application(f"a-{place}", person="good") for place in range(200)]
    with desk(tmp_path, Scores(PEOPLE)) as service:
        found = asyncio.run(together(service, [(one, "") for one in plain]))
        with service.ports.store.reading() as connection:
            cap = sum(row.amount for row in connection.execute(GRANTS.select()))
    made = [json.loads(one)["decision"] for one in found if isinstance(one, bytes)]
    limits = [one["limit"] for one in made if one["outcome"] == "APPROVE"]
    assert len(made) == 200
    assert sum(limits) == cap
    assert 0 < len(limits) < 200
    # Taken in order: whoever comes after the cap is used up is for a person.
    outcomes = [one["outcome"] for one in made]
    assert outcomes == sorted(outcomes)


def test_one_that_cannot_be_decided_holds_up_nobody(tmp_path: Path) -> None:
    write_rules(tmp_path)
    good = application("a-good")
    with desk(tmp_path) as service:
        found = asyncio.run(together(service, [({"odd": 1}, ""), (good, ""), (good, "no key")]))
    assert [isinstance(one, bytes) for one in found] == [False, True, False]


def test_batch_whose_caller_hangs_up_lets_keyed_ones_end(tmp_path: Path) -> None:
    write_rules(tmp_path)
    scores = Scores()
    key = str(UUID(int=7))

    async def hang_up(service: DeskService) -> bytes:
        scores.gate = asyncio.Event()
        pairs = [(application("a-0"), ""), (application("a-1"), key)]
        batch = asyncio.create_task(together(service, pairs))
        await until(lambda: len(scores.asked) == len(pairs))
        batch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await batch
        scores.gate.set()
        return await service.decide(application("a-1"), key=key, caller="loans")

    with desk(tmp_path, scores) as service:
        answer = asyncio.run(hang_up(service))
        names = [one.application for one in service.replay_last(10)]
    assert json.loads(answer)["decision"]["application"] == "a-1"
    assert names == ["a-1"]
