"""A version that nobody will serve ends a rehearsal at once, and it says why."""

from pathlib import Path

import pytest

from consortium.ids import Digest, RunId, digest_of
from coordinator.storage import Store
from rehearsal.heads import check_in_use
from rehearsal.processes import RehearsalError
from tests.gate_house import gate_row

GATE = (
    r"head [0-9a-f]{12} is not served: its release gate refuses it: "
    r"calibration\.slope of banks: 0\.5000, allowed 0\.8000 to 1\.2000: FAILED"
)


def candidate(store: Store, *, passed: bool) -> Digest:
    version = digest_of(b"a")
    row = gate_row(version, passed=passed)
    store.models.add(version, RunId("0" * 32), b"a", 1, gate=row)
    return version


@pytest.mark.parametrize(
    ("passed", "votes", "told"),
    [
        (False, {"bank_a": False}, GATE),
        (True, {"bank_a": True, "bank_b": False}, "is not served: refused by bank_b"),
        (True, {"bank_a": True, "bank_b": None}, "is not served: too few votes"),
    ],
)
def test_version_that_is_not_in_use_after_the_votes_is_told_with_the_reasons(
    tmp_path: Path, *, passed: bool, votes: dict[str, bool | None], told: str
) -> None:
    store = Store(f"sqlite:///{tmp_path / 'registry.db'}")
    version = candidate(store, passed=passed)
    with pytest.raises(RehearsalError, match=told):
        check_in_use(store, version, votes, what="head")
    store.models.set_status(version, "active", 2)
    check_in_use(store, version, votes, what="head")
    store.close()
