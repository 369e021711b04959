"""The relay of joint scores on real sockets, with nodes that do what they must not.

What an asker or a responder can do to the others through the coordinator: T45 to T48.
"""

import asyncio
import json
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import grpc
import grpc.aio
import pytest

from consortium.ids import Digest, PartnerId, RequestId
from consortium.inquiries import (
    EpochAsk,
    Inquiry,
    OprfReplies,
    OprfReply,
    OprfRequest,
    Purpose,
    Roster,
    ScoreAnswer,
    ScoreAnswers,
    ScoreFailed,
    ScoreRequest,
)
from consortium.ledger.archive import unpack
from consortium.ledger.bodies import ScoreRetry
from consortium.ledger.entries import ScoreBatch, from_jcs
from consortium.ledger.findings import Check, Findings
from consortium.manifest import Delivery
from consortium.messages import Goodbye
from consortium.scoring.clear import parse_inquiry
from consortium.scoring.roster import verify_roster
from coordinator import cli, commands, wiring
from coordinator.scoring_storage import ScoringStore
from coordinator.streams import Settings
from regulator.bundle import audit_bundle
from tests.coordinator_house import DEADLINE_S, House
from tests.scoring_lines import (
    JOINT,
    NAMES,
    SIGNATURE,
    Line,
    line,
    lines,
    relaying,
    until,
)

RUN = "ab" * 16


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House.build(tmp_path_factory.mktemp("c"), NAMES, JOINT)


def run(story: Coroutine[None, None, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 6 * DEADLINE_S))


async def failure(asker: Line) -> ScoreFailed:
    return await asker.hear(ScoreFailed)


async def ended(node: Line) -> str:
    while frame := await node.stream.hear():
        if isinstance(frame.body, Goodbye):
            return frame.body.code
    return "closed"


# --- rosters (protocol 7.2) -------------------------------------------------------------------


def test_roster_lists_who_is_connected_and_is_signed_by_the_coordinator(house: House) -> None:
    async def story() -> None:
        async with relaying(house), lines(house, NAMES[:2]) as (one, two):
            for node in (one, two):
                roster = await node.roster(*NAMES[:2])
                verify_roster(roster, house.manifest, now=wiring.now())
                assert roster.model is None
            async with line(house, "shop_d") as third:
                await third.roster("bank_a", "bank_b", "shop_d")
                longer = await one.roster("bank_a", "bank_b", "shop_d")
                assert longer.version > roster.version
            shorter = await one.roster(*NAMES[:2])
            assert shorter.version > longer.version

    run(story())


def test_activated_model_is_in_a_new_roster_within_a_second_or_two(house: House) -> None:
    version = Digest("0e" * 32)

    async def story() -> None:
        async with relaying(house), line(house, "bank_a") as node:
            assert (await node.roster("bank_a")).model is None
            store = house.desk.store
            store.models.add(version, RequestId(RUN), b"{}", 1)  # type: ignore[arg-type]
            store.models.set_status(version, "active", 2)
            async with asyncio.timeout(3):
                assert (await node.hear(Roster)).model == version
            store.models.set_status(version, "retired", 3)

    run(story())


