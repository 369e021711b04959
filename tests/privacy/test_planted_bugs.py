"""Five bugs that noise or clipping has had elsewhere, planted here: the audit sees each.

What is patched is the product's own function, where sessions and sums call it; the shadow
federation around it is the one that operators run. Each test names the check that must fail,
and that the honest build passes the same trial.

False alarms: a sound build fails (a) in one trial of a hundred, hence the repetition, and (d)
in one of 16,000. All seeds are fixed.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from consortium.audit.bounds import claimed_deviation
from consortium.audit.result import AuditVerdict, EmpiricalAudit
from consortium.canonical import canonical_json, parse_canonical
from consortium.crypto.keys import Secret
from consortium.errors import BudgetExceededError
from consortium.ids import Digest, digest_of
from consortium.plan import ReleaseKind, TrainingPlan
from consortium.privacy import mechanism
from consortium.privacy.accountant import mu_of
from consortium.privacy.noise import noise_share
from consortium.release import Mechanism
from models import run, scorecard
from models.scorecard import row_bound
from partner_node import training_session
from rehearsal.shadow.federation import shadow_run
from rehearsal.shadow.setting import Settings, population_of
from rehearsal.shadow.trial import Measured, audited, canary_scores, trial_of

Float = NDArray[np.float64]
Integers = NDArray[np.int64]

SMALL = Settings(code=digest_of(b"code"), epsilon="3", canaries=1_000, rounds=3)
RELEASE = replace(SMALL, epsilon="1", canaries=4_000)


def seed_of(number: int) -> Secret:
    return Secret(number.to_bytes(32, "big"))


def seeds(first: int) -> Callable[[], Secret]:
    numbers = iter(range(first, first + 2))
    return lambda: seed_of(next(numbers))


def tried(settings: Settings = SMALL) -> Measured:
    return trial_of(settings, seed_of(1))


@pytest.mark.parametrize("mode", ["shared", "own"])
def test_honest_build_passes(mode: str) -> None:
    audit, found = audited(replace(SMALL, noise_mode=mode), seeds(1))
    assert audit.verdict is AuditVerdict.PASSED
    assert 1.0 < found[-1].bound.epsilon <= 3.0
    read = EmpiricalAudit.from_canonical(parse_canonical(canonical_json(audit.to_canonical())))
    assert read == audit


def test_trial_can_be_made_again_from_its_seed() -> None:
    settings = replace(SMALL, rounds=2)
    assert trial_of(settings, seed_of(3)).trial == trial_of(settings, seed_of(3)).trial


def test_canary_moves_its_coordinate_by_the_whole_clip_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without noise a score is mu or 0, whatever the rounds did to the weights."""

    def none(*keys: object, variance: int, count: int) -> Integers:
        del keys, variance
        return np.zeros(count, dtype=np.int64)

    monkeypatch.setattr(training_session, "noise_share", none)
    settings = replace(SMALL, rounds=20)
    population = population_of(settings, seed_of(1))
    mu = mu_of(3.0, 1e-6)
    deviation = claimed_deviation(mu, sensitivity=row_bound(settings.width), rounds=20)
    scores = canary_scores(shadow_run(settings, seed_of(1), population), deviation)
    assert not scores[~population.canaries_in].any()
    assert np.ptp(scores[population.canaries_in]) == 0
    assert scores.max() == pytest.approx(mu, rel=1e-5)


