"""Bins: the only form in which a model ever sees a value (protocol 5.1 to 5.3).

Code 0 of every feature means missing. Codes 1.. are its value bins in order; for a category
they are the listed ones and then one for all others. The order of bins is fixed by schema
and edges, so a code means the same at every partner. Where noise is added, and whether it
may be, is decided elsewhere; this module only reads what came out of it.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from consortium.errors import DecodeError, DomainError, SchemaError, ShapeError
from consortium.features.fields import Fields
from consortium.features.grids import CELLS, grid_edges
from consortium.features.schema import Direction, Feature, Kind, Schema, canonical_bytes
from consortium.ids import Digest, digest_of

Float = NDArray[np.float64]
Codes = NDArray[np.uint8]

MISSING = 0

_DOMAIN = b"riskweave/bins/v1\n"
_COARSE = 8
"""Cells of the grid in one bin where a noisy histogram was too coarse to be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """Edges of every feature of one schema; () for a category."""

    schema: Digest
    edges: tuple[tuple[str, tuple[str, ...]], ...]
    """Pairs of feature name and its edges, in schema order."""

    @property
    def digest(self) -> Digest:
        r"""``H("riskweave/bins/v1\n" ‖ JCS(bins))``."""
        return digest_of(_DOMAIN + canonical_bytes(self.to_canonical()))

    def of(self, name: str) -> tuple[str, ...]:
        """The edges of a feature, or SchemaError."""
        for feature, edges in self.edges:
            if feature == name:
                return edges
        raise SchemaError(f"no bins for feature {name!r}")

    def to_canonical(self) -> dict[str, object]:
        """Strings and lists only: the form that is hashed and sent."""
        return {
            "schema": self.schema,
            "edges": [{"feature": name, "edges": list(edges)} for name, edges in self.edges],
        }

    @classmethod
    def from_canonical(cls, value: object, schema: Schema) -> "Bins":
        """Return bins that fit ``schema``; DecodeError if they do not."""
        fields = Fields(value, "bins")
        found = {}
        try:
            for item in fields.tables("edges"):
                entry = Fields(item, "bins: edges")
                found[entry.text("feature")] = entry.decimals("edges")
        except SchemaError as error:
            raise DecodeError(str(error)) from error
        bins = bins_of(schema, found)
        private = [found.get(feature.name, ()) for feature in private_features(schema)]
        if any(len(cuts) >= CELLS for cuts in private):
            raise DecodeError(f"bins: finer than a grid of {CELLS} cells")
        if bins.to_canonical() != value:
            raise DecodeError("bins: not those of this schema")
        return bins


def bins_of(schema: Schema, found: dict[str, tuple[str, ...]]) -> Bins:
    """Bins with the schema's public edges, and ``found`` for features that have none.

    Raises:
        DecodeError: a feature has no edges in either, or edges that do not rise.
    """
    edges = []
    for feature in schema.features:
        cuts = found.get(feature.name, ()) if feature.needs_private_bins else feature.edges
        if any(Decimal(right) <= Decimal(left) for left, right in pairwise(cuts)):
            raise DecodeError(f"bins: edges of {feature.name!r} do not rise")
        edges.append((feature.name, cuts))
    return Bins(schema=schema.digest, edges=tuple(edges))


def grid_of(feature: Feature) -> tuple[str, ...]:
    """The 63 inner edges of the feature's public grid (protocol 5.3)."""
    if feature.range is None:
        raise SchemaError(f"feature {feature.name!r} is a category and has no grid")
    return grid_edges(*feature.range, feature.scale)


def public_bins(schema: Schema) -> Bins:
    """Bins that cost nothing: public edges, else eight equal steps of the scale."""
    return bins_of(
        schema, {feature.name: _coarse(feature) for feature in private_features(schema)}
    )


def grid_bins(schema: Schema) -> Bins:
    """Bins to count by before private edges are known: the whole grid of 64 cells."""
    return bins_of(schema, {f.name: grid_of(f) for f in private_features(schema)})


def private_features(schema: Schema) -> tuple[Feature, ...]:
    """The p features whose edges come from a noisy histogram, in the order of its vector."""
    return tuple(feature for feature in schema.features if feature.needs_private_bins)


