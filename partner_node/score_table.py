"""One model version over this partner's customers: partial logits by token (protocol 7.5).

The table is made in a thread and then only read. What is held of a person is a product with
0 or 1, so that a stranger costs what a customer does.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from consortium.credit.attested import refuse_plain
from consortium.errors import DataError
from consortium.features.bins import MISSING, encode_column
from consortium.features.schema import Feature, Kind
from consortium.ids import Digest, PartnerId
from consortium.scoring.layout import Layout
from consortium.scoring.premium import ATTESTATION
from models.document import ModelDocument
from models.serving import Parts, Serving
from partner_node.customer_index import Bytes16, Flags, Index16, Integers, halves
from partner_node.customers import NO_LABEL, Codes, Customers
from partner_node.people import SUBJECT_BYTES


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
        high, _ = halves(found.subjects[rows])
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
