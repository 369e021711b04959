"""Tokens for persons: asked of t key holders, answered as one of them (protocol 6).

The rules are in ``consortium.identity``; here is what needs a memory, a clock and a stream:
the cache, the quotas, the steps of a key ceremony with what must be on disk before each
leaves, and the load of a whole table, which goes on where it stopped. Curve work of more
than a few points runs in threads, so that a score never waits for it.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from consortium.crypto.keys import AgreementKey, IdentityKey, Secret
from consortium.errors import (
    DecodeError,
    OutOfOrderError,
    RiskWeaveError,
    ScoreRefusal,
    ScoreRefusalError,
    TransportError,
)
from consortium.identity.ceremony import EpochFacts, EpochShare, Holding, install
from consortium.identity.epoch import Confirmed, EpochMachine
from consortium.identity.epoch_steps import EpochOffer, read_offer, verify_record
from consortium.identity.evaluation import OprfClient, OprfParty, OprfServer, OprfTask
from consortium.ids import PartnerId, PersonToken, RequestId
from consortium.inquiries import (
    MOST_POINTS,
    EpochAsk,
    EpochTell,
    OprfReplies,
    OprfReply,
    OprfRequest,
)
from consortium.ledger.entries import Entry, sign_entry
from consortium.ledger.epochs import check_entries, step_body
from consortium.manifest import Manifest, ScoringPolicy
from consortium.scoring_frames import ScoringBody
from partner_node.key_shares import StoredShare
from partner_node.people import People
from partner_node.quotas import take_flowing, take_total
from partner_node.request_rows import RequestRows
from partner_node.scoring_store import ScoringStore

log = logging.getLogger(__name__)

FEW = 8
"""Points that are worked on at once, without a thread: about two milliseconds."""
LOAD_TIMEOUT_S = 60.0
WISH_TIMEOUT_S = 5.0
"""A request for applicants' tokens that takes longer is given up."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 30.0
_SPARE_TENTHS = 11
"""Protocol 6.6: a first load may hold the declared customers times 1.1."""

Send = Callable[[ScoringBody, int], None]
_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True, kw_only=True)
class PseudonymPorts:
    """What pseudonyms need of the node."""

    manifest: Manifest
    member: PartnerId
    identity: IdentityKey
    agreement: AgreementKey
    store: ScoringStore
    people: People
    entropy: Callable[[], Secret]
    now_ms: Callable[[], int]
    pool: Executor
    live: Callable[[], Sequence[PartnerId]]
    """Partners that can be asked now, sorted."""


@dataclass(slots=True)
class Progress:
    """How far a load is. Counts only: of this node's own customers."""

    persons: int = 0
    """Distinct persons seen so far."""
    known: int = 0
    """Of them with a token."""
    faults: Counter[str] = field(default_factory=Counter)
    waiting: str = ""
    """Why it waits, if it does."""
    done: bool = False


