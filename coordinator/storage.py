"""The coordinator's database: members, manifests, runs, models and votes.

SQLAlchemy Core on any URL; SQLite by default, durable at each commit. Every public method is
one transaction. Rules stand elsewhere: here a row is written or read, nothing is decided,
save that what must happen once (a token, a manifest, a model) is made sure of by its key.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from consortium.errors import StorageError
from consortium.ids import Digest, PartnerId, RunId
from consortium.ledger.merkle import leaf_hash
from consortium.manifest import Member, Role
from consortium.messages import ManifestBundle, Signed, Vote
from coordinator.leadership import Fence, depose, hold_schema
from coordinator.schema import HISTORY, META, create_all
from upkeep import migrations

BUSY_MS = 10_000
_VERSION = "SELECT version FROM schema_version"

_MEMBERS = sa.Table(
    "members",
    META,
    sa.Column("partner", sa.String(32), primary_key=True),
    sa.Column("member_index", sa.Integer, nullable=False, unique=True),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("identity", sa.String(64), nullable=False),
    sa.Column("agreement", sa.String(64), nullable=False),
    sa.Column("witness", sa.String(64), nullable=False),
    sa.Column("tls_spki", sa.String(64), nullable=False),
    sa.Column("families", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
_TOKENS = sa.Table(
    "tokens",
    META,
    sa.Column("secret_sha256", sa.String(64), primary_key=True),
    sa.Column("partner", sa.String(32), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("families", sa.Text, nullable=False),
    sa.Column("expires", sa.BigInteger, nullable=False),
    sa.Column("used_at", sa.BigInteger),
)
_MANIFESTS = sa.Table(
    "manifests",
    META,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("schema", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
_SIGNATURES = sa.Table(
    "manifest_signatures",
    META,
    sa.Column("digest", sa.String(64), sa.ForeignKey("manifests.digest"), primary_key=True),
    sa.Column("member", sa.String(32), primary_key=True),
    sa.Column("signature", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
_RUNS = sa.Table(
    "runs",
    META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run", sa.String(32), nullable=False, unique=True),
    sa.Column("plan", sa.LargeBinary, nullable=False),
    sa.Column("plan_digest", sa.String(64), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
_CHECKPOINTS = sa.Table(
    "checkpoints",
    META,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("stage", sa.String(16), nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
)
_SUMS = sa.Table(
    "sums",
    META,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("request", sa.LargeBinary, nullable=False),
    sa.Column("joined", sa.String(64), nullable=False),
    sa.Column("total", sa.LargeBinary, nullable=False),
)
_WORDS = sa.Table(
    "upload_words",
    META,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("joined", sa.String(64), nullable=False),
    sa.Column("words", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
_EVENTS = sa.Table(
    "run_events",
    META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run", sa.String(32), nullable=False, index=True),
    sa.Column("document", sa.Text, nullable=False),
)
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
_LOG = sa.Table(
    "log_entries",
    META,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.Column("leaf", sa.LargeBinary, nullable=False, index=True),
)
_LOG_HEADS = sa.Table(
    "log_heads",
    META,
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("note", sa.LargeBinary, nullable=False),
)
_TLS_KEYS = sa.Table(
    "tls_keys",
    META,
    sa.Column("spki", sa.String(64), primary_key=True),
    sa.Column("partner", sa.String(32), nullable=False, index=True),
    sa.Column("identity", sa.String(64), nullable=False),
    sa.Column("until", sa.BigInteger, nullable=False),
)
"""TLS keys that an identity key has signed for in a renewal; until 0: the newest one."""
REVOCATIONS = sa.Table(
    "revocations",
    META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("member", sa.String(32), nullable=False),
    sa.Column("identity", sa.String(64), nullable=False, index=True),
    sa.Column("actor", sa.String(32), nullable=False),
    sa.Column("reason", sa.String(16), nullable=False),
    sa.Column("effective", sa.Boolean, nullable=False),
    sa.Column("public_keys", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
"""Voices about identities; ``effective``: with this one it was revoked."""
_REVOKED = sa.select(REVOCATIONS.c.identity).where(REVOCATIONS.c.effective)
_OUT = (
    sa.select(_MEMBERS.c.partner).where(_MEMBERS.c.identity.in_(_REVOKED)).order_by("partner")
)
# Statements of every attempt, made once.
_NEW_LOG, _NEW_LOG_HEAD = _LOG.insert(), _LOG_HEADS.insert()
_NEWEST_HEAD = sa.select(_LOG_HEADS).order_by(_LOG_HEADS.c.size.desc()).limit(1)
_NOTE_OF = sa.select(_LOG_HEADS.c.note).where(_LOG_HEADS.c.size == sa.bindparam("of"))
_NEW_NOTE = (
    _LOG_HEADS.update()
    .where(_LOG_HEADS.c.size == sa.bindparam("of"))
    .values(note=sa.bindparam("made"))
)
_PORTION = (
    sa.select(_LOG.c.data)
    .where(_LOG.c.number >= sa.bindparam("first"), _LOG.c.number < sa.bindparam("until"))
    .order_by(_LOG.c.number)
)
_LOG_LAST = sa.select(sa.func.max(_LOG.c.number))
_LOG_LEAVES = (
    sa.select(_LOG.c.leaf)
    .where(_LOG.c.number >= sa.bindparam("since"), _LOG.c.number < sa.bindparam("until"))
    .order_by(_LOG.c.number)
)
_LOG_LOCK = 0x7269736B
"""Key of the lock under which a server's database appends: one writer at a time."""


