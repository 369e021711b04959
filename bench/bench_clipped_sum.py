"""Rows a second of the exact clipped sums, against plain gradients and against Opacus.

All run on one thread in one process, in turns, so that a busy machine slows all of them; the
figures are medians of CPU seconds. A plain gradient has no clipping and no integers. It is
written in several usual ways, and the fastest is the anchor:

* scorecard: ``take``, ``np.exp`` and ``bincount`` by feature, float64, several chunks. As a
  further figure, the same with our reading of several features at once, which a plain
  gradient may use as well;
* MLP: PyTorch float32 autograd on the one-hot matrix (built before or by the chunk) and on
  an embedding bag, several chunks.

Opacus clips the same rows of the same net in float32: hooks (``GradSampleModule``) and
ghost clipping, the faster of two sizes of a physical batch. No noise in any of them.
"""

import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from numpy.typing import NDArray
from opacus import GradSampleModule
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch import nn

from bench.result import Result
from consortium.plan import ModelKind
from models.encoding import column_indices, column_starts
from models.gradients import clipped_gradient_sum_dense
from models.joint import columns_of, groups
from models.networks import build
from models.scorecard import clipped_gradient_sum
from models.spec import BlockSpec, ModelSpec, initial_weights, parameter_count

mpl.use("Agg")
from matplotlib import pyplot as plt

COUNTS = (8,) * 10
HIDDEN = (64, 32)
SCORECARD_ROWS, MLP_ROWS, OPACUS_ROWS = 1_000_000, 65_536, 16_384
REPEATS = 9
CLIP = 1.0

Float = NDArray[np.float64]
Codes = NDArray[np.uint8]
Call = Callable[[], object]


def run(out: Path) -> Result:
    """Rows a second, and the ratios."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        scorecard, mlp = _scorecard(), _mlp()
    finally:
        torch.set_num_threads(threads)
    plain = _fastest(scorecard, "plain")
    joint = _fastest(scorecard, "joint")
    autograd = _fastest(mlp, "plain")
    ratios = {
        "scorecard_vs_plain": scorecard["ours"] / plain,
        "scorecard_vs_joint_plain": scorecard["ours"] / joint,
        "mlp_vs_plain": mlp["ours"] / autograd,
        "vs_opacus_hooks": mlp["ours"] / _fastest(mlp, "hooks"),
        "vs_opacus_ghost": mlp["ours"] / _fastest(mlp, "ghost"),
    }
    _plot(out / "clipped_sum.svg", scorecard, mlp)
    return Result(
        name="clipped_sum",
        figures={
            "scorecard_rows_per_cpu_s": round(scorecard["ours"]),
            "mlp_rows_per_cpu_s": round(mlp["ours"]),
            "threads": 1,
            "bins": list(COUNTS),
            "hidden": list(HIDDEN),
        },
        anchors={
            "scorecard": {k: round(v) for k, v in scorecard.items() if k != "ours"},
            "mlp": {k: round(v) for k, v in mlp.items() if k != "ours"},
        },
        ratios={name: round(value, 2) for name, value in ratios.items()},
    )


def _fastest(rates: dict[str, float], kind: str) -> float:
    return max(rate for name, rate in rates.items() if name.startswith(kind))


def _rates(calls: dict[str, tuple[Call, int]]) -> dict[str, float]:
    """Rows a CPU second of each call, median over turns; the first turn warms up."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(REPEATS + 1):
        for name, (call, _) in calls.items():
            began = time.process_time()
            call()
            spent[name].append(time.process_time() - began)
    return {
        name: rows / statistics.median(spent[name][1:]) for name, (_, rows) in calls.items()
    }


# --- scorecard ------------------------------------------------------------------------------


def _scorecard() -> dict[str, float]:
    codes, labels = _table(SCORECARD_ROWS)
    weights = np.linspace(-1, 1, sum(COUNTS))
    calls: dict[str, tuple[Call, int]] = {
        "ours": (
            lambda: clipped_gradient_sum(codes, labels, weights, COUNTS, clip=CLIP),
            SCORECARD_ROWS,
        )
    }
    for chunk in (8_192, 32_768, 131_072):
        calls[f"plain {chunk}"] = (
            lambda chunk=chunk: _plain(codes, labels, weights, chunk),
            SCORECARD_ROWS,
        )
        calls[f"joint {chunk}"] = (
            lambda chunk=chunk: _joint(codes, labels, weights, chunk),
            SCORECARD_ROWS,
        )
    if not np.allclose(
        _plain(codes, labels, weights, 8_192), _joint(codes, labels, weights, 8_192)
    ):
        raise AssertionError("the anchors disagree")
    return _rates(calls)


