"""What a decision is made from: a closed form, in which no forbidden fact has a place.

A rule can see only what has a field here (credit 3.6). Fields are numbers, dates, members
of closed lists, and names of a fixed form: there is no free text in which a proxy could
travel. What arrives from a desk is read by ``input_of``, which refuses a forbidden name
wherever it stands, and then any name that it does not know. Errors name fields, never
values.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from consortium.canonical import Label, hash_with
from consortium.credit.attested import AttestedFacts
from consortium.credit.capacity import Income, Obligation
from consortium.credit.terms import GRADES, LARGEST_MINOR, ConsentPurpose, Purpose
from consortium.documents import LEFT_OUT, document_of, parse_document, value_of
from consortium.errors import DecodeError, DomainError, ForbiddenFieldError
from consortium.features.concepts import why_not_a_feature
from consortium.ids import Digest
from consortium.scoring.combine import BANDS
from consortium.scoring.reasons import Source

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_WORD = re.compile(r"[a-z_]{0,32}")
_CODE = re.compile(r"R[0-9]{2}")
_HASH = re.compile(r"([0-9a-f]{64})?")
_REQUEST = re.compile(r"[0-9a-f]{0,64}")
_LARGEST_ETA = 1 << 52
_MOST_TENOR = 600
_MOST_LINES = 200
_MOST_REASONS = 4

_SYNONYMS = {
    "gender": "sex",
    "female": "sex",
    "male": "sex",
    "birth": "age",
    "birthday": "age",
    "marriage": "marital_status",
    "married": "marital_status",
    "faith": "religion",
    "ethnic": "ethnicity",
    "tribe": "ethnicity",
    "citizenship": "nationality",
    "party": "political_opinion",
    "union": "union_membership",
    "gene": "genetic_data",
    "genetic": "genetic_data",
    "fingerprint": "biometrics",
    "face": "biometrics",
    "blood": "blood_type",
    "disease": "health",
    "illness": "health",
    "diagnosis": "health",
    "pregnancy": "health",
    "pregnant": "health",
    "contacts": "contact_list",
    "messages": "message_content",
    "location": "location_trail",
    "gps": "location_trail",
    "imei": "device_identifier",
    "complaint": "complaint_history",
    "dispute": "complaint_history",
    "性别": "sex",
    "年龄": "age",
    "婚姻": "marital_status",
    "民族": "ethnicity",
    "宗教": "religion",
    "血型": "blood_type",
    "疾病": "health",
    "指纹": "biometrics",
    "基因": "genetic_data",
}
"""Other words for concepts that no rule may see; as a whole word of a field's name."""


class Flag(StrEnum):
    """What must be looked at before anything else (credit 3.2, step 2)."""

    FRAUD = "fraud"
    IDENTITY = "identity"
    USE_OF_FUNDS = "use_of_funds"


