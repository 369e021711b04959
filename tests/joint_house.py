"""Five partners that score jointly, in one process: real sessions, stores, tables, key shares.

Only the coordinator is a toy: a relay that forwards frames as bytes of the real codec, keeps
them in ``wire``, and can drop, swap and replay. Everything runs in one event loop.
"""

import asyncio
import csv
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import numpy as np

from consortium import codec
from consortium.codec import Frame, StreamKind
from consortium.credit.attested import schema_lines
from consortium.credit.tables import Calibration
from consortium.crypto.keys import AgreementKey, IdentityKey, Secret
from consortium.documents import document_of
from consortium.features.bins import public_bins
from consortium.features.schema import Schema, parse_schema
from consortium.figure import FigureKind
from consortium.figure_policy import FigurePolicy
from consortium.identity.epoch_steps import EpochOffer, record_of
from consortium.identity.person import PersonRule, person_input
from consortium.ids import Digest, PartnerId, RunId, digest_of
from consortium.inquiries import (
    EpochAsk,
    EpochTell,
    OprfReplies,
    OprfReply,
    OprfRequest,
    OverlapTell,
    Purpose,
    Roster,
    ScoreAnswer,
    ScoreAnswers,
    ScoreFailed,
    ScoreRefused,
    ScoreRequest,
)
from consortium.manifest import Delivery, Manifest, Member, Policy, Role, ScoringPolicy
from consortium.scoring.clear import context_of, parse_inquiry
from consortium.scoring.head import Head
from consortium.scoring.layout import Layout
from consortium.scoring.premium import ATTESTATION
from consortium.scoring.roster import sign_roster
from consortium.scoring.scorecard import to_units
from coordinator.plans import PlanContext, parse_plan
from models.document import ModelDocument, version_of
from models.inference import Model
from models.partials import Joint, families_of
from models.spec import spec_of
from partner_node.answers import Applicant, ConsentReference
from partner_node.budget import OwnCaps, caps
from partner_node.credit.standing import PersonStanding
from partner_node.credit.storage_elsewhere import KeptBit
from partner_node.customers import Persons, Reading, read_customers
from partner_node.entry_book import EntryBook
from partner_node.overlap_storage import OverlapStore
from partner_node.people import People
from partner_node.score_table import ScoreTable
from partner_node.scoring_era import LinesPorts, SessionPorts
from partner_node.scoring_session import ScoringSession
from partner_node.scoring_store import ScoringStore
from partner_node.served import ServedHead, Shelf, ShelfPorts
from partner_node.storage import NodeStore
from partner_node.table import DataSource
from tests.simulator import PLAN, SCHEMA

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "bank_a": ("repayment",),
    "bank_b": ("repayment",),
    "shop_c": ("billing",),
    "shop_d": ("billing",),
    "telco_e": ("billing", "repayment"),
}
COLUMNS = {"repayment": "late", "billing": "used", ATTESTATION: "attested_worst_dpd"}
WEIGHTS = {
    "repayment": (0.3, -0.9, -0.1, 0.4, 1.2),
    "billing": (0.0, -0.7, -0.2, 0.3, 0.9),
    ATTESTATION: (0.0, -1.0, 0.0, 0.5, 1.0, 2.0, 0.0),
}
CENTRES = {"repayment": "-0.25", "billing": "0.125"}
ATTESTED_REASON = '[reason.R07]\nzh = "历史"\nen = "History"\n'
ATTESTED_BLOCK = f"""
[[block]]
name = "{ATTESTATION}"
families = ["{ATTESTATION}"]
normaliser = 2000
"""
BASE = "-1.5"
SCORING = ScoringPolicy(
    delivery=Delivery.JOINT,
    epoch=1,
    identifier="xx/record",
    scores_per_second=10_000,
    scores_per_day=10_000_000,
    tokens_per_second=1_000_000,
    tokens_per_day=10_000_000,
    load_hours=0,
    customers=tuple(sorted((PartnerId(name), 4_000) for name in FAMILIES)),
)

OWN = OwnCaps(lifetime_epsilon="8", tables_epsilon="3")
FIGURES = FigurePolicy(kinds=(FigureKind.COMMON,))

