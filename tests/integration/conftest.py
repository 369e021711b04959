"""A fresh federation for each test; see ``tests.node_house``."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node_house import Federation, Loop


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    found = Loop()
    yield found
    found.close()


@pytest.fixture
def federation(tmp_path: Path, loop: Loop) -> Federation:
    return Federation(tmp_path, loop)
