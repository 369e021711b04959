"""Counts of common persons between real nodes and the coordinator's side (T129 to T132)."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from consortium.credit.closure_signal import Bits
from consortium.crypto.keys import IdentityKey
from consortium.errors import ScoreRefusal, ScoreRefusalError, TransportError
from consortium.identity.overlap import ACCOUNT, charge_of
from consortium.inquiries import OverlapTell, Purpose
from tests.joint_house import House, secret
from tests.overlap_federation import BANK, PLAN, SHOP, Driven, driven, lines

WITHIN = 40
"""Nine deviations of the noise at epsilon 1: less than one in 10**18."""


def named(start: int, end: int) -> list[str]:
    return [f"P{number}" for number in range(start, end)]


def run(root: Path, story: Callable[[House, Driven], Awaitable[None]]) -> None:
    async def main() -> None:
        house = House(root, {})
        try:
            await house.start(epoch=False, load=False)
            lines(house, BANK, named(0, 300))
            lines(house, SHOP, named(180, 400), pd=50_000)
            lines(house, SHOP, named(100, 130), pd=200_000)
            with driven(house, root) as coordinator:
                await story(house, coordinator)
        finally:
            house.close()

    asyncio.run(main())


def spent(house: House, name: str) -> int:
    """Units of the account of figures, on disk."""
    return house.stores[name].spent(ACCOUNT)


def test_counts_are_the_tables_own_with_noise_and_both_pay_and_no_exact_figure_is_kept(
    tmp_path: Path,
) -> None:
    async def story(house: House, coordinator: Driven) -> None:
        prime, low = await coordinator.runs.run(PLAN)
        assert abs(prime.persons - 120) < WITHIN
        assert prime.persons != 120
        assert low.shown == "< 50"
        for name in (BANK, SHOP):
            assert spent(house, name) == charge_of(PLAN)
            account = house.stores[name].account(ACCOUNT, cap_units=1, delta=PLAN.delta)
            assert account.reserved == 0
        assert coordinator.logged == [
            ("overlap.planned", "operator"),
            ("overlap.debit", SHOP),
            ("overlap.debit", BANK),
            ("overlap.released", BANK),
        ]
        with closing(sqlite3.connect(tmp_path / BANK / "node.db")) as connection:
            ((entry,),) = connection.execute("SELECT entry FROM overlaps").fetchall()
        assert b'"counts":[' in entry
        assert str(120 * 1024).encode() not in entry

    run(tmp_path, story)


def test_asking_again_returns_the_same_counts_asks_nobody_and_costs_nothing(
    tmp_path: Path,
) -> None:
    async def story(house: House, coordinator: Driven) -> None:
        first = await coordinator.runs.run(PLAN)
        asked = list(coordinator.asked)
        assert await coordinator.runs.run(PLAN) == first
        assert coordinator.asked == asked
        assert [plan for plan, _ in coordinator.store.overlaps()] == [PLAN]
        assert spent(house, SHOP) == charge_of(PLAN)
        # A coordinator that lost its table gets them from the node that said them.
        with driven(house, tmp_path, "another") as other:
            assert await other.runs.run(PLAN) == first
            assert other.asked == [(BANK, "begin")]
        assert spent(house, BANK) == charge_of(PLAN)

    run(tmp_path, story)


def test_same_persons_cut_otherwise_are_refused_by_coordinator_and_nodes(
    tmp_path: Path,
) -> None:
    bent = replace(PLAN, tiers=("ALL",), cuts=())

    async def story(house: House, coordinator: Driven) -> None:
        await coordinator.runs.run(PLAN)
        await refused(coordinator, bent, ScoreRefusal.DIFFERENCING)
        with driven(house, tmp_path, "another") as forgetful:
            await refused(forgetful, bent, ScoreRefusal.DIFFERENCING)
            assert forgetful.asked == [(BANK, "begin")]

    run(tmp_path, story)


async def refused(coordinator: Driven, plan: object, reason: ScoreRefusal) -> None:
    with pytest.raises(ScoreRefusalError) as caught:
        await coordinator.runs.run(plan)  # type: ignore[arg-type]
    assert caught.value.reason is reason


def test_who_has_not_consented_or_has_no_active_line_is_in_no_list(tmp_path: Path) -> None:
    async def story(house: House, coordinator: Driven) -> None:
        lines(house, SHOP, named(180, 220), study="")
        lines(house, SHOP, named(220, 240), bits=Bits())
        lines(house, SHOP, named(240, 250), pd=None)
        bank = house.nodes[BANK]
        for person in named(250, 300):
            subject = bank.people.subject(bank.people.form(person))
            bank.store.withdraw(subject, [Purpose.IMPACT_STUDY])
        prime, _ = await coordinator.runs.run(PLAN)
        assert prime.persons < WITHIN + 1
        assert prime.below

    run(tmp_path, story)


def test_attempt_that_broke_off_after_the_peers_lists_left_is_charged_and_the_third_refused(
    tmp_path: Path,
) -> None:
    async def story(house: House, coordinator: Driven) -> None:
        real = coordinator.runs.on_tell

        def broken(name: object, tell: OverlapTell, number: int) -> bool:
            if tell.step == "give" and name == SHOP:
                assert spent(house, SHOP) > 0, "charged on disk before it leaves"
                coordinator.runs.on_down(SHOP)
            return real(name, tell, number)  # type: ignore[arg-type]

        house.on_overlap = broken
        for attempt in (1, 2):
            with pytest.raises(TransportError):
                await coordinator.runs.run(PLAN)
            assert spent(house, SHOP) == attempt * charge_of(PLAN)
        house.on_overlap = real
        await refused(coordinator, PLAN, ScoreRefusal.QUOTA)
        # A coordinator that forgets how often it has asked is told so by the nodes.
        with driven(house, tmp_path, "another") as forgetful:
            await refused(forgetful, PLAN, ScoreRefusal.REPLAY)
        assert spent(house, SHOP) == 2 * charge_of(PLAN)

    run(tmp_path, story)


def test_account_that_does_not_cover_it_reads_no_table(tmp_path: Path) -> None:
    async def story(house: House, coordinator: Driven) -> None:
        era = house.session(SHOP)._era
        assert era is not None
        read = []
        ports = replace(
            era.overlaps._ports,
            caps={ACCOUNT: 2 * charge_of(PLAN) - 1},
            standings=lambda day: read.append(day) or {},  # type: ignore[func-returns-value]
        )
        era.overlaps._ports = ports
        await refused(coordinator, PLAN, ScoreRefusal.QUOTA)
        assert read == []
        assert spent(house, SHOP) == 0

    run(tmp_path, story)


def test_plan_that_is_not_the_coordinators_is_refused(tmp_path: Path) -> None:
    async def story(house: House, coordinator: Driven) -> None:
        house.coordinator = IdentityKey.from_secret(secret("somebody else"))
        await refused(coordinator, PLAN, ScoreRefusal.MALFORMED)
        assert house.stores == {}

    run(tmp_path, story)
