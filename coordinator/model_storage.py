"""Model versions of the coordinator's database: which is in use, gates, audits and votes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from consortium.ids import Digest, PartnerId, RunId
from consortium.messages import Vote
from coordinator.database import Database
from coordinator.log_storage import LogStore
from coordinator.schema import META

_MODELS = sa.Table(
    "models",
    META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("version", sa.String(64), nullable=False, unique=True),
    sa.Column("run", sa.String(32), nullable=False),
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("changed_at", sa.BigInteger, nullable=False),
)
_HEADS = sa.Table(
    "heads",
    META,
    sa.Column("version", sa.String(64), sa.ForeignKey("models.version"), primary_key=True),
    sa.Column("base", sa.String(64), nullable=False),
)
_BESIDE = sa.Table(
    "models_beside",
    META,
    sa.Column("version", sa.String(64), sa.ForeignKey("models.version"), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
)
"""Models that are in use beside the scores, one of each kind: closure models."""
_GATES = sa.Table(
    "release_gates",
    META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("version", sa.String(64), nullable=False, index=True),
    sa.Column("passed", sa.Boolean, nullable=False),
    sa.Column("audit", sa.String(64), nullable=False),
    sa.Column("entry", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
_AUDITS = sa.Table(
    "empirical_audits",
    META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("digest", sa.String(64), nullable=False, unique=True),
    sa.Column("document", sa.LargeBinary, nullable=False),
)
_ACTIVATIONS = sa.Table(
    "activations",
    META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
_VOTES = sa.Table(
    "votes",
    META,
    sa.Column("version", sa.String(64), primary_key=True),
    sa.Column("member", sa.String(32), primary_key=True),
    sa.Column("accept", sa.Boolean, nullable=False),
    sa.Column("reason", sa.String(64), nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("signature", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One model version; ``status`` is candidate, active or retired."""

    version: Digest
    run: RunId
    document: bytes
    status: str
    created_at: int
    changed_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRow:
    """What the release gate says of a version; the newest counts (protocol 13.9)."""

    version: Digest
    passed: bool
    audit: Digest | None
    """The empirical audit that it rests on."""
    entry: bytes
    """``release.gate``, as it stands in the log."""


