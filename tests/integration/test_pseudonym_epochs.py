"""Key ceremonies between real machines over real mTLS, driven by the coordinator (6.3, 6.8)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from consortium.crypto.keys import Secret
from consortium.documents import document_of, parse_document
from consortium.errors import ScoreRefusalError
from consortium.identity.ceremony import EpochFacts, EpochShare, Holding, install
from consortium.identity.complaints import judge
from consortium.identity.dealing import Reveal
from consortium.identity.epoch import Confirmed, EpochMachine
from consortium.identity.epoch_steps import EpochOffer, EpochStep, Step, sign_step
from consortium.ids import PartnerId
from consortium.inquiries import EpochAsk, EpochTell
from consortium.ledger.bodies import DkgCommit, DkgComplaint, DkgReveal, OprfEpoch
from consortium.ledger.entries import Entry, from_jcs, sign_entry
from consortium.ledger.epochs import check_entries, step_body
from coordinator.pseudonym_epochs import EpochStatus
from coordinator.scoring_storage import ScoringStore
from tests.coordinator_house import DEADLINE_S, House, NodeKeys, enrol
from tests.scoring_lines import JOINT, Line, Relaying, line, relaying, until

NAMES = ("bank_a", "bank_b", "bank_c", "shop_d")
Bend = Callable[[EpochTell], EpochTell]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House.build(tmp_path / "c", NAMES, JOINT)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordinator.pseudonym_epochs._FIRST_WAIT_S", 0.05)


def run(story: Coroutine[None, None, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 6 * DEADLINE_S))


@dataclass
class Holder:
    """What one node keeps on its disk, and how it answers."""

    name: PartnerId
    share: EpochShare | None = None
    holding: Holding | None = None
    installs: int = 0
    machine: EpochMachine | None = None
    offer: EpochOffer | None = None
    bend: dict[str, Bend] = field(default_factory=dict)
    silent_at: str = ""

    def facts(self, house: House, attempt: int) -> EpochFacts:
        node = house.nodes[self.name]
        return EpochFacts(
            manifest=house.manifest,
            member=self.name,
            identity=node.identity,
            agreement=node.agreement,
            secret=Secret(f"{self.name} {attempt}".encode().ljust(32, b"-")),
            holding=self.holding,
        )

    def tell(self, house: House, ask: EpochAsk) -> EpochTell:
        try:
            document = self._step(house, ask)
        except ScoreRefusalError as error:
            return EpochTell(step=ask.step, document=b"", code=error.reason.value)
        entry = b"" if ask.step == "install" else self.entry(house, document)
        return EpochTell(step=ask.step, document=document, code="", entry=entry)

    def entry(self, house: House, document: bytes) -> bytes:
        """What this member says in the log of its step."""
        assert self.offer is not None
        body = step_body(document, self.offer)
        bare = Entry(seq_hint=0, at=1, actor=PartnerId(self.name), body=body)
        return sign_entry(bare, house.nodes[self.name].identity).to_jcs()

    def _step(self, house: House, ask: EpochAsk) -> bytes:
        if ask.step == "commit":
            offer = self.offer = parse_document(EpochOffer, ask.documents[0])
            self.machine = EpochMachine(self.facts(house, offer.attempt))
            return self.machine.on_offer(ask.documents)
        if ask.step == "install":
            self.installs += 1
            if self.holding is None or self.share is not self.holding.share:
                assert self.share is not None
                self.holding = install(ask.documents[0], house.manifest, self.share)
                key = self.holding.key
                check_entries(ask.documents[1:], key, house.manifest)
            return b""
        assert self.machine is not None
        if ask.step == "reveal":
            return self.machine.on_commits(ask.documents)
        made = self.machine.on_reveals(ask.documents)
        if isinstance(made, Confirmed):
            self.share = made.share
        return made.document

    async def serve(self, house: House, at: Line) -> None:
        """Answer until cancelled, or until the step at which this node falls silent."""
        while True:
            ask, number = await at.hear_numbered(EpochAsk)
            if ask.step == self.silent_at:
                return
            tell = self.tell(house, ask)
            await at.stream.say(self.bend.get(ask.step, lambda told: told)(tell), number)


@asynccontextmanager
async def holding(house: House, *holders: Holder) -> AsyncIterator[list[Line]]:
    """The streams of these nodes, answering until the block ends."""
    async with AsyncExitStack() as stack:
        ends = [await stack.enter_async_context(line(house, one.name)) for one in holders]
        tasks = [
            asyncio.create_task(one.serve(house, end))
            for one, end in zip(holders, ends, strict=True)
        ]
        try:
            yield ends
        finally:
            for task in tasks:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks)


def holders_of(names: tuple[str, ...] = NAMES) -> list[Holder]:
    return [Holder(PartnerId(name)) for name in names]


def status(at: Relaying) -> EpochStatus:
    return at.scoring.epochs.status


async def until_installed(at: Relaying, *holders: Holder, times: int = 1) -> None:
    await until(lambda: status(at).state == "complete")
    await until(lambda: all(one.holding and one.installs >= times for one in holders))


def keys(holders: list[Holder]) -> set[bytes]:
    return {one.holding.key.group_key for one in holders if one.holding}


def test_first_meeting_of_all_partners_makes_a_key_that_all_have_signed(house: House) -> None:
    async def story() -> None:
        holders = holders_of()
        async with relaying(house) as at, holding(house, *holders[:3]):
            await until(lambda: status(at).detail == "for shop_d")
            assert (status(at).epoch, status(at).state) == (1, "waiting")
            async with holding(house, holders[3]):
                await until_installed(at, *holders)
        assert status(at).holders == NAMES
        assert len(keys(holders)) == 1
        rows = ScoringStore(house.desk.store).epochs(1)
        assert [(row.attempt, row.status) for row in rows] == [(1, "complete")]
        # What the coordinator has stored holds no share of anybody.
        for one in holders:
            assert one.share is not None
            assert one.share.share.expose() not in rows[0].document
            assert one.share.share.expose().hex().encode() not in rows[0].document

    run(story())


def test_manifest_without_an_epoch_asks_for_nothing(tmp_path: Path) -> None:
    house = House.build(tmp_path / "c", NAMES)

    async def story() -> None:
        async with relaying(house) as at, holding(house, *holders_of()) as ends:
            assert len(ends) == len(NAMES)
            await until(lambda: at.scoring.epochs._rosters.up == set(NAMES))
            assert status(at) == EpochStatus()
        assert ScoringStore(house.desk.store).epochs(1) == ()

    run(story())


def test_record_is_handed_to_a_node_that_comes_back_and_no_second_key_is_made(
    house: House,
) -> None:
    async def story() -> None:
        holders = holders_of()
        async with relaying(house) as at, holding(house, *holders):
            await until_installed(at, *holders)
        first = keys(holders)
        # The coordinator is restarted, and all dial again.
        async with relaying(house) as at, holding(house, *holders[:2]):
            await until_installed(at, *holders[:2], times=2)
            async with holding(house, *holders[2:]):
                await until_installed(at, *holders, times=2)
        assert keys(holders) == first
        assert len(ScoringStore(house.desk.store).epochs(1)) == 1

    run(story())


@pytest.mark.parametrize("step", ["commit", "reveal", "confirm"])
def test_partner_that_dies_in_the_ceremony_costs_an_attempt_and_no_more(
    house: House, step: str
) -> None:
    async def story() -> None:
        holders = holders_of()
        *alive, dying = holders
        dying.silent_at = step
        async with relaying(house) as at, holding(house, *alive):
            async with holding(house, dying):
                await until(lambda: status(at).state == step)
            await until(lambda: status(at).state in ("failed", "waiting"))
            dying.silent_at = ""
            async with holding(house, dying):
                await until_installed(at, *holders)
        rows = ScoringStore(house.desk.store).epochs(1)
        assert rows[0].status == "complete"
        assert {row.status for row in rows[1:]} == {"failed"}
        assert f"{dying.name} left" in {row.detail for row in rows[1:]}
        assert len(keys(holders)) == 1

    run(story())


def test_coordinator_that_dies_in_the_ceremony_begins_another_attempt(house: House) -> None:
    async def story() -> None:
        holders = holders_of()
        holders[0].silent_at = "confirm"
        async with relaying(house) as at, holding(house, *holders):
            await until(lambda: status(at).state == "confirm")
        holders[0].silent_at = ""
        async with relaying(house) as at, holding(house, *holders):
            await until_installed(at, *holders)
        rows = ScoringStore(house.desk.store).epochs(1)
        assert [row.attempt for row in rows] == list(range(len(rows), 0, -1))
        assert [row.status for row in rows].count("complete") == 1

    run(story())


def _flipped(tell: EpochTell) -> EpochTell:
    document = tell.document.replace(b'"member":"bank_b"', b'"member":"bank_a"')
    assert document != tell.document
    return EpochTell(step=tell.step, document=document, code="")


def _garbage(tell: EpochTell) -> EpochTell:
    return EpochTell(step=tell.step, document=b"{}", code="")


def _refusing(tell: EpochTell) -> EpochTell:
    return EpochTell(step=tell.step, document=b"", code="S13")


@pytest.mark.parametrize(
    ("step", "bend", "told"),
    [
        ("commit", _flipped, "bank_b: S03"),
        ("reveal", _garbage, "bank_b: EpochStep"),
        ("confirm", _refusing, "bank_b refuses to confirm: S13"),
    ],
)
def test_step_that_is_not_the_partners_own_ends_the_attempt_by_name(
    house: House, step: str, bend: Bend, told: str
) -> None:
    async def story() -> None:
        holders = holders_of()
        holders[1].bend[step] = bend
        async with relaying(house) as at, holding(house, *holders):
            await until(lambda: status(at).state == "failed")
            assert told in status(at).detail
            del holders[1].bend[step]
            await until_installed(at, *holders)

    run(story())


def test_step_that_another_member_signed_is_not_taken_from_this_stream(house: House) -> None:
    async def story() -> None:
        holders = holders_of()
        stolen: list[bytes] = []

        def steal(tell: EpochTell) -> EpochTell:
            stolen.append(tell.document)
            return tell

        def replay(tell: EpochTell) -> EpochTell:
            return EpochTell(step=tell.step, document=stolen[-1], code="")

        holders[0].bend["commit"] = steal
        async with (
            relaying(house) as at,
            holding(house, *holders[:3]),
            line(house, "shop_d") as liar,
        ):
            ask, number = await liar.hear_numbered(EpochAsk)
            await until(lambda: bool(stolen))
            told = holders[3].tell(house, ask)
            await liar.stream.say(replay(told), number)
            await until(lambda: status(at).state == "failed")
            assert status(at).detail == "shop_d sent a step of bank_a"

    run(story())


def test_bad_share_is_complained_of_and_the_complaint_is_kept_for_a_judge(house: House) -> None:
    async def story() -> None:
        holders = holders_of()
        dealer = holders[1]

        def spoil(tell: EpochTell) -> EpochTell:
            step = parse_document(EpochStep, tell.document)
            reveal = parse_document(Reveal, step.body)
            boxes = tuple(replace(box, sealed=bytes(len(box.sealed))) for box in reveal.boxes)
            body = document_of(replace(reveal, boxes=boxes))
            key = house.nodes[dealer.name].identity
            document = sign_step(step.offer, step.member, Step.REVEAL, body=body, key=key)
            entry = dealer.entry(house, document)
            return EpochTell(step=tell.step, document=document, code="", entry=entry)

        dealer.bend["reveal"] = spoil
        async with relaying(house) as at, holding(house, *holders):
            await until(lambda: "complains of a share" in status(at).detail)
            del dealer.bend["reveal"]
            await until_installed(at, *holders)
        failed = ScoringStore(house.desk.store).epochs(1)[-1]
        assert (failed.attempt, failed.status) == (1, "complaint")
        offer = EpochOffer(
            manifest=house.manifest.digest,
            epoch=1,
            attempt=1,
            dealers=tuple(PartnerId(name) for name in NAMES),
            previous=None,
        )
        assert dealer.name in judge(failed.document, offer, house.manifest).culprits
        said = [from_jcs(data).body for data in house.desk.store.log.entries()]
        assert any(isinstance(one, DkgComplaint) for one in said)

    run(story())


def test_every_step_is_logged_by_its_member_before_the_next_is_asked_for(house: House) -> None:
    async def story() -> None:
        holders = holders_of()
        async with relaying(house) as at, holding(house, *holders):
            await until_installed(at, *holders)
        said = [from_jcs(data) for data in house.desk.store.log.entries()]
        kinds = [type(one.body) for one in said]
        assert kinds == [DkgCommit] * 4 + [DkgReveal] * 4 + [OprfEpoch] * 4
        for part in (said[:4], said[4:8], said[8:]):
            assert [one.actor for one in part] == sorted(NAMES)
        assert len({one.body for one in said[8:]}) == 1

    run(story())


def test_member_that_takes_one_step_and_logs_another_ends_the_attempt(house: House) -> None:
    async def story() -> None:
        holders = holders_of()
        liar = holders[1]

        def lie(tell: EpochTell) -> EpochTell:
            earlier = liar.entry(
                house,
                sign_step(
                    parse_document(EpochStep, tell.document).offer,
                    liar.name,
                    Step.COMMIT,
                    body=b"another",
                    key=house.nodes[liar.name].identity,
                ),
            )
            return replace(tell, entry=earlier)

        liar.bend["commit"] = lie
        async with relaying(house) as at, holding(house, *holders):
            await until(lambda: status(at).state == "failed")
            assert "takes one step and logs another" in status(at).detail
            del liar.bend["commit"]
            await until_installed(at, *holders)

    run(story())


def test_step_that_nobody_asked_for_is_dropped_and_counted(house: House) -> None:
    async def story() -> None:
        async with relaying(house) as at, line(house, "bank_a") as node:
            tell = EpochTell(step="confirm", document=b"{}", code="")
            await node.stream.say(tell, 7)
            await until(lambda: at.scoring.relay.dropped["late"] == 1)

    run(story())


def test_holder_that_has_lost_its_share_is_named_in_the_status(house: House) -> None:
    async def story() -> None:
        holders = holders_of()
        async with relaying(house) as at, holding(house, *holders):
            await until_installed(at, *holders)
        holders[2].bend["install"] = _refusing
        async with relaying(house) as at, holding(house, *holders):
            await until(lambda: status(at).lacking == ("bank_c",))
            assert status(at).state == "complete"

    run(story())


def test_partner_that_joins_gets_a_share_and_the_key_stays(house: House) -> None:
    async def story() -> None:
        holders = holders_of()
        async with relaying(house) as at, holding(house, *holders):
            await until_installed(at, *holders)
        before = keys(holders)
        joiner = NodeKeys.of("shop_e")
        enrol(house.desk, joiner)
        house.nodes["shop_e"] = joiner
        house.manifest = house.desk.membership.propose("test", house.desk.schema, JOINT)
        house.sign()
        holders.append(Holder(PartnerId("shop_e")))
        async with relaying(house) as at, holding(house, *holders):
            await until(lambda: status(at).state == "complete")
            await until(
                lambda: all(h.holding and len(h.holding.key.members) == 5 for h in holders)
            )
        assert keys(holders) == before
        assert status(at).holders == (*NAMES, "shop_e")

    run(story())
