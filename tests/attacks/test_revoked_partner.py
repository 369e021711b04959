"""A stolen identity, and a coordinator that goes on working with it (T113, T114)."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from consortium.errors import ManifestError, ScoreRefusal, ScoreRefusalError
from consortium.ids import PartnerId
from consortium.inquiries import (
    EpochAsk,
    OprfReply,
    OprfRequest,
    ScoreAnswer,
    ScoreRefused,
    ScoreRequest,
)
from consortium.ledger.entries import IdentityRevoked, from_jcs
from consortium.ledger.run_bodies import RoundJoin, RoundSum
from consortium.manifest import Manifest
from consortium.messages import SumRequest
from consortium.scoring.clear import parse_inquiry
from models.run import ClosedSum, RunFailedError
from partner_node.log_store import Revoked
from partner_node.trust import check_nobody_revoked
from tests.attacks import test_hostile_log as logged
from tests.attacks.test_scoring_node import forged, said
from tests.joint_house import House
from tests.unit.test_scoring_session import ROWS, ask

BANK, SHOP, SHOP_D = PartnerId("bank_a"), PartnerId("shop_c"), PartnerId("shop_d")


def voice(manifest: Manifest, name: PartnerId) -> IdentityRevoked:
    identity = bytes.fromhex(manifest.member(name).identity)
    return IdentityRevoked(
        member=name, identity=identity, reason="key_stolen", effective_at=1_700_000_000
    )


# --- training ---------------------------------------------------------------------------------


def revoking(house: logged.House, after: int, *, absent: bool) -> None:
    """The log revokes shop_d once so many sums are closed; ``absent``: its stream ends, too."""

    def on_closed(request: SumRequest, seconds: float, closed: ClosedSum | None) -> None:
        house.on_closed(request, seconds, closed)
        if house.session.state.closed == after and not house.log.standing.all():
            assert house.log.revoke(voice(house.house.manifest, SHOP_D))
            if absent:
                house.house.absent = {SHOP_D}

    house.house.on_closed = on_closed


def test_run_goes_on_without_the_partner_that_was_revoked(tmp_path: Path) -> None:
    house = logged.House(tmp_path)
    revoking(house, 2, absent=True)
    house.train()
    assert house.session.finished
    assert house.charged(SHOP_D) == 2
    others = {house.charged(name) for name in house.house.nodes if name != SHOP_D}
    assert min(others) > 2
    late = [one for one in house.logged() if isinstance(one, RoundSum)][2:]
    assert late
    assert all(SHOP_D not in one.request.roster for one in late)


def test_coordinator_that_goes_on_asking_with_a_revoked_partner_gets_no_words(
    tmp_path: Path,
) -> None:
    house = logged.House(tmp_path)
    revoking(house, 2, absent=False)
    with pytest.raises(RunFailedError):
        house.train()
    assert {house.charged(name) for name in house.house.nodes} == {2}
    entries = [from_jcs(one) for one in house.log.entries(0, house.log.newest()[0])]
    index = next(i for i, one in enumerate(entries) if isinstance(one.body, IdentityRevoked))
    joined = [one for one in entries[index:] if isinstance(one.body, RoundJoin)]
    assert {one.actor for one in joined} <= {SHOP_D}


def test_node_knows_the_revoked_after_a_restart_and_after_its_mirror_was_forgotten(
    tmp_path: Path,
) -> None:
    house = logged.House(tmp_path)
    revoking(house, 2, absent=True)
    house.train()
    manifest = house.house.manifest
    mirror, _ = house.gate(house.house.nodes[BANK], manifest)
    assert mirror.barred() == {SHOP_D}
    held = house.mirrors[BANK]
    held.forget()
    assert held.barred(manifest) == {SHOP_D}
    assert held.barred(manifest, under=1) == frozenset()


def test_manifest_that_calls_a_revoked_key_active_is_not_signed(tmp_path: Path) -> None:
    manifest = logged.House(tmp_path).house.manifest
    member = manifest.member(SHOP_D)
    revoked = [Revoked(identity=member.identity, member=SHOP_D, number=7)]
    with pytest.raises(ManifestError, match="a key that was revoked"):
        check_nobody_revoked(manifest, revoked)
    others = (one for one in manifest.members if one != member)
    check_nobody_revoked(
        replace(manifest, members=(*others, replace(member, active=False))), revoked
    )
    check_nobody_revoked(
        replace(manifest, members=(*others, replace(member, identity="ab" * 32))), revoked
    )


# --- scoring and pseudonyms -------------------------------------------------------------------


def run(root: Path, story: Callable[[House], Awaitable[None]]) -> None:
    async def main() -> None:
        built = House(root, ROWS)
        try:
            await built.start()
            await story(built)
        finally:
            built.close()

    asyncio.run(main())


def revoke(house: House, name: PartnerId) -> None:
    house.revoked = frozenset({house.manifest.member(name).identity})
    for node in house.nodes.values():
        node.session._era.heed(house.revoked)  # type: ignore[union-attr]


def code_of(answer: ScoreAnswer | ScoreRefused) -> str:
    assert isinstance(answer, ScoreRefused)
    return answer.code


def test_request_of_a_revoked_partner_and_one_that_asks_with_it_are_refused(
    tmp_path: Path,
) -> None:
    async def story(house: House) -> None:
        request = forged(house, "P1")
        revoke(house, BANK)
        assert code_of(await said(house, SHOP, request)) == ScoreRefusal.REQUESTER
        house.revoked = frozenset()

    async def with_it(house: House) -> None:
        request = forged(house, "P1")
        revoke(house, SHOP_D)
        assert code_of(await said(house, SHOP, request)) == ScoreRefusal.ROSTER
        rosters = house.nodes[SHOP].session._era.rosters  # type: ignore[union-attr]
        with pytest.raises(ScoreRefusalError, match="revoked"):
            rosters.add(house.publish(), now=house.clock.seconds())

    run(tmp_path / "one", story)
    run(tmp_path / "other", with_it)


def test_points_are_evaluated_neither_for_nor_with_a_revoked_partner(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await ask(house, "bank_a", "STRANGER")
        request = next(
            body
            for _, body in reversed(house.frames(OprfRequest, "up"))
            if isinstance(body, OprfRequest) and body.requester == BANK
        )
        server = next(name for name in request.servers if name != BANK)
        others = sorted(name for name in house.nodes if name != BANK)
        # Servers are drawn: here the revoked one only asks, whatever the draw was.
        fresh = replace(
            request, request="ab" * 16, servers=tuple(others)[: len(request.servers)]
        )
        revoke(house, BANK)
        era = house.nodes[server].session._era
        assert era is not None
        for one in (request, fresh):
            reply = await era.pseudonyms.on_request(one)
            assert isinstance(reply, OprfReply)
            assert (reply.code, reply.points) == ("S02", b"")
        told = await era.ceremony.on_epoch(EpochAsk(step="commit", documents=(b"offer",)))
        assert told.code == ScoreRefusal.REQUESTER

    run(tmp_path, story)


@pytest.mark.slow
def test_request_under_way_when_others_hear_of_a_revocation_is_asked_again_without_it(
    tmp_path: Path,
) -> None:
    """Responders refuse the roster that was good a moment ago (S04): they are not to blame."""

    async def story(house: House) -> None:
        revoked = frozenset({house.manifest.member(SHOP_D).identity})
        for name, node in house.nodes.items():
            if name != BANK:
                node.session._era.heed(revoked)  # type: ignore[union-attr]
        relayed = house.next_up(ScoreRequest)
        asking = asyncio.create_task(ask(house, "bank_a", "P1"))
        await relayed
        others = [name for name in sorted(house.nodes) if name != SHOP_D]
        house.down.add(SHOP_D)
        house.publish(others)
        (answer,) = await asking
        assert not answer.fallback
        first, again = house.frames(ScoreRequest, "up")[-2:]
        assert parse_inquiry(first[1].inquiry).roster == tuple(sorted(house.nodes))  # type: ignore[attr-defined]
        assert parse_inquiry(again[1].inquiry).roster == tuple(others)  # type: ignore[attr-defined]

    run(tmp_path, story)


def test_score_goes_on_among_the_others_when_a_partner_is_revoked(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        house.cut("shop_d")
        revoke(house, SHOP_D)
        house.publish([name for name in sorted(house.nodes) if name != SHOP_D])
        await house.settled()
        (answer,) = await ask(house, "bank_a", "P1")
        assert not answer.fallback
        last = house.frames(ScoreRequest, "up")[-1]
        assert last[0] == BANK

    run(tmp_path, story)