def test_roster_is_signed_again_before_it_is_stale(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coordinator.rosters._REFRESH_S", 0.0)

    async def story() -> None:
        async with relaying(house), line(house, "bank_a") as node:
            first = await node.hear(Roster)
            second = await node.hear(Roster)
            assert second.version > first.version
            assert replace(second, version=0, valid_until=0, signature=b"") == replace(
                first, version=0, valid_until=0, signature=b""
            )
            verify_roster(second, house.manifest, now=wiring.now())

    run(story())


def test_version_of_a_roster_rises_over_a_restart_of_the_coordinator(house: House) -> None:
    async def story() -> None:
        versions = []
        for _ in range(2):
            async with relaying(house), line(house, "bank_a") as node:
                versions.append((await node.hear(Roster)).version)
        assert versions[0] < versions[1]

    run(story())


# --- the honest way (protocol 7.4, 7.6) -------------------------------------------------------


def test_answers_of_all_reach_the_asker_under_the_id_of_its_frame(house: House) -> None:
    async def story() -> None:
        async with relaying(house) as at, lines(house) as nodes:
            asker, *others = nodes
            roster = await asker.roster(*NAMES)
            request = await asker.ask(roster)
            seen = [await other.answer_next() for other in others]
            assert all(one == request for one in seen)
            answers, number = await asker.hear_numbered(ScoreAnswers)
            assert (number, answers.last) == (1, True)
            assert {answer.member for answer in answers.answers} == set(NAMES[1:])
            assert at.scoring.relay.in_flight == 0
            assert not at.scoring.relay.dropped

    run(story())


def test_answers_that_do_not_fit_one_frame_come_in_several(house: House) -> None:
    words = bytes(8 * 256 * 250)

    async def story() -> None:
        async with relaying(house), lines(house) as nodes:
            asker, *others = nodes
            request = await asker.ask(await asker.roster(*NAMES), persons=256)
            for other in others:
                await other.hear(ScoreRequest)
                await other.stream.say(other.answer(request, words), 1)
            heard: list[PartnerId] = []
            frames = 0
            last = False
            while not last:
                part = await asker.hear(ScoreAnswers)
                heard += [answer.member for answer in part.answers]
                last, frames = part.last, frames + 1
            assert sorted(heard) == sorted(NAMES[1:])
            assert frames > 1

    run(story())


def test_inquiry_is_recorded_with_salted_consents_and_without_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    house = House.build(tmp_path / "c", NAMES, JOINT)
    store = ScoringStore(house.desk.store)

    async def story() -> list[RequestId]:
        async with relaying(house), lines(house) as nodes:
            asker, *others = nodes
            roster = await asker.roster(*NAMES)
            first = parse_inquiry((await asker.ask(roster, persons=7)).inquiry)
            for other in others[1:]:
                await other.answer_next()
            await others[0].refuse_next("S07")
            await failure(asker)
            fewer = tuple(PartnerId(name) for name in NAMES if name != "bank_b")
            again = await asker.ask(roster, roster=fewer, retry_of=first.request, persons=7)
            for other in others[1:]:
                await other.answer_next()
            await asker.hear(ScoreAnswers)
            return [first.request, parse_inquiry(again.inquiry).request]

    first, second = asyncio.run(story())
    (failed,), (answered,) = store.inquiries(first), store.inquiries(second)
    assert failed.outcome == "incomplete"
    assert json.loads(failed.responders) == {
        "bank_b": "S07",
        "bank_c": "answered",
        "shop_d": "answered",
        "shop_e": "answered",
    }
    assert (answered.outcome, answered.retry_of) == ("answered", first)
    assert failed.consents != answered.consents
    assert "0c" * 32 not in failed.consents
    directory = str(house.desk.config.directory)
    assert cli.main(["inquiries", directory, "--json"]) == 0
    (count,) = json.loads(capsys.readouterr().out)
    assert (count["requester"], count["requests"], count["persons"]) == ("bank_a", 2, 14)
    assert (count["answered"], count["retry_share"]) == (1, 0.5)
    assert cli.main(["inquiries", directory]) == 0
    assert "retries 50.00%" in capsys.readouterr().out
    check_bundle(house, tmp_path / "bundle.zip", first, second)


def check_bundle(house: House, path: Path, first: RequestId, second: RequestId) -> None:
    """The bundle proves both inquiries; the model alone was never served by this log."""
    digest = commands.write_bundle(house.desk, path)
    data = path.read_bytes()
    files = unpack(data, Findings())
    found = audit_bundle(data, digest, now=wiring.now())
    scores = {one.name for one in found.findings if one.check is Check.SCORES}
    assert scores == {"score.model", "retry.rate"}
    said = [from_jcs(one).body for one in house.desk.store.log.entries()]
    (retry,) = [one for one in said if isinstance(one, ScoreRetry)]
    assert (retry.request, retry.retry_of, retry.missing) == (second, first, ("bank_b",))
    batches = [one for one in said if isinstance(one, ScoreBatch)]
    assert sum(one.count for one in batches) == 2
    assert {f"inquiries/{one.second}.bin" for one in batches} <= set(files)
    shown = b"".join(files[name] for name in files if name.startswith("inquiries/"))
    assert first.encode() in shown
    assert b"0c" * 32 not in shown


# --- T45: answers that are not the partner's own ----------------------------------------------


def test_answer_in_the_name_of_another_is_dropped_and_the_true_one_counts(house: House) -> None:
    async def story() -> None:
        async with relaying(house) as at, lines(house) as nodes:
            asker, victim, liar, *others = nodes
            request = await asker.ask(await asker.roster(*NAMES))
            forged = victim.answer(request, b"f" * 80)
            await liar.hear(ScoreRequest)
            await liar.stream.say(forged, 1)
            await until(lambda: at.scoring.relay.dropped["stranger"] == 1)
            await liar.stream.say(liar.answer(request), 1)
            for other in (victim, *others):
                await other.answer_next()
            answers = (await asker.hear(ScoreAnswers)).answers
            assert forged not in answers
            assert len(answers) == len(NAMES) - 1

    run(story())


def test_answer_of_a_partner_that_was_not_asked_is_dropped(house: House) -> None:
    async def story() -> None:
        async with relaying(house) as at, lines(house) as nodes:
            asker, *others, stranger = nodes
            roster = await asker.roster(*NAMES)
            four = roster.partners[:4]
            request = await asker.ask(roster, roster=four, retry_of=RequestId("01" * 16))
            for other in others:
                await other.hear(ScoreRequest)
            await stranger.stream.say(stranger.answer(request), 1)
            await asker.stream.say(asker.answer(request), 1)
            await until(lambda: at.scoring.relay.dropped["stranger"] == 2)
            for other in others:
                await other.stream.say(other.answer(request), 1)
            answers = (await asker.hear(ScoreAnswers)).answers
            assert {answer.member for answer in answers} == set(four[1:])

    run(story())


def test_second_answer_of_a_partner_is_dropped_and_the_first_counts(house: House) -> None:
    async def story() -> None:
        async with relaying(house) as at, lines(house) as nodes:
            asker, eager, *others = nodes
            request = await asker.ask(await asker.roster(*NAMES))
            await eager.hear(ScoreRequest)
            await eager.stream.say(eager.answer(request, b"1" * 80), 1)
            await eager.stream.say(eager.answer(request, b"2" * 80), 1)
            await until(lambda: at.scoring.relay.dropped["duplicate"] == 1)
            for other in others:
                await other.answer_next()
            answers = (await asker.hear(ScoreAnswers)).answers
            assert [a.words for a in answers if a.member == eager.name] == [b"1" * 80]

    run(story())


def test_answer_after_the_deadline_is_dropped_and_its_partner_named_silent(
    house: House,
) -> None:
    async def story() -> None:
        async with relaying(house) as at, lines(house) as nodes:
            asker, slow, *others = nodes
            roster = await asker.roster(*NAMES)
            request = await asker.ask(roster, deadline=wiring.now_ms() + 300)
            for other in others:
                await other.answer_next()
            failed = await failure(asker)
            assert (failed.code, failed.silent) == ("S18", (slow.name,))
            await slow.stream.say(slow.answer(request), 1)
            await until(lambda: at.scoring.relay.dropped["late"] == 1)

    run(story())


def test_answer_on_a_stream_that_was_replaced_is_not_heard(house: House) -> None:
    async def story() -> None:
        async with relaying(house) as at, lines(house) as nodes:
            asker, old, *others = nodes
            request = await asker.ask(await asker.roster(*NAMES))
            await old.hear(ScoreRequest)
            async with line(house, "bank_b"):
                failed = await failure(asker)
                assert failed.silent == (PartnerId("bank_b"),)
                with suppress(grpc.aio.AioRpcError):  # the call may have ended already
                    await old.stream.say(old.answer(request), 1)
                assert at.scoring.relay.in_flight == 0
                assert not at.scoring.relay.dropped
            del others

    run(story())


# --- T46: requests in another's name, or beyond what may be asked -----------------------------


def test_request_in_the_name_of_another_is_refused_and_reaches_nobody(house: House) -> None:
    async def story() -> None:
        async with relaying(house) as at, lines(house) as nodes:
            asker, victim, *_ = nodes
            await asker.ask(await asker.roster(*NAMES), requester=victim.name)
            assert (await failure(asker)).code == "S02"
            assert at.scoring.relay.in_flight == 0

    run(story())


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"roster_version": 1}, "S04"),
        ({"roster": ("bank_a", "bank_b", "bank_c")}, "S04"),
        ({"roster": ("bank_a", "bank_b"), "retry_of": "01" * 16}, "S04"),
        ({"roster": NAMES[1:], "retry_of": "01" * 16}, "S04"),
        ({"deadline": 1}, "S06"),
    ],
)
def test_request_outside_the_terms_is_refused_and_reaches_nobody(
    house: House, changes: dict[str, object], code: str
) -> None:
    async def story() -> None:
        async with relaying(house), lines(house) as nodes:
            asker, other, *rest = nodes
            roster = await asker.roster(*NAMES)
            await asker.ask(roster, **changes)
            assert (await failure(asker)).code == code
            good = await asker.ask(roster)
            # The first that anybody hears of is the good one.
            assert await other.answer_next() == good
            del rest

    run(story())


