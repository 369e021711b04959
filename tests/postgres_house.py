"""A real PostgreSQL server on a Unix socket of its own, for tests of either role."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class PostgresServer:
    """A running server; each database is a fresh one."""

    def __init__(self, home: Path, account: str | None, pg_ctl: Path) -> None:
        self._home = home
        self._account = account
        self._pg_ctl = pg_ctl
        self._count = 0

    def database(self) -> str:
        """Create an empty database and return its name."""
        self._count += 1
        name = f"test_{self._count}"
        self.sql(f"CREATE DATABASE {name}")
        return name

    def url(self, database: str) -> str:
        """SQLAlchemy's URL of a database."""
        user = self._account or ""
        return f"postgresql+psycopg://{user}@/{database}?host={self._home}"

    def libpq(self, database: str = "postgres") -> str:
        """Libpq's connection text of a database."""
        user = f" user={self._account}" if self._account else ""
        return f"host={self._home} dbname={database}{user}"

    def sql(self, text: str, database: str = "postgres") -> None:
        """Run one statement by the server's own client."""
        psql = str(self._pg_ctl.with_name("psql"))
        _run(_as(self._account), psql, self.libpq(database), "-c", text)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-k {self._home} -c listen_addresses="
        self._control("-o", options, "-w", "-l", f"{self._home}/log", "start")

    def restart(self) -> None:
        """Kill the server as a crash would, without a clean shutdown, and start it again."""
        self._control("-m", "immediate", "-w", "stop")
        self.start()

    def stop(self) -> None:
        """Stop it for good."""
        self._control("-m", "fast", "-w", "stop")

    def _control(self, *words: str) -> None:
        data = f"{self._home}/data"
        _run(_as(self._account), str(self._pg_ctl), "-D", data, *words)


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server of its own, or a skip if this machine has none."""
    found = shutil.which("pg_ctl") or next(
        map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))), None
    )
    if found is None:
        pytest.skip("no PostgreSQL server on this machine")
    pg_ctl = Path(found).resolve()
    # Not under pytest's own directory: the server's account may not enter that.
    with tempfile.TemporaryDirectory(
        prefix="riskweave-pg-", ignore_cleanup_errors=True
    ) as home:
        account = _server_account(Path(home))
        initdb = str(pg_ctl.with_name("initdb"))
        _run(_as(account), initdb, "-D", f"{home}/data", "-A", "trust")
        server = PostgresServer(Path(home), account, pg_ctl)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _server_account(home: Path) -> str | None:
    """PostgreSQL does not run as root: then use its own account, where there is one."""
    if home.owner() != "root":
        return None
    try:
        shutil.chown(home, "postgres")
    except LookupError:
        pytest.skip("PostgreSQL does not run as root and has no account here")
    return "postgres"


def _as(account: str | None) -> list[str]:
    return ["runuser", "-u", account, "--"] if account else []


def _run(prefix: list[str], *command: str) -> None:
    subprocess.run(  # noqa: S603 - commands of this file
        [*prefix, *command], check=True, capture_output=True, text=True, cwd="/", timeout=60
    )
