"""This partner's customers as they are read for the scoring stream: encoded, by keyed hash.

All rows of the query count, those without a label too; bins and encoding are those of
training. What a model says of them is in ``partner_node.score_table``.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from consortium.errors import PersonError
from consortium.features.bins import MISSING, Bins, encode_column
from consortium.features.schema import Feature, Kind, Schema
from partner_node.customer_index import Bytes16, Flags, Integers, halves
from partner_node.expressions import expressions
from partner_node.people import SUBJECT_BYTES, People
from partner_node.table import DataSource, open_table, quoted

Codes = NDArray[np.uint8]

NO_LABEL = 255
NO_PERSON = "no person id"
BAD_PERSON = "an id that is not of the federation's form"
INFINITE = "infinity in a feature"
NOT_WHOLE = "a fraction in an integer feature"
DUPLICATE = "a person's second row"

_CHUNK = 4_096
_REFERENCE_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Customers:
    """The rows of the query, encoded. Private."""

    features: tuple[Feature, ...]
    subjects: Bytes16
    """Keyed hash of each person, shape (rows, 16)."""
    codes: Codes
    labels: Codes
    """0, 1, or 255 for none."""
    holdout: Flags
    references: Codes | None
    """SHA-256 of the reference of each person's consent to studies, all zero for none."""
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How this partner's rows are read. Private."""

    source: DataSource
    schema: Schema
    families: tuple[str, ...]
    people: People
    consent: str | None = None
    """Column with the reference of the consent to studies; None: nobody is asked about."""


@dataclass(slots=True)
class Persons:
    """Identifiers of the table in their canonical form, batch by batch; faults are counted."""

    reading: Reading
    faults: Counter[str] = field(default_factory=Counter)

    def batches(self) -> Iterator[list[bytes]]:
        """Canonical inputs of all persons, in the order of the table, repetitions included.

        Raises:
            ConfigurationError, DataError: as ``partner_node.ingest.load``.
        """
        source = self.reading.source
        with open_table(source) as table:
            expressions(table, (), salt="")  # checks the columns
            text = f"nullif({quoted(source.person)}::VARCHAR, '')"
            with closing(table.batches({"text": text})) as batches:
                for batch in batches:
                    yield [x for x in self._inputs(batch.column(0).to_pylist()) if x]

    def _inputs(self, texts: Sequence[str | None]) -> Iterator[bytes]:
        for text in texts:
            yield _input(self.reading.people, text, self.faults)


def _input(people: People, text: str | None, faults: Counter[str]) -> bytes:
    """Empty if it is not of the form; why is counted, the value is never shown."""
    if text is None:
        faults[NO_PERSON] += 1
        return b""
    try:
        return people.form(text)
    except PersonError:
        faults[BAD_PERSON] += 1
        return b""


def read_customers(
    reading: Reading,
    bins: Bins,
    *,
    holdout: tuple[str, str],
    pause: Callable[[], None] = lambda: None,
) -> Customers:
    """Read and encode all rows of the query; memory is bounded by codes and one batch.

    Args:
        reading: This node's. Private.
        bins: Of the served model. Public.
        holdout: Salt and fraction of protocol 5.8. Public.
        pause: Called now and then, so that whoever waits for the interpreter gets it.

    Raises:
        ConfigurationError, DataError: as ``partner_node.ingest.load``.
    """
    return _Reader(reading, bins, holdout, pause).read()


def no_customers(schema: Schema, families: tuple[str, ...]) -> Customers:
    """Of a partner that has named no table: it may ask, and answers nothing of anybody."""
    features = schema.of_families(families)
    return Customers(
        features=features,
        subjects=np.zeros((0, SUBJECT_BYTES), dtype=np.uint8),
        codes=np.zeros((0, len(features)), dtype=np.uint8),
        labels=np.zeros(0, dtype=np.uint8),
        holdout=np.zeros(0, dtype=np.bool_),
        references=None,
    )


