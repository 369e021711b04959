"""Several private steps at one partner, on Opacus' engine with our chance (protocol 4.8).

Opacus gives per-row gradients, the optimiser's life cycle and an accountant. Ours are the
Poisson choices and the noise, both from AES-CTR; the rows, which become integers before
they are added; and every constant, which comes from the plan, where Opacus would measure
it on the data. Ghost mode, ``secure_mode`` and batch normalisation are not used.
"""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from opacus import PrivacyEngine
from opacus.optimizers import DPOptimizer
from opacus.optimizers.optimizer import _check_processed_flag, _mark_as_processed
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

from consortium.canonical import u32
from consortium.crypto.keys import Secret, hkdf
from consortium.crypto.stream import WordStream
from consortium.errors import ConfigurationError, DomainError, ShapeError
from consortium.ids import Digest
from consortium.plan import LocalSteps, decimal
from consortium.privacy.noise import noise_share
from consortium.release import Mechanism
from consortium.secagg.ring import SCALE_BITS
from models.encoding import Codes, Labels, check_codes, check_labels, one_hot
from models.networks import build, flatten, load_flat
from models.scorecard import SECOND_TRY
from models.spec import BlockSpec, ModelSpec

Float = NDArray[np.float64]
Indices = NDArray[np.int64]
Tensor = torch.Tensor
Batch = tuple[Tensor, Tensor]

GUARD = 1.0 - 2.0**-10
"""Room for the rounding of a row to integers (protocol 3.4.3)."""

_SAMPLER_INFO = b"riskweave/poisson/v1"
_STEP_INFO = b"riskweave/local-step/v1"
_WINDOW = 1 << 20
"""Rows whose choices are drawn at a time. Changes no choice."""
_MOST_NUMBERS = 1 << 23
"""Per-row gradients held at a time, in numbers: 64 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateSteps:
    """All that the privacy of the steps rests on. Public."""

    local: LocalSteps
    clip: float
    """C."""
    mechanism: Mechanism
    """Of one step: Q and V (``mechanism_for`` a plan with local steps)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LocalRows:
    """A block's training rows at this partner. Private."""

    codes: Codes
    labels: Labels


def row_losses(logit: Tensor, labels: Tensor) -> Tensor:
    """Log-loss of each row, shape (rows,).

    Raises:
        ShapeError: an argument is not flat. A (rows, 1) column against (rows,) would make
            (rows, rows) losses, and clipping would silently vanish (protocol 10.3).
    """
    if logit.ndim != 1 or logit.shape != labels.shape:
        raise ShapeError(f"logits of shape {tuple(logit.shape)} for {tuple(labels.shape)}")
    return nn.functional.binary_cross_entropy_with_logits(logit, labels, reduction="none")


class PoissonChoices(Sampler[list[int]]):
    """Batches in which each row is, independently, with the plan's rate (protocol 4.8).

    One word decides on one row in one step, in order. The number of steps is given; it is
    not derived from a rate, where Opacus loses a step for some lengths.
    """

    def __init__(self, rows: int, rate: str, steps: int) -> None:
        """Rows are private; rate, a decimal string above 0, and steps are public."""
        share = decimal(rate, "local.sample_rate", low="0.000001", high="1")
        if steps < 1:
            raise ConfigurationError(f"local.steps: {steps} is not positive")
        self._rows = rows
        self._steps = steps
        self._highest = np.uint64(math.floor(share * 2**64) - 1)
        self._key: Secret | None = None

    def start(self, key: Secret) -> None:
        """Choose by this key's stream in the next pass; a key serves one pass."""
        self._key = key

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[list[int]]:
        if self._key is None:
            raise DomainError("Poisson choices without a fresh key")
        stream, self._key = WordStream(self._key), None
        for _ in range(self._steps):
            yield self._choose(stream).tolist()

    def _choose(self, stream: WordStream) -> Indices:
        parts = [np.empty(0, dtype=np.int64)]
        for start in range(0, self._rows, _WINDOW):
            words = stream.take(min(_WINDOW, self._rows - start))
            parts.append(np.flatnonzero(words <= self._highest) + start)
        return np.concatenate(parts)


