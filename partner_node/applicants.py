"""A file of applicants, scored through the desk's batch, into a file of scores.

In: Parquet or CSV with columns ``person`` and ``consent`` (the reference), and if wanted
``expires`` (a date or seconds), ``key`` (idempotency) and the own families' features by
name. Where there is a feature column, the row's attributes count in place of the customer's
own row, an empty cell as missing. Other columns are left unread and named. Rows that cannot
be scored stay in the output, with the code and the text of why. Both files are private.
"""

import itertools
from collections import Counter, deque
from collections.abc import (
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as arrow_parquet

from consortium.errors import ConfigurationError, RiskWeaveError, StorageError
from consortium.features.schema import Feature, Kind
from consortium.inquiries import LARGEST_BATCH
from partner_node.desk import Score
from partner_node.loan_desk import Consent, Failure, Question
from partner_node.score_dates import expires_of
from partner_node.table import DataSource, open_table, quoted

PERSON, CONSENT, EXPIRES, KEY = "person", "consent", "expires", "key"
REASONS = 4

OUTPUT = pa.schema(
    [
        ("person", pa.string()),
        ("points", pa.int32()),
        ("pd", pa.string()),
        ("eta", pa.int64()),
        ("band", pa.string()),
        ("fallback", pa.string()),
        ("calibration", pa.string()),
        ("best", pa.int32()),
        ("unattributed", pa.int32()),
        *(
            column
            for place in range(1, REASONS + 1)
            for column in (
                (f"reason_{place}", pa.string()),
                (f"reason_{place}_points", pa.int32()),
            )
        ),
        ("model", pa.string()),
        ("head", pa.string()),
        ("policy", pa.string()),
        ("request", pa.string()),
        ("error", pa.string()),
        ("error_text", pa.string()),
    ]
)
"""Columns of the file of scores; those of a score are empty where ``error`` is not."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a file are read for what."""

    attributes: tuple[str, ...]
    has_expires: bool
    has_key: bool
    ignored: tuple[str, ...]


@dataclass(slots=True)
class Tally:
    """What became of the rows. Private."""

    rows: int = 0
    bands: Counter[str] = field(default_factory=Counter)
    fallbacks: Counter[str] = field(default_factory=Counter)
    rejects: Counter[str] = field(default_factory=Counter)

    def count(self, found: Score | Failure) -> None:
        """Count one row."""
        self.rows += 1
        if isinstance(found, Failure):
            self.rejects[found.code] += 1
        else:
            self.bands[found.band] += 1
            if found.fallback:
                self.fallbacks[found.fallback] += 1

    def to_json(self) -> dict[str, object]:
        """For scripts."""
        return {
            "rows": self.rows,
            "bands": dict(self.bands),
            "fallbacks": dict(self.fallbacks),
            "rejects": dict(self.rejects),
        }

    def lines(self) -> list[str]:
        """For the operator's console."""
        lines = [f"rows       {self.rows:>10,}"]
        lines += [f"band {band:<5} {n:>10,}" for band, n in sorted(self.bands.items())]
        lines += [f"own score  {n:>10,}   {why}" for why, n in sorted(self.fallbacks.items())]
        lines += [f"left out   {n:>10,}   {code}" for code, n in sorted(self.rejects.items())]
        return lines


class ApplicantFile:
    """A file of applicants that can be counted and read."""

    def __init__(self, path: Path, features: Iterable[Feature]) -> None:
        """``features``: those of the own families."""
        self._path = path
        self._features = {feature.name: feature for feature in features}
        self._source = DataSource(
            query=f"SELECT * FROM {_reader(path)}",  # noqa: S608 - a quoted path
            person=PERSON,
            label=PERSON,
            directory=Path(path).absolute().parent,
            origin=str(path),
        )

    def columns(self) -> Columns:
        """What will be read; ConfigurationError without person and consent."""
        with open_table(self._source) as table:
            names = list(table.types)
        missing = [name for name in (PERSON, CONSENT) if name not in names]
        if missing:
            raise ConfigurationError(f"{self._path}: no column {missing[0]!r}")
        attributes = tuple(name for name in names if name in self._features)
        known = {PERSON, CONSENT, EXPIRES, KEY, *attributes}
        return Columns(
            attributes=attributes,
            has_expires=EXPIRES in names,
            has_key=KEY in names,
            ignored=tuple(name for name in names if name not in known),
        )

    def batches(self, columns: Columns, *, brief: bool = True) -> Iterator[list[Question]]:
        """The rows in order, 256 at a time.

        Raises:
            ConfigurationError, DataError: the file cannot be read.
        """
        rows = self._rows(columns)
        while part := list(itertools.islice(rows, LARGEST_BATCH)):
            yield [self._question(row, columns, brief=brief) for row in part]

    def _question(self, row: Mapping[str, Any], columns: Columns, *, brief: bool) -> Question:
        attributes = None
        if columns.attributes:
            attributes = {
                name: _value(self._features[name], row[name]) for name in columns.attributes
            }
        expires = row[EXPIRES] if columns.has_expires else ""
        return Question(
            person=row[PERSON],
            consent=Consent(reference=row[CONSENT], expires=expires_of(expires)),
            attributes=attributes,
            key=row[KEY] if columns.has_key else "",
            brief=brief,
        )

    def _rows(self, columns: Columns) -> Generator[Mapping[str, Any]]:
        listed = {
            PERSON: f"coalesce({quoted(PERSON)}::VARCHAR, '')",
            CONSENT: f"coalesce({quoted(CONSENT)}::VARCHAR, '')",
        }
        if columns.has_expires:
            listed[EXPIRES] = f"coalesce({quoted(EXPIRES)}::VARCHAR, '')"
        if columns.has_key:
            listed[KEY] = f"coalesce({quoted(KEY)}::VARCHAR, '')"
        listed |= {name: quoted(name) for name in columns.attributes}
        with (
            open_table(self._source) as table,
            closing(table.batches(listed)) as batches,
        ):
            for batch in batches:
                yield from batch.to_pylist()


def _reader(path: Path) -> str:
    text = str(path.absolute()).replace("'", "''")
    if path.suffix == ".parquet":
        return f"read_parquet('{text}')"
    if path.suffix == ".csv":
        # Identifiers keep their leading zeros, keys and references their form.
        return f"read_csv('{text}', all_varchar = true)"
    raise ConfigurationError(f"{path}: not a .parquet or .csv file")


def _value(feature: Feature, value: object) -> float | str | None:
    """A number, a category's text, or nothing; what is neither goes to the desk as it is."""
    if value is None or feature.kind is Kind.CATEGORY:
        return None if value is None else str(value)
    try:
        return float(value)  # type: ignore[arg-type]  # a number of DuckDB's, or a text
    except (TypeError, ValueError):
        return str(value)


class ScoreFile:
    """The file of scores, written as results come; a context manager.

    It gets its name when all is written: a run that stopped leaves none.
    """

    def __init__(self, path: Path) -> None:
        """ConfigurationError if the name is neither .parquet nor .csv; nothing is written."""
        makers: Mapping[str, Callable[..., Any]] = {
            ".parquet": arrow_parquet.ParquetWriter,
            ".csv": arrow_csv.CSVWriter,
        }
        if path.suffix not in makers:
            raise ConfigurationError(f"{path}: not a .parquet or .csv file")
        self._path = path
        self._draft = path.with_name(f".{path.name}.new")
        self._make = makers[path.suffix]
        self._writer: Any = None

    def __enter__(self) -> Self:
        try:
            self._draft.touch(mode=0o600)
            self._draft.chmod(0o600)
            self._writer = self._make(str(self._draft), OUTPUT)
        except OSError as error:
            raise StorageError(f"{self._path}: {error.strerror or error}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()
        if kind is None:
            self._draft.replace(self._path)
        else:
            self._draft.unlink(missing_ok=True)

    def write(self, questions: Sequence[Question], results: Sequence[Score | Failure]) -> None:
        """Append the rows of one batch."""
        rows = [
            _row(question, found) for question, found in zip(questions, results, strict=True)
        ]
        columns = list(zip(*rows, strict=True))
        arrays = [
            pa.array(values, type=kind.type)
            for values, kind in zip(columns, OUTPUT, strict=True)
        ]
        self._writer.write_batch(pa.record_batch(arrays, schema=OUTPUT))


def _row(question: Question, found: Score | Failure) -> tuple[object, ...]:
    if isinstance(found, Failure):
        gap = (None,) * (len(OUTPUT) - 3)
        return (question.person, *gap, found.code, found.text)
    reasons: list[object] = []
    for place in range(REASONS):
        one = found.reasons[place] if place < len(found.reasons) else None
        reasons += [None, None] if one is None else [one.code, one.points]
    return (
        *(question.person, found.points, found.pd, found.eta, found.band, found.fallback),
        *(found.calibration, found.best, found.unattributed, *reasons),
        *(found.model, found.head, found.policy, found.request, None, None),
    )


Ask = Callable[[Iterable[list[Question]]], Iterator[list[Score | Failure]]]
"""Results of each batch, in order (``desk_caller.DeskCaller.score_batch``)."""


def score(
    batches: Iterable[list[Question]], ask: Ask, target: ScoreFile, tell: Callable[[int], None]
) -> Tally:
    """Score all batches into the file; returns what became of the rows.

    Raises:
        ConfigurationError, DataError: the applicants cannot be read to the end.
        RiskWeaveError: the desk refuses a whole batch, or is gone.
    """
    tally = Tally()
    waiting: deque[list[Question]] = deque()
    broken: list[RiskWeaveError] = []

    def asked() -> Iterator[list[Question]]:
        # Runs in the channel's thread, which would keep an error to itself.
        try:
            for batch in batches:
                waiting.append(batch)
                yield batch
        except RiskWeaveError as error:
            broken.append(error)

    for results in ask(asked()):
        for one in results:
            tally.count(one)
        target.write(waiting.popleft(), results)
        tell(tally.rows)
    if broken:
        raise broken[0]
    return tally