def _plain(codes: Codes, labels: Codes, weights: Float, chunk: int) -> Float:
    """The float gradient, feature by feature."""
    starts = (*column_starts(COUNTS), weights.size)
    tables = np.split(weights, starts[1:-1])
    gradient = np.zeros(weights.size)
    for start in range(0, len(codes), chunk):
        part = codes[start : start + chunk]
        logit = tables[0].take(part[:, 0])
        for feature in range(1, len(COUNTS)):
            logit += tables[feature].take(part[:, feature])
        residual = _residual(logit, labels[start : start + chunk])
        for feature, count in enumerate(COUNTS):
            first = starts[feature]
            gradient[first : first + count] += np.bincount(part[:, feature], residual, count)
    return gradient


def _joint(codes: Codes, labels: Codes, weights: Float, chunk: int) -> Float:
    """The float gradient with our way of reading a few features at once."""
    tables = np.split(weights, column_starts(COUNTS)[1:])
    parts = groups(COUNTS)
    cells = [_outer_sum(tables[part.first : part.last]) for part in parts]
    sums = [np.zeros(part.cells) for part in parts]
    for start in range(0, len(codes), chunk):
        columns = columns_of(codes[start : start + chunk], COUNTS)
        joint = [part.joint(columns) for part in parts]
        logit = cells[0].take(joint[0])
        for table, index in zip(cells[1:], joint[1:], strict=True):
            logit += table.take(index)
        residual = _residual(logit, labels[start : start + chunk])
        for total, index in zip(sums, joint, strict=True):
            np.add(total, np.bincount(index, residual, total.size), out=total)
    marginals = [part.marginals(total) for part, total in zip(parts, sums, strict=True)]
    return np.concatenate([one for several in marginals for one in several])


def _outer_sum(tables: list[Float]) -> Float:
    cells = tables[0]
    for table in tables[1:]:
        cells = np.add.outer(cells, table)
    return cells.reshape(-1)


def _residual(logit: Float, labels: Codes) -> Float:
    np.negative(logit, out=logit)
    np.exp(logit, out=logit)
    logit += 1.0
    np.reciprocal(logit, out=logit)
    logit -= labels
    return logit


# --- MLP ------------------------------------------------------------------------------------


def _mlp() -> dict[str, float]:
    codes, labels = _table(MLP_ROWS)
    spec = _spec()
    block = spec.blocks[0]
    weights = initial_weights(spec, bytes(32))
    net = build(spec, block, weights).float()
    columns = torch.from_numpy(column_indices(codes, COUNTS))
    dense = torch.zeros(MLP_ROWS, block.columns).scatter_(1, columns, 1.0)
    truth = torch.from_numpy(labels.astype(np.float32))
    calls: dict[str, tuple[Call, int]] = {
        "ours": (
            lambda: clipped_gradient_sum_dense(
                codes, labels, weights, block, hidden=HIDDEN, clip=CLIP
            ),
            MLP_ROWS,
        )
    }
    for chunk in (4_096, 8_192, MLP_ROWS):
        calls[f"plain matrix {chunk}"] = (
            lambda chunk=chunk: _autograd(net, dense, truth, chunk),
            MLP_ROWS,
        )
        calls[f"plain one-hot {chunk}"] = (
            lambda chunk=chunk: _autograd_built(net, columns, truth, chunk),
            MLP_ROWS,
        )
    bag = _bag(net, block.columns)
    calls["plain bag 8192"] = (lambda: _autograd(bag, columns, truth, 8_192), MLP_ROWS)
    few = (dense[:OPACUS_ROWS], truth[:OPACUS_ROWS])
    for batch in (512, 2_048):
        calls[f"hooks {batch}"] = (_hooks(spec, weights, few, batch), OPACUS_ROWS)
        calls[f"ghost {batch}"] = (_ghost(spec, weights, few, batch), OPACUS_ROWS)
    return _rates(calls)


def _autograd(net: nn.Module, rows: torch.Tensor, truth: torch.Tensor, chunk: int) -> None:
    net.zero_grad()
    for part, labels in zip(rows.split(chunk), truth.split(chunk), strict=True):
        _loss(net(part)[:, 0], labels).backward()