def test_request_for_a_purpose_that_there_is_not_is_refused(house: House) -> None:
    async def story() -> None:
        async with relaying(house), lines(house) as nodes:
            asker = nodes[0]
            request = asker.request(await asker.roster(*NAMES))
            for inquiry, code in (
                (request.inquiry.replace(b"JOINT_SCORE", b"MARKETING"), "S08"),
                (request.inquiry + b" ", "S11"),
                (b"{}", "S11"),
            ):
                await asker.stream.say(replace(request, inquiry=inquiry), 1)
                assert (await failure(asker)).code == code

    run(story())


def test_request_sealed_to_others_than_it_names_is_refused(house: House) -> None:
    async def story() -> None:
        async with relaying(house), lines(house) as nodes:
            asker = nodes[0]
            request = asker.request(await asker.roster(*NAMES))
            await asker.stream.say(replace(request, wraps=request.wraps[1:]), 1)
            assert (await failure(asker)).code == "S11"

    run(story())


def test_partner_that_is_not_the_bureau_may_not_ask(tmp_path: Path) -> None:
    bureau = replace(
        JOINT.scoring, delivery=Delivery.VIA_LICENSED_BUREAU, bureau=PartnerId("shop_d")
    )
    house = House.build(tmp_path / "c", NAMES, replace(JOINT, scoring=bureau))

    async def story() -> None:
        async with relaying(house), lines(house) as nodes:
            roster = await nodes[0].roster(*NAMES)
            await nodes[0].ask(roster)
            assert (await failure(nodes[0])).code == "S12"
            await nodes[3].ask(roster)
            await nodes[0].hear(ScoreRequest)

    run(story())


