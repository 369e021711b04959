"""The coordinator's tables of joint scores: inquiries, and epochs of the pseudonyms.

In the same database as ``coordinator.storage`` and by its rules: every public method is one
transaction, safe to use from any thread, and raises StorageError.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import sqlalchemy as sa

from consortium.documents import document_of
from consortium.errors import ScoreRefusal, ScoreRefusalError
from consortium.identity.overlap import MOST_ATTEMPTS, OverlapPlan, parse_plan
from consortium.ids import Digest, PartnerId, RequestId
from coordinator.schema import META
from coordinator.storage import Store

_INQUIRIES = sa.Table(
    "inquiries",
    META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("request", sa.String(32), nullable=False, index=True),
    sa.Column("requester", sa.String(32), nullable=False),
    sa.Column("roster_version", sa.BigInteger, nullable=False),
    sa.Column("purpose", sa.String(16), nullable=False),
    sa.Column("model", sa.String(64), nullable=False),
    sa.Column("consents", sa.String(97), nullable=False),
    sa.Column("context", sa.String(64), nullable=False),
    sa.Column("persons", sa.Integer, nullable=False),
    sa.Column("began_ms", sa.BigInteger, nullable=False),
    sa.Column("ended_ms", sa.BigInteger, nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("responders", sa.Text, nullable=False),
    sa.Column("retry_of", sa.String(32)),
)
_BATCHES = sa.Table(
    "inquiry_batches",
    META,
    sa.Column("second", sa.BigInteger, primary_key=True),
    sa.Column("first", sa.Integer, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
)
_EPOCHS = sa.Table(
    "epochs",
    META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("manifest", sa.String(64), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("epoch", "attempt"),
)


_EPOCH_ENTRIES = sa.Table(
    "epoch_entries",
    META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)


_OVERLAPS = sa.Table(
    "overlaps",
    META,
    sa.Column("question", sa.String(64), primary_key=True),
    sa.Column("release", sa.String(64), nullable=False, index=True),
    sa.Column("plan", sa.LargeBinary, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("entry", sa.LargeBinary, nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class InquiryRow:
    """One relayed inquiry (protocol 7.13): no token, no word, no score."""

    request: RequestId
    requester: PartnerId
    roster_version: int
    purpose: str
    model: Digest
    consents: str
    """Salt, colon, salted hash of the consents' digest."""
    context: Digest
    persons: int
    began_ms: int
    """Milliseconds since 1970, UTC."""
    ended_ms: int
    outcome: str
    responders: str
    """JSON: status by partner."""
    retry_of: RequestId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Rows that were written together, as the log holds their root (protocol 8.4)."""

    second: int
    count: int


_INQUIRY_FIELDS = tuple(field.name for field in fields(InquiryRow))


@dataclass(frozen=True, slots=True, kw_only=True)
class InquiryCount:
    """How often one partner asked for one purpose on one day."""

    requester: PartnerId
    purpose: str
    day: int
    """Days since 1970, UTC."""
    requests: int
    persons: int
    answered: int
    retries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRow:
    """One attempt at an epoch's key (protocol 6.3, 6.8)."""

    epoch: int
    attempt: int
    manifest: Digest
    status: str
    """started, complete, failed, or complaint."""
    detail: str
    document: bytes
    """The public record of a complete one; the complaint; else empty."""
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochEnd:
    """How an attempt at an epoch's key ended."""

    status: str
    """complete, failed, or complaint."""
    detail: str = ""
    document: bytes = b""
    entries: tuple[bytes, ...] = ()
    """Of its members, for the log."""


