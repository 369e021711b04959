"""Joint scores between five real sessions and a toy relay."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from datetime import UTC, date
from pathlib import Path

import pytest

from consortium.errors import (
    AttestationError,
    DataError,
    ScoreRefusal,
    ScoreRefusalError,
    TransportError,
)
from consortium.ids import PartnerId, digest_of
from consortium.inquiries import Purpose, ScoreRequest
from consortium.manifest import Delivery, Disclosure
from consortium.scoring.clear import parse_inquiry
from consortium.scoring.consent import Receipt
from consortium.scoring.head import Head
from consortium.scoring.premium import ATTESTATION
from consortium.scoring.scorecard import to_units
from partner_node import scoring_asking
from partner_node.answers import Applicant, JointAnswer, Shown
from partner_node.credit.forms import application_of
from partner_node.credit.scores import ScoreLeg, ScorePorts
from partner_node.desk import Score
from partner_node.loan_desk import Question
from tests.credit_desk_house import application
from tests.joint_house import (
    BASE,
    LINES,
    SCORING,
    SLOPES,
    House,
    applicant,
    consent,
    partial,
    weight,
)

ROWS = {
    "bank_a": {"P1": 0.25, "P2": 1.0, "P3": 0.0, "P9": None},
    "bank_b": {"P2": 0.5, "P4": 0.75},
    "shop_c": {"P1": 0.9, "P5": 0.1},
    "shop_d": {"P1": 0.3, "P2": 0.6},
    "telco_e": {"P6": 0.5},
}
PATIENT_MS = 30_000
"""Tests share their machine: a deadline is met by what happens, not by the clock."""


def run(
    root: Path,
    story: Callable[[House], Awaitable[None]],
    *,
    load: bool = True,
    **house: object,
) -> None:
    async def main() -> None:
        built = House(root, ROWS, **house)  # type: ignore[arg-type]
        try:
            await built.start(load=load)
            await story(built)
        finally:
            built.close()

    asyncio.run(main())


async def ask(
    house: House, name: str, *people: str | Applicant, **given: object
) -> list[JointAnswer]:
    asked = [applicant(one) if isinstance(one, str) else one for one in people]
    given = {"deadline_ms": PATIENT_MS, **given}
    return await house.session(name).ask(asked, **given)  # type: ignore[arg-type]


def test_joint_score_is_the_plain_sum_of_all_holders(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        (answer,) = await ask(house, "bank_a", "P1")
        families = {part.name: part for part in answer.families}
        repayment, billing = families["repayment"], families["billing"]
        assert answer.fallback == ""
        assert (answer.band, answer.stratum, answer.calibration) == ("3+", 2, "none")
        assert repayment.total == repayment.own == partial("repayment", 0.25)
        total = partial("billing", 0.9) + partial("billing", 0.3)
        assert (billing.total, billing.own, billing.holders) == (total, 0, 2)
        assert answer.eta == to_units(float(BASE)) + repayment.total + total // 2
        assert (answer.model, answer.policy) == (house.version, house.manifest.digest)

    run(tmp_path, story)


def test_person_whom_nobody_knows_gets_the_base(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        (answer,) = await ask(house, "bank_a", "NOBODY")
        assert (answer.band, answer.stratum) == ("0", 0)
        assert answer.eta == to_units(float(BASE))
        assert answer.context is not None

    run(tmp_path, story)


def test_applicant_who_is_nobodys_customer_is_scored_by_the_attributes(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        (answer,) = await ask(house, "bank_a", applicant("P5", attributes={"late": 3}))
        own = answer.families[0]
        expected = partial("repayment", 0.75)
        assert (own.own, own.total, own.holders) == (expected, expected, 1)
        assert answer.families[1].total == partial("billing", 0.1)
        assert answer.band == "2"
        assert answer.codes == {"late": 4}

    run(tmp_path, story)


def test_missing_attributes_hold_nothing(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        (answer,) = await ask(house, "bank_a", applicant("P5", attributes={"late": None}))
        assert answer.families[0].holders == 0
        (row,) = await ask(house, "bank_a", "P9")
        assert (row.band, row.families[0].holders) == ("0", 0)

    run(tmp_path, story)


def test_attribute_that_is_no_own_feature_is_named_without_its_value(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        with pytest.raises(DataError, match="used") as caught:
            await ask(house, "bank_a", applicant("P5", attributes={"used": 0.777}))
        assert "0.777" not in str(caught.value)

    run(tmp_path, story)


def test_partner_of_two_families_answers_for_both(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        (answer,) = await ask(house, "bank_b", "P6")
        assert [part.total for part in answer.families] == [
            partial("repayment", 0.5),
            partial("billing", 0.5),
        ]
        assert (answer.band, answer.stratum) == ("1", 2)

    run(tmp_path, story)


def test_singles_that_wait_share_one_request_and_an_idle_node_waits_for_nobody(
    tmp_path: Path,
) -> None:
    async def story(house: House) -> None:
        people = [f"X{number}" for number in range(40)]
        await ask(house, "bank_a", *people)  # tokens are known from here on
        house.wire.clear()
        found = await asyncio.gather(*(ask(house, "bank_a", one) for one in people))
        assert all(answer.fallback == "" for (answer,) in found)
        requests = house.frames(ScoreRequest, "up")
        sizes = [parse_inquiry(body.inquiry).persons for _, body in requests]  # type: ignore[attr-defined]
        assert sum(sizes) == len(people)
        assert sizes[0] == 1
        assert len(sizes) < len(people) / 2

    run(tmp_path, story)


def test_head_in_force_recalibrates_by_stratum(tmp_path: Path) -> None:
    one, half = 1 << 32, 1 << 31

    async def story(house: House) -> None:
        house.add_head(
            Head(
                families=("repayment", "billing"),
                base=7,
                alpha=(11, 13, 17),
                beta=((one, one), (half, one), (one, half)),
            ),
            pooled=(1,),
        )
        house.publish()
        await house.settled()
        for node in house.nodes.values():
            await node.session._era.shelf.fill()  # type: ignore[union-attr]
        two, single = await ask(house, "bank_a", "P1", "P4")
        billing = (partial("billing", 0.9) + partial("billing", 0.3)) // 2
        assert two.eta == 13 + (partial("repayment", 0.25) >> 1) + billing
        assert (two.calibration, two.head) == ("stratum", house.roster_head)
        assert single.eta == 11 + partial("repayment", 0.75)
        assert single.calibration == "pooled"

    run(tmp_path, story)


def test_totals_only_tells_no_family(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        (answer,) = await ask(house, "bank_a", "P1")
        (total,) = answer.families
        assert total.name == "total"
        assert total.own == partial("repayment", 0.25)
        parts = (partial("billing", 0.9), partial("billing", 0.3))
        assert (total.total, total.holders) == (total.own + sum(parts), 3)

    run(tmp_path, story, scoring=replace(SCORING, disclosure=Disclosure.TOTAL_ONLY))


# --- consent (protocol 7.8) -------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        consent(Purpose.CALIBRATION),
        consent(reference=" "),
        consent(expires=1),
    ],
)
def test_without_consent_nobody_is_asked(tmp_path: Path, given: object) -> None:
    async def story(house: House) -> None:
        house.wire.clear()
        with pytest.raises(ScoreRefusalError) as caught:
            await ask(house, "bank_a", Applicant(person="P1", consent=given))  # type: ignore[arg-type]
        assert caught.value.reason is ScoreRefusal.PURPOSE
        assert not house.wire

    run(tmp_path, story)


def test_person_who_withdrew_at_a_holder_is_a_stranger_there_from_the_next_call(
    tmp_path: Path,
) -> None:
    async def story(house: House) -> None:
        (before,) = await ask(house, "bank_a", "P1")
        shop = house.nodes[PartnerId("shop_c")]
        shop.store.withdraw(shop.people.subject(shop.people.form("P1")), [Purpose.JOINT_SCORE])
        (after,) = await ask(house, "bank_a", "P1")
        assert (before.families[1].holders, after.families[1].holders) == (2, 1)
        assert after.families[1].total == partial("billing", 0.3)
        shop.store.restore(shop.people.subject(shop.people.form("P1")), [Purpose.JOINT_SCORE])
        (again,) = await ask(house, "bank_a", "P1")
        assert again.families[1].holders == 2

    run(tmp_path, story)


def test_person_who_withdrew_before_there_was_a_token_is_a_stranger(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        shop = house.nodes[PartnerId("shop_c")]
        for node in house.nodes.values():
            if node is not shop:
                await node.session.tokenize(lambda _progress: None)
        shop.store.withdraw(shop.people.subject(shop.people.form("P1")), [Purpose.JOINT_SCORE])
        await ask(house, "bank_a", "P2")  # withdrawals are read here, without a token
        await shop.session.tokenize(lambda _progress: None)
        (answer,) = await ask(house, "bank_a", "P1")
        assert answer.families[1].holders == 1
        assert answer.families[1].total == partial("billing", 0.3)

    run(tmp_path, story, load=False)


def test_person_who_withdrew_at_the_asker_is_not_asked_about(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        bank = house.nodes[PartnerId("bank_a")]
        bank.store.withdraw(bank.people.subject(bank.people.form("P1")), [Purpose.JOINT_SCORE])
        with pytest.raises(ScoreRefusalError, match="S08"):
            await ask(house, "bank_a", "P1")

    run(tmp_path, story)


def test_own_answer_asks_nobody_and_needs_no_consent_to_a_joint_score(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        bank = house.nodes[PartnerId("bank_a")]
        bank.store.withdraw(bank.people.subject(bank.people.form("P1")), [Purpose.JOINT_SCORE])
        before = {name: len(node.store.accesses()) for name, node in house.nodes.items()}
        answer = house.session("bank_a").alone("P1", why="no_consent")
        assert (answer.band, answer.fallback, answer.context) == ("0", "no_consent", None)
        assert answer.calibration == "local"
        assert answer.model is not None
        after = {name: len(node.store.accesses()) for name, node in house.nodes.items()}
        assert after == before

    run(tmp_path, story)


def test_consent_withdrawn_stops_the_joint_score_of_the_next_decision(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        session = house.session("bank_a")
        bank = house.nodes[PartnerId("bank_a")]
        asked: list[str] = []

        async def joint(question: Question, _caller: str, _milliseconds: int) -> Score:
            given = replace(applicant(question.person), attributes=None)
            (answer,) = await session.ask([given], deadline_ms=PATIENT_MS)
            asked.append(answer.band)
            return told(answer)

        def alone(person: str, _attributes: object, _shown: object, why: str) -> Score:
            return told(session.alone(person, why=why))

        ports = ScorePorts(joint=joint, alone=alone, schema=lambda: "c" * 64)
        leg = ScoreLeg(ports, UTC)
        plain = application_of(application(person="P1"))
        today = date(2026, 11, 26)
        how = {"today": today, "caller": "loans", "deadline_ms": PATIENT_MS}
        first = await leg.score(plain, **how)  # type: ignore[arg-type]
        subject = bank.people.subject(bank.people.form("P1"))
        bank.store.withdraw(subject, [Purpose.JOINT_SCORE])
        second = await leg.score(plain, **how)  # type: ignore[arg-type]
        assert first.facts is not None
        assert second.facts is not None
        assert (first.facts.band, first.withdrawn) == ("3+", False)
        assert (second.facts.band, second.facts.fallback) == ("0", "no_consent")
        assert second.withdrawn
        assert asked == ["3+"]

    run(tmp_path, story)


def told(answer: JointAnswer) -> Score:
    """What a desk is told of an answer, as far as a decision's score goes."""
    return Score(
        points=600,
        pd="0.0500",
        eta=answer.eta,
        band=answer.band,
        fallback=answer.fallback,
        calibration=answer.calibration,
        best=900,
        unattributed=0,
        reasons=(),
        losses=(),
        no_data=(),
        what_if=(),
        model=answer.model or "",
        head=answer.head or "",
        policy=answer.policy,
        request=answer.context or "",
        interval="",
        answered_at=0,
    )


