"""A coordinator that lies about the log, or keeps something out of it, during the rounds.

Every node then refuses with R08 before it charges anything for the round (protocol 8.6).
"""

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from consortium.crypto.keys import NoteKey, Secret
from consortium.errors import BudgetExceededError, RefusalError
from consortium.ids import Digest, PartnerId, RunId
from consortium.ledger.checkpoint import open_checkpoint
from consortium.ledger.entries import Incident, ManifestAdopted, from_jcs
from consortium.ledger.note import parse_note
from consortium.ledger.run_bodies import (
    BudgetDebit,
    PlanRefused,
    RoundAbort,
    RoundSum,
    RoundUpload,
)
from consortium.ledger.witness import WitnessKey
from consortium.manifest import Manifest
from consortium.messages import LogHead, PlanOffer, SumRequest
from coordinator.audit_log import AuditLog, LogKeys
from coordinator.round_witnesses import CATCH_UP_S, RoundWitnesses, WitnessedRun
from coordinator.run_record import RunRecord, proposed
from coordinator.storage import Store
from models.run import ClosedSum, RunFailedError, RunSession
from partner_node.database import Database
from partner_node.entry_book import EntryBook
from partner_node.log_gate import LogGate
from partner_node.log_mirror import LogMirror, MirrorPorts
from partner_node.log_store import LogStore
from tests.attacks.hostile import SHOP_D, SHORT
from tests.simulator import Consortium, Node, reply_words

DAY_S = 24 * 3600
Forge = Callable[["House", LogHead], LogHead]


class House:
    """A consortium whose nodes have a mirror and a gate, and a coordinator with a log."""

    def __init__(self, directory: Path) -> None:
        self.now = 1_700_000_000
        self.directory = directory
        self.mirrors: dict[PartnerId, LogMirror] = {}
        self.gates: dict[PartnerId, LogGate] = {}
        self.house = Consortium(plan=SHORT, gates=self.gate)
        self.log = self.new_log("coordinator.db")
        self.session = RunSession(self.house.plan, self.house.schema)
        self.house.record = RunRecord(self.log, self.house.manifest)
        self.house.on_closed = self.on_closed
        self.dropped: Callable[[SumRequest], bool] = lambda _request: False
        """Closings that the coordinator keeps out of the log."""
        self.wear(RoundWitnesses(self.ports))

    @property
    def ports(self) -> WitnessedRun:
        # A look at this clock takes longer than anybody is waited for.
        clock = itertools.count(0, 2 * CATCH_UP_S)
        return WitnessedRun(
            log=self.log, manifest=self.house.manifest, monotonic=lambda: next(clock)
        )

    def gate(self, node: Node, manifest: Manifest) -> tuple[LogGate, Callable[[], int]]:
        store = LogStore(Database(self.directory / f"{node.member}.db"), now=lambda: self.now)
        mirror = LogMirror(
            MirrorPorts(
                store=store,
                witness=WitnessKey(member=node.member, key=node.witness),
                book=EntryBook(node.member, node.key, now=lambda: self.now),
                now=lambda: self.now,
            )
        )
        self.mirrors[node.member] = mirror
        self.gates[node.member] = LogGate(mirror, manifest)
        return self.gates[node.member], mirror.counted

    def new_log(self, name: str) -> AuditLog:
        """A log with the adoptions and the plan in it; two of them are no fork yet."""
        keys = LogKeys(
            member=PartnerId("coordinator"),
            identity=self.house.coordinator,
            note=NoteKey.from_secret(Secret(b"N" * 32)),
        )
        log = AuditLog(
            Store(f"sqlite:///{self.directory / name}"),
            federation="tiny",
            keys=keys,
            now=lambda: self.now,
            manifest=lambda: self.house.manifest,
        )
        for signed in self.house.signatures():
            book = EntryBook(
                signed.member, self.house.nodes[signed.member].key, now=lambda: 1_700_000_000
            )
            log.append([book.adopted(signed, 1)])
        log.append(proposed(log, self.house.plan))
        return log

    def wear(self, witnesses: RoundWitnesses) -> None:
        """Let the rounds be shown the log by these."""
        self.house.witnesses = witnesses
        for name in self.house.nodes:
            self.log.witnesses.note_held(name, 0)

    def on_closed(self, request: SumRequest, _seconds: float, closed: ClosedSum | None) -> None:
        record = self.house.record
        assert record is not None
        if not self.dropped(request):
            self.log.append(record.closing(request, self.session.state.attempts[-1], closed))

    def train(self) -> None:
        self.house.train(self.session)

    def charged(self, name: PartnerId) -> int:
        return len(self.house.nodes[name].store.debits)

    def logged(self) -> list[object]:
        return [from_jcs(one).body for one in self.log.entries(0, self.log.newest()[0])]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_honest_run_passes_every_gate_and_each_charge_names_a_head_of_the_last_sum(
    house: House,
) -> None:
    house.train()
    assert house.session.finished
    entries = [from_jcs(one) for one in house.log.entries(0, house.log.newest()[0])]
    last = max(i for i, one in enumerate(entries) if not isinstance(one.body, RoundSum))
    closed = 4  # the adoptions and the plan stand before the first commitment
    for index, one in enumerate(entries[: last + 1]):
        if isinstance(one.body, BudgetDebit | RoundUpload):
            assert closed < one.seq_hint <= index
        if isinstance(one.body, RoundSum):
            closed = index
    assert all(mirror.counted() > 5 for mirror in house.mirrors.values())
    assert not [one for one in house.logged() if isinstance(one, Incident)]


