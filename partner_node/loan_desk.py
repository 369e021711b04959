"""What both doors of the desk do with a question: check, remember, ask, explain (13.7).

One core for gRPC and REST. A question without consent is refused before anybody is asked.
An idempotency key brings the same bytes for 24 hours; with another question it is refused.
The key is the caller's own: who guesses another's gets nothing by it. Nothing here is
logged but counts and codes.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

from consortium.canonical import Label, hash_with
from consortium.credit.attested import refuse_plain
from consortium.errors import (
    AttestationError,
    DecodeError,
    MessageTooLargeError,
    RepeatedKeyError,
    RiskWeaveError,
    ScoreRefusal,
    ScoreRefusalError,
)
from consortium.inquiries import LARGEST_BATCH, Purpose
from partner_node.answers import Applicant, ConsentReference, JointAnswer, Shown
from partner_node.desk import Score, Served, assemble

DEADLINE_MS = 500
LEAST_MS = 20
"""With less time left than this nobody is asked."""
INQUIRY_S = 86_400
"""How long a consent lasts that was given for this inquiry only."""
KEY_LENGTHS = range(8, 129)
METHODS = ("signed", "online", "recorded")
LONGEST_TEXT = 256
"""Characters of an identifier, a reference or an attribute's text."""
MOST_ATTRIBUTES = 512
_LATEST = 1 << 53
_MOST_NOTICES = (1 << 16) - 1
"""A receipt has 16 bits for the notice's version (protocol 7.8)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """The consent as the desk names it, before it is checked."""

    reference: str = ""
    purposes: tuple[str, ...] = ()
    expires: int = 0
    notice: int = 0
    method: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One score that is asked for. Private."""

    person: str = field(repr=False)
    consent: Consent = field(repr=False)
    attributes: Mapping[str, float | str | None] | None = field(default=None, repr=False)
    key: str = field(default="", repr=False)
    """Idempotency key; empty: none."""
    brief: bool = False
    shown: Shown | None = field(default=None, repr=False)
    """Set by the credit desk alone, of an attestation that it verified; never with a key."""

    def digest(self) -> str:
        """Over all that was asked. Private: who guesses the question finds it by this."""
        consent = self.consent
        parts = (
            self.key,
            self.person,
            (consent.reference, consent.purposes, consent.expires),
            (consent.notice, consent.method),
            None if self.attributes is None else sorted(self.attributes.items()),
            self.brief,
        )
        return hash_with(Label.DESK_QUESTION, json.dumps(parts).encode())


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one of several questions has no score; the text names no person."""

    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskStatus:
    """How the desk stands."""

    partner: str
    manifest: str = ""
    delivery: str = ""
    model: str = ""
    head: str = ""
    fallback: str = ""
    """Why an answer would be local now; empty if it would be joint."""
    partners: int = 0
    """In the roster, this one included."""


class Ask(Protocol):
    """The scoring session's half of the asker (``scoring_session.ask``)."""

    async def __call__(
        self,
        applicants: Sequence[Applicant],
        *,
        purpose: Purpose,
        deadline_ms: int,
        inquirer: str,
    ) -> Sequence[JointAnswer]:
        """One answer for each applicant, in order, before the deadline; local if need be."""