def bin_count(feature: Feature, edges: tuple[str, ...]) -> int:
    """Number of codes: the missing bin and the value bins."""
    if feature.kind is Kind.CATEGORY:
        return len(feature.categories) + 2
    return len(edges) + 2


class EncodedColumn(NamedTuple):
    """Codes of one column and how many values lay outside the public range."""

    codes: Codes
    below: int
    above: int


def encode_column(feature: Feature, edges: tuple[str, ...], values: Float) -> EncodedColumn:
    """Codes of one column.

    Args:
        feature: Public.
        edges: Its inner cut points; ignored for a category. Public.
        values: Shape (rows,), float64, NaN = missing. For a category the position in
            ``feature.categories``, or their number for a text that is not listed. Private.

    Returns:
        Codes, uint8, shape (rows,), and how many values lay below and above the public
        range (for a category: how many were not listed, as ``above``). Private.

    Raises:
        ShapeError: ``values`` is not flat; it is never squeezed.
        DomainError: it holds infinity, or a position that is no category.
    """
    if values.ndim != 1:
        raise ShapeError(f"column {feature.name!r} has {values.ndim} dimensions, expected 1")
    if np.isinf(values).any():
        raise DomainError(f"column {feature.name!r} holds infinity")
    missing = np.isnan(values)
    if feature.range is None:
        codes, below, above = _category_codes(feature, np.where(missing, 0.0, values))
    else:
        low, high = map(float, feature.range)
        cuts = np.array([float(edge) for edge in edges], dtype=np.float64)
        codes = (np.searchsorted(cuts, values, side="right") + 1).astype(np.uint8)
        below, above = int((values < low).sum()), int((values > high).sum())
    codes[missing] = MISSING
    return EncodedColumn(codes, below, above)


def _category_codes(feature: Feature, positions: Float) -> tuple[Codes, int, int]:
    others = len(feature.categories)
    if not np.isin(positions, np.arange(others + 1)).all():
        raise DomainError(f"column {feature.name!r} holds a position that is no category")
    return (positions + 1).astype(np.uint8), 0, int((positions == others).sum())


def cell_counts(codes: Codes, labels: Codes) -> NDArray[np.int64]:
    """Persons by feature, cell and label, of columns encoded by ``grid_bins``.

    One person changes one cell of each feature, so the sum moves by at most sqrt(p) in L2
    norm (protocol 5.3). A missing value is in no cell.

    Args:
        codes: Shape (rows, p), the private features in order. Private.
        labels: Shape (rows,), 0 or 1. Private.

    Returns:
        Shape (p, 64, 2). Without noise yet: not to leave the node.
    """
    if codes.ndim != 2 or labels.shape != codes.shape[:1]:  # noqa: PLR2004 - rows, features
        raise ShapeError(f"codes of shape {codes.shape} and labels of shape {labels.shape}")
    counts = np.zeros((codes.shape[1], CELLS, 2), dtype=np.int64)
    for index in range(codes.shape[1]):
        column = codes[:, index]
        known = column != MISSING
        cells = (column[known].astype(np.intp) - 1) * 2 + labels[known]
        counts[index] = np.bincount(cells, minlength=CELLS * 2).reshape(CELLS, 2)
    return counts


def private_bins(schema: Schema, noisy: Float, *, deviation: float) -> Bins:
    """Edges from the noisy histogram, or the coarse public ones where it is too noisy.

    A histogram counts only if the deviation of one cell of the sum is at most 10 % of an
    average final bin (protocol 5.3).

    Args:
        schema: Public.
        noisy: Decoded sum in persons, shape (p, 64, 2). Public.
        deviation: Of one cell, in persons. Public.
    """
    features = private_features(schema)
    if noisy.shape != (len(features), CELLS, 2):
        raise ShapeError(f"noisy counts have shape {noisy.shape} for {len(features)} features")
    found = {}
    for feature, counts in zip(features, noisy, strict=True):
        total = float(counts.sum())
        edges = edges_from_histogram(feature, counts, total)
        trusted = deviation * 10 * (len(edges) + 1) <= total
        found[feature.name] = edges if trusted else _coarse(feature)
    return bins_of(schema, found)