# --- what goes wrong (protocol 7.9, 7.10) -----------------------------------------------------


def local_eta(value: float) -> int:
    return to_units(LINES["repayment"] + SLOPES["repayment"] * weight("repayment", value))


def carrying(person: str, issuer: str, **given: object) -> Applicant:
    shown = Shown(issuer=PartnerId(issuer), features={"attested_worst_dpd": "90+"})
    return applicant(person, shown=shown, **given)


def attested(answer: JointAnswer) -> bool:
    (part,) = [one for one in answer.families if one.name == ATTESTATION]
    assert (part.own, part.total) == ((to_units(2.0),) * 2 if part.holders else (0, 0))
    assert answer.codes.get("attested_worst_dpd", 0) == (5 if part.holders else 0)
    return part.holders == 1


def test_carried_history_counts_where_its_issuer_has_surely_not_answered(
    tmp_path: Path,
) -> None:
    async def story(house: House) -> None:
        # Of P1 nobody but bank_a has the family that bank_b answers in; of P2 somebody has.
        for person, issuer, counts in (
            ("P1", "bank_b", True),
            ("P1", "shop_c", False),
            ("P2", "bank_b", False),
            ("P3", "telco_e", True),
        ):
            (plain, shown) = await ask(house, "bank_a", person, carrying(person, issuer))
            assert shown.fallback == ""
            assert attested(shown) is counts
            assert shown.eta - plain.eta == (to_units(2.0) if counts else 0)
        (stranger,) = await ask(house, "bank_a", carrying("NOBODY", "bank_b"))
        assert attested(stranger)
        assert stranger.eta == to_units(float(BASE)) + to_units(2.0)
        assert (stranger.band, stranger.stratum) == ("1", 1)
        house.cut("bank_b")
        (gone,) = await ask(house, "bank_a", carrying("P4", "bank_b"))
        assert attested(gone)

    run(tmp_path, story, attested=True)


