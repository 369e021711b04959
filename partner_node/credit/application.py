"""From what a desk asks to a decision that is on disk: score, decide, reserve, keep.

The rules are ``consortium.credit.decision``. What a week's cap still leaves is an input of
each decision, so deciding, reserving and keeping are one transaction (credit 4.18): no number
of clients and of processes gets more than a cap. An idempotency key brings the same bytes
while it is kept; with another question it is refused. No text of an error and no line of a
log holds a value of an application.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import date, datetime, tzinfo
from typing import TypeVar

from consortium.canonical import Label, canonical_json, hash_with
from consortium.credit.admission import headroom
from consortium.credit.decision import decide, replay
from consortium.credit.facts import Consent, DecisionInput
from consortium.credit.terms import ConsentPurpose
from consortium.credit.tiers import Rules
from consortium.credit.verdict import (
    RULE_TEXTS,
    Decision,
    Outcome,
    Override,
    ReasonSource,
    override,
)
from consortium.errors import NotFoundError, RepeatedKeyError
from consortium.ids import Digest
from consortium.scoring.scorecard import from_units, pd_of
from partner_node.credit import admission, storage, storage_people, storage_watch
from partner_node.credit.admission import Granting
from partner_node.credit.committer import Committer
from partner_node.credit.forms import Application, OverrideWish, application_of, check_key
from partner_node.credit.rules import InForce, RulesBook
from partner_node.credit.scores import ReasonText, Scored, ScoreLeg
from partner_node.credit.storage import (
    Connection,
    CreditStore,
    KeyedQuestion,
    StoredDecision,
    StoredOverride,
)
from partner_node.credit.what_helps import Basis

T = TypeVar("T")

KEYS_S = 86_400
"""How long an idempotency key brings the same bytes, if nothing else is set."""
TIDY_S = 600
"""How often keys whose time is over are erased."""
DEADLINE_MS = 500
PD_DECIMALS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskServicePorts:
    """The surroundings of the credit desk."""

    store: CreditStore
    rules: RulesBook
    scores: ScoreLeg | None
    """None: no node serves here, so only decisions without a score can be made."""
    subject: Callable[[str], bytes]
    """Keyed hash of a person's identifier; PersonError."""
    keyed: Callable[[str], str]
    """Keyed hash of a text: what is kept names no question to who may guess one."""
    now: Callable[[], int]
    zone: tzinfo
    """Of the partner: its calendar dates are those of a decision."""
    keys_s: int = KEYS_S


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """An application that has its score and waits for the lock. Private."""

    asked: Application
    scored: Scored = field(repr=False)
    subject: bytes = field(repr=False)
    keyed: KeyedQuestion | None