Rows = Mapping[str, Mapping[str, float | None]]
"""Partner -> person -> value of its feature (of both, the same value)."""


def secret(name: str) -> Secret:
    return Secret(hashlib.sha256(name.encode()).digest())


def consent(
    *purposes: Purpose, reference: str = "file 1", expires: int = 4_000_000_000
) -> ConsentReference:
    return ConsentReference(
        reference=reference, purposes=purposes or (Purpose.JOINT_SCORE,), expires=expires
    )


def applicant(person: str, **given: object) -> Applicant:
    return Applicant(person=person, consent=consent(), **given)  # type: ignore[arg-type]


def model_document(manifest: Manifest, schema: Schema) -> ModelDocument:
    """A released scorecard with one feature a family."""
    context = PlanContext(RunId("5a" * 16), manifest, schema, digest_of(b"code"))
    attested = ATTESTATION in schema.families
    plan = parse_plan(PLAN + ATTESTED_BLOCK * attested, context)
    bins = public_bins(schema)
    spec = spec_of(plan, schema, bins)
    model = Model(
        spec=spec,
        bins=bins.digest,
        weights=tuple(np.array(WEIGHTS[block.families[0]]) for block in spec.blocks),
        calibration=(
            Calibration(alpha=-1.4, beta=1.5),
            Calibration(alpha=-1.6, beta=0.75),
            *((Calibration(alpha=0.0, beta=1.0),) * attested),
        ),
    )
    return ModelDocument(
        manifest=manifest.digest,
        plan=plan,
        bins=bins,
        model=model,
        joint=Joint(
            base=BASE, centres={**CENTRES, **({ATTESTATION: "0.0"} if attested else {})}
        ),
        metrics={},
        statement={},
    )


class Entropy:
    """Fresh for each call, the same in each run."""

    def __init__(self, name: str) -> None:
        self._name, self._count = name, 0

    def __call__(self) -> Secret:
        self._count += 1
        return secret(f"{self._name} {self._count}")


