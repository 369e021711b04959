"""Votes make a version active, the operator only within them, and a rollback leads back."""

from pathlib import Path

import pytest

from consortium.canonical import Label
from consortium.crypto.keys import IdentityKey
from consortium.crypto.statements import vote_statement
from consortium.errors import ConfigurationError, ManifestError, OutOfOrderError, SignatureError
from consortium.ids import Digest, PartnerId, RunId, digest_of
from consortium.messages import Vote
from coordinator import registry
from coordinator.storage import Store
from tests.simulator import Consortium

RUN = RunId("0" * 32)


@pytest.fixture(scope="module")
def consortium() -> Consortium:
    return Consortium()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"sqlite:///{tmp_path / 'registry.db'}")


def _add(store: Store, name: str) -> Digest:
    version = digest_of(name.encode())
    store.add_model(version, RUN, name.encode(), 1)
    return version


def _vote(consortium: Consortium, member: str, version: Digest, *, accept: bool = True) -> Vote:
    bare = Vote(
        version=version,
        member=PartnerId(member),
        accept=accept,
        reason="validated",
        signature=b"",
    )
    key: IdentityKey = consortium.nodes[PartnerId(member)].key
    signature = key.sign(Label.VOTE, vote_statement(bare))
    return Vote(
        version=version,
        member=PartnerId(member),
        accept=accept,
        reason="validated",
        signature=signature,
    )


def _carry(consortium: Consortium, store: Store, version: Digest) -> None:
    for member in ("bank_a", "bank_b", "shop_c"):
        registry.cast_vote(
            store, consortium.manifest, _vote(consortium, member, version), lambda: 2
        )


def test_version_becomes_active_with_the_vote_that_reaches_the_quorum(
    consortium: Consortium, store: Store
) -> None:
    version = _add(store, "a")
    seen = [
        registry.cast_vote(
            store, consortium.manifest, _vote(consortium, name, version), lambda: 2
        )
        for name in ("bank_a", "bank_b", "shop_c", "shop_d")
    ]
    assert seen == ["candidate", "candidate", "active", "active"]


def test_vote_counted_once_however_often_it_is_cast(
    consortium: Consortium, store: Store
) -> None:
    version = _add(store, "a")
    vote = _vote(consortium, "bank_a", version)
    for _ in range(3):
        assert registry.cast_vote(store, consortium.manifest, vote, lambda: 2) == "candidate"


def test_refusing_votes_carry_nothing(consortium: Consortium, store: Store) -> None:
    version = _add(store, "a")
    for name in ("bank_a", "bank_b", "shop_c"):
        vote = _vote(consortium, name, version, accept=False)
        registry.cast_vote(store, consortium.manifest, vote, lambda: 2)
    with pytest.raises(ConfigurationError, match="0 accepting votes of 3"):
        registry.activate(store, consortium.manifest, version, 3)


def test_vote_signed_by_another_member_is_refused(consortium: Consortium, store: Store) -> None:
    version = _add(store, "a")
    good = _vote(consortium, "bank_a", version)
    forged = Vote(
        version=version,
        member=PartnerId("bank_b"),
        accept=True,
        reason="validated",
        signature=good.signature,
    )
    with pytest.raises(SignatureError):
        registry.cast_vote(store, consortium.manifest, forged, lambda: 2)
    assert store.votes(version) == ()


def test_vote_of_a_stranger_or_on_nothing_is_refused(
    consortium: Consortium, store: Store
) -> None:
    version = _add(store, "a")
    good = _vote(consortium, "bank_a", version)
    stranger = Vote(
        version=version,
        member=PartnerId("zz"),
        accept=True,
        reason="validated",
        signature=good.signature,
    )
    with pytest.raises(ManifestError):
        registry.cast_vote(store, consortium.manifest, stranger, lambda: 2)
    nothing = _vote(consortium, "bank_a", digest_of(b"no such model"))
    with pytest.raises(OutOfOrderError):
        registry.cast_vote(store, consortium.manifest, nothing, lambda: 2)


def test_rollback_goes_back_step_by_step_and_never_to_what_was_left(
    consortium: Consortium, store: Store
) -> None:
    versions = [_add(store, name) for name in "abc"]
    for version in versions:
        _carry(consortium, store, version)
    assert registry.rollback(store, 9).version == versions[1]
    assert registry.rollback(store, 9).version == versions[0]
    with pytest.raises(ConfigurationError, match="no earlier version"):
        registry.rollback(store, 9)


def test_vote_on_a_retired_version_is_refused(consortium: Consortium, store: Store) -> None:
    first, second = _add(store, "a"), _add(store, "b")
    _carry(consortium, store, first)
    _carry(consortium, store, second)
    with pytest.raises(OutOfOrderError, match="retired"):
        registry.cast_vote(
            store, consortium.manifest, _vote(consortium, "shop_d", first), lambda: 2
        )


def test_prefix_that_names_several_versions_is_refused(store: Store) -> None:
    _add(store, "a")
    _add(store, "b")
    with pytest.raises(ConfigurationError, match="2 models begin with ''"):
        registry.find(store, "")
