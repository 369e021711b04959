"""Honest logs: R rounds of K silos with real keys, JOINs, signatures, sums and cosignatures.

The coordinator's and the nodes' entries are made as their roles would make them; the run
machine says what is asked. With ``masked`` the words come from the real partner machines;
without, they are uniform words that add up to the same noisy sum, which is all that anybody
but the pairs can see, and a hundred rounds of fifty partners are made in a minute.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from consortium.canonical import Label, canonical_json, parse_canonical
from consortium.credit import tables
from consortium.crypto.keys import AgreementKey, IdentityKey, NoteKey, Secret
from consortium.crypto.pairwise import ephemeral_key
from consortium.crypto.stream import WordStream
from consortium.documents import document_of, plan_digest
from consortium.features.schema import Schema, parse_schema
from consortium.ids import Digest, PartnerId, RunId
from consortium.ledger.checkpoint import Checkpoint, origin_of, sign_checkpoint, witness_name
from consortium.ledger.claims import statement_digest
from consortium.ledger.coins import Coin, Coins
from consortium.ledger.entries import (
    AuditResult,
    Body,
    Entry,
    ManifestAdopted,
    ReleaseCandidate,
    ReleaseGate,
    ReleaseServed,
    ReleaseVote,
    StatementPublished,
    from_jcs,
    sign_entry,
)
from consortium.ledger.evidence import Signatures
from consortium.ledger.merkle import Tree, leaf_hash
from consortium.ledger.note import Note, cosign_note
from consortium.ledger.proof import LogProof
from consortium.ledger.run_bodies import (
    BudgetDebit,
    PlanProposed,
    RoundAbort,
    RoundJoin,
    RoundSum,
    RoundUpload,
    RunClosed,
    RunCommit,
    SummedUpload,
)
from consortium.ledger.tiles import files_of
from consortium.manifest import Manifest, Member, Policy, Role, manifest_bytes
from consortium.messages import Join, Signed, SumRequest
from consortium.plan import ReleaseKind, TrainingPlan
from consortium.privacy.mechanism import COUNT_SCALE, reserve_units
from consortium.privacy.noise import noise_share
from consortium.secagg.chain import Link, chain_length, link
from consortium.secagg.context import context_of, joined_context
from consortium.secagg.joins import seed_commitment
from consortium.secagg.partner import PartnerFacts, PartnerMachine
from consortium.secagg.ring import ring_sum, to_ring, to_signed
from consortium.secagg.uploads import words_digest
from coordinator.gating import gate_of
from coordinator.plans import PlanContext, parse_plan
from coordinator.releases import candidate_of
from models.gate import gate_inputs
from models.run import ClosedSum, RunSession

Words = NDArray[np.uint64]
Integers = NDArray[np.int64]

START = 1_700_000_000
FAMILIES = ("repayment", "billing")
COORDINATOR = PartnerId("coordinator")
REGULATOR = PartnerId("regulator")

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
rounds = {rounds}
epsilon = "1"
noise = "shared"

[[block]]
name = "banks"
families = ["repayment"]
normaliser = 200000

[[block]]
name = "platforms"
families = ["billing"]
normaliser = 200000
"""


def secret_of(name: str) -> Secret:
    return Secret(hashlib.sha256(name.encode()).digest())


@dataclass(frozen=True)
class Party:
    """All keys of one member."""

    id: PartnerId
    role: Role
    families: tuple[str, ...] = ()

    @property
    def identity(self) -> IdentityKey:
        return IdentityKey.from_secret(secret_of(f"identity {self.id}"))

    @property
    def agreement(self) -> AgreementKey:
        return AgreementKey.from_secret(secret_of(f"agreement {self.id}"))

    @property
    def note(self) -> NoteKey:
        return NoteKey.from_secret(secret_of(f"witness {self.id}"))

    @property
    def seed(self) -> Secret:
        return secret_of(f"seed {self.id}")

    def member(self, index: int) -> Member:
        return Member(
            id=self.id,
            index=index,
            role=self.role,
            identity=self.identity.public.hex(),
            agreement=self.agreement.public.hex() if self.role is Role.PARTNER else "",
            witness=self.note.public.hex(),
            tls_spki=Digest(hashlib.sha256(self.id.encode()).hexdigest()),
            families=self.families,
        )


def parties_of(silos: int) -> dict[PartnerId, Party]:
    """Half of them banks, half platforms; the coordinator; a regulator."""
    found = {
        name: Party(name, Role.PARTNER, (FAMILIES[number % 2],))
        for number in range(silos)
        if (name := PartnerId(f"silo-{number:02d}"))
    }
    found[COORDINATOR] = Party(COORDINATOR, Role.COORDINATOR)
    found[REGULATOR] = Party(REGULATOR, Role.REGULATOR)
    return found