def test_request_to_a_partner_that_has_left_fails_at_once_and_reaches_nobody(
    house: House,
) -> None:
    async def story() -> None:
        async with relaying(house), lines(house, NAMES[:4]) as nodes:
            asker, other, *_ = nodes
            async with line(house, "shop_e"):
                roster = await asker.roster(*NAMES)
            await asker.roster(*NAMES[:4])
            first = parse_inquiry((await asker.ask(roster)).inquiry).request
            failed = await failure(asker)
            assert (failed.code, failed.silent) == ("S18", (PartnerId("shop_e"),))
            fewer = await asker.ask(roster, roster=roster.partners[:4], retry_of=first)
            assert await other.answer_next() == fewer

    run(story())


def test_retry_of_what_was_answered_or_without_others_than_failed_reaches_nobody(
    house: House,
) -> None:
    async def story() -> None:
        async with relaying(house), lines(house, NAMES) as (asker, *others):
            roster = await asker.roster(*NAMES)
            names = roster.partners
            answered = parse_inquiry((await asker.ask(roster)).inquiry).request
            for node in others:
                await node.answer_next()
            assert (await asker.hear(ScoreAnswers)).last
            three = (names[0], names[1], names[2])
            await asker.ask(roster, roster=three, retry_of=answered)
            assert (await failure(asker)).code == "S10"

            refused = parse_inquiry((await asker.ask(roster)).inquiry).request
            for node in others[:-1]:
                await node.answer_next()
            await others[-1].refuse_next("S05")
            assert (await failure(asker)).code == "S18"
            await asker.ask(roster, roster=three, retry_of=refused)
            assert (await failure(asker)).code == "S10"
            await others[0].ask(roster, roster=(names[1], names[2], names[3]), retry_of=refused)
            assert (await failure(others[0])).code == "S10"
            true = await asker.ask(roster, roster=names[:4], retry_of=refused)
            assert await others[0].answer_next() == true

    run(story())


