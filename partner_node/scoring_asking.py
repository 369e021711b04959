"""This partner's half of its own joint scores: pack, seal, ask, combine (protocol 7.3 to 7.10).

Single questions that arrive while a request is under way wait for the next one and share it;
an idle node waits for nobody. What cannot be had from the others in time is answered from
this partner's own rows, with band "0" and the reason: a fault of a network is not the desk's.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consortium.crypto.keys import Secret
from consortium.errors import (
    RiskWeaveError,
    ScoreRefusal,
    ScoreRefusalError,
    TransportError,
)
from consortium.ids import Digest, PartnerId, RequestId
from consortium.inquiries import (
    LARGEST_BATCH,
    Purpose,
    Roster,
    ScoreAnswer,
    ScoreFailed,
)
from consortium.manifest import Delivery
from consortium.scoring import consent, guard
from consortium.scoring.closures import LAYOUT, columns_of
from consortium.scoring.closures import VERSION as CLOSURES
from consortium.scoring.combine import combine
from consortium.scoring.inquiry import AskerSecrets, Terms, seal_inquiry
from consortium.scoring.layout import JointSums, Layout, encode_holding
from consortium.scoring.pairs import PairCache
from consortium.scoring.partial import verify_refusal
from consortium.scoring.roster import Rosters, members_digest
from partner_node import answers
from partner_node.asked_persons import LocalError, Part, Person
from partner_node.request_rows import Seen
from partner_node.score_table import ScoreTable
from partner_node.scoring_answering import persons_of, seen_of
from partner_node.scoring_flights import Flights
from partner_node.scoring_store import ScoringStore

log = logging.getLogger(__name__)

IN_FLIGHT = 2
"""Requests of one purpose that are under way at a time; more persons share the next."""
_FIRST = 0.55
"""Share of the time that is left which the first of two rounds gets."""
_GRACE = 0.15
"""Share of a round in which word of its end can still come from the coordinator."""
_LEAST_MS = 20
"""Time that a request must have: with less it is not sent."""
_PASSED_OVER = frozenset(
    {
        ScoreRefusal.MODEL,
        ScoreRefusal.ROSTER,
        ScoreRefusal.MANIFEST,
        ScoreRefusal.EPOCH,
        ScoreRefusal.INCOMPLETE,
    }
)
"""Refusals of one partner's own state: the retry leaves it out."""
_FEW_REFUSE = 4
"""Where no more than one in so many refuses for a quota, it is passed over."""
_QUOTA = frozenset({ScoreRefusal.QUOTA, ScoreRefusal.DIFFERENCING})


@dataclass(frozen=True, slots=True, kw_only=True)
class AskerPorts:
    """What asking needs of the session."""

    keys: PairCache
    rosters: Rosters
    store: ScoringStore
    flights: Flights
    tables: Callable[[], Mapping[Digest, ScoreTable]]
    entropy: Callable[[], Secret]
    now_ms: Callable[[], int]