class Sealer(Protocol):
    """Admits entries and signs the head of the log (``coordinator.audit_log``)."""

    def admit(self, entries: Sequence[bytes], out: Sequence[PartnerId]) -> None:
        """Raise RevokedError for an entry of one of ``out``, whose identities are revoked."""

    def seal(
        self, start: int, added: Sequence[bytes], leaves: Callable[[int], Sequence[bytes]]
    ) -> bytes:
        """The signed head once the leaves ``added`` stand from index ``start`` on.

        ``leaves(n)`` reads the leaf hashes from index n up to ``start``. What was sealed
        before may have been rolled back, and others may have appended since.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """What is kept of a join token: never its secret."""

    secret_sha256: Digest
    partner: PartnerId
    role: Role
    families: tuple[str, ...]
    expires: int
    used_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One run; ``plan`` holds the canonical bytes of its plan."""

    run: RunId
    plan: bytes
    plan_digest: Digest
    status: str
    """running, finished or failed."""
    detail: str
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRow:
    """Where a run stands; ``payload`` is the trainer's own."""

    run: RunId
    stage: str
    round: int
    attempts: int
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SumRow:
    """One published sum: the request, rctx, and the total as little-endian int64."""

    run: RunId
    number: int
    request: bytes
    joined: str
    total: bytes


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


