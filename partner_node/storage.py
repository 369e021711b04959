"""The node's database: commitments, the privacy budget, the journal of all that left.

SQLite through SQLAlchemy Core, flushed to disk at each commit. Every public method is one
transaction that holds the write lock from its start, so two processes of one node cannot
spend the same budget. What may be spent is decided in ``consortium.privacy.budget``; here
rows are read, the question is put, and the answer is written (protocol 4.6).
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from consortium.crypto.keys import Secret
from consortium.documents import document_of, parse_document, plan_digest
from consortium.errors import RefusalCode, RefusalError, StorageError
from consortium.ids import Digest, RunId, digest_of
from consortium.messages import SumRequest, Vote
from consortium.plan import ReleaseKind, TrainingPlan
from consortium.privacy.budget import Account, Debit, Reserve, may_debit, may_reserve

SCHEMA_VERSION = 1
BUSY_MS = 10_000

_META = sa.MetaData()
_VERSION = sa.Table("schema_version", _META, sa.Column("version", sa.Integer, nullable=False))
_COMMITMENTS = sa.Table(
    "commitments",
    _META,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("plan", sa.LargeBinary, nullable=False),
    sa.Column("plan_digest", sa.String(64), nullable=False),
    sa.Column("seed", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
_ACCOUNTS = sa.Table(
    "budget_account",
    _META,
    sa.Column("scope", sa.String(16), primary_key=True),
    sa.Column("epoch", sa.String(64), primary_key=True),
    sa.Column("cap_units", sa.BigInteger, nullable=False),
    sa.Column("delta", sa.String(40), nullable=False),
)
_RESERVES = sa.Table(
    "budget_reserve",
    _META,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("scope", sa.String(16), primary_key=True),
    sa.Column("epoch", sa.String(64), nullable=False),
    sa.Column("units", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(8), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
_ENTRIES = sa.Table(
    "budget_entry",
    _META,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("round", sa.Integer, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("scope", sa.String(16), nullable=False),
    sa.Column("epoch", sa.String(64), nullable=False),
    sa.Column("units", sa.BigInteger, nullable=False),
    sa.Column("partners", sa.Integer, nullable=False),
    sa.Column("dimension", sa.Integer, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
_JOINS = sa.Table(
    "joins",
    _META,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("round", sa.Integer, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("context", sa.String(64), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
_STATES = sa.Table(
    "run_states",
    _META,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("state", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
_DISCLOSURES = sa.Table(
    "disclosures",
    _META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("run", sa.String(32), nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
)
_MODELS = sa.Table(
    "models",
    _META,
    sa.Column("version", sa.String(64), primary_key=True),
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
_VOTES = sa.Table(
    "votes",
    _META,
    sa.Column("version", sa.String(64), primary_key=True),
    sa.Column("accept", sa.Boolean, nullable=False),
    sa.Column("reason", sa.String(64), nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class StoredJoin:
    """A JOIN that was on disk before it was sent."""

    context: Digest
    count: int
    """k: its number among the JOINs of the run, from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargedSums:
    """Charged attempts of one run that were alike."""

    kind: ReleaseKind
    partners: int
    """K, size of their rosters."""
    dimension: int
    """Words of the sum."""
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """One thing that left the node: what for, how large, and the digest of its bytes."""

    kind: str
    size: int
    sha256: Digest
    run: str = ""
    round: int = 0
    attempt: int = 0
    at: int = 0
    """Seconds since 1970, UTC; set when it is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CastVote:
    """This node's word on a model version."""

    version: Digest
    accept: bool
    reason: str
    at: int


