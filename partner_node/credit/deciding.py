"""Drafts into decisions that are on disk: all that wait, in one transaction.

What a week's cap still leaves is an input of each decision, so deciding, reserving and keeping
are one transaction (credit 4.18): no number of clients and of processes gets more than a cap.
What the node knows of persons and keys is read once for all drafts, under the write lock;
then they are decided one after the other, each with what the ones before it left, and what
they come to is written together. A draft that cannot be decided fails alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from consortium.canonical import Label, canonical_json, hash_with
from consortium.credit.admission import headroom
from consortium.credit.attested import AttestedFacts
from consortium.credit.decision import admit, decide
from consortium.credit.facts import Consent, DecisionInput
from consortium.credit.terms import GRADES, ConsentPurpose
from consortium.credit.tiers import Rules
from consortium.credit.verdict import RULE_TEXTS, Decision, Outcome, ReasonSource
from consortium.errors import RepeatedKeyError
from consortium.ids import Digest
from consortium.scoring.scorecard import from_units, pd_of
from partner_node.credit import admission, storage, storage_people, storage_watch
from partner_node.credit.admission import Granting, Kept
from partner_node.credit.forms import Application
from partner_node.credit.ports import DeskServicePorts
from partner_node.credit.rules import InForce
from partner_node.credit.scores import ReasonText, Scored
from partner_node.credit.storage import Connection, KeyedQuestion, StoredDecision

TIDY_S = 600
"""How often keys whose time is over are erased."""
PD_DECIMALS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An application that has its score and waits for the lock. Private."""

    asked: Application
    scored: Scored = field(repr=False)
    subject: bytes = field(repr=False)
    keyed: KeyedQuestion | None
    shown: AttestedFacts | None = field(default=None, repr=False)
    """A verified history of the person."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a draft came to. Private."""

    answer: bytes = field(repr=False)
    decision: StoredDecision | None = field(repr=False, default=None)
    """None: the key had been answered before."""
    made_from: tuple[DecisionInput, Rules] | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When decisions are made, and by which rules."""

    today: date
    at: int
    found: InForce

    @classmethod
    def of(cls, ports: DeskServicePorts) -> "Moment":
        """Now, of one look at the clock; PolicyError if the rules are refused."""
        at = ports.now()
        today = ports.day_of(at)
        return cls(today=today, at=at, found=ports.rules.at(today))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Here:
    """What this node knows of a person and of its caps, read where it is kept. Private."""

    headroom: tuple[int, ...]
    gone: frozenset[ConsentPurpose]
    """Consents that the person has withdrawn at this node."""
    stage: int
    """Worst of the person's lines that are followed up; 1 without any."""


class Deciding:
    """Decides on drafts in a transaction of the committer's thread."""

    def __init__(self, ports: DeskServicePorts) -> None:
        self._ports = ports
        self._kept_rules: tuple[Digest, ...] = ()
        """Of decisions that are on disk."""
        self._tidied = 0

    def __call__(
        self, connection: Connection, drafts: Sequence[Draft]
    ) -> list[Made | Exception]:
        """One result for each draft, in order; PolicyError if the rules are refused."""
        moment = Moment.of(self._ports)
        batch = _Batch(connection, moment, drafts, self._ports.keys_s)
        made = [batch.decided(draft) for draft in drafts]
        batch.keep()
        if any(isinstance(one, Made) and one.decision is not None for one in made):
            self._keep_rules(connection, moment)
        if any(draft.keyed for draft in drafts):
            self._forget_keys(connection, moment.at)
        return made

    def kept(self, rules: Rules) -> None:
        """Take note that a decision of these rules is on disk, with their files."""
        names = (rules.pack_digest, rules.policy_digest, rules.catalogue_digest)
        self._kept_rules = names

    def _keep_rules(self, connection: Connection, moment: Moment) -> None:
        """Keep the files with the first decision that names them."""
        files = moment.found.files
        if tuple(one.digest for one in files) == self._kept_rules:
            return
        for one in files:
            storage.keep_rule_file(connection, one.digest, one.kind, one.source, at=moment.at)

    def _forget_keys(self, connection: Connection, at: int) -> None:
        """Erase keys whose time is over, once in a while."""
        if at >= self._tidied + TIDY_S:
            storage.drop_keys(connection, at - self._ports.keys_s)
            self._tidied = at