class Store:
    """The database behind one URL; safe to use from any thread.

    Every method raises StorageError: disk full, locked for too long, not reachable.
    """

    def __init__(self, url: str) -> None:
        """Open the database and create its tables if they are missing.

        Raises:
            StorageError: not reachable, or written by another version of this program.
        """
        try:
            self._engine = sa.create_engine(
                url, pool_pre_ping=not url.startswith("sqlite"), hide_parameters=True
            )
        except (SQLAlchemyError, ImportError) as error:
            raise StorageError(f"storage url: {error}") from error
        self._sealer: Sealer | None = None
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _set_pragmas)
            sa.event.listen(self._engine, "begin", _begin)
        self._readers = self._engine.execution_options(reading=True)
        self._fence: Fence | None = None
        with self._kept_before():
            self._bring_up()

    def _bring_up(self) -> None:
        name = f"database {self._engine.url.database}"
        with self.transaction() as connection:
            hold_schema(connection)
            changes = migrations.bring_up(
                lambda statement: _rows(connection.exec_driver_sql(statement)),
                HISTORY,
                name,
                lambda: create_all(connection),
            )
            if changes:
                # A leader of the version before must not go on among tables of this one.
                depose(connection)

    def _kept_before(self) -> AbstractContextManager[None]:
        path = self._engine.url.database
        if self._engine.dialect.name != "sqlite" or not path or path == ":memory:":
            return nullcontext()
        return migrations.copied(Path(path), HISTORY)

    def lead(self, fence: Fence) -> None:
        """From now on every transaction makes sure that this process still leads."""
        self._fence = fence

    def version(self) -> int:
        """The version of the tables."""
        with self.transaction() as connection:
            return int(connection.exec_driver_sql(_VERSION).scalar_one())

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """One transaction, for the other storage files.

        Raises:
            StorageError: not reachable, full, locked for too long.
            DeposedError: another replica leads since; nothing is written.
        """
        with self._of(self._engine) as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """One transaction that only reads: it sees one moment and waits for no writer.

        Raises as ``transaction`` does. Fifty witnesses ask several times a second, and a reader
        that took SQLite's one lock of writers would make the trainer wait for all of them.
        """
        with self._of(self._readers) as connection:
            yield connection

    @contextmanager
    def _of(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        try:
            with engine.begin() as connection:
                if self._fence is not None:
                    self._fence.check(connection)
                yield connection
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise StorageError(f"database: {cause}") from error

    def _write(
        self,
        table: sa.Table,
        row: Mapping[str, object],
        *,
        replacing: Sequence[str] = (),
        entries: Sequence[bytes] = (),
    ) -> None:
        """Insert the row, in place of one with equal columns ``replacing``, and its entries."""
        with self.transaction() as connection:
            self._append(connection, entries)
            if replacing:
                same = [table.c[name] == row[name] for name in replacing]
                connection.execute(table.delete().where(*same))
            connection.execute(table.insert().values(**row))

    def _all(self, query: sa.Select[Any]) -> list[sa.RowMapping]:
        with self.reading() as connection:
            return list(connection.execute(query).mappings())

    def _one(self, query: sa.Select[Any]) -> sa.RowMapping | None:
        with self.reading() as connection:
            return connection.execute(query.limit(1)).mappings().first()

    # --- the log (protocol 8) -----------------------------------------------------------------

    def log_with(self, sealer: Sealer) -> None:
        """From now on every addition to the log ends with a signed head."""
        self._sealer = sealer

    def append(self, entries: Sequence[bytes]) -> None:
        """Append entries that no event of this database goes with, all or nothing."""
        if entries:
            with self.transaction() as connection:
                self._append(connection, entries)

    def append_new(self, entries: Sequence[bytes]) -> None:
        """Append those that the log does not have, each once, whoever else appends them now."""
        if entries:
            with self.transaction() as connection:
                self.hold_log(connection)
                self._append(connection, self._not_logged(connection, entries))

    def append_within(self, connection: sa.Connection, entries: Sequence[bytes]) -> None:
        """Append in a transaction of another part of this database (``scoring_storage``)."""
        self._append(connection, entries)

    def _append(self, connection: sa.Connection, entries: Sequence[bytes]) -> None:
        """Append within a transaction: the event and its entries are one commit."""
        if not entries:
            return
        self.hold_log(connection)
        if self._sealer is not None and (out := self._out(connection)):
            self._sealer.admit(entries, out)
        last = connection.scalar(_LOG_LAST)
        start = 0 if last is None else int(last) + 1
        added = [leaf_hash(data) for data in entries]
        connection.execute(
            _NEW_LOG,
            [
                {"number": number, "data": data, "leaf": leaf}
                for number, (data, leaf) in enumerate(
                    zip(entries, added, strict=True), start=start
                )
            ],
        )
        if self._sealer is not None:
            note = self._sealer.seal(
                start, added, lambda since: self._leaves(connection, since, start)
            )
            head = {"size": start + len(entries), "note": note}
            connection.execute(_NEW_LOG_HEAD, head)

    @staticmethod
    def hold_log(connection: sa.Connection) -> None:
        """Nobody else appends until this transaction ends; SQLite has one writer anyway."""
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOG_LOCK)))

    @staticmethod
    def _leaves(connection: sa.Connection, since: int, until: int) -> Sequence[bytes]:
        return list(connection.scalars(_LOG_LEAVES, {"since": since, "until": until}))

    def log_entries(self) -> tuple[bytes, ...]:
        """The log, oldest entry first."""
        return tuple(
            row["data"] for row in self._all(sa.select(_LOG.c.data).order_by(_LOG.c.number))
        )

    def log_heads(self, *, last: int | None = None) -> tuple[tuple[int, bytes], ...]:
        """Size and note of the ``last`` signed heads, or of all, the smallest first."""
        query = _NEWEST_HEAD if last == 1 else _NEWEST_HEAD.limit(last)
        rows = self._all(query)[::-1]
        return tuple((row["size"], bytes(row["note"])) for row in rows)

    def log_portion(self, first: int, until: int) -> tuple[bytes, ...]:
        """Entries from index ``first`` up to ``until``."""
        with self.reading() as connection:
            return self.log_within(connection, first, until)

    @staticmethod
    def log_within(connection: sa.Connection, first: int, until: int) -> tuple[bytes, ...]:
        """The same in a transaction of another part of this database."""
        found = connection.scalars(_PORTION, {"first": first, "until": until})
        return tuple(bytes(data) for data in found)

    def log_note(self, size: int) -> bytes | None:
        """The note of the signed head of so many entries, as it stands now."""
        with self.reading() as connection:
            note = connection.scalar(_NOTE_OF, {"of": size})
        return None if note is None else bytes(note)

    def log_head(self, *, above: int, most: int) -> tuple[int, bytes] | None:
        """The largest signed head of ``above`` + 1 to ``most`` entries, or the next above."""
        size = _LOG_HEADS.c.size
        row = self._one(
            sa.select(_LOG_HEADS).where(size > above, size <= most).order_by(size.desc())
        ) or self._one(sa.select(_LOG_HEADS).where(size > above).order_by(size))
        return None if row is None else (row["size"], bytes(row["note"]))

    def log_leaves(self) -> Sequence[bytes]:
        """All leaf hashes."""
        with self.reading() as connection:
            last = connection.scalar(_LOG_LAST)
            return self._leaves(connection, 0, 0 if last is None else int(last) + 1)

    def change_head(self, size: int, change: Callable[[bytes], bytes]) -> bytes | None:
        """Replace the note of one head by what ``change`` makes of it; None: no such head.

        Whoever changes the same head meanwhile waits, and changes what this one has made: a
        cosignature that was taken is never lost to another one.
        """
        with self.transaction() as connection:
            note = connection.scalar(_NOTE_OF.with_for_update(), {"of": size})
            if note is None:
                return None
            made = change(bytes(note))
            connection.execute(_NEW_NOTE, {"of": size, "made": made})
            return made

    def not_logged(self, entries: Sequence[bytes]) -> tuple[bytes, ...]:
        """Those of ``entries`` that the log does not have, each once."""
        with self.reading() as connection:
            return self._not_logged(connection, entries)

    @staticmethod
    def _not_logged(connection: sa.Connection, entries: Sequence[bytes]) -> tuple[bytes, ...]:
        found = {leaf_hash(data): data for data in entries}
        query = sa.select(_LOG.c.leaf).where(_LOG.c.leaf.in_(list(found)))
        known = {bytes(leaf) for leaf in connection.scalars(query)} if found else set()
        return tuple(data for leaf, data in found.items() if leaf not in known)

    # --- tokens and members -------------------------------------------------------------------

    def add_token(self, token: TokenRow) -> None:
        """Keep a new join token."""
        row = asdict(token) | {"families": json.dumps(token.families)}
        self._write(_TOKENS, row)

    def tokens(self) -> tuple[TokenRow, ...]:
        """All tokens ever issued."""
        return tuple(
            TokenRow(
                secret_sha256=Digest(row["secret_sha256"]),
                partner=PartnerId(row["partner"]),
                role=Role(row["role"]),
                families=tuple(json.loads(row["families"])),
                expires=row["expires"],
                used_at=row["used_at"],
            )
            for row in self._all(sa.select(_TOKENS))
        )

    def redeem(self, secret_sha256: Digest, member: Member, at: int) -> bool:
        """Use up the token and write the member, both or neither.

        The index given with ``member`` is ignored: a member that is known keeps its own, a
        new one gets the next (protocol 0.4). Returns False if the token was used before.
        """
        with self.transaction() as connection:
            self.hold_log(connection)  # two that join at once would get the same index
            used = connection.execute(
                _TOKENS.update()
                .where(_TOKENS.c.secret_sha256 == secret_sha256, _TOKENS.c.used_at.is_(None))
                .values(used_at=at)
            )
            if used.rowcount != 1:
                return False
            index = connection.scalar(
                sa.select(_MEMBERS.c.member_index).where(_MEMBERS.c.partner == member.id)
            )
            if index is None:
                last = connection.scalar(sa.select(sa.func.max(_MEMBERS.c.member_index)))
                index = (last or 0) + 1
            connection.execute(_MEMBERS.delete().where(_MEMBERS.c.partner == member.id))
            connection.execute(_MEMBERS.insert().values(**_member_row(member, index, at)))
            return True

    def members(self) -> tuple[Member, ...]:
        """All enrolled members, in order of enrolment."""
        query = sa.select(_MEMBERS).order_by(_MEMBERS.c.member_index)
        return tuple(_member(row) for row in self._all(query))

    def member(self, partner: PartnerId) -> Member | None:
        """The enrolled member of that id."""
        row = self._one(sa.select(_MEMBERS).where(_MEMBERS.c.partner == partner))
        return None if row is None else _member(row)

    def tls_keys(self, member: Member) -> Mapping[Digest, int]:
        """TLS keys that this identity has signed for, and until when; 0: the newest."""
        mine = (_TLS_KEYS.c.partner == member.id, _TLS_KEYS.c.identity == member.identity)
        rows = self._all(sa.select(_TLS_KEYS).where(*mine))
        return {Digest(row["spki"]): row["until"] for row in rows}

    def renew_tls(self, member: Member, spki: Digest, until: int) -> None:
        """Give a member another TLS key; the one it had is let in until then."""
        both = {member.tls_spki: until, spki: 0}
        with self.transaction() as connection:
            connection.execute(_TLS_KEYS.delete().where(_TLS_KEYS.c.spki.in_(list(both))))
            for key, end in both.items():
                row = {"spki": key, "partner": member.id, "identity": member.identity}
                connection.execute(_TLS_KEYS.insert().values(**row, until=end))
            connection.execute(
                _MEMBERS.update().where(_MEMBERS.c.partner == member.id).values(tls_spki=spki)
            )

    # --- revoked identities (protocol 2.7) ----------------------------------------------------

    def revoked(self) -> frozenset[str]:
        """Identity keys that were revoked, in hex."""
        with self.reading() as connection:
            return frozenset(connection.scalars(_REVOKED))

    def out(self) -> tuple[PartnerId, ...]:
        """Members whose enrolled identity is revoked, sorted."""
        with self.reading() as connection:
            return self._out(connection)

    @staticmethod
    def _out(connection: sa.Connection) -> tuple[PartnerId, ...]:
        return tuple(PartnerId(name) for name in connection.scalars(_OUT))

    def void_tokens(self, connection: sa.Connection, partner: PartnerId, at: int) -> None:
        """Use up what a partner's tokens have left, in a transaction of another part."""
        unused = (_TOKENS.c.partner == partner, _TOKENS.c.used_at.is_(None))
        connection.execute(_TOKENS.update().where(*unused).values(used_at=at))

    # --- manifests ----------------------------------------------------------------------------

    def add_manifest(
        self, digest: Digest, version: int, bundle: ManifestBundle, at: int
    ) -> None:
        """Keep a draft without signatures."""
        row = {"digest": digest, "version": version, "at": at}
        self._write(_MANIFESTS, row | {"body": bundle.body, "schema": bundle.schema})

    def manifests(self) -> tuple[Digest, ...]:
        """Digests of all manifests, newest version first."""
        query = sa.select(_MANIFESTS.c.digest).order_by(
            _MANIFESTS.c.version.desc(), _MANIFESTS.c.at.desc()
        )
        return tuple(Digest(row["digest"]) for row in self._all(query))

    def manifest(self, digest: Digest) -> ManifestBundle | None:
        """The manifest of that digest with the signatures gathered so far."""
        with self.transaction() as connection:
            found = sa.select(_MANIFESTS).where(_MANIFESTS.c.digest == digest)
            row = connection.execute(found).mappings().first()
            if row is None:
                return None
            signed = connection.execute(
                sa.select(_SIGNATURES)
                .where(_SIGNATURES.c.digest == digest)
                .order_by(_SIGNATURES.c.member)
            ).mappings()
            signatures = tuple(
                Signed(
                    digest=digest,
                    member=PartnerId(entry["member"]),
                    signature=entry["signature"],
                )
                for entry in signed
            )
        return ManifestBundle(body=row["body"], signatures=signatures, schema=row["schema"])

    def add_signature(self, signed: Signed, at: int, *, entries: Sequence[bytes] = ()) -> None:
        """Keep one member's signature over a manifest; a second one replaces the first.

        Here as below ``entries`` are appended to the log in the same transaction.
        """
        row = asdict(signed) | {"at": at}
        self._write(_SIGNATURES, row, replacing=("digest", "member"), entries=entries)

    # --- runs ---------------------------------------------------------------------------------

    def add_run(
        self,
        run: RunId,
        plan: bytes,
        plan_digest: Digest,
        at: int,
        *,
        entries: Sequence[bytes] = (),
    ) -> None:
        """Keep a new run with status running."""
        row = RunRow(
            run=run, plan=plan, plan_digest=plan_digest, status="running", detail="", at=at
        )
        self._write(_RUNS, asdict(row), entries=entries)

    def set_run_status(
        self, run: RunId, status: str, detail: str = "", *, entries: Sequence[bytes] = ()
    ) -> None:
        """Note where the run stands: running, finished or failed.

        Where it stands there already, nothing is written or logged: whoever lost the server's
        answer to a commit asks again.
        """
        there = sa.select(_RUNS.c.status).where(_RUNS.c.run == run)
        with self.transaction() as connection:
            if connection.scalar(there) == status:
                return
            self._append(connection, entries)
            connection.execute(
                _RUNS.update().where(_RUNS.c.run == run).values(status=status, detail=detail)
            )

    def run(self, run: RunId) -> RunRow | None:
        """The run of that id."""
        row = self._one(sa.select(_RUNS).where(_RUNS.c.run == run))
        return None if row is None else _run(row)

    def newest_run(self) -> RunRow | None:
        """The run that was started last."""
        row = self._one(sa.select(_RUNS).order_by(_RUNS.c.number.desc()))
        return None if row is None else _run(row)

    def runs(self) -> tuple[RunId, ...]:
        """All runs, oldest first."""
        query = sa.select(_RUNS.c.run).order_by(_RUNS.c.number)
        return tuple(RunId(row["run"]) for row in self._all(query))

    def unfinished_runs(self) -> tuple[RunRow, ...]:
        """Runs that neither finished nor failed, oldest first."""
        query = sa.select(_RUNS).where(_RUNS.c.status == "running").order_by(_RUNS.c.number)
        return tuple(_run(row) for row in self._all(query))

    def save_checkpoint(
        self,
        checkpoint: CheckpointRow,
        closed: SumRow | None = None,
        event: str | None = None,
        *,
        entries: Sequence[bytes] = (),
        words: bytes | None = None,
        at: int = 0,
    ) -> None:
        """Replace the run's checkpoint, keep the sum that it rests on, log; all or nothing.

        ``words`` are those of all uploads of the sum, ``at`` the time from which they count.
        A checkpoint that is there already is not written twice: whoever lost the server's
        answer to a commit asks again.
        """
        same = sa.select(_CHECKPOINTS).where(_CHECKPOINTS.c.run == checkpoint.run)
        with self.transaction() as connection:
            kept = connection.execute(same).mappings().first()
            if kept is not None and CheckpointRow(**kept) == checkpoint:
                return
            self._append(connection, entries)
            if closed is not None:
                connection.execute(_SUMS.insert().values(**asdict(closed)))
                if words is not None:
                    key = {"run": closed.run, "number": closed.number, "joined": closed.joined}
                    connection.execute(_WORDS.insert().values(**key, words=words, at=at))
            if event is not None:
                connection.execute(_EVENTS.insert().values(run=checkpoint.run, document=event))
            connection.execute(
                _CHECKPOINTS.delete().where(_CHECKPOINTS.c.run == checkpoint.run)
            )
            connection.execute(_CHECKPOINTS.insert().values(**asdict(checkpoint)))

    def sums(self, run: RunId) -> tuple[SumRow, ...]:
        """The run's closed sums, in order."""
        query = sa.select(_SUMS).where(_SUMS.c.run == run).order_by(_SUMS.c.number)
        return tuple(SumRow(**row) for row in self._all(query))

    def upload_words(self, run: RunId) -> Iterator[tuple[str, bytes]]:
        """Context and words of each closed sum of a run that were kept, one at a time."""
        query = sa.select(_WORDS.c.number).where(_WORDS.c.run == run).order_by(_WORDS.c.number)
        for row in self._all(query):
            same = (_WORDS.c.run == run, _WORDS.c.number == row["number"])
            found = self._one(sa.select(_WORDS).where(*same))
            if found is not None:
                yield found["joined"], bytes(found["words"])

    def drop_words(self, before: int) -> None:
        """Erase the words of sums that were closed before that time."""
        with self.transaction() as connection:
            connection.execute(_WORDS.delete().where(_WORDS.c.at < before))

    def checkpoint(self, run: RunId) -> CheckpointRow | None:
        """The last checkpoint of the run."""
        row = self._one(sa.select(_CHECKPOINTS).where(_CHECKPOINTS.c.run == run))
        return None if row is None else CheckpointRow(**row)

    def add_event(self, run: RunId, document: str) -> None:
        """Append one JSON text to the run's log."""
        self._write(_EVENTS, {"run": run, "document": document})

    def events(self, run: RunId) -> tuple[str, ...]:
        """The run's log, oldest first."""
        query = sa.select(_EVENTS).where(_EVENTS.c.run == run).order_by(_EVENTS.c.number)
        return tuple(row["document"] for row in self._all(query))

    # --- models -------------------------------------------------------------------------------

    def add_model(  # noqa: PLR0913 - what is stored at once
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
        with self.transaction() as connection:
            known = sa.select(_MODELS.c.version).where(_MODELS.c.version == version)
            if connection.scalar(known) is None:
                self._append(connection, entries)
                connection.execute(_MODELS.insert().values(**asdict(row)))
                if base is not None:
                    connection.execute(_HEADS.insert().values(version=version, base=base))
                if beside:
                    connection.execute(_BESIDE.insert().values(version=version, kind=beside))
                if gate is not None:
                    connection.execute(_GATES.insert().values(**_gate_row(gate), at=at))

    def add_gate(self, gate: GateRow, at: int) -> None:
        """Keep and log another gate of a version that is there."""
        with self.transaction() as connection:
            self._append(connection, [gate.entry])
            connection.execute(_GATES.insert().values(**_gate_row(gate), at=at))

    def gate(self, version: Digest) -> GateRow | None:
        """The newest gate of a version."""
        query = sa.select(_GATES).where(_GATES.c.version == version)
        row = self._one(query.order_by(_GATES.c.number.desc()))
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
        self._write(_AUDITS, row, replacing=("digest",))

    def audits(self) -> Mapping[Digest, bytes]:
        """Empirical audits, oldest first."""
        rows = self._all(sa.select(_AUDITS).order_by(_AUDITS.c.number))
        return {Digest(row["digest"]): row["document"] for row in rows}

    def models(self) -> tuple[ModelRow, ...]:
        """All model versions, newest first."""
        query = sa.select(_MODELS).order_by(_MODELS.c.number.desc())
        return tuple(_model(row) for row in self._all(query))

    def model(self, version: Digest) -> ModelRow | None:
        """The model of that version."""
        row = self._one(sa.select(_MODELS).where(_MODELS.c.version == version))
        return None if row is None else _model(row)

    def active_model(self) -> ModelRow | None:
        """The base model in use."""
        return self._active(
            _MODELS.c.version.not_in(sa.select(_HEADS.c.version))
            & _MODELS.c.version.not_in(sa.select(_BESIDE.c.version))
        )

    def active_head(self) -> ModelRow | None:
        """The head in use with the base model; None: joint scores are not calibrated."""
        return self._active(_MODELS.c.version.in_(sa.select(_HEADS.c.version)))

    def base_of(self, version: Digest) -> Digest | None:
        """The base model of a head; None for a base model."""
        row = self._one(sa.select(_HEADS.c.base).where(_HEADS.c.version == version))
        return None if row is None else Digest(row["base"])

    def beside(self, version: Digest) -> str:
        """The kind of a model that gives no scores; empty for one that does."""
        row = self._one(sa.select(_BESIDE.c.kind).where(_BESIDE.c.version == version))
        return "" if row is None else str(row["kind"])

    def put_beside(self, version: Digest, at: int) -> None:
        """Put a model to use that gives no scores; retires the one of its kind."""
        kind = self.beside(version)
        same = sa.select(_BESIDE.c.version).where(_BESIDE.c.kind == kind)
        with self.transaction() as connection:
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

    def _active(self, kind: sa.ColumnElement[bool]) -> ModelRow | None:
        row = self._one(sa.select(_MODELS).where(_MODELS.c.status == "active", kind))
        return None if row is None else _model(row)

    def set_model_status(
        self, version: Digest, status: str, at: int, *, entries: Sequence[bytes] = ()
    ) -> None:
        """Set candidate, active or retired.

        Activating a base model retires the one that was active and its head; activating a
        head retires another head of the same base, which stays active.
        """
        with self.transaction() as connection:
            self._append(connection, entries)
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
        return tuple(Digest(row["version"]) for row in self._all(query))

    def add_vote(self, vote: Vote, at: int, *, entries: Sequence[bytes] = ()) -> bool:
        """Keep the vote in place of the member's earlier one.

        Returns False, and changes nothing, unless its number is above the earlier one's.
        """
        same = (_VOTES.c.version == vote.version, _VOTES.c.member == vote.member)
        with self.transaction() as connection:
            last = connection.scalar(sa.select(_VOTES.c.number).where(*same))
            if last is not None and vote.number <= last:
                return False
            self._append(connection, entries)
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
            for row in self._all(query)
        )