@dataclass(eq=False, slots=True)
class _Wanted:
    """A person that waits for a request."""

    person: Person
    purpose: Purpose
    until: float
    """Time of the loop."""
    part: "asyncio.Future[Part]"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Persons that may be asked for together: with one roster."""

    roster: tuple[PartnerId, ...]
    retry_of: RequestId | None
    wanted: tuple[_Wanted, ...]


class Asker:
    """Asks under one manifest. Everything here runs in the link's loop."""

    def __init__(self, ports: AskerPorts) -> None:
        self._ports = ports
        self._policy = ports.keys.manifest.policy.scoring
        self._waiting: dict[Purpose, list[_Wanted]] = {purpose: [] for purpose in Purpose}
        self._flying: dict[Purpose, int] = dict.fromkeys(Purpose, 0)
        self._tasks: set[asyncio.Task[None]] = set()
        self._members: dict[bytes, tuple[PartnerId, ...]] = {}
        """Rosters that were used, by their digest: a person's last one may be used again."""

    # --- may it be asked ----------------------------------------------------------------------

    def roster(self, purpose: Purpose = Purpose.JOINT_SCORE) -> Roster:
        """Whom to ask now; LocalError with the reason if nobody."""
        if self._policy.delivery is Delivery.PARTNER_LOCAL:
            raise LocalError(answers.PARTNER_LOCAL)
        if not self._policy.may_ask(self._ports.keys.me):
            raise LocalError(answers.BUREAU_ONLY)
        if not self._ports.flights.up:
            raise LocalError(answers.UNREACHABLE)
        try:
            found = self._ports.rosters.newest(now=self._ports.now_ms() // 1000)
        except ScoreRefusalError as error:
            raise LocalError(answers.NO_ROSTER) from error
        if self._ports.keys.me not in found.partners:
            raise LocalError(answers.NO_ROSTER)
        if len(found.partners) - 1 < self._policy.min_responders:
            raise LocalError(answers.TOO_FEW_PARTNERS)
        if purpose is not Purpose.CLOSURE_SIGNAL:
            self._served(found, purpose)
        return found

    def _served(self, roster: Roster, purpose: Purpose) -> tuple[Digest, Layout]:
        """What is asked for: the roster's model, or the layout of closure inquiries."""
        if purpose is Purpose.CLOSURE_SIGNAL:
            return CLOSURES, LAYOUT
        tables = self._ports.tables()
        if roster.model is None or roster.model not in tables:
            raise LocalError(answers.NO_MODEL)
        return roster.model, tables[roster.model].layout

    # --- packing ------------------------------------------------------------------------------

    async def parts(
        self, persons: Sequence[Person], purpose: Purpose, *, timeout_s: float
    ) -> list[Part | LocalError]:
        """The sums of each person, or why there are none; never later than the deadline."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        wanted = [_Wanted(one, purpose, until, loop.create_future()) for one in persons]
        self._waiting[purpose].extend(wanted)
        self._pump(purpose)
        parts = [one.part for one in wanted]
        if parts:
            await asyncio.wait(parts, timeout=timeout_s)
        return [_outcome(part) for part in parts]

    def _pump(self, purpose: Purpose) -> None:
        waiting = self._waiting[purpose]
        while waiting and self._flying[purpose] < IN_FLIGHT:
            batch, waiting[:] = waiting[:LARGEST_BATCH], waiting[LARGEST_BATCH:]
            batch = [one for one in batch if not one.part.done()]
            if batch:
                self._flying[purpose] += 1
                task = asyncio.create_task(self._fly(batch, purpose))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _fly(self, batch: list[_Wanted], purpose: Purpose) -> None:
        try:
            for group in self._groups(batch):
                await self._asked(group)
        except RiskWeaveError as error:
            log.warning("a joint score failed: %s", error)
            _fail(batch, LocalError(answers.UNREACHABLE, type(error).__name__))
        finally:
            self._flying[purpose] -= 1
            self._pump(purpose)

    def _groups(self, batch: Sequence[_Wanted]) -> list[_Group]:
        """Who may be asked for with which roster (protocol 7.9); the others are answered."""
        try:
            newest = self.roster(batch[0].purpose)
        except LocalError as error:
            _fail(batch, error)
            return []
        me, now_ms = self._ports.keys.me, self._ports.now_ms()
        keys = persons_of(me, _tokens(batch))
        with self._ports.store.request() as rows:
            history = rows.history(me, keys)
        groups: dict[tuple[tuple[PartnerId, ...], RequestId | None], list[_Wanted]] = {}
        for key, one in zip(keys, batch, strict=True):
            choice = self._choice(history.get(key, []), newest, now_ms)
            if choice is None:
                _fail([one], LocalError(answers.QUOTA, "the retry rule"))
            else:
                groups.setdefault(choice, []).append(one)
        return [
            _Group(roster=roster, retry_of=retry_of, wanted=tuple(wanted))
            for (roster, retry_of), wanted in groups.items()
        ]

    def _choice(
        self, history: Sequence[Seen], newest: Roster, now_ms: int
    ) -> tuple[tuple[PartnerId, ...], RequestId | None] | None:
        """The newest roster, or the one that this person was asked for with, or neither."""
        asked = guard.Asked(
            request=RequestId("0" * 32), roster=members_digest(newest.partners), retry_of=None
        )
        try:
            guard.decide(seen_of(history), asked, now_ms=now_ms)
        except ScoreRefusalError:
            last = history[-1]
            members = self._members.get(last.roster, ())
            enough = len(members) - 1 >= self._policy.min_responders
            if enough and set(members) < set(newest.partners):
                return members, last.request
            return None
        return newest.partners, None

    # --- one request and its one retry --------------------------------------------------------

    async def _asked(self, group: _Group) -> None:
        """Ask, and answer all who wait: with their parts, or why there are none."""
        try:
            await self._tried(group)
        except LocalError as error:
            _fail(group.wanted, error)
        except TransportError:
            _fail(group.wanted, LocalError(answers.UNREACHABLE))
        except ScoreRefusalError as error:
            # A wrong answer or a wrong sum: somebody named in the text lies, or relays badly.
            log.error("joint score: %s", error)  # noqa: TRY400 - the text says it all
            _fail(group.wanted, LocalError(answers.INCOMPLETE))

    async def _tried(self, group: _Group) -> None:
        """Ask; if a partner gives no answer, once more without it (protocol 7.9)."""
        loop = asyncio.get_running_loop()
        until = max(one.until for one in group.wanted)
        first = group.retry_of is None
        left = until - loop.time()
        secrets, silent = await self._round(group, left * _FIRST if first else left)
        if not silent:
            return
        if first:
            again = self._without(group, silent, secrets.inquiry.request)
            _, silent = await self._round(again, until - loop.time())
        if silent:
            raise LocalError(answers.INCOMPLETE, ", ".join(sorted(silent)))

    def _without(
        self, group: _Group, silent: frozenset[PartnerId], request: RequestId
    ) -> _Group:
        newest = self.roster(group.wanted[0].purpose)
        left = tuple(
            name for name in group.roster if name not in silent and name in newest.partners
        )
        if len(left) - 1 < self._policy.min_responders:
            raise LocalError(answers.TOO_FEW_PARTNERS)
        return _Group(roster=left, retry_of=request, wanted=group.wanted)

    async def _round(
        self, group: _Group, seconds: float
    ) -> tuple[AskerSecrets, frozenset[PartnerId]]:
        """One request; returns who gave no answer, nobody if all parts are set."""
        ports, policy = self._ports, self._policy
        wait_ms = int(seconds * (1 - _GRACE) * 1000)
        if not ports.flights.up or wait_ms < _LEAST_MS:
            raise LocalError(answers.UNREACHABLE, "no stream, or no time left")
        purpose = group.wanted[0].purpose
        newest = self.roster(purpose)
        version, layout = self._served(newest, purpose)
        if any(one.person.model != version for one in group.wanted):
            # It changed while they waited: their own part would be of another model.
            raise LocalError(answers.NO_MODEL)
        now_ms = ports.now_ms()
        terms = Terms(
            request=RequestId(ports.entropy().expose()[:16].hex()),
            roster=group.roster,
            roster_version=newest.version,
            model=version,
            purpose=purpose,
            deadline=now_ms + wait_ms,
            retry_of=group.retry_of,
        )
        receipts = [
            consent.pack([_receipt(one, epoch=policy.epoch, layout=layout)])
            for one in group.wanted
        ]
        request, secrets = seal_inquiry(
            ports.keys, terms, b"".join(receipts), entropy=ports.entropy()
        )
        self._note(group, secrets, now_ms)
        failed, found = await ports.flights.exchange(request, seconds)
        if failed is not None:
            return secrets, self._missing(failed, secrets)
        sums = self._combined(group, secrets, found, layout)
        for place, one in enumerate(group.wanted):
            if not one.part.done():
                one.part.set_result(
                    Part(
                        sums=sums,
                        place=place,
                        context=secrets.context,
                        receipt=bytes.fromhex(consent.receipt_digest(receipts[place])),
                        roster=newest.version,
                        partners=group.roster,
                        model=version,
                    )
                )
        return secrets, frozenset()

    def _note(self, group: _Group, secrets: AskerSecrets, now_ms: int) -> None:
        """Keep whom was asked with which roster, before it leaves: the others will, too."""
        digest = bytes.fromhex(members_digest(group.roster))
        self._members[digest] = group.roster
        me = self._ports.keys.me
        keys = persons_of(me, _tokens(group.wanted))
        seen = Seen(secrets.inquiry.request, digest, now_ms)
        with self._ports.store.request() as rows:
            rows.note_persons(me, keys, seen, rows.history(me, keys))

    def _missing(self, failed: ScoreFailed, secrets: AskerSecrets) -> frozenset[PartnerId]:
        """Whom the retry leaves out; LocalError if a refusal is of another kind."""
        left_out = set(failed.silent) & set(secrets.masks)
        stale = set(secrets.masks).difference(self.roster(secrets.inquiry.purpose).partners)
        quota: set[PartnerId] = set()
        for refused in failed.refused:
            code = verify_refusal(refused, secrets.context, self._ports.keys)
            if code in _QUOTA:
                log.warning("%s refuses with %s", refused.member, code.value)
                quota.add(refused.member)
                # All count alike: one that refuses alone must not shut out all the others.
                if _FEW_REFUSE * len(quota) > len(secrets.masks):
                    raise LocalError(answers.QUOTA, f"{refused.member}: {code.value}")
            elif code not in _PASSED_OVER:
                log.warning("%s refuses with %s", refused.member, code.value)
                raise LocalError(answers.INCOMPLETE, f"{refused.member}: {code.value}")
            # Who refuses a roster because of others that are gone is asked again without them.
            left_out |= stale if code is ScoreRefusal.ROSTER and stale else {refused.member}
        if not left_out:
            raise LocalError(answers.INCOMPLETE, f"the coordinator says {failed.code}")
        return frozenset(left_out)

    def _combined(
        self,
        group: _Group,
        secrets: AskerSecrets,
        found: Sequence[ScoreAnswer],
        layout: Layout,
    ) -> JointSums:
        holdings = [one.person.holding for one in group.wanted]
        own = encode_holding(
            layout,
            {
                name: np.concatenate([one.logits[name] for one in holdings])
                for name in holdings[0].logits
            },
            np.concatenate([one.held for one in holdings]),
            allowed=np.concatenate([one.covered for one in holdings]),
        )
        return combine(secrets, found, own, layout=layout, keys=self._ports.keys)


def _receipt(wanted: _Wanted, *, epoch: int, layout: Layout) -> consent.Receipt:
    person = wanted.person
    families = (1 << len(layout.families)) - 1
    if wanted.purpose is Purpose.CLOSURE_SIGNAL:
        families = columns_of(person.purposes)
    return consent.Receipt(
        token=person.token,
        epoch=epoch,
        purposes=person.purposes,
        families=families,
        expires=person.expires,
        evidence=person.evidence,
        notice=person.notice,
        method=person.method,
    )


def _tokens(wanted: Sequence[_Wanted]) -> NDArray[np.uint8]:
    joined = b"".join(one.person.token for one in wanted)
    return np.frombuffer(joined, dtype=np.uint8).reshape(len(wanted), -1)


def _fail(wanted: Sequence[_Wanted], error: LocalError) -> None:
    for one in wanted:
        if not one.part.done():
            one.part.set_exception(error)
            one.part.exception()  # seen: whoever waited may have given up


def _outcome(part: "asyncio.Future[Part]") -> Part | LocalError:
    if not part.done():
        part.cancel()
        return LocalError(answers.UNREACHABLE, "the deadline passed")
    if part.cancelled():
        return LocalError(answers.UNREACHABLE)
    error = part.exception()
    if isinstance(error, LocalError):
        return error
    if error is not None:
        return LocalError(answers.UNREACHABLE, type(error).__name__)
    return part.result()
