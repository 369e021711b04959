"""Scores told by the desk of a real session between five partners (protocol 13.5)."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from consortium.errors import OutOfOrderError
from consortium.manifest import Disclosure
from consortium.scoring.head import ONE, Head
from consortium.scoring.scorecard import from_units, points
from partner_node.answers import JointAnswer
from partner_node.credit.what_helps import help_of
from partner_node.desk import Score
from partner_node.desk_tables import Basis, Explainer
from partner_node.loan_desk import Consent, DeskPorts, DeskStatus, LoanDesk, Question
from partner_node.people import desk_hash
from partner_node.scoring_parts import Bases
from tests.credit_house import case, under
from tests.joint_house import SCORING, House, applicant, secret
from tests.paper_house import with_levers

ROWS = {
    "bank_a": {"P1": 0.25, "P2": 1.0, "P3": 0.0, "P9": None},
    "bank_b": {"P2": 0.5, "P4": 0.75},
    "shop_c": {"P1": 0.9, "P5": 0.1},
    "shop_d": {"P1": 0.3, "P2": 0.6},
    "telco_e": {"P6": 0.5},
}
QUESTION = Question(person="P1", consent=Consent(reference="consent-1"))


def desk_of(house: House, name: str) -> LoanDesk:
    session = house.session(name)
    member = next(one for one in house.manifest.partners if one.id == name)
    return LoanDesk(
        DeskPorts(
            ask=session.ask,
            check=session.check,
            served=Explainer(session.basis, lambda: house.schema, member.id),
            answers=house.nodes[member.id].store,
            keyed=desk_hash(secret(f"local {name}")),
            status=lambda: DeskStatus(partner=name),
            now=house.clock.seconds,
        )
    )


def run(root: Path, story: Callable[[House], Awaitable[None]], **house: object) -> None:
    async def main() -> None:
        built = House(root, ROWS, **house)  # type: ignore[arg-type]
        try:
            await built.start()
            await story(built)
        finally:
            built.close()

    asyncio.run(main())


async def score(house: House, name: str, question: Question) -> Score:
    told = await desk_of(house, name).score(question, caller="loans", deadline_ms=5_000)
    assert told.points == told.best - sum(x.points for x in told.losses) - told.unattributed
    assert told.points == points(from_units(told.eta))
    return told


def test_joint_score_is_explained_by_own_bins_and_others_totals(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        told = await score(house, "bank_a", QUESTION)
        assert (told.band, told.fallback) == ("3+", "")
        assert [(one.family, one.feature) for one in told.losses] == [
            ("repayment", "late"),
            ("billing", ""),
        ]
        assert abs(told.unattributed) <= SCORING.reason_step / 2 + 1
        assert all(one.points % SCORING.reason_step == 0 for one in told.losses[1:])
        # What the score would be after the best change is what the best change gives.
        best = told.what_if[0]
        again = await score(house, "bank_a", replace(QUESTION, attributes={"late": 0.0}))
        assert again.points == best.points

    run(tmp_path, story)


def test_what_if_holds_for_every_bin_when_scored_again(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        told = await score(house, "bank_a", replace(QUESTION, attributes={"late": 5.0}))
        values = {"below 1": 0.0, "below 2": 1.0, "below 3": 2.0, "0": 0.0, "1": 1.0, "2": 2.0}
        assert len(told.what_if) == 3
        for change in told.what_if:
            value = values[change.then]
            again = await score(house, "bank_a", replace(QUESTION, attributes={"late": value}))
            assert again.points == change.points

    run(tmp_path, story)


def test_every_partner_and_person_adds_up(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        for name in ("bank_a", "bank_b", "shop_c", "telco_e"):
            for person in ("P1", "P2", "P4", "P6", "P9", "NOBODY"):
                told = await score(house, name, replace(QUESTION, person=person))
                assert abs(told.unattributed) <= SCORING.reason_step + 1

    run(tmp_path, story)


def test_local_score_is_explained_without_a_rest(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        for name, person in (("bank_a", "P1"), ("telco_e", "P6"), ("bank_a", "NOBODY")):
            house.session(name).on_down()
            told = await score(house, name, replace(QUESTION, person=person))
            assert (told.band, told.calibration) == ("0", "local")
            assert told.fallback
            assert told.unattributed == 0
            assert told.request == ""

    run(tmp_path, story)


def test_head_with_a_slope_for_each_family_is_explained(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        head = Head(
            families=("repayment", "billing"),
            base=-ONE,
            alpha=(-ONE, -ONE // 2, -ONE),
            beta=((ONE, ONE), (ONE // 2, 2 * ONE), (ONE, ONE)),
        )
        house.add_head(head)
        house.publish()
        await house.settled()
        await house.session("bank_a")._era.shelf.fill()  # type: ignore[union-attr]
        told = await score(house, "bank_a", QUESTION)
        assert told.calibration == "stratum"
        assert told.head
        assert abs(told.unattributed) <= SCORING.reason_step / 2 + 1

    run(tmp_path, story)


def test_total_only_says_nothing_of_families(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        told = await score(house, "bank_a", QUESTION)
        assert {one.family for one in told.losses} == {"total"}
        assert abs(told.unattributed) <= SCORING.reason_step / 2 + 1

    scoring = replace(SCORING, disclosure=Disclosure.TOTAL_ONLY)
    run(tmp_path, story, scoring=scoring)


def test_key_outlives_the_desk_in_the_nodes_own_store(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        keyed = replace(QUESTION, key="0d0a8c8e-4f3b")
        first = await score(house, "bank_a", keyed)
        again = await score(house, "bank_a", keyed)  # another desk over the same store
        assert again.to_bytes() == first.to_bytes()

    run(tmp_path, story)


def test_without_any_model_nobody_is_given_a_number(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        answer = (await house.session("bank_a").ask([applicant("P1")]))[0]
        explain = Explainer(_no_basis, lambda: house.schema, house.manifest.partners[0].id)
        for one in (answer, replace(answer, model=None)):
            with pytest.raises(OutOfOrderError):
                explain(one)

    run(tmp_path, story)


def _no_basis(_answer: JointAnswer) -> Basis | None:
    return None


def test_what_would_help_is_found_from_what_a_joint_answer_was_made_of(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        session = house.session("bank_a")
        member = next(one.id for one in house.manifest.partners if one.id == "bank_a")
        explain = Explainer(session.basis, lambda: house.schema, member)
        bases = Bases(explain)
        told, answer = await desk_of(house, "bank_a").explained(
            QUESTION, caller="loans", deadline_ms=5_000
        )
        bases.note(told, answer)
        basis = bases.take(told)
        assert basis is not None
        assert bases.take(told) is None
        assert basis.case.eta == told.eta
        rules = with_levers()
        inputs = under(rules, case(eta=told.eta, points=told.points, band=told.band))
        helps = help_of(inputs, rules, basis)
        made = helps.promised(rules)
        assert (made is None) is not bool(helps.moves)

    run(tmp_path, story)