def _rows(found: sa.CursorResult[Any]) -> Sequence[Sequence[object]]:
    return [tuple(row) for row in found] if found.returns_rows else []


def _gate_row(gate: GateRow) -> dict[str, object]:
    return asdict(gate) | {"audit": gate.audit or ""}


def _set_pragmas(connection: Any, _record: object) -> None:  # noqa: ANN401 - of the driver
    # The driver's own BEGIN is switched off: ours takes the write lock at once, so that two
    # processes wait for each other instead of failing in the middle.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={BUSY_MS}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: sa.Connection) -> None:
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _member(row: sa.RowMapping) -> Member:
    return Member(
        id=PartnerId(row["partner"]),
        index=row["member_index"],
        role=Role(row["role"]),
        identity=row["identity"],
        agreement=row["agreement"],
        witness=row["witness"],
        tls_spki=Digest(row["tls_spki"]),
        families=tuple(json.loads(row["families"])),
    )


def _member_row(member: Member, index: int, at: int) -> dict[str, object]:
    return {
        "partner": member.id,
        "member_index": index,
        "role": member.role.value,
        "identity": member.identity,
        "agreement": member.agreement,
        "witness": member.witness,
        "tls_spki": member.tls_spki,
        "families": json.dumps(member.families),
        "at": at,
    }


def _run(row: sa.RowMapping) -> RunRow:
    return RunRow(**{name: value for name, value in row.items() if name != "number"})


def _model(row: sa.RowMapping) -> ModelRow:
    return ModelRow(**{name: value for name, value in row.items() if name != "number"})
