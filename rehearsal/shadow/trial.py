"""From a seed to a verdict: shadow runs, scores, bounds, and one repetition (9.2, 9.3)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consortium.audit import bounds
from consortium.audit.result import (
    MOST_TRIALS,
    EmpiricalAudit,
    Trial,
    seed_commitment_of,
    verdict_of,
)
from consortium.crypto.keys import Secret
from consortium.documents import plan_digest
from consortium.ids import Digest, RunId
from consortium.privacy.accountant import mu_of
from models.encoding import column_indices
from models.scorecard import clipped_gradient_sum, row_bound
from rehearsal.shadow.federation import ShadowRound, shadow_run
from rehearsal.shadow.setting import (
    BINS,
    CLIP,
    FEATURES,
    Population,
    Settings,
    manifest_of,
    plan_of,
    population_of,
    schema_of,
)

Float = NDArray[np.float64]
Flags = NDArray[np.bool_]

_MODEL_WIDTH = FEATURES * BINS
_BIN_COUNTS = (BINS,) * FEATURES


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One trial and what its plots are drawn from. All of it is about synthetic rows."""

    trial: Trial
    bound: bounds.GdpBound
    null: bounds.NullRound
    scores: Float
    """Of the gradient canaries, mean 0 or mu, deviation 1 if the claim holds."""
    present: Flags
    record_scores: Float
    records_in: Flags
    null_deviations: Float
    """Of each round on no data, over the claimed one."""


def audited(
    settings: Settings,
    fresh_seed: Callable[[], Secret],
    *,
    said: Callable[[str], None] = lambda _text: None,
) -> tuple[EmpiricalAudit, tuple[Measured, ...]]:
    """Test the installed software against the claim; a failure is repeated once.

    Args:
        settings: Claim and size.
        fresh_seed: Called once for each trial.
        said: Told of each step.

    Raises:
        RefusalError, StorageError: as ``shadow_run``.
        DomainError: the sums are such that no bound can be computed from them.
    """
    found: list[Measured] = []
    while len(found) < MOST_TRIALS:
        said(f"trial {len(found) + 1}: a shadow run with {settings.canaries:,} canaries")
        found.append(trial_of(settings, fresh_seed(), said=said))
        if not (reasons := found[-1].trial.reasons(settings.epsilon)):
            break
        said(f"trial {len(found)} failed: {', '.join(reasons)}")
    trials = tuple(one.trial for one in found)
    audit = EmpiricalAudit(
        code=settings.code,
        plan=_plan_digest(settings),
        epsilon=settings.epsilon,
        delta=settings.delta,
        noise_mode=settings.noise_mode,
        partners=settings.partners,
        honest=settings.honest,
        width=settings.width,
        canaries=settings.canaries,
        rounds=settings.rounds,
        null_rounds=settings.rounds,
        trials=trials,
        verdict=verdict_of(settings.epsilon, trials),
    )
    return audit, tuple(found)


def _plan_digest(settings: Settings) -> Digest:
    """Of the shadow plan without what a trial draws: keys and run id are those of zeros."""
    schema = schema_of(settings)
    manifest = manifest_of(settings, schema, Secret(bytes(32)))
    return plan_digest(plan_of(settings, manifest, RunId("00" * 16)))


def trial_of(
    settings: Settings, seed: Secret, *, said: Callable[[str], None] = lambda _text: None
) -> Measured:
    """One shadow run with canaries, one on no data, and the bounds that they give."""
    delta = float(settings.delta)
    deviation = bounds.claimed_deviation(
        mu_of(float(settings.epsilon), delta),
        sensitivity=row_bound(settings.width),
        rounds=settings.rounds,
    )
    population = population_of(settings, seed)
    run = shadow_run(settings, seed, population)
    scores = canary_scores(run, deviation)
    present = population.canaries_in
    record_scores = record_scores_of(run, population)
    said("a shadow run on no data")
    sums = _null_sums(settings, seed) / deviation
    bound, null = bounds.gdp_bound(scores, present, delta), bounds.null_round(sums)
    rate = bounds.rate_at_rare_alarms(record_scores, population.records_in)
    trial = Trial(
        seed=seed_commitment_of(seed),
        gdp=_text(bound.epsilon),
        threshold=_text(bounds.threshold_bound(scores, present, delta)),
        one_run=_text(bounds.one_run_bound(scores, present, delta)),
        null_deviation=_text(null.deviation),
        null_tolerance=_text(null.tolerance),
        null_correlation=_text(null.correlation),
        correlation_tolerance=_text(null.correlation_tolerance),
        record_rate=_text(rate),
    )
    return Measured(
        trial=trial,
        bound=bound,
        null=null,
        scores=scores,
        present=present,
        record_scores=record_scores,
        records_in=population.records_in,
        null_deviations=np.sqrt((sums**2).mean(axis=1)),
    )


def canary_scores(run: list[ShadowRound], deviation: float) -> Float:
    """``x_k = Σ_t S_t[d + k] / (σ_sum·√T)`` of each gradient canary (protocol 9.2).

    A canary's label is 1, so that its gradient points down: the sign is turned.
    """
    total = np.sum([one.total[_MODEL_WIDTH + 1 :] for one in run], axis=0)
    scores: Float = -total / (deviation * math.sqrt(len(run)))
    return scores


def record_scores_of(run: list[ShadowRound], population: Population) -> Float:
    """How far the sums lean to each mislabelled row's gradient, in deviations or so.

    From the view of somebody who knows all other rows: their exact sums are taken out, and
    of the mislabelled rows the half that is expected.
    """
    columns = column_indices(population.record_codes, _BIN_COUNTS)
    signs = np.where(population.record_labels == 1, -1.0, 1.0)
    scores = np.zeros(signs.size)
    for one in run:
        weights = np.ascontiguousarray(one.weights[:_MODEL_WIDTH])
        known = _exact(population.codes, population.labels, weights)
        records = _exact(population.record_codes, population.record_labels, weights)
        rest = one.total[:_MODEL_WIDTH] - known - records / 2
        scores += signs * rest[columns].sum(axis=1)
    spread: Float = scores / max(float(scores.std()), 1.0)
    return spread


def _exact(codes: NDArray[np.uint8], labels: NDArray[np.uint8], weights: Float) -> Float:
    total = clipped_gradient_sum(codes, labels, weights, _BIN_COUNTS, clip=float(CLIP))
    return total.astype(np.float64)


def _null_sums(settings: Settings, seed: Secret) -> Float:
    """Sums on no data, each coordinate in units of the noise of one that canaries are on.

    In own mode noise is where a partner holds the block: the model has more holders.
    """
    sums = np.stack([one.total for one in shadow_run(settings, seed, None)]).astype(np.float64)
    if settings.noise_mode == "own":
        sums[:, :_MODEL_WIDTH] /= math.sqrt(settings.partners - 1)
    return sums


def _text(value: float) -> str:
    return f"{value:.4f}"