def manifest_of(parties: Mapping[PartnerId, Party], schema: Schema) -> Manifest:
    members = [
        party.member(65535 if party.role is Role.COORDINATOR else number)
        for number, party in enumerate(parties.values(), 1)
    ]
    return Manifest(
        federation="ledger house",
        version=1,
        previous=None,
        not_before=0,
        schema=schema.digest,
        members=tuple(members),
        policy=Policy(
            min_partners=3,
            max_partners_per_person=2,
            delta="0.000001",
            max_epsilon_per_run="3",
            max_epsilon_lifetime="3",
            model_kinds=("scorecard",),
            code=(),
            vote_quorum=2,
        ),
    )


@dataclass
class House:
    """A log that grows as a run goes on."""

    silos: int = 3
    rounds: int = 2
    masked: bool = True
    keep_words: bool = True
    schema: Schema = field(default_factory=lambda: parse_schema(SCHEMA, source="house"))
    entries: list[bytes] = field(default_factory=list)
    tree: Tree = field(default_factory=Tree)
    files: dict[str, bytes] = field(default_factory=dict)
    now: int = START
    hint: int = 0

    def __post_init__(self) -> None:
        self.parties = parties_of(self.silos)
        self.names = tuple(
            sorted(name for name, one in self.parties.items() if one.role is Role.PARTNER)
        )
        self.manifest = manifest_of(self.parties, self.schema)
        self.identities = {name: one.identity for name, one in self.parties.items()}
        self.notes = {name: one.note for name, one in self.parties.items()}
        self.counts = dict.fromkeys(self.names, 0)
        self.plan = self._plan()
        self.length = chain_length(self.plan)
        self.links = {
            name: Link(0, link(self.parties[name].seed, self.length, 0)) for name in self.names
        }
        self.session = RunSession(self.plan, self.schema)
        self._keep_manifest()

    def branch(self) -> "House":
        """A house that goes on from this one's log; this one stays as it is."""
        made = type(self)(silos=self.silos, rounds=self.rounds)
        made.entries = list(self.entries)
        made.tree = Tree(leaf_hash(data) for data in made.entries)
        made.files, made.now, made.hint = dict(self.files), self.now, self.hint
        return made

    def _plan(self) -> TrainingPlan:
        context = PlanContext(
            run=RunId("5a" * 16),
            manifest=self.manifest,
            schema=self.schema,
            code=Digest("c0" * 32),
        )
        return parse_plan(PLAN.format(rounds=self.rounds), context)

    def _keep_manifest(self) -> None:
        digest = self.manifest.digest
        signed = tuple(
            Signed(digest=digest, member=one.id, signature=self._adoption(one.id))
            for one in self.manifest.signers()
        )
        self.files[f"manifests/{digest}.json"] = manifest_bytes(self.manifest)
        self.files[f"manifests/{digest}.sigs"] = document_of(Signatures(signed=signed))
        self.files[f"schemas/{self.schema.digest}.json"] = canonical_json(
            self.schema.to_canonical()
        )

    def _adoption(self, name: PartnerId) -> bytes:
        digest = bytes.fromhex(self.manifest.digest)
        return self.identities[name].sign(Label.MANIFEST_SIGNATURE, digest)

    # --- the log ------------------------------------------------------------------------------

    def append(self, actor: PartnerId, body: Body) -> int:
        """Sign and append; returns the index."""
        entry = Entry(seq_hint=self.hint, at=self.now, actor=actor, body=body)
        data = sign_entry(entry, self.identities[actor]).to_jcs()
        self.entries.append(data)
        self.tree.append(leaf_hash(data))
        return len(self.entries) - 1

    def checkpoint(self) -> bytes:
        """A head of what is there, cosigned by everybody; the next entries rest on it."""
        self.now += 1
        head = Checkpoint(
            origin=origin_of(self.manifest), size=self.tree.size, root=self.tree.root()
        )
        note = sign_checkpoint(head, self.notes[COORDINATOR])
        for name in (*self.names, REGULATOR):
            note = self.cosigned(note, name)
        self.files[f"checkpoints/{head.size}"] = note.to_bytes()
        self.hint = head.size
        return note.to_bytes()

    def cosigned(self, note: Note, name: PartnerId) -> Note:
        line = cosign_note(
            note, name=witness_name(self.manifest, name), key=self.notes[name], time=self.now
        )
        return note.with_signature(line)

    # --- a run --------------------------------------------------------------------------------

    def adopt(self) -> None:
        for one in self.manifest.signers():
            self.append(
                one.id,
                ManifestAdopted(
                    manifest=self.manifest.digest,
                    version=self.manifest.version,
                    signature=self._adoption(one.id),
                ),
            )
        self.checkpoint()

    def commit(self) -> None:
        self.append(COORDINATOR, PlanProposed(plan=self.plan))
        held = reserve_units(self.plan)
        for name in self.names:
            seed = self.parties[name].seed
            self.append(
                name,
                RunCommit(
                    run=self.plan.run,
                    plan=plan_digest(self.plan),
                    seed_commitment=seed_commitment(self.plan.run, name, seed),
                    chain_head=link(seed, self.length, 0),
                    training_units=held["training"],
                    holdout_units=held["holdout"],
                    tables_units=held["tables"],
                ),
            )
        self.checkpoint()

    def joins(self, request: SumRequest) -> list[Join]:
        """Everybody of the roster joins, in the log."""
        context = context_of(request, self.manifest.digest)
        found = []
        for name in request.roster:
            self.counts[name] += 1
            seed = self.parties[name].seed
            join = Join(
                context=context,
                member=name,
                ephemeral=ephemeral_key(seed, context).public,
                count=self.counts[name],
                link=link(seed, self.length, self.counts[name]),
                signature=b"",
            )
            found.append(join)
            self.append(
                name,
                RoundJoin(
                    run=request.run,
                    kind=request.kind,
                    round=request.round,
                    attempt=request.attempt,
                    context=context,
                    ephemeral=join.ephemeral,
                    count=join.count,
                    link=join.link,
                ),
            )
        return found

    def debits(self, request: SumRequest) -> None:
        mechanism = self.session.mechanism(request.kind, partners=len(request.roster))
        scope = "holdout" if request.kind is ReleaseKind.EVALUATION else "training"
        for name in request.roster:
            self.append(
                name,
                BudgetDebit(
                    account=scope,
                    epoch="default",
                    run=request.run,
                    kind=request.kind,
                    round=request.round,
                    attempt=request.attempt,
                    units=mechanism.units(person=True),
                    variance=str(mechanism.variance),
                    partners=len(request.roster),
                ),
            )

    def attempt(self, roster: Sequence[PartnerId] = ()) -> ClosedSum:
        """One attempt from its JOINs to its sum under a cosigned head."""
        request, _ = self.session.request(tuple(roster) or self.names)
        joins = self.joins(request)
        self.debits(request)
        joined = joined_context(joins[0].context, joins)
        words = self.words(request, joins, joined)
        digests = [words_digest(one) for one in words]
        for name, digest in zip(request.roster, digests, strict=True):
            self.append(name, RoundUpload(joined=joined, words=digest))
        total = ring_sum(words)
        self.append(
            COORDINATOR,
            RoundSum(
                request=request,
                joined=joined,
                total=words_digest(total),
                uploads=tuple(
                    SummedUpload(member=name, words=digest)
                    for name, digest in zip(request.roster, digests, strict=True)
                ),
            ),
        )
        self.files[f"sums/{words_digest(total)}.bin"] = total.astype("<u8").tobytes()
        if self.keep_words:
            self.files[f"uploads/{joined}.bin"] = b"".join(
                one.astype("<u8").tobytes() for one in words
            )
        closed = ClosedSum(request=request, joined=joined, total=to_signed(total))
        self.session.on_sum(closed)
        self.checkpoint()
        return closed

    def abort(self, *missing: PartnerId, charged: bool = True) -> None:
        """An attempt in which all joined and were charged, and some sent nothing."""
        request, _ = self.session.request(self.names)
        self.joins(request)
        self.debits(request)
        reasons = dict.fromkeys(missing, "no answer")
        self.append(
            COORDINATOR,
            RoundAbort(
                request=request,
                missing=tuple(reasons),
                reasons=tuple(reasons.values()),
                charged=charged,
            ),
        )
        self.session.on_missing(request, reasons, charged=charged)
        self.checkpoint()

    def words(self, request: SumRequest, joins: list[Join], joined: Digest) -> list[Words]:
        """What each of the roster sends."""
        values = [self.values(request, name, joined) for name in request.roster]
        if self.masked:
            return [
                self._masked(request, joins, name, value)
                for name, value in zip(request.roster, values, strict=True)
            ]
        total = ring_sum(to_ring(value) for value in values)
        stream = WordStream(secret_of(f"words {joined}"))
        sent = [stream.take(total.size) for _ in values[1:]]
        return [*sent, total - ring_sum(sent)]

    def _masked(
        self, request: SumRequest, joins: list[Join], name: PartnerId, value: Integers
    ) -> Words:
        party = self.parties[name]
        facts = PartnerFacts(
            manifest=self.manifest,
            member=name,
            identity=self.identities[name],
            agreement=party.agreement,
            seed=party.seed,
            length=self.length,
            count=self.counts[name],
            links={other: one for other, one in self.links.items() if other != name},
        )
        machines = {
            other: PartnerMachine(
                replace(
                    facts,
                    member=other,
                    identity=self.identities[other],
                    agreement=self.parties[other].agreement,
                    seed=self.parties[other].seed,
                    count=self.counts[other],
                )
            )
            for other in request.roster
        }
        signed = [machines[other].on_proposal(request) for other in request.roster]
        assert [(one.link, one.ephemeral) for one in signed] == [
            (one.link, one.ephemeral) for one in joins
        ]
        machines[name].on_joins(signed)
        return machines[name].mask(value)[0]

    def values(self, request: SumRequest, name: PartnerId, joined: Digest) -> Integers:
        """A silo's exact sum of an invented portfolio, with its real share of the noise."""
        count = len(request.roster)
        if request.kind is ReleaseKind.GRADIENT:
            exact = np.full(request.dimension, 1 << 20, dtype=np.int64)
        else:
            table = _table(request.kind, request.dimension)
            exact = np.rint(table * COUNT_SCALE / count).astype(np.int64)
        share = noise_share(
            self.parties[name].seed,
            joined,
            variance=int(request.variance),
            count=request.dimension,
        )
        return exact + share

    def close(self) -> None:
        """The run's end, its release, the votes, and that it is served."""
        made = candidate_of(self.session, self.manifest)
        self.files[f"models/{made.version}.json"] = made.document
        document = parse_canonical(made.document)
        assert isinstance(document, dict)
        statement = document["statement"]
        digest = statement_digest(statement)
        self.append(
            COORDINATOR,
            RunClosed(
                run=self.plan.run,
                outcome="finished",
                attempts=len(self.session.state.attempts),
                version=made.version,
            ),
        )
        self.append(
            COORDINATOR,
            ReleaseCandidate(version=made.version, run=self.plan.run, statement=digest),
        )
        self.append(
            COORDINATOR,
            StatementPublished(
                version=made.version,
                statement=digest,
                person=statement["headline"]["person"],
                record=statement["headline"]["record"],
            ),
        )
        self.append(COORDINATOR, self.gate(made.version))
        self.checkpoint()
        for name in self.names:
            self.append(
                name,
                ReleaseVote(
                    version=made.version,
                    manifest=self.manifest.digest,
                    accept=True,
                    reason="tested",
                    number=self.now,
                ),
            )
        served = self.append(COORDINATOR, ReleaseServed(version=made.version, previous=None))
        self.append(
            REGULATOR,
            AuditResult(run=self.plan.run, verdict="passed", report=Digest("ab" * 32)),
        )
        head = self.checkpoint()
        self.files[f"proofs/{served}.tlog-proof"] = LogProof(
            index=served, path=self.tree.inclusion(served), checkpoint=head
        ).to_bytes()

    def coin(self, event: int) -> Coin:
        """Of what stands at an index; a later entry of somebody else must rest on it."""
        coin = Coins(dict(enumerate(map(from_jcs, self.entries)))).of(event, REGULATOR)
        assert coin is not None
        return coin

    def draw(self, body: Body, size: int) -> int:
        """A challenge of the regulator, with the head of ``size`` entries for its coin."""
        hint, self.hint = self.hint, size
        index = self.append(REGULATOR, body)
        self.hint = hint
        return index

    def index_of(self, kind: type[Body]) -> int:
        """Of the last entry of a class."""
        return max(
            index
            for index, data in enumerate(self.entries)
            if isinstance(from_jcs(data).body, kind)
        )

    def gate(self, version: Digest) -> ReleaseGate:
        """What the sums lead to."""
        return gate_of(version, gate_inputs(self.session), self.manifest, {})

    def bundle(self) -> dict[str, bytes]:
        """The files of the log as it stands; the newest head is the last checkpoint."""
        files = dict(self.files)
        size = max(
            int(name.rpartition("/")[2]) for name in files if name.startswith("checkpoints/")
        )
        files["checkpoint"] = files.pop(f"checkpoints/{size}")
        return files | files_of(self.entries[:size])

    def run(self, *, until_end: bool = True) -> "House":
        """A whole honest run."""
        self.adopt()
        self.commit()
        while not self.session.finished:
            self.attempt()
        if until_end:
            self.close()
        return self


def _table(kind: ReleaseKind, size: int) -> NDArray[np.float64]:
    """Counts of 200,000 persons a block whose risk is as their logit says."""
    cells = tables.CELLS if kind is ReleaseKind.RECALIBRATION else tables.BANDS
    eta = np.linspace(-5.5, 1.5, cells)
    persons = np.full(cells, 200_000 / cells)
    bad = persons / (1 + np.exp(-eta))
    block = np.stack([persons - bad, bad], axis=1).reshape(-1)
    return np.tile(block, size // block.size)