@pytest.mark.slow
def test_carried_history_is_in_the_own_answer_and_in_no_other_lenders_answer(
    tmp_path: Path,
) -> None:
    async def story(house: House) -> None:
        session = house.session("bank_a")
        shown = carrying("P1", "bank_b").shown
        attributes = {"late": 1.0}
        for given in ({}, {"attributes": attributes}):
            plain = session.alone("P1", **given, why="no_consent")
            carried = session.alone("P1", **given, shown=shown, why="no_consent")
            assert attested(carried)
            assert not attested(plain)
            assert carried.eta - plain.eta == to_units(2.0)
        (other,) = await ask(house, "bank_b", "P1")
        assert not attested(other)
        with pytest.raises(AttestationError, match="signed history"):
            await ask(house, "bank_a", applicant("P1", attributes={"attested_worst_dpd": "0"}))

    run(tmp_path, story, attested=True)


@pytest.mark.slow
def test_carried_history_is_in_no_joint_score_where_families_are_not_told(
    tmp_path: Path,
) -> None:
    async def story(house: House) -> None:
        plain, shown = await ask(house, "bank_a", "P1", carrying("P1", "bank_b"))
        assert shown.eta == plain.eta
        assert shown.codes == plain.codes

    scoring = replace(SCORING, disclosure=Disclosure.TOTAL_ONLY)
    run(tmp_path, story, scoring=scoring, attested=True)


