"""This partner's customers as the scoring stream needs them: by token, with partial logits.

All rows of the query count, those without a label too; bins and encoding are those of
training. The table is made in a thread and then only read. Who is a customer and who is not
takes the same steps: the same search, the same reads, a product with 0 or 1 (protocol 7.5).
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from consortium.credit.attested import refuse_plain
from consortium.errors import DataError, PersonError
from consortium.features.bins import MISSING, Bins, encode_column
from consortium.features.schema import Feature, Kind, Schema
from consortium.ids import Digest, PartnerId
from consortium.scoring.layout import Layout
from consortium.scoring.premium import ATTESTATION
from models.document import ModelDocument
from models.serving import Parts, Serving
from partner_node.expressions import expressions
from partner_node.people import SUBJECT_BYTES, People
from partner_node.table import DataSource, open_table, quoted

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Codes = NDArray[np.uint8]
Words = NDArray[np.uint64]
Bytes16 = NDArray[np.uint8]

NO_LABEL = 255
NO_PERSON = "no person id"
BAD_PERSON = "an id that is not of the federation's form"
INFINITE = "infinity in a feature"
NOT_WHOLE = "a fraction in an integer feature"
DUPLICATE = "a person's second row"

_CHUNK = 4_096
_REFERENCE_BYTES = 32


class Index16:
    """Rows by 16-byte keys; finding takes the same steps whether a key is there or not."""

    def __init__(self, keys: Bytes16, rows: Integers) -> None:
        """``keys``: shape (n, 16), all different; ``rows``: what each stands for."""
        high, low = _halves(keys)
        order = np.argsort(high, kind="stable")
        self._high, self._low = high[order], low[order]
        self._rows = rows[order]
        if not len(order):  # something to read, which is never found
            self._high = self._low = np.zeros(1, dtype=np.uint64)
            self._rows = np.zeros(1, dtype=np.int64)
        self._empty = not len(order)

    def find(self, keys: Bytes16) -> tuple[Integers, Flags]:
        """Row of each key and whether there is one; a row that may be read even if not.

        Of keys that agree in their first 8 bytes the first two are told apart; a third has
        a chance of 1 in 10**20 among a million.
        """
        high, low = _halves(keys)
        last = len(self._high) - 1
        first = np.minimum(np.searchsorted(self._high, high), last)
        second = np.minimum(first + 1, last)
        in_first = (self._high[first] == high) & (self._low[first] == low)
        in_second = (self._high[second] == high) & (self._low[second] == low)
        place = first + (second - first) * (in_second & ~in_first)
        held = (in_first | in_second) & (not self._empty)
        return self._rows[place], held


def _halves(keys: Bytes16) -> tuple[Words, Words]:
    words = np.ascontiguousarray(keys).view(">u8").reshape(-1, 2)
    return words[:, 0].astype(np.uint64), words[:, 1].astype(np.uint64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What this partner holds of n persons. Private."""

    held: Flags
    """Shape (n,)."""
    logits: Mapping[str, Integers]
    """By own family, shape (n,), units; any number where a person is not held."""
    covered: Flags
    """Shape (n, families of the model): whether the row has any value of the family."""

    def of(self, place: int) -> "Holding":
        """One person's part, arrays of one."""
        row = slice(place, place + 1)
        return Holding(
            held=self.held[row],
            logits={name: values[row] for name, values in self.logits.items()},
            covered=self.covered[row],
        )


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


