"""A closure from end to end: real processes, real sockets and databases, commands alone.

The story is ``examples.ecosystem.journey``, as a newcomer runs it; here its papers are compared
with what the generator planted. Persons are SYNTHETIC.
"""

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.ecosystem.journey import CLOSES, Journey, travel
from examples.ecosystem.market import consents
from examples.ecosystem.study import PARTNER_NAMES, common_persons
from examples.ecosystem.town import LENDERS, WITHDREW
from rehearsal.processes import RehearsalError

pytestmark = pytest.mark.slow  # four nodes, two key ceremonies and a dozen releases: minutes

PERSONS = 6_000


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    return travel(tmp_path_factory.mktemp("closure") / "town", persons=PERSONS)


def paper(told: Journey, folder: str, pattern: str) -> Mapping[str, Any]:
    (path,) = (told.out / "reports" / folder).glob(pattern)
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
