"""A whole consortium in memory: the real machines, codec and Flower messages.

Only sockets, disk and clock are toys. Faults are methods (``drop``, ``tamper``, ``refuse``),
so that a test reads as a story; what travelled is in ``wire``.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.supercore.task_identity import TaskIdentity
from numpy.typing import NDArray

from consortium.canonical import Label
from consortium.crypto.keys import AgreementKey, IdentityKey, NoteKey, Secret
from consortium.crypto.pairwise import apply_masks
from consortium.documents import document_of
from consortium.errors import BudgetExceededError, RefusalCode, RefusalError, TransportError
from consortium.features.bins import Bins, bin_count
from consortium.features.schema import Schema, parse_schema
from consortium.ids import Digest, PartnerId, RunId, digest_of
from consortium.ledger.run_bodies import BudgetDebit
from consortium.manifest import Manifest, Member, Policy, Role
from consortium.messages import PlanOffer, Signed, SumRequest, Upload
from consortium.plan import ReleaseKind, TrainingPlan
from consortium.secagg.context import SumInputs
from consortium.secagg.ring import ring_sum, to_signed
from coordinator.flower_grid import BidiGrid, run_app
from coordinator.plans import PlanContext, parse_plan
from coordinator.round_witnesses import RoundWitnesses
from coordinator.run_record import RunRecord
from coordinator.server_app import Deadlines, OnClosed, RunPorts, build_server_app
from models.run import ClosedSum, RunSession
from partner_node.entry_book import EntryBook
from partner_node.flower_node import Answering
from partner_node.ingest import EncodedTable
from partner_node.local_sums import LocalSums, Sums
from partner_node.log_gate import LogGate
from partner_node.plan_checks import SessionFacts
from partner_node.records import KeptSum, OwnEntry, StoredJoin
from partner_node.storage import NodeStore
from partner_node.training_ports import SessionKeys
from partner_node.training_session import TrainingSession

Words = NDArray[np.uint64]
Integers = NDArray[np.int64]

SCHEMA = """
name = "tiny"
version = 1

[label]
name = "bad"
definition = "late by more than 90 days within 12 months"

[[feature]]
name = "late"
family = "repayment"
kind = "integer"
unit = "months"
concept = "arrears"
range = ["0", "4"]
edges = ["1", "2", "3"]
direction = "up"
reason = "R01"
reason_zh = "近期有未按时还款记录"
reason_en = "Recent payments were not made on time"

[[feature]]
name = "used"
family = "billing"
kind = "number"
unit = "share"
concept = "utilisation"
range = ["0", "1"]
edges = ["0.25", "0.5", "0.75"]
direction = "up"
reason = "R03"
reason_zh = "已用额度占授信额度的比例较高"
reason_en = "High share of the available limit is in use"
"""

PLAN = """
[plan]
rounds = 8
epsilon = "8"
holdout_salt = "test"

[[block]]
name = "banks"
families = ["repayment"]
normaliser = 2000

