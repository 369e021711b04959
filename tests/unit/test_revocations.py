"""Whose voices revoke an identity, and what is over for it from then on (protocol 2.7)."""

import asyncio
import sqlite3
from collections.abc import Coroutine
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consortium.codec import StreamKind
from consortium.crypto.keys import AgreementKey, Secret
from consortium.errors import (
    CertificateError,
    ConfigurationError,
    DecodeError,
    EnrolmentError,
    ManifestError,
    OutOfOrderError,
    RevokedError,
)
from consortium.ids import Digest, PartnerId
from consortium.ledger.entries import (
    Entry,
    IdentityRevoked,
    Incident,
    from_jcs,
    sign_entry,
)
from consortium.ledger.revocations import Revocations, barred, check_voice, enough
from consortium.ledger.witness import quorum_of
from consortium.manifest import Manifest, Role
from consortium.messages import Goodbye, Welcome
from coordinator import commands, wiring
from coordinator.revocation import Enforcer
from tests.coordinator_house import DEADLINE_S, House, NodeKeys, RawStream, ask, enrol
from tests.ledger_house import COORDINATOR, REGULATOR
from tests.ledger_house import House as Ledger

BANK, SHOP = PartnerId("bank_a"), PartnerId("shop_d")


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return Ledger(silos=5, rounds=1).manifest


def about(manifest: Manifest, member: PartnerId) -> IdentityRevoked:
    return IdentityRevoked(
        member=member,
        identity=bytes.fromhex(manifest.member(member).identity),
        reason="key_stolen",
        effective_at=1,
    )


def said(actor: PartnerId, body: IdentityRevoked) -> Entry:
    return Entry(seq_hint=0, at=1, actor=actor, body=body)


@given(st.data())
def test_identity_is_revoked_by_the_operator_itself_a_quorum_or_regulator_and_partner_alone(
    manifest: Manifest, data: st.DataObject
) -> None:
    names = [one.id for one in manifest.members]
    partners = [one.id for one in manifest.partners]
    target = data.draw(st.sampled_from(partners))
    voices = data.draw(st.lists(st.sampled_from(names), unique=True))
    machine = Revocations()
    for index, name in enumerate(voices):
        machine.take(index, said(name, about(manifest, target)), manifest)
    others = set(voices) & set(partners)
    carried = (
        bool({COORDINATOR, target} & set(voices))
        or len(others) >= quorum_of(manifest)
        or (REGULATOR in voices and bool(others))
    )
    assert machine.revoked_id(target, manifest) is carried
    assert barred(machine.since.keys(), manifest) == ({target} if carried else set())


def test_voice_of_a_revoked_member_and_voices_about_another_key_count_for_nothing(
    manifest: Manifest,
) -> None:
    first, second, third = (one.id for one in manifest.partners[:3])
    machine = Revocations()
    assert machine.take(0, said(COORDINATOR, about(manifest, first)), manifest)
    assert not machine.take(1, said(REGULATOR, about(manifest, third)), manifest)
    assert not machine.take(2, said(first, about(manifest, third)), manifest)
    assert machine.take(3, said(second, about(manifest, third)), manifest)
    again = replace(
        manifest,
        members=tuple(
            replace(one, identity="ab" * 32) if one.id == third else one
            for one in manifest.members
        ),
    )
    assert not machine.revoked_id(third, again)
    assert machine.index_of(manifest.member(third)) == 3


def test_reason_that_is_no_class_and_key_of_another_length_are_refused(
    manifest: Manifest,
) -> None:
    good = about(manifest, manifest.partners[0].id)
    check_voice(good)
    with pytest.raises(DecodeError, match="reason"):
        check_voice(replace(good, reason="Mr Wang lost it"))
    with pytest.raises(DecodeError, match="31 bytes"):
        check_voice(replace(good, identity=bytes(31)))
    assert not enough([], good, manifest)


# --- at the coordinator -----------------------------------------------------------------------


class Other(NodeKeys):
    """All of its keys are new, whatever its name."""

    @property
    def agreement(self) -> AgreementKey:
        return AgreementKey.from_secret(Secret(self.identity.public))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House.build(tmp_path, ("bank_a", "bank_b", "shop_c", "shop_d"))


def run(story: Coroutine[None, None, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 6 * DEADLINE_S))


async def refused(question: Coroutine[None, None, bytes]) -> str | None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await question
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    return caught.value.details()


def revoke(house: House) -> bool:
    """As the command does it: another process, over the same directory."""
    other = wiring.open_desk(house.desk.config.directory)
    try:
        return commands.revoke(other, SHOP, "key_stolen", since=None)
    finally:
        other.store.close()


async def welcomed(house: House, channel: grpc.aio.Channel, kind: StreamKind) -> RawStream:
    stream = RawStream.open(channel, kind)
    await stream.say(house.hello(house.nodes[SHOP]))
    frame = await stream.hear()
    assert frame is not None
    assert isinstance(frame.body, Welcome)
    return stream


def test_revoked_partner_loses_both_streams_and_every_call_and_others_lose_nothing(
    house: House,
) -> None:
    async def story() -> None:
        told: list[None] = []
        async with house.serving() as hub, house.channel(house.nodes[SHOP]) as channel:
            streams = [await welcomed(house, channel, kind) for kind in StreamKind]
            enforcer = Enforcer(house.desk.store, hub, lambda: told.append(None))
            work = asyncio.create_task(enforcer.run())
            assert await asyncio.to_thread(revoke, house)
            for stream in streams:
                frame = await stream.hear()
                assert frame is not None
                assert isinstance(frame.body, Goodbye)
                assert frame.body.code == RevokedError.code
                assert await stream.hear() is None
            for method in ("GetManifest", "SignManifest", "CastVote", "Witness"):
                assert await refused(ask(channel, method, b"")) == RevokedError.public
            async with house.channel(house.nodes[BANK]) as other:
                assert await ask(other, "GetManifest", b"")
            assert (hub.connected(), hub.scoring_connected(), told) == ((), (), [None])
            work.cancel()

    run(story())


