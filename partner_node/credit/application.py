"""From what a desk asks to a decision that is on disk: score, decide, reserve, keep.

The rules are ``consortium.credit.decision``; ``deciding`` makes and keeps what they come to,
for all that wait together. An idempotency key brings the same bytes while it is kept; with
another question it is refused. No text of an error and no line of a log holds a value of an
application.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import date
from typing import TypeVar

from consortium.canonical import Label, hash_with
from consortium.credit.attested import AttestedFacts
from consortium.credit.decision import replay
from consortium.credit.facts import DecisionInput
from consortium.credit.tiers import Rules
from consortium.credit.verdict import RULE_TEXTS, Decision, Outcome, Override, override
from consortium.errors import DomainError, NotFoundError, OutOfOrderError, RiskWeaveError
from partner_node.answers import Shown
from partner_node.credit import admission, storage
from partner_node.credit.admission import Granting
from partner_node.credit.committer import Committer
from partner_node.credit.deciding import Deciding, Draft, answer_to
from partner_node.credit.forms import Application, OverrideWish, application_of, check_key
from partner_node.credit.looking import SharedLook
from partner_node.credit.ports import DeskServicePorts
from partner_node.credit.scores import Scored
from partner_node.credit.storage import (
    Connection,
    KeyedQuestion,
    StoredDecision,
    StoredOverride,
)
from partner_node.credit.vetting import Vetted, Vetting
from partner_node.credit.what_helps import Unhelped

T = TypeVar("T")

DEADLINE_MS = 500


class DeskService:
    """Makes and keeps decisions; safe to use from any thread, ``decide`` from one loop."""

    def __init__(self, ports: DeskServicePorts) -> None:
        self._ports = ports
        self._committer = Committer(ports.store)
        self._deciding = Deciding(ports)
        self._vetting = Vetting(ports)
        self._keys = SharedLook(self._answered)
        self._running: dict[str, tuple[str, asyncio.Task[bytes]]] = {}
        self.on_decided: Callable[[Unhelped], None] | None = None
        """Told of what is on disk and no approval, while what it was made from is at hand."""

    @property
    def ports(self) -> DeskServicePorts:
        """What it was made with, for the other services of the desk."""
        return self._ports

    def close(self) -> None:
        """Do what waits, then end."""
        self._committer.close()

    def submit(self, work: Callable[[Connection], T]) -> "Future[T]":
        """Have ``work`` done in a transaction of the desk's database (``Committer``)."""
        return self._committer.submit(work)

    def today(self) -> date:
        """The partner's calendar date."""
        return self._ports.today()

    # --- deciding -----------------------------------------------------------------------------

    async def decide(
        self, plain: object, *, key: str = "", caller: str, deadline_ms: int = DEADLINE_MS
    ) -> bytes:
        """Decide on an application.

        Args:
            plain: The parsed body of the request. Private.
            key: Idempotency key, a UUID; empty: none.
            caller: Whose keys these are: a client's name.
            deadline_ms: Time that is left for the joint answer.

        Returns:
            The answer, canonical JSON: id, decision, texts of its reasons.

        Raises:
            ForbiddenFieldError, DecodeError, DomainError, PersonError, ConsentMissingError:
                the application; nothing is decided or kept.
            AttestationError: its attestation, by the rule that it breaks; likewise.
            TransportError: whose attestation it is cannot be told now; likewise.
            RepeatedKeyError: the key came with another application.
            PolicyError: the rules of today are refused.
        """
        return await self._decide(plain, key, _Call(caller, deadline_ms, _Turn()))

    async def decide_many(
        self,
        asked: Sequence[tuple[Callable[[], object], str]],
        *,
        caller: str,
        deadline_ms: int = DEADLINE_MS,
    ) -> list[bytes | RiskWeaveError]:
        """Decide on several applications at a time, as if one after the other.

        Scores are asked for together; what a cap leaves is taken in order, so that the
        answers are those of single calls. Each fails alone.

        Args:
            asked: What reads the parsed body of each, and its idempotency key.
            caller: As of ``decide``.
            deadline_ms: Time for all joint answers.

        Returns:
            One answer, or what ``decide`` would raise, for each in order.
        """
        calls, turn = [], _Turn()
        for read, key in asked:
            calls.append(self._tried(read, key, _Call(caller, deadline_ms, turn)))
            turn = turn.next()
        return await asyncio.gather(*calls)

    async def _tried(
        self, read: Callable[[], object], key: str, call: "_Call"
    ) -> bytes | RiskWeaveError:
        try:
            return await self._decide(read(), key, call)
        except RiskWeaveError as error:
            return error
        finally:
            call.turn.over()

    async def _decide(self, plain: object, key: str, call: "_Call") -> bytes:
        asked = application_of(plain)
        if not check_key(key):
            return await self._make(asked, None, call)
        keyed = self._keyed(plain, key, call.caller)
        while (running := self._running.get(keyed.key)) is not None:
            if running[0] == keyed.question:
                call.turn.over()  # nobody waits for an answer that is another call's
                return await asyncio.shield(running[1])
            # Whether the key is taken is known when the other question is answered, or refused.
            await asyncio.wait({running[1]})
        # A task of its own: who asked may hang up, who asks again gets the same bytes.
        task = asyncio.create_task(self._answer(asked, keyed, call))
        self._running[keyed.key] = (keyed.question, task)
        task.add_done_callback(lambda _: self._running.pop(keyed.key, None))
        return await asyncio.shield(task)

    async def _answer(self, asked: Application, keyed: KeyedQuestion, call: "_Call") -> bytes:
        kept = answer_to(keyed, await self._keys.find(keyed.key))
        return kept if kept is not None else await self._make(asked, keyed, call)

    def _keyed(self, plain: object, key: str, caller: str) -> KeyedQuestion:
        ports = self._ports
        name = hash_with(Label.DESK_KEY, json.dumps((caller, check_key(key))).encode())
        question = json.dumps(plain, sort_keys=True).encode()
        return KeyedQuestion(
            ports.keyed(name), ports.keyed(hash_with(Label.DESK_QUESTION, question))
        )

    def _answered(self, keys: Sequence[str]) -> list[tuple[str, bytes] | None]:
        """Of each key, the hash of the question that came under it, and what answered it."""
        since = self._ports.now() - self._ports.keys_s
        with self._ports.store.reading() as connection:
            known = storage.answered(connection, keys, since)
        return [known.get(key) for key in keys]

    async def _make(
        self, asked: Application, keyed: KeyedQuestion | None, call: "_Call"
    ) -> bytes:
        found = await self._vetting.vetted(asked)
        facts, shown = await self._shown(found, call)
        scored, scores = Scored(facts=None), self._ports.scores
        if scores is not None:
            scored = await scores.score(
                found.asked,
                # A history never outweighs arrears that the lender sees itself.
                None if found.late else shown,
                today=found.today,
                caller=call.caller,
                deadline_ms=call.deadline_ms,
            )
        draft = Draft(
            asked=found.asked,
            scored=scored,
            subject=found.subject,
            keyed=keyed,
            shown=facts,
        )
        await call.turn.come()
        waiting = self._committer.share(self._deciding, draft)
        call.turn.over()
        made = await waiting
        if made.decision is not None and made.made_from is not None:
            inputs, rules = made.made_from
            self._deciding.kept(rules)
            refused = made.decision.outcome != Outcome.APPROVE
            if refused and self.on_decided is not None and scored.basis is not None:
                self.on_decided(
                    Unhelped(
                        name=made.decision.id, inputs=inputs, rules=rules, basis=scored.basis
                    )
                )
        return made.answer

    async def _shown(
        self, found: Vetted, call: "_Call"
    ) -> tuple[AttestedFacts | None, Shown | None]:
        """The history that the applicant brought, verified; nothing without one."""
        if not found.asked.attestation:
            return None, None
        showing = self._ports.showing
        if showing is None:
            raise OutOfOrderError("no attestation can be verified where no node serves")
        return await showing.verified(
            found.asked,
            found.attestations,
            today=found.today,
            deadline_ms=call.deadline_ms,
        )

    # --- what was decided ---------------------------------------------------------------------

    def decision(self, name: str) -> StoredDecision:
        """A stored decision; NotFoundError if there is none of that id."""
        with self._ports.store.reading() as connection:
            return _found(connection, name)

    def rules_of(self, connection: Connection, inputs: DecisionInput) -> Rules:
        """The rules that a stored input names, from the files that were kept with it."""
        return self._ports.rules.of(
            inputs.pack,
            inputs.policy,
            inputs.catalogue,
            lambda digest: storage.rule_file(connection, digest),
        )

    def replay(self, name: str) -> Decision:
        """Decide again from what is stored; DigestMismatchError if it comes out otherwise."""
        with self._ports.store.reading() as connection:
            return self._replayed(connection, _found(connection, name))

    def replay_last(self, count: int) -> Iterator[Decision]:
        """Decide the newest ones again, one after the other; raises as ``replay``."""
        with self._ports.store.reading() as connection:
            for stored in storage.decisions(connection, last=count):
                yield self._replayed(connection, stored)

    def _replayed(self, connection: Connection, stored: StoredDecision) -> Decision:
        rules = self.rules_of(connection, DecisionInput.from_bytes(stored.input))
        return replay(stored.input, stored.decision, rules)

    # --- officers -----------------------------------------------------------------------------

    def override(self, name: str, wish: OverrideWish, *, by: str) -> bytes:
        """An officer's final decision; never refused for what it decides (credit 3.4).

        What it grants counts into the week's exposure, what it takes back is given back.

        Args:
            name: Id of the decision.
            wish: What the officer decides.
            by: Which of the partner's systems asked, a client's name.

        Returns:
            The override, canonical JSON.

        Raises:
            NotFoundError: no such decision.
            DomainError: what it says does not hold together, or a reason is one that neither
                the schema in force, nor a rule, nor the decision knows.
        """
        return self._committer.submit(
            lambda connection: self._override(connection, name, wish, by)
        ).result()

    def _override(
        self, connection: Connection, name: str, wish: OverrideWish, by: str
    ) -> bytes:
        stored = _found(connection, name)
        decision = Decision.from_bytes(stored.decision)
        at = self._ports.now()
        today = self._ports.day_of(at)
        made = override(decision, wish.code, role=wish.role, on=today, to=wish.to)
        self._check_reasons(stored, made.reasons)
        kept = admission.give_back(connection, admission.load(connection, today), name)
        if made.after is Outcome.APPROVE and decision.grade is not None:
            granted = Granting(name, decision.grade, made.limit)
            kept = admission.grant_beyond(connection, kept, granted)
        admission.save(connection, kept)
        document = made.to_bytes()
        storage.keep_override(
            connection,
            StoredOverride(decision=name, document=document, note=wish.note, by=by, at=at),
        )
        return document

    def _check_reasons(self, stored: StoredDecision, codes: tuple[str, ...]) -> None:
        """A notice has words for each: of a rule, of the schema, or told with the decision."""
        schema, texts = self._ports.schema(), json.loads(stored.answer)["reasons"]
        known = {*RULE_TEXTS, *(one["code"] for one in texts if one["en"])}
        known |= {one.reason for one in schema.features} if schema is not None else set()
        if not known.issuperset(codes):
            raise DomainError("reasons: a code that neither the schema nor a rule knows")

    def overrides(self, name: str) -> tuple[Override, ...]:
        """Officers' decisions on one, oldest first: the last counts."""
        with self._ports.store.reading() as connection:
            return tuple(
                Override.from_bytes(one.document)
                for one in storage.overrides_of(connection, name)
            )


# --- parts ------------------------------------------------------------------------------------


def _found(connection: Connection, name: str) -> StoredDecision:
    found = storage.decision_of(connection, name)
    if found is None:
        raise NotFoundError("no decision of this id")
    return found


class _Turn:
    """Whose draft goes to the lock next, of several that were asked in an order."""

    def __init__(self, before: "_Turn | None" = None) -> None:
        self.before = before
        self.gone = asyncio.Event()

    def next(self) -> "_Turn":
        """Of who comes after this one."""
        return _Turn(self)

    async def come(self) -> None:
        """Until all before have gone, or will not come."""
        while self.before is not None:
            await self.before.gone.wait()
            self.before = self.before.before

    def over(self) -> None:
        """Let the next one go, once those before have gone, too."""
        self.gone.set()


@dataclass(frozen=True, slots=True)
class _Call:
    """Who asks, in what time, and whose turn it is."""

    caller: str
    deadline_ms: int
    turn: _Turn