def test_partner_that_leaves_lowers_the_band_by_one_retry(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await ask(house, "bank_a", "P2")
        house.wire.clear()
        house.frozen.add(PartnerId("shop_d"))
        asking, sent = (
            asyncio.create_task(ask(house, "bank_a", "P1")),
            house.next_up(ScoreRequest),
        )
        await sent
        house.cut("shop_d")
        (answer,) = await asking
        assert answer.fallback == ""
        assert (answer.band, answer.families[1].holders) == ("2", 1)
        requests = [parse_inquiry(body.inquiry) for _, body in house.frames(ScoreRequest, "up")]  # type: ignore[attr-defined]
        assert [one.retry_of for one in requests] == [None, requests[0].request]
        assert PartnerId("shop_d") not in requests[1].roster

    run(tmp_path, story)


def test_person_is_asked_for_with_the_smaller_roster_when_the_partner_is_back(
    tmp_path: Path,
) -> None:
    async def story(house: House) -> None:
        house.cut("shop_d")
        (alone,) = await ask(house, "bank_a", "P1")
        house.join("shop_d")
        (again,) = await ask(house, "bank_a", "P1")
        assert (alone.band, again.band, again.fallback) == ("2", "2", "")
        (other,) = await ask(house, "bank_a", "P2")
        assert other.band == "3+"

    run(tmp_path, story)


def test_person_whose_roster_shrank_within_a_day_is_answered_locally(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await ask(house, "bank_a", "P1")
        house.clock.ahead_ms += 120_000
        house.cut("shop_d")
        await house.settled()
        (answer,) = await ask(house, "bank_a", "P1")
        assert (answer.band, answer.fallback) == ("0", "quota")
        assert answer.eta == local_eta(0.25)

    run(tmp_path, story)


def test_no_coordinator_means_the_local_score_and_says_so(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        house.session("bank_a").on_down()
        (answer,) = await ask(house, "bank_a", "P2")
        assert (answer.band, answer.fallback, answer.calibration) == (
            "0",
            "unreachable",
            "local",
        )
        assert answer.eta == local_eta(1.0)
        assert (answer.context, answer.head) == (None, None)
        assert answer.families[0].own == partial("repayment", 1.0)

    run(tmp_path, story)


def test_stream_that_ends_in_the_middle_brings_the_local_score_at_once(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await ask(house, "bank_a", "P1")
        house.frozen |= set(house.nodes) - {PartnerId("bank_a")}
        asking = asyncio.create_task(ask(house, "bank_a", "P1"))
        house.frozen.discard(PartnerId("bank_a"))
        await house.next_up(ScoreRequest)
        house.session("bank_a").on_down()
        (answer,) = await asyncio.wait_for(asking, 5)
        assert answer.fallback == "unreachable"

    run(tmp_path, story)


def test_too_few_partners_means_the_local_score(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await ask(house, "bank_a", "P3")
        for name in ("shop_c", "shop_d", "telco_e"):
            house.cut(name)
        (answer,) = await ask(house, "bank_a", "P3")
        assert (answer.band, answer.fallback) == ("0", "too_few_partners")

    run(tmp_path, story)


def test_version_that_the_own_vote_did_not_accept_is_not_served(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        refuser = house.nodes[PartnerId("shop_d")]
        refuser.accepted.clear()
        refuser.session._era.shelf._made = {}  # type: ignore[union-attr]
        await refuser.session._era.shelf.fill()  # type: ignore[union-attr]
        assert "not accepted" in refuser.session.status().refusal
        (own,) = await ask(house, "shop_d", "P1")
        assert own.fallback == "no_model"
        (answer,) = await ask(house, "bank_a", "P1")
        assert (answer.fallback, answer.families[1].holders) == ("", 1)

    run(tmp_path, story)


@pytest.mark.parametrize(
    ("delivery", "bureau", "reason"),
    [
        (Delivery.PARTNER_LOCAL, None, "partner_local"),
        (Delivery.VIA_LICENSED_BUREAU, PartnerId("telco_e"), "bureau_only"),
    ],
)
def test_delivery_mode_decides_who_asks(
    tmp_path: Path, delivery: Delivery, bureau: PartnerId | None, reason: str
) -> None:
    async def story(house: House) -> None:
        house.wire.clear()
        (answer,) = await ask(house, "bank_a", "P1")
        assert (answer.band, answer.fallback) == ("0", reason)
        assert answer.eta == local_eta(0.25)
        assert not house.wire
        if bureau is not None:
            (joint,) = await ask(house, bureau, "P1")
            assert joint.fallback == ""

    run(tmp_path, story, scoring=replace(SCORING, delivery=delivery, bureau=bureau))


# --- studies and records ----------------------------------------------------------------------


def test_study_has_the_joint_sums_of_labelled_consented_customers(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        rows = await house.session("bank_a").study(house.version)
        # P3 has no label; P9 has no value of the family, but a label.
        assert rows.families == ("repayment", "billing")
        assert sorted(rows.labels.tolist()) == [0, 1, 1]
        place = rows.logits[:, 0].tolist().index(partial("repayment", 0.25))
        billing = partial("billing", 0.9) + partial("billing", 0.3)
        assert rows.logits[place].tolist() == [partial("repayment", 0.25), billing]
        assert rows.counts[place].tolist() == [1, 2]
        assert rows.partners[place] == 3

    run(tmp_path, story)


def test_study_beyond_its_quota_is_refused_by_every_responder(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await house.session("bank_a").study(house.version)
        with pytest.raises(Exception, match="quota"):
            await house.session("bank_a").study(house.version)

    customers = tuple((name, 4) for name, _ in SCORING.customers)
    run(tmp_path, story, scoring=replace(SCORING, studies_per_release=4, customers=customers))


def test_study_leaves_out_who_has_withdrawn_at_the_asker(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        bank = house.nodes[PartnerId("bank_a")]
        subject = bank.people.subject(bank.people.form("P1"))
        bank.store.withdraw(subject, [Purpose.JOINT_SCORE])
        assert len((await bank.session.study(house.version)).labels) == 3
        bank.store.withdraw(subject, [Purpose.CALIBRATION])
        rows = await bank.session.study(house.version)
        assert len(rows.labels) == 2
        assert partial("repayment", 0.25) not in rows.logits[:, 0].tolist()

    run(tmp_path, story)


def test_study_shows_responders_no_hash_that_a_reference_can_be_guessed_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []
    real = scoring_asking.consent.pack

    def pack(receipts: Iterable[Receipt]) -> bytes:
        made = real(receipts)
        seen.append(made)
        return made

    async def story(house: House) -> None:
        monkeypatch.setattr(scoring_asking.consent, "pack", pack)
        table = next(iter(house.nodes[PartnerId("bank_a")].tables.values()))
        await house.session("bank_a").study(house.version)
        assert table.customers.references is not None
        plain = {one.tobytes() for one in table.customers.references}
        assert len(seen) == 3
        assert not [one for one in seen for hashed in plain if hashed in one]

    run(tmp_path, story)


def test_study_is_of_the_model_that_it_names_or_fails(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        session = house.session("bank_a")
        table = next(iter(house.nodes[PartnerId("bank_a")].tables.values()))
        other = digest_of(b"another model")
        session._era.shelf._made = {house.version: table, other: table}  # type: ignore[union-attr]
        with pytest.raises(TransportError, match="not served"):
            await session.study(other)

    run(tmp_path, story)


def test_model_that_changes_while_an_applicant_waits_is_not_mixed_with_the_old_one(
    tmp_path: Path,
) -> None:
    async def story(house: House) -> None:
        session = house.session("bank_a")
        era = session._era
        assert era is not None
        table = era.shelf.tables[house.version]
        other = digest_of(b"another model")
        era.shelf._made = {house.version: table, other: table}
        real = era.pseudonyms.tokens_of

        async def slowly(*given: object, **more: object) -> object:
            found = await real(*given, **more)  # type: ignore[arg-type]
            house.roster_model = other
            house.publish()
            await house.settled()
            return found

        era.pseudonyms.tokens_of = slowly  # type: ignore[method-assign,assignment]
        house.wire.clear()
        (answer,) = await ask(house, "bank_a", "P1")
        assert (answer.band, answer.fallback) == ("0", "no_model")
        assert answer.model == house.version
        assert not house.frames(ScoreRequest, "up")

    run(tmp_path, story)


def test_access_log_has_each_inquiry_with_its_result_and_no_person(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        (answer,) = await ask(house, "bank_a", "P1", inquirer="officer")
        house.session("bank_a").on_down()
        await ask(house, "bank_a", "P1")
        store = house.nodes[PartnerId("bank_a")].store
        joint, local = store.accesses()
        assert (joint.inquirer, joint.result, joint.band) == ("officer", "joint", "3+")
        assert (joint.context, joint.model) == (answer.context, house.version)
        assert (local.result, local.band, local.context) == ("unreachable", "0", "")
        assert joint.subject == local.subject
        assert len(joint.consent) == 32

    run(tmp_path, story)
