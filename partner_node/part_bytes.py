"""What goes to the workers of an engine and what comes back, as flat bytes (protocol 3.4.4).

Both ends are this partner's own, and no object is unpickled here. A job says everything that
one sum over one part needs, so any worker can take it, a second time as well. Its fields are
the plan, the schema and the published model, which are public, and where the rows are; none
can hold a key, a seed or noise, and nothing is made noisy before the parts are added up.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from consortium.canonical import canonical_json, parse_canonical
from consortium.documents import document_of, parse_document
from consortium.errors import (
    ConfigurationError,
    DataError,
    DecodeError,
    RefusalCode,
    RefusalError,
    RiskWeaveError,
    TransportError,
)
from consortium.features.schema import Schema
from consortium.ids import Digest, PartnerId
from consortium.plan import ReleaseKind, TrainingPlan
from consortium.secagg.context import SumInputs
from partner_node.ingest import DataReport, FeatureReport
from partner_node.table import DataSource, Part

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

_HEAD = struct.Struct("<cI")
_JOB, _PROBE, _SUM, _FAILED = b"j", b"p", b"s", b"f"
_ENTRY = 9
"""Bytes of one coordinate of an answer: an int64 and whether it is held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Where the rows of one part are; see ``DataSource``. Private."""

    query: str
    person: str
    label: str
    directory: str
    memory_limit: str
    threads: int
    postgres: str | None
    origin: str
    number: int
    parts: int
    own_query: bool

    @property
    def source(self) -> DataSource:
        """For the ingest."""
        return DataSource(
            query=self.query,
            person=self.person,
            label=self.label,
            directory=Path(self.directory),
            memory_limit=self.memory_limit,
            threads=self.threads,
            postgres=self.postgres,
            origin=self.origin,
            part=Part(number=self.number, parts=self.parts, own_query=self.own_query),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Whether a worker could: has it this software, does it reach the rows."""

    code: Digest
    rows: Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One sum over one part; its inputs follow the document."""

    code: Digest
    """Of the node's software: a worker with another one refuses."""
    plan: TrainingPlan
    schema: str
    """Canonical JSON."""
    member: PartnerId
    families: tuple[str, ...]
    rows: Rows
    kind: ReleaseKind | None
    """None: read the rows, say what was seen, add nothing up."""
    sizes: tuple[int, ...]
    """Lengths of the input arrays."""
    bins: int
    """Bytes of privately made bins, which come last."""

    def read_schema(self) -> Schema:
        """The schema; SchemaError or DecodeError if it is none."""
        return Schema.from_canonical(parse_canonical(self.schema.encode()))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PartSum:
    """What one part adds to a sum. Private: it has no noise."""

    report: DataReport
    mark: int
    values: Integers
    held: Mask


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reject:
    reason: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """The head of a ``PartSum``."""

    rows: int
    accepted: int
    rejects: tuple[_Reject, ...]
    positives: int
    held_out: int | None
    features: tuple[FeatureReport, ...]
    mark: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    code: str
    reason: str
    text: str


def rows_of(source: DataSource, parts: int, part_query: str | None) -> tuple[Rows, ...]:
    """Every part of a source; ``part_query``, if there is one, gives ``{part}`` alone."""
    return tuple(
        Rows(
            query=source.query if part_query is None else part_query.replace("{part}", str(k)),
            person=source.person,
            label=source.label,
            directory=str(source.directory.resolve()),
            memory_limit=source.memory_limit,
            threads=source.threads,
            postgres=source.postgres,
            origin=source.origin if part_query is None else "[engine] query",
            number=k,
            parts=parts,
            own_query=part_query is not None,
        )
        for k in range(parts)
    )


def schema_text(schema: Schema) -> str:
    """As a job has it."""
    return canonical_json(schema.to_canonical()).decode()


def pack_probe(probe: Probe) -> bytes:
    """The bytes of a probe."""
    return _framed(_PROBE, document_of(probe))


def pack_job(job: Job, inputs: SumInputs) -> bytes:
    """The bytes of a job."""
    arrays = b"".join(one.astype("<f8", copy=False).tobytes() for one in inputs.arrays)
    return _framed(_JOB, document_of(job)) + arrays + inputs.bins


