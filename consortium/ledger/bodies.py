"""Bodies of entries about scores, decisions, keys of pseudonyms, consents, and what is drawn.

As ``entries``: one frozen class for each event, and what is not in a class is in no entry. No
count of one partner is shown here but as a band of powers of ten (protocol 8.4).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from consortium.identity.overlap import OverlapPlan
from consortium.ids import Digest, PartnerId, RequestId, RunId
from consortium.manifest import Role

_DECADES = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRetry:
    """A request that was made again without some who had not answered (protocol 7.9)."""

    request: RequestId
    retry_of: RequestId
    roster_version: int
    earlier_version: int
    """That the first request named; 0 if the relay had forgotten it."""
    missing: tuple[PartnerId, ...]
    """Whom it leaves out, sorted; nobody if the first was forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DkgCommit:
    """A member has committed to its polynomial (protocol 6.3 (1))."""

    offer: Digest
    epoch: int
    attempt: int
    step: Digest
    """Of the whole signed step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DkgReveal:
    """A member has shown what it committed to (6.3 (2)); its shares stay sealed elsewhere."""

    offer: Digest
    epoch: int
    attempt: int
    step: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class DkgComplaint:
    """A member says, with the key of one share, that a dealer's share is bad (6.3 (5))."""

    offer: Digest
    epoch: int
    attempt: int
    step: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class OprfEpoch:
    """A member stands for the public keys of a new epoch, and for how they came about."""

    offer: Digest
    epoch: int
    attempt: int
    threshold: int
    group_key: bytes
    transcript: Digest
    """Over all signed COMMITs and REVEALs as this member saw them."""
    key: Digest
    """Of the document with all public shares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OprfReshare:
    """The same for a resharing of an older key (protocol 6.8)."""

    offer: Digest
    epoch: int
    attempt: int
    threshold: int
    group_key: bytes
    transcript: Digest
    key: Digest
    previous: Digest
    """Document of the key that was reshared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OprfUsage:
    """How many points a key holder evaluated on one day for all askers together (6.6)."""

    epoch: int
    day: int
    """Days since 1970, UTC."""
    points: str
    """A band of ``band_of``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OprfFault:
    """A key holder gave a share whose proof does not hold (protocol 6.4)."""

    epoch: int
    holder: PartnerId
    request: RequestId


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentBatch:
    """The consents that one partner used on one day, and those withdrawn on it (7.8)."""

    day: int
    """Days since 1970, UTC."""
    root: Digest
    """Merkle root of the receipts' hashes, sorted, each once; of none: of the empty tree."""
    receipts: str
    """How many, as a band of ``band_of``."""
    withdrawals: Digest
    """Merkle root of the salted hashes of what was withdrawn on that day, likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditNonce:
    """The regulator commits to its part of the next choice, and opens that of the last (9.4.1).

    What is audited after it is drawn by it, with a head that comes after both: neither the
    regulator nor the consortium can choose what is looked at (``coins``).
    """

    commitment: Digest
    """``H(AUDIT_NONCE ‖ 32 bytes)``."""
    opened: Digest | None
    """The 32 bytes of the commitment before this one, in hex; None: nothing was drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionBatch:
    """A partner commits to all credit decisions that it made since its last batch (9.4.2)."""

    number: int
    """Of this partner's batches, from 0, without a gap."""
    commitment: Digest
    """To how many they are and to their Merkle root (``sealed``); it hides both."""
    decisions: str
    """How many, as a band of ``band_of``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionChallenge:
    """The regulator draws decisions of one batch to be made again (9.4.2)."""

    batch: Digest
    """Leaf hash of the batch's entry."""
    places: int
    """How many are drawn, at most."""
    choice: Digest
    """The seed that they are drawn with; only who knows the count knows the places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionAnswer:
    """A partner has made the drawn decisions again, on its premises."""

    challenge: Digest
    """Leaf hash of the challenge's entry."""
    verdict: str
    """passed, failed or incomplete."""
    report: Digest
    """Of salted digests, proofs and verdicts; it goes to the regulator alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionResult:
    """What the regulator says of an answer after it has checked the report."""

    challenge: Digest
    verdict: str
    """passed, failed or waived."""
    report: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapPlanned:
    """The coordinator asks two partners how many persons they have in common (6.10)."""

    plan: OverlapPlan
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapDebit:
    """One of the two has charged an attempt, before what tells the counts left it (4.6 (3))."""

    release: Digest
    run: RunId
    """Under which the account holds it."""
    attempt: int
    epoch: str
    """Of the account."""
    units: int
    variance: str
    """Of the noise of a count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapReleased:
    """The counting partner says the counts with noise, once for a question."""

    release: Digest
    attempt: int
    counts: tuple[int, ...]
    """By tier, in 1,024ths; 0: fewer than 50."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationsListed:
    """A partner has published a list of the attestations that it took back (credit path 12).

    How many they are is in the list, which is elsewhere.
    """

    number: int
    """Of this partner's lists, from 0, without a gap."""
    listing: Digest
    """Of the list's bytes, without its signature."""
    day: int
    """Of the list, days since 1970: from it on its age is counted."""


