"""What others may try on a node through the scoring stream, and what a stolen disk tells."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from consortium.crypto.keys import Secret
from consortium.errors import ScoreRefusal, ScoreRefusalError
from consortium.ids import PartnerId
from consortium.inquiries import (
    OprfReply,
    OprfRequest,
    ScoreAnswer,
    ScoreAnswers,
    ScoreRefused,
    ScoreRequest,
)
from consortium.scoring.clear import inquiry_bytes, parse_inquiry
from consortium.scoring.consent import Receipt, pack
from consortium.scoring.inquiry import Terms, seal_inquiry
from consortium.scoring.pairs import PairCache
from consortium.scoring.partial import refuse
from partner_node.scoring_session import ScoringSession
from partner_node.scoring_store import ScoringStore
from tests.joint_house import SCORING, Entropy, House, applicant
from tests.unit.test_scoring_session import PATIENT_MS, ROWS, ask

BANK, SHOP = PartnerId("bank_a"), PartnerId("shop_c")


def run(root: Path, story: Callable[[House], Awaitable[None]], **house: object) -> None:
    async def main() -> None:
        built = House(root, ROWS, **house)  # type: ignore[arg-type]
        try:
            await built.start()
            await story(built)
        finally:
            built.close()

    asyncio.run(main())


def keys_of(session: ScoringSession) -> PairCache:
    return session._era.responder._keys  # type: ignore[union-attr]


async def said(
    house: House, name: PartnerId, request: ScoreRequest
) -> ScoreAnswer | ScoreRefused:
    """What that node answers to a request which the coordinator hands it."""
    era = house.nodes[name].session._era
    assert era is not None
    return era.responder.answer(request, now_ms=house.clock.ms())


def forged(house: House, person: str, **changes: object) -> ScoreRequest:
    """A request that bank_a signs, with any roster it likes."""
    bank = house.nodes[BANK]
    era = bank.session._era
    assert era is not None
    token = bank.store.tokens(1, [bank.people.subject(bank.people.form(person))])
    receipt = Receipt(
        token=next(iter(token.values())),  # type: ignore[arg-type]
        epoch=1,
        purposes=frozenset(applicant(person).consent.purposes),
        families=3,
        expires=4_000_000_000,
        evidence=b"e" * 32,
    )
    entropy = Entropy(f"forged {person} {sorted(changes.items())}")
    terms = Terms(
        request=entropy().expose()[:16].hex(),  # type: ignore[arg-type]
        roster=tuple(sorted(house.nodes)),
        roster_version=house.roster_version,
        model=house.version,
        purpose=applicant(person).consent.purposes[0],
        deadline=house.clock.ms() + 10_000,
    )
    terms = replace(terms, **changes)  # type: ignore[arg-type]
    return seal_inquiry(keys_of(bank.session), terms, pack([receipt]), entropy=entropy())[0]


# --- T49: a request is answered once ----------------------------------------------------------


def test_request_that_is_replayed_is_refused_even_after_a_restart(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await ask(house, "bank_a", "P1")
        ((_, request),) = house.frames(ScoreRequest, "up")
        assert isinstance(request, ScoreRequest)
        again = await said(house, SHOP, request)
        assert isinstance(again, ScoreRefused)
        assert again.code == ScoreRefusal.REPLAY
        store = house.nodes[SHOP].store
        store.close()
        era = house.nodes[SHOP].session._era
        assert era is not None
        era.responder._store = ScoringStore(store._database.path, now=house.clock.seconds)
        after = await said(house, SHOP, request)
        assert isinstance(after, ScoreRefused)
        assert after.code == ScoreRefusal.REPLAY

    run(tmp_path, story)


def test_request_for_tokens_that_is_replayed_is_refused(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await ask(house, "bank_a", "STRANGER")
        request = next(
            body
            for _, body in reversed(house.frames(OprfRequest, "up"))
            if isinstance(body, OprfRequest) and body.requester == BANK
        )
        server = next(name for name in request.servers if name != BANK)
        pseudonyms = house.nodes[server].session._era.pseudonyms  # type: ignore[union-attr]
        reply = await pseudonyms.on_request(request)
        assert isinstance(reply, OprfReply)
        assert (reply.code, reply.points) == ("S09", b"")

    run(tmp_path, story)


# --- T50: two rosters for one person ----------------------------------------------------------


def test_second_roster_for_a_person_is_refused_and_the_first_is_remembered_on_disk(
    tmp_path: Path,
) -> None:
    async def story(house: House) -> None:
        await ask(house, "bank_a", "P1")
        smaller = tuple(name for name in sorted(house.nodes) if name != "shop_d")
        request = forged(house, "P1", roster=smaller, retry_of="00" * 16)
        answer = await said(house, SHOP, request)
        assert isinstance(answer, ScoreRefused)
        assert answer.code == ScoreRefusal.DIFFERENCING
        house.publish([PartnerId(name) for name in smaller])
        await house.settled()
        other = await said(house, SHOP, forged(house, "P2", roster=smaller))
        assert isinstance(other, ScoreAnswer)

    run(tmp_path, story)


def test_asker_that_makes_up_a_retry_to_pick_whom_it_asks_is_refused(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        # With a friend of the asker's among the three, the sum would be the victim's part.
        three = (BANK, PartnerId("bank_b"), SHOP)
        for retry_of in ("00" * 16, "ab" * 16):
            answer = await said(
                house, SHOP, forged(house, "P1", roster=three, retry_of=retry_of)
            )
            assert isinstance(answer, ScoreRefused)
            assert answer.code == ScoreRefusal.DIFFERENCING
        await ask(house, "bank_a", "P1", deadline_ms=PATIENT_MS)
        house.clock.ahead_ms += 2 * 86_400_000
        house.publish()
        await house.settled()
        later = await said(house, SHOP, forged(house, "P1", roster=three, retry_of="00" * 16))
        assert isinstance(later, ScoreRefused)
        assert later.code == ScoreRefusal.DIFFERENCING

    run(tmp_path, story)


def test_one_retry_is_answered_and_the_second_is_not(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        names = sorted(house.nodes)
        first = forged(house, "P1")
        assert isinstance(await said(house, SHOP, first), ScoreAnswer)
        earlier = parse_inquiry(first.inquiry).request
        roster = tuple(name for name in names if name != "shop_d")
        retry = forged(house, "P1", roster=roster, retry_of=earlier)
        assert isinstance(await said(house, SHOP, retry), ScoreAnswer)
        other = tuple(name for name in names if name != "bank_b")
        again = parse_inquiry(retry.inquiry).request
        second = await said(house, SHOP, forged(house, "P1", roster=other, retry_of=again))
        assert isinstance(second, ScoreRefused)
        assert second.code == ScoreRefusal.DIFFERENCING

    run(tmp_path, story)


def test_quota_is_counted_at_each_responder_and_survives_its_restart(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        people = [f"X{number}" for number in range(20)]
        first = await ask(house, "bank_a", *people)
        assert {answer.fallback for answer in first} == {""}
        (over,) = await ask(house, "bank_a", "P1")
        assert (over.band, over.fallback) == ("0", "quota")
        ((_, refused), *_) = house.frames(ScoreRefused, "up")
        assert isinstance(refused, ScoreRefused)
        assert refused.code == ScoreRefusal.QUOTA

    run(tmp_path, story, scoring=replace(SCORING, scores_per_day=20))


def test_tokens_beyond_the_quota_leave_the_desk_with_the_local_score(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        (answer,) = await ask(house, "bank_a", "STRANGER")
        assert (answer.band, answer.fallback) == ("0", "quota")
        (known,) = await ask(house, "bank_a", "P1")
        assert known.fallback == ""

    customers = tuple(sorted((name, 100) for name, _ in SCORING.customers))
    limits = replace(SCORING, tokens_per_second=1, tokens_per_day=1, customers=customers)

    async def used_up(house: House) -> None:
        await ask(house, "bank_a", "SOMEBODY")
        await story(house)

    run(tmp_path, used_up, scoring=limits)


def test_more_customers_than_declared_are_not_loaded(tmp_path: Path) -> None:
    async def main() -> None:
        limits = replace(
            SCORING,
            tokens_per_day=1,
            customers=tuple((name, 1) for name, _ in SCORING.customers),
        )
        house = House(tmp_path, ROWS, limits)
        try:
            await house.start(load=False)
            loading = asyncio.create_task(
                house.session("bank_a").tokenize(lambda _progress: None)
            )
            await house.next_up(OprfReply)
            await house.settled()
            assert not loading.done()
            assert house.nodes[BANK].store.customer_count(1) == 0
            loading.cancel()
            house.session("bank_a")._load.cancel()  # type: ignore[union-attr]
        finally:
            house.close()

    asyncio.run(main())


# --- T51: who is held does not show -----------------------------------------------------------


def test_answers_for_holders_and_strangers_are_equal_in_size_and_offset(tmp_path: Path) -> None:
    people = ("P1", "P5", "P2", "STRANGER")  # the first two are the shop's

    async def story(house: House) -> None:
        await ask(house, "bank_a", *people)  # so that bank_a has their tokens
        loop, session = asyncio.get_running_loop(), house.nodes[SHOP].session
        step = house.manifest.policy.scoring.answer_ms / 1000
        sizes = set()
        for person in people:
            left: asyncio.Future[tuple[float, int]] = loop.create_future()

            def record(body: object, _number: int, left: asyncio.Future = left) -> None:  # type: ignore[type-arg]
                assert isinstance(body, ScoreAnswer)
                left.set_result((loop.time(), len(body.words)))

            session._deliver = record  # type: ignore[method-assign]
            arrived = loop.time()
            session.on_frame(forged(house, person), 0)
            sent, size = await left
            sizes.add(size)
            assert sent - arrived >= step
        assert len(sizes) == 1

    run(tmp_path, story, scoring=replace(SCORING, answer_ms=100))


def test_refusal_says_nothing_of_the_person(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        stale = {"deadline": house.clock.ms() - 1}
        codes = set()
        for person in ("P1", "P2"):
            answer = await said(house, SHOP, forged(house, person, **stale))
            assert isinstance(answer, ScoreRefused)
            codes.add(answer.code)
        assert codes == {ScoreRefusal.DEADLINE}

    run(tmp_path, story)


def test_request_that_was_bent_on_its_way_is_refused(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        request = forged(house, "P1")
        inquiry = replace(parse_inquiry(request.inquiry), persons=2)
        answer = await said(house, SHOP, replace(request, inquiry=inquiry_bytes(inquiry)))
        assert isinstance(answer, ScoreRefused)
        assert answer.code == ScoreRefusal.SIGNATURE

    run(tmp_path, story)


def test_answers_that_the_coordinator_swaps_or_bends_end_in_the_local_score(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def swap(_name: PartnerId, body: object) -> object:
        if not isinstance(body, ScoreAnswers):
            return body
        first, second, *rest = body.answers
        swapped = (
            replace(first, words=second.words),
            replace(second, words=first.words),
            *rest,
        )
        return replace(body, answers=swapped)

    async def story(house: House) -> None:
        house.bend = swap
        (answer,) = await ask(house, "bank_a", "P1")
        assert (answer.band, answer.fallback) == ("0", "incomplete")
        assert "S17" in caplog.text

    run(tmp_path, story)


def test_forged_share_of_a_key_holder_is_found_and_another_is_asked(tmp_path: Path) -> None:
    liar = PartnerId("shop_d")

    def lie(name: PartnerId, body: object) -> object:
        if isinstance(body, OprfReply) and name == liar:
            return replace(body, points=bytes(body.points[:32][::-1]) + body.points[32:])
        return body

    async def story(house: House) -> None:
        house.bend = lie
        for number in range(3):
            (answer,) = await ask(house, "bank_a", f"STRANGER{number}")
            assert answer.fallback == ""

    run(tmp_path, story)


def test_key_holder_that_evaluates_under_another_share_is_told_of(tmp_path: Path) -> None:
    liar = PartnerId("shop_d")

    async def story(house: House) -> None:
        era = house.session(liar)._era
        assert era is not None
        holding = era.ceremony._holding
        assert holding is not None
        other = replace(holding.share, share=Secret(bytes([7]) + bytes(31)))
        era.ceremony._holding = replace(holding, share=other)
        for number in range(4):
            (answer,) = await ask(house, "bank_a", f"STRANGER{number}")
            assert answer.fallback == ""
        faults = house.nodes[PartnerId("bank_a")].store.faults()
        assert [(epoch, holder) for epoch, holder, _ in faults] == [(1, liar)]

    run(tmp_path, story)


def test_partner_that_refuses_everybody_for_a_quota_is_passed_over(tmp_path: Path) -> None:
    liar = PartnerId("shop_d")

    async def story(house: House) -> None:
        keys = keys_of(house.session(liar))

        def lie(name: PartnerId, body: object) -> object:
            if isinstance(body, ScoreAnswer) and name == liar:
                return refuse(body.context, ScoreRefusal.QUOTA, keys)
            return body

        house.bend = lie
        (answer,) = await ask(house, "bank_a", "P1")
        assert (answer.band, answer.fallback) == ("2", "")

    run(tmp_path, story)


def test_key_holder_that_refuses_everybody_for_a_quota_is_passed_over(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        liar = house.nodes[PartnerId("shop_d")].session._era
        assert liar is not None

        def charge(*_given: object) -> None:
            raise ScoreRefusalError(ScoreRefusal.QUOTA, "a lie")

        liar.pseudonyms._charge = charge  # type: ignore[method-assign]
        for number in range(3):
            (answer,) = await ask(house, "bank_a", f"STRANGER{number}")
            assert answer.fallback == ""

    run(tmp_path, story)


# --- T52: what the disk of a node tells -------------------------------------------------------


def test_database_of_a_node_holds_no_identifier_and_no_token_of_a_stranger(
    tmp_path: Path,
) -> None:
    async def story(house: House) -> None:
        await ask(house, "bank_a", "P4", "P777STRANGER", deadline_ms=PATIENT_MS)
        bank, shop = house.nodes[BANK], house.nodes[SHOP]
        subjects = {
            one: bank.people.subject(bank.people.form(one)) for one in ("P4", "P777STRANGER")
        }
        tokens = bank.store.tokens(1, list(subjects.values()))
        assert len(tokens) == 2
        for node in (bank, shop):
            data = b"".join(
                path.read_bytes()
                for path in (tmp_path / node.name).iterdir()
                if path.name.startswith("scoring.db")
            )
            assert b"P777STRANGER" not in data
            assert bank.people.form("P777STRANGER") not in data
            if node is shop:
                assert not [token for token in tokens.values() if token in data]
        house.clock.ahead_ms += 86_400_000
        bank.store.tidy()
        bank.store._database.truncate_log()
        left = bank.store.tokens(1, list(subjects.values()))
        assert not left

    run(tmp_path, story)


def test_coordinator_sees_no_identifier_and_no_token(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await ask(house, "bank_a", "P1", "P2", "P777STRANGER")
        seen = b"".join(data for _, _, data in house.wire)
        for node in house.nodes.values():
            _, tokens = node.store.customers(1)
            for token in tokens:
                assert token.tobytes() not in seen
                assert token.tobytes().hex().encode() not in seen
        assert b"P777" not in seen

    run(tmp_path, story)