def test_request_that_is_under_way_is_not_relayed_twice(house: House) -> None:
    async def story() -> None:
        async with relaying(house), lines(house) as nodes:
            asker = nodes[0]
            request = await asker.ask(await asker.roster(*NAMES))
            await asker.stream.say(request, 99)
            failed, number = await asker.hear_numbered(ScoreFailed)
            assert (failed.code, number) == ("S09", 99)

    run(story())


def test_frame_id_used_for_two_requests_ends_the_askers_stream(house: House) -> None:
    async def story() -> None:
        async with relaying(house), lines(house) as nodes:
            asker = nodes[0]
            roster = await asker.roster(*NAMES)
            for _ in range(2):
                await asker.stream.say(asker.request(roster), 7)
            assert await ended(asker) == "out_of_order"

    run(story())


# --- T47: partners that leave, refuse or keep silent ------------------------------------------


def test_partner_killed_with_a_request_in_flight_fails_it_at_once(house: House) -> None:
    async def story() -> None:
        async with relaying(house), lines(house, NAMES[:4]) as nodes:
            asker, *others = nodes
            async with line(house, "shop_e") as victim:
                roster = await asker.roster(*NAMES)
                await asker.ask(roster, deadline=wiring.now_ms() + 60_000)
                await victim.hear(ScoreRequest)
                for other in others:
                    await other.answer_next()
                victim.stream.call.cancel()
                began = asyncio.get_running_loop().time()
                failed = await failure(asker)
                assert asyncio.get_running_loop().time() - began < 2
                assert (failed.code, failed.silent) == ("S18", (PartnerId("shop_e"),))
                assert failed.refused == ()

    run(story())


def test_two_partners_that_leave_together_are_both_named(house: House) -> None:
    async def story() -> None:
        async with relaying(house), lines(house) as nodes:
            asker, *_, one, two = nodes
            await asker.ask(await asker.roster(*NAMES))
            for node in (one, two):
                await node.hear(ScoreRequest)
                node.stream.call.cancel()
            assert (await failure(asker)).silent == (one.name, two.name)

    run(story())


def test_refusals_reach_the_asker_as_they_were_signed(house: House) -> None:
    async def story() -> None:
        async with relaying(house), lines(house) as nodes:
            asker, one, two, *others = nodes
            await asker.ask(await asker.roster(*NAMES))
            await one.refuse_next("S07")
            await two.refuse_next("S10")
            for other in others:
                await other.answer_next()
            failed = await failure(asker)
            assert failed.code == "S18"
            assert failed.silent == ()
            assert {(r.member, r.code) for r in failed.refused} == {
                ("bank_b", "S07"),
                ("bank_c", "S10"),
            }

    run(story())


def test_refusal_ends_a_request_long_before_its_deadline(house: House) -> None:
    async def story() -> None:
        async with relaying(house), lines(house) as nodes:
            asker, one, *_ = nodes
            await asker.ask(await asker.roster(*NAMES))
            began = asyncio.get_running_loop().time()
            await one.refuse_next("S05")
            failed = await failure(asker)
            assert asyncio.get_running_loop().time() - began < 2
            # Those who were not heard in the short wait are not called silent.
            assert failed.silent == ()

    run(story())


