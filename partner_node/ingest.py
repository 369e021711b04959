"""A partner's table -> codes that a model may see, or an error before anything was used.

The same rules run for ``check`` and before every training. Rows that break a rule are left
out and counted; a table that breaks one is refused whole. Counts, and the texts of DataError,
are about private rows: they stay on the node's own console. A part of a table
(``DataSource.part``) is read by the same rules; whether the whole table fits is then for who
has the reports of all parts to say (``merged``, ``require``).
"""

from collections.abc import Collection, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from consortium.errors import ConfigurationError, DataError
from consortium.features.bins import MISSING, Bins, Codes, encode_column, public_bins
from consortium.features.schema import Feature, Kind, Schema
from partner_node.expressions import NO_LABEL_CODE, OTHER_LABEL, expressions
from partner_node.table import DataSource, Table, open_table, quoted

__all__ = [
    "DataReport",
    "DataSource",
    "EncodedTable",
    "FeatureReport",
    "check",
    "load",
    "merged",
    "require",
]

Mask = NDArray[np.bool_]
Words = NDArray[np.uint64]

NO_PERSON = "no person id"
NO_LABEL = "no label"
INFINITE = "infinity in a feature"
NOT_WHOLE = "a fraction in an integer feature"
DUPLICATE = "a person's second row"
REASONS = (NO_PERSON, NO_LABEL, INFINITE, NOT_WHOLE, DUPLICATE)
"""Why a row is left out; the first that applies is counted."""