class Answers(Protocol):
    """Where answers are kept for 24 hours (``scoring_store``)."""

    def answered(self, key: str) -> tuple[str, bytes] | None:
        """Digest of the question that came under this key, and the bytes that answered it."""

    def keep_answer(self, key: str, question: str, answer: bytes) -> None:
        """Keep them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskPorts:
    """The surroundings of the desk."""

    ask: Ask
    check: Callable[[Applicant], None]
    """Raise DataError if the identifier or an attribute is not of its form."""
    served: Callable[[JointAnswer], Served]
    """What explains an answer: tables of the versions in it."""
    answers: Answers
    keyed: Callable[[str], str]
    """Hash under a key of this node: what is kept names no question to who may guess one."""
    status: Callable[[], DeskStatus]
    now: Callable[[], int]


def applicant_of(question: Question, now: int) -> Applicant:
    """The applicant, if the question is whole.

    Raises:
        ScoreRefusalError: no consent, expired, or not for a joint score (S08).
        DecodeError: a field that is not of its form.
        AttestationError: attributes say what a signed history says.
    """
    if not 0 < len(question.person) <= LONGEST_TEXT:
        raise DecodeError(f"person: not 1 to {LONGEST_TEXT} characters")
    if question.key and not (len(question.key) in KEY_LENGTHS and question.key.isprintable()):
        raise DecodeError("idempotency key: not 8 to 128 printable characters")
    attributes = question.attributes
    if attributes is not None:
        if len(attributes) > MOST_ATTRIBUTES:
            raise DecodeError(f"attributes: more than {MOST_ATTRIBUTES}")
        refuse_plain(attributes)
        texts = (value for value in attributes.values() if isinstance(value, str))
        if any(len(text) > LONGEST_TEXT for text in texts):
            raise DecodeError(f"attributes: a text of more than {LONGEST_TEXT} characters")
    return Applicant(
        person=question.person,
        consent=_consent_of(question.consent, now),
        attributes=attributes,
        shown=question.shown,
    )


def _consent_of(consent: Consent, now: int) -> ConsentReference:
    if not consent.reference.strip():
        raise _no_consent("a consent reference is required")
    if len(consent.reference) > LONGEST_TEXT:
        raise DecodeError(f"consent: reference of more than {LONGEST_TEXT} characters")
    try:
        purposes = tuple(map(Purpose, consent.purposes)) or (Purpose.JOINT_SCORE,)
    except ValueError as error:
        known = ", ".join(Purpose)
        raise _no_consent(f"a purpose of the consent is not one of {known}") from error
    if Purpose.JOINT_SCORE not in purposes:
        raise _no_consent("the consent does not allow JOINT_SCORE")
    expires = consent.expires or now + INQUIRY_S
    if expires <= now:
        raise _no_consent("the consent has expired")
    if not (expires < _LATEST and 0 <= consent.notice <= _MOST_NOTICES):
        # What no receipt can hold would fail all whose questions are packed with this one.
        raise DecodeError("consent: expires or notice out of range")
    method = consent.method or METHODS[0]
    if method not in METHODS:
        raise DecodeError(f"consent: method is not one of {', '.join(METHODS)}")
    return ConsentReference(
        reference=consent.reference,
        purposes=purposes,
        expires=expires,
        notice=consent.notice or 1,
        method=method,
    )


def _no_consent(text: str) -> ScoreRefusalError:
    return ScoreRefusalError(ScoreRefusal.PURPOSE, text)


def failure_of(error: RiskWeaveError) -> Failure:
    """Code and text of an error for the desk's own systems, which may read them in full."""
    if isinstance(error, ScoreRefusalError):
        return Failure(error.reason.value, str(error))
    if isinstance(error, AttestationError):
        return Failure(error.code, f"{error.rule}: {error}")
    return Failure(error.code, str(error) or error.public)