def test_entry_that_revokes_is_shown_only_after_the_streams_have_ended(house: House) -> None:
    async def story() -> None:
        log, rosters = house.desk.log, []
        async with house.serving() as hub, house.channel(house.nodes[SHOP]) as channel:
            await welcomed(house, channel, StreamKind.SCORING)
            enforcer = Enforcer(house.desk.store, hub, lambda: rosters.append(hub.connected()))
            enforcer._loop = asyncio.get_running_loop()  # and never looks by itself
            log.before_shown = enforcer.before_shown
            await asyncio.to_thread(revoke, house)
            assert hub.scoring_connected() == (SHOP,)
            size, note = log.newest()
            shown = await asyncio.to_thread(log.show, 0, size, note, house.manifest)
            assert b"identity.revoked" in shown.entries[-1]
            assert (hub.scoring_connected(), rosters) == ((), [()])

    run(story())


def test_call_that_began_before_the_revocation_is_not_welcomed_after_it(house: House) -> None:
    node = house.nodes[SHOP]
    assert house.desk.membership.authenticate(node.certificate, listed=True) == SHOP
    revoke(house)
    with pytest.raises(RevokedError):
        house.desk.membership.greet(house.hello(node), SHOP, StreamKind.TRAINING)


def test_revocation_stands_after_a_restart_and_only_new_keys_come_in_again(
    house: House,
) -> None:
    old = house.nodes[SHOP]
    token = commands.issue_token(house.desk, SHOP, house.desk.schema.families[:1], hours=1)
    assert revoke(house)
    assert not revoke(house)
    desk = wiring.open_desk(house.desk.config.directory)
    with pytest.raises(RevokedError):
        desk.membership.authenticate(old.certificate, listed=False)
    with pytest.raises(EnrolmentError, match="used already"):
        desk.membership.enrol(NodeKeys.of("shop_d").request(token), desk.authority)
    with pytest.raises(EnrolmentError, match="was revoked"):
        enrol(desk, NodeKeys.of("shop_d"))
    fresh = Other.of("shop_d2")
    fresh.partner = SHOP
    enrol(desk, fresh)
    assert desk.membership.authenticate(fresh.certificate, listed=False) == SHOP
    with pytest.raises(CertificateError, match="not the manifest's"):
        desk.membership.authenticate(fresh.certificate, listed=True)
    assert desk.membership.propose("test", desk.schema, house.manifest.policy).member(SHOP)


def test_next_manifest_lists_the_revoked_member_as_revoked_and_needs_no_word_of_it(
    house: House,
) -> None:
    revoke(house)
    drafted = house.desk.membership.propose("test", house.desk.schema, house.manifest.policy)
    assert SHOP in {one.id for one in drafted.members}
    assert SHOP not in {one.id for one in drafted.signers()}
    for name in ("bank_a", "bank_b", "shop_c"):
        node = house.nodes[name]
        house.desk.membership.sign(node.sign(drafted.digest), peer=node.partner)
    assert house.desk.membership.current() == drafted


def test_entry_of_a_revoked_member_is_appended_by_no_way_but_the_attempt_under_way(
    house: House,
) -> None:
    revoke(house)
    body = Incident(kind="noise", text=Digest("ab" * 32))
    identity = house.nodes[SHOP].identity
    bare = Entry(seq_hint=0, at=1, actor=SHOP, body=body)
    with pytest.raises(RevokedError):
        house.desk.log.append([sign_entry(bare, identity).to_jcs()])
    size, _ = house.desk.log.newest()
    house.desk.log.append([house.desk.log.entry(body)])
    assert house.desk.log.newest()[0] == size + 1


def test_voice_about_a_key_that_no_member_has_or_about_the_coordinator_is_refused(
    house: House,
) -> None:
    body = about(house.manifest, SHOP)
    with pytest.raises(ManifestError):
        house.desk.log.revoke(replace(body, identity=bytes(32)))
    coordinator = PartnerId("coordinator")
    with pytest.raises(ManifestError):
        house.desk.log.revoke(about(house.manifest, coordinator))
    with pytest.raises(ConfigurationError, match="no active partner"):
        commands.revoke(house.desk, coordinator, "left", since=None)
    assert house.desk.store.members.out() == ()
    assert house.manifest.coordinator.role is Role.COORDINATOR


def test_second_voice_of_a_member_about_one_key_is_not_appended(house: House) -> None:
    member = house.nodes[BANK]
    size, _ = house.desk.log.newest()
    for at in (1, 2):
        bare = said(BANK, replace(about(house.manifest, SHOP), effective_at=at))
        data = sign_entry(bare, member.identity).to_jcs()
        with nullcontext() if at == 1 else pytest.raises(OutOfOrderError):
            house.desk.log.standing.say(from_jcs(data), data, house.manifest, at=at)
    assert house.desk.log.newest()[0] == size + 1
    assert house.desk.store.members.out() == ()
    assert revoke(house)  # the operator's voice, with that of one partner


def test_revocation_and_its_entry_are_one_commit(house: House) -> None:
    path = house.desk.config.directory / "coordinator.db"
    with sqlite3.connect(path) as database:
        database.execute(
            "CREATE TRIGGER full BEFORE INSERT ON revocations "
            "BEGIN SELECT RAISE(ABORT, 'x'); END"
        )
    before = house.desk.log.newest()
    with pytest.raises(Exception, match="database"):
        revoke(house)
    assert (house.desk.log.newest(), house.desk.store.members.out()) == (before, ())