_SHOWN = 5
"""Labels that the text of an error shows at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureReport:
    """What was seen in one column, over accepted rows."""

    name: str
    missing: int
    below: int
    """Values under the public range; they are in the first bin."""
    above: int
    """Values over the public range, in the last bin; of a category, those not listed."""
    consent: str | None
    """Purpose of the consent that each row of it must rest on, if any (credit 2.4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReport:
    """What fits, what does not, and how many rows were left out for which reason. Private."""

    rows: int
    accepted: int
    rejects: tuple[tuple[str, int], ...]
    positives: int
    held_out: int | None
    features: tuple[FeatureReport, ...]

    def lines(self) -> list[str]:
        """For the node's own console."""
        bad = f"{self.positives / self.accepted:.2%}" if self.accepted else "n/a"
        lines = [
            f"rows read        {self.rows:>12,}",
            f"rows accepted    {self.accepted:>12,}   label 1 in {bad}",
        ]
        if self.held_out is not None:
            lines.append(f"of them held out {self.held_out:>12,}")
        lines += [f"left out         {n:>12,}   {why}" for why, n in self.rejects if n]
        width = max((len(feature.name) for feature in self.features), default=0)
        lines.append(
            f"{'column':<{width}} {'missing':>12} {'below range':>12} {'above range':>12}"
        )
        lines += [
            f"{feature.name:<{width}} {feature.missing:>12,} {feature.below:>12,} "
            f"{feature.above:>12,}"
            + (f"   needs consent {feature.consent}" if feature.consent else "")
            for feature in self.features
        ]
        return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedTable:
    """All rows of a partner that may train or test a model. Private.

    ``codes`` has shape (rows, features), uint8, C order, its columns those of
    ``schema.of_families(families)``; ``labels`` (rows,), uint8, 1 = bad; ``holdout`` (rows,),
    true for persons who never train.
    """

    features: tuple[Feature, ...]
    codes: Codes
    labels: Codes
    holdout: Mask
    report: DataReport
    persons: Words | None = None
    """Heads of the persons' hashes (protocol 5.8), shape (rows,), if they were asked for:
    a rehearsal joins tables by them. A node never asks."""


def check(
    source: DataSource,
    schema: Schema,
    families: Collection[str],
    *,
    holdout: tuple[str, str] | None = None,
) -> DataReport:
    """Read the whole table by the rules of training, keep nothing, say what was seen.

    Raises:
        ConfigurationError, DataError: as ``load``.
    """
    wanted = _Wanted(schema.of_families(families), public_bins(schema), *(holdout or ("", "0")))
    with open_table(source) as table:
        reader = _Reader(source, wanted)
        for _ in reader.batches(table):
            pass
    report = reader.report(held_out_known=holdout is not None)
    require(report, source)
    return report


def load(
    source: DataSource,
    schema: Schema,
    bins: Bins,
    families: Collection[str],
    *,
    holdout: tuple[str, str],
    persons: bool = False,
) -> EncodedTable:
    """Read, check and encode the table; memory is bounded by the codes and one batch.

    Args:
        source: This node's. Private.
        schema: Public.
        bins: Of that schema. Public.
        families: Those that this partner holds, by the manifest. Public.
        holdout: Salt and fraction of protocol 5.8, the fraction as a decimal. Public.
        persons: Whether to keep the heads of the persons' hashes.

    Raises:
        ConfigurationError: The query is not one SELECT or does not bind.
        DataError: A column is missing or of the wrong type, a label is neither 0 nor 1 or,
            of a whole table, no row is left, or all have one label. Names the column,
            what was seen and what is expected, never a value of a row except labels.
            Fault: the table's owner.
    """
    wanted = _Wanted(schema.of_families(families), bins, *holdout)
    with open_table(source) as table:
        reader = _Reader(source, wanted, keep_heads=persons)
        parts = list(reader.batches(table))
    report = reader.report(held_out_known=True)
    if source.part is None:
        require(report, source)
    codes = np.empty((report.accepted, len(wanted.features)), dtype=np.uint8)
    labels = np.empty(report.accepted, dtype=np.uint8)
    held_out = np.empty(report.accepted, dtype=np.bool_)
    heads = np.empty(report.accepted if persons else 0, dtype=np.uint64)
    end = report.accepted
    while parts:  # from the back, so that each part is freed when it was copied
        part = parts.pop()
        start = end - len(part.labels)
        codes[start:end], labels[start:end] = part.codes, part.labels
        held_out[start:end] = part.holdout
        if persons:
            heads[start:end] = part.heads
        end = start
    return EncodedTable(
        features=wanted.features,
        codes=codes,
        labels=labels,
        holdout=held_out,
        report=report,
        persons=heads if persons else None,
    )


def merged(reports: Sequence[DataReport]) -> DataReport:
    """What was seen of a table, from the reports of all its parts, which are at least one."""
    columns = zip(*(report.features for report in reports), strict=True)
    reasons = zip(*(report.rejects for report in reports), strict=True)
    held_out = [report.held_out for report in reports if report.held_out is not None]
    return DataReport(
        rows=sum(report.rows for report in reports),
        accepted=sum(report.accepted for report in reports),
        rejects=tuple((one[0][0], sum(n for _, n in one)) for one in reasons),
        positives=sum(report.positives for report in reports),
        held_out=sum(held_out) if held_out else None,
        features=tuple(
            replace(
                column[0],
                missing=sum(one.missing for one in column),
                below=sum(one.below for one in column),
                above=sum(one.above for one in column),
            )
            for column in columns
        ),
    )


def require(report: DataReport, source: DataSource) -> None:
    """Raise DataError unless a table with this report can train a model."""
    origin = source.origin
    if not report.rows:
        raise DataError(f"{origin}: the table is empty")
    if not report.accepted:
        why = ", ".join(f"{n:,} {reason}" for reason, n in report.rejects if n)
        raise DataError(f"{origin}: no row of {report.rows:,} is left: {why}")
    if report.positives in (0, report.accepted):
        only = "1" if report.positives else "0"
        raise DataError(
            f"{origin}: label column {source.label!r}: all rows have label {only}; "
            "expected both 0 and 1"
        )


def _array(column: pa.Array, kind: type[np.generic]) -> NDArray[Any]:
    filled = column if kind is np.float64 else column.fill_null(0)
    values: NDArray[Any] = filled.to_numpy(zero_copy_only=False)
    return values.astype(kind, copy=False)


class _Wanted:
    """What to read: features, their edges, and who is held out."""

    def __init__(
        self, features: tuple[Feature, ...], bins: Bins, salt: str, fraction: str
    ) -> None:
        self.features = features
        self.edges = tuple(bins.of(feature.name) for feature in features)
        self.salt = salt
        share = Fraction(fraction)
        if not 0 <= share < 1:
            raise ConfigurationError(f"hold-out fraction {fraction} is outside 0 to below 1")
        # head / 2**64 < share, in integers.
        self.threshold = np.uint64(-(-(share.numerator << 64) // share.denominator))


@dataclass(frozen=True, slots=True)
class _Part:
    codes: Codes
    labels: Codes
    holdout: Mask
    heads: Words


class _Reader:
    """Accepts or rejects rows batch by batch, and counts."""

    def __init__(
        self, source: DataSource, wanted: _Wanted, *, keep_heads: bool = False
    ) -> None:
        self._source = source
        self._wanted = wanted
        self._keep_heads = keep_heads
        self._rejects = dict.fromkeys(REASONS, 0)
        self._rows = self._accepted = self._positives = self._held_out = 0
        self._counts = np.zeros((len(wanted.features), 3), dtype=np.int64)
        self._seen: Words = np.empty(0, dtype=np.uint64)

    def batches(self, table: Table) -> Generator[_Part]:
        """Encoded batches of accepted rows, in the order of the table."""
        columns = expressions(table, self._wanted.features, salt=self._wanted.salt)
        refused = False
        with closing(table.batches(columns)) as batches:
            for batch in batches:
                labels = _array(batch.column(1), np.uint8)
                refused = bool((labels == OTHER_LABEL).any())
                if refused:
                    break
                yield self._part(batch, labels)
        if refused:
            self._refuse_labels(table, columns["label"])

    def _part(self, batch: pa.RecordBatch, labels: Codes) -> _Part:
        self._rows += batch.num_rows
        heads = _array(batch.column(0), np.uint64)
        values = [_array(column, np.float64) for column in batch.columns[2:]]
        keep = self._keep(batch, labels, values)
        keep[keep] = self._first_rows(heads[keep])
        heads, labels = heads[keep], labels[keep]
        codes = np.empty((len(heads), len(values)), dtype=np.uint8)
        for index, (feature, edges) in enumerate(
            zip(self._wanted.features, self._wanted.edges, strict=True)
        ):
            column = encode_column(feature, edges, values[index][keep])
            codes[:, index] = column.codes
            missing = int((column.codes == MISSING).sum())
            self._counts[index] += (missing, column.below, column.above)
        holdout = heads < self._wanted.threshold
        self._accepted += len(heads)
        self._positives += int(labels.sum())
        self._held_out += int(holdout.sum())
        return _Part(codes, labels, holdout, heads if self._keep_heads else heads[:0])

    def _keep(
        self, batch: pa.RecordBatch, labels: Codes, values: Sequence[NDArray[np.float64]]
    ) -> Mask:
        infinite = np.zeros(batch.num_rows, dtype=np.bool_)
        fractional = infinite.copy()
        for feature, column in zip(self._wanted.features, values, strict=True):
            infinite |= np.isinf(column)
            if feature.kind is Kind.INTEGER:
                fractional |= np.isfinite(column) & (column != np.floor(column))
        no_person = np.asarray(batch.column(0).is_null())
        keep = np.ones(batch.num_rows, dtype=np.bool_)
        for reason, broken in (
            (NO_PERSON, no_person),
            (NO_LABEL, labels == NO_LABEL_CODE),
            (INFINITE, infinite),
            (NOT_WHOLE, fractional),
        ):
            self._rejects[reason] += int((keep & broken).sum())
            keep &= ~broken
        return keep

    def _first_rows(self, heads: Words) -> Mask:
        """Which rows are the first of their person.

        Persons are told apart by 64 bits of a hash: among 10 million the chance that any
        two coincide, and one row is left out for it, is 3 in a million.
        """
        distinct, firsts = np.unique(heads, return_index=True)
        places = np.searchsorted(self._seen, distinct)
        places[places == len(self._seen)] = 0
        new = (
            self._seen[places] != distinct
            if len(self._seen)
            else np.ones(len(distinct), dtype=np.bool_)
        )
        first = np.zeros(len(heads), dtype=np.bool_)
        first[firsts[new]] = True
        self._seen = np.sort(np.concatenate([self._seen, distinct[new]]), kind="stable")
        self._rejects[DUPLICATE] += len(heads) - int(first.sum())
        return first

    def _refuse_labels(self, table: Table, label: str) -> None:
        shown = (
            f"CASE WHEN {label} = {OTHER_LABEL} THEN {quoted(self._source.label)}::VARCHAR END"
        )
        seen: set[str] = set()
        with closing(table.batches({"seen": shown})) as batches:
            for batch in batches:
                seen.update(value for value in batch.column(0).unique().to_pylist() if value)
                if len(seen) > _SHOWN:
                    break
        raise DataError(
            f"{self._source.origin}: label column {self._source.label!r}: seen "
            f"{', '.join(sorted(seen)[:_SHOWN])}; expected 0 (good) or 1 (bad), or nothing "
            "for a row without an outcome"
        )

    def report(self, *, held_out_known: bool) -> DataReport:
        """What was seen."""
        features = zip(self._wanted.features, self._counts.tolist(), strict=True)
        return DataReport(
            rows=self._rows,
            accepted=self._accepted,
            rejects=tuple(self._rejects.items()),
            positives=self._positives,
            held_out=self._held_out if held_out_known else None,
            features=tuple(
                FeatureReport(
                    name=feature.name,
                    missing=missing,
                    below=below,
                    above=above,
                    consent=feature.consent_needed,
                )
                for feature, (missing, below, above) in features
            ),
        )
