"""A fresh federation for each test, see ``tests.node_house``; and one of real processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal.federation import COORDINATOR
from tests.integration import federation as processes
from tests.node_house import Federation, Loop


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    found = Loop()
    yield found
    found.close()


@pytest.fixture
def federation(tmp_path: Path, loop: Loop) -> Federation:
    return Federation(tmp_path, loop)


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[processes.Federation]:
    """Five processes for all tests that break one of them; each leaves it as it was."""
    directory = tmp_path_factory.mktemp("f")
    file = processes.write_rehearsal(directory)
    disks = ("shop_d", COORDINATOR)
    with processes.Federation.running(directory, file, disks=disks) as found:
        yield found