class _OneHotRows(Dataset[Batch]):
    """Batches of rows in one-hot form; an empty batch has its shape too."""

    def __init__(self, rows: LocalRows, bin_counts: tuple[int, ...]) -> None:
        self._rows = rows
        self._bin_counts = bin_counts

    def __len__(self) -> int:
        return self._rows.labels.size

    def __getitem__(self, index: int) -> Batch:
        raise DomainError("rows are read by the batch")

    def __getitems__(self, chosen: list[int]) -> "_Chosen":
        """Keep the choice; ``parts`` builds the matrices, a few rows at a time."""
        return _Chosen(self._rows, self._bin_counts, np.array(chosen, dtype=np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class _Chosen:
    """One step's batch. Private."""

    rows: LocalRows
    bin_counts: tuple[int, ...]
    chosen: Indices

    def parts(self, size: int) -> Iterator[tuple[Batch, bool]]:
        """Yield matrices of at most ``size`` rows and whether more follow; at least one."""
        for start in range(0, max(self.chosen.size, 1), size):
            part = self.chosen[start : start + size]
            columns = one_hot(self.rows.codes[part], self.bin_counts)
            labels = self.rows.labels[part].astype(np.float64)
            more = start + size < self.chosen.size
            yield (torch.from_numpy(columns), torch.from_numpy(labels)), more


def _as_is(batch: object) -> object:
    """In place of torch's collation: the batch is whole already."""
    return batch


class IntegerNoiseOptimizer(DPOptimizer):  # type: ignore[misc]  # Opacus is untyped
    """Opacus' optimiser over integers: ``summed_grad`` holds multiples of ``C / 2**24``."""

    def __init__(self, optimizer: torch.optim.Optimizer, steps: PrivateSteps) -> None:
        super().__init__(
            optimizer,
            noise_multiplier=float(steps.local.noise_multiplier),
            max_grad_norm=steps.clip,
            expected_batch_size=steps.local.expected_batch,
            loss_reduction="sum",
        )
        self._plan = steps
        self._rows = 0
        self._step = 0
        self._seed: Secret | None = None
        self._context = Digest("")

    def start(self, seed: Secret, context: Digest) -> None:
        """Take the noise of the following steps from ``seed`` under ``context``."""
        self._seed, self._context, self._step, self._rows = seed, context, 0, 0

    def clip_and_accumulate(self) -> None:
        """Clip, round and check each row, then add integers (protocol 3.4.3 to 3.4.5)."""
        for parameter in self.params:
            _check_processed_flag(parameter.grad_sample)
        samples = self.grad_samples
        total = integer_row_sum(
            torch.cat([sample.flatten(1) for sample in samples], dim=1),
            clip=self._plan.clip,
            bound=self._plan.mechanism.sensitivity,
        )
        self._rows += len(samples[0])
        pieces = torch.split(total, [parameter.numel() for parameter in self.params])
        for parameter, piece in zip(self.params, pieces, strict=True):
            own = piece.view_as(parameter)
            before = parameter.summed_grad
            parameter.summed_grad = own if before is None else before + own
            _mark_as_processed(parameter.grad_sample)

    def add_noise(self) -> None:
        """Add one discrete Gaussian to each integer; an empty batch gets its noise too.

        Raises:
            DomainError: the sum is longer than its rows allow, so clipping failed; or no
                seed was given. The step is not taken.
        """
        flat = torch.cat([parameter.summed_grad.reshape(-1) for parameter in self.params])
        longest = self._rows * self._plan.mechanism.sensitivity
        if not float(torch.linalg.vector_norm(flat)) <= longest * (1 + 1e-9):
            raise DomainError("a clipped sum is longer than its rows allow")
        noisy = flat.long() + torch.from_numpy(self._noise(flat.numel()))
        self._rows = 0
        gradient = noisy.double() * (self._plan.clip / 2.0**SCALE_BITS)
        pieces = torch.split(gradient, [parameter.numel() for parameter in self.params])
        for parameter, piece in zip(self.params, pieces, strict=True):
            _check_processed_flag(parameter.summed_grad)
            parameter.grad = piece.view_as(parameter).clone()
            _mark_as_processed(parameter.summed_grad)

    def scale_grad(self) -> None:
        """Divide by the plan's constant; the batch's own size is private (protocol 10.10)."""
        for parameter in self.params:
            parameter.grad /= self._plan.local.expected_batch

    def _noise(self, count: int) -> NDArray[np.int64]:
        if self._seed is None:
            raise DomainError("a private step without a seed")
        salt = bytes.fromhex(self._context)
        seed = hkdf(self._seed, salt, _STEP_INFO + u32(self._step))
        self._step += 1
        variance = self._plan.mechanism.variance
        return noise_share(seed, self._context, variance=variance, count=count)


def integer_row_sum(gradients: Tensor, *, clip: float, bound: int) -> Tensor:
    """Sum of the rows, each clipped, rounded and held to a norm of at most ``bound``.

    Args:
        gradients: One row's gradient each, float64, shape (rows, d). Private.
        clip: C.
        bound: Q.

    Returns:
        Shape (d,), float64 that hold integers, in units of ``clip / 2**24``.
    """
    clean = torch.nan_to_num(gradients, posinf=0.0, neginf=0.0)
    norms: Tensor = torch.linalg.vector_norm(clean, dim=1)
    factor = (clip / norms).clamp(max=1.0) * (GUARD * 2.0**SCALE_BITS / clip)
    exact = clean * factor.unsqueeze(1)
    rounded = exact.round()
    above = ~_within(rounded, bound)
    if bool(above.any()):
        rounded[above] = (exact[above] * SECOND_TRY).round()
        # Chosen, not multiplied: NaN times 0 is NaN.
        rounded = torch.where(_within(rounded, bound).unsqueeze(1), rounded, 0.0)
    return rounded.sum(dim=0)


def _within(integers: Tensor, bound: int) -> Tensor:
    """Rows of norm at most Q; exact in float64, for Q**2 is far below 2**53."""
    squares: Tensor = torch.linalg.vecdot(integers, integers)
    return squares <= float(bound * bound)


class OwnNoiseEngine(PrivacyEngine):  # type: ignore[misc]  # Opacus is untyped
    """Opacus' engine with our sampler, our optimiser and the plan's constants."""

    def __init__(self, steps: PrivateSteps) -> None:
        with warnings.catch_warnings():
            # It warns that torch's generator is not secure; none of its numbers is used.
            warnings.simplefilter("ignore")
            super().__init__(accountant="rdp")
        self._steps = steps

    def _prepare_optimizer(
        self, *, optimizer: torch.optim.Optimizer, **_unused: object
    ) -> IntegerNoiseOptimizer:
        """Ours. What Opacus measured on the data set is left aside."""
        return IntegerNoiseOptimizer(optimizer, self._steps)

    def _prepare_data_loader(
        self, data_loader: DataLoader[Batch], **_unused: object
    ) -> DataLoader[Batch]:
        """The loader as it is: its batches are Poisson choices already."""
        return data_loader


class LocalTrainer:
    """One partner's local steps through a whole run: one engine, one history."""

    def __init__(
        self, spec: ModelSpec, block: BlockSpec, rows: LocalRows, steps: PrivateSteps
    ) -> None:
        """Check the rows and make the engine's parts, once for the run.

        Raises:
            ShapeError, DomainError: the rows do not fit the block.
            ConfigurationError: the plan's numbers are outside their range.
        """
        check_codes(rows.codes, block.bin_counts)
        check_labels(rows.labels, rows.codes.shape[0])
        if not (math.isfinite(steps.clip) and steps.clip > 0):
            raise DomainError(f"clip {steps.clip} is not positive and finite")
        local = steps.local
        if local.expected_batch < 1:
            raise ConfigurationError("local.expected_batch is not positive")
        self._choices = PoissonChoices(rows.labels.size, local.sample_rate, local.steps)
        rate = float(decimal(local.learning_rate, "local.learning_rate", low="0", high="10"))
        module = build(spec, block, np.zeros(block.size)).train()
        self._part_rows = max(1, _MOST_NUMBERS // block.size)
        self._engine = OwnNoiseEngine(steps)
        self._module, self._optimizer, self._loader = self._engine.make_private(
            module=module,
            optimizer=torch.optim.SGD(module.parameters(), lr=rate),
            data_loader=DataLoader(
                _OneHotRows(rows, block.bin_counts),
                batch_sampler=self._choices,
                collate_fn=_as_is,
            ),
            noise_multiplier=float(local.noise_multiplier),
            max_grad_norm=steps.clip,
            loss_reduction="sum",
        )
        # Opacus derives the rate from the loader's length; it has to come from the plan.
        account = self._engine.accountant
        share = float(decimal(local.sample_rate, "local.sample_rate", low="0", high="1"))
        self._optimizer.attach_step_hook(account.get_optimizer_hook_fn(sample_rate=share))

    def run(self, weights: Float, *, seed: Secret, context: Digest) -> Float:
        """Take the plan's steps from ``weights`` and return how far they went.

        Args:
            weights: The block's, shape (block.size,). Public.
            seed: The run's. Secret.
            context: Digest of this attempt; no two attempts share one. Public.

        Returns:
            New weights minus old, shape (block.size,). Post-processing of noisy sums; each
            step is charged whether or not this leaves.

        Raises:
            ShapeError, DomainError: weights that do not fit.
        """
        load_flat(self._module, weights)
        self._choices.start(hkdf(seed, bytes.fromhex(context), _SAMPLER_INFO))
        self._optimizer.start(seed, context)
        with warnings.catch_warnings():
            # Rows need no gradient of their own, which torch remarks on at every step.
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            for batch in self._loader:
                self._step(batch)
        return flatten(self._module) - weights

    def _step(self, batch: _Chosen) -> None:
        """One private step; an empty batch is one too."""
        for (columns, labels), more in batch.parts(self._part_rows):
            self._optimizer.zero_grad()
            self._optimizer.signal_skip_step(do_skip=more)
            losses = row_losses(self._module(columns)[:, 0], labels)
            torch.autograd.backward(losses.sum())
            self._optimizer.step()

    @property
    def history(self) -> tuple[tuple[float, float, int], ...]:
        """(noise multiplier, sample rate, steps) of all that was done: kept with the debit."""
        return tuple(self._engine.accountant.history)

    def add_history(self, earlier: tuple[tuple[float, float, int], ...]) -> None:
        """Put an earlier engine's steps on the same rows before this one's (protocol 4.8)."""
        self._engine.accountant.history = [*earlier, *self._engine.accountant.history]

    def epsilon(self, delta: float) -> float:
        """Opacus' RDP figure for one record: an upper check of what is reported."""
        return float(self._engine.accountant.get_epsilon(delta))