class Lying(RoundWitnesses):
    """Shows to all, or to one, something else than the log, from the second round on."""

    def __init__(self, house: House, forge: Forge, *, only: PartnerId | None = None) -> None:
        super().__init__(house.ports)
        self._house, self._forge, self._only = house, forge, only

    def propose(self, names: Iterable[PartnerId]) -> Mapping[PartnerId, LogHead]:
        found = dict(super().propose(names))
        if self._only in found and self.rounds > 1:
            found[self._only] = self._forge(self._house, found[self._only])
        return found

    def settle(self, timeout_s: float) -> LogHead:
        head = super().settle(timeout_s)
        return head if self._only or self.rounds < 2 else self._forge(self._house, head)

    @property
    def rounds(self) -> int:
        return self._house.session.state.closed


def forked(house: House, head: LogHead) -> LogHead:
    """A head of the same size over another history, signed by the log all the same."""
    other, (size, _) = house.new_log("other.db"), house.log.newest()
    while other.newest()[0] < size:
        filler = Incident(kind=f"filler {other.newest()[0]}", text=Digest("ab" * 32))
        other.append([other.entry(filler)])
    return replace(head, note=other.newest()[1])


def test_node_that_is_shown_a_fork_keeps_both_heads_and_charges_nothing_more(
    house: House,
) -> None:
    house.wear(Lying(house, forked, only=SHOP_D))
    house.train()  # the other three go on without it
    assert house.charged(SHOP_D) == 2
    incident = house.mirrors[SHOP_D].store.incident()
    assert incident is not None
    assert incident.kind == "log.rewritten"
    assert incident.shown != incident.held
    (said,) = house.mirrors[SHOP_D].store.to_bring(8)
    assert from_jcs(said).actor == SHOP_D


def thinned(_house: House, head: LogHead) -> LogHead:
    """One cosignature too few: two of four partners."""
    note = parse_note(head.note)
    return replace(head, note=replace(note, signatures=note.signatures[:3]).to_bytes())


def aged(house: House, head: LogHead) -> LogHead:
    """The cosignatures are a second too old when they come."""
    house.now += DAY_S + 1
    return head


def none(_house: House, _head: LogHead) -> LogHead:
    return LogHead()


def stripped(house: House, head: LogHead) -> LogHead:
    """The head of an earlier round, with a good quorum."""
    (*_, first) = [
        note
        for size, note in house.log._store.log.heads()
        if size < house.log.newest()[0]
        and house.log.witnesses.counts(note, house.house.manifest)
    ]
    assert open_checkpoint(first, house.house.manifest).times
    return replace(head, note=first, entries=())


@pytest.mark.parametrize("forge", [thinned, aged, none, stripped])
def test_round_whose_head_lacks_its_quorum_is_charged_by_nobody(
    house: House, forge: Forge
) -> None:
    house.wear(Lying(house, forge))
    with pytest.raises(RunFailedError):
        house.train()
    assert {house.charged(name) for name in house.house.nodes} == {2}
    assert not [m for m in house.mirrors.values() if m.store.incident() is not None]


def test_closing_that_the_coordinator_leaves_out_stops_the_run(house: House) -> None:
    house.dropped = lambda _request: house.session.state.closed == 2
    with pytest.raises(RunFailedError):
        house.train()
    assert {house.charged(name) for name in house.house.nodes} == {2}


