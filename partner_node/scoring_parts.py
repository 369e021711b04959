"""The scoring session of a node's directory: its parts, put together for ``serving``.

Imported when a node serves, for it loads the curve library, DuckDB and the models; clock
and entropy come from ``wiring``.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from consortium.canonical import Label, hash_with
from consortium.crypto.keys import Secret
from consortium.errors import DecodeError
from consortium.identity.person import PersonRule, person_input
from consortium.ids import Digest, PersonToken
from consortium.inquiries import Purpose
from consortium.manifest import Manifest
from consortium.plan import ModelKind
from consortium.scoring.layout import Layout
from consortium.scoring.premium import ATTESTATION
from models.document import Document, HeadDocument, ModelDocument, parse_any, verify_version
from models.partials import families_of
from partner_node.answers import JointAnswer, Shown
from partner_node.budget import caps
from partner_node.credit import lines
from partner_node.credit.forms import Attributes
from partner_node.credit.rules import FOLDER
from partner_node.credit.scores import ScorePorts
from partner_node.credit.standing import PersonStanding, standings
from partner_node.credit.storage import CreditStore
from partner_node.credit.storage_elsewhere import KeptBit, blank_arm, drop_bit, keep_bits
from partner_node.credit.what_helps import Basis
from partner_node.customers import Persons, Reading, no_customers, read_customers
from partner_node.desk import Score, assemble, case_of
from partner_node.desk_tables import Explainer
from partner_node.keystore import Pin
from partner_node.loan_desk import DeskPorts, DeskStatus, LoanDesk, Question
from partner_node.people import People, desk_hash
from partner_node.score_table import ScoreTable
from partner_node.scoring_era import LinesPorts, SessionPorts
from partner_node.scoring_session import ScoringSession
from partner_node.scoring_store import ScoringStore
from partner_node.served import ServedHead, Shelf, ShelfPorts
from partner_node.storage import NodeStore
from partner_node.wiring import Desk, own_caps

_MOST_BASES = 64
"""Scores whose basis is held: taken at once, but by whose deadline was over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What only wiring may read."""

    now_ms: Callable[[], int]
    entropy: Callable[[], Secret]
    pause: Callable[[], None]
    """Lets the loop have the interpreter for a moment."""
    pool: Executor
    silence: Callable[[], str] = lambda: ""
    """Why the log allows no score now; empty if it does (protocol 8.6)."""
    revoked: Callable[[], frozenset[str]] = frozenset
    """Identity keys that the log has revoked, in hex (protocol 2.7)."""


def people_of(desk: Desk, manifest: Manifest, entropy: Callable[[], Secret]) -> People:
    """Persons in the federation's form, under this node's own key."""
    rule = PersonRule.parse(manifest.policy.scoring.identifier)
    return People(lambda text: person_input(rule, text), desk.keys.local(entropy))


def scoring_store(desk: Desk, now: Callable[[], int]) -> ScoringStore:
    """The scoring stream's database."""
    return ScoringStore(desk.config.scoring_database, now=now)


def open_session(desk: Desk, store: ScoringStore, outside: Outside) -> ScoringSession:
    """The session of this node; nothing is read yet but its keys."""
    parts = _Parts(desk, store, outside)
    return ScoringSession(
        SessionPorts(
            member=desk.config.partner,
            identity=desk.keys.identity(),
            agreement=desk.keys.agreement(),
            manifest=lambda: desk.pinned().manifest,
            people=lambda manifest: people_of(desk, manifest, outside.entropy),
            shelf=parts.shelf,
            persons=lambda people: Persons(parts.reading(desk.pinned(), people)),
            store=store,
            now_ms=outside.now_ms,
            entropy=outside.entropy,
            pool=outside.pool,
            revoked=outside.revoked,
            lines=_lines_of(desk, outside),
            refresh_s=3_600.0 * desk.config.scoring.refresh_hours,
        )
    )


