"""The one seeded generator and the one source of test keys."""

import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import Generator  # noqa: TID251 - the tests' only generator

from consortium.crypto.keys import Secret


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