[[block]]
name = "platforms"
families = ["billing"]
normaliser = 2000
"""

FAMILIES = {
    "bank_a": ("repayment",),
    "bank_b": ("repayment",),
    "shop_c": ("billing",),
    "shop_d": ("billing",),
}


@dataclass
class MemoryCommitments:
    """The node's database as a dict; the arithmetic of caps is the tested code's."""

    plans: dict[RunId, tuple[TrainingPlan, Secret]] = field(default_factory=dict)
    reserved: dict[str, int] = field(default_factory=dict)
    debits: list[tuple[SumRequest, str, int]] = field(default_factory=list)
    closed: set[RunId] = field(default_factory=set)
    disclosed: list[tuple[SumRequest, Digest, int]] = field(default_factory=list)
    joins: dict[tuple[ReleaseKind, int, int], StoredJoin] = field(default_factory=dict)
    signed: list[tuple[RunId, bytes]] = field(default_factory=list)
    learned: dict[RunId, list[KeptSum]] = field(default_factory=dict)
    own: list[OwnEntry] = field(default_factory=list)

    def together(self, *, flushed: bool = True) -> AbstractContextManager[None]:
        del flushed
        return nullcontext()

    def commitment(self, run: RunId) -> tuple[TrainingPlan, Secret | None] | None:
        return self.plans.get(run)

    def commit(
        self,
        plan: TrainingPlan,
        seed: Secret,
        units: Mapping[str, int],
        caps: Mapping[str, int],
    ) -> None:
        for scope, amount in units.items():
            if self.reserved.get(scope, 0) + amount > caps[scope]:
                raise BudgetExceededError(f"{scope}: {amount} over {caps[scope]}")
        for scope, amount in units.items():
            self.reserved[scope] = self.reserved.get(scope, 0) + amount
        self.plans[plan.run] = (plan, seed)

    def accepted(self, run: RunId, signature: bytes, entries: Sequence[OwnEntry] = ()) -> None:
        self.signed.append((run, signature))
        self.own.extend(entries)

    def keep_own(self, entries: Sequence[OwnEntry]) -> None:
        self.own.extend(entries)

    def own_entries(self, run: RunId, kind: str) -> tuple[bytes, ...]:
        return tuple(one.data for one in self.own if (one.run, one.type) == (run, kind))

    def open_runs(self) -> tuple[RunId, ...]:
        return tuple(run for run in self.plans if run not in self.closed)

    def close_run(self, run: RunId) -> None:
        self.closed.add(run)

    def join(
        self, request: SumRequest, context: Digest, learned: Sequence[KeptSum] = ()
    ) -> StoredJoin:
        if request.run in self.closed:
            raise RefusalError(RefusalCode.PLAN, "the run holds no open reserve")
        if self.joined(request) is not None:
            raise RefusalError(RefusalCode.REPEATED, "this attempt was joined before")
        made = StoredJoin(context, len(self.joins) + 1)
        self.joins[request.kind, request.round, request.attempt] = made
        self.keep_sums(request.run, learned)
        return made

    def joined(self, request: SumRequest) -> StoredJoin | None:
        return self.joins.get((request.kind, request.round, request.attempt))

    def attempts(self, run: RunId) -> tuple[tuple[ReleaseKind, int, int], ...]:
        del run
        return tuple(self.joins)

    def paid(self, run: RunId) -> frozenset[tuple[ReleaseKind, int, int]]:
        return frozenset(
            (one.kind, one.round, one.attempt) for one, _, _ in self.debits if one.run == run
        )

    def debited(self, debit: BudgetDebit) -> bool:
        return any(
            (one.run, one.kind, one.round, one.attempt, units)
            == (debit.run, debit.kind, debit.round, debit.attempt, debit.units)
            for one, _, units in self.debits
        )

    def sums(self, run: RunId) -> tuple[KeptSum, ...]:
        return tuple(self.learned.get(run, ()))

    def keep_sums(self, run: RunId, learned: Sequence[KeptSum]) -> None:
        self.learned.setdefault(run, []).extend(learned)

    def withdraw(self, run: RunId) -> None:
        self.plans.pop(run)

    def charged(self, run: RunId, kind: ReleaseKind) -> int:
        return sum(u for r, _, u in self.debits if r.run == run and r.kind is kind)

    def disclose(
        self,
        request: SumRequest,
        *,
        words: Digest,
        size: int,
        entries: Sequence[OwnEntry] = (),
    ) -> None:
        self.disclosed.append((request, words, size))
        self.own.extend(entries)

    def debit(
        self,
        request: SumRequest,
        *,
        scope: str,
        units: int,
        entries: Callable[[str], Sequence[OwnEntry]] | None = None,
    ) -> None:
        if request.run in self.closed:
            raise RefusalError(RefusalCode.PLAN, "the run holds no open reserve")
        key = (request.run, request.kind, request.round, request.attempt)
        if any((r.run, r.kind, r.round, r.attempt) == key for r, _, _ in self.debits):
            raise RefusalError(RefusalCode.REPEATED, "this attempt was charged before")
        self.debits.append((request, scope, units))
        if entries is not None:
            self.own.extend(entries("default"))


@dataclass
class Node:
    """One partner: keys, table, database and the application behind Flower's bytes."""

    member: PartnerId
    key: IdentityKey
    agreement: AgreementKey
    witness: NoteKey
    store: MemoryCommitments = field(default_factory=MemoryCommitments)
    session: TrainingSession | None = None
    answering: Answering | None = None


Fault = Callable[[PartnerId, bytes], bytes | None]
"""Sees a partner's answer on its way; returns what arrives, or None for nothing."""


Gates = Callable[[Node, Manifest], tuple[LogGate | None, Callable[[], int]]]
"""A node's gate, and what its entries name as the newest cosigned head."""