class ModelStore:
    """Models; every method is one transaction and raises StorageError.

    ``entries`` are appended to the log in the same transaction.
    """

    def __init__(self, database: Database, log: LogStore) -> None:
        self._database, self._log = database, log

    def add(  # noqa: PLR0913 - what is stored at once
        self,
        version: Digest,
        run: RunId,
        document: bytes,
        at: int,
        *,
        base: Digest | None = None,
        beside: str = "",
        gate: GateRow | None = None,
        entries: Sequence[bytes] = (),
    ) -> None:
        """Keep a candidate; a version that is there already is left as it is, unlogged.

        A head names its base model, a model that gives no scores its kind in ``beside``.
        ``gate``, whose entry is among ``entries``, goes with it.
        """
        row = ModelRow(
            version=version,
            run=run,
            document=document,
            status="candidate",
            created_at=at,
            changed_at=at,
        )
        with self._database.transaction() as connection:
            known = sa.select(_MODELS.c.version).where(_MODELS.c.version == version)
            if connection.scalar(known) is None:
                self._log.append_within(connection, entries)
                connection.execute(_MODELS.insert().values(**asdict(row)))
                if base is not None:
                    connection.execute(_HEADS.insert().values(version=version, base=base))
                if beside:
                    connection.execute(_BESIDE.insert().values(version=version, kind=beside))
                if gate is not None:
                    connection.execute(_GATES.insert().values(**_gate_row(gate), at=at))

    def add_gate(self, gate: GateRow, at: int) -> None:
        """Keep and log another gate of a version that is there."""
        with self._database.transaction() as connection:
            self._log.append_within(connection, [gate.entry])
            connection.execute(_GATES.insert().values(**_gate_row(gate), at=at))

    def gate(self, version: Digest) -> GateRow | None:
        """The newest gate of a version."""
        query = sa.select(_GATES).where(_GATES.c.version == version)
        row = self._database.one(query.order_by(_GATES.c.number.desc()))
        if row is None:
            return None
        return GateRow(
            version=version,
            passed=bool(row["passed"]),
            audit=Digest(row["audit"]) if row["audit"] else None,
            entry=row["entry"],
        )

    def add_audit(self, digest: Digest, document: bytes) -> None:
        """Keep an empirical audit of the software, once."""
        row = {"digest": digest, "document": document}
        self._database.write(_AUDITS, row, replacing=("digest",))

    def audits(self) -> Mapping[Digest, bytes]:
        """Empirical audits, oldest first."""
        rows = self._database.all(sa.select(_AUDITS).order_by(_AUDITS.c.number))
        return {Digest(row["digest"]): row["document"] for row in rows}

    def all(self) -> tuple[ModelRow, ...]:
        """All model versions, newest first."""
        query = sa.select(_MODELS).order_by(_MODELS.c.number.desc())
        return tuple(_model(row) for row in self._database.all(query))

    def get(self, version: Digest) -> ModelRow | None:
        """The model of that version."""
        row = self._database.one(sa.select(_MODELS).where(_MODELS.c.version == version))
        return None if row is None else _model(row)

    def active(self) -> ModelRow | None:
        """The base model in use."""
        return self._in_use(
            _MODELS.c.version.not_in(sa.select(_HEADS.c.version))
            & _MODELS.c.version.not_in(sa.select(_BESIDE.c.version))
        )

    def active_head(self) -> ModelRow | None:
        """The head in use with the base model; None: joint scores are not calibrated."""
        return self._in_use(_MODELS.c.version.in_(sa.select(_HEADS.c.version)))

    def base_of(self, version: Digest) -> Digest | None:
        """The base model of a head; None for a base model."""
        row = self._database.one(sa.select(_HEADS.c.base).where(_HEADS.c.version == version))
        return None if row is None else Digest(row["base"])

    def beside(self, version: Digest) -> str:
        """The kind of a model that gives no scores; empty for one that does."""
        row = self._database.one(sa.select(_BESIDE.c.kind).where(_BESIDE.c.version == version))
        return "" if row is None else str(row["kind"])

    def put_beside(self, version: Digest, at: int) -> None:
        """Put a model to use that gives no scores; retires the one of its kind."""
        kind = self.beside(version)
        same = sa.select(_BESIDE.c.version).where(_BESIDE.c.kind == kind)
        with self._database.transaction() as connection:
            connection.execute(
                _MODELS.update()
                .where(_MODELS.c.status == "active", _MODELS.c.version.in_(same))
                .values(status="retired", changed_at=at)
            )
            connection.execute(
                _MODELS.update()
                .where(_MODELS.c.version == version)
                .values(status="active", changed_at=at)
            )

    def _in_use(self, kind: sa.ColumnElement[bool]) -> ModelRow | None:
        row = self._database.one(sa.select(_MODELS).where(_MODELS.c.status == "active", kind))
        return None if row is None else _model(row)

    def set_status(
        self, version: Digest, status: str, at: int, *, entries: Sequence[bytes] = ()
    ) -> None:
        """Set candidate, active or retired.

        Activating a base model retires the one that was active and its head; activating a
        head retires another head of the same base, which stays active.
        """
        with self._database.transaction() as connection:
            self._log.append_within(connection, entries)
            if status == "active":
                own = sa.select(_HEADS.c.base).where(_HEADS.c.version == version)
                connection.execute(
                    _MODELS.update()
                    .where(
                        _MODELS.c.status == "active",
                        _MODELS.c.version != version,
                        _MODELS.c.version.not_in(own),
                        _MODELS.c.version.not_in(sa.select(_BESIDE.c.version)),
                    )
                    .values(status="retired", changed_at=at)
                )
                connection.execute(_ACTIVATIONS.insert().values(version=version, at=at))
            connection.execute(
                _MODELS.update()
                .where(_MODELS.c.version == version)
                .values(status=status, changed_at=at)
            )

    def activations(self) -> tuple[Digest, ...]:
        """Versions as they became active, oldest first: the way back for a rollback."""
        query = sa.select(_ACTIVATIONS.c.version).order_by(_ACTIVATIONS.c.number)
        return tuple(Digest(row["version"]) for row in self._database.all(query))

    def add_vote(self, vote: Vote, at: int, *, entries: Sequence[bytes] = ()) -> bool:
        """Keep the vote in place of the member's earlier one.

        Returns False, and changes nothing, unless its number is above the earlier one's.
        """
        same = (_VOTES.c.version == vote.version, _VOTES.c.member == vote.member)
        with self._database.transaction() as connection:
            last = connection.scalar(sa.select(_VOTES.c.number).where(*same))
            if last is not None and vote.number <= last:
                return False
            self._log.append_within(connection, entries)
            connection.execute(_VOTES.delete().where(*same))
            connection.execute(_VOTES.insert().values(**asdict(vote), at=at))
            return True

    def votes(self, version: Digest) -> tuple[Vote, ...]:
        """The votes on that version, sorted by member."""
        query = sa.select(_VOTES).where(_VOTES.c.version == version).order_by(_VOTES.c.member)
        return tuple(
            Vote(
                version=Digest(row["version"]),
                member=PartnerId(row["member"]),
                accept=bool(row["accept"]),
                reason=row["reason"],
                number=row["number"],
                signature=row["signature"],
            )
            for row in self._database.all(query)
        )


def _gate_row(gate: GateRow) -> dict[str, object]:
    return asdict(gate) | {"audit": gate.audit or ""}


def _model(row: sa.RowMapping) -> ModelRow:
    return ModelRow(**{name: value for name, value in row.items() if name != "number"})
