"""Where a decision's score comes from: the federation if the person allowed it, else here.

Consent to JOINT_SCORE is looked at before anybody is asked; what the person withdrew at this
node counts from the next call on (protocol 7.8). Without it, without the others, or without
time, the partner's own answer counts, of band 0 and with its reason: a decision never waits
longer than its deadline. Without a model there is no score, and the decision refers.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, tzinfo

from consortium.credit.facts import Consent, ScoreFacts, ScoreReason
from consortium.credit.terms import ConsentPurpose
from consortium.errors import (
    AttestationError,
    ConsentMissingError,
    DataError,
    DecodeError,
    ManifestError,
    OutOfOrderError,
    RiskWeaveError,
    ScoreRefusal,
    ScoreRefusalError,
)
from partner_node import loan_desk
from partner_node.answers import NO_CONSENT, UNREACHABLE, Shown
from partner_node.credit.forms import Application, Attributes
from partner_node.credit.what_helps import Basis
from partner_node.desk import Score
from partner_node.loan_desk import Question

_SHARE = 0.9
"""Of a decision's time; the rest is for the own answer and the record."""
_LATEST = 1 << 52


@dataclass(frozen=True, slots=True)
class ReasonText:
    """What is said of a reason that was scored, in both languages."""

    code: str
    zh: str
    en: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A score as the decision sees it, the words for its reasons, and whose consents stand."""

    facts: ScoreFacts | None = field(repr=False)
    texts: tuple[ReasonText, ...] = field(repr=False, default=())
    basis: Basis | None = field(repr=False, default=None)
    """What the score was made from; kept nowhere."""
    withdrawn: bool = False
    """The person has withdrawn JOINT_SCORE at this node."""
    carried: bool = False
    """A history that the person showed is in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorePorts:
    """What the desk asks for scores."""

    joint: Callable[[Question, str, int], Awaitable[Score]]
    """The joint score (``LoanDesk.score``): question, caller, milliseconds."""
    alone: Callable[[str, Attributes | None, Shown | None, str], Score]
    """The own answer, for which nobody is asked: person, attributes, history, and why."""
    schema: Callable[[], str]
    """Digest of the schema in force."""
    carried: Callable[[Score], bool] = lambda _: False
    """Whether a history that was shown is in a score, while it is at hand."""
    basis: Callable[[Score], Basis | None] = lambda _: None
    """What a score was made from, once, while it is at hand."""


class ScoreLeg:
    """Asks for the scores of decisions. One event loop."""

    def __init__(self, ports: ScorePorts, zone: tzinfo) -> None:
        self._ports = ports
        self._zone = zone

    async def score(
        self,
        asked: Application,
        shown: Shown | None = None,
        *,
        today: date,
        caller: str,
        deadline_ms: int,
    ) -> Scored:
        """The score of an application, joint if it may and can be.

        Args:
            asked: Vetted.
            shown: A history of the person that may count; verified.
            today: The partner's date.
            caller: Whose inquiry it is.
            deadline_ms: Time that is left.

        Raises:
            DataError, DecodeError: the identifier or an attribute is not of its form.
            ConsentMissingError: nothing may be decided, so nobody is asked and nothing read.
        """
        if _given(asked.consents, ConsentPurpose.CREDIT_DECISION, today) is None:
            raise ConsentMissingError("no consent to CREDIT_DECISION is in force")
        if not asked.person:
            return Scored(facts=None)
        given = _given(asked.consents, ConsentPurpose.JOINT_SCORE, today)
        if given is None:
            return self._alone(asked, shown, NO_CONSENT)
        question = replace(_question(asked, given, self._zone), shown=shown)
        milliseconds = int(deadline_ms * _SHARE)
        try:
            async with asyncio.timeout(milliseconds / 1_000):
                score = await self._ports.joint(question, caller, milliseconds)
        except (DataError, DecodeError, AttestationError):
            raise
        except ScoreRefusalError as error:
            gone = error.reason is ScoreRefusal.PURPOSE
            found = self._alone(asked, shown, NO_CONSENT if gone else UNREACHABLE)
            return replace(found, withdrawn=gone)
        except (TimeoutError, RiskWeaveError):
            return self._alone(asked, shown, UNREACHABLE)
        return self._told(score)

    def _alone(self, asked: Application, shown: Shown | None, why: str) -> Scored:
        try:
            return self._told(self._ports.alone(asked.person, asked.attributes, shown, why))
        except (OutOfOrderError, ManifestError):
            # No model is served here: nothing is known, which is a REFER (R25).
            return Scored(facts=None)

    def _told(self, score: Score) -> Scored:
        facts = ScoreFacts(
            eta=score.eta,
            points=score.points,
            band=score.band,
            calibration=score.calibration,
            fallback=score.fallback,
            reasons=tuple(
                ScoreReason(code=one.code, points=one.points, source=one.source)
                for one in score.reasons
                if one.points > 0
            ),
            model=score.model,
            head=score.head,
            schema=self._ports.schema(),
            manifest=score.policy,
            request=score.request,
        )
        texts = tuple(ReasonText(one.code, one.zh, one.en) for one in score.reasons)
        carried = self._ports.carried(score)
        return Scored(facts=facts, texts=texts, basis=self._ports.basis(score), carried=carried)


def _given(
    consents: tuple[Consent, ...], purpose: ConsentPurpose, today: date
) -> Consent | None:
    """The consent to ``purpose`` that is in force on a day."""
    for one in consents:
        if one.purpose is purpose and one.allows(today):
            return one
    return None


def _question(asked: Application, given: Consent, zone: tzinfo) -> Question:
    expires = 0
    if given.expires_on is not None:
        midnight = datetime.combine(given.expires_on, time(), tzinfo=zone)
        expires = min(int(midnight.timestamp()), _LATEST)
    return Question(
        person=asked.person,
        consent=loan_desk.Consent(reference=given.id, expires=expires),
        attributes=asked.attributes,
        brief=True,
    )