class ScoringStore:
    """Rows of joint scores, in the database of a ``Store``."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def _all(self, query: sa.Select[Any]) -> list[sa.RowMapping]:
        with self._store.reading() as connection:
            return list(connection.execute(query).mappings())

    # --- joint scores -------------------------------------------------------------------------

    def add_inquiries(
        self, rows: Sequence[InquiryRow], batch: Batch, *, entries: Sequence[bytes] = ()
    ) -> None:
        """Keep rows, the batch that they are, and its entries in the log, all or nothing."""
        with self._store.transaction() as connection:
            last = connection.scalar(sa.select(sa.func.max(_INQUIRIES.c.number)))
            first = (last or 0) + 1
            # Not asdict: it copies deeply, and this is done for every score.
            values = [
                {"number": number} | {name: getattr(row, name) for name in _INQUIRY_FIELDS}
                for number, row in enumerate(rows, start=first)
            ]
            connection.execute(_INQUIRIES.insert(), values)
            connection.execute(_BATCHES.insert(), asdict(batch) | {"first": first})
            self._store.log.append_within(connection, entries)

    def last_batch(self) -> int:
        """Second of the newest batch; 0 before the first."""
        with self._store.reading() as connection:
            return connection.scalar(sa.select(sa.func.max(_BATCHES.c.second))) or 0

    def batches(self) -> tuple[Batch, ...]:
        """All batches, oldest first."""
        rows = self._all(sa.select(_BATCHES).order_by(_BATCHES.c.second))
        return tuple(Batch(second=row["second"], count=row["count"]) for row in rows)

    def batch(self, second: int) -> tuple[InquiryRow, ...]:
        """The rows of one batch, in the order of its leaves."""
        inside = (
            _BATCHES.c.second == second,
            _INQUIRIES.c.number >= _BATCHES.c.first,
            _INQUIRIES.c.number < _BATCHES.c.first + _BATCHES.c.count,
        )
        query = sa.select(_INQUIRIES).where(*inside).order_by(_INQUIRIES.c.number)
        return tuple(InquiryRow(**_unnumbered(row)) for row in self._all(query))

    def inquiries(self, request: RequestId) -> tuple[InquiryRow, ...]:
        """The inquiries of that request id: one, unless somebody used it twice."""
        query = sa.select(_INQUIRIES).where(_INQUIRIES.c.request == request)
        return tuple(InquiryRow(**_unnumbered(row)) for row in self._all(query))

    def inquiry_counts(self) -> tuple[InquiryCount, ...]:
        """Counts by requester, purpose and day, newest day first."""
        table = _INQUIRIES.c
        day = sa.cast(sa.func.floor(table.began_ms / 86_400_000), sa.Integer).label("day")
        query = (
            sa.select(
                table.requester,
                table.purpose,
                day,
                sa.func.count().label("requests"),
                sa.func.sum(table.persons).label("persons"),
                sa.func.sum(sa.case((table.outcome == "answered", 1), else_=0)).label(
                    "answered"
                ),
                sa.func.count(table.retry_of).label("retries"),
            )
            .group_by(table.requester, table.purpose, day)
            .order_by(day.desc(), table.requester, table.purpose)
        )
        return tuple(InquiryCount(**row) for row in self._all(query))

    # --- counts of common persons (protocol 6.10) ---------------------------------------------

    def overlap(self, release: Digest) -> bytes:
        """The released counts of that id as they stand in the log; empty: there are none."""
        query = sa.select(_OVERLAPS.c.entry).where(_OVERLAPS.c.release == release)
        with self._store.transaction() as connection:
            return bytes(connection.scalar(query) or b"")

    def overlaps(self) -> tuple[tuple[OverlapPlan, bytes], ...]:
        """All plans that were answered, with their counts."""
        rows = self._all(sa.select(_OVERLAPS).where(_OVERLAPS.c.entry != b""))
        return tuple((parse_plan(row["plan"]), bytes(row["entry"])) for row in rows)

    def begin_overlap(self, plan: OverlapPlan) -> int:
        """The number of the attempt that begins, from 1.

        Raises:
            ScoreRefusalError: the question was asked in another form (S10), or as often as
                it may be (S07).
        """
        same = _OVERLAPS.c.question == plan.question
        with self._store.transaction() as connection:
            row = connection.execute(sa.select(_OVERLAPS).where(same)).first()
            if row is not None and row.release != plan.release:
                text = "this pair and month were asked otherwise"
                raise ScoreRefusalError(ScoreRefusal.DIFFERENCING, text)
            attempt = 1 if row is None else row.attempt + 1
            if attempt > MOST_ATTEMPTS:
                raise ScoreRefusalError(ScoreRefusal.QUOTA, f"{MOST_ATTEMPTS} attempts failed")
            if row is None:
                connection.execute(
                    _OVERLAPS.insert().values(
                        question=plan.question,
                        release=plan.release,
                        plan=document_of(plan),
                        attempt=attempt,
                        entry=b"",
                    )
                )
            else:
                connection.execute(_OVERLAPS.update().where(same).values(attempt=attempt))
            return attempt

    def end_overlap(self, plan: OverlapPlan, entry: bytes) -> None:
        """Keep the counts and log them, unless the log has them already."""
        fresh = self._store.log.missing([entry])
        with self._store.transaction() as connection:
            self._store.log.append_within(connection, fresh)
            connection.execute(
                _OVERLAPS.update()
                .where(_OVERLAPS.c.question == plan.question)
                .values(entry=entry)
            )

    # --- epochs of the pseudonyms -------------------------------------------------------------

    def begin_epoch(self, epoch: int, manifest: Digest, at: int) -> int:
        """Note a new attempt at the epoch's key and return its number, from 1."""
        with self._store.transaction() as connection:
            last = connection.scalar(
                sa.select(sa.func.max(_EPOCHS.c.attempt)).where(_EPOCHS.c.epoch == epoch)
            )
            row = EpochRow(
                epoch=epoch,
                attempt=(last or 0) + 1,
                manifest=manifest,
                status="started",
                detail="",
                document=b"",
                at=at,
            )
            connection.execute(_EPOCHS.insert().values(**asdict(row)))
            return row.attempt

    def end_epoch(self, epoch: int, attempt: int, end: EpochEnd) -> None:
        """Note how an attempt ended, and what its members say of it in the log."""
        with self._store.transaction() as connection:
            self._store.log.append_within(connection, end.entries)
            if end.entries:
                rows = [
                    {"epoch": epoch, "attempt": attempt, "data": data} for data in end.entries
                ]
                connection.execute(_EPOCH_ENTRIES.insert(), rows)
            connection.execute(
                _EPOCHS.update()
                .where(_EPOCHS.c.epoch == epoch, _EPOCHS.c.attempt == attempt)
                .values(status=end.status, detail=end.detail, document=end.document)
            )

    def epoch_entries(self, epoch: int, attempt: int) -> tuple[bytes, ...]:
        """What the members of one attempt said at its end."""
        table = _EPOCH_ENTRIES.c
        query = sa.select(table.data).where(table.epoch == epoch, table.attempt == attempt)
        return tuple(bytes(row["data"]) for row in self._all(query.order_by(table.number)))

    def epochs(self, epoch: int) -> tuple[EpochRow, ...]:
        """All attempts at the epoch's key, newest first."""
        query = (
            sa.select(_EPOCHS)
            .where(_EPOCHS.c.epoch == epoch)
            .order_by(_EPOCHS.c.attempt.desc())
        )
        return tuple(EpochRow(**_unnumbered(row)) for row in self._all(query))

    def epoch_records(self) -> tuple[bytes, ...]:
        """Records of all complete attempts, oldest first."""
        complete = sa.select(_EPOCHS.c.document).where(_EPOCHS.c.status == "complete")
        rows = self._all(complete.order_by(_EPOCHS.c.number))
        return tuple(bytes(row["document"]) for row in rows)

    def epoch_record(self, epoch: int) -> EpochRow | None:
        """The newest complete attempt at the epoch's key."""
        complete = (_EPOCHS.c.epoch == epoch, _EPOCHS.c.status == "complete")
        query = sa.select(_EPOCHS).where(*complete).order_by(_EPOCHS.c.attempt.desc())
        rows = self._all(query.limit(1))
        return EpochRow(**_unnumbered(rows[0])) if rows else None


def _unnumbered(row: sa.RowMapping) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "number"}