class Clock:
    """The system's time, moved at will."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def ms(self) -> int:
        return int(time.time() * 1000) + self.ahead_ms  # noqa: TID251 - the tests' clock

    def seconds(self) -> int:
        return self.ms() // 1000


@dataclass(eq=False)
class Node:
    """One partner."""

    name: PartnerId
    session: ScoringSession
    store: ScoringStore
    people: People
    tables: dict[Digest, ScoreTable]
    heads: dict[Digest, ServedHead]
    accepted: set[Digest]
    tasks: "set[asyncio.Task[None]]" = field(default_factory=set)


@dataclass(eq=False)
class _Collect:
    asker: PartnerId
    number: int
    expected: set[PartnerId]
    answers: list[ScoreAnswer] = field(default_factory=list)
    refused: list[ScoreRefused] = field(default_factory=list)


@dataclass(eq=False)
class _Tokens:
    asker: PartnerId
    number: int
    expected: set[PartnerId]
    replies: list[OprfReply] = field(default_factory=list)


def _nobody_waits(name: PartnerId, tell: OverlapTell, number: int) -> None:
    raise AssertionError(f"{name}: nobody asked for {tell.step} {number}")


class House:
    """The federation and its toy relay; faults are attributes and methods.

    ``attested``: the model has a family of attestations, and bank_a is served it.
    """

    def __init__(
        self,
        root: Path,
        rows: Rows,
        scoring: ScoringPolicy = SCORING,
        *,
        attested: bool = False,
    ) -> None:
        self.root, self.clock = root, Clock()
        self.schema = _schema(attested=attested)
        self.coordinator = IdentityKey.from_secret(secret("coordinator"))
        self.manifest = _with_attestations(
            _manifest(self.schema.digest, self.coordinator, scoring), served=attested
        )
        self.document = model_document(self.manifest, self.schema)
        self.data = self.document.to_bytes()
        self.version = version_of(self.data)
        self.pool = ThreadPoolExecutor(2)
        self.nodes: dict[PartnerId, Node] = {}
        self.wire: list[tuple[str, PartnerId, bytes]] = []
        """(up or down, partner, bytes) of every frame."""
        self.revoked: frozenset[str] = frozenset()
        """Identity keys that every node has read of in the log."""
        self.down: set[PartnerId] = set()
        """Partners without a stream, for the roster and for frames."""
        self.frozen: set[PartnerId] = set()
        """Partners whose frames are swallowed while the roster lists them."""
        self.bend: Callable[[PartnerId, object], object] = lambda _from, body: body
        """Changes what the relay hands on."""
        self.roster_model: Digest | None = self.version
        self.roster_head: Digest | None = None
        self.roster_version = 0
        self.lines: dict[str, dict[str, PersonStanding]] = {}
        """By partner and person: what the tables of lines say."""
        self.bits: dict[str, list[KeptBit]] = {name: [] for name in FAMILIES}
        self.stores: dict[str, NodeStore] = {}
        self.on_overlap: Callable[[PartnerId, OverlapTell, int], object] = _nobody_waits
        """Takes what nodes say of counts of common persons."""
        self._watched: list[tuple[type, asyncio.Future[None]]] = []
        self._collects: dict[Digest, _Collect] = {}
        self._tokens: dict[str, _Tokens] = {}
        self._tells: dict[PartnerId, asyncio.Future[EpochTell]] = {}
        self.entries: tuple[bytes, ...] = ()
        """Of the last ceremony, by which all stand for its keys."""
        for name in FAMILIES:
            self._add(PartnerId(name), rows.get(name, {}))

    def _add(self, name: PartnerId, rows: Mapping[str, float | None]) -> None:
        directory = self.root / name
        directory.mkdir(parents=True)
        held = tuple(self.manifest.member(name).families)
        write_table(directory / "table.csv", held, rows)
        source = DataSource(
            query="SELECT * FROM read_csv('table.csv', types={'id': 'VARCHAR'})",
            person="id",
            label="bad",
            directory=directory,
            threads=1,
        )
        rule = PersonRule.parse(self.manifest.policy.scoring.identifier)
        people = People(lambda text: person_input(rule, text), secret(f"local {name}"))
        store = ScoringStore(directory / "scoring.db", now=self.clock.seconds)
        reading = Reading(
            source=source,
            schema=self.schema,
            families=held,
            people=people,
            consent="study_consent",
        )
        tables: dict[Digest, ScoreTable] = {}
        heads: dict[Digest, ServedHead] = {}
        accepted = {self.version}

        def table_of(version: Digest) -> ScoreTable | None:
            if version not in accepted or version != self.version:
                return None
            plan = self.document.plan
            holdout = (plan.holdout_salt, plan.holdout_fraction)
            customers = read_customers(reading, self.document.bins, holdout=holdout)
            layout = Layout(
                families_of(self.document.model.spec), self.manifest.policy.scoring.disclosure
            )
            table = ScoreTable(self.document, layout, customers, name, version=version)
            tables[version] = table
            return table

        session = ScoringSession(
            SessionPorts(
                member=name,
                identity=IdentityKey.from_secret(secret(f"identity {name}")),
                agreement=AgreementKey.from_secret(secret(f"agreement {name}")),
                manifest=lambda: self.manifest,
                people=lambda _manifest: people,
                shelf=lambda manifest, _people: Shelf(
                    ShelfPorts(
                        table=table_of,
                        head=heads.get,
                        latest=lambda: None,
                        store=store,
                        epoch=manifest.policy.scoring.epoch,
                    )
                ),
                persons=lambda _people: Persons(reading),
                store=store,
                now_ms=self.clock.ms,
                entropy=Entropy(f"entropy {name} {self.root}"),
                pool=self.pool,
                revoked=lambda: self.revoked,
                lines=self._lines_of(name),
            )
        )
        self.nodes[name] = Node(name, session, store, people, tables, heads, accepted)

    def _lines_of(self, name: PartnerId) -> LinesPorts:
        """A table of lines that the test writes into ``lines``; answers go to ``bits``."""

        def overlaps() -> OverlapStore:
            if name not in self.stores:
                path = self.root / name / "node.db"
                self.stores[name] = NodeStore(path, now=self.clock.seconds)
            return self.stores[name].overlaps

        identity = IdentityKey.from_secret(secret(f"identity {name}"))
        book = EntryBook(name, identity, now=self.clock.seconds)
        return LinesPorts(
            standings=lambda people, _day: {
                people.subject(people.form(person)): standing
                for person, standing in self.lines.get(name, {}).items()
            },
            today=lambda: date(2026, 11, 26),
            keep=self.bits[name].extend,
            overlaps=overlaps,
            caps=lambda manifest: caps(manifest.policy, OWN),
            sign=book.said,
        )

    # --- life ---------------------------------------------------------------------------------

    async def start(self, *, epoch: bool = True, load: bool = True) -> None:
        """All streams up, the epoch's key made, tables read, tokens loaded."""
        for node in self.nodes.values():
            node.session.attach(self._sender(node.name))
        if epoch:
            await self.make_epoch()
        self.publish()
        await self.settled()
        for node in self.nodes.values():
            await node.session._era.shelf.fill()  # type: ignore[union-attr]
            if load:
                await node.session.tokenize(lambda _progress: None)

    def close(self) -> None:
        for node in self.nodes.values():
            node.store.close()
        for store in self.stores.values():
            store.close()
        self.pool.shutdown()

    async def settled(self) -> None:
        """What was pushed has arrived."""
        for _ in range(3):
            await asyncio.sleep(0)

    def next_up(self, kind: type) -> "asyncio.Future[None]":
        """Done when a partner has sent a body of that kind."""
        seen: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watched.append((kind, seen))
        return seen

    def cut(self, name: str) -> None:
        """The partner's stream ends, and the roster says so."""
        self.down.add(PartnerId(name))
        self.nodes[PartnerId(name)].session.on_down()
        for collect in list(self._collects.values()):
            if PartnerId(name) in collect.expected:
                self._fail(collect, {PartnerId(name)})
        self.publish()

    def join(self, name: str) -> None:
        """The partner's stream is up again."""
        node = self.nodes[PartnerId(name)]
        self.down.discard(node.name)
        node.session.attach(self._sender(node.name))
        self.publish()

    def publish(self, partners: Sequence[PartnerId] | None = None, **changes: object) -> Roster:
        """Sign a roster and push it to all that are up."""
        self.roster_version += 1
        bare = Roster(
            version=self.roster_version,
            manifest=self.manifest.digest,
            partners=tuple(
                sorted(set(self.nodes) - self.down if partners is None else partners)
            ),
            model=self.roster_model,
            head=self.roster_head,
            valid_until=self.clock.seconds() + 60,
            signature=b"",
        )
        roster = sign_roster(replace(bare, **changes), self.coordinator)  # type: ignore[arg-type]
        for name in self.nodes:
            self._push(name, roster, 0)
        return roster

    async def make_epoch(self, attempt: int = 1) -> bytes:
        """Drive one key ceremony; returns the record."""
        names = tuple(sorted(self.nodes))
        offer = EpochOffer(
            manifest=self.manifest.digest,
            epoch=self.manifest.policy.scoring.epoch,
            attempt=attempt,
            dealers=names,
            previous=None,
        )
        documents: tuple[bytes, ...] = (document_of(offer),)
        for step in ("commit", "reveal", "confirm"):
            documents = await self._everybody(step, documents)
        record = record_of(documents, offer, self.manifest)
        await self._everybody("install", (record,))
        return record

    async def _everybody(self, step: str, documents: tuple[bytes, ...]) -> tuple[bytes, ...]:
        loop = asyncio.get_running_loop()
        self._tells = {name: loop.create_future() for name in self.nodes}
        if step == "install":
            documents = (*documents, *self.entries)
        for name in self.nodes:
            self._push(name, EpochAsk(step=step, documents=documents), 0)
        tells = await asyncio.wait_for(asyncio.gather(*self._tells.values()), 30)
        assert not any(tell.code for tell in tells), tells
        if step == "confirm":
            self.entries = tuple(tell.entry for tell in tells)
        return tuple(tell.document for tell in tells)

    # --- the relay ----------------------------------------------------------------------------

    def _sender(self, name: PartnerId) -> Callable[[object, int], None]:
        def send(body: object, number: int) -> None:
            data = codec.encode_up(StreamKind.SCORING, Frame(body, number))  # type: ignore[arg-type]
            self.wire.append(("up", name, data))
            frame = codec.decode_up(StreamKind.SCORING, data)
            asyncio.get_running_loop().call_soon(self._on_frame, name, frame)

        return send

    def _push(self, name: PartnerId, body: object, number: int) -> None:
        if name in self.down or name in self.frozen:
            return
        data = codec.encode_down(StreamKind.SCORING, Frame(body, number))  # type: ignore[arg-type]
        self.wire.append(("down", name, data))
        frame = codec.decode_down(StreamKind.SCORING, data)
        asyncio.get_running_loop().call_soon(self._deliver, name, frame)

    def _deliver(self, name: PartnerId, frame: Frame) -> None:
        node = self.nodes[name]
        work = node.session.on_frame(frame.body, frame.id)
        if work is not None:
            task = asyncio.ensure_future(work)
            node.tasks.add(task)  # type: ignore[arg-type]
            task.add_done_callback(node.tasks.discard)  # type: ignore[arg-type]

    def _on_frame(self, name: PartnerId, frame: Frame) -> None:  # noqa: C901 - one case a kind
        if name in self.down or name in self.frozen:
            return
        body = self.bend(name, frame.body)
        for kind, seen in self._watched:
            if isinstance(body, kind) and not seen.done():
                seen.set_result(None)
        match body:
            case ScoreRequest():
                self._on_request(name, body, frame.id)
            case ScoreAnswer() | ScoreRefused():
                self._on_answer(name, body)
            case OprfRequest():
                self._on_oprf(name, body, frame.id)
            case OprfReply():
                self._on_reply(name, body)
            case EpochTell():
                self._tells[name].set_result(body)
            case OverlapTell():
                self.on_overlap(name, body, frame.id)

    def _on_request(self, name: PartnerId, request: ScoreRequest, number: int) -> None:
        inquiry = parse_inquiry(request.inquiry)
        context = context_of(request.inquiry, self.manifest.digest)
        expected = set(inquiry.roster) - {name}
        collect = _Collect(name, number, expected)
        self._collects[context] = collect
        wait = max(0.0, (inquiry.deadline - self.clock.ms()) / 1000)
        loop = asyncio.get_running_loop()
        loop.call_later(wait, self._expire, context)
        if gone := expected & self.down:
            self._fail(collect, gone)
            return
        for partner in sorted(expected):
            self._push(partner, request, 0)

    def _expire(self, context: Digest) -> None:
        collect = self._collects.get(context)
        if collect is not None:
            self._fail(collect, set())

    def _fail(self, collect: _Collect, gone: set[PartnerId]) -> None:
        self._collects = {c: one for c, one in self._collects.items() if one is not collect}
        spoke = {one.member for one in (*collect.answers, *collect.refused)}
        silent = gone or collect.expected - spoke
        failed = ScoreFailed(
            code="S18", silent=tuple(sorted(silent)), refused=tuple(collect.refused)
        )
        self._push(collect.asker, failed, collect.number)

    def _on_answer(self, _name: PartnerId, body: ScoreAnswer | ScoreRefused) -> None:
        collect = self._collects.get(body.context)
        if collect is None:
            return
        (collect.answers if isinstance(body, ScoreAnswer) else collect.refused).append(body)  # type: ignore[arg-type]
        if len(collect.answers) + len(collect.refused) < len(collect.expected):
            return
        if collect.refused:
            self._fail(collect, set())
            return
        del self._collects[body.context]
        answers = self.bend(
            collect.asker, ScoreAnswers(answers=tuple(collect.answers), last=True)
        )
        self._push(collect.asker, answers, collect.number)

    def _on_oprf(self, name: PartnerId, request: OprfRequest, number: int) -> None:
        expected = set(request.servers) - {name}
        tokens = _Tokens(name, number, expected)
        self._tokens[request.request] = tokens
        gone = expected & (self.down | self.frozen)
        if gone:
            self._push(name, OprfReplies(replies=(), missing=tuple(sorted(gone))), number)
            return
        for partner in sorted(expected):
            self._push(partner, request, 0)

    def _on_reply(self, _name: PartnerId, reply: OprfReply) -> None:
        tokens = self._tokens[reply.request]
        tokens.replies.append(reply)
        if len(tokens.replies) == len(tokens.expected):
            found = OprfReplies(replies=tuple(tokens.replies), missing=())
            self._push(tokens.asker, found, tokens.number)

    # --- what a test asks ---------------------------------------------------------------------

    def session(self, name: str) -> ScoringSession:
        return self.nodes[PartnerId(name)].session

    def add_head(self, head: Head, pooled: tuple[int, ...] = ()) -> Digest:
        """A head in force at all nodes."""
        version = digest_of(document_of(head))
        for node in self.nodes.values():
            node.heads[version] = ServedHead(head=head, pooled=pooled)
        self.roster_head = version
        return version

    def frames(self, kind: type, direction: str) -> list[tuple[PartnerId, object]]:
        """Bodies of that kind that travelled."""
        read = codec.decode_up if direction == "up" else codec.decode_down
        found = []
        for way, name, data in self.wire:
            if way == direction:
                body = read(StreamKind.SCORING, data).body
                if isinstance(body, kind):
                    found.append((name, body))
        return found


