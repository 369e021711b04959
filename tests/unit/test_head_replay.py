"""A head's run under audit: the sums lead to the head, and a changed sum to another."""

import pytest

from consortium.canonical import canonical_json, parse_canonical
from consortium.errors import OutOfOrderError
from coordinator.releases import candidate_of
from models.run import ClosedSum, RunSession
from regulator.replay import ReplayedRun
from tests.head_house import StudyHouse


@pytest.fixture(scope="module")
def finished() -> tuple[StudyHouse, RunSession]:
    house = StudyHouse(rows=2000)
    session = RunSession(house.plan, house.schema)
    while not session.finished:
        house.close(session)
    return house, session


def replayed(house: StudyHouse, sums: list[ClosedSum]) -> bytes:
    machine = ReplayedRun(house.plan, house.schema)
    for one in sums:
        machine.on_sum(one.request, one.joined, one.total)
    assert machine.finished
    return machine.model()


def test_sums_of_a_head_lead_to_the_head_of_its_document(
    finished: tuple[StudyHouse, RunSession],
) -> None:
    house, session = finished
    document = parse_canonical(candidate_of(session, house.manifest).document)
    assert isinstance(document, dict)
    assert replayed(house, house.sums) == canonical_json(document["head"])


def test_changed_sum_of_a_head_is_not_what_the_next_one_rests_on(
    finished: tuple[StudyHouse, RunSession],
) -> None:
    house, _ = finished
    first, *rest = house.sums
    changed = ClosedSum(
        request=first.request, joined=first.joined, total=first.total + (1 << 24)
    )
    with pytest.raises(OutOfOrderError, match="gradient round 2 is not due"):
        replayed(house, [changed, *rest])