def test_sum_that_is_logged_otherwise_than_it_was_published_stops_the_run(
    house: House,
) -> None:
    def on_closed(request: SumRequest, seconds: float, closed: ClosedSum | None) -> None:
        other = None if closed is None else replace(closed, total=closed.total + 1)
        house.on_closed(request, seconds, other)

    house.house.on_closed = on_closed
    with pytest.raises(RunFailedError):
        house.train()
    assert {house.charged(name) for name in house.house.nodes} == {1}


@pytest.mark.parametrize("free", [False, True])
def test_attempt_whose_words_were_taken_and_that_is_logged_as_free_stops_the_run(
    house: House, *, free: bool
) -> None:
    """The words of the last one to send are said to be lost; was the attempt paid for?"""
    sent = 0

    def lost(_name: PartnerId, payload: bytes) -> bytes | None:
        nonlocal sent
        if reply_words(payload) is None:
            return payload
        sent += 1
        return None if sent == 3 * len(house.house.nodes) else payload

    def on_closed(request: SumRequest, seconds: float, closed: ClosedSum | None) -> None:
        if closed is not None or not free:
            house.on_closed(request, seconds, closed)
            return
        attempt = house.session.state.attempts[-1]
        body = RoundAbort(
            request=request, missing=attempt.missing, reasons=attempt.reasons, charged=False
        )
        house.log.append([house.log.entry(body)])

    house.house.fault, house.house.on_closed = lost, on_closed
    if not free:
        house.train()
        assert house.session.finished
        return
    with pytest.raises(RunFailedError):
        house.train()
    assert {house.charged(name) for name in house.house.nodes} == {3}


def test_plan_that_a_node_refuses_is_said_for_the_log_once(house: House) -> None:
    node = house.house.nodes[SHOP_D]
    house.house.caps = 0
    house.house.start(node, 3)
    for _ in range(2):
        with pytest.raises(BudgetExceededError):
            house.house.session(SHOP_D).on_offer(PlanOffer(plan=house.house.plan))
    said = [from_jcs(one.data) for one in node.store.own if one.type == "plan.refused"]
    assert [one.body for one in said] == [
        PlanRefused(run=house.house.run, plan=said[0].body.plan, reason="R12")  # type: ignore[union-attr]
    ]


def test_member_whose_mirror_has_not_spoken_yet_is_waited_for_and_not_left_out(
    house: House,
) -> None:
    witnesses = house.log.witnesses
    witnesses.forget_held(SHOP_D)
    witnesses.wait = lambda _seconds: witnesses.note_held(SHOP_D, 0)  # type: ignore[method-assign]
    house.train()
    assert all(SHOP_D in one.roster for one in house.session.state.attempts)


def test_member_whose_mirror_never_speaks_holds_a_run_up_once_and_no_more(
    house: House,
) -> None:
    witnesses, waits = house.log.witnesses, list[float]()
    witnesses.forget_held(SHOP_D)
    witnesses.wait = waits.append  # type: ignore[method-assign]
    house.train()
    attempts = house.session.state.attempts
    assert house.session.finished
    assert not any(SHOP_D in one.roster for one in attempts)
    assert len(waits) == 1 < len(attempts)


def test_adoption_that_is_not_in_the_log_stops_the_first_round(house: House) -> None:
    house.log = AuditLog(
        Store(f"sqlite:///{house.directory / 'bare.db'}"),
        federation="tiny",
        keys=house.log._keys,
        now=lambda: house.now,
    )
    house.log.append(proposed(house.log, house.house.plan))
    house.house.record = RunRecord(house.log, house.house.manifest)
    house.wear(RoundWitnesses(house.ports))
    with pytest.raises(RunFailedError):
        house.train()
    assert {house.charged(name) for name in house.house.nodes} == {0}
    assert not [one for one in house.logged() if isinstance(one, ManifestAdopted)]


def test_gate_remembers_no_run_that_a_later_plan_has_closed(house: House) -> None:
    house.train()
    gate, plan = house.gates[SHOP_D], house.house.plan
    refused = PlanOffer(plan=replace(plan, run=RunId("ef" * 16), epsilon="99"))
    with pytest.raises(RefusalError):
        house.house.session(SHOP_D).on_offer(refused)
    assert gate.runs == {plan.run}
    accepted = PlanOffer(plan=replace(plan, run=RunId("cd" * 16)))
    house.house.session(SHOP_D).on_offer(accepted)
    assert plan.run not in gate.runs