def _schema(*, attested: bool) -> Schema:
    lines = schema_lines(("attested_worst_dpd",), reason="R07")
    more = f"{ATTESTED_REASON}{lines}" if attested else ""
    return parse_schema(f"{SCHEMA}\n{more}", source="schema.toml")


def _with_attestations(manifest: Manifest, *, served: bool) -> Manifest:
    """bank_a is served the family of attestations, if anybody is."""
    if not served:
        return manifest
    members = tuple(
        replace(one, families=(*one.families, ATTESTATION)) if one.id == "bank_a" else one
        for one in manifest.members
    )
    return replace(manifest, members=members)


def _manifest(schema: Digest, coordinator: IdentityKey, scoring: ScoringPolicy) -> Manifest:
    partners = tuple(
        Member(
            id=PartnerId(name),
            index=index,
            role=Role.PARTNER,
            identity=IdentityKey.from_secret(secret(f"identity {name}")).public.hex(),
            agreement=AgreementKey.from_secret(secret(f"agreement {name}")).public.hex(),
            witness="",
            tls_spki=digest_of(name.encode()),
            families=families,
        )
        for index, (name, families) in enumerate(FAMILIES.items(), start=1)
    )
    operator = Member(
        id=PartnerId("operator"),
        index=99,
        role=Role.COORDINATOR,
        identity=coordinator.public.hex(),
        agreement="",
        witness="",
        tls_spki=digest_of(b"operator"),
        families=(),
    )
    return Manifest(
        federation="scoring",
        version=1,
        previous=None,
        not_before=0,
        schema=schema,
        members=(*partners, operator),
        policy=Policy(
            min_partners=2,
            max_partners_per_person=5,
            delta="1e-6",
            max_epsilon_per_run="8",
            max_epsilon_lifetime="8",
            model_kinds=("scorecard",),
            code=(),
            vote_quorum=2,
            scoring=scoring,
            figures=FIGURES,
        ),
    )