class NodeStore:
    """One node's database, accounts of one epoch; safe to use from any thread.

    Every method raises StorageError: disk full, locked for too long, of another version.
    """

    def __init__(self, path: Path, *, now: Callable[[], int], epoch: str = "default") -> None:
        """Open the database, or create it so that only its owner may read it.

        Raises:
            StorageError: not a database, or written by another version of this program.
        """
        self._now = now
        self._epoch = epoch
        _touch(path)
        self._engine = sa.create_engine(f"sqlite:///{path.absolute()}")
        sa.event.listen(self._engine, "connect", _set_pragmas)
        sa.event.listen(self._engine, "begin", _begin_immediate)
        with self._transaction() as connection:
            _META.create_all(connection)
            seen = connection.scalar(sa.select(_VERSION.c.version))
            if seen is None:
                connection.execute(_VERSION.insert().values(version=SCHEMA_VERSION))
            elif seen != SCHEMA_VERSION:
                raise StorageError(f"{path} has version {seen}, expected {SCHEMA_VERSION}")

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise StorageError(f"database: {cause}") from error

    # --- runs and budget (protocol 3.1, 4.6) --------------------------------------------------

    def commitment(self, run: RunId) -> tuple[TrainingPlan, Secret] | None:
        """The accepted plan of a run and this node's seed for it."""
        with self._transaction() as connection:
            query = sa.select(_COMMITMENTS).where(_COMMITMENTS.c.run == run)
            row = connection.execute(query).mappings().first()
        return None if row is None else (_plan(row["plan"]), Secret(row["seed"]))

    def commitments(self) -> tuple[TrainingPlan, ...]:
        """All accepted plans, oldest first."""
        with self._transaction() as connection:
            rows = connection.execute(sa.select(_COMMITMENTS).order_by(_COMMITMENTS.c.at))
            return tuple(_plan(row["plan"]) for row in rows.mappings())

    def commit(
        self,
        plan: TrainingPlan,
        seed: Secret,
        units: Mapping[str, int],
        caps: Mapping[str, int],
    ) -> None:
        """Reserve ``units`` by scope under ``caps`` and keep plan and seed, all or nothing.

        Raises:
            BudgetExceededError: a cap does not cover it (R12); the text has the figures.
            RefusalError: the run was committed before (R06), or it holds out other persons
                than a run that was charged in this epoch (R05): each account has a cap of
                its own because no person is ever in both (protocol 5.8).
        """
        with self._transaction() as connection:
            self._check_split(connection, plan)
            for scope, amount in units.items():
                account = self._account(connection, scope, (caps[scope], plan.delta))
                may_reserve(account, plan.run, amount)
                self._keep_account(connection, account, plan.delta)
                connection.execute(
                    _RESERVES.insert().values(
                        run=plan.run,
                        scope=scope,
                        epoch=self._epoch,
                        units=amount,
                        state="open",
                        at=self._now(),
                    )
                )
            connection.execute(
                _COMMITMENTS.insert().values(
                    run=plan.run,
                    plan=document_of(plan),
                    plan_digest=plan_digest(plan),
                    seed=seed.expose(),
                    at=self._now(),
                )
            )

    def join(self, request: SumRequest, context: Digest) -> StoredJoin:
        """Keep a JOIN under the run's next number, before it is sent (protocol 3.3).

        Raises:
            RefusalError: this attempt was joined before (R06), or the run holds no open
                reserve (R05).
        """
        with self._transaction() as connection:
            reserve = sa.select(_RESERVES.c.run).where(
                _RESERVES.c.run == request.run, _RESERVES.c.state == "open"
            )
            if connection.scalar(reserve) is None:
                raise RefusalError(RefusalCode.PLAN, "the run holds no open reserve")
            if connection.scalar(sa.select(_JOINS.c.number).where(*_attempt(request))):
                raise RefusalError(RefusalCode.REPEATED, "this attempt was joined before")
            made = sa.select(sa.func.count()).where(_JOINS.c.run == request.run)
            number = int(connection.scalar(made) or 0) + 1
            connection.execute(
                _JOINS.insert().values(
                    run=request.run,
                    round=request.round,
                    attempt=request.attempt,
                    kind=request.kind.value,
                    context=context,
                    number=number,
                    at=self._now(),
                )
            )
        return StoredJoin(context=context, count=number)

    def joined(self, request: SumRequest) -> StoredJoin | None:
        """The JOIN that was kept for this attempt."""
        with self._transaction() as connection:
            query = sa.select(_JOINS).where(*_attempt(request))
            row = connection.execute(query).mappings().first()
        return None if row is None else StoredJoin(Digest(row["context"]), row["number"])

    def state(self, run: RunId) -> bytes | None:
        """What the run's published sums have led to so far, as it was kept."""
        with self._transaction() as connection:
            query = sa.select(_STATES.c.state).where(_STATES.c.run == run)
            found: bytes | None = connection.scalar(query)
            return found

    def keep_state(self, run: RunId, state: bytes) -> None:
        """Keep where the run stands, so that a new process need not be told all sums again."""
        with self._transaction() as connection:
            connection.execute(_STATES.delete().where(_STATES.c.run == run))
            connection.execute(_STATES.insert().values(run=run, state=state, at=self._now()))

    def accepted(self, run: RunId, signature: bytes) -> None:
        """Journal that this node signs the plan; a disk that is full shows here, uncharged."""
        self.add_disclosure(
            Disclosure(
                kind="acceptance", size=len(signature), sha256=digest_of(signature), run=run
            )
        )

    def withdraw(self, run: RunId) -> None:
        """Forget a commitment of which nothing was charged.

        Raises:
            RefusalError: something was; a debit is never released (R06).
        """
        with self._transaction() as connection:
            charged = sa.select(sa.func.count()).where(_ENTRIES.c.run == run)
            if connection.scalar(charged):
                raise RefusalError(RefusalCode.REPEATED, f"run {run} was charged already")
            connection.execute(_RESERVES.delete().where(_RESERVES.c.run == run))
            connection.execute(_COMMITMENTS.delete().where(_COMMITMENTS.c.run == run))

    def debit(self, request: SumRequest, *, scope: str, units: int) -> None:
        """Charge one upload for good, before a row is read for it (protocol 4.6 (3)).

        Args:
            request: What is answered. Public.
            scope: Whose rows, "training" or "holdout".
            units: The charge.

        Raises:
            RefusalError: this attempt was charged before (R06) and may not be sent again,
                or the run holds no open reserve (R05).
            BudgetExceededError: the reserve does not cover it (R12).
        """
        with self._transaction() as connection:
            self._check_debit(connection, request, scope, units)
            connection.execute(
                _ENTRIES.insert().values(
                    run=request.run,
                    round=request.round,
                    attempt=request.attempt,
                    kind=request.kind.value,
                    scope=scope,
                    epoch=self._epoch_of(connection, request.run),
                    units=units,
                    partners=len(request.roster),
                    dimension=request.dimension,
                    at=self._now(),
                )
            )

    def charged_sums(self, run: RunId, scope: str) -> tuple[ChargedSums, ...]:
        """What one run was charged for in one scope, by kind, roster size and dimension."""
        key = (_ENTRIES.c.kind, _ENTRIES.c.partners, _ENTRIES.c.dimension)
        with self._transaction() as connection:
            query = (
                sa.select(*key, sa.func.count().label("attempts"))
                .where(_ENTRIES.c.run == run, _ENTRIES.c.scope == scope)
                .group_by(*key)
                .order_by(*key)
            )
            return tuple(
                ChargedSums(
                    kind=ReleaseKind(row["kind"]),
                    partners=row["partners"],
                    dimension=row["dimension"],
                    attempts=row["attempts"],
                )
                for row in connection.execute(query).mappings()
            )

    def disclose(self, request: SumRequest, *, words: Digest, size: int) -> None:
        """Journal the words that are about to leave: their digest and bytes."""
        self.add_disclosure(
            Disclosure(
                kind=request.kind.value,
                size=size,
                sha256=words,
                run=request.run,
                round=request.round,
                attempt=request.attempt,
            )
        )

    def charged(self, run: RunId, kind: ReleaseKind) -> int:
        """Units that one run was charged for one kind of sums so far."""
        with self._transaction() as connection:
            units = sa.select(sa.func.sum(_ENTRIES.c.units)).where(
                _ENTRIES.c.run == run, _ENTRIES.c.kind == kind.value
            )
            return int(connection.scalar(units) or 0)

    def open_runs(self) -> tuple[RunId, ...]:
        """Runs that still hold a reserve."""
        with self._transaction() as connection:
            query = sa.select(_RESERVES.c.run).where(_RESERVES.c.state == "open").distinct()
            return tuple(RunId(run) for run in connection.scalars(query))

    def close_run(self, run: RunId) -> None:
        """The run has ended: what it reserved and did not charge is free again."""
        with self._transaction() as connection:
            connection.execute(_STATES.delete().where(_STATES.c.run == run))
            connection.execute(
                _RESERVES.update().where(_RESERVES.c.run == run).values(state="closed")
            )

    def account(self, scope: str, *, cap_units: int, delta: str) -> Account:
        """The account of one scope in this epoch, under the cap given."""
        with self._transaction() as connection:
            return self._account(connection, scope, (cap_units, delta))

    def spent(self, scope: str) -> int:
        """Units debited in this epoch."""
        return self.account(scope, cap_units=0, delta="1e-6").spent

    def _check_split(self, connection: sa.Connection, plan: TrainingPlan) -> None:
        charged = sa.select(_ENTRIES.c.run).where(_ENTRIES.c.epoch == self._epoch)
        query = sa.select(_COMMITMENTS.c.plan).where(_COMMITMENTS.c.run.in_(charged))
        for row in connection.scalars(query):
            earlier = _plan(row)
            if (earlier.holdout_salt, earlier.holdout_fraction) != (
                plan.holdout_salt,
                plan.holdout_fraction,
            ):
                raise RefusalError(
                    RefusalCode.PLAN,
                    f"run {earlier.run} of this epoch held out other persons; the same "
                    "holdout_salt and holdout_fraction, or a new epoch",
                )

    def _check_debit(
        self, connection: sa.Connection, request: SumRequest, scope: str, units: int
    ) -> None:
        epoch = self._epoch_of(connection, request.run)
        query = sa.select(_ACCOUNTS).where(
            _ACCOUNTS.c.scope == scope, _ACCOUNTS.c.epoch == epoch
        )
        row = connection.execute(query).mappings().first()
        if row is None:
            raise RefusalError(RefusalCode.PLAN, f"run {request.run} holds no open reserve")
        terms = (row["cap_units"], row["delta"])
        account = self._account(connection, scope, terms, epoch=epoch, run=request.run)
        debit = Debit(
            run=request.run,
            kind=request.kind,
            round=request.round,
            attempt=request.attempt,
            units=units,
        )
        may_debit(account, debit)

    def _epoch_of(self, connection: sa.Connection, run: RunId) -> str:
        """The epoch in which the run was committed: a debit goes to the same account."""
        query = sa.select(_RESERVES.c.epoch).where(_RESERVES.c.run == run)
        return connection.scalar(query) or self._epoch

    def _account(
        self,
        connection: sa.Connection,
        scope: str,
        terms: tuple[int, str],
        *,
        epoch: str | None = None,
        run: RunId | None = None,
    ) -> Account:
        """The account as it stands; ``terms`` are its cap in units and the policy's delta.

        With ``run``, its entries only: enough to decide on a debit.
        """
        where = epoch or self._epoch
        reserves = connection.execute(
            sa.select(_RESERVES).where(_RESERVES.c.scope == scope, _RESERVES.c.epoch == where)
        ).mappings()
        chosen = sa.select(_ENTRIES).where(_ENTRIES.c.scope == scope, _ENTRIES.c.epoch == where)
        if run is not None:
            chosen = chosen.where(_ENTRIES.c.run == run)
        entries = connection.execute(chosen).mappings()
        return Account(
            scope=scope,
            cap_units=terms[0],
            delta=float(terms[1]),
            reserves=tuple(
                Reserve(run=row["run"], units=row["units"], is_open=row["state"] == "open")
                for row in reserves
            ),
            debits=tuple(_debit(row) for row in entries),
        )

    def _keep_account(self, connection: sa.Connection, account: Account, delta: str) -> None:
        key = (_ACCOUNTS.c.scope == account.scope, _ACCOUNTS.c.epoch == self._epoch)
        connection.execute(_ACCOUNTS.delete().where(*key))
        connection.execute(
            _ACCOUNTS.insert().values(
                scope=account.scope, epoch=self._epoch, cap_units=account.cap_units, delta=delta
            )
        )

    # --- journal ------------------------------------------------------------------------------

    def add_disclosure(self, disclosure: Disclosure) -> None:
        """Write down what is about to leave; its own time is put in."""
        with self._transaction() as connection:
            connection.execute(
                _DISCLOSURES.insert().values(
                    at=self._now(),
                    kind=disclosure.kind,
                    run=disclosure.run,
                    round=disclosure.round,
                    attempt=disclosure.attempt,
                    bytes=disclosure.size,
                    sha256=disclosure.sha256,
                )
            )

    def disclosures(self) -> tuple[Disclosure, ...]:
        """All that left, oldest first."""
        with self._transaction() as connection:
            rows = connection.execute(sa.select(_DISCLOSURES).order_by(_DISCLOSURES.c.number))
            return tuple(
                Disclosure(
                    kind=row["kind"],
                    size=row["bytes"],
                    sha256=Digest(row["sha256"]),
                    run=row["run"],
                    round=row["round"],
                    attempt=row["attempt"],
                    at=row["at"],
                )
                for row in rows.mappings()
            )

    # --- models and votes ---------------------------------------------------------------------

    def keep_model(self, version: Digest, document: bytes) -> None:
        """Keep a document that was checked against its version."""
        with self._transaction() as connection:
            connection.execute(_MODELS.delete().where(_MODELS.c.version == version))
            connection.execute(
                _MODELS.insert().values(version=version, document=document, at=self._now())
            )

    def model(self, version: Digest) -> bytes | None:
        """The document of that version, if it was kept."""
        with self._transaction() as connection:
            query = sa.select(_MODELS.c.document).where(_MODELS.c.version == version)
            found: bytes | None = connection.scalar(query)
        return found

    def next_vote(self, version: Digest) -> int:
        """The number of the next vote: the clock, but above the last vote's (12.5)."""
        with self._transaction() as connection:
            query = sa.select(_VOTES.c.number).where(_VOTES.c.version == version)
            last = connection.scalar(query)
        return self._now() if last is None else max(self._now(), int(last) + 1)

    def add_vote(self, vote: Vote) -> None:
        """Note this node's vote; a later one replaces it."""
        with self._transaction() as connection:
            connection.execute(_VOTES.delete().where(_VOTES.c.version == vote.version))
            connection.execute(
                _VOTES.insert().values(
                    version=vote.version,
                    accept=vote.accept,
                    reason=vote.reason,
                    number=vote.number,
                    at=self._now(),
                )
            )

    def votes(self) -> tuple[CastVote, ...]:
        """This node's votes, oldest first."""
        with self._transaction() as connection:
            rows = connection.execute(sa.select(_VOTES).order_by(_VOTES.c.at)).mappings()
            return tuple(
                CastVote(
                    version=Digest(row["version"]),
                    accept=row["accept"],
                    reason=row["reason"],
                    at=row["at"],
                )
                for row in rows
            )


def _attempt(request: SumRequest) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        _JOINS.c.run == request.run,
        _JOINS.c.round == request.round,
        _JOINS.c.attempt == request.attempt,
        _JOINS.c.kind == request.kind.value,
    )


def _plan(document: bytes) -> TrainingPlan:
    return parse_document(TrainingPlan, document)


def _debit(row: sa.RowMapping) -> Debit:
    return Debit(
        run=row["run"],
        kind=ReleaseKind(row["kind"]),
        round=row["round"],
        attempt=row["attempt"],
        units=row["units"],
    )


def _touch(path: Path) -> None:
    """Create the file for its owner alone: SQLite's side files take over its mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        if path.stat().st_mode & 0o077:
            raise StorageError(f"{path} is open to others; run: chmod 600 {path}")
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error


def _set_pragmas(connection: Any, _record: object) -> None:  # noqa: ANN401 - of the driver
    # The driver's own BEGIN is switched off: ours takes the write lock at once.
    connection.isolation_level = None
    for pragma in (f"busy_timeout={BUSY_MS}", "journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