class _Reader:
    def __init__(
        self,
        reading: Reading,
        bins: Bins,
        holdout: tuple[str, str],
        pause: Callable[[], None],
    ) -> None:
        self._reading, self._bins, self._pause = reading, bins, pause
        self._features = reading.schema.of_families(reading.families)
        self._salt = holdout[0]
        share = Fraction(holdout[1])
        self._threshold = np.uint64(-(-(share.numerator << 64) // share.denominator))
        self._faults: Counter[str] = Counter()

    def read(self) -> Customers:
        source = self._reading.source
        parts: list[tuple[NDArray[Any], ...]] = []
        with open_table(source) as table:
            columns = expressions(table, self._features, salt=self._salt)
            columns["text"] = f"nullif({quoted(source.person)}::VARCHAR, '')"
            if self._reading.consent is not None:
                reference = f"nullif({quoted(self._reading.consent)}::VARCHAR, '')"
                columns["consent"] = f"unhex(sha256({reference}))"
            with closing(table.batches(columns)) as batches:
                parts.extend(self._part(batch) for batch in batches)
        return self._joined(parts)

    def _part(self, batch: pa.RecordBatch) -> tuple[NDArray[Any], ...]:
        count, width = batch.num_rows, len(self._features)
        texts = batch.column(2 + width).to_pylist()
        subjects = np.zeros((count, SUBJECT_BYTES), dtype=np.uint8)
        keep = np.zeros(count, dtype=np.bool_)
        people = self._reading.people
        for start in range(0, count, _CHUNK):
            for row in range(start, min(start + _CHUNK, count)):
                x = _input(people, texts[row], self._faults)
                if x:
                    subjects[row] = np.frombuffer(people.subject(x), dtype=np.uint8)
                    keep[row] = True
            self._pause()
        codes = np.full((count, width), MISSING, dtype=np.uint8)
        for place, feature in enumerate(self._features):
            values = batch.column(2 + place).to_numpy(zero_copy_only=False).astype(np.float64)
            codes[:, place] = self._encoded(feature, values, keep)
        heads = batch.column(0).fill_null(0).to_numpy(zero_copy_only=False)
        labels = batch.column(1).fill_null(NO_LABEL).to_numpy(zero_copy_only=False)
        labels = np.where(labels <= 1, labels, NO_LABEL).astype(np.uint8)
        references = self._references(batch, width)
        found = (subjects, codes, labels, heads.astype(np.uint64), references)
        return tuple(part[keep] for part in found)

    def _encoded(self, feature: Feature, values: NDArray[np.float64], keep: Flags) -> Codes:
        infinite = np.isinf(values)
        fractional = np.zeros(len(values), dtype=np.bool_)
        if feature.kind is Kind.INTEGER:
            fractional = np.isfinite(values) & (values != np.floor(values))
        for reason, broken in ((INFINITE, infinite), (NOT_WHOLE, fractional)):
            self._faults[reason] += int((keep & broken).sum())
            keep &= ~broken
        safe = np.where(infinite | fractional, np.nan, values)
        return encode_column(feature, self._bins.of(feature.name), safe).codes

    def _references(self, batch: pa.RecordBatch, width: int) -> Codes:
        found = np.zeros((batch.num_rows, _REFERENCE_BYTES), dtype=np.uint8)
        if self._reading.consent is not None:
            for row, value in enumerate(batch.column(3 + width).to_pylist()):
                if value is not None:
                    found[row] = np.frombuffer(value, dtype=np.uint8)
        return found

    def _joined(self, parts: list[tuple[NDArray[Any], ...]]) -> Customers:
        width = len(self._features)
        empty = (
            np.zeros((0, SUBJECT_BYTES), np.uint8),
            np.zeros((0, width), np.uint8),
            np.zeros(0, np.uint8),
            np.zeros(0, np.uint64),
            np.zeros((0, _REFERENCE_BYTES), np.uint8),
        )
        joined = [np.concatenate(column) for column in zip(empty, *parts, strict=True)]
        subjects, codes, labels, heads, references = joined
        first = _first_rows(subjects)
        self._faults[DUPLICATE] += len(subjects) - len(first)
        return Customers(
            features=self._features,
            subjects=subjects[first],
            codes=codes[first],
            labels=labels[first],
            holdout=heads[first] < self._threshold,
            references=references[first] if self._reading.consent is not None else None,
            left_out={reason: count for reason, count in self._faults.items() if count},
        )


def _first_rows(subjects: Bytes16) -> Integers:
    """The first row of each person, in the order of the table."""
    if not len(subjects):
        return np.zeros(0, dtype=np.int64)
    high, low = halves(subjects)
    order = np.lexsort((low, high))  # stable: equal keys stay in the order of the table
    high, low = high[order], low[order]
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    return np.sort(order[new]).astype(np.int64)
