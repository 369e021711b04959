"""What a test of reasons came to is kept for the vote, and never for other premises."""

from pathlib import Path

import pytest

from consortium.ids import RunId, digest_of
from partner_node.records import KeptStability
from partner_node.storage import NodeStore

VERSION, SAME, OTHER = digest_of(b"version"), digest_of(b"premises"), digest_of(b"others")
KEPT = KeptStability(
    version=VERSION, run=RunId("ab" * 16), premises=SAME, agreement=0.9, changes=None
)


@pytest.fixture
def store(tmp_path: Path) -> NodeStore:
    return NodeStore(tmp_path / "node.db", now=lambda: 7)


def test_same_version_and_premises_give_what_was_kept(store: NodeStore) -> None:
    assert store.versions.stability(VERSION, SAME) is None
    store.versions.keep_stability(KEPT)
    assert store.versions.stability(VERSION, SAME) == KEPT


def test_other_rows_policy_or_code_give_nothing(store: NodeStore) -> None:
    store.versions.keep_stability(KEPT)
    assert store.versions.stability(VERSION, OTHER) is None
    assert store.versions.stability(OTHER, SAME) is None


def test_a_later_test_of_the_version_replaces_the_earlier_one(store: NodeStore) -> None:
    store.versions.keep_stability(KEPT)
    store.versions.keep_stability(
        KeptStability(
            version=VERSION, run=KEPT.run, premises=OTHER, agreement=None, changes=0.1
        )
    )
    assert store.versions.stability(VERSION, SAME) is None
    assert store.versions.stability(VERSION, OTHER) is not None