def _autograd_built(
    net: nn.Module, columns: torch.Tensor, truth: torch.Tensor, chunk: int
) -> None:
    net.zero_grad()
    for part, labels in zip(columns.split(chunk), truth.split(chunk), strict=True):
        dense = torch.zeros(len(part), sum(COUNTS)).scatter_(1, part, 1.0)
        _loss(net(dense)[:, 0], labels).backward()


def _loss(logit: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return nn.functional.binary_cross_entropy_with_logits(logit, labels, reduction="sum")


class _Bag(nn.Module):
    """The same net with an embedding bag in place of its first matrix."""

    def __init__(self, net: nn.Sequential, columns: int) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(columns, HIDDEN[0], mode="sum")
        self.bag.weight.data = net[0].weight.data.t().contiguous()
        self.bias = nn.Parameter(net[0].bias.data.clone())
        self.rest = net[1:]

    def forward(self, columns: torch.Tensor) -> torch.Tensor:
        return self.rest(self.bag(columns) + self.bias)


def _bag(net: nn.Module, columns: int) -> nn.Module:
    if not isinstance(net, nn.Sequential):
        raise TypeError("the net is a sequence of layers")
    return _Bag(net, columns)


def _hooks(
    spec: ModelSpec, weights: Float, rows: tuple[torch.Tensor, torch.Tensor], batch: int
) -> Call:
    module = GradSampleModule(
        build(spec, spec.blocks[0], weights).float(), loss_reduction="sum"
    )
    optimizer = DPOptimizer(
        torch.optim.SGD(module.parameters(), lr=0.1),
        noise_multiplier=0.0,
        max_grad_norm=CLIP,
        expected_batch_size=OPACUS_ROWS,
        loss_reduction="sum",
    )

    def call() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for part, labels in zip(rows[0].split(batch), rows[1].split(batch), strict=True):
                optimizer.zero_grad()
                _loss(module(part)[:, 0], labels).backward()
                optimizer.clip_and_accumulate()

    return call


def _ghost(
    spec: ModelSpec, weights: Float, rows: tuple[torch.Tensor, torch.Tensor], batch: int
) -> Call:
    module = GradSampleModuleFastGradientClipping(
        build(spec, spec.blocks[0], weights).float(),
        max_grad_norm=CLIP,
        use_ghost_clipping=True,
        loss_reduction="sum",
    )
    optimizer = DPOptimizerFastGradientClipping(
        torch.optim.SGD(module.parameters(), lr=0.1),
        noise_multiplier=0.0,
        max_grad_norm=CLIP,
        expected_batch_size=OPACUS_ROWS,
        loss_reduction="sum",
    )
    criterion = DPLossFastGradientClipping(
        module, optimizer, nn.BCEWithLogitsLoss(reduction="sum"), loss_reduction="sum"
    )

    def call() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for part, labels in zip(rows[0].split(batch), rows[1].split(batch), strict=True):
                optimizer.zero_grad()
                criterion(module(part), labels.unsqueeze(1)).backward()
                optimizer.accumulate()

    return call


def _spec() -> ModelSpec:
    names = tuple(f"f{i}" for i in range(len(COUNTS)))
    block = BlockSpec(
        name="all",
        features=names,
        families=("all",) * len(names),
        bin_counts=COUNTS,
        offset=0,
        size=parameter_count(ModelKind.MLP, HIDDEN, sum(COUNTS)),
    )
    return ModelSpec(kind=ModelKind.MLP, hidden=HIDDEN, blocks=(block,))


def _table(rows: int) -> tuple[Codes, Codes]:
    """Codes without a pattern that a cache could learn, and labels; always the same."""
    rng = np.random.default_rng(3)
    codes = np.stack([rng.integers(0, count, rows) for count in COUNTS], axis=1)
    return codes.astype(np.uint8), (rng.random(rows) < 0.2).astype(np.uint8)  # noqa: PLR2004


def _plot(path: Path, scorecard: dict[str, float], mlp: dict[str, float]) -> None:
    figure, panels = plt.subplots(1, 2, figsize=(9, 3))
    for axes, title, rates, kinds in (
        (panels[0], "scorecard", scorecard, ("plain", "joint")),
        (panels[1], "MLP", mlp, ("plain", "hooks", "ghost")),
    ):
        heights = [_fastest(rates, kind) for kind in kinds] + [rates["ours"]]
        axes.bar([*kinds, "exact, clipped"], heights)
        axes.set_title(title)
        axes.set_ylabel("rows a CPU second, one thread")
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