class ScoreTable:
    """One model version over one state of the table and one epoch of tokens. Private."""

    def __init__(
        self,
        document: ModelDocument,
        layout: Layout,
        customers: Customers,
        member: PartnerId,
        *,
        version: Digest,
    ) -> None:
        """Compute all partial logits; no token is known yet (``with_tokens``)."""
        self.version = version
        self.document = document
        self.layout = layout
        self.customers = customers
        self.columns = tuple(feature.name for feature in customers.features)
        self.serving = Serving(document, member, self.columns)
        # What a partner would attest of a customer is in its own families already (7.18).
        attested = [one.family == ATTESTATION for one in customers.features]
        self._codes = np.where(attested, np.uint8(MISSING), customers.codes)
        parts = self.serving.parts(self._codes)
        self.families = tuple(parts.logits)
        self._logits = {name: _padded(values) for name, values in parts.logits.items()}
        self._covered = self._flags(parts, max(1, len(customers.labels)))
        rows = np.arange(len(customers.labels), dtype=np.int64)
        self._subjects = Index16(customers.subjects, rows)
        self._tokens = Index16(customers.subjects[:0], rows[:0])
        self.tokens = 0
        self._by_row: Bytes16 = np.zeros((len(rows), SUBJECT_BYTES), dtype=np.uint8)
        self._known: Flags = np.zeros(len(rows), dtype=np.bool_)

    @property
    def persons(self) -> int:
        """Customers in the table."""
        return len(self.customers.labels)

    def set_tokens(self, subjects: Bytes16, tokens: Bytes16) -> None:
        """Take the tokens of an epoch, by keyed hash of their persons."""
        rows, held = self._subjects.find(subjects)
        by_row = np.zeros_like(self._by_row)
        by_row[rows[held]] = tokens[held]
        known = np.zeros_like(self._known)
        known[rows[held]] = True
        index = Index16(tokens[held], rows[held])
        self._tokens, self._by_row, self._known = index, by_row, known
        self.tokens = int(held.sum())

    def lookup(self, tokens: Bytes16) -> Holding:
        """What is held of these persons, shape (n, 16); the same work for all."""
        rows, held = self._tokens.find(tokens)
        return self._holding(rows, held)

    def rows_of(self, tokens: Bytes16) -> Integers:
        """Rows of persons that are held, shape (n,); of others any row there is."""
        rows, _ = self._tokens.find(tokens)
        return rows

    def own(self, subjects: Bytes16) -> tuple[Integers, Holding]:
        """Rows of these persons by keyed hash, and what is held of them."""
        rows, held = self._subjects.find(subjects)
        return rows, self._holding(rows, held)

    def own_of_codes(self, codes: Codes) -> Holding:
        """What the own families say of applicants' attributes, encoded by ``encode``."""
        parts = self.serving.parts(codes)
        covered = self._flags(parts, len(codes))
        held: Flags = np.any(covered, axis=1)
        return Holding(held=held, logits=parts.logits, covered=covered)

    def local(self, codes: Codes) -> Integers:
        """Log-odds by this partner's own blocks alone, shape (n,), units."""
        return self.serving.local_eta(codes)

    def study(
        self, most: int, *, declared: int = 0, withdrawn: frozenset[bytes] = frozenset()
    ) -> Integers:
        """Rows with a label, a token and a consent to studies; at most so many.

        Each is chosen by what is its own alone, never by how many others there are: nobody
        may move up when somebody leaves, for then one person would change two rows (4.2.2).
        They come in the order of their keyed hashes, which no table's order sways.

        Args:
            most: Of the manifest.
            declared: Customers of this partner by the manifest. Where they are more than
                ``most``, keyed hashes below a threshold made of the two are chosen.
            withdrawn: Keyed hashes of persons who have withdrawn. Private.

        Raises:
            DataError: there are more all the same.
        """
        found = self.customers
        if found.references is None:
            return np.zeros(0, dtype=np.int64)
        chosen = (found.labels != NO_LABEL) & self._known & found.references.any(axis=1)
        gone = np.frombuffer(b"".join(withdrawn), dtype=np.uint8).reshape(-1, SUBJECT_BYTES)
        places, held = self._subjects.find(gone)
        chosen[places[held]] = False
        rows = np.flatnonzero(chosen)
        high, _ = _halves(found.subjects[rows])
        order = np.argsort(high, kind="stable")
        order = order[high[order] <= study_threshold(most, declared)]
        if len(order) > most:
            raise DataError(
                f"more customers may be asked about than studies_per_release = {most}, and "
                "policy.scoring.customers declares fewer: name fewer in the consent column"
            )
        return rows[order].astype(np.int64)

    def attested(self, rows: Integers) -> Integers:
        """What this partner would attest of its customers, as a logit, units, shape (n,).

        Zeros where the model has no such family, or this partner none of its columns.
        """
        parts = self.serving.parts(self.customers.codes[rows])
        nothing = np.zeros(len(rows), dtype=np.int64)
        return parts.logits.get(ATTESTATION, nothing)

    def tokens_of(self, rows: Integers) -> Bytes16:
        """Tokens of rows that have one."""
        return self._by_row[rows]

    def codes_of(self, rows: Integers) -> Codes:
        """Bin codes of rows; of an absent person's any."""
        codes = self._codes
        if not len(codes):  # something to read, which is never used
            codes = np.zeros((1, len(self.columns)), dtype=np.uint8)
        return codes[rows]

    def encode(self, attributes: Mapping[str, float | str | None]) -> Codes:
        """Bin codes of one applicant's attributes, shape (1, features).

        Raises:
            DataError: an attribute that is no own feature, or not of its kind. The text
                names it and no value.
            AttestationError: one that is read from a signed history and from nothing else.
        """
        refuse_plain(attributes)
        unknown = sorted(attributes.keys() - set(self.columns))
        if unknown:
            raise DataError(f"attributes: {unknown[0]!r} is no feature of this partner's")
        codes = np.zeros((1, len(self.columns)), dtype=np.uint8)
        for place, feature in enumerate(self.customers.features):
            if feature.family == ATTESTATION:
                codes[0, place] = MISSING
            else:
                codes[0, place] = self._code(feature, attributes.get(feature.name))
        return codes

    def encode_shown(self, codes: Codes, features: Mapping[str, str]) -> Codes:
        """The same person's codes with what a verified attestation says, shape (1, features).

        What the model has no column for is left out.
        """
        found = codes.copy()
        for place, feature in enumerate(self.customers.features):
            if feature.family == ATTESTATION and feature.name in features:
                found[0, place] = self._code(feature, features[feature.name])
        return found

    def shown_logit(self, codes: Codes) -> int | None:
        """Logit of the family of attestations, units; None where it is not served here."""
        parts = self.serving.parts(codes)
        if ATTESTATION not in parts.logits or not parts.covered[ATTESTATION][0]:
            return None
        return int(parts.logits[ATTESTATION][0])

    def nothing(self) -> Codes:
        """The codes of somebody of whom nothing is known, shape (1, features)."""
        return np.full((1, len(self.columns)), MISSING, dtype=np.uint8)

    def families_of(self, member: PartnerId) -> tuple[str, ...]:
        """Families in which a partner answers, by the model's plan; no attestations."""
        held = [block for block in self.document.plan.blocks if member in block.holders]
        names = {name for block in held for name in (block.name, *block.families)}
        return tuple(one for one in self.layout.families if one in names and one != ATTESTATION)

    def _code(self, feature: Feature, value: float | str | None) -> int:
        edges, number = self.document.bins.of(feature.name), _number(feature, value)
        return int(encode_column(feature, edges, np.array([number])).codes[0])

    def _flags(self, parts: Parts, rows: int) -> Flags:
        """Covered families as columns in the order of the layout, shape (rows, families)."""
        covered = np.zeros((rows, len(self.layout.families)), dtype=np.bool_)
        for name, flags in parts.covered.items():
            covered[: len(flags), self.layout.families.index(name)] = flags
        return covered

    def _holding(self, rows: Integers, held: Flags) -> Holding:
        logits = {name: values[rows] for name, values in self._logits.items()}
        return Holding(held=held, logits=logits, covered=self._covered[rows])


