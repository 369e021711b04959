"""What is asked and what comes back, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

Attributes = Mapping[str, float | str | None]
"""Own features of an applicant by name; None where a value is missing."""


@dataclass(frozen=True, slots=True)
class Consent:
    """The consent that an inquiry rests on. Without one nobody is asked (S08)."""

    reference: str
    """Your own record of it; only a hash of it leaves the node."""
    expires: int = 0
    """Seconds since 1970, UTC; 0: for this inquiry only."""
    purposes: tuple[str, ...] = ("JOINT_SCORE",)
    notice: int = 1
    """Version of the notice that the person was given."""
    method: str = "signed"
    """signed, online or recorded."""


@dataclass(frozen=True, slots=True)
class Applicant:
    """One person of a batch."""

    person: str = field(repr=False)
    """The identifier in the federation's form."""
    consent: Consent = field(repr=False)
    attributes: Attributes | None = field(default=None, repr=False)
    """None: the customer's own row counts."""
    idempotency_key: str = field(default="", repr=False)
    brief: bool = False
    """Without losses and what_if."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One of at most four reasons, largest first."""

    code: str
    zh: str
    en: str
    points: int
    """Points lost."""
    source: str
    """own, or others: a total of what other partners know, rounded."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Points lost by one own attribute, or by one family's total (``feature`` empty)."""

    family: str
    feature: str
    bin: str
    points: int
    source: str


@dataclass(frozen=True, slots=True)
class Change:
    """One own attribute in a better bin, all else as it is today."""

    feature: str
    now: str
    then: str
    gain: int
    points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A score: ``points == best - sum(loss.points for loss in losses) - unattributed``."""

    points: int
    """300 to 900; more is better."""
    pd: Decimal
    """Probability of bad, four decimals."""
    eta: int
    """Log-odds of bad in units of 2**-32: compare cut-offs with this, not with points."""
    band: str
    """Partners that know the person, yours included: "0", "1", "2", "3+"."""
    fallback: str
    """Empty for a joint score; else why it is yours alone."""
    calibration: str
    best: int
    unattributed: int
    reasons: tuple[Reason, ...]
    losses: tuple[Loss, ...]
    no_data: tuple[str, ...]
    what_if: tuple[Change, ...]
    model: str
    head: str
    policy: str
    request: str
    """Digest of the request that went to the partners; keep it with the decision."""
    interval: str
    answered_at: int

    @property
    def joint(self) -> bool:
        """Whether other partners were asked and answered."""
        return not self.fallback


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one person of a batch has no score."""

    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How the node's desk stands."""

    partner: str
    manifest: str
    delivery: str
    model: str
    head: str
    fallback: str
    """Why a score would be yours alone now; empty if it would be joint."""
    partners: int


class DeskError(Exception):
    """The desk refused, or is not there; ``code`` is S01 to S18 or a name."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
