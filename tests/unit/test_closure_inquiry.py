"""Whether a line elsewhere was closed: between real sessions (T133, T134; protocol 7.17)."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consortium.credit.closure_signal import Bits
from consortium.errors import DataError, TransportError
from consortium.ids import PartnerId
from consortium.inquiries import Purpose, ScoreRefused, ScoreRequest
from consortium.scoring import consent
from consortium.scoring.clear import parse_inquiry
from consortium.scoring.closures import VERSION, allowed_columns
from partner_node import closure_asking, scoring_asking
from partner_node.asked_persons import LocalError, Person
from partner_node.credit.storage_elsewhere import KeptBit
from tests.joint_house import SCORING, House
from tests.overlap_federation import ACTIVE, lines

ASKER = "bank_a"
CLOSED = Bits(closed=True)
WITHDRAWN = Bits(closed=True, withdrawn=True)


def run(root: Path, story: Callable[[House], Awaitable[None]], *, most: int = 5_000) -> None:
    async def main() -> None:
        house = House(root, {}, replace(SCORING, studies_per_release=most, customers=()))
        try:
            await house.start(epoch=False, load=False)
            for person in ("P1", "P2", "P3", "P4", "P5", "P6", "P7"):
                lines(house, ASKER, [person], signal=f"C-{person}", study="S")
            lines(house, ASKER, ["P5"], signal="C-P5", study="")
            lines(house, ASKER, ["P6"], signal="", study="S")
            lines(house, "bank_b", ["P1"], bits=WITHDRAWN)
            lines(house, "bank_b", ["P2", "P5", "P6"], bits=CLOSED)
            lines(house, "shop_c", ["P1", "P2", "P3", "P5"], bits=ACTIVE)
            await rebuilt(house)
            await story(house)
        finally:
            house.close()

    asyncio.run(main())


async def rebuilt(house: House) -> None:
    for node in house.nodes.values():
        assert node.session._era is not None
        await node.session._era.closures.rebuild()


def kept(house: House) -> dict[str, tuple[bool, int | None]]:
    people = house.nodes[PartnerId(ASKER)].people
    names = {people.subject(people.form(f"P{n}")): f"P{n}" for n in range(1, 8)}
    found: list[KeptBit] = house.bits[ASKER]
    return {names[one.subject]: (one.closed, one.arm) for one in found}


def test_bit_and_arm_are_those_of_all_others_and_need_both_consents(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        assert await house.session(ASKER).ask_elsewhere() == 6
        assert kept(house) == {
            "P1": (True, 1),  # withdrawn at one, active at another
            "P2": (True, None),  # closed for what the person did: in neither arm
            "P3": (False, 0),
            "P4": (False, None),  # no line elsewhere: not to be compared with
            "P5": (True, None),  # no consent to the study
            "P7": (False, None),
        }
        # One request for all, of the layout and not of a model; nothing of it names a bit.
        ((_, request),) = house.frames(ScoreRequest, "up")
        assert isinstance(request, ScoreRequest)
        inquiry = parse_inquiry(request.inquiry)
        assert (inquiry.model, inquiry.purpose) == (VERSION, Purpose.CLOSURE_SIGNAL)

    run(tmp_path, story)


def test_withdrawal_counts_at_the_asker_and_at_each_holder(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        def withdraw(name: str, person: str, purpose: Purpose) -> None:
            node = house.nodes[PartnerId(name)]
            node.store.withdraw(node.people.subject(node.people.form(person)), [purpose])

        withdraw(ASKER, "P2", Purpose.CLOSURE_SIGNAL)
        withdraw(ASKER, "P3", Purpose.IMPACT_STUDY)
        withdraw("bank_b", "P1", Purpose.CLOSURE_SIGNAL)
        withdraw("bank_b", "P5", Purpose.IMPACT_STUDY)
        lines(house, "shop_c", ["P7"], bits=ACTIVE)
        withdraw("shop_c", "P7", Purpose.IMPACT_STUDY)
        await rebuilt(house)
        assert await house.session(ASKER).ask_elsewhere() == 5
        found = kept(house)
        assert "P2" not in found
        assert found["P1"] == (False, 0)  # as if bank_b did not know the person
        assert found["P3"] == (False, None)
        assert found["P7"] == (False, None)  # active there, which is not said for a study
        assert found["P5"] == (True, None)  # the bit needs no consent to the study

    run(tmp_path, story)


@pytest.mark.parametrize(
    ("purpose", "version"),
    [(Purpose.JOINT_SCORE, "layout"), (Purpose.CLOSURE_SIGNAL, "model")],
)
def test_layout_is_asked_with_its_own_purpose_and_a_model_never_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, purpose: Purpose, version: str
) -> None:
    async def story(house: House) -> None:
        session = house.session(ASKER)
        era = session._era
        assert era is not None
        table = era.closures.table
        assert table is not None
        layout = scoring_asking.LAYOUT
        asked = VERSION if version == "layout" else house.version
        person = closure_asking.askable(table, session.store, house.manifest, PartnerId(ASKER))[
            0
        ].asked(era.people, 2**40)
        given: Person = replace(person, model=asked, purposes=frozenset(Purpose))
        monkeypatch.setattr(era.asker, "_served", lambda _roster, _purpose: (asked, layout))
        (told,) = await era.asker.parts([given], purpose, timeout_s=20)
        assert isinstance(told, LocalError)
        codes = {body.code for _, body in house.frames(ScoreRefused, "up")}  # type: ignore[attr-defined]
        assert codes == {"S05"}

    run(tmp_path, story)


def test_receipt_that_names_all_columns_gets_those_of_its_purposes_alone() -> None:
    receipt = consent.Receipt(
        token=bytes(16),  # type: ignore[arg-type]
        epoch=1,
        purposes=frozenset({Purpose.CLOSURE_SIGNAL}),
        families=0b111,
        expires=2**40,
        evidence=bytes(32),
    )
    both = replace(receipt, purposes=frozenset({Purpose.CLOSURE_SIGNAL, Purpose.IMPACT_STUDY}))
    other = replace(receipt, purposes=frozenset({Purpose.IMPACT_STUDY}))
    packed = consent.pack([receipt, both, other])
    allowed = allowed_columns(consent.unpack(packed, 3))
    assert np.array_equal(
        allowed, [[True, False, False], [True, True, True], [False, False, False]]
    )


def test_more_than_a_months_quota_is_not_asked_for_and_a_second_time_is_refused(
    tmp_path: Path,
) -> None:
    async def story(house: House) -> None:
        session = house.session(ASKER)
        assert await session.ask_elsewhere() == 6
        with pytest.raises(TransportError, match="quota"):
            await session.ask_elsewhere()
        lines(house, ASKER, ["P8", "P9", "P10", "P11"], signal="C", study="S")
        await rebuilt(house)
        with pytest.raises(DataError, match="studies_per_release"):
            await session.ask_elsewhere()

    run(tmp_path, story, most=8)


def test_partner_without_a_table_of_lines_answers_like_one_that_holds_nobody(
    tmp_path: Path,
) -> None:
    async def story(house: House) -> None:
        house.lines.pop("bank_b")
        await rebuilt(house)
        await house.session(ASKER).ask_elsewhere()
        assert kept(house)["P1"] == (False, 0)
        assert not house.frames(ScoreRefused, "up")

    run(tmp_path, story)