def study_threshold(most: int, declared: int) -> np.uint64:
    """Keyed hashes up to this are chosen; of 1.1 times the declared nearly never too many."""
    if declared <= most:
        return np.uint64((1 << 64) - 1)
    expected = max(1, most - 6 * math.isqrt(most))
    return np.uint64((expected << 64) // (declared * 11 // 10 + 1))


def _padded(values: Integers) -> Integers:
    return values if len(values) else np.zeros(1, dtype=np.int64)


def _number(feature: Feature, value: float | str | None) -> float:
    if value is None:
        return float("nan")
    if feature.kind is Kind.CATEGORY:
        text = str(value)
        places = feature.categories
        return float(places.index(text) if text in places else len(places))
    if isinstance(value, str):
        raise DataError(f"attribute {feature.name!r} is a text, expected a number")
    number = float(value)
    if np.isinf(number) or (feature.kind is Kind.INTEGER and not _whole(number)):
        raise DataError(f"attribute {feature.name!r} is not of kind {feature.kind.value}")
    return number


def _whole(number: float) -> bool:
    return math.isnan(number) or number == math.floor(number)


# --- reading ----------------------------------------------------------------------------------


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
    high, low = _halves(subjects)
    order = np.lexsort((low, high))  # stable: equal keys stay in the order of the table
    high, low = high[order], low[order]
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    return np.sort(order[new]).astype(np.int64)
