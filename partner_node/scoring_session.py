"""This partner's half of a joint score, asking or answering (protocol 7).

One object for as long as the node serves: it is the link's port for the scoring stream, what
the desk's doors ask, and what a study asks. All of it runs in the link's loop. An asker that
cannot be answered jointly gets the partner's own score with band "0" and why: whoever sits
at a loan desk never sees a fault of a network (protocol 7.10).
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import date

import numpy as np
from numpy.typing import NDArray

from consortium.crypto.keys import AgreementKey, IdentityKey, Secret
from consortium.errors import (
    ConfigurationError,
    DataError,
    RiskWeaveError,
    ScoreRefusal,
    ScoreRefusalError,
    TransportError,
)
from consortium.ids import Digest, PartnerId, PersonToken
from consortium.inquiries import (
    LARGEST_BATCH,
    EpochAsk,
    OprfReplies,
    OprfRequest,
    OverlapAsk,
    Purpose,
    Roster,
    ScoreAnswers,
    ScoreFailed,
    ScoreRequest,
)
from consortium.ledger.bodies import OverlapDebit, OverlapReleased
from consortium.ledger.revocations import barred
from consortium.manifest import Manifest
from consortium.scoring.combine import band_of, joint_eta
from consortium.scoring.consent import Method
from consortium.scoring.head import STRATA, Head, plain_head
from consortium.scoring.layout import TOTAL, JointSums
from consortium.scoring.pairs import PairCache
from consortium.scoring.premium import ATTESTATION, Impact, study_variants
from consortium.scoring.roster import Rosters
from consortium.scoring_frames import ScoringBody
from partner_node import answers
from partner_node.answers import (
    Applicant,
    ConsentReference,
    FamilyPart,
    JointAnswer,
    Shown,
)
from partner_node.carried import Carried, View, carried_of, with_carried
from partner_node.closure_asking import askable, bits_of_parts
from partner_node.closure_table import ClosurePorts, ClosureShelf
from partner_node.credit.standing import PersonStanding
from partner_node.credit.storage_elsewhere import KeptBit
from partner_node.customers import Holding, Persons, ScoreTable
from partner_node.desk_tables import Basis
from partner_node.overlap_storage import OverlapStore
from partner_node.overlaps import OverlapPorts, Overlaps
from partner_node.people import People
from partner_node.premium_study import affected, impact_from, joined_sums, own_part
from partner_node.pseudonyms import Progress, PseudonymPorts, Pseudonyms
from partner_node.scoring_answering import Responder
from partner_node.scoring_asking import Asker, AskerPorts, LocalError, Part, Person
from partner_node.scoring_store import Access, ScoringStore
from partner_node.served import Shelf
from partner_node.study import JointRows

log = logging.getLogger(__name__)

Codes = NDArray[np.uint8]
Send = Callable[[ScoringBody, int], None]

DEADLINE_MS = 500
OPERATOR = "operator"
_STUDY_S = 20.0
"""Seconds that so many may take; nobody sits and waits for it."""
_STUDY_PERSONS = 4 * LARGEST_BATCH
"""Persons of a study that are asked for at a time: as one request ends the next is there."""
_STUDY_EXPIRES_S = 3_600
_LOOK_S = 1.0
"""How often a version that is not served yet is looked at again: its vote may have come."""
_TIDY_S = 30.0
_SURE = 0.4
"""Share of a deadline that the pseudonym may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinesPorts:
    """What closure inquiries and counts of common persons need of the node."""

    standings: Callable[[People, date], Mapping[bytes, PersonStanding]]
    """Everybody with a line by that day; nobody where no table of lines is named. Blocks."""
    today: Callable[[], date]
    keep: Callable[[Sequence[KeptBit]], None]
    """Keeps answers in the desk's database. Blocks."""
    overlaps: Callable[[], OverlapStore]
    caps: Callable[[Manifest], Mapping[str, int]]
    sign: Callable[[OverlapDebit | OverlapReleased], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPorts:
    """What the session needs of the node."""

    member: PartnerId
    identity: IdentityKey
    agreement: AgreementKey
    manifest: Callable[[], Manifest]
    """The pinned manifest, signed by all; ManifestError before that. Blocks on a file."""
    people: Callable[[Manifest], People]
    shelf: Callable[[Manifest, People], Shelf]
    persons: Callable[[People], Persons]
    """Identifiers of this partner's table; ConfigurationError without one."""
    store: ScoringStore
    now_ms: Callable[[], int]
    entropy: Callable[[], Secret]
    pool: Executor
    lines: LinesPorts
    """The table of lines, and what is made of it."""
    revoked: Callable[[], frozenset[str]] = frozenset
    """Identity keys that the log has revoked, in hex; the same object while nothing is new."""
    refresh_s: float = 86_400.0
    """Seconds after which the partner's rows are read anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringStatus:
    """How the scoring stream stands here. Counts are this node's own business."""

    roster: tuple[PartnerId, ...] = ()
    model: Digest | None = None
    """In force, by the roster."""
    head: Digest | None = None
    served: Digest | None = None
    """The version whose table is used."""
    persons: int = 0
    tokens: int = 0
    epoch: int = 0
    epoch_installed: bool = False
    fallback: str = ""
    """Why an answer would be local now; empty if it would be joint."""
    refusal: str = ""
    """Why the version in force is not served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One applicant, checked. Private."""

    applicant: Applicant
    x: bytes = field(repr=False)
    codes: Mapping[str, int] = field(repr=False)
    """Of the own attributes or the own row, by feature; empty: there are none."""
    eta: int = field(repr=False)
    """This partner's own log-odds of the person, units; 0 while it has no table."""
    own: Mapping[str, int] = field(repr=False)
    """Logits of the families that this partner holds of the person, units."""
    holding: Holding | None = field(repr=False)
    """Arrays of one; None while this node has no table."""
    table: ScoreTable | None = field(repr=False)
    """Of which codes and holding are."""
    carried: Carried | None = field(default=None, repr=False)
    """What a history that the person showed adds; None without one that the model knows."""


class _Era:
    """Everything under one manifest."""

    def __init__(self, manifest: Manifest, ports: SessionPorts) -> None:
        self.manifest = manifest
        self.digest = manifest.digest
        self.people = ports.people(manifest)
        self.shelf = ports.shelf(manifest, self.people)
        self.rosters = Rosters(manifest)
        keys = PairCache(
            manifest, ports.member, identity=ports.identity, agreement=ports.agreement
        )
        self.pseudonyms = Pseudonyms(
            PseudonymPorts(
                manifest=manifest,
                member=ports.member,
                identity=ports.identity,
                agreement=ports.agreement,
                store=ports.store,
                people=self.people,
                entropy=ports.entropy,
                now_ms=ports.now_ms,
                pool=ports.pool,
                live=self.live,
            )
        )
        lines = ports.lines
        self.closures = ClosureShelf(
            ClosurePorts(
                persons=lambda: lines.standings(self.people, lines.today()),
                store=ports.store,
                epoch=manifest.policy.scoring.epoch,
            )
        )
        self.overlaps = Overlaps(
            OverlapPorts(
                manifest=manifest,
                member=ports.member,
                identity=ports.identity,
                tokens=ports.store,
                overlaps=lines.overlaps,
                caps=lines.caps(manifest),
                standings=lambda day: lines.standings(self.people, day),
                sign=lines.sign,
                entropy=ports.entropy,
                pool=ports.pool,
            )
        )
        self.responder = Responder(
            keys,
            self.rosters,
            ports.store,
            tables=lambda: self.shelf.tables,
            closures=lambda: self.closures.table,
        )
        self.asker = Asker(
            AskerPorts(
                keys=keys,
                rosters=self.rosters,
                store=ports.store,
                tables=lambda: self.shelf.tables,
                entropy=ports.entropy,
                now_ms=ports.now_ms,
            )
        )
        self._now_ms = ports.now_ms
        self._keys = keys
        self._heeded: frozenset[str] = frozenset()

    def heed(self, revoked: frozenset[str]) -> None:
        """Have nothing to do any more with members that were revoked (protocol 2.7)."""
        if revoked is self._heeded:
            return
        self._heeded = revoked
        out = barred(revoked, self.manifest)
        self._keys.bar(out)
        self.rosters.bar(out)
        self.pseudonyms.bar(out)

    def roster(self) -> Roster | None:
        """The newest valid one."""
        try:
            return self.rosters.newest(now=self._now_ms() // 1000)
        except ScoreRefusalError:
            return None

    def live(self) -> tuple[PartnerId, ...]:
        """Who can be asked now."""
        roster = self.roster()
        return () if roster is None else roster.partners


class ScoringSession:
    """The node's scoring stream; a port of the link."""

    def __init__(self, ports: SessionPorts) -> None:
        self._ports = ports
        self._era: _Era | None = None
        self._send: Send | None = None
        self._load: asyncio.Task[None] | None = None
        self._progress = Progress()
        self._watchers: list[asyncio.Event] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self.on_scores: Callable[[Sequence[JointAnswer], float], None] = _told_nobody
        """Told of answers and of the seconds they took; must not block."""

    # --- the link's port ----------------------------------------------------------------------

    def attach(self, send: Send) -> None:
        """The scoring stream is up; under another manifest everything begins anew."""
        manifest = self._ports.manifest()
        era = self._era
        if era is None or era.digest != manifest.digest:
            era = self._era = _Era(manifest, self._ports)
        self._send = send
        era.heed(self._ports.revoked())
        era.asker.attach(send)
        era.pseudonyms.attach(send)
        self._wake.set()

    def on_down(self) -> None:
        """It has ended: whoever waits is answered locally."""
        self._send = None
        if self._era is not None:
            self._era.asker.on_down()
            self._era.pseudonyms.on_down()

    def on_frame(self, body: object, number: int) -> Awaitable[None] | None:
        """A frame with its id; what takes time is returned."""
        era = self._era
        if era is None:
            return None
        era.heed(self._ports.revoked())
        match body:
            case OprfRequest():
                return self._evaluate(era, body, number)
            case EpochAsk():
                return self._ceremony(era, body, number)
            case OverlapAsk():
                return self._overlap(era, body, number)
            case ScoreRequest():
                self._answer(era, body, number)
            case Roster():
                self._on_roster(era, body)
            case _:
                _on_own(era, body, number)
        return None

    def _on_roster(self, era: _Era, roster: Roster) -> None:
        try:
            era.rosters.add(roster, now=self._ports.now_ms() // 1000)
        except ScoreRefusalError as error:
            log.warning("a roster is refused: %s", error)
            return
        if era.shelf.want(roster.model, roster.head):
            self._wake.set()

    def _answer(self, era: _Era, request: ScoreRequest, number: int) -> None:
        """Answer at a fixed offset after arrival, whatever the look-up took (7.5)."""
        loop = asyncio.get_running_loop()
        arrived = loop.time()
        answer = era.responder.answer(request, now_ms=self._ports.now_ms())
        step = era.manifest.policy.scoring.answer_ms / 1000
        if not step:
            self._deliver(answer, number)
            return
        steps = max(1, math.ceil((loop.time() - arrived) / step))
        loop.call_at(arrived + steps * step, self._deliver, answer, number)

    def _deliver(self, body: ScoringBody, number: int) -> None:
        if self._send is None:
            return
        try:
            self._send(body, number)
        except RiskWeaveError as error:
            log.warning("an answer could not be sent: %s", error)

    async def _evaluate(self, era: _Era, request: OprfRequest, number: int) -> None:
        reply = await era.pseudonyms.on_request(request)
        if reply is not None:
            self._deliver(reply, number)

    async def _ceremony(self, era: _Era, ask: EpochAsk, number: int) -> None:
        self._deliver(await era.pseudonyms.on_epoch(ask), number)

    async def _overlap(self, era: _Era, ask: OverlapAsk, number: int) -> None:
        self._deliver(await era.overlaps.on_ask(ask), number)

    # --- in the background --------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Keep tables and database in order until ``stop``; a fault is logged, not raised."""
        loop = asyncio.get_running_loop()
        tidied = read = loop.time()
        self._first_era()
        while not stop.is_set():
            self._wake.clear()
            if self._era is not None:
                await self._kept(self._era.shelf.fill())
                await self._kept(self._era.closures.fill())
            if loop.time() - tidied > _TIDY_S:
                await self._kept(asyncio.to_thread(self._ports.store.tidy))
                tidied = loop.time()
            if loop.time() - read > self._ports.refresh_s:
                await self._kept(self.rebuild())
                read = loop.time()
            await _first_of(stop, self._wake, seconds=_LOOK_S)
        if self._load is not None:
            self._load.cancel()
            await asyncio.gather(self._load, return_exceptions=True)

    def _first_era(self) -> None:
        """Without a coordinator a node whose manifest is signed still scores locally."""
        if self._era is None:
            try:
                self._era = _Era(self._ports.manifest(), self._ports)
            except RiskWeaveError as error:
                log.info("no manifest is in force yet: %s", error)

    async def _kept(self, work: Awaitable[None]) -> None:
        try:
            await work
        except RiskWeaveError:
            log.exception("scoring: work in the background failed")

    async def rebuild(self) -> None:
        """Read this partner's rows anew."""
        if self._era is not None:
            await self._era.shelf.rebuild()
            await self._era.closures.rebuild()

    @property
    def store(self) -> ScoringStore:
        """Its database, where the desk keeps answers by key."""
        return self._ports.store

    @property
    def manifest(self) -> Manifest | None:
        """What it works under; None before one is in force."""
        return None if self._era is None else self._era.manifest

    def status(self) -> ScoringStatus:
        """How it stands."""
        era = self._era
        if era is None:
            return ScoringStatus(fallback=answers.NO_ROSTER)
        try:
            era.asker.roster()
            fallback = ""
        except LocalError as error:
            fallback = error.reason
        table = era.shelf.current
        return ScoringStatus(
            roster=era.live(),
            model=era.shelf.model,
            head=era.shelf.head,
            served=table.version if table else None,
            persons=table.persons if table else 0,
            tokens=table.tokens if table else 0,
            epoch=era.manifest.policy.scoring.epoch,
            epoch_installed=era.pseudonyms.holding is not None,
            fallback=fallback,
            refusal=era.shelf.refusal,
        )

    # --- tokens of the own table --------------------------------------------------------------

    async def tokenize(self, tell: Callable[[Progress], None]) -> None:
        """Get tokens for all customers; a load that runs already is joined.

        Raises:
            ConfigurationError: there is no manifest, no epoch or no table.
            DataError: the table cannot be read.
            TransportError: the epoch's key is not installed yet.
        """
        if self._load is None or self._load.done():
            era = self._era
            if era is None or not era.manifest.policy.scoring.epoch:
                raise ConfigurationError("no manifest with an epoch of pseudonyms is in force")
            self._progress = Progress()
            persons = self._ports.persons(era.people)
            self._progress.faults = persons.faults
            self._load = asyncio.create_task(self._loading(era, persons))
        load, changed = self._load, asyncio.Event()
        self._watchers.append(changed)
        try:
            while not load.done():
                change = asyncio.ensure_future(changed.wait())
                await asyncio.wait([load, change], return_when=asyncio.FIRST_COMPLETED)
                change.cancel()
                changed.clear()
                tell(self._progress)
        finally:
            self._watchers.remove(changed)
        await load

    async def _loading(self, era: _Era, persons: Persons) -> None:
        await era.pseudonyms.load(persons.batches(), self._progress, self._changed)
        if era.shelf.current is None:
            self._wake.set()
        await era.shelf.rebuild()
        await era.closures.rebuild()

    def _changed(self, _progress: Progress) -> None:
        for watcher in self._watchers:
            watcher.set()

    # --- asking -------------------------------------------------------------------------------

    def check(self, applicant: Applicant) -> None:
        """Raise DataError if the identifier or an attribute is not of its form."""
        if self._era is not None:
            self._era.people.form(applicant.person)
            table = self._era.shelf.current
            if table is not None and applicant.attributes is not None:
                table.encode(applicant.attributes)

    async def ask(
        self,
        applicants: Sequence[Applicant],
        *,
        purpose: Purpose = Purpose.JOINT_SCORE,
        deadline_ms: int = DEADLINE_MS,
        inquirer: str = OPERATOR,
    ) -> list[JointAnswer]:
        """One answer for each applicant, in order, before the deadline; local if need be.

        Args:
            applicants: Private.
            purpose: Of the inquiry.
            deadline_ms: Time that is left.
            inquirer: Who asks at the desk, for the access log.

        Raises:
            ScoreRefusalError: an applicant without a consent for this, now (S08).
            DataError: an identifier or an attribute that is not of its form.
            ManifestError: no manifest is in force: not even a local model can be named.
        """
        self._first_era()
        era = self._era
        if era is None:
            era = _Era(self._ports.manifest(), self._ports)  # raises why
        table = era.shelf.current
        xs = [era.people.form(one.person) for one in applicants]
        subjects = [era.people.subject(x) for x in xs]
        self._check_consents(applicants, subjects, purpose)
        asked = _asked_of(table, applicants, xs, subjects)
        loop = asyncio.get_running_loop()
        began = loop.time()
        until = began + deadline_ms / 1000
        parts = await self._parts(era, asked, purpose, until=until)
        joint = self._joint_all(era, asked, parts)
        made = [
            self._joint(era, one, part, joint)
            if isinstance(part, Part)
            else self._local(era, one, part)
            for one, part in zip(asked, parts, strict=True)
        ]
        self._log(era, asked, parts, made, purpose=purpose, inquirer=inquirer)
        self.on_scores(made, loop.time() - began)
        return made

    def alone(
        self,
        person: str,
        attributes: Mapping[str, float | str | None] | None = None,
        *,
        shown: Shown | None = None,
        why: str,
    ) -> JointAnswer:
        """This partner's own answer; nobody is asked, so no consent to JOINT_SCORE is needed.

        Args:
            person: Private, as the partner writes it.
            attributes: Own features; None: the customer's own row counts.
            shown: A verified history of the person. Private.
            why: One of ``answers.FALLBACKS``.

        Raises:
            DataError, ManifestError: as ``ask``.
        """
        self._first_era()
        era = self._era
        if era is None:
            era = _Era(self._ports.manifest(), self._ports)  # raises why
        x = era.people.form(person)
        nothing = ConsentReference(reference="", purposes=(), expires=0)
        applicant = Applicant(
            person=person, consent=nothing, attributes=attributes, shown=shown
        )
        (asked,) = _asked_of(era.shelf.current, [applicant], [x], [era.people.subject(x)])
        return self._local(era, asked, LocalError(why))

    async def token(self, person: str, *, timeout_s: float) -> tuple[int, PersonToken]:
        """Epoch and pseudonym of a person, asked of the key holders if it is not known here.

        They see a blinded point. No consent is looked at: the person has agreed to that for
        which the pseudonym is compared, or nobody may ask.

        Raises:
            TransportError: none can be had in time.
            ScoreRefusalError: the key holders refuse.
            DataError, ManifestError: as ``ask``.
        """
        self._first_era()
        era = self._era
        if era is None:
            era = _Era(self._ports.manifest(), self._ports)  # raises why
        era.heed(self._ports.revoked())
        x = era.people.form(person)
        (found,) = await era.pseudonyms.tokens_of([x], timeout_s=timeout_s)
        return era.manifest.policy.scoring.epoch, found

    def basis(self, answer: JointAnswer) -> Basis | None:
        """What an answer was made with, for the desk's reasons; None if it is not served."""
        era = self._era
        table = era.shelf.tables.get(answer.model) if era and answer.model else None
        if era is None or table is None:
            return None
        found = era.shelf.heads.get(answer.head) if answer.head is not None else None
        return Basis(
            document=table.document,
            head=found.head if found is not None else None,
            policy=era.manifest.policy.scoring,
        )

    def _check_consents(
        self, applicants: Sequence[Applicant], subjects: Sequence[bytes], purpose: Purpose
    ) -> None:
        """Raise ScoreRefusalError (S08) unless all consents allow this now (7.8)."""
        now = self._ports.now_ms() // 1000
        withdrawn = self._ports.store.withdrawn(subjects)
        for applicant, subject in zip(applicants, subjects, strict=True):
            given = applicant.consent
            if not given.reference.strip() or purpose not in given.purposes:
                raise ScoreRefusalError(
                    ScoreRefusal.PURPOSE, f"no consent to {purpose.value} on record"
                )
            if given.expires <= now or given.method.upper() not in Method.__members__:
                raise ScoreRefusalError(ScoreRefusal.PURPOSE, "a consent that has expired")
            if (subject, purpose) in withdrawn:
                raise ScoreRefusalError(ScoreRefusal.PURPOSE, "a consent that was withdrawn")

    async def _parts(
        self, era: _Era, asked: Sequence[_Asked], purpose: Purpose, *, until: float
    ) -> list[Part | LocalError]:
        """What the others' sums say of each, or why nothing can be had of them."""
        era.heed(self._ports.revoked())
        loop = asyncio.get_running_loop()
        try:
            roster = era.asker.roster()
            table = era.shelf.tables.get(roster.model) if roster.model else None
            if table is None or any(one.holding is None for one in asked):
                raise LocalError(answers.NO_MODEL)  # noqa: TRY301 - told below like the rest
            seconds = max(0.0, (until - loop.time()) * _SURE)
            tokens = await era.pseudonyms.tokens_of([one.x for one in asked], timeout_s=seconds)
        except LocalError as error:
            return [error] * len(asked)
        except TransportError as error:
            return [LocalError(answers.UNREACHABLE, str(error))] * len(asked)
        except ScoreRefusalError as error:
            quota = error.reason is ScoreRefusal.QUOTA
            reason = answers.QUOTA if quota else answers.UNREACHABLE
            log.warning("no tokens: %s", error)
            return [LocalError(reason, str(error))] * len(asked)
        persons = [
            _person(
                era.people,
                one.applicant.consent,
                token,
                holding=one.holding,
                model=one.table.version,
            )
            for one, token in zip(asked, tokens, strict=True)
            if one.holding is not None and one.table is not None
        ]
        return await era.asker.parts(persons, purpose, timeout_s=until - loop.time())

    def _joint_all(
        self, era: _Era, asked: Sequence[_Asked], parts: Sequence[Part | LocalError]
    ) -> "Mapping[int, _Joint]":
        """What each request's sums come to, for all of its persons at once."""
        found: dict[int, _Joint] = {}
        answered = [
            (one, part)
            for one, part in zip(asked, parts, strict=True)
            if isinstance(part, Part)
        ]
        for _, part in answered:
            model = part.model
            table = era.shelf.tables.get(model)
            # Another version came into force meanwhile: its head would not fit these sums.
            if id(part.sums) not in found and table is not None and model == era.shelf.model:
                views = [
                    View(other.place, one.carried, frozenset(one.own))
                    for one, other in answered
                    if other.sums is part.sums
                ]
                sums, carried = with_carried(table, (part.sums, part.partners), views)
                head, pooled = self._head(era, table, sums)
                eta, strata = joint_eta(head, sums)
                found[id(part.sums)] = _Joint(
                    model=model,
                    carried=carried,
                    head=None if pooled is None else era.shelf.head,
                    pooled=pooled,
                    eta=eta.tolist(),
                    strata=strata.tolist(),
                    logits=sums.logits.tolist(),
                    counts=sums.counts.tolist(),
                    partners=sums.partners.tolist(),
                )
        return found

    def _joint(
        self, era: _Era, one: _Asked, part: Part, all_of: "Mapping[int, _Joint]"
    ) -> JointAnswer:
        found, place = all_of.get(id(part.sums)), part.place
        if found is None or one.holding is None:
            return self._local(era, one, LocalError(answers.NO_MODEL))
        stratum = found.strata[place]
        if found.pooled and stratum in found.pooled:
            how = "pooled"
        else:
            how = "none" if found.pooled is None else "stratum"
        own, codes = one.own, one.codes
        if one.carried is not None and place in found.carried:
            own, codes = {**own, ATTESTATION: one.carried.logit}, one.carried.codes
        return JointAnswer(
            band=band_of(found.partners[place]),
            eta=found.eta[place],
            stratum=stratum,
            calibration=how,
            families=_families(own, part.sums.columns, found, place),
            codes=codes,
            model=found.model,
            head=found.head,
            policy=era.digest,
            context=part.context,
        )

    def _head(
        self, era: _Era, table: ScoreTable, sums: JointSums
    ) -> tuple[Head, tuple[int, ...] | None]:
        """The head in force and its pooled strata, from 1; the plain one with None."""
        version = era.shelf.head
        found = era.shelf.heads.get(version) if version is not None else None
        if found is not None and found.head.families == sums.columns:
            return found.head, found.pooled
        return plain_head(sums.columns, table.serving.base), None

    def _local(self, era: _Era, one: _Asked, why: LocalError) -> JointAnswer:
        """This partner's own answer: band 0, and why (protocol 7.10)."""
        table, carried = one.table, one.carried
        own, eta, codes = one.own, one.eta, one.codes
        if carried is not None:
            own = {**own, ATTESTATION: carried.logit}
            eta, codes = carried.eta, carried.codes
        families: tuple[FamilyPart, ...] = ()
        if table is not None and one.holding is not None:
            families = _own_families(table, own)
        return JointAnswer(
            band=answers.BANDS[0],
            eta=eta,
            stratum=min(STRATA, len([part for part in families if part.holders])),
            calibration="local",
            families=families,
            codes=codes,
            model=table.version if table else None,
            head=None,
            policy=era.digest,
            context=None,
            fallback=why.reason,
        )

    def _log(
        self,
        era: _Era,
        asked: Sequence[_Asked],
        parts: Sequence[Part | LocalError],
        made: Sequence[JointAnswer],
        *,
        purpose: Purpose,
        inquirer: str,
    ) -> None:
        """Write down the inquiries before anybody reads an answer (credit 6)."""
        self._ports.store.log_access(
            [
                Access(
                    inquirer=inquirer,
                    subject=era.people.logged(one.x),
                    purpose=purpose,
                    consent=part.receipt
                    if isinstance(part, Part)
                    else era.people.evidence(one.applicant.consent.reference),
                    context=answer.context or "",
                    roster=part.roster if isinstance(part, Part) else 0,
                    model=answer.model or "",
                    head=answer.head or "",
                    band=answer.band,
                    result=answer.fallback or "joint",
                )
                for one, part, answer in zip(asked, parts, made, strict=True)
            ]
        )

    # --- studies (protocol 7.11) --------------------------------------------------------------

    async def study(self, base: Digest) -> JointRows:
        """Joint sums of the own customers with a label and a consent to studies.

        Raises:
            TransportError: the study cannot be made now: no roster, no table, no answer.
            ScoreRefusalError: the quota of this release is used up (S07).
            DataError: nobody of this partner's customers may be asked about.
        """
        era = self._era
        table = era.shelf.tables.get(base) if era is not None else None
        if era is None or table is None or era.shelf.model != base:
            raise TransportError(f"version {base[:12]} is not served here")
        policy = era.manifest.policy.scoring
        rows = table.study(
            policy.studies_per_release,
            declared=dict(policy.customers).get(self._ports.member, 0),
            withdrawn=self._ports.store.withdrawn_from(Purpose.CALIBRATION),
        )
        if not len(rows):
            raise DataError(
                "no customer has a label, a pseudonym (riskweave node tokenize) and a consent "
                "to studies ([scoring] study_consent in node.toml)"
            )
        expires = self._ports.now_ms() // 1000 + _STUDY_EXPIRES_S
        found: list[Part] = []
        for start in range(0, len(rows), _STUDY_PERSONS):
            part = rows[start : start + _STUDY_PERSONS]
            persons = list(_study_persons(era.people, table, part, expires))
            for one in await era.asker.parts(persons, Purpose.CALIBRATION, timeout_s=_STUDY_S):
                if isinstance(one, LocalError):
                    raise TransportError(f"study: {one}")
                if one.model != base:
                    raise TransportError(f"study: {base[:12]} is in force no more")
                found.append(one)
        return _rows_of(base, table, rows, found)

    async def impact(self, head: Digest) -> Impact:
        """What the loss of the own part costs the own customers who consented (7.18).

        Raises:
            TransportError: that head is not in force here, no table of lines is served, or
                nobody can be asked now.
            ScoreRefusalError, DataError: as ``study``, of the consent to IMPACT_STUDY.
        """
        era = self._era
        shelf = era.shelf if era is not None else None
        if era is None or shelf is None or shelf.head != head or head not in shelf.heads:
            raise TransportError(f"head {head[:12]} is not in force here")
        table = None if shelf.model is None else shelf.tables.get(shelf.model)
        lines = era.closures.table
        if table is None or lines is None:
            raise TransportError("the model in force, or a table of lines, is not served here")
        asked = affected(
            lines,
            table,
            self._ports.store,
            manifest=era.manifest,
            member=self._ports.member,
        )
        expires = self._ports.now_ms() // 1000 + _STUDY_EXPIRES_S
        found: list[Part] = []
        for start in range(0, len(asked.references), _STUDY_PERSONS):
            part = slice(start, start + _STUDY_PERSONS)
            persons = list(asked.persons(era.people, table, part, expires))
            for one in await era.asker.parts(persons, Purpose.IMPACT_STUDY, timeout_s=_STUDY_S):
                if isinstance(one, LocalError):
                    raise TransportError(f"impact study: {one}")
                if one.model != table.version:
                    raise TransportError(f"{table.version[:12]} is in force no more")
                found.append(one)
        return impact_from(shelf.heads[head].head, joined_sums(found), table, asked.tokens)

    async def ask_elsewhere(self) -> int:
        """Ask whether lines of the own customers were closed elsewhere; keep bits and arms.

        Of everybody who consented to CLOSURE_SIGNAL; who consented to IMPACT_STUDY as well
        gets an arm. Returns how many persons were answered for.

        Raises:
            TransportError: nobody can be asked now, or no table of lines was read yet.
            ScoreRefusalError, DataError: as ``study``.
        """
        era = self._era
        table = era.closures.table if era is not None else None
        if era is None or table is None:
            raise TransportError("no table of lines is served here")
        persons = askable(table, self._ports.store, era.manifest, self._ports.member)
        today = self._ports.lines.today()
        expires = self._ports.now_ms() // 1000 + _STUDY_EXPIRES_S
        for start in range(0, len(persons), _STUDY_PERSONS):
            part = persons[start : start + _STUDY_PERSONS]
            asked = [one.asked(era.people, expires) for one in part]
            found: list[Part] = []
            for one in await era.asker.parts(asked, Purpose.CLOSURE_SIGNAL, timeout_s=_STUDY_S):
                if isinstance(one, LocalError):
                    raise TransportError(f"closure inquiry: {one}")
                found.append(one)
            kept = bits_of_parts(part, found, today)
            await asyncio.to_thread(self._ports.lines.keep, kept)
        return len(persons)


def _told_nobody(_answers: Sequence[JointAnswer], _seconds: float) -> None:
    pass


def _on_own(era: _Era, body: object, number: int) -> None:
    """What came back to an own request."""
    match body:
        case ScoreAnswers():
            era.asker.on_answers(body, number)
        case ScoreFailed():
            era.asker.on_failed(body, number)
        case OprfReplies():
            era.pseudonyms.on_replies(body, number)
        case _:
            log.debug("a frame of type %s is dropped", type(body).__name__)


def _rows_of(
    base: Digest, table: ScoreTable, rows: NDArray[np.int64], found: Sequence[Part]
) -> JointRows:
    """The answers of a study as rows that a head is trained on."""
    customers, sums = table.customers, joined_sums(found)
    columns, own = sums.columns, own_part(table, table.tokens_of(rows))
    if ATTESTATION in columns:
        # Low bytes of the keyed hashes: the high ones have chosen who is asked about.
        draws = customers.subjects[rows, -2:].astype(np.int64) @ np.array([256, 1])
        sums, own = study_variants(sums, own, table.attested(rows), draws)
    return JointRows(
        base=base,
        families=columns,
        logits=sums.logits,
        counts=sums.counts,
        own=own.logits,
        partners=sums.partners,
        labels=customers.labels[rows],
        holdout=customers.holdout[rows],
    )


def _study_persons(
    people: People, table: ScoreTable, rows: NDArray[np.int64], expires: int
) -> Iterable[Person]:
    tokens, references = table.tokens_of(rows), table.customers.references
    if references is None:
        return
    holding = table.lookup(tokens)
    for place in range(len(rows)):
        yield Person(
            model=table.version,
            token=PersonToken(tokens[place].tobytes()),
            evidence=people.evidence(references[rows[place]].tobytes().hex()),
            purposes=frozenset({Purpose.CALIBRATION}),
            expires=expires,
            notice=1,
            method=Method.RECORDED,
            holding=holding.of(place),
        )


def _person(
    people: People,
    given: ConsentReference,
    token: PersonToken,
    *,
    holding: Holding,
    model: Digest,
) -> Person:
    return Person(
        model=model,
        token=token,
        evidence=people.evidence(given.reference),
        purposes=frozenset(given.purposes),
        expires=given.expires,
        notice=given.notice,
        method=Method[given.method.upper()],
        holding=holding,
    )


def _asked_of(
    table: ScoreTable | None,
    applicants: Sequence[Applicant],
    xs: Sequence[bytes],
    subjects: Sequence[bytes],
) -> list[_Asked]:
    """All applicants as this partner knows them; customers are looked up together.

    Raises:
        DataError: an attribute that is not of its form.
    """
    given = [one for one in range(len(applicants)) if applicants[one].attributes is not None]
    known = [one for one in range(len(applicants)) if applicants[one].attributes is None]
    if table is None:
        return [
            _Asked(applicant=one, x=x, codes={}, eta=0, own={}, holding=None, table=None)
            for one, x in zip(applicants, xs, strict=True)
        ]
    found: dict[int, _Asked] = {}
    if known:
        joined = b"".join(subjects[one] for one in known)
        keys = np.frombuffer(joined, dtype=np.uint8).reshape(len(known), -1)
        rows, holding = table.own(keys)
        about = _Own(table, table.codes_of(rows), holding, known=holding.held)
        for place, one in enumerate(known):
            found[one] = about.asked(place, applicants[one], xs[one])
    for one in given:
        codes = table.encode(applicants[one].attributes or {})
        about = _Own(table, codes, table.own_of_codes(codes), known=np.ones(1, dtype=np.bool_))
        found[one] = about.asked(0, applicants[one], xs[one])
    return [found[one] for one in range(len(applicants))]


class _Own:
    """What this partner knows of several persons, as plain numbers. Private."""

    def __init__(
        self, table: ScoreTable, codes: Codes, holding: Holding, *, known: NDArray[np.bool_]
    ) -> None:
        """``known``: whose codes count; of others the base alone is said."""
        self._table = table
        self._names, self._base = table.columns, table.serving.base
        self._holding, self._known, self._rows = holding, known.tolist(), codes
        self._codes, self._eta = codes.tolist(), table.local(codes).tolist()
        self._parts: list[tuple[str, list[bool], list[int]]] = [
            (
                name,
                (holding.held & holding.covered[:, place]).tolist(),
                holding.logits[name].tolist(),
            )
            for place, name in enumerate(table.layout.families)
            if name in holding.logits
        ]

    def asked(self, place: int, applicant: Applicant, x: bytes) -> _Asked:
        """One of them."""
        known = self._known[place]
        codes = self._rows[place : place + 1] if known else self._table.nothing()
        return _Asked(
            applicant=applicant,
            x=x,
            carried=carried_of(self._table, codes, applicant.shown),
            codes=dict(zip(self._names, self._codes[place], strict=True)) if known else {},
            eta=self._eta[place] if known else self._base,
            own={name: logits[place] for name, held, logits in self._parts if held[place]},
            holding=self._holding.of(place),
            table=self._table,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Joint:
    """What one request's sums come to, as plain numbers by person. Private."""

    carried: frozenset[int]
    """Places of persons whose shown histories are in it."""
    model: Digest
    head: Digest | None
    pooled: tuple[int, ...] | None
    """Of the head in force; None: there is none."""
    eta: list[int] = field(repr=False)
    strata: list[int] = field(repr=False)
    logits: list[list[int]] = field(repr=False)
    counts: list[list[int]] = field(repr=False)
    partners: list[int] = field(repr=False)


def _families(
    own: Mapping[str, int], columns: tuple[str, ...], found: _Joint, place: int
) -> tuple[FamilyPart, ...]:
    """Own part, sum and holders of each column of the sums."""
    if columns == (TOTAL,):
        own = {TOTAL: sum(own.values())}
    logits, counts = found.logits[place], found.counts[place]
    return tuple(
        FamilyPart(name=name, own=own.get(name, 0), total=total, holders=holders)
        for name, total, holders in zip(columns, logits, counts, strict=True)
    )


def _own_families(table: ScoreTable, own: Mapping[str, int]) -> tuple[FamilyPart, ...]:
    """What this partner alone knows, by family."""
    return tuple(
        FamilyPart(
            name=name, own=own.get(name, 0), total=own.get(name, 0), holders=int(name in own)
        )
        for name in table.layout.families
    )


async def _first_of(*events: asyncio.Event, seconds: float) -> None:
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