class LoanDesk:
    """Answers questions of the partner's own systems. One event loop."""

    def __init__(self, ports: DeskPorts) -> None:
        self._ports = ports
        self._running: dict[str, tuple[str, asyncio.Task[bytes]]] = {}

    def status(self) -> DeskStatus:
        """How it stands."""
        return self._ports.status()

    async def score(
        self, question: Question, *, caller: str, deadline_ms: int = DEADLINE_MS
    ) -> Score:
        """The score of one person.

        Args:
            question: Private.
            caller: Whose idempotency keys these are: a client's name.
            deadline_ms: Time that is left.

        Raises:
            ScoreRefusalError: consent (S08) or the deadline (S06).
            RepeatedKeyError: the key came with another question.
            DataError, DecodeError: the question is not of its form.
        """
        applicant = self._checked(question)
        inquiry = _Inquiry(caller, deadline_ms)
        if not question.key:
            return (await self._ask([(question, applicant)], inquiry))[0]
        return Score.from_bytes(await self._once(question, applicant, inquiry))

    async def explained(
        self, question: Question, *, caller: str, deadline_ms: int = DEADLINE_MS
    ) -> tuple[Score, JointAnswer]:
        """As ``score`` without a key, and the answer that the score tells of; kept nowhere."""
        asked = [(question, self._checked(question))]
        return (await self._answers(asked, _Inquiry(caller, deadline_ms)))[0]

    async def score_many(
        self, questions: Sequence[Question], *, caller: str, deadline_ms: int = DEADLINE_MS
    ) -> list[Score | Failure]:
        """Scores of 1 to 256 persons in order; who cannot be asked about fails alone.

        Raises:
            MessageTooLargeError: more than 256.
            ScoreRefusalError, StorageError: nobody could be asked about.
        """
        if len(questions) > LARGEST_BATCH:
            raise MessageTooLargeError(len(questions), LARGEST_BATCH)
        checked = [self._checked_or_failure(question) for question in questions]
        places = range(len(questions))
        whole = [place for place in places if isinstance(checked[place], Applicant)]
        together = [place for place in whole if not questions[place].key]
        pairs = [(questions[p], cast("Applicant", checked[p])) for p in together]
        results = dict(
            zip(together, await self._ask(pairs, _Inquiry(caller, deadline_ms)), strict=True)
        )
        # With a key each goes its own way; the session packs them all the same.
        keyed = [place for place in whole if questions[place].key]
        single = (self._or_failure(questions[p], caller, deadline_ms) for p in keyed)
        found = dict(zip(keyed, await asyncio.gather(*single), strict=True))
        refused = {p: one for p in places if isinstance(one := checked[p], Failure)}
        by_place: dict[int, Score | Failure] = {**refused, **found, **results}
        return [by_place[place] for place in places]

    def _checked_or_failure(self, question: Question) -> Applicant | Failure:
        try:
            return self._checked(question)
        except RiskWeaveError as error:
            return failure_of(error)

    async def _or_failure(
        self, question: Question, caller: str, deadline_ms: int
    ) -> Score | Failure:
        try:
            return await self.score(question, caller=caller, deadline_ms=deadline_ms)
        except RiskWeaveError as error:
            return failure_of(error)

    def _checked(self, question: Question) -> Applicant:
        applicant = applicant_of(question, self._ports.now())
        self._ports.check(applicant)
        return applicant

    async def _ask(
        self, asked: Sequence[tuple[Question, Applicant]], inquiry: "_Inquiry"
    ) -> list[Score]:
        return [score for score, _ in await self._answers(asked, inquiry)]

    async def _answers(
        self, asked: Sequence[tuple[Question, Applicant]], inquiry: "_Inquiry"
    ) -> list[tuple[Score, JointAnswer]]:
        if not asked:
            return []
        if inquiry.deadline_ms < LEAST_MS:
            raise ScoreRefusalError(ScoreRefusal.DEADLINE, "no time is left to ask")
        ports = self._ports
        answers = await ports.ask(
            [applicant for _, applicant in asked],
            purpose=Purpose.JOINT_SCORE,
            deadline_ms=inquiry.deadline_ms,
            inquirer=inquiry.caller,
        )
        now = ports.now()
        return [
            (
                assemble(answer, ports.served(answer), brief=question.brief, answered_at=now),
                answer,
            )
            for (question, _), answer in zip(asked, answers, strict=True)
        ]

    async def _once(
        self, question: Question, applicant: Applicant, inquiry: "_Inquiry"
    ) -> bytes:
        """The bytes under the key: kept, being made by another call, or made now."""
        keyed = self._ports.keyed
        key, digest = keyed(_key_of(inquiry.caller, question.key)), keyed(question.digest())
        running = self._running.get(key)
        if running is not None:
            _same(digest, running[0])
            return await asyncio.shield(running[1])
        kept = self._ports.answers.answered(key)
        if kept is not None:
            _same(digest, kept[0])
            return kept[1]
        # A task of its own: who asked may hang up, who asks again gets the same bytes.
        task = asyncio.create_task(self._make(key, digest, (question, applicant), inquiry))
        self._running[key] = (digest, task)
        task.add_done_callback(lambda _: self._running.pop(key, None))
        return await asyncio.shield(task)

    async def _make(
        self, key: str, digest: str, asked: tuple[Question, Applicant], inquiry: "_Inquiry"
    ) -> bytes:
        score = (await self._ask([asked], inquiry))[0]
        made = score.to_bytes()
        self._ports.answers.keep_answer(key, digest, made)
        return made


@dataclass(frozen=True, slots=True)
class _Inquiry:
    """Who asks, and how much time is left."""

    caller: str
    deadline_ms: int


def _same(digest: str, known: str) -> None:
    if digest != known:
        raise RepeatedKeyError("this idempotency key came with another question before")


def _key_of(caller: str, key: str) -> str:
    return hash_with(Label.DESK_KEY, json.dumps((caller, key)).encode())