def unpack_job(data: bytes) -> tuple[Job, SumInputs] | Probe:
    """What a worker is asked; DecodeError if it is nothing."""
    kind, document, rest = _opened(data)
    if kind == _PROBE and not rest:
        return parse_document(Probe, document)
    if kind != _JOB:
        raise DecodeError("not a job")
    job = parse_document(Job, document)
    reals = 8 * sum(job.sizes)
    if min((*job.sizes, job.bins)) < 0 or len(rest) != reals + job.bins:
        raise DecodeError("a job's inputs are not of their sizes")
    flat = np.frombuffer(rest[:reals], "<f8").astype(np.float64)
    edges = np.cumsum(job.sizes[:-1], dtype=np.int64)
    arrays = tuple(np.split(flat, edges)) if job.sizes else ()
    return job, SumInputs(arrays=arrays, bins=rest[reals:])


def pack_sum(found: PartSum) -> bytes:
    """The bytes of an answer."""
    report = found.report
    seen = _Seen(
        rows=report.rows,
        accepted=report.accepted,
        rejects=tuple(_Reject(reason=why, rows=n) for why, n in report.rejects),
        positives=report.positives,
        held_out=report.held_out,
        features=report.features,
        mark=f"{found.mark:016x}",
        size=found.values.size,
    )
    values = found.values.astype("<i8", copy=False).tobytes()
    return _framed(_SUM, document_of(seen)) + values + found.held.astype(np.uint8).tobytes()


def pack_failure(error: RiskWeaveError) -> bytes:
    """The bytes of an error. Its text stays with this partner, as all errors' do."""
    reason = error.reason.value if isinstance(error, RefusalError) else ""
    failure = _Failure(code=error.code, reason=reason, text=str(error))
    return _framed(_FAILED, document_of(failure))


def unpack_sum(data: bytes) -> PartSum | None:
    """A part's sum; None for a probe that found all well.

    Raises:
        DataError, ConfigurationError, RefusalError: as the worker had it from its rows.
        TransportError: the worker could not, for another reason.
        DecodeError: the bytes are no answer.
    """
    if not data:
        return None
    kind, document, rest = _opened(data)
    if kind == _FAILED:
        raise _error_of(parse_document(_Failure, document))
    if kind != _SUM:
        raise DecodeError("not an answer")
    seen = parse_document(_Seen, document)
    if seen.size < 0 or len(rest) != _ENTRY * seen.size or len(seen.mark) > 16:  # noqa: PLR2004
        raise DecodeError("an answer is not of its size")
    report = DataReport(
        rows=seen.rows,
        accepted=seen.accepted,
        rejects=tuple((one.reason, one.rows) for one in seen.rejects),
        positives=seen.positives,
        held_out=seen.held_out,
        features=seen.features,
    )
    return PartSum(
        report=report,
        mark=_mark(seen.mark),
        values=np.frombuffer(rest[: 8 * seen.size], "<i8").astype(np.int64),
        held=np.frombuffer(rest[8 * seen.size :], np.uint8).astype(np.bool_),
    )


def _mark(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError as error:
        raise DecodeError("an answer's mark is no number") from error


def _error_of(failure: _Failure) -> RiskWeaveError:
    if failure.code == RefusalError.code and failure.reason in set(RefusalCode):
        detail = failure.text.removeprefix(failure.reason).strip()
        return RefusalError(RefusalCode(failure.reason), detail)
    known: Sequence[type[RiskWeaveError]] = (DataError, ConfigurationError)
    for kind in known:
        if failure.code == kind.code:
            return kind(failure.text)
    return TransportError(failure.text)


def _framed(kind: bytes, document: bytes) -> bytes:
    return _HEAD.pack(kind, len(document)) + document


def _opened(data: bytes) -> tuple[bytes, bytes, bytes]:
    if len(data) < _HEAD.size:
        raise DecodeError("a frame without a head")
    kind, size = _HEAD.unpack_from(data)
    body = data[_HEAD.size :]
    if len(body) < size:
        raise DecodeError("a frame that ends too early")
    return kind, body[:size], body[size:]
