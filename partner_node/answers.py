"""What a loan desk asks for and what it gets: applicants, consent, answers (protocol 7.10).

Values only. All of them are private to the partner that asks: who is asked about, and what
came back, are shown by no ``repr``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from consortium.ids import Digest, PartnerId
from consortium.inquiries import Purpose

BANDS = ("0", "1", "2", "3+")
"""Partners that contributed to an answer, the asker's own holding included (credit 2.3)."""

PARTNER_LOCAL = "partner_local"
BUREAU_ONLY = "bureau_only"
NO_ROSTER = "no_roster"
TOO_FEW_PARTNERS = "too_few_partners"
UNREACHABLE = "unreachable"
INCOMPLETE = "incomplete"
NO_MODEL = "no_model"
QUOTA = "quota"
NO_CONSENT = "no_consent"
"""Of a decision: the person allows no joint score, so nobody was asked."""
FALLBACKS = (
    PARTNER_LOCAL,
    BUREAU_ONLY,
    NO_ROSTER,
    TOO_FEW_PARTNERS,
    UNREACHABLE,
    INCOMPLETE,
    NO_MODEL,
    QUOTA,
    NO_CONSENT,
)
"""Why an answer is the partner's own alone; never a fault of the one who asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentReference:
    """What the desk must bring; without it the request is refused (S08)."""

    reference: str
    """The partner's own record of the consent; only a hash of it is used."""
    purposes: tuple[Purpose, ...]
    expires: int
    """Seconds since 1970, UTC."""
    notice: int = 1
    """Version of the notice that the person was given."""
    method: str = "signed"
    """signed, online or recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a verified attestation says; nothing that a caller sends becomes one. Private."""

    issuer: PartnerId
    features: Mapping[str, str] = field(repr=False)
    """Of ``attested.features_of``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applicant:
    """One person that is asked about. Private."""

    person: str = field(repr=False)
    """The identifier as the partner writes it."""
    consent: ConsentReference = field(repr=False)
    attributes: Mapping[str, float | str | None] | None = field(default=None, repr=False)
    """The own families' features of an applicant who may be nobody's customer yet, a missing
    one as None; None altogether: the customer's own row counts."""
    shown: Shown | None = field(default=None, repr=False)
    """The history that the person carries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyPart:
    """One family's part of an answer, logits in units of 2**-32. Private."""

    name: str
    own: int
    """This partner's own partial logit; 0 if it holds nothing of the person."""
    total: int
    """Sum over all holders, the own included."""
    holders: int
    """How many they are; shown to nobody, stored nowhere (credit 4.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JointAnswer:
    """What several partners know of one person, or what this one knows alone. Private."""

    band: str
    """One of BANDS; "0" is a local answer."""
    eta: int
    """Log-odds of bad in units of 2**-32, after the head, or of the local model."""
    stratum: int
    """Number of covered families, 0 to 3; 3 stands for more."""
    calibration: str
    """stratum, pooled, none, or local."""
    families: tuple[FamilyPart, ...] = field(repr=False)
    codes: Mapping[str, int] = field(repr=False)
    """Bin codes of the own attributes, by feature."""
    model: Digest | None
    head: Digest | None
    policy: Digest
    """The manifest under which it was answered."""
    context: Digest | None
    """sctx of the request (protocol 7.3); None for a local answer."""
    fallback: str = ""
    """Empty, or one of FALLBACKS."""