class DeskService:
    """Makes and keeps decisions; safe to use from any thread, ``decide`` from one loop."""

    def __init__(self, ports: DeskServicePorts) -> None:
        self._ports = ports
        self._committer = Committer(ports.store)
        self._running: dict[str, tuple[str, asyncio.Task[bytes]]] = {}
        self._kept_rules: tuple[Digest, ...] = ()
        """Of decisions that are on disk."""
        self._tidied = 0
        self.on_decided: Callable[[str, Basis], None] | None = None
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
        return datetime.fromtimestamp(self._ports.now(), self._ports.zone).date()

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
            RepeatedKeyError: the key came with another application.
            PolicyError: the rules of today are refused.
        """
        asked = application_of(plain)
        if not check_key(key):
            return await self._make(asked, None, caller, deadline_ms)
        keyed = self._keyed(plain, key, caller)
        running = self._running.get(keyed.key)
        if running is not None:
            _same(keyed.question, running[0])
            return await asyncio.shield(running[1])
        kept = await asyncio.to_thread(self._answered, keyed)
        if kept is not None:
            return kept
        # A task of its own: who asked may hang up, who asks again gets the same bytes.
        task = asyncio.create_task(self._make(asked, keyed, caller, deadline_ms))
        self._running[keyed.key] = (keyed.question, task)
        task.add_done_callback(lambda _: self._running.pop(keyed.key, None))
        return await asyncio.shield(task)

    def _keyed(self, plain: object, key: str, caller: str) -> KeyedQuestion:
        ports = self._ports
        name = hash_with(Label.DESK_KEY, json.dumps((caller, check_key(key))).encode())
        question = json.dumps(plain, sort_keys=True).encode()
        return KeyedQuestion(
            ports.keyed(name), ports.keyed(hash_with(Label.DESK_QUESTION, question))
        )

    def _answered(self, keyed: KeyedQuestion) -> bytes | None:
        with self._ports.store.reading() as connection:
            return self._known(connection, keyed)

    def _known(self, connection: Connection, keyed: KeyedQuestion) -> bytes | None:
        since = self._ports.now() - self._ports.keys_s
        found = storage.answered(connection, keyed.key, since)
        if found is None:
            return None
        _same(keyed.question, found[0])
        return found[1]

    async def _make(
        self,
        asked: Application,
        keyed: KeyedQuestion | None,
        caller: str,
        deadline_ms: int,
    ) -> bytes:
        ports = self._ports
        subject = ports.subject(asked.person) if asked.person else b""
        scored = Scored(facts=None)
        if ports.scores is not None:
            scored = await ports.scores.score(
                asked, today=self.today(), caller=caller, deadline_ms=deadline_ms
            )
        draft = _Draft(asked=asked, scored=scored, subject=subject, keyed=keyed)
        done = self._committer.submit(lambda connection: self._decide(connection, draft))
        answer, names = await asyncio.wrap_future(done)
        self._kept_rules = names
        if self.on_decided is not None and scored.basis is not None:
            told = json.loads(answer)
            if told["decision"]["outcome"] != Outcome.APPROVE:
                self.on_decided(told["id"], scored.basis)
        return answer

    def _decide(
        self, connection: Connection, draft: _Draft
    ) -> tuple[bytes, tuple[Digest, ...]]:
        """The whole decision, under the write lock."""
        if draft.keyed is not None:
            # Another process may have been asked the same meanwhile.
            known = self._known(connection, draft.keyed)
            if known is not None:
                return known, self._kept_rules
        today, at = self.today(), self._ports.now()
        found = self._ports.rules.at(today)
        policy = found.rules.policy
        kept = admission.load(connection, today)
        here = _Here(
            today=today,
            at=at,
            headroom=headroom(kept.state, policy),
            gone=_withdrawn_here(connection, draft),
            stage=storage_watch.stage_of_person(connection, draft.subject),
        )
        inputs = _input(draft, found.rules, here)
        data = inputs.to_bytes()
        digest = hash_with(Label.DECISION_INPUT, data)
        decision = decide(inputs, found.rules, digest=digest)
        stored = _stored(draft, (inputs, data), decision)
        if decision.outcome is Outcome.APPROVE and decision.grade is not None:
            granted = Granting(stored.id, decision.grade, decision.limit)
            kept = admission.grant(connection, kept, policy, granted)
            admission.save(connection, kept)
        storage.keep_decision(connection, stored)
        self._keep_rules(connection, found, at)
        if draft.keyed is not None:
            storage.keep_key(connection, draft.keyed, stored.id, at)
            self._forget_keys(connection, at)
        return stored.answer, tuple(one.digest for one in found.files)

    def _forget_keys(self, connection: Connection, at: int) -> None:
        """Erase keys whose time is over, once in a while."""
        if at >= self._tidied + TIDY_S:
            storage.drop_keys(connection, at - self._ports.keys_s)
            self._tidied = at

    def _keep_rules(self, connection: Connection, found: InForce, at: int) -> None:
        """Keep the files with the first decision that names them."""
        if tuple(one.digest for one in found.files) == self._kept_rules:
            return
        for one in found.files:
            storage.keep_rule_file(connection, one.digest, one.kind, one.source, at=at)

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
            DomainError: what it says does not hold together.
        """
        return self._committer.submit(
            lambda connection: self._override(connection, name, wish, by)
        ).result()

    def _override(
        self, connection: Connection, name: str, wish: OverrideWish, by: str
    ) -> bytes:
        stored = _found(connection, name)
        decision = Decision.from_bytes(stored.decision)
        today = self.today()
        made = override(decision, wish.code, role=wish.role, on=today, to=wish.to)
        kept = admission.give_back(connection, admission.load(connection, today), name)
        if made.after is Outcome.APPROVE and decision.grade is not None:
            granted = Granting(name, decision.grade, made.limit)
            kept = admission.grant_beyond(connection, kept, granted)
        admission.save(connection, kept)
        document = made.to_bytes()
        storage.keep_override(
            connection,
            StoredOverride(
                decision=name, document=document, note=wish.note, by=by, at=self._ports.now()
            ),
        )
        return document

    def overrides(self, name: str) -> tuple[Override, ...]:
        """Officers' decisions on one, oldest first: the last counts."""
        with self._ports.store.reading() as connection:
            return tuple(
                Override.from_bytes(one.document)
                for one in storage.overrides_of(connection, name)
            )


