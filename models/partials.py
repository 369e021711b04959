"""What makes the parts of a released model comparable: one base, a centre for each family.

A partner's partial logit of a family is its recalibrated part of the block's logit, centred
over the training population, so that a family that nobody holds gives exactly 0 (credit 2.3).
Base and centres are read from the recalibration histograms that were released anyway: they
cost no budget (protocol 7.7).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consortium.credit import tables
from consortium.errors import ConfigurationError, DecodeError, DomainError
from consortium.plan import ModelKind
from consortium.scoring.scorecard import to_units
from models.encoding import column_starts
from models.inference import Model
from models.spec import BlockSpec, ModelSpec

Float = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """The ``joint`` section of a model document. Public; decimals are strings."""

    base: str
    """Log-odds of bad of a person nobody knows: those of the pooled noisy bad rate."""
    centres: Mapping[str, str]
    """Mean raw part of each family over the training population, before recalibration."""

    def __post_init__(self) -> None:
        """Raise DecodeError unless all are decimals in their one form, and finite."""
        for text in (self.base, *self.centres.values()):
            try:
                sound = math.isfinite(value := float(text)) and repr(value) == text
            except (TypeError, ValueError):
                sound = False
            if not sound:
                raise DecodeError(f"joint section: {text!r:.40} is no decimal in its one form")

    def centre(self, family: str) -> float:
        """The centre of a family, or DecodeError."""
        try:
            return float(self.centres[family])
        except KeyError as error:
            raise DecodeError(f"joint section lacks the family {family!r}") from error


def families_of(spec: ModelSpec) -> tuple[str, ...]:
    """Families in the order of 7.1: blocks in order, families in the block's order.

    An MLP has no parts by family: each of its blocks counts as one, under the block's name.
    """
    if spec.kind is not ModelKind.SCORECARD:
        return tuple(block.name for block in spec.blocks)
    return tuple(dict.fromkeys(name for block in spec.blocks for name in block.families))


def joint_of(model: Model, cells: Float, deviations: Sequence[float]) -> Joint:
    """Base and centres of a model from its noisy recalibration histograms.

    A block's mean logit m_b is that of its cells, those of noise alone left out (5.5). It is
    split over the block's F_b families by ``c_f = u_f + (m_b − Σ u) / F_b`` where u_f is the
    sum over the family's features of the mean of their bins' weights.

    Args:
        model: As released.
        cells: Noisy counts (good, bad), shape (blocks, 24, 2).
        deviations: Of the noise of one count, by block.

    Raises:
        DomainError: the counts have no rate and no mean.
    """
    goods, bads = (math.fsum(cells[..., label].ravel().tolist()) for label in (0, 1))
    if goods <= 0 or bads <= 0:
        raise DomainError("the recalibration histograms have no bad rate")
    centres: dict[str, str] = {}
    for index, block in enumerate(model.spec.blocks):
        kept = tables.without_noise_cells(cells[index], deviation=deviations[index])
        mean = _mean(kept)
        parts = _family_means(model, block, model.weights[index])
        rest = (mean - math.fsum(parts.values())) / len(parts)
        centres.update({name: repr(part + rest) for name, part in parts.items()})
    return Joint(base=repr(math.log(bads / goods)), centres=centres)


def _mean(table: Float) -> float:
    """Mean logit of a histogram's persons."""
    heights = [max(math.fsum(row), 0.0) for row in table.tolist()]
    total = math.fsum(heights)
    if total <= 0:
        raise DomainError("the recalibration histogram of a block is empty")
    middles = tables.cell_centres().tolist()
    return math.fsum(h * x for h, x in zip(heights, middles, strict=True)) / total


def _family_means(model: Model, block: BlockSpec, weights: Float) -> dict[str, float]:
    if model.spec.kind is not ModelKind.SCORECARD:
        return {block.name: 0.0}
    bins = np.split(weights, column_starts(block.bin_counts)[1:])
    parts: dict[str, list[float]] = {}
    for family, values in zip(block.families, bins, strict=True):
        parts.setdefault(family, []).append(math.fsum(values.tolist()) / values.size)
    return {family: math.fsum(means) for family, means in parts.items()}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FamilyUnits:
    """A family's partial logit as integers: ``Σ tables[feature][code] − centre``. Public."""

    family: str
    block: str
    features: tuple[str, ...]
    tables: tuple[Integers, ...]
    """For each feature ``rint(2**32·beta·w)`` of its bins, int64."""
    centre: int
    """``rint(2**32·beta·c_f)``."""


def partial_units(model: Model, joint: Joint) -> tuple[FamilyUnits, ...]:
    """The families of a scorecard in the order of 7.1, as integer tables.

    Raises:
        ConfigurationError: an MLP, which does not split into bins.
        DecodeError: the joint section lacks a family.
    """
    if model.spec.kind is not ModelKind.SCORECARD:
        raise ConfigurationError("only a scorecard splits into bins")
    found: list[FamilyUnits] = []
    for block, weights, line in zip(
        model.spec.blocks, model.weights, model.calibration, strict=True
    ):
        bins = np.split(weights, column_starts(block.bin_counts)[1:])
        for family in dict.fromkeys(block.families):
            own = [i for i, name in enumerate(block.families) if name == family]
            found.append(
                FamilyUnits(
                    family=family,
                    block=block.name,
                    features=tuple(block.features[i] for i in own),
                    tables=tuple(_units(line.beta * bins[i]) for i in own),
                    centre=to_units(line.beta * joint.centre(family)),
                )
            )
    return tuple(found)


def _units(values: Float) -> Integers:
    return np.array([to_units(value) for value in values.tolist()], dtype=np.int64)
