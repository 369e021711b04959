"""What a credit decision is asked with and what comes back, as values (credit 3).

Amounts are whole minor units, yearly prices and shares are decimals, dates are the
partner's. There is no field for a fact that no rule may see, and none for free text.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from riskweave_client.values import Attributes

_MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is applied for."""

    product: str
    purpose: str | None
    """EDUCATION, MEDICAL, HOME, DURABLES, TRAVEL, REFINANCE, SME_WORKING or PROJECT."""
    amount: int
    currency: str
    tenor_months: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Income:
    """Net credits of the latest months, latest last; needs the consent INCOME_DATA."""

    credits: tuple[int, ...] = field(repr=False)
    latest_on: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Obligation:
    """One line that is being repaid: kind ``term`` or ``revolving``."""

    kind: str
    scheduled: int
    balance: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the applicant stands at your house."""

    adult: bool
    has_history: bool
    dpd_now: int = 0
    """Days past due, the largest of all lines."""
    stage: int = 1
    flags: tuple[str, ...] = ()
    """Not resolved: fraud, identity, use_of_funds."""
    restart: str = "none"
    income: Income | None = field(default=None, repr=False)
    here: tuple[Obligation, ...] = field(default=(), repr=False)
    elsewhere: tuple[Obligation, ...] = field(default=(), repr=False)
    elsewhere_upper: int | None = field(default=None, repr=False)
    """Upper edge of the consented band of dues elsewhere; None: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentRecord:
    """A consent: CREDIT_DECISION always, JOINT_SCORE and INCOME_DATA for what they name."""

    purpose: str
    id: str
    given_on: date
    expires_on: date | None = None
    withdrawn_on: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditApplication:
    """One application."""

    application: str
    """Your own name of it: letters, digits and ``_.-``."""
    wish: Wish = field(repr=False)
    standing: Standing = field(repr=False)
    consents: tuple[ConsentRecord, ...] = field(repr=False)
    person: str = field(default="", repr=False)
    """The identifier in the federation's form; empty: no score, so a person decides."""
    attributes: Attributes | None = field(default=None, repr=False)
    attestation: bytes = field(default=b"", repr=False)
    """The signed history that the person carries; needs the consent ATTESTATION."""

    def to_json(self) -> bytes:
        """As the desk reads it."""
        return json.dumps(_plain(self)).encode()


@dataclass(frozen=True, slots=True)
class AskedDecision:
    """One application of several."""

    application: CreditApplication
    idempotency_key: str = field(default="", repr=False)
    """A UUID: the same application brings the same bytes while the node keeps it."""


def _plain(value: object) -> object:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    fields = getattr(value, "__dataclass_fields__", None)
    if fields is not None:
        return {name: _plain(getattr(value, name)) for name in fields}
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionReason:
    """One of at most four reasons: a rule's, or points that were lost."""

    code: str
    zh: str
    en: str
    points: int
    """Lost by it; 0 for a rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """Who looks at an automated outcome if the applicant asks, and until when."""

    route: str
    days: int
    by: date


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditDecision:
    """A decision as your node keeps it."""

    id: str
    """Digest; under it the decision is shown, replayed and overridden."""
    application: str
    decided_on: date
    outcome: str
    """APPROVE, REFER or DECLINE."""
    code: str
    """Of the rule that decided; empty for APPROVE and for a decline by score."""
    grade: str
    """G1 to G5; empty without a score."""
    limit: int
    prices: tuple[Decimal, ...]
    """Lowest and highest yearly price, if approved."""
    documents: tuple[str, ...]
    dsr: Decimal | None
    reasons: tuple[DecisionReason, ...]
    review: Review
    points: int | None
    band: str
    fallback: str
    """Empty for a joint score; else why the score is your own alone."""
    history_scored: bool | None
    """Whether the attestation is in the score; None: none was shown."""
    overrides: tuple[Mapping[str, Any], ...]
    """Officers' decisions, oldest first; only of a decision that was asked for by id."""
    document: bytes = field(repr=False)
    """What the node answered; the same bytes for the same idempotency key."""


def decision_of(document: bytes) -> CreditDecision:
    """The decision in what the node answered."""
    answer = json.loads(document)
    made, score = answer["decision"], answer["score"]
    review = made["review"]
    return CreditDecision(
        id=answer["id"],
        application=made["application"],
        decided_on=date.fromisoformat(made["decided_on"]),
        outcome=made["outcome"],
        code=made["code"],
        grade="".join(made["grade"]),
        limit=made["limit"],
        prices=tuple(Decimal(one) / _MILLION for one in made["price_apr"]),
        documents=tuple(made["documents"]),
        dsr=Decimal(made["dsr"][0]) / _MILLION if made["dsr"] else None,
        reasons=tuple(
            DecisionReason(code=one["code"], zh=one["zh"], en=one["en"], points=one["points"])
            for one in answer["reasons"]
        ),
        review=Review(
            route=review["route"],
            days=review["days"],
            by=date.fromisoformat(review["by"]),
        ),
        points=score.get("points"),
        band=score.get("band", ""),
        fallback=score.get("fallback", ""),
        history_scored=answer["history"]["scored"] if "history" in answer else None,
        overrides=tuple(answer.get("overrides", ())),
        document=document,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalDecision:
    """What an officer decides."""

    code: str
    """NEW_FACTS, DOCUMENT_ERROR, RELATIONSHIP, POLICY_EXCEPTION or HARDSHIP."""
    role: str
    """Of the officer; no name."""
    outcome: str
    """APPROVE or DECLINE."""
    limit: int = 0
    reasons: tuple[str, ...] = ()
    note: str = field(default="", repr=False)
    """Free text; stays in your node."""

    def to_json(self) -> bytes:
        """As the desk reads it."""
        return json.dumps(_plain(self)).encode()
