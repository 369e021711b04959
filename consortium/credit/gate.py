"""The release gate: which checks a candidate passes, by figures that anybody can recompute.

Coordinator, nodes and auditor run this on the same published sums and compare what it says
(protocol 13.9). A figure comes with the interval of its noise and of the sample; where that is
too wide for the range, the check says "not assessed" instead of guessing either way. Intervals
are as wide as all lines of a gate together ask for: a release whose figures are in order meets
a refusal by chance in one of a hundred gates at the most.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from consortium.audit.result import AuditVerdict, EmpiricalAudit
from consortium.credit import intervals
from consortium.gates import GatePolicy
from consortium.ids import Digest

Float = NDArray[np.float64]


OVERALL = "all"
"""Subject of a check that is not about one part."""

REFUSED_BY_CHANCE = 0.01
"""Most that the noise may refuse of what is in order, over all lines of a gate together."""


class Verdict(StrEnum):
    """What a check says."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_ASSESSED = "not_assessed"


class Why(StrEnum):
    """Why a check is not assessed, or what stands for it."""

    NOISE = "noise"
    """The interval is wider than the range can be told by."""
    ROWS = "rows"
    """Fewer persons than the policy asks for."""
    UNDEFINED = "undefined"
    """The counts define no such figure."""
    NO_SUM = "no_sum"
    """The run has no sum for it: a base model's shares are measured with its head."""
    NO_AUDIT = "no_audit"
    """No empirical audit, and the policy asks for none."""
    AUDIT_MISSING = "audit_missing"
    """No empirical audit, though the policy asks for one."""
    OTHER_CLAIM = "other_claim"
    """The audit is of other software, another delta or another mode of noise."""
    FEW_CANARIES = "few_canaries"
    """It has fewer canaries than a release needs (protocol 9.3)."""
    REFUTED = "refuted"
    """It refutes the claim."""
    VOTES = "votes"
    """Each member compares its own persons, and says so with its vote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCheck:
    """One line of the gate. Decimals are strings; empty where there is none."""

    name: str
    """For instance ``calibration.slope``."""
    subject: str
    """The block, stratum, partner or family; ``all`` for the whole."""
    value: str
    low: str
    """The range, from the policy."""
    high: str
    at_least: str
    """The interval; empty where it has no end."""
    at_most: str
    verdict: str
    why: str = ""

    @property
    def failed(self) -> bool:
        """Whether this line alone stops the release."""
        return self.verdict == Verdict.FAILED.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """What a figure must lie in, and how sure the figure must be."""

    low: Fraction | None
    high: Fraction | None
    tolerance: Fraction
    """Half width of the interval up to which the value alone decides."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluated:
    """A noisy table of the hold-out and what its bands are expected to be. Public."""

    subject: str
    table: Float
    """Noisy counts (good, bad), shape (bands, 2)."""
    eta: Float
    """Log-odds of bad of each band, shape (bands,)."""
    deviation: float
    """Of the noise of one count."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moments:
    """Noisy sums of a head's parts over held-out joint rows (protocol 13.9.3). Public."""

    askers: tuple[str, ...]
    families: tuple[str, ...]
    own: Float
    """(1, p, u, p·u, u²) of each asker's own customers, shape (askers, 5)."""
    parts: Float
    """(u_f, u_f·u) of all of them, shape (families, 2)."""
    deviation: float
    """Of the noise of one of these sums."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateInputs:
    """All that the gate of one version is computed from. Public."""

    evaluated: tuple[Evaluated, ...]
    moments: Moments | None
    partners: tuple[str, ...]
    """Holders and askers of the plan: whose shares are asked about."""
    families: tuple[str, ...]
    code: Digest
    """The software that the plan names, and what it claims."""
    delta: str
    noise_mode: str


def gate_checks(
    inputs: GateInputs,
    policy: GatePolicy,
    *,
    code_is_named: bool,
    audit: EmpiricalAudit | None = None,
) -> tuple[GateCheck, ...]:
    """Every line of the gate, in a fixed order.

    Args:
        inputs: Of the run.
        policy: Of the manifest in force.
        code_is_named: Whether that manifest names the software that may train.
        audit: Of the software, if there is one.
    """
    width = width_of(inputs)
    return (
        audit_check(audit, inputs, policy, code_is_named=code_is_named),
        *(
            line
            for one in inputs.evaluated
            for line in calibration_checks(one, policy, width=width)
        ),
        stability_check(policy),
        *dominance_checks(inputs, policy, width=width),
    )


def width_of(inputs: GateInputs) -> float:
    """Deviations to either side of a figure, for all figures of a gate together (13.9)."""
    figures = 2 * len(inputs.evaluated)
    if inputs.moments is not None:
        figures += len(inputs.partners) + len(inputs.families)
    return intervals.width_for(figures, REFUSED_BY_CHANCE)


def refused(checks: Iterable[GateCheck]) -> bool:
    """Whether any line stops the release."""
    return any(one.failed for one in checks)


# --- one line ---------------------------------------------------------------------------------


def judged(
    name: str, subject: str, figure: intervals.Interval | None, allowed: Range
) -> GateCheck:
    """Compare a figure with its range.

    It passes or fails if its whole interval does. Where the interval meets a bound, the value
    decides if the interval is no wider than the tolerance to either side, and nothing does
    otherwise.
    """
    bounds = {"low": _text(allowed.low), "high": _text(allowed.high)}
    if figure is None:
        return _line(name, subject, bounds, why=Why.UNDEFINED)
    low, high = figure.low, figure.high
    shown = {
        "value": _decimal(figure.value),
        "at_least": _end(low),
        "at_most": _end(high),
    }
    if _inside(low, allowed) and _inside(high, allowed):
        verdict = Verdict.PASSED
    elif (allowed.low is not None and high < allowed.low) or (
        allowed.high is not None and low > allowed.high
    ):
        verdict = Verdict.FAILED
    elif figure.half <= allowed.tolerance:
        verdict = Verdict.PASSED if _inside(figure.value, allowed) else Verdict.FAILED
    else:
        return _line(name, subject, bounds | shown, why=Why.NOISE)
    return _line(name, subject, bounds | shown, verdict=verdict)


def _inside(value: float, allowed: Range) -> bool:
    return (allowed.low is None or value >= allowed.low) and (
        allowed.high is None or value <= allowed.high
    )


def _line(
    name: str,
    subject: str,
    texts: dict[str, str],
    *,
    verdict: Verdict = Verdict.NOT_ASSESSED,
    why: Why | None = None,
) -> GateCheck:
    return GateCheck(
        name=name,
        subject=subject,
        value=texts.get("value", ""),
        low=texts.get("low", ""),
        high=texts.get("high", ""),
        at_least=texts.get("at_least", ""),
        at_most=texts.get("at_most", ""),
        verdict=verdict.value,
        why="" if why is None else why.value,
    )


# --- the empirical audit ----------------------------------------------------------------------


def audit_check(
    audit: EmpiricalAudit | None,
    inputs: GateInputs,
    policy: GatePolicy,
    *,
    code_is_named: bool,
) -> GateCheck:
    """The empirical lower bound must not exceed the claim (protocol 9.3)."""
    name = "audit.lower_bound"
    if audit is None:
        if policy.needs_audit(code_is_named=code_is_named):
            return _line(name, OVERALL, {}, verdict=Verdict.FAILED, why=Why.AUDIT_MISSING)
        return _line(name, OVERALL, {}, why=Why.NO_AUDIT)
    texts = {"value": audit.trials[-1].gdp, "high": audit.epsilon}
    why: Why | None = None
    if not fits(audit, inputs):
        why = Why.OTHER_CLAIM
    elif audit.verdict is not AuditVerdict.PASSED:
        why = Why.REFUTED
    elif not audit.for_release():
        why = Why.FEW_CANARIES
    verdict = Verdict.PASSED if why is None else Verdict.FAILED
    return _line(name, OVERALL, texts, verdict=verdict, why=why)


def fits(audit: EmpiricalAudit, inputs: GateInputs) -> bool:
    """Whether an audit is of the software, delta and mode of noise of a plan."""
    return (audit.code, audit.noise_mode) == (inputs.code, inputs.noise_mode) and Fraction(
        audit.delta
    ) == Fraction(inputs.delta)


# --- calibration ------------------------------------------------------------------------------


def calibration_checks(
    one: Evaluated, policy: GatePolicy, *, width: float
) -> tuple[GateCheck, ...]:
    """E/O and slope of a table, if it has enough persons."""
    large = _range(policy, "least_in_the_large", "most_in_the_large")
    slope = _range(policy, "least_slope", "most_slope")
    persons = math.fsum(one.table.ravel().tolist())
    names = ("calibration.in_the_large", "calibration.slope")
    if persons < policy.least_rows:
        return tuple(
            _line(
                name,
                one.subject,
                {"low": _text(allowed.low), "high": _text(allowed.high)},
                why=Why.ROWS,
            )
            for name, allowed in zip(names, (large, slope), strict=True)
        )
    figures = (
        intervals.in_the_large(one.table, one.eta, deviation=one.deviation, width=width),
        intervals.slope(one.table, one.eta, deviation=one.deviation, width=width),
    )
    return tuple(
        judged(name, one.subject, figure, allowed)
        for name, figure, allowed in zip(names, figures, (large, slope), strict=True)
    )


def _range(policy: GatePolicy, low: str, high: str) -> Range:
    least, most = policy.number(low), policy.number(high)
    return Range(low=least, high=most, tolerance=(most - least) / 4)


# --- stability --------------------------------------------------------------------------------


def stability_check(policy: GatePolicy) -> GateCheck:
    """Reasons and decisions after another training are compared at each node (13.9.2)."""
    texts = {"low": _text(policy.number("least_agreement"))}
    return _line("stability.reasons", OVERALL, texts, why=Why.VOTES)


# --- dominance --------------------------------------------------------------------------------


def dominance_checks(
    inputs: GateInputs, policy: GatePolicy, *, width: float
) -> list[GateCheck]:
    """Shares of the joint score's variance, by partner and by family (credit 4.18)."""
    tolerance = policy.number("tolerance")
    partner = Range(low=None, high=policy.number("most_partner"), tolerance=tolerance)
    family = Range(low=None, high=policy.number("most_family"), tolerance=tolerance)
    found = inputs.moments
    if found is None:
        missing = (("dominance.partner", partner), ("dominance.family", family))
        return [
            _line(name, OVERALL, {"high": _text(r.high)}, why=Why.NO_SUM) for name, r in missing
        ]
    lines = []
    for name in inputs.partners:
        if name in found.askers:
            own = found.own[found.askers.index(name)].tolist()
            share = _share(found, (own[1], own[3]), width)
            lines.append(judged("dominance.partner", name, share, partner))
        else:
            texts = {"high": _text(partner.high)}
            lines.append(_line("dominance.partner", name, texts, why=Why.NO_SUM))
    if len(inputs.families) < 2:  # noqa: PLR2004 - one family is the whole score
        texts = {"high": _text(family.high)}
        return [
            *lines,
            _line("dominance.family", inputs.families[0], texts, why=Why.UNDEFINED),
        ]
    for name, (part, product) in zip(inputs.families, found.parts.tolist(), strict=True):
        share = _share(found, (part, product), width)
        lines.append(judged("dominance.family", name, share, family))
    return lines


def _share(
    found: Moments, part: tuple[float, float], width: float
) -> intervals.Interval | None:
    """``Cov(p, u) / Var(u)`` over the persons of all askers, p being 0 elsewhere."""
    count, _, whole, _, squared = (math.fsum(column) for column in found.own.T.tolist())
    spread = math.sqrt(len(found.askers))
    return intervals.share(
        (count, part[0], whole, part[1], squared),
        deviation=found.deviation,
        width=width,
        spread=(spread, 1.0, spread, 1.0, spread),
    )


def _text(bound: Fraction | None) -> str:
    return "" if bound is None else _decimal(float(bound))


def _end(value: float) -> str:
    return _decimal(value) if math.isfinite(value) else ""


def _decimal(value: float) -> str:
    return f"{value:.4f}"
