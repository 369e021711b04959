"""What a decision comes to, and what an officer makes of it (credit 3.2, row 2).

Values only, each with one byte form. A decision names its input and its reasons by digest
and code; texts stand in the schema (attributes) and under ``RULE_TEXTS`` (rules).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from types import MappingProxyType

from consortium.canonical import Label, hash_with
from consortium.credit.pack import MOST_REASONS
from consortium.credit.terms import LARGEST_MINOR, Grade, Ppm
from consortium.documents import document_of, parse_document
from consortium.errors import DecodeError, DomainError
from consortium.ids import Digest

_CODE = re.compile(r"R[0-9]{2}")
"""Of a reason that a schema may name; a rule has it, or a code of ``RULE_TEXTS``."""


class Outcome(StrEnum):
    """What a decision comes to."""

    APPROVE = "APPROVE"
    REFER = "REFER"
    DECLINE = "DECLINE"


class Rule(StrEnum):
    """The rules, by what they look at."""

    FLAG = "flag"
    INCOME = "income"
    PURPOSE = "purpose"
    INFORMATION = "information"
    ARREARS = "arrears"
    RANGE = "range"
    SCORE = "score"
    SCORE_RANGE = "score_range"
    CAPACITY = "capacity"
    GROWTH = "growth"


class Bound(StrEnum):
    """Why a limit is less than what was asked for."""

    TIER = "tier"
    DSR = "dsr"
    GROWTH = "growth"


class ReasonSource(StrEnum):
    """What a reason rests on."""

    RULE = "rule"
    OWN = "own"
    OTHERS = "others"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """One rule that fired, deciding or not."""

    step: int
    """Of the table in credit 3.2."""
    rule: Rule
    outcome: Outcome
    """APPROVE: the rule only lowered the limit."""
    code: str
    """Empty for a decline by score: its reasons are what was scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionReason:
    """One reason; its texts stand in the schema (attributes) or under its code (rules)."""

    code: str
    points: int
    """Lost by it; 0 for a rule."""
    source: ReasonSource


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanReview:
    """Who looks at an automated outcome if the applicant asks, and until when."""

    route: str
    days: int
    by: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided. Private; its bytes are canonical both ways."""

    application: str
    input: Digest
    """Of the decision input."""
    decided_on: date
    outcome: Outcome
    code: str
    """Of the rule that decided; empty for APPROVE and for a decline by score."""
    grade: Grade | None
    limit: int
    """Minor units; 0 unless approved."""
    price_apr: tuple[Ppm, ...]
    """Lowest and highest yearly price of the tier, if approved."""
    bounds: tuple[Bound, ...]
    """What holds the limit below the wish."""
    documents: tuple[str, ...]
    """To be seen before payout, if approved."""
    dsr: Ppm | None
    """With the new due: of the limit if approved, else of what could be asked for."""
    dues_elsewhere_unknown: bool
    reasons: tuple[DecisionReason, ...]
    """1 to 4 for a decline; those of a lowered limit; none for a REFER."""
    fired: tuple[Fired, ...]
    review: HumanReview

    @property
    def digest(self) -> Digest:
        """Under which the log and an override name it."""
        return hash_with(Label.DECISION, self.to_bytes())

    def to_bytes(self) -> bytes:
        """Canonical JSON (protocol 0.5)."""
        return document_of(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Decision":
        """The decision whose canonical bytes are ``data``, or DecodeError."""
        return parse_document(cls, data)


# --- officers ---------------------------------------------------------------------------------


class OverrideCode(StrEnum):
    """Why an officer decides otherwise. Free text stays in the node's own record."""

    NEW_FACTS = "NEW_FACTS"
    DOCUMENT_ERROR = "DOCUMENT_ERROR"
    RELATIONSHIP = "RELATIONSHIP"
    POLICY_EXCEPTION = "POLICY_EXCEPTION"
    HARDSHIP = "HARDSHIP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """An officer's final decision on an automated one; never blocked, always listed.

    Raises:
        DomainError: an outcome that is not final, a decline without 1 to 4 reasons, a reason
            that is no code, or a limit that does not go with the outcome.
    """

    decision: Digest
    application: str
    code: OverrideCode
    role: str
    """Of the officer; no name."""
    on: date
    before: Outcome
    after: Outcome
    limit: int
    """Minor units; 0 unless approved."""
    reasons: tuple[str, ...] = ()
    """Codes; those of the decision that the officer upholds, or what was found instead."""

    def __post_init__(self) -> None:
        if self.after is Outcome.REFER:
            raise DomainError("after: an officer's decision is APPROVE or DECLINE")
        approved = self.after is Outcome.APPROVE
        if not (0 < self.limit <= LARGEST_MINOR if approved else self.limit == 0):
            raise DomainError(f"limit: 1 to {LARGEST_MINOR} if approved, else 0")
        if approved == bool(self.reasons) or len(self.reasons) > MOST_REASONS:
            raise DomainError(f"reasons: 1 to {MOST_REASONS} for a decline, else none")
        if any(not (_CODE.fullmatch(one) or one in RULE_TEXTS) for one in self.reasons):
            raise DomainError("reasons: codes of the schema or of a rule, no words")

    def to_bytes(self) -> bytes:
        """Canonical JSON (protocol 0.5)."""
        return document_of(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Override":
        """The override whose canonical bytes are ``data``, or DecodeError."""
        try:
            return parse_document(cls, data)
        except DomainError as error:
            raise DecodeError(f"override: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """What an officer decides."""

    outcome: Outcome
    limit: int = 0
    reasons: tuple[str, ...] = ()


def override(
    decision: Decision, code: OverrideCode, *, role: str, on: date, to: Final
) -> Override:
    """An officer's final decision on ``decision``."""
    return Override(
        decision=decision.digest,
        application=decision.application,
        code=code,
        role=role,
        on=on,
        before=decision.outcome,
        after=to.outcome,
        limit=to.limit,
        reasons=to.reasons,
    )


# --- texts of rules ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RuleText:
    """What is said of a rule, and the education module that explains it (credit 3.3)."""

    zh: str
    en: str
    module: str


RULE_TEXTS: Mapping[str, RuleText] = MappingProxyType(
    {
        "R20": RuleText("收入信息缺失或已过期", "Income is missing or out of date", "E5"),
        "R21": RuleText(
            "新增还款后负债收入比超过上限", "Dues including this loan exceed the limit", "E5"
        ),
        "R22": RuleText(
            "申请金额或期限超出产品范围", "Amount or term is outside this product", "E4"
        ),
        "R23": RuleText("目前存在严重逾期", "A serious arrear is open now", "E1"),
        "R24": RuleText("资金用途未说明", "Purpose of the funds is not stated", "E4"),
        "R25": RuleText(
            "可用信息不足, 转人工审核", "Not enough information; a person will decide", "E4"
        ),
        "R26": RuleText(
            "评分处于人工审核区间", "Score is in the range that a person decides", "E4"
        ),
        "R27": RuleText(
            "本期额度已用完, 可稍后再申请",
            "This week's volume is used up; please apply again",
            "E4",
        ),
        "F1": RuleText(
            "身份或风险标记待核实", "An identity or risk flag must be checked first", "E4"
        ),
    }
)
"""Codes of rules; those of attributes stand in the signed schema. Codes are never reused."""
