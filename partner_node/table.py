"""ADAPTER DuckDB: one SELECT of the owner's over Parquet, CSV or PostgreSQL, read in batches.

The connection may read files and, if one is named, a PostgreSQL database; it loads nothing
from the network and keeps no state. What DuckDB says about a value stays unsaid, for it may
quote the row; what it says about names, syntax and files is passed on.
"""

import importlib.util
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from consortium.errors import ConfigurationError, DataError

BATCH_ROWS = 1 << 17

_VIEW = "the_partners_table"
_TELLING = (
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.IOException,
    duckdb.ParserException,
)
"""Errors about names, syntax and files: their first line holds no value of a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some of a table's persons: those whose number, modulo ``parts``, is ``number``.

    A person's number is that of the first 8 hex digits of the MD5 of its id as a text: any
    database has it, so an owner can lay out files by it. All rows of a person are in one
    part, rows without a person in part 0.
    """

    number: int
    parts: int
    own_query: bool = False
    """Whether the source's query is of this part alone; else it is of all parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSource:
    """Where the rows are: ``[data]`` of a node's configuration.

    ``query`` is one SELECT. Relative paths in it start at ``directory``. ``person`` and
    ``label`` name its columns. With ``postgres``, a libpq connection text, the database is
    attached read-only as ``pg``; leave passwords to ``~/.pgpass`` or a service file.
    """

    query: str
    person: str
    label: str
    directory: Path = Path()
    memory_limit: str = "1GB"
    threads: int = 2
    postgres: str | None = None
    origin: str = "[data] query"
    """What the texts of errors call this source."""
    part: Part | None = None
    """Which of the rows to read; None: all of them."""


class Table:
    """The rows of one source, as columns of known types."""

    def __init__(self, source: DataSource, connection: duckdb.DuckDBPyConnection) -> None:
        self.source = source
        self._connection = connection
        with _wrapped(source):
            relation = connection.sql(f"SELECT * FROM {_VIEW}")  # noqa: S608 - a constant
            self.types: Mapping[str, str] = {
                name: str(kind).split("(")[0]
                for name, kind in zip(relation.columns, relation.types, strict=True)
            }
            """DuckDB's type of each column, without its parameters, in the query's order."""

    def batches(self, columns: Mapping[str, str]) -> Generator[pa.RecordBatch]:
        """Compute SQL expressions over the rows, in the order of the rows.

        Args:
            columns: From name to expression over the query's columns.

        Raises:
            DataError: A value could not be read or converted; it is not shown.
            ConfigurationError: The memory limit is too low, or a file went away.
        """
        listed = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in columns.items())
        part = self.source.part
        rows = f" WHERE {_number(self.source, part)} = {part.number}" if part else ""
        with _wrapped(self.source):
            relation = self._connection.sql(f"SELECT {listed} FROM {_VIEW}{rows}")  # noqa: S608
            # Closed with this generator: DuckDB runs no other query while a reader is open.
            with relation.to_arrow_reader(BATCH_ROWS) as reader:
                yield from reader


@contextmanager
def open_table(source: DataSource) -> Iterator[Table]:
    """Open the source, check that its query is one SELECT, and close it again.

    Raises:
        ConfigurationError: The query is not one SELECT, does not bind, a file is missing,
            or PostgreSQL is not to be had. Fault: this node's configuration.
        DataError: A part's own query gives a person of another part.
    """
    if not source.directory.is_dir():
        raise ConfigurationError(f"{source.origin}: no directory {source.directory}")
    with _connect(source) as connection, _wrapped(source):
        if source.postgres is not None:
            _attach(connection, source)
        # The user's text stands alone in this statement, so no bracket or comment in it can
        # reach the expressions that are computed over it.
        query = _one_select(connection, source)
        connection.execute("SET enable_progress_bar = false")
        connection.execute("SET lock_configuration = true")
        connection.execute(f"CREATE TEMP VIEW {_VIEW} AS {query}")
        if source.part is not None and source.part.own_query:
            _refuse_strays(connection, source, source.part)
        yield Table(source, connection)


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """An SQL text."""
    return "'" + text.replace("'", "''") + "'"


def _number(source: DataSource, part: Part) -> str:
    """SQL of the part that a row is in."""
    person = f"nullif({quoted(source.person)}::VARCHAR, '')"
    digits = f"('0x' || substr(md5({person}), 1, 8))::UBIGINT"
    return f"coalesce({digits} % {part.parts}, 0)"


def _refuse_strays(
    connection: duckdb.DuckDBPyConnection, source: DataSource, part: Part
) -> None:
    """A person in two parts would count twice: more than the noise is made for."""
    stray = f"{_number(source, part)} <> {part.number}"
    found = connection.sql(f"SELECT 1 FROM {_VIEW} WHERE {stray} LIMIT 1").fetchone()  # noqa: S608
    if found is not None:
        raise DataError(
            f"{source.origin}: for part {part.number} of {part.parts} it gives persons of "
            "another part; their part is that of their id's MD5 (docs/operations.md)"
        )


def _connect(source: DataSource) -> duckdb.DuckDBPyConnection:
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": source.memory_limit,
        "threads": str(source.threads),
        "file_search_path": str(source.directory.resolve()),
        "temp_directory": str(source.directory.resolve() / "duckdb_spill"),
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        # Of two rows of one person the first is kept: "first" has to mean something.
        "preserve_insertion_order": "true",
    }
    try:
        return duckdb.connect(":memory:", config=settings)
    except duckdb.Error as error:
        limits = f"memory_limit {source.memory_limit!r} and threads {source.threads}"
        raise ConfigurationError(f"{source.origin}: DuckDB refuses {limits}") from error


def _one_select(connection: duckdb.DuckDBPyConnection, source: DataSource) -> str:
    statements = connection.extract_statements(source.query)
    kinds = [statement.type.name for statement in statements]
    if kinds != ["SELECT"]:
        seen = " then ".join(kinds) or "nothing"
        raise ConfigurationError(f"{source.origin}: expected one SELECT, seen {seen}")
    return str(statements[0].query)


def _attach(connection: duckdb.DuckDBPyConnection, source: DataSource) -> None:
    """Attach PostgreSQL as ``pg`` through an extension that is installed already."""
    try:
        connection.execute(f"LOAD {_postgres_extension()}")
    except duckdb.Error as error:
        raise ConfigurationError(
            f"{source.origin}: PostgreSQL needs DuckDB's postgres_scanner extension for DuckDB "
            f'{duckdb.__version__}, which is not installed: pip install "riskweave[postgres]"'
        ) from error
    try:
        connection.execute(
            f"ATTACH {literal(source.postgres or '')} AS pg (TYPE postgres, READ_ONLY)"
        )
    except duckdb.Error:
        # The cause is dropped: it repeats the connection text, password included.
        raise ConfigurationError(
            f"{source.origin}: PostgreSQL refused the connection, or is not reachable"
        ) from None


def _postgres_extension() -> str:
    """The extension inside its wheel, which is found but not imported; else by name.

    DuckDB verifies the signature of the file before it loads it.
    """
    spec = importlib.util.find_spec("duckdb_extension_postgres_scanner")
    if spec is None or spec.origin is None:
        return "postgres_scanner"
    folder = Path(spec.origin).parent / "extensions" / f"v{duckdb.__version__}"
    return literal(str(folder / "postgres_scanner.duckdb_extension"))


@contextmanager
def _wrapped(source: DataSource) -> Iterator[None]:
    try:
        yield
    except _TELLING as error:
        line = str(error).splitlines()[0]
        raise ConfigurationError(f"{source.origin}: {line}") from None
    except duckdb.OutOfMemoryException:
        raise ConfigurationError(
            f"{source.origin}: does not fit into memory_limit {source.memory_limit}; "
            "raise it, or leave sorting and grouping out of the query"
        ) from None
    except duckdb.Error as error:
        kind = type(error).__name__
        raise DataError(
            f"{source.origin}: DuckDB stopped with {kind}: a file or a value in it is not of "
            "the form that the query expects; the value is not shown here"
        ) from None