def _lines_of(desk: Desk, outside: Outside) -> LinesPorts:
    """The table of lines, and what counts of it are paid with."""
    nodes, config = desk.store(), desk.config
    book, zone = desk.book(), ZoneInfo(config.credit.time_zone)
    folder = config.directory / FOLDER

    def found(people: People, day: date) -> Mapping[bytes, PersonStanding]:
        if not (folder / lines.FILE).exists():
            return {}
        histories = lines.histories(lines.lines_source(folder))
        return standings(histories, lambda text: people.subject(people.form(text)), today=day)

    def keep(bits: Sequence[KeptBit]) -> None:
        with closing(CreditStore(config.credit_database)) as store, store.transaction() as rows:
            keep_bits(rows, bits)

    return LinesPorts(
        standings=found,
        today=lambda: datetime.fromtimestamp(outside.now_ms() // 1000, zone).date(),
        keep=keep,
        overlaps=lambda: nodes.overlaps,
        caps=lambda manifest: caps(manifest.policy, own_caps(desk)),
        sign=book.said,
    )


def _drop_answers(desk: Desk, subject: bytes, purposes: Sequence[Purpose]) -> None:
    """Drop what closure inquiries left of a person whose consent to them has ended."""
    with (
        closing(CreditStore(desk.config.credit_database)) as store,
        store.transaction() as rows,
    ):
        if Purpose.CLOSURE_SIGNAL in purposes:
            drop_bit(rows, subject)
        if Purpose.IMPACT_STUDY in purposes:
            blank_arm(rows, subject)


def withdraw(
    desk: Desk,
    person: str,
    purposes: Sequence[Purpose],
    *,
    restore: bool,
    now: Callable[[], int],
    entropy: Callable[[], Secret],
) -> None:
    """End a person's consent at this node, or take up a new one; it counts at once.

    Raises:
        ManifestError: no manifest is pinned: the form of identifiers is in it.
        PersonError: the identifier is not of that form.
    """
    people = people_of(desk, desk.known_pin().manifest, entropy)
    subject = people.subject(people.form(person))
    with closing(scoring_store(desk, now)) as store:
        (store.restore if restore else store.withdraw)(subject, purposes)
    if not restore:
        _drop_answers(desk, subject, purposes)


def loan_desk(
    desk: Desk,
    session: ScoringSession,
    now: Callable[[], int],
    *,
    entropy: Callable[[], Secret],
) -> LoanDesk:
    """What the partner's own systems ask, over the session of this node."""
    member = desk.config.partner

    def status() -> DeskStatus:
        seen, manifest = session.status(), session.manifest
        return DeskStatus(
            partner=member,
            manifest=manifest.digest if manifest else "",
            delivery=manifest.policy.scoring.delivery.value if manifest else "",
            model=seen.served or "",
            head=seen.head or "",
            fallback=seen.fallback,
            partners=len(seen.roster),
        )

    return LoanDesk(
        DeskPorts(
            ask=session.ask,
            check=session.check,
            served=Explainer(session.basis, lambda: desk.pinned().schema, member),
            answers=session.store,
            keyed=desk_hash(desk.keys.local(entropy)),
            status=status,
            now=now,
        )
    )


def decision_scores(
    desk: Desk, session: ScoringSession, loans: LoanDesk, now: Callable[[], int]
) -> ScorePorts:
    """What the credit desk asks for scores, over the session of this node."""
    explain = Explainer(session.basis, lambda: desk.pinned().schema, desk.config.partner)

    bases = Bases(explain)

    async def joint(question: Question, caller: str, milliseconds: int) -> Score:
        score, answer = await loans.explained(question, caller=caller, deadline_ms=milliseconds)
        bases.note(score, answer)
        return score

    def alone(
        person: str, attributes: Attributes | None, shown: Shown | None, why: str
    ) -> Score:
        answer = session.alone(person, attributes, shown=shown, why=why)
        score = assemble(answer, explain(answer), brief=True, answered_at=now())
        bases.note(score, answer)
        return score

    def schema() -> str:
        manifest = session.manifest
        return manifest.schema if manifest is not None else ""

    return ScorePorts(
        joint=joint, alone=alone, schema=schema, carried=bases.carried, basis=bases.take
    )


def tokens(
    session: ScoringSession,
) -> Callable[[str, float], Awaitable[tuple[int, PersonToken]]]:
    """Where the credit desk has an applicant's pseudonym from."""

    async def token(person: str, seconds: float) -> tuple[int, PersonToken]:
        return await session.token(person, timeout_s=seconds)

    return token


class Bases:
    """What the newest scores were made from, each until it is taken. One event loop."""

    def __init__(self, explain: Explainer) -> None:
        self._explain = explain
        self._kept: OrderedDict[int, tuple[Score, JointAnswer]] = OrderedDict()

    def note(self, score: Score, answer: JointAnswer) -> None:
        """Hold what a score was made from."""
        self._kept[id(score)] = (score, answer)
        while len(self._kept) > _MOST_BASES:
            self._kept.popitem(last=False)

    def carried(self, score: Score) -> bool:
        """Whether a history that was shown is in a score that is held."""
        found = self._kept.get(id(score))
        return found is not None and any(
            part.name == ATTESTATION and part.holders > 0 for part in found[1].families
        )

    def take(self, score: Score) -> Basis | None:
        """What it was made from, once; None if it is not held any more."""
        found = self._kept.pop(id(score), None)
        if found is None:
            return None
        served = self._explain(found[1])
        case, tables = case_of(found[1], served)
        return Basis(case, tables, served.labels)


class _Parts:
    def __init__(self, desk: Desk, store: ScoringStore, outside: Outside) -> None:
        self._desk, self._store, self._outside = desk, store, outside

    def shelf(self, manifest: Manifest, people: People) -> Shelf:
        nodes = self._desk.store()
        return Shelf(
            ShelfPorts(
                table=lambda version: self._table(nodes, people, version),
                head=lambda version: self._head(nodes, version),
                latest=lambda: self._latest(nodes),
                store=self._store,
                epoch=manifest.policy.scoring.epoch,
                silence=self._outside.silence,
            )
        )

    def reading(self, pin: Pin, people: People) -> Reading:
        desk = self._desk
        return Reading(
            source=desk.data_source(),
            schema=pin.schema,
            families=desk.families(pin),
            people=people,
            consent=desk.config.scoring.study_consent,
        )

    def _table(self, nodes: NodeStore, people: People, version: Digest) -> ScoreTable | None:
        if not _accepted(nodes, version):
            return None
        desk, pin = self._desk, self._desk.pinned()
        document = self._document(nodes, pin, version)
        if not isinstance(document, ModelDocument):
            raise DecodeError(f"{version[:12]} is a head, not a model")
        if not _gives_pd(document):
            raise DecodeError(f"{version[:12]} is a closure model and gives no PD")
        if desk.config.data is None:
            customers = no_customers(pin.schema, desk.families(pin))
        else:
            plan = document.plan
            customers = read_customers(
                self.reading(pin, people),
                document.bins,
                holdout=(plan.holdout_salt, plan.holdout_fraction),
                pause=self._outside.pause,
            )
        disclosure = pin.manifest.policy.scoring.disclosure
        layout = Layout(families_of(document.model.spec), disclosure)
        return ScoreTable(document, layout, customers, desk.config.partner, version=version)

    def _head(self, nodes: NodeStore, version: Digest) -> ServedHead | None:
        if not _accepted(nodes, version):
            return None
        document = self._document(nodes, self._desk.pinned(), version)
        if not isinstance(document, HeadDocument):
            raise DecodeError(f"{version[:12]} is a model, not a head")
        # The document counts strata from 0, an answer says the number of families.
        pooled = tuple(stratum + 1 for stratum in document.pooled)
        return ServedHead(head=document.head, pooled=pooled)

    def _document(self, nodes: NodeStore, pin: Pin, version: Digest) -> Document:
        data = nodes.versions.model(version)
        if data is None:
            with self._desk.door() as coordinator:
                data = coordinator.fetch_model(version).document
            nodes.versions.keep_model(version, data)
        verify_version(data, version)
        return parse_any(data, pin.schema)

    def _latest(self, nodes: NodeStore) -> Digest | None:
        """The base model that this node accepted last and has on disk."""
        for vote in reversed(nodes.versions.votes()):
            data = nodes.versions.model(vote.version) if vote.accept else None
            if data is not None and hash_with(Label.MODEL, data) == vote.version:
                document = parse_any(data, self._desk.pinned().schema)
                if isinstance(document, ModelDocument) and _gives_pd(document):
                    return vote.version
        return None


def _gives_pd(document: ModelDocument) -> bool:
    """Whether scores can be made with it: a closure model has none."""
    return document.plan.model is not ModelKind.HAZARD


def _accepted(nodes: NodeStore, version: Digest) -> bool:
    """Whether this node's own word on the version was yes (protocol 12.5)."""
    return any(vote.version == version and vote.accept for vote in nodes.versions.votes())