class _Batch:
    """Drafts of one transaction: what they rest on, and what they come to. Private."""

    def __init__(
        self, connection: Connection, moment: Moment, drafts: Sequence[Draft], keys_s: int
    ) -> None:
        keys = [draft.keyed.key for draft in drafts if draft.keyed is not None]
        subjects = list({draft.subject for draft in drafts if draft.subject})
        self._connection = connection
        self._moment = moment
        self._known = storage.answered(connection, keys, moment.at - keys_s)
        self._gone = storage_people.withdrawn_of(connection, subjects)
        self._stages = storage_watch.stages_of(connection, subjects)
        self._state: Kept = admission.load(connection, moment.today)
        self._decisions: list[StoredDecision] = []
        self._granted: list[Granting] = []
        self._keys: list[tuple[KeyedQuestion, str]] = []

    def decided(self, draft: Draft) -> Made | Exception:
        """Decide on one, with what those before it left; an error is its own."""
        try:
            if draft.keyed is not None:
                # Another process, or an earlier draft, may have been asked the same.
                known = answer_to(draft.keyed, self._known.get(draft.keyed.key))
                if known is not None:
                    return Made(known)
            return self._made(draft)
        except Exception as error:  # noqa: BLE001 - told to who asked for it
            return error

    def _made(self, draft: Draft) -> Made:
        moment, rules = self._moment, self._moment.found.rules
        inputs = _input(draft, rules, moment, self._here(draft))
        data = inputs.to_bytes()
        decision = decide(inputs, rules, digest=hash_with(Label.DECISION_INPUT, data))
        stored = _stored(draft, (inputs, data), decision)
        if decision.outcome is Outcome.APPROVE and decision.grade is not None:
            granted = Granting(stored.id, decision.grade, decision.limit)
            self._state = admission.grant(self._state, rules.policy, granted)
            self._granted.append(granted)
        self._decisions.append(stored)
        if draft.keyed is not None:
            self._keys.append((draft.keyed, stored.id))
            self._known[draft.keyed.key] = (draft.keyed.question, stored.answer)
        return Made(stored.answer, stored, (inputs, rules))

    def _here(self, draft: Draft) -> _Here:
        gone = self._gone.get(draft.subject, frozenset())
        if draft.scored.withdrawn:
            gone |= {ConsentPurpose.JOINT_SCORE}
        return _Here(
            headroom=headroom(self._state.state, self._moment.found.rules.policy),
            gone=gone,
            stage=self._stages.get(draft.subject, 1),
        )

    def keep(self) -> None:
        """Write what all of them came to."""
        connection = self._connection
        if self._granted:
            admission.save(connection, self._state)
            admission.note(connection, self._state, self._granted)
        storage.keep_decisions(connection, self._decisions)
        storage.keep_keys(connection, self._keys, self._moment.at)


def vetted(asked: Application, moment: Moment, gone: frozenset[ConsentPurpose]) -> Application:
    """An application as it may be scored, with consents as this node knows them.

    Raises:
        DomainError: a value outside its bounds, a date to come, or another currency.
        ConsentMissingError: no consent to CREDIT_DECISION is in force.
        PolicyError: rules are not in force today.
    """
    draft = Draft(asked=asked, scored=Scored(facts=None), subject=b"", keyed=None)
    here = _Here(headroom=(0,) * len(GRADES), gone=gone, stage=1)
    inputs = _input(draft, moment.found.rules, moment, here)
    admit(inputs, moment.found.rules)
    return replace(asked, consents=inputs.consents)


def answer_to(keyed: KeyedQuestion, known: tuple[str, bytes] | None) -> bytes | None:
    """What answered a key before; RepeatedKeyError if it came with another question."""
    if known is None:
        return None
    check_same(keyed.question, known[0])
    return known[1]


def check_same(question: str, known: str) -> None:
    """Raise RepeatedKeyError for another question under the same key."""
    if question != known:
        raise RepeatedKeyError("this idempotency key came with another application before")


# --- parts ------------------------------------------------------------------------------------


def _input(draft: Draft, rules: Rules, moment: Moment, here: _Here) -> DecisionInput:
    asked, scored = draft.asked, draft.scored
    standing = asked.standing
    if here.stage > standing.stage:
        standing = replace(standing, stage=here.stage)
    return DecisionInput(
        application=asked.application,
        decided_on=moment.today,
        decided_at=moment.at,
        pack=rules.pack_digest,
        policy=rules.policy_digest,
        catalogue=rules.catalogue_digest,
        wish=asked.wish,
        standing=standing,
        score=scored.facts,
        consents=tuple(_withdrawn(one, here.gone, moment.today) for one in asked.consents),
        headroom=here.headroom,
        attestation=None
        if draft.shown is None
        else replace(draft.shown, scored=scored.carried),
    )


def _withdrawn(one: Consent, gone: frozenset[ConsentPurpose], today: date) -> Consent:
    """The consent as this node knows it: withdrawn here, whatever the desk still believes."""
    if one.purpose not in gone:
        return one
    return replace(one, withdrawn_on=min(one.withdrawn_on or today, today))


def _stored(
    draft: Draft, made_from: tuple[DecisionInput, bytes], decision: Decision
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
    shown = inputs.attestation
    carried = {"id": shown.digest, "scored": shown.scored} if shown else None
    rest = canonical_json(
        {
            "id": name,
            **({"history": carried} if carried else {}),
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
