"""This partner's half of a joint score, asking or answering (protocol 7).

One object for as long as the node serves: it is the link's port for the scoring stream, what
the desk's doors ask, and what a study asks. All of it runs in the link's loop. What holds
under one manifest is in ``scoring_era``, how a desk's question is asked in ``joint_scores``.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from consortium.errors import ConfigurationError, RiskWeaveError, ScoreRefusalError
from consortium.ids import Digest, PartnerId, PersonToken
from consortium.inquiries import (
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
from consortium.manifest import Manifest
from consortium.scoring.premium import Impact
from consortium.scoring_frames import ScoringBody
from partner_node import answers, joint_scores, scoring_studies
from partner_node.answers import Applicant, JointAnswer, Shown
from partner_node.asked_persons import LocalError
from partner_node.customers import Persons
from partner_node.desk_tables import Basis
from partner_node.joint_answers import basis_of
from partner_node.scoring_era import Era, SessionPorts
from partner_node.scoring_store import ScoringStore
from partner_node.study import JointRows
from partner_node.token_load import Progress, TokenLoad

log = logging.getLogger(__name__)

Send = Callable[[ScoringBody, int], None]

DEADLINE_MS = 500
OPERATOR = "operator"
_LOOK_S = 1.0
"""How often a version that is not served yet is looked at again: its vote may have come."""
_TIDY_S = 30.0


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


class ScoringSession:
    """The node's scoring stream; a port of the link."""

    def __init__(self, ports: SessionPorts) -> None:
        self._ports = ports
        self._era: Era | None = None
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
            era = self._era = Era(manifest, self._ports)
        self._send = send
        era.heed(self._ports.revoked())
        era.flights.attach(send)
        era.pseudonyms.attach(send)
        self._wake.set()

    def on_down(self) -> None:
        """It has ended: whoever waits is answered locally."""
        self._send = None
        if self._era is not None:
            self._era.flights.on_down()
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

    def _on_roster(self, era: Era, roster: Roster) -> None:
        try:
            era.rosters.add(roster, now=self._ports.now_ms() // 1000)
        except ScoreRefusalError as error:
            log.warning("a roster is refused: %s", error)
            return
        if era.shelf.want(roster.model, roster.head):
            self._wake.set()

    def _answer(self, era: Era, request: ScoreRequest, number: int) -> None:
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

    async def _evaluate(self, era: Era, request: OprfRequest, number: int) -> None:
        reply = await era.pseudonyms.on_request(request)
        if reply is not None:
            self._deliver(reply, number)

    async def _ceremony(self, era: Era, ask: EpochAsk, number: int) -> None:
        self._deliver(await era.ceremony.on_epoch(ask), number)

    async def _overlap(self, era: Era, ask: OverlapAsk, number: int) -> None:
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
                self._era = Era(self._ports.manifest(), self._ports)
            except RiskWeaveError as error:
                log.info("no manifest is in force yet: %s", error)

    def _in_force(self) -> Era:
        """Everything under the manifest in force; ManifestError if there is none."""
        self._first_era()
        if self._era is None:
            return Era(self._ports.manifest(), self._ports)  # raises why
        return self._era

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
            epoch_installed=era.ceremony.holding is not None,
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

    async def _loading(self, era: Era, persons: Persons) -> None:
        load = TokenLoad(era.pseudonyms, self._progress, self._changed)
        await load.run(persons.batches())
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
        """One answer for each applicant, as ``joint_scores.ask``.

        Raises:
            ScoreRefusalError, DataError: as there.
            ManifestError: no manifest is in force: not even a local model can be named.
        """
        return await joint_scores.ask(
            self._in_force(),
            applicants,
            purpose=purpose,
            deadline_ms=deadline_ms,
            inquirer=inquirer,
            told=self.on_scores,
        )

    def alone(
        self,
        person: str,
        attributes: Mapping[str, float | str | None] | None = None,
        *,
        shown: Shown | None = None,
        why: str,
    ) -> JointAnswer:
        """This partner's own answer, as ``joint_scores.alone``.

        Raises:
            DataError, ManifestError: as ``ask``.
        """
        return joint_scores.alone(self._in_force(), person, attributes, shown=shown, why=why)

    async def token(self, person: str, *, timeout_s: float) -> tuple[int, PersonToken]:
        """Epoch and pseudonym of a person, as ``joint_scores.token``.

        Raises:
            TransportError, ScoreRefusalError: as there.
            DataError, ManifestError: as ``ask``.
        """
        return await joint_scores.token(self._in_force(), person, timeout_s=timeout_s)

    def basis(self, answer: JointAnswer) -> Basis | None:
        """What an answer was made with, for the desk's reasons; None if it is not served."""
        return basis_of(self._era, answer)

    # --- studies (protocol 7.11) --------------------------------------------------------------

    async def study(self, base: Digest) -> JointRows:
        """Joint sums of the own customers, as ``scoring_studies.study``."""
        return await scoring_studies.study(self._era, base)

    async def impact(self, head: Digest) -> Impact:
        """What the loss of the own part costs, as ``scoring_studies.impact``."""
        return await scoring_studies.impact(self._era, head)

    async def ask_elsewhere(self) -> int:
        """Whether lines were closed elsewhere, as ``scoring_studies.ask_elsewhere``."""
        return await scoring_studies.ask_elsewhere(self._era)


def _told_nobody(_answers: Sequence[JointAnswer], _seconds: float) -> None:
    pass


def _on_own(era: Era, body: object, number: int) -> None:
    """What came back to an own request."""
    match body:
        case ScoreAnswers():
            era.flights.on_answers(body, number)
        case ScoreFailed():
            era.flights.on_failed(body, number)
        case OprfReplies():
            era.pseudonyms.on_replies(body, number)
        case _:
            log.debug("a frame of type %s is dropped", type(body).__name__)


async def _first_of(*events: asyncio.Event, seconds: float) -> None:
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