OVERLAP = OverlapDebit | OverlapReleased
"""What the two say of a count; it comes with their answer and only so."""

CEREMONY = DkgCommit | DkgReveal | DkgComplaint | OprfEpoch | OprfReshare
"""What a member says of its steps in a key ceremony; it comes with the step and only so."""

ScoringBody = (
    ScoreRetry
    | DkgCommit
    | DkgReveal
    | DkgComplaint
    | OprfEpoch
    | OprfReshare
    | OprfUsage
    | OprfFault
    | ConsentBatch
    | AuditNonce
    | DecisionBatch
    | DecisionChallenge
    | DecisionAnswer
    | DecisionResult
    | OverlapPlanned
    | OverlapDebit
    | OverlapReleased
    | AttestationsListed
)

_PARTNER = frozenset({Role.PARTNER})
_REGULATOR = frozenset({Role.REGULATOR})

SCORING_TYPES: Mapping[str, type[ScoringBody]] = {
    "score.retry": ScoreRetry,
    "dkg.commit": DkgCommit,
    "dkg.reveal": DkgReveal,
    "dkg.complaint": DkgComplaint,
    "oprf.epoch": OprfEpoch,
    "oprf.reshare": OprfReshare,
    "oprf.usage": OprfUsage,
    "oprf.fault": OprfFault,
    "consent.batch": ConsentBatch,
    "audit.nonce": AuditNonce,
    "decision.batch": DecisionBatch,
    "decision.challenge": DecisionChallenge,
    "decision.answer": DecisionAnswer,
    "decision.result": DecisionResult,
    "overlap.planned": OverlapPlanned,
    "overlap.debit": OverlapDebit,
    "overlap.released": OverlapReleased,
    "attestation.listed": AttestationsListed,
}

SCORING_ACTORS: Mapping[type[object], frozenset[Role]] = {
    ScoreRetry: frozenset({Role.COORDINATOR}),
    DkgCommit: _PARTNER,
    DkgReveal: _PARTNER,
    DkgComplaint: _PARTNER,
    OprfEpoch: _PARTNER,
    OprfReshare: _PARTNER,
    OprfUsage: _PARTNER,
    OprfFault: _PARTNER,
    ConsentBatch: _PARTNER,
    AuditNonce: _REGULATOR,
    DecisionBatch: _PARTNER,
    DecisionChallenge: _REGULATOR,
    DecisionAnswer: _PARTNER,
    DecisionResult: _REGULATOR,
    OverlapPlanned: frozenset({Role.COORDINATOR}),
    OverlapDebit: _PARTNER,
    OverlapReleased: _PARTNER,
    AttestationsListed: _PARTNER,
}


def band_of(count: int) -> str:
    """Powers of ten instead of a count: ``0``, ``1-9``, ``10-99`` and so on.

    Args:
        count: Private: what is shown is the band alone.
    """
    if count < 1:
        return "0"
    digits = min(len(str(count)), _DECADES)
    low = 10 ** (digits - 1)
    return f"{low}+" if digits == _DECADES else f"{low}-{10 * low - 1}"


BANDS = ("0", *(band_of(10**power) for power in range(_DECADES)))
"""All bands, the smallest first."""