def write_table(
    path: Path, families: tuple[str, ...], rows: Mapping[str, float | None]
) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        columns = [COLUMNS[family] for family in families]
        writer.writerow(["id", "bad", "study_consent", *columns])
        for number, (person, value) in enumerate(rows.items()):
            values = [
                "1-30"
                if name == COLUMNS[ATTESTATION]
                else ""
                if value is None
                else (int(value * 4) if name == "late" else value)
                for name in columns
            ]
            label = "" if number % 3 == 2 else number % 2
            writer.writerow([person, label, f"study {person}", *values])


SLOPES = {"repayment": 1.5, "billing": 0.75}
LINES = {"repayment": -1.4, "billing": -1.6}
EDGES: Mapping[str, tuple[float, ...]] = {
    "repayment": (1, 2, 3),
    "billing": (0.25, 0.5, 0.75),
}


def weight(family: str, value: float) -> float:
    seen = value * 4 if family == "repayment" else value
    return WEIGHTS[family][1 + sum(seen >= edge for edge in EDGES[family])]


def partial(family: str, value: float) -> int:
    """The plain partial logit of a value: no token, no mask, no table."""
    slope = SLOPES[family]
    centre = to_units(slope * float(CENTRES[family]))
    return to_units(slope * weight(family, value)) - centre
