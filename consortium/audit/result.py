"""What one empirical audit found: the document that a release is bound to (protocol 9.3).

An audit fails to refute a claim; it proves none. The verdict follows from the figures and is
written down beside them, so that a document that says otherwise is no document.
"""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from consortium.canonical import Label, hash_with
from consortium.crypto.keys import Secret
from consortium.documents import document_of, plain_of, value_of
from consortium.errors import ConfigurationError, DecodeError, IdentifierError
from consortium.ids import Digest, parse_digest
from consortium.plan import decimal

MOST_TRIALS = 2
"""A failure is repeated once with a fresh seed before it counts (protocol 9.3)."""

_LOW_EPSILON = Fraction(1)
_CANARIES = (4_000, 1_000)


class AuditVerdict(StrEnum):
    """Whether the claim stands."""

    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One shadow run with canaries and one on no data, both from one seed. Public.

    All figures are decimals as texts. Epsilons are lower bounds at the audit's delta.
    """

    seed: Digest
    """``seed_commitment_of`` the seed that everything in the trial was drawn from."""
    gdp: str
    """(a) at 99 %: the canaries' separation as that of a Gaussian mechanism."""
    threshold: str
    """(b) at 95 %: error rates of a threshold."""
    one_run: str
    """(c) at 95 %: guesses of who was there, without any assumption on the mechanism."""
    null_deviation: str
    """(d) Deviation of the sums on no data over the one that the plan states; 1 if right."""
    null_tolerance: str
    """How far from 1 is chance."""
    null_correlation: str
    """(d) Largest correlation, in absolute value, of two rounds on no data; 0 if right."""
    correlation_tolerance: str
    """How far from 0 is chance."""
    record_rate: str
    """True positives at .1 % false positives, for mislabelled rows. Printed, no gate."""

    def reasons(self, epsilon: str) -> tuple[str, ...]:
        """Why the trial fails against the claimed epsilon, by name; empty if it does not."""
        failed = []
        if _number(self.gdp, "gdp") > _number(epsilon, "epsilon"):
            failed.append("gdp")
        off = abs(_number(self.null_deviation, "null_deviation") - 1)
        if off > _number(self.null_tolerance, "null_tolerance"):
            failed.append("null_deviation")
        if _number(self.null_correlation, "null_correlation") > _number(
            self.correlation_tolerance, "correlation_tolerance"
        ):
            failed.append("null_correlation")
        return tuple(failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmpiricalAudit:
    """The claim, what was done to test it, what was found."""

    code: Digest
    """Hash of the audited installation, as plans and manifests name it."""
    plan: Digest
    """Digest of the shadow plan; keys and run id in it are those of a seed of zeros."""
    epsilon: str
    """The claim, for one record against a coordinator and K - h partners that collude."""
    delta: str
    noise_mode: str
    partners: int
    """K."""
    honest: int
    """h: partners whose noise the claim rests on; 1 in own mode."""
    width: int
    """Coordinates of a sum, those of the canaries included."""
    canaries: int
    """M."""
    rounds: int
    """T, of the run with canaries."""
    null_rounds: int
    """T of the run on no data."""
    trials: tuple[Trial, ...]
    """One; two if the first failed, and then the second counts."""
    verdict: AuditVerdict

    @property
    def digest(self) -> Digest:
        """``H(EMPIRICAL_AUDIT ‖ document)``: what an entry of the log names."""
        return hash_with(Label.EMPIRICAL_AUDIT, document_of(self))

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the trial that counts failed; empty if the claim stands."""
        return self.trials[-1].reasons(self.epsilon)

    def for_release(self) -> bool:
        """Whether there are as many canaries as a release needs (protocol 9.3)."""
        return self.canaries >= canaries_for(self.epsilon)

    def to_canonical(self) -> object:
        """Objects, lists, texts and integers only: what is hashed and logged."""
        return plain_of(self)

    @classmethod
    def from_canonical(cls, value: object) -> "EmpiricalAudit":
        """The audit of a parsed document.

        Raises:
            DecodeError: a field is missing, unknown or not of its form, or the verdict is
                not the one that the figures lead to. Fault: the sender.
        """
        audit = value_of(cls, value)
        try:
            for name in (audit.code, audit.plan, *(trial.seed for trial in audit.trials)):
                parse_digest(name)
            expected = verdict_of(audit.epsilon, audit.trials)
            decimal(audit.delta, "delta", low="0", high="1")
        except (ConfigurationError, IdentifierError) as error:
            raise DecodeError(f"EmpiricalAudit: {error}") from error
        if audit.verdict is not expected:
            raise DecodeError("EmpiricalAudit: the figures lead to another verdict")
        if not (1 <= audit.honest <= audit.partners and 0 < audit.canaries < audit.width):
            raise DecodeError("EmpiricalAudit: no such federation")
        if min(audit.rounds, audit.null_rounds) < 1:
            raise DecodeError("EmpiricalAudit: no rounds")
        return audit


def verdict_of(epsilon: str, trials: tuple[Trial, ...]) -> AuditVerdict:
    """What the trials lead to; the last one counts.

    Raises:
        DecodeError: no trial, more than two, or one after a trial that passed: who may try
            until it passes will.
    """
    if not 1 <= len(trials) <= MOST_TRIALS:
        raise DecodeError(f"EmpiricalAudit: {len(trials)} trials")
    if any(not trial.reasons(epsilon) for trial in trials[:-1]):
        raise DecodeError("EmpiricalAudit: a trial after one that passed")
    return AuditVerdict.FAILED if trials[-1].reasons(epsilon) else AuditVerdict.PASSED


def canaries_for(epsilon: str) -> int:
    """M of a release's audit: 4,000 where epsilon is at most 1, else 1,000 (protocol 9.3)."""
    low, high = _CANARIES
    return low if _number(epsilon, "epsilon") <= _LOW_EPSILON else high


def seed_commitment_of(seed: Secret) -> Digest:
    """``H(SHADOW_SEED ‖ seed)``. Public before the trial; so is the seed after it."""
    return hash_with(Label.SHADOW_SEED, seed.expose())


def _number(text: str, field: str) -> Fraction:
    return decimal(text, field, low="0", high="1000000")