# --- parts ------------------------------------------------------------------------------------


def _same(question: str, known: str) -> None:
    if question != known:
        raise RepeatedKeyError("this idempotency key came with another application before")


def _found(connection: Connection, name: str) -> StoredDecision:
    found = storage.decision_of(connection, name)
    if found is None:
        raise NotFoundError("no decision of this id")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Here:
    """What this node knows at the moment of a decision, read where it is kept. Private."""

    today: date
    at: int
    headroom: tuple[int, ...]
    gone: frozenset[ConsentPurpose]
    """Consents that the person has withdrawn at this node."""
    stage: int
    """Worst of the person's lines that are followed up; 1 without any."""


def _withdrawn_here(connection: Connection, draft: _Draft) -> frozenset[ConsentPurpose]:
    gone = set[ConsentPurpose]()
    if draft.subject:
        gone |= set(storage_people.withdrawn_by(connection, draft.subject))
    if draft.scored.withdrawn:
        gone.add(ConsentPurpose.JOINT_SCORE)
    return frozenset(gone)


def _input(draft: _Draft, rules: Rules, here: _Here) -> DecisionInput:
    asked, scored = draft.asked, draft.scored
    standing = replace(asked.standing, stage=max(asked.standing.stage, here.stage))
    return DecisionInput(
        application=asked.application,
        decided_on=here.today,
        decided_at=here.at,
        pack=rules.pack_digest,
        policy=rules.policy_digest,
        catalogue=rules.catalogue_digest,
        wish=asked.wish,
        standing=standing,
        score=scored.facts,
        consents=tuple(_withdrawn(one, here) for one in asked.consents),
        headroom=here.headroom,
    )


def _withdrawn(one: Consent, here: _Here) -> Consent:
    """The consent as this node knows it: withdrawn here, whatever the desk still believes."""
    if one.purpose not in here.gone or one.withdrawn_on is not None:
        return one
    return replace(one, withdrawn_on=here.today)


def _stored(
    draft: _Draft, made_from: tuple[DecisionInput, bytes], decision: Decision
) -> StoredDecision:
    inputs, document = made_from
    data = decision.to_bytes()
    name = hash_with(Label.DECISION, data)
    return StoredDecision(
        id=name,
        application=inputs.application,
        subject=draft.subject,
        at=inputs.decided_at,
        outcome=decision.outcome,
        grade=decision.grade or "",
        input=document,
        decision=data,
        answer=_answer((name, data), inputs, decision, draft.scored.texts),
    )


def _answer(
    made: tuple[Digest, bytes],
    inputs: DecisionInput,
    decision: Decision,
    texts: tuple[ReasonText, ...],
) -> bytes:
    """What the desk is told: the decision as it is stored, and words for its codes."""
    name, document = made
    score = inputs.score
    said = {one.code: one for one in texts}
    reasons = []
    for one in decision.reasons:
        text = RULE_TEXTS[one.code] if one.source is ReasonSource.RULE else said.get(one.code)
        zh, en = (text.zh, text.en) if text else ("", "")
        reasons.append({"code": one.code, "zh": zh, "en": en, "points": one.points})
    code = RULE_TEXTS.get(decision.code)
    rest = canonical_json(
        {
            "id": name,
            "reasons": reasons,
            "why": {"zh": code.zh, "en": code.en} if code else {},
            "score": {}
            if score is None
            else {
                "points": score.points,
                "pd": f"{pd_of(from_units(score.eta)):.{PD_DECIMALS}f}",
                "band": score.band,
                "fallback": score.fallback,
            },
        }
    )
    # "decision" is the first of the names: so this is canonical as well.
    return b'{"decision":' + document + b"," + rest[1:]
