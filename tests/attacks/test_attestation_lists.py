"""Lists of attestations in the log: forked, rolled back, dated otherwise, stale (8.7 (25))."""

import pytest

from consortium.errors import AttestationError
from consortium.ids import PartnerId
from consortium.ledger.attestations import lists_of
from consortium.ledger.bodies import AttestationsListed
from consortium.ledger.entries import from_jcs
from consortium.ledger.findings import Grade
from consortium.ledger.verify import verify_log
from regulator.replay import ReplayedRun
from tests.ledger_house import House
from tests.secagg_house import digest

DAY_S = 86_400
ISSUER, OTHER = PartnerId("silo-00"), PartnerId("silo-01")


@pytest.fixture(scope="module")
def base() -> House:
    house = House(silos=3, rounds=1)
    house.adopt()
    return house


@pytest.fixture
def house(base: House) -> House:
    return base.branch()


def listed(
    house: House, number: int, text: str, *, day: int | None = None, by: PartnerId = ISSUER
) -> None:
    today = house.now // DAY_S
    body = AttestationsListed(
        number=number, listing=digest(text), day=today if day is None else day
    )
    house.append(by, body)


def found(house: House) -> dict[str, Grade]:
    house.checkpoint()
    audit = verify_log(
        house.bundle(), house.manifest.digest, now=house.now + 60, machines=ReplayedRun
    )
    return {one.name: one.grade for one in audit.findings if one.name.startswith("listing.")}


def test_lists_that_count_up_are_no_finding(house: House) -> None:
    for number in range(3):
        listed(house, number, f"list {number}")
        listed(house, number, f"another's {number}", by=OTHER)
    assert found(house) == {}


def test_two_lists_of_one_number_are_a_fork(house: House) -> None:
    listed(house, 0, "as lender a sees it")
    listed(house, 0, "as lender b sees it")
    assert found(house) == {"listing.fork": Grade.ERROR}
    lists = lists_of(enumerate(map(from_jcs, house.entries)))[ISSUER]
    with pytest.raises(AttestationError, match="forks") as refused:
        lists.one(0, digest("as lender a sees it"))
    assert refused.value.rule == "list"


def test_list_that_goes_back_or_leaves_one_out_is_found(house: House) -> None:
    for number in (0, 1, 0):
        listed(house, number, f"list {number}")
    assert found(house) == {"listing.order": Grade.ERROR}


def test_list_that_is_dated_ahead_or_back_is_found(house: House) -> None:
    today = house.now // DAY_S
    listed(house, 0, "list 0", day=today + 5)
    assert found(house) == {"listing.day": Grade.ERROR}


def test_list_that_nobody_may_rely_on_any_more_is_named(house: House) -> None:
    listed(house, 0, "list 0")
    house.now += 8 * DAY_S
    listed(house, 0, "another's", by=OTHER)
    assert found(house) == {"listing.stale": Grade.WARNING}
