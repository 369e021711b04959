"""Pitfalls of several private steps at one partner (protocol 4.8), each with its detector."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.random import Generator  # noqa: TID251 - the type of the fixture

from consortium.canonical import u32
from consortium.crypto.keys import Secret, hkdf
from consortium.errors import ConfigurationError, DomainError, ShapeError
from consortium.ids import digest_of
from consortium.plan import LocalSteps, ModelKind, ReleaseKind
from consortium.privacy.noise import noise_share
from consortium.release import Mechanism
from models import own_noise
from models.own_noise import LocalRows, LocalTrainer, PoissonChoices, PrivateSteps
from models.scorecard import row_bound
from models.spec import BlockSpec, ModelSpec, initial_weights, parameter_count

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")

COUNTS = (3, 4, 5)
CONTEXT = digest_of(b"round 1")
MakeSecret = Callable[[str], Secret]


def _spec(kind: ModelKind = ModelKind.SCORECARD, hidden: tuple[int, ...] = ()) -> ModelSpec:
    block = BlockSpec(
        name="block",
        features=("a", "b", "c"),
        families=("f", "f", "f"),
        bin_counts=COUNTS,
        offset=0,
        size=parameter_count(kind, hidden, sum(COUNTS)),
    )
    return ModelSpec(kind=kind, hidden=hidden, blocks=(block,))


def _steps(
    spec: ModelSpec,
    *,
    rate: str = "0.1",
    steps: int = 5,
    multiplier: str = "1",
    batch: int = 50,
    clip: float = 1.0,
) -> PrivateSteps:
    sensitivity = row_bound(spec.size)
    variance = int((float(multiplier) * sensitivity) ** 2) + 1
    local = LocalSteps(
        sample_rate=rate,
        steps=steps,
        noise_multiplier=multiplier,
        expected_batch=batch,
        learning_rate="0.5",
    )
    mechanism = Mechanism(
        kind=ReleaseKind.GRADIENT, sensitivity=sensitivity, variance=variance, persons_factor=1
    )
    return PrivateSteps(local=local, clip=clip, mechanism=mechanism)


def _rows(rng: Generator, rows: int = 500) -> LocalRows:
    codes = np.stack([rng.integers(0, count, rows) for count in COUNTS], axis=1)
    labels = (rng.random(rows) < 0.1 + 0.4 * (codes[:, 1] > 1)).astype(np.uint8)
    return LocalRows(codes=codes.astype(np.uint8), labels=labels)


def _trainer(spec: ModelSpec, rows: LocalRows, steps: PrivateSteps) -> LocalTrainer:
    return LocalTrainer(spec, spec.blocks[0], rows, steps)


def _choices(rows: int, rate: str, steps: int, key: Secret) -> list[list[int]]:
    choices = PoissonChoices(rows, rate, steps)
    choices.start(key)
    return list(choices)


def test_same_seed_and_context_give_the_same_steps(rng: Generator, secret: MakeSecret) -> None:
    spec, rows = _spec(), _rows(rng)
    runs = [
        _trainer(spec, rows, _steps(spec)).run(np.zeros(12), seed=secret(name), context=context)
        for name, context in (
            ("seed", CONTEXT),
            ("seed", CONTEXT),
            ("other", CONTEXT),
            ("seed", digest_of(b"round 2")),
        )
    ]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    assert not np.array_equal(runs[0], runs[3])


def test_torchs_generators_change_nothing(rng: Generator, secret: MakeSecret) -> None:
    spec, rows = _spec(), _rows(rng)
    runs = []
    for torch_seed in (1, 2):
        torch.manual_seed(torch_seed)
        trainer = _trainer(spec, rows, _steps(spec))
        runs.append(trainer.run(np.zeros(12), seed=secret("s"), context=CONTEXT))
    assert np.array_equal(*runs)


def test_without_rows_every_step_is_still_noised_and_charged(secret: MakeSecret) -> None:
    spec = _spec()
    steps = _steps(spec, steps=3)
    none = LocalRows(codes=np.zeros((0, 3), np.uint8), labels=np.zeros(0, np.uint8))
    trainer = _trainer(spec, none, steps)
    moved = trainer.run(np.zeros(12), seed=secret("s"), context=CONTEXT)
    salt = bytes.fromhex(CONTEXT)
    noise = sum(
        noise_share(
            hkdf(secret("s"), salt, b"riskweave/local-step/v1" + u32(step)),
            CONTEXT,
            variance=steps.mechanism.variance,
            count=12,
        )
        for step in range(3)
    )
    # Learning rate 0.5, divided by the plan's 50 and by nothing that was measured.
    assert np.allclose(moved, -0.5 / 50 * noise / 2**24, atol=1e-14)
    assert trainer.history == ((1.0, 0.1, 3),)


def test_noise_has_the_variance_of_the_mechanism(secret: MakeSecret) -> None:
    hidden = (400,)
    spec = _spec(ModelKind.MLP, hidden)
    steps = _steps(spec, steps=1, batch=1, multiplier="2")
    none = LocalRows(codes=np.zeros((0, 3), np.uint8), labels=np.zeros(0, np.uint8))
    start = np.zeros(spec.size)
    moved = _trainer(spec, none, steps).run(start, seed=secret("s"), context=CONTEXT)
    # 5,601 values: the deviation is within 6 % but for a chance below one in a million.
    assert np.std(moved / 0.5) == pytest.approx(2.0, rel=0.06)


def test_every_step_of_the_plan_is_taken_at_lengths_where_opacus_loses_one(
    rng: Generator, secret: MakeSecret
) -> None:
    for steps in (93, 99, 105):
        batches = _choices(20, "0.1", steps, secret("poisson"))
        assert len(batches) == steps
    spec = _spec()
    trainer = _trainer(spec, _rows(rng, 20), _steps(spec, steps=93))
    trainer.run(np.zeros(12), seed=secret("s"), context=CONTEXT)
    assert trainer.history == ((1.0, 0.1, 93),)


def test_choices_are_poisson_with_the_plans_rate(secret: MakeSecret) -> None:
    batches = _choices(5_000, "0.05", 200, secret("poisson"))
    sizes = np.array([len(batch) for batch in batches])
    # Binomial: mean 250, variance 237.5; five deviations of mean and of variance.
    assert abs(sizes.mean() - 250) < 5 * np.sqrt(237.5 / 200)
    assert abs(sizes.var() / 237.5 - 1) < 5 * np.sqrt(2 / 200)
    counts = np.bincount(np.concatenate(batches), minlength=5_000)
    assert counts.max() < 40
    assert all(len(set(batch)) == len(batch) for batch in batches)


def test_rate_one_takes_every_row_and_long_tables_are_drawn_alike(
    secret: MakeSecret, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _choices(7, "1", 2, secret("p")) == [list(range(7))] * 2
    whole = _choices(1_000, "0.3", 3, secret("p"))
    monkeypatch.setattr(own_noise, "_WINDOW", 64)
    assert _choices(1_000, "0.3", 3, secret("p")) == whole


def test_key_of_the_sampler_is_used_once(secret: MakeSecret) -> None:
    choices = PoissonChoices(10, "0.5", 2)
    choices.start(secret("p"))
    list(choices)
    with pytest.raises(DomainError, match="fresh key"):
        list(choices)


def test_batch_in_small_parts_gives_the_same_step(
    rng: Generator, secret: MakeSecret, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, rows = _spec(), _rows(rng)
    steps = _steps(spec, rate="0.5")
    whole = _trainer(spec, rows, steps).run(np.zeros(12), seed=secret("s"), context=CONTEXT)
    monkeypatch.setattr(own_noise, "_MOST_NUMBERS", 12 * 7)
    parts = _trainer(spec, rows, steps)
    assert np.array_equal(whole, parts.run(np.zeros(12), seed=secret("s"), context=CONTEXT))
    assert parts.history == ((1.0, 0.5, 5),)


def test_step_whose_clipping_failed_is_not_taken(
    rng: Generator, secret: MakeSecret, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = _spec()
    monkeypatch.setattr(
        own_noise, "integer_row_sum", lambda g, **_: (g * 2.0**40).sum(dim=0).round()
    )
    trainer = _trainer(spec, _rows(rng), _steps(spec))
    with pytest.raises(DomainError, match="longer than its rows"):
        trainer.run(np.zeros(12), seed=secret("s"), context=CONTEXT)
    assert trainer.history == ()


@pytest.mark.parametrize(("kind", "hidden"), [(ModelKind.SCORECARD, ()), (ModelKind.MLP, (6,))])
def test_training_with_little_noise_learns(
    kind: ModelKind, hidden: tuple[int, ...], rng: Generator, secret: MakeSecret
) -> None:
    spec, rows = _spec(kind, hidden), _rows(rng, 2_000)
    steps = _steps(spec, rate="0.2", steps=40, multiplier="0.1", batch=100)
    start = initial_weights(spec, bytes(32))
    trainer = _trainer(spec, rows, steps)
    moved = trainer.run(start, seed=secret("s"), context=CONTEXT)
    module = own_noise.build(spec, spec.blocks[0], start + moved)
    columns = torch.from_numpy(own_noise.one_hot(rows.codes, COUNTS))
    with torch.no_grad():
        z = module(columns)[:, 0].numpy()
    assert z[rows.codes[:, 1] > 1].mean() > z[rows.codes[:, 1] <= 1].mean() + 0.3


def test_one_engine_serves_all_rounds_and_earlier_histories_are_added(
    rng: Generator, secret: MakeSecret
) -> None:
    spec, rows = _spec(), _rows(rng)
    trainer = _trainer(spec, rows, _steps(spec))
    once = trainer.run(np.zeros(12), seed=secret("s"), context=CONTEXT)
    trainer.run(once, seed=secret("s"), context=digest_of(b"round 2"))
    assert trainer.history == ((1.0, 0.1, 10),)
    alone = trainer.epsilon(1e-6)
    after_crash = _trainer(spec, rows, _steps(spec))
    after_crash.add_history(trainer.history)
    after_crash.run(once, seed=secret("s"), context=digest_of(b"round 3"))
    assert sum(steps for _, _, steps in after_crash.history) == 15
    assert after_crash.epsilon(1e-6) > alone


def test_opacus_figure_is_that_of_the_specification(rng: Generator, secret: MakeSecret) -> None:
    # protocol 4.8: q = 0.05, sigma = 1, 60 steps, delta = 1e-6: RDP 3.93.
    spec = _spec()
    trainer = _trainer(spec, _rows(rng, 30), _steps(spec, rate="0.05", steps=60))
    trainer.run(np.zeros(12), seed=secret("s"), context=CONTEXT)
    assert trainer.epsilon(1e-6) == pytest.approx(3.93, abs=0.02)


def test_rows_or_numbers_that_do_not_fit_are_refused(rng: Generator) -> None:
    spec, rows = _spec(), _rows(rng)
    column = LocalRows(codes=rows.codes, labels=rows.labels.reshape(-1, 1))
    with pytest.raises(ShapeError):
        _trainer(spec, column, _steps(spec))
    narrow = LocalRows(codes=rows.codes[:, :2], labels=rows.labels)
    with pytest.raises(ShapeError):
        _trainer(spec, narrow, _steps(spec))
    for wrong in (_steps(spec, rate="0"), _steps(spec, steps=0), _steps(spec, batch=0)):
        with pytest.raises(ConfigurationError):
            _trainer(spec, rows, wrong)
    with pytest.raises(DomainError):
        _trainer(spec, rows, _steps(spec, clip=float("nan")))


def test_step_without_a_seed_is_not_taken(rng: Generator) -> None:
    spec = _spec()
    trainer = _trainer(spec, _rows(rng), _steps(spec))
    trainer._choices.start(Secret(bytes(32)))
    batch = next(iter(trainer._loader))
    with pytest.raises(DomainError, match="without a seed"):
        trainer._step(batch)