class RestartTier(StrEnum):
    """Whether the applicant comes back by a restart; its DSR bound counts then."""

    NONE = "none"
    A = "A"
    B = "B"


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """A consent record as a decision names it."""

    purpose: ConsentPurpose
    id: str
    given_on: date
    expires_on: date | None = None
    withdrawn_on: date | None = None

    def allows(self, day: date) -> bool:
        """Whether it is in force: from its day, until the day of its end."""
        ends = [end for end in (self.expires_on, self.withdrawn_on) if end is not None]
        return self.given_on <= day and all(day < end for end in ends)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is applied for."""

    product: str
    purpose: Purpose | None
    """None: not stated, or not one that there is."""
    amount: int
    """Minor units."""
    currency: str
    tenor_months: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the applicant stands at this partner. Private."""

    adult: bool
    """Of the pack's age of majority; the age itself has no place here."""
    flags: tuple[Flag, ...]
    """Those that are not resolved."""
    has_history: bool
    dpd_now: int
    """Largest of this partner's lines, in days."""
    stage: int
    """1 to 3 (row 7)."""
    restart: RestartTier
    income: Income | None
    here: tuple[Obligation, ...]
    elsewhere: tuple[Obligation, ...]
    elsewhere_upper: int | None
    """Upper edge of the consented band of dues elsewhere, minor units; None: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreReason:
    """One reason that was scored (credit 3.3), as it was told. Private."""

    code: str
    points: int
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreFacts:
    """A joint or local answer, in the integers that decide. Private."""

    eta: int
    """Log-odds of bad in units of 2**-32."""
    points: int
    band: str
    calibration: str
    fallback: str
    reasons: tuple[ScoreReason, ...]
    """At most four, largest loss first."""
    model: str
    head: str
    schema: str
    manifest: str
    request: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionInput:
    """All that a decision rests on; replay needs nothing else. Private.

    Raises:
        DomainError: naming a field that is outside its bounds, or a date in the future.
    """

    application: str
    decided_on: date
    """Calendar date in the partner's time zone."""
    decided_at: int
    """Seconds since 1970, UTC."""
    pack: Digest
    policy: Digest
    catalogue: Digest
    wish: Wish = field(repr=False)
    standing: Standing = field(repr=False)
    score: ScoreFacts | None = field(repr=False)
    consents: tuple[Consent, ...] = field(repr=False)
    headroom: tuple[int, ...]
    """What admission leaves of the week's caps, G1 to G5, minor units (row 26)."""
    attestation: AttestedFacts | None = field(
        default=None, repr=False, metadata={LEFT_OUT: True}
    )
    """A history that the applicant showed; None, and no name in the document: none."""

    def __post_init__(self) -> None:
        """Look once at every bound."""
        _check(self)

    @property
    def digest(self) -> Digest:
        """Named by the decision."""
        return hash_with(Label.DECISION_INPUT, self.to_bytes())

    def to_bytes(self) -> bytes:
        """Canonical JSON (protocol 0.5)."""
        return document_of(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> "DecisionInput":
        """The input whose canonical bytes are ``data``, or DecodeError."""
        try:
            return parse_document(cls, data)
        except DomainError as error:
            raise DecodeError(f"decision input: {error}") from error

    def consented(self, purpose: ConsentPurpose) -> bool:
        """Whether a consent to ``purpose`` is in force on the day of the decision."""
        return any(
            one.purpose is purpose and one.allows(self.decided_on) for one in self.consents
        )


def input_of(plain: object) -> DecisionInput:
    """A decision input of the parsed objects, lists, texts and numbers of a request.

    Raises:
        ForbiddenFieldError: a name that no rule may see stands anywhere in it.
        DecodeError: an unknown or missing field, or a value of another type.
        DomainError: a value outside its bounds.
    """
    for name in _names(plain):
        refuse_forbidden(name)
    return value_of(DecisionInput, plain)


def refuse_forbidden(name: str) -> None:
    """Raise ForbiddenFieldError if a field's name stands for a forbidden concept."""
    words = [word for word in re.split(r"[^a-z0-9\u4e00-\u9fff]+", _snake(name)) if word]
    phrases = ["_".join(words[a:b]) for a in range(len(words)) for b in range(a + 1, a + 4)]
    for phrase in phrases:
        concept = _SYNONYMS.get(phrase, phrase)
        why = why_not_a_feature(concept)
        if why is not None:
            raise ForbiddenFieldError(f"field {name[:64]!r}: {concept} is {why}")
    for word, concept in _SYNONYMS.items():
        if not word.isascii() and word in name:
            raise ForbiddenFieldError(f"field {name[:64]!r}: {concept} may not be used")


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _names(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from _names(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _names(inner)


# --- bounds -----------------------------------------------------------------------------------


def _check(inputs: DecisionInput) -> None:
    _named("application", inputs.application)
    _named("wish.product", inputs.wish.product)
    _formed("wish.currency", inputs.wish.currency, _CURRENCY)
    _bounded("decided_at", inputs.decided_at)
    _bounded("wish.amount", inputs.wish.amount, 1)
    _bounded("wish.tenor_months", inputs.wish.tenor_months, 1, _MOST_TENOR)
    _check_standing(inputs.standing, inputs.decided_on)
    if len(inputs.headroom) != len(GRADES):
        raise DomainError(f"headroom: not one amount for each of {len(GRADES)} grades")
    for left in inputs.headroom:
        _bounded("headroom", left)
    for name in ("pack", "policy", "catalogue"):
        _formed(name, getattr(inputs, name), _HASH)
    for consent in inputs.consents:
        _check_consent(consent, inputs.decided_on)
    if inputs.score is not None:
        _check_score(inputs.score)
    if inputs.attestation is not None:
        _check_attestation(inputs.attestation, inputs.decided_on)


def _check_consent(consent: Consent, today: date) -> None:
    _named("consents.id", consent.id)
    if consent.given_on > today:
        raise DomainError("consents.given_on: a date in the future")
    if consent.withdrawn_on is not None and consent.withdrawn_on > today:
        # It would still allow today what the node itself may know to be withdrawn.
        raise DomainError("consents.withdrawn_on: a date in the future")


def _check_standing(standing: Standing, today: date) -> None:
    _bounded("standing.dpd_now", standing.dpd_now)
    _bounded("standing.stage", standing.stage, 1, 3)
    _bounded("standing.elsewhere_upper", standing.elsewhere_upper or 0)
    _bounded("standing.here", len(standing.here), 0, _MOST_LINES)
    _bounded("standing.elsewhere", len(standing.elsewhere), 0, _MOST_LINES)
    if standing.income is not None:
        _check_income(standing.income, today)


def _check_income(income: Income, today: date) -> None:
    if income.latest_on > today:
        raise DomainError("standing.income.latest_on: a date in the future")
    if len(income.credits) > _MOST_LINES:
        raise DomainError("standing.income.credits: too many")
    for credit in income.credits:
        _bounded("standing.income.credits", credit, -LARGEST_MINOR)


def _check_score(score: ScoreFacts) -> None:
    _bounded("score.eta", score.eta, -_LARGEST_ETA, _LARGEST_ETA)
    _bounded("score.points", score.points, 0, 1_000)
    if score.band not in BANDS:
        raise DomainError(f"score.band: not one of {', '.join(BANDS)}")
    for name in ("calibration", "fallback"):
        _formed(f"score.{name}", getattr(score, name), _WORD)
    for name in ("model", "head", "schema", "manifest"):
        _formed(f"score.{name}", getattr(score, name), _HASH)
    _formed("score.request", score.request, _REQUEST)
    if len(score.reasons) > _MOST_REASONS:
        raise DomainError(f"score.reasons: more than {_MOST_REASONS}")
    for reason in score.reasons:
        _bounded("score.reasons.points", reason.points, 1, 1_000)
        _formed("score.reasons.code", reason.code, _CODE)


def _check_attestation(shown: AttestedFacts, today: date) -> None:
    for name in ("digest", "listing"):
        _formed(f"attestation.{name}", getattr(shown, name), _HASH)
    _bounded("attestation.number", shown.number)
    if not shown.issued_on <= today < shown.expires_on:
        raise DomainError("attestation.expires_on: it was not valid on the day of the decision")
    if shown.listed_on > today:
        raise DomainError("attestation.listed_on: a date in the future")


def _named(where: str, value: str) -> None:
    _formed(where, value, _NAME)


def _formed(where: str, value: str, form: re.Pattern[str]) -> None:
    if not form.fullmatch(value):
        raise DomainError(f"{where}: not of the form {form.pattern}")


def _bounded(where: str, value: int, least: int = 0, most: int = LARGEST_MINOR) -> None:
    if type(value) is not int or not least <= value <= most:
        raise DomainError(f"{where}: not a whole number of {least} to {most}")