def edges_from_histogram(feature: Feature, noisy: Float, total: float) -> tuple[str, ...]:
    """Close a bin at a tenth of the total, then merge for a monotone bad rate (protocol 5.3).

    Args:
        feature: Its grid gives the cells, its direction the order of the rates. Public.
        noisy: Counts by cell and label, shape (64, 2), negative where noise made them so.
            Public: noise is already in them.
        total: Noisy number of persons, all cells together.

    Returns:
        Edges out of the feature's grid; for integers rounded up, which moves no person.
    """
    if noisy.shape != (CELLS, 2):
        raise ShapeError(f"noisy counts have shape {noisy.shape}, expected ({CELLS}, 2)")
    counts = np.maximum(noisy, 0.0)
    cuts = _monotone(counts, _tenths(counts.sum(axis=1), total), feature.direction)
    edges = [Decimal(grid_of(feature)[cut - 1]) for cut in cuts]
    if feature.kind is Kind.INTEGER:
        edges = sorted({edge.to_integral_value(ROUND_CEILING) for edge in edges})
    return tuple(format(edge, "f") for edge in edges)


def _tenths(counts: Float, total: float) -> list[int]:
    if total <= 0:
        return []
    cuts, held = [], 0.0
    for cell, count in enumerate(counts, start=1):
        held += float(count)
        if held * 10 >= total:
            cuts.append(cell)
            held = 0.0
    if cuts and (cuts[-1] == CELLS or held * 20 < total):
        cuts.pop()  # the rest holds less than 5 %: it joins the bin before it
    return cuts


def _monotone(counts: Float, cuts: list[int], direction: Direction) -> list[int]:
    if direction is Direction.NONE:
        return cuts
    sign = 1.0 if direction is Direction.UP else -1.0
    blocks: list[tuple[int, float, float]] = []  # first cell, good, bad
    for start, stop in pairwise([0, *cuts, CELLS]):
        good, bad = (float(part) for part in counts[start:stop].sum(axis=0))
        first = start
        # Pool adjacent violators; rates are compared without a division.
        while blocks and sign * (bad * blocks[-1][1] - blocks[-1][2] * good) < 0:
            first, before_good, before_bad = blocks.pop()
            good, bad = good + before_good, bad + before_bad
        blocks.append((first, good, bad))
    return [first for first, _, _ in blocks[1:]]


def _coarse(feature: Feature) -> tuple[str, ...]:
    edges = [Decimal(edge) for edge in grid_of(feature)[_COARSE - 1 :: _COARSE]]
    if feature.kind is Kind.INTEGER:
        edges = sorted({edge.to_integral_value(ROUND_CEILING) for edge in edges})
    return tuple(format(edge, "f") for edge in edges)


def bin_label(feature: Feature, edges: tuple[str, ...], code: int) -> str:
    """What a code means, for reports.

    ``missing``, ``[0.05, 0.1)``, of integers ``501 to 1,000``, of categories their text.
    """
    if not 0 <= code < bin_count(feature, edges):
        raise DomainError(f"feature {feature.name!r} has no bin {code}")
    if code == MISSING:
        return "missing"
    if feature.kind is Kind.CATEGORY:
        return (*feature.categories, "other")[code - 1]
    cuts = [Decimal(edge) for edge in edges]
    low = cuts[code - 2] if code > 1 else None
    high = cuts[code - 1] if code <= len(cuts) else None
    return _interval(low, high, whole=feature.kind is Kind.INTEGER)


def reaching_label(feature: Feature, edges: tuple[str, ...], code: int, *, up: bool) -> str:
    """A bin and all beyond it: ``below 501`` or, upwards, ``501 or more``.

    Raises:
        DomainError: no such bin, or one without a beyond: missing, or of a category.
    """
    if feature.kind is Kind.CATEGORY or not MISSING < code < bin_count(feature, edges):
        raise DomainError(f"feature {feature.name!r}: nothing lies beyond bin {code}")
    cuts = [Decimal(edge) for edge in edges]
    if up:
        return _interval(cuts[code - 2] if code > 1 else None, None, whole=False)
    return _interval(None, cuts[code - 1] if code <= len(cuts) else None, whole=False)


def _interval(low: Decimal | None, high: Decimal | None, *, whole: bool) -> str:
    if low is None:
        return "any value" if high is None else f"below {high:,f}"
    if high is None:
        return f"{low:,f} or more"
    if not whole:
        return f"[{low:,f}, {high:,f})"
    return f"{low:,f}" if high - low == 1 else f"{low:,f} to {high - 1:,f}"
