"""Tokens for persons: asked of t key holders, answered as one of them (protocol 6.4 to 6.6).

The rules are in ``consortium.identity``; here is what needs a memory, a clock and a stream:
the cache, the quotas, who is asked in turn. Curve work of more than a few points runs in
threads, so that a score never waits for it. Whole tables are in ``token_load``, the key's
ceremonies in ``key_ceremony``.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from consortium.crypto.keys import AgreementKey, IdentityKey, Secret
from consortium.errors import (
    RiskWeaveError,
    ScoreRefusal,
    ScoreRefusalError,
    TransportError,
)
from consortium.identity.ceremony import Holding
from consortium.identity.evaluation import OprfClient, OprfParty, OprfServer, OprfTask
from consortium.ids import PartnerId, PersonToken, RequestId
from consortium.inquiries import (
    MOST_POINTS,
    OprfReplies,
    OprfReply,
    OprfRequest,
)
from consortium.manifest import Manifest, ScoringPolicy
from consortium.scoring_frames import ScoringBody
from partner_node.people import People
from partner_node.quotas import take_flowing, take_total
from partner_node.request_rows import RequestRows
from partner_node.scoring_store import ScoringStore

log = logging.getLogger(__name__)

FEW = 8
"""Points that are worked on at once, without a thread: about two milliseconds."""
WISH_TIMEOUT_S = 5.0
"""A request for applicants' tokens that takes longer is given up."""
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


class Pseudonyms:
    """Both sides of the OPRF under one manifest."""

    def __init__(self, ports: PseudonymPorts, holding: Callable[[], Holding | None]) -> None:
        """``holding``: the epoch that is installed here; read again for each request."""
        self.ports = ports
        self._holding = holding
        self._policy: ScoringPolicy = ports.manifest.policy.scoring
        self._send: Send | None = None
        self._waiting: dict[int, asyncio.Future[OprfReplies]] = {}
        self._numbers = 0
        self._turn = 0
        self._wishes: dict[bytes, tuple[bytes, asyncio.Future[tuple[bytes, bytes]]]] = {}
        self._granting: asyncio.Task[None] | None = None
        self._barred: frozenset[PartnerId] = frozenset()

    def bar(self, names: frozenset[PartnerId]) -> None:
        """Neither answer these nor hear them any more: they are revoked (protocol 2.7)."""
        self._barred |= names

    def attach(self, send: Send) -> None:
        """The scoring stream is up."""
        self._send = send

    def on_down(self) -> None:
        """The stream has ended: whoever waits for tokens learns it now."""
        self._send = None
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(TransportError("the scoring stream went down"))

    # --- answering (protocol 6.5, 6.6) --------------------------------------------------------

    async def on_request(self, request: OprfRequest) -> OprfReply | None:
        """This holder's shares, or its signed refusal; None if it holds no share."""
        server = self._server()
        if server is None:
            return None
        try:
            points = server.check(request)
            with self.ports.store.request() as rows:
                self._charge(rows, request, points)
                rows.count_evaluated(self._policy.epoch, points)
            answer = partial(server.answer, request, self.ports.entropy())
            return await self._worked(points, answer)
        except ScoreRefusalError as error:
            log.debug("a request for tokens is refused: %s", error)
            return server.refuse(request, error.reason)

    def _charge(self, rows: RequestRows, request: OprfRequest, points: int) -> None:
        """Take the points from the asker's quotas, or raise ScoreRefusalError (S07)."""
        policy, asker = self._policy, request.requester
        now_ms = self.ports.now_ms()
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
        holding = self._holding()
        return None if holding is None else OprfServer(self._party(holding))

    def _party(self, holding: Holding) -> OprfParty:
        ports = self.ports
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
        return await asyncio.get_running_loop().run_in_executor(self.ports.pool, work)

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
        epoch, people = self._policy.epoch, self.ports.people
        subjects = [people.subject(x) for x in inputs]
        known = self.ports.store.tokens(epoch, list(dict.fromkeys(subjects)))
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
                made = await self.evaluated([x for _, (x, _) in items], "score")
            pairs = [
                (subject, bytes(token)) for (subject, _), token in zip(items, made, strict=True)
            ]
            self.ports.store.keep_tokens(self._policy.epoch, pairs, customers=False)
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

    @property
    def may_ask(self) -> bool:
        """Whether an epoch is installed, so that there are key holders to ask."""
        return self._holding() is not None

    async def evaluated(self, inputs: Sequence[bytes], purpose: str) -> list[PersonToken]:
        """Ask one set of key holders after the other until one gives the tokens."""
        holding = self._holding()
        if holding is None:
            raise TransportError("no epoch of pseudonyms is installed")
        client = OprfClient(self._party(holding))
        avoided: set[PartnerId] = set()
        limited: ScoreRefusalError | None = None
        while True:
            holding = self._holding() or holding  # shared anew meanwhile
            servers = self._servers(holding, avoided, limited)
            ask = partial(
                client.ask,
                inputs,
                servers=servers,
                purpose=purpose,
                request=RequestId(self.ports.entropy().expose()[:16].hex()),
                entropy=self.ports.entropy(),
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
                    request = task.request.request
                    self.ports.store.note_fault(holding.key.epoch, named, request)
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
        key, me = holding.key, self.ports.member
        holders = {name for name, _ in key.members}
        live = [
            name
            for name in self.ports.live()
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
        if task.request.servers == (self.ports.member,):
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


def _at_fault(task: OprfTask, replies: OprfReplies) -> set[PartnerId]:
    """Who gave no share for reasons of its own; a quota is everybody's reason."""
    others = {reply.member for reply in replies.replies if reply.code not in ("", "S07")}
    silent = set(replies.missing) & set(task.request.servers)
    return others | silent


def _named(error: ScoreRefusalError, servers: Sequence[PartnerId]) -> PartnerId | None:
    """The key holder that an error is about."""
    text = str(error)
    return next((name for name in servers if f"{name}:" in text), None)