class Pseudonyms:
    """Both sides of the OPRF and the node's half of key ceremonies, under one manifest."""

    def __init__(self, ports: PseudonymPorts) -> None:
        self._ports = ports
        self._policy: ScoringPolicy = ports.manifest.policy.scoring
        self._send: Send | None = None
        self._waiting: dict[int, asyncio.Future[OprfReplies]] = {}
        self._numbers = 0
        self._machine: EpochMachine | None = None
        self._offer: EpochOffer | None = None
        self._ceremony = asyncio.Lock()
        self._turn = 0
        self._wishes: dict[bytes, tuple[bytes, asyncio.Future[tuple[bytes, bytes]]]] = {}
        self._granting: asyncio.Task[None] | None = None
        self._barred: frozenset[PartnerId] = frozenset()
        self._holding = self._installed()

    def bar(self, names: frozenset[PartnerId]) -> None:
        """Neither answer these nor hear them any more: they are revoked (protocol 2.7)."""
        self._barred |= names

    @property
    def holding(self) -> Holding | None:
        """The epoch that is installed here."""
        return self._holding

    def attach(self, send: Send) -> None:
        """The scoring stream is up."""
        self._send = send

    def on_down(self) -> None:
        """The stream has ended: whoever waits for tokens learns it now."""
        self._send = None
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(TransportError("the scoring stream went down"))

    # --- key ceremonies (protocol 6.3, 6.8) ---------------------------------------------------

    async def on_epoch(self, ask: EpochAsk) -> EpochTell:
        """This member's next step, or the code of why it takes none."""
        async with self._ceremony:
            try:
                document = await asyncio.to_thread(self._step, ask)
                entry = self._entry(document) if document else b""
            except RiskWeaveError as error:
                log.warning("key ceremony, %s: %s", ask.step, error)
                code = error.public if isinstance(error, ScoreRefusalError) else error.code
                return EpochTell(step=ask.step, document=b"", code=code)
        return EpochTell(step=ask.step, document=document, code="", entry=entry)

    def _entry(self, document: bytes) -> bytes:
        """What this member says in the log of a step that it has signed (protocol 8.4)."""
        if self._offer is None:
            raise OutOfOrderError("no ceremony was begun here")
        ports = self._ports
        bare = Entry(
            seq_hint=0,
            at=ports.now_ms() // 1000,
            actor=ports.member,
            body=step_body(document, self._offer),
        )
        return sign_entry(bare, ports.identity).to_jcs()

    def _step(self, ask: EpochAsk) -> bytes:
        active = {member.id for member in self._ports.manifest.partners}
        if ask.step != "install" and (out := self._barred & active):
            raise ScoreRefusalError(ScoreRefusal.REQUESTER, f"{min(out)} was revoked")
        if ask.step == "commit":
            return self._begin(ask.documents)
        if ask.step == "install":
            return self._install(ask.documents)
        if self._machine is None:
            raise OutOfOrderError("no ceremony was begun here")
        if ask.step == "reveal":
            return self._machine.on_commits(ask.documents)
        if ask.step != "confirm":
            raise DecodeError(f"unknown step {ask.step!r}")
        made = self._machine.on_reveals(ask.documents)
        if isinstance(made, Confirmed):
            share = made.share
            self._ports.store.shares.keep(
                StoredShare(
                    epoch=share.epoch,
                    attempt=share.attempt,
                    position=share.index,
                    share=share.share,
                    record=None,
                )
            )
        return made.document

    def _begin(self, documents: Sequence[bytes]) -> bytes:
        if not documents:
            raise DecodeError("no offer")
        ports = self._ports
        offer = read_offer(documents[0], ports.manifest)
        self._offer = offer
        secret = ports.store.shares.seed(offer.epoch, offer.attempt, ports.entropy)
        self._machine = EpochMachine(
            EpochFacts(
                manifest=ports.manifest,
                member=ports.member,
                identity=ports.identity,
                agreement=ports.agreement,
                secret=secret,
                holding=self._holding,
            )
        )
        return self._machine.on_offer(documents)

    def _install(self, documents: Sequence[bytes]) -> bytes:
        if not documents:
            raise DecodeError("no record")
        ports, (record, *entries) = self._ports, documents
        # Whoever was shown other steps stands for other keys in the log (protocol 6.3 (4)).
        check_entries(entries, verify_record(record, ports.manifest), ports.manifest)
        for stored in reversed(ports.store.shares.of(self._policy.epoch)):
            try:
                holding = install(record, ports.manifest, _share_of(stored))
            except ScoreRefusalError as error:
                if error.reason is not ScoreRefusal.EPOCH:
                    raise
                continue
            ports.store.shares.install(stored.epoch, stored.attempt, record)
            ports.store.drop_epochs_before(stored.epoch)
            self._holding = holding
            self._machine = None
            log.info("epoch %d is installed, attempt %d", stored.epoch, stored.attempt)
            return b""
        raise ScoreRefusalError(ScoreRefusal.EPOCH, "no share of this record is held here")

    def _installed(self) -> Holding | None:
        if not self._policy.epoch:
            return None
        stored = self._ports.store.shares.installed(self._policy.epoch)
        if stored is None or stored.record is None:
            return None
        try:
            return install(stored.record, self._ports.manifest, _share_of(stored))
        except (ScoreRefusalError, DecodeError) as error:
            # Members changed since: the coordinator will ask for a resharing (6.8).
            log.warning("epoch %d does not serve this manifest: %s", stored.epoch, error)
            return None

    # --- answering (protocol 6.5, 6.6) --------------------------------------------------------

    async def on_request(self, request: OprfRequest) -> OprfReply | None:
        """This holder's shares, or its signed refusal; None if it holds no share."""
        server = self._server()
        if server is None:
            return None
        try:
            points = server.check(request)
            with self._ports.store.request() as rows:
                self._charge(rows, request, points)
                rows.count_evaluated(self._policy.epoch, points)
            answer = partial(server.answer, request, self._ports.entropy())
            return await self._worked(points, answer)
        except ScoreRefusalError as error:
            log.debug("a request for tokens is refused: %s", error)
            return server.refuse(request, error.reason)

    def _charge(self, rows: RequestRows, request: OprfRequest, points: int) -> None:
        """Take the points from the asker's quotas, or raise ScoreRefusalError (S07)."""
        policy, asker = self._policy, request.requester
        now_ms = self._ports.now_ms()
        if rows.knows(request.request):
            raise ScoreRefusalError(ScoreRefusal.REPLAY, f"request {request.request}")
        rows.note_tokens(request.request, asker, points)
        if request.purpose == "load" and self._take_load(rows, asker, points, now_ms):
            return
        limits = (policy.tokens_per_second, policy.tokens_per_day)
        take_flowing(rows, asker, "tokens", points, limits=limits, now_ms=now_ms)

    def _take_load(self, rows: RequestRows, asker: PartnerId, points: int, now_ms: int) -> bool:
        """Whether the first load of this epoch still covers it; S07 if only not yet."""
        policy = self._policy
        most = dict(policy.customers).get(asker, 0) * _SPARE_TENTHS // 10
        total = f"load:{policy.epoch}"
        kept = rows.count(asker, total)
        if (kept.used if kept else 0) + points > most:
            return False
        if policy.load_hours:
            rate = max(1, -(-most // (policy.load_hours * 3600)))
            flow, limits = f"load-rate:{policy.epoch}", (rate, most)
            take_flowing(
                rows, asker, flow, points, limits=limits, now_ms=now_ms, burst=MOST_POINTS
            )
        take_total(rows, asker, total, points, most=most)
        return True

    def _server(self) -> OprfServer | None:
        return None if self._holding is None else OprfServer(self._party(self._holding))

    def _party(self, holding: Holding) -> OprfParty:
        ports = self._ports
        return OprfParty(
            manifest=ports.manifest,
            member=ports.member,
            identity=ports.identity,
            holding=holding,
            barred=self._barred,
        )

    async def _worked(self, points: int, work: Callable[[], _Made]) -> _Made:
        """Curve work: at once if it is little, else in a thread of the pool."""
        if points <= FEW:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._ports.pool, work)

    # --- asking (protocol 6.4) ----------------------------------------------------------------

    def on_replies(self, replies: OprfReplies, number: int) -> None:
        """What the key holders said to an own request."""
        waiting = self._waiting.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_result(replies)

    async def tokens_of(
        self, inputs: Sequence[bytes], *, timeout_s: float
    ) -> list[PersonToken]:
        """Tokens of applicants, from the cache where they are known.

        Args:
            inputs: Of ``person.person_input``. Private.
            timeout_s: Seconds that it may take.

        Raises:
            TransportError: not enough key holders can be reached in time, or no epoch is
                installed.
            ScoreRefusalError: they refused: the quota (S07), above all.
        """
        epoch, people = self._policy.epoch, self._ports.people
        subjects = [people.subject(x) for x in inputs]
        known = self._ports.store.tokens(epoch, list(dict.fromkeys(subjects)))
        lacking = [
            self._wish(subject, x)
            for subject, x in zip(subjects, inputs, strict=True)
            if subject not in known
        ]
        if lacking:
            self._grant()
            await asyncio.wait(lacking, timeout=timeout_s)
            if not all(wish.done() for wish in lacking):
                raise TransportError("no tokens in time")
            known.update(wish.result() for wish in lacking)
        return [PersonToken(known[subject]) for subject in subjects]

    def _wish(self, subject: bytes, x: bytes) -> "asyncio.Future[tuple[bytes, bytes]]":
        """The token that this person will have; one request for all who ask for it."""
        found = self._wishes.get(subject)
        if found is None:
            wish = asyncio.get_running_loop().create_future()
            found = self._wishes[subject] = (x, wish)
        return found[1]

    def _grant(self) -> None:
        """Ask for all wishes that wait, in one request, unless one is under way."""
        if self._granting is None and self._wishes:
            items = list(self._wishes.items())[:MOST_POINTS]
            self._granting = asyncio.create_task(self._granted(items))

    async def _granted(
        self, items: "Sequence[tuple[bytes, tuple[bytes, asyncio.Future[tuple[bytes, bytes]]]]]"
    ) -> None:
        wishes = [wish for _, (_, wish) in items]
        try:
            async with asyncio.timeout(WISH_TIMEOUT_S):
                made = await self._evaluated([x for _, (x, _) in items], "score")
            pairs = [
                (subject, bytes(token)) for (subject, _), token in zip(items, made, strict=True)
            ]
            self._ports.store.keep_tokens(self._policy.epoch, pairs, customers=False)
            for pair, wish in zip(pairs, wishes, strict=True):
                wish.set_result(pair)
        except (RiskWeaveError, TimeoutError) as error:
            ours = error if isinstance(error, RiskWeaveError) else TransportError("no tokens")
            for wish in wishes:
                wish.set_exception(ours)
                wish.exception()  # seen: whoever waited may have given up
        finally:
            for subject, _ in items:
                self._wishes.pop(subject, None)
            self._granting = None
            self._grant()

    async def _evaluated(self, inputs: Sequence[bytes], purpose: str) -> list[PersonToken]:
        """Ask one set of key holders after the other until one gives the tokens."""
        if self._holding is None:
            raise TransportError("no epoch of pseudonyms is installed")
        client = OprfClient(self._party(self._holding))
        avoided: set[PartnerId] = set()
        limited: ScoreRefusalError | None = None
        while True:
            servers = self._servers(self._holding, avoided, limited)
            ask = partial(
                client.ask,
                inputs,
                servers=servers,
                purpose=purpose,
                request=RequestId(self._ports.entropy().expose()[:16].hex()),
                entropy=self._ports.entropy(),
            )
            task = await self._worked(len(inputs), ask)
            replies = await self._exchanged(task)
            bad = _at_fault(task, replies)
            if bad:
                avoided |= bad
                continue
            try:
                return await self._worked(
                    len(inputs), partial(client.finish, task, replies.replies)
                )
            except ScoreRefusalError as error:
                named = _named(error, servers)
                quota = error.reason is ScoreRefusal.QUOTA
                if named is None or (quota and (limited is not None or purpose == "load")):
                    raise
                # All count alike: a second one is believed, a first one may lie.
                limited = error if quota else limited
                # protocol 6.4: a bad proof names the server; another set is asked.
                log.warning("key holder %s: %s", named, error)
                if error.reason is ScoreRefusal.PROOF:
                    self._ports.store.note_fault(
                        self._holding.key.epoch, named, task.request.request
                    )
                avoided.add(named)

    def _servers(
        self,
        holding: Holding,
        avoided: Iterable[PartnerId],
        limited: ScoreRefusalError | None,
    ) -> tuple[PartnerId, ...]:
        """S: t holders that are live, this one among them, the others in turn.

        Where they are too few, ``limited`` is raised if one of those avoided said so.
        """
        key, me = holding.key, self._ports.member
        holders = {name for name, _ in key.members}
        live = [
            name
            for name in self._ports.live()
            if name in holders and name != me and name not in self._barred | set(avoided)
        ]
        own = [me] if me in holders else []
        wanted = key.threshold - len(own)
        if len(live) < wanted:
            raise limited or TransportError(
                f"{len(live)} key holders can be asked, {wanted} are needed"
            )
        self._turn += 1
        start = self._turn % len(live) if live else 0
        chosen = (live[start:] + live[:start])[:wanted]
        return tuple(sorted([*own, *chosen]))

    async def _exchanged(self, task: OprfTask) -> OprfReplies:
        if task.request.servers == (self._ports.member,):
            return OprfReplies(replies=(), missing=())
        if self._send is None:
            raise TransportError("the scoring stream is down")
        self._numbers += 1
        number = self._numbers
        waiting: asyncio.Future[OprfReplies] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        try:
            self._send(task.request, number)
            return await waiting
        finally:
            del self._waiting[number]

    # --- a whole table ------------------------------------------------------------------------

    async def load(
        self,
        batches: Iterable[list[bytes]],
        progress: Progress,
        tell: Callable[[Progress], None],
    ) -> None:
        """Get a token for every person of a table; what is known already is not asked for.

        Quotas make it wait, never fail: it goes on as they fill. Whoever kills the node
        loses at most the request under way.

        Args:
            batches: Canonical inputs, as ``customers.Persons`` reads them. Private.
            progress: Kept up to date.
            tell: Called after each request.

        Raises:
            TransportError: no epoch is installed.
            StorageError, DataError: as the store and the table.
        """
        if self._holding is None:
            raise TransportError("no epoch of pseudonyms is installed")
        source = iter(batches)
        seen: set[bytes] = set()
        rest: list[tuple[bytes, bytes]] = []
        while (batch := await asyncio.to_thread(next, source, None)) is not None:
            rest += await asyncio.to_thread(self._unknown, batch, seen, progress)
            while len(rest) >= MOST_POINTS:
                await self._loaded(rest[:MOST_POINTS], progress, tell)
                rest = rest[MOST_POINTS:]
        if rest:
            await self._loaded(rest, progress, tell)
        await asyncio.to_thread(self._ports.store.keep_customers, self._policy.epoch, seen)
        progress.done = True
        tell(progress)

    def _unknown(
        self, inputs: Sequence[bytes], seen: set[bytes], progress: Progress
    ) -> list[tuple[bytes, bytes]]:
        """Persons of a batch without a token, each once."""
        people = self._ports.people
        fresh: dict[bytes, bytes] = {}
        for x in inputs:
            subject = people.subject(x)
            if subject not in seen:
                seen.add(subject)
                fresh[subject] = x
        epoch = self._policy.epoch
        known = self._ports.store.tokens(epoch, list(fresh))
        # Some were applicants before they were customers.
        self._ports.store.keep_tokens(epoch, list(known.items()), customers=True)
        progress.persons += len(fresh)
        progress.known += len(known)
        return [(subject, x) for subject, x in fresh.items() if subject not in known]

    async def _loaded(
        self,
        part: Sequence[tuple[bytes, bytes]],
        progress: Progress,
        tell: Callable[[Progress], None],
    ) -> None:
        made = await self._patiently([x for _, x in part], progress, tell)
        pairs = [
            (subject, bytes(token)) for (subject, _), token in zip(part, made, strict=True)
        ]
        keep = partial(self._ports.store.keep_tokens, self._policy.epoch, customers=True)
        await asyncio.to_thread(keep, pairs)
        progress.known += len(pairs)
        progress.waiting = ""
        tell(progress)

    async def _patiently(
        self, inputs: Sequence[bytes], progress: Progress, tell: Callable[[Progress], None]
    ) -> list[PersonToken]:
        wait = _FIRST_WAIT_S
        while True:
            try:
                async with asyncio.timeout(LOAD_TIMEOUT_S):
                    return await self._evaluated(inputs, "load")
            except ScoreRefusalError as error:
                if error.reason is not ScoreRefusal.QUOTA:
                    raise
                progress.waiting = "quota"
            except (TransportError, TimeoutError):
                progress.waiting = "key holders"
            tell(progress)
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_S)


def _share_of(stored: StoredShare) -> EpochShare:
    return EpochShare(
        epoch=stored.epoch, attempt=stored.attempt, index=stored.position, share=stored.share
    )


def _at_fault(task: OprfTask, replies: OprfReplies) -> set[PartnerId]:
    """Who gave no share for reasons of its own; a quota is everybody's reason."""
    others = {reply.member for reply in replies.replies if reply.code not in ("", "S07")}
    silent = set(replies.missing) & set(task.request.servers)
    return others | silent


def _named(error: ScoreRefusalError, servers: Sequence[PartnerId]) -> PartnerId | None:
    """The key holder that an error is about."""
    text = str(error)
    return next((name for name in servers if f"{name}:" in text), None)


def progress_copy(progress: Progress) -> Progress:
    """As it stands now."""
    return replace(progress, faults=Counter(progress.faults))