class Consortium:
    """Four partners, two blocks, tables with a planted signal."""

    def __init__(
        self,
        *,
        plan: str = PLAN,
        schema: str = SCHEMA,
        rows: int = 400,
        caps: int = 1 << 50,
        gates: Gates = lambda _node, _manifest: (None, lambda: 0),
    ) -> None:
        self.schema: Schema = parse_schema(schema, source="tiny")
        self.nodes = {PartnerId(name): _node(PartnerId(name)) for name in FAMILIES}
        self.manifest = self._manifest()
        self.wire: list[tuple[PartnerId, bytes]] = []
        self.requests: list[tuple[PartnerId, bytes]] = []
        self.absent: set[PartnerId] = set()
        self.sums: list[ClosedSum] = []
        self.fault: Fault = lambda _member, payload: payload
        self.run = RunId("ab" * 16)
        self.record: RunRecord | None = None
        """Where entries for the log go; none are kept by default."""
        self.witnesses: RoundWitnesses | None = None
        """What shows the log with each attempt; nothing does by default."""
        self.on_closed: OnClosed = lambda _request, _seconds, _closed: None
        self.elsewhere: dict[PartnerId, Callable[[TrainingPlan], Sums]] = {}
        """Nodes whose rows are not those of ``table``."""
        self._gates = gates
        context = PlanContext(self.run, self.manifest, self.schema, digest_of(b"code"))
        self.plan = parse_plan(plan, context)
        self.rows = rows
        self.caps = caps
        for number, node in enumerate(self.nodes.values()):
            self.start(node, number)

    def start(self, node: Node, number: int) -> None:
        """(Re)start a node's process on its database."""
        facts = SessionFacts(
            member=node.member,
            manifest=self.manifest,
            schema=self.schema,
            code=digest_of(b"code"),
            caps={"training": self.caps, "holdout": self.caps},
            run_epsilon="8",
        )
        gate, hint = self._gates(node, self.manifest)
        session = TrainingSession(
            facts,
            keys=SessionKeys(identity=node.key, agreement=node.agreement),
            store=node.store,
            entropy=lambda: Secret(bytes([number]) * 32),
            open_sums=lambda plan: self.opened(node.member, number, plan),
            book=EntryBook(node.member, node.key, now=lambda: 1_700_000_000, hint=hint),
            gate=gate,
            replays=node.store.replays if isinstance(node.store, NodeStore) else None,
        )
        node.session = session
        node.answering = Answering(lambda _context: session)

    def opened(self, member: PartnerId, number: int, plan: TrainingPlan) -> Sums:
        """The sums over a node's rows, wherever they are."""
        if member in self.elsewhere:
            return self.elsewhere[member](plan)
        load = lambda bins: self.table(member, number, bins)  # noqa: E731
        return LocalSums(plan, self.schema, member, load=load)

    def table(self, member: PartnerId, number: int, bins: Bins) -> EncodedTable:
        """Rows whose badness rises with the code; one row in five is held out."""
        features = self.schema.of_families(FAMILIES[member])
        rng = np.random.default_rng(number)  # noqa: TID251 - the simulator's generator
        top = min(bin_count(f, bins.of(f.name)) for f in features)
        codes = rng.integers(1, top, size=(self.rows, len(features))).astype(np.uint8)
        chance = 1 / (1 + np.exp(2.0 - 1.2 * (codes[:, 0].astype(float) - 1)))
        labels = (rng.random(self.rows) < chance).astype(np.uint8)
        holdout = np.arange(self.rows) % 5 == 0
        return EncodedTable(
            features=features, codes=codes, labels=labels, holdout=holdout, report=None
        )  # type: ignore[arg-type]

    def _manifest(self) -> Manifest:
        members = tuple(
            Member(
                id=node.member,
                index=index,
                role=Role.PARTNER,
                identity=node.key.public.hex(),
                agreement=node.agreement.public.hex(),
                witness=node.witness.public.hex(),
                tls_spki=digest_of(node.member.encode()),
                families=FAMILIES[node.member],
            )
            for index, node in enumerate(self.nodes.values(), start=1)
        )
        self.coordinator = IdentityKey.from_secret(Secret(b"C" * 32))
        operator = Member(
            id=PartnerId("coordinator"),
            index=99,
            role=Role.COORDINATOR,
            identity=self.coordinator.public.hex(),
            agreement="",
            witness=NoteKey.from_secret(Secret(b"N" * 32)).public.hex(),
            tls_spki=digest_of(b"coordinator"),
            families=(),
        )
        return Manifest(
            federation="tiny",
            version=1,
            previous=None,
            not_before=0,
            schema=self.schema.digest,
            members=(*members, operator),
            policy=Policy(
                min_partners=3,
                max_partners_per_person=2,
                delta="1e-6",
                max_epsilon_per_run="8",
                max_epsilon_lifetime="8",
                model_kinds=("scorecard", "mlp"),
                code=(),
                vote_quorum=3,
            ),
        )

    def signatures(self) -> tuple[Signed, ...]:
        """Every partner's signature over the manifest."""
        digest = self.manifest.digest
        message = bytes.fromhex(digest)
        return tuple(
            Signed(
                digest=digest,
                member=node.member,
                signature=node.key.sign(Label.MANIFEST_SIGNATURE, message),
            )
            for node in self.nodes.values()
        )

    # One attempt without a coordinator: what it would do, step by step.

    def accept(self) -> list[bytes]:
        """Everybody here accepts the plan; the acceptances as they travel."""
        sessions = [self.session(name) for name in self.connected()]
        offer = PlanOffer(plan=self.plan)
        return [document_of(session.on_offer(offer)) for session in sessions]

    def attempt(
        self, request: SumRequest, inputs: SumInputs
    ) -> dict[PartnerId, tuple[Words, Upload]]:
        """The roster accepts the plan, joins, and uploads."""
        accepted = self.accept()
        joins = [
            self.session(name).on_proposal(request, self.sums, accepted)
            for name in request.roster
        ]
        return {
            name: self.session(name).on_joins(
                request, inputs, joins=joins, acceptances=accepted
            )
            for name in request.roster
        }

    def close(self, session: RunSession, *, attempts: int = 1) -> ClosedSum:
        """Carry the due sum to its end, at the given attempt; everybody is told of it."""
        for _ in range(attempts):
            request, inputs = session.request(self.connected())
            uploads = self.attempt(request, inputs)
            if request.attempt < attempts:
                session.on_missing(request, {request.roster[0]: "test"}, charged=True)
        closed = ClosedSum(
            request=request,
            joined=next(iter(uploads.values()))[1].context,
            total=to_signed(ring_sum(words for words, _ in uploads.values())),
        )
        session.on_sum(closed)
        self.sums.append(closed)
        return closed

    def bare(self, member: PartnerId, words: Words) -> Integers:
        """The noised integers under the masks of the member's last upload: white box."""
        run = self.session(member)._run
        assert run is not None
        assert run.machine is not None
        assert run.machine._joined is not None
        masks = np.zeros_like(words)
        apply_masks(masks, member, run.machine._joined.keys)
        return (words - masks).view(np.int64)

    def session(self, member: PartnerId) -> TrainingSession:
        """The session of a node."""
        session = self.nodes[member].session
        assert session is not None
        return session

    # The two methods that the grid asks of the streams.

    def connected(self) -> tuple[PartnerId, ...]:
        """Everybody but the absent."""
        return tuple(sorted(set(self.nodes) - self.absent))

    def send(self, partner: PartnerId, payload: bytes, *, timeout_s: float) -> Future[bytes]:
        """Answer at once, through the partner's application and the fault."""
        del timeout_s
        future: Future[bytes] = Future()
        self.requests.append((partner, payload))
        answering = self.nodes[partner].answering
        assert answering is not None
        kept = TaskIdentity.run_id, TaskIdentity.node_id
        answer = self.fault(partner, answering.answer(payload))
        TaskIdentity.run_id, TaskIdentity.node_id = kept
        TaskIdentity.task_id = kept[0]
        if answer is None:
            future.set_exception(TransportError("gone"))
        else:
            self.wire.append((partner, answer))
            future.set_result(answer)
        return future

    def train(self, session: RunSession | None = None) -> RunSession:
        """Run the plan to its end; returns the finished session."""
        session = session or RunSession(self.plan, self.schema)
        ports = RunPorts(
            manifest=self.manifest,
            wait_for_change=lambda _seconds: False,
            on_closed=self.on_closed,
            sums=self.sums,
            record=self.record,
            witnesses=self.witnesses,
        )
        deadlines = Deadlines(attempt=5, offer=5, quorum=0)
        with BidiGrid(self, self.run) as grid:
            run_app(build_server_app(session, ports, deadlines), grid)
        return session


def reply_words(payload: bytes) -> np.ndarray | None:
    """The words in a serialised answer, if it is an upload."""
    message = message_from_proto(ProtoMessage.FromString(payload))
    if message.has_error() or "words" not in message.content:
        return None
    return message.content["words"]["words"].numpy()


def rewritten(payload: bytes, change: Callable[[object], None]) -> bytes:
    """The serialised message after ``change`` had its content."""
    message = message_from_proto(ProtoMessage.FromString(payload))
    change(message)
    return message_to_proto(message).SerializeToString()


def _node(member: PartnerId) -> Node:
    def secret(use: str) -> Secret:
        return Secret(bytes.fromhex(digest_of(f"{member}/{use}".encode())))

    return Node(
        member=member,
        key=IdentityKey.from_secret(secret("identity")),
        agreement=AgreementKey.from_secret(secret("agreement")),
        witness=NoteKey.from_secret(secret("witness")),
    )


def plan_bytes(plan: TrainingPlan) -> bytes:
    """The plan as it travels."""
    return document_of(plan)
