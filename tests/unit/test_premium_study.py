"""The premium where it is made: asked for under its own consent, counted by who closes."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from consortium.canonical import canonical_json
from consortium.credit.figure_forms import VERSION_DIGITS
from consortium.credit.figure_specs import Wanted, figure
from consortium.credit.figures import contribution
from consortium.errors import (
    ConfigurationError,
    DataError,
    RefusalCode,
    RefusalError,
    TransportError,
)
from consortium.figure import FigureKind, FigureSpec
from consortium.ids import Digest, PartnerId, digest_of
from consortium.inquiries import Purpose, ScoreRequest
from consortium.messages import Vote
from consortium.scoring.clear import parse_inquiry
from consortium.scoring.head import ONE, Head
from consortium.scoring.premium import Impact, Premium
from models.document import HEAD_TYPE, version_of
from partner_node import joining, wiring
from partner_node.credit.figures import entries_of
from partner_node.credit.rules import RulesBook
from partner_node.served import ServedHead
from partner_node.study import JointRows, NoStudies
from tests.credit_desk_house import write_rules
from tests.joint_house import House, partial
from tests.overlap_federation import standing

BANK = PartnerId("bank_a")
UNIT = 1 << 32
ROWS = {
    "bank_a": {"P1": 0.25, "P2": 1.0, "P3": 0.0, "P4": 0.5},
    "bank_b": {"P2": 0.5},
    "shop_c": {"P1": 0.9},
    "shop_d": {"P5": 0.3},
    "telco_e": {"P6": 0.5},
}
HEAD = Head(
    families=("repayment", "billing"),
    base=-2 * UNIT,
    alpha=(-UNIT, -UNIT // 2, 0),
    beta=((ONE, ONE // 2), (ONE // 2, ONE), (ONE, ONE)),
)
HEAD_ID = digest_of(b"head")


def run(root: Path, story: Callable[[House], Awaitable[None]]) -> None:
    async def main() -> None:
        house = House(root, ROWS)
        try:
            await house.start()
            house.lines["bank_a"] = {
                "P1": standing(study="S-1"),
                "P2": standing(study="S-2"),
                "P3": standing(study="S-3"),
                "P4": standing(study="", signal="C-4"),  # consented to something else
                "P8": standing(study="S-8"),  # has a line and no row of the score's
            }
            house.nodes[BANK].heads[HEAD_ID] = ServedHead(head=HEAD)
            house.roster_head = HEAD_ID
            house.publish()
            await house.settled()
            era = house.session("bank_a")._era
            assert era is not None
            await era.shelf.fill()
            await era.closures.rebuild()
            house.wire.clear()
            await story(house)
        finally:
            house.close()

    asyncio.run(main())


def test_premium_is_the_head_with_and_without_the_own_part_worked_by_hand(
    tmp_path: Path,
) -> None:
    async def story(house: House) -> None:
        lost = (await house.session("bank_a").impact(HEAD_ID)).premium
        own = [partial("repayment", value) for value in (0.25, 1.0, 0.0)]
        shop, bank = partial("billing", 0.9), partial("repayment", 0.5)
        half = UNIT // 2
        found = sorted(
            zip(lost.before.tolist(), lost.after.tolist(), lost.strata.tolist(), strict=True)
        )
        assert found == sorted(
            [
                (-half + own[0] // 2 + shop, -UNIT + shop // 2, 1),  # billing is left
                (-UNIT + (own[1] + bank) // 2, -UNIT + bank, 1),  # the average falls apart
                (-UNIT + own[2], -2 * UNIT, 0),  # nobody knows the person any more
            ]
        )
        ((_, request),) = house.frames(ScoreRequest, "up")
        assert isinstance(request, ScoreRequest)
        inquiry = parse_inquiry(request.inquiry)
        assert (inquiry.purpose, inquiry.persons) == (Purpose.IMPACT_STUDY, 3)

    run(tmp_path, story)


def test_premium_leaves_out_who_withdrew_from_impact_studies_and_from_nothing_else(
    tmp_path: Path,
) -> None:
    async def story(house: House) -> None:
        node = house.nodes[BANK]
        subjects = [node.people.subject(node.people.form(f"P{n}")) for n in (1, 2, 3)]
        node.store.withdraw(subjects[0], [Purpose.CALIBRATION])
        node.store.withdraw(subjects[1], [Purpose.IMPACT_STUDY])
        assert len((await node.session.impact(HEAD_ID)).labels) == 2
        for subject in subjects:
            node.store.withdraw(subject, [Purpose.IMPACT_STUDY])
        with pytest.raises(DataError, match="consent to impact studies"):
            await node.session.impact(HEAD_ID)

    run(tmp_path, story)


def test_premium_without_the_head_in_force_or_a_table_of_lines_is_refused(
    tmp_path: Path,
) -> None:
    async def story(house: House) -> None:
        session = house.session("bank_a")
        with pytest.raises(TransportError, match="not in force"):
            await session.impact(digest_of(b"another"))
        assert session._era is not None
        session._era.closures.table = None
        with pytest.raises(TransportError, match="table of lines"):
            await session.impact(HEAD_ID)
        house.roster_head = None
        house.publish()
        await house.settled()
        with pytest.raises(TransportError, match="not in force"):
            await session.impact(HEAD_ID)
        assert not house.frames(ScoreRequest, "up")

    run(tmp_path, story)


# --- at a node --------------------------------------------------------------------------------

DOCUMENT = canonical_json({"type": HEAD_TYPE, "base": "ba" * 32})
VERSION = version_of(DOCUMENT)


@dataclass
class Answered:
    """A serving process that has made one premium."""

    lost: Premium
    labels: list[int] = field(default_factory=list)
    asked: list[tuple[Digest, str]] = field(default_factory=list)

    def rows(self, base: Digest) -> JointRows:
        raise AssertionError(f"joint rows of {base} are of another consent")

    def impact(self, head: Digest, month: str) -> Impact:
        self.asked.append((head, month))
        rows = len(self.lost.before)
        labels = np.array(self.labels or [255] * rows, dtype=np.uint8)
        held = np.arange(rows) % 2 == 0
        return Impact(premium=self.lost, labels=labels, holdout=held, attested=None)


def spec_of(closing: str = BANK, head: str = VERSION) -> FigureSpec:
    wanted = Wanted(closing=closing, head=head)
    return figure(FigureKind.PREMIUM, "2026-11", "2026-11", wanted)


@pytest.fixture
def desk(tmp_path: Path) -> wiring.Desk:
    joining.initialise(tmp_path / "node", BANK, None)
    write_rules(tmp_path / "node")
    return wiring.open_desk(tmp_path / "node")


def accept(desk: wiring.Desk, version: Digest, document: bytes, *, yes: bool = True) -> None:
    store = desk.store()
    store.versions.keep_model(version, document)
    store.versions.add_vote(
        Vote(
            version=version,
            member=BANK,
            accept=yes,
            reason="validated",
            number=1,
            signature=b"s",
        )
    )


def test_node_counts_each_own_customer_once_by_tier_points_and_grade(
    desk: wiring.Desk,
) -> None:
    cuts = RulesBook(desk.config.directory).at(date(2026, 11, 30)).rules.policy.pd_cuts
    edges = [np.log(float(cut) / (1 - float(cut))) for cut in cuts]
    eta = [edges[0] - 1, edges[0] - 0.1, (edges[1] + edges[2]) / 2, edges[3] + 1]
    before = np.array([int(one * UNIT) for one in eta])
    moved = np.array([UNIT // 10, UNIT, 0, -(UNIT // 2)])
    lost = Premium(before=before, after=before + moved, strata=np.ones(4, dtype=np.int64))
    accept(desk, VERSION, DOCUMENT)
    studies, spec = Answered(lost), spec_of()
    entries = list(entries_of(desk, spec, studies))
    assert studies.asked == [(VERSION, "2026-11")]
    labels = [
        tuple(axis.cells[at] for axis, at in zip(spec.axes, one.cell, strict=True))
        for one in entries
    ]
    # 28.85 points for 1 in log-odds; who gains has a cell of its own.
    assert labels == [
        ("PRIME", "to5", "same"),
        ("PRIME", "to40", "weaker"),
        ("NEAR", "to0", "same"),
        ("LOW", "to-10", "same"),
    ]
    assert int(contribution(spec, entries).sum()) == 4 << 20


def test_node_that_does_not_close_counts_nobody_and_asks_nobody(desk: wiring.Desk) -> None:
    assert list(entries_of(desk, spec_of("shop_c"), NoStudies("no stream"))) == []


@pytest.mark.parametrize("case", ["unknown", "refused", "base", "short"])
def test_premium_under_a_head_that_the_node_did_not_accept_is_refused(
    desk: wiring.Desk, case: str
) -> None:
    spec = spec_of()
    if case == "refused":
        accept(desk, VERSION, DOCUMENT, yes=False)
    if case == "base":
        model = canonical_json({"type": "riskweave/model/v1"})
        accept(desk, version_of(model), model)
        spec = spec_of(head=version_of(model))
    if case == "short":
        accept(desk, VERSION, DOCUMENT)
        spec = spec_of(head=VERSION[: VERSION_DIGITS - 1] + "x")
    with pytest.raises(RefusalError, match="no head that this node accepted") as caught:
        entries_of(desk, spec, NoStudies("no stream"))
    assert caught.value.reason is RefusalCode.PLAN


def test_premium_without_a_serving_process_says_so(desk: wiring.Desk) -> None:
    accept(desk, VERSION, DOCUMENT)
    with pytest.raises(TransportError, match="no stream: no premium"):
        entries_of(desk, spec_of(), NoStudies("no stream"))


def test_premium_is_of_one_month_one_head_and_one_partner() -> None:
    wanted = Wanted(closing=BANK, head=VERSION)
    with pytest.raises(ConfigurationError, match="of one month"):
        figure(FigureKind.PREMIUM, "2026-10", "2026-11", wanted)
    lacking = {"of a head": Wanted(closing=BANK, head="ab"), "closes": Wanted(head=VERSION)}
    for told, less in lacking.items():
        with pytest.raises(ConfigurationError, match=told):
            figure(FigureKind.PREMIUM, "2026-11", "2026-11", less)