def test_request_of_an_asker_that_left_is_forgotten_and_recorded_so(house: House) -> None:
    async def story() -> None:
        async with relaying(house) as at, lines(house, NAMES[1:]) as nodes:
            async with line(house, "bank_a") as asker:
                request = await asker.ask(await asker.roster(*NAMES))
                await nodes[0].hear(ScoreRequest)
            await nodes[0].roster(*NAMES[1:])
            assert at.scoring.relay.in_flight == 0
            await at.scoring.relay.stop()
            inquiry: Inquiry = parse_inquiry(request.inquiry)
            (row,) = ScoringStore(house.desk.store).inquiries(inquiry.request)
            assert row.outcome == "left"
            assert inquiry.purpose is Purpose.JOINT_SCORE

    run(story())


# --- T48: floods and garbage ------------------------------------------------------------------


def test_garbage_on_a_scoring_stream_ends_it_and_fails_who_waits_for_it(house: House) -> None:
    async def story() -> None:
        async with relaying(house), lines(house) as nodes:
            asker, *others, bad = nodes
            await asker.ask(await asker.roster(*NAMES))
            for other in others:
                await other.answer_next()
            await bad.hear(ScoreRequest)
            await bad.stream.call.write(b"\xff\xff\xff")
            assert (await failure(asker)).silent == (bad.name,)
            assert await ended(bad) == "decode"

    run(story())


def test_flood_of_answers_that_nobody_awaits_ends_the_stream_of_its_sender(
    house: House,
) -> None:
    async def story() -> None:
        async with relaying(house), lines(house) as nodes:
            asker, *others, flooder = nodes
            roster = await asker.roster(*NAMES)
            stray = ScoreAnswer(
                context=Digest("0f" * 32),
                member=flooder.name,
                words=bytes(8),
                signature=SIGNATURE,
            )
            for _ in range(501):
                await flooder.stream.say(stray)
            assert await ended(flooder) == "out_of_order"
            await asker.ask(roster, roster=roster.partners[:4], retry_of=RUN)
            for other in others:
                await other.answer_next()
            await asker.hear(ScoreAnswers)

    run(story())


def test_more_requests_than_one_partner_may_have_under_way_are_refused(house: House) -> None:
    async def story() -> None:
        async with relaying(house) as at, lines(house) as nodes:
            asker, other_asker, *_ = nodes
            roster = await asker.roster(*NAMES)
            for _ in range(65):
                await asker.ask(roster)
            failed, number = await asker.hear_numbered(ScoreFailed)
            assert (failed.code, number) == ("S07", 65)
            # It is the asker's own cap: others ask on.
            await other_asker.ask(roster)
            await until(lambda: at.scoring.relay.in_flight == 65)

    run(story())


def test_full_outbox_ends_its_own_stream_and_delays_nobody(house: House) -> None:
    big = EpochAsk(step="commit", documents=(bytes(256 << 10),) * 4)

    async def story() -> None:
        async with relaying(house) as at, lines(house) as nodes:
            asker, *others, deaf = nodes
            roster = await asker.roster(*NAMES)
            # The writer has no turn in between: as if the partner read nothing.
            taken = 0
            while at.hub.push(deaf.name, big):
                taken += 1
            assert taken == 63
            assert at.hub.spread(NAMES, roster) == (deaf.name,)
            four = (await asker.roster(*NAMES[:4])).partners
            await asker.ask(roster, roster=four, retry_of=RUN)
            for other in others:
                await other.answer_next()
            await asker.hear(ScoreAnswers)

    run(story())


def test_answer_frame_from_the_wrong_side_ends_the_stream(house: House) -> None:
    async def story() -> None:
        async with relaying(house), line(house, "bank_a") as node:
            hello = house.hello(house.nodes["bank_a"])
            await node.stream.say(hello)
            assert await ended(node) == "out_of_order"

    run(story())


def test_scoring_frame_limit_of_the_configuration_holds(house: House) -> None:
    async def story() -> None:
        small = Settings(scoring_limit=64 << 10)
        async with relaying(house, small), line(house, "bank_a") as node:
            await node.stream.call.write(bytes((64 << 10) + 1))
            assert await ended(node) == "too_large"

    run(story())


