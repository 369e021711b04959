"""The one seeded generator and the one source of test keys."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from numpy.random import Generator  # noqa: TID251 - the tests' only generator

from consortium.crypto.keys import Secret
from partner_node.ristretto_library import load_ristretto
from tests.postgres_house import PostgresServer, postgres_server

# Before any test module is imported: otherwise each process leaves the library in /tmp.
with tempfile.TemporaryDirectory(prefix="rw-") as _directory:
    load_ristretto(Path(_directory))

# A law holds however long the machine takes over an example.
settings.register_profile("house", deadline=None)
settings.load_profile("house")


@pytest.fixture
def rng() -> Generator:
    """Fresh and equally seeded for each test."""
    return np.random.default_rng(20_260_607)  # noqa: TID251 - the tests' only generator


@pytest.fixture(scope="session")
def secret() -> Callable[[str], Secret]:
    """A factory of 32-byte secrets: the same name gives the same bytes."""

    def make(name: str) -> Secret:
        return Secret(hashlib.sha256(name.encode()).digest())

    return make


@pytest.fixture
def near() -> Iterator[Path]:
    """A directory whose path leaves room for a unix socket's (107 bytes)."""
    with tempfile.TemporaryDirectory(prefix="rw-") as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for all tests of this process; they take a database each."""
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of the coordinator, of every kind that it supports."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'coordinator.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.url(server.database())