def test_noise_of_half_the_deviation_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def halved(seed: Secret, context: Digest, *, variance: int, count: int) -> Integers:
        return noise_share(seed, context, variance=variance // 4, count=count)

    monkeypatch.setattr(training_session, "noise_share", halved)
    assert {"gdp", "null_deviation"} <= set(tried().trial.reasons("3"))


def test_claim_that_is_translated_to_four_times_its_cost_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Noise, reserve and charge agree on it: only who starts from the claim can see it."""
    honest = mechanism._target
    monkeypatch.setattr(mechanism, "_target", lambda plan: 4 * honest(plan))
    mechanism.mechanism_for.cache_clear()
    try:
        assert {"gdp", "null_deviation"} <= set(tried().trial.reasons("3"))
    finally:
        mechanism.mechanism_for.cache_clear()


def test_mechanism_of_half_the_deviation_alone_is_refused_by_the_reserve(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = mechanism.mechanism_for

    def halved(
        plan: TrainingPlan, kind: ReleaseKind, *, width: int, partners: int
    ) -> Mechanism:
        made = honest(plan, kind, width=width, partners=partners)
        return replace(made, variance=made.variance // 4)

    monkeypatch.setattr(run, "mechanism_for", halved)
    with pytest.raises(BudgetExceededError):
        tried()


def test_missing_clip_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row check is off as well: with it, rows that are too long are dropped."""

    def unclipped(residuals: Float, ones: int, *, clip: float, bound: int) -> Float:
        del ones, bound
        return np.rint(residuals * (2.0**24 / clip))

    monkeypatch.setattr(scorecard, "clipped_rows", unclipped)
    assert tried().trial.reasons("3") == ("gdp",)


def test_row_check_alone_holds_where_the_clip_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unclipped(residuals: Float, ones: int, *, clip: float, bound: int) -> Float:
        return scorecard.hard_row_check(residuals * (2.0**24 / clip), ones, bound=bound)

    monkeypatch.setattr(scorecard, "clipped_rows", unclipped)
    assert tried().trial.reasons("3") == ()


def test_column_that_is_broadcast_over_the_rows_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """(B,) factors against (B, 1) losses: every row gets the sum of all factors (10.3)."""

    def broadcast(residuals: Float, ones: int, *, clip: float, bound: int) -> Float:
        del bound
        longest = clip / np.sqrt(ones)
        factors = np.minimum(1.0, longest / np.maximum(np.abs(residuals), 1e-300))
        square = residuals[:, np.newaxis] * factors
        return np.rint(square.sum(axis=1) * (2.0**24 / clip))

    monkeypatch.setattr(scorecard, "clipped_rows", broadcast)
    assert tried().trial.reasons("3") == ("gdp",)


def test_seed_that_is_used_in_every_round_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def reused(seed: Secret, context: Digest, *, variance: int, count: int) -> Integers:
        del context
        return noise_share(seed, digest_of(b"always"), variance=variance, count=count)

    monkeypatch.setattr(training_session, "noise_share", reused)
    found = tried()
    assert "null_correlation" in found.trial.reasons("3")
    assert abs(found.null.deviation - 1) < 4 * found.null.tolerance  # the size looks right


def test_seed_that_one_partner_uses_in_two_rounds_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A quarter of the noise of two rounds of three is the same."""
    seen: dict[bytes, list[Digest]] = {}

    def always_first(seed: Secret, context: Digest, *, variance: int, count: int) -> Integers:
        mine = seen.setdefault(seed.expose(), [])
        number = list(seen).index(seed.expose())
        if number % 4 == 0 and mine:
            context = mine[0]
        mine.append(context)
        return noise_share(seed, context, variance=variance, count=count)

    monkeypatch.setattr(training_session, "noise_share", always_first)
    assert "null_correlation" in tried().trial.reasons("3")


def test_noise_of_one_silo_only_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []

    def lone(seed: Secret, context: Digest, *, variance: int, count: int) -> Integers:
        if seed.expose() not in seen:
            seen.append(seed.expose())
        if seen.index(seed.expose()) % SMALL.partners:
            return np.zeros(count, dtype=np.int64)
        return noise_share(seed, context, variance=variance, count=count)

    monkeypatch.setattr(training_session, "noise_share", lone)
    assert {"gdp", "null_deviation"} <= set(tried().trial.reasons("3"))


def test_failure_is_repeated_once_and_then_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    def halved(seed: Secret, context: Digest, *, variance: int, count: int) -> Integers:
        return noise_share(seed, context, variance=variance // 4, count=count)

    monkeypatch.setattr(training_session, "noise_share", halved)
    audit, found = audited(replace(SMALL, rounds=1), seeds(1))
    assert len(audit.trials) == len(found) == 2
    assert audit.verdict is AuditVerdict.FAILED
    assert audit.trials[0].seed != audit.trials[1].seed


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_honest_build_passes_twenty_times_of_twenty_at_the_size_of_a_release() -> None:
    failed = []
    for number in range(20):
        audit, _ = audited(RELEASE, seeds(100 + 2 * number))
        assert audit.for_release()
        if audit.verdict is not AuditVerdict.PASSED:
            failed.append((number, audit.reasons))
    assert not failed