# --- blinded points (protocol 6.4) ------------------------------------------------------------


def points_for(asker: Line, servers: tuple[str, ...], **changes: object) -> OprfRequest:
    plain = OprfRequest(
        request=RequestId("0b" * 16),
        requester=asker.name,
        epoch=1,
        servers=tuple(PartnerId(name) for name in servers),
        purpose="score",
        points=bytes(64),
        signature=SIGNATURE,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]  # the test's word


def reply_of(node: Line, request: OprfRequest, code: str = "") -> OprfReply:
    return OprfReply(
        request=request.request,
        member=node.name,
        points=b"" if code else bytes(64),
        proof=b"" if code else bytes(64),
        code=code,
        signature=SIGNATURE,
    )


def test_points_reach_each_server_but_the_asker_and_replies_come_back(house: House) -> None:
    async def story() -> None:
        async with relaying(house), lines(house) as nodes:
            asker, one, two, *_ = nodes
            await asker.roster(*NAMES)
            request = points_for(asker, NAMES[:3])
            await asker.stream.say(request, 5)
            for server in (one, two):
                seen, number = await server.hear_numbered(OprfRequest)
                assert seen == request
                await server.stream.say(reply_of(server, request), number)
            replies, number = await asker.hear_numbered(OprfReplies)
            assert number == 5
            assert {reply.member for reply in replies.replies} == {one.name, two.name}
            assert replies.missing == ()

    run(story())


@pytest.mark.parametrize(
    ("servers", "changes", "code"),
    [
        (NAMES[:3], {"requester": PartnerId("bank_b")}, "S02"),
        (NAMES[:3], {"epoch": 2}, "S13"),
        (("bank_a", "nobody"), {}, "S16"),
        (("bank_a",), {}, "S16"),
    ],
)
def test_points_outside_the_terms_are_refused_and_reach_nobody(
    house: House, servers: tuple[str, ...], changes: dict[str, object], code: str
) -> None:
    async def story() -> None:
        async with relaying(house), lines(house) as nodes:
            asker = nodes[0]
            await asker.roster(*NAMES)
            await asker.stream.say(points_for(asker, servers, **changes), 5)
            refused = await asker.hear(OprfReplies)
            assert (refused.code, refused.replies) == (code, ())

    run(story())


def test_server_that_leaves_or_refuses_is_named_to_the_asker(house: House) -> None:
    async def story() -> None:
        async with relaying(house), lines(house) as nodes:
            asker, one, two, three, _ = nodes
            await asker.roster(*NAMES)
            request = points_for(asker, NAMES[:4])
            await asker.stream.say(request, 5)
            await one.hear(OprfRequest)
            await one.stream.say(reply_of(one, request, "S07"), 1)
            await two.hear(OprfRequest)
            await two.stream.say(reply_of(two, request), 1)
            await three.hear(OprfRequest)
            three.stream.call.cancel()
            replies = await asker.hear(OprfReplies)
            assert replies.missing == (three.name,)
            assert {(r.member, r.code) for r in replies.replies} == {
                (one.name, "S07"),
                (two.name, ""),
            }
            await asker.stream.say(points_for(asker, NAMES[:4]), 6)
            absent = await asker.hear(OprfReplies)
            assert (absent.code, absent.missing) == ("S18", (three.name,))

    run(story())


def test_reply_with_points_in_the_name_of_another_is_dropped(house: House) -> None:
    async def story() -> None:
        async with relaying(house) as at, lines(house) as nodes:
            asker, one, liar, *_ = nodes
            await asker.roster(*NAMES)
            request = points_for(asker, NAMES[:3])
            await asker.stream.say(request, 5)
            await one.hear(OprfRequest)
            await liar.stream.say(reply_of(one, request), 1)
            await until(lambda: at.scoring.relay.dropped["stranger"] == 1)
            for server in (one, liar):
                await server.stream.say(reply_of(server, request), 1)
            replies = (await asker.hear(OprfReplies)).replies
            assert {reply.member for reply in replies} == {one.name, liar.name}

    run(story())
