"""Votes make a version active, the operator only within them, and a rollback leads back."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from consortium.errors import ConfigurationError, ManifestError, OutOfOrderError, SignatureError
from consortium.ids import Digest, PartnerId, RunId, digest_of
from consortium.messages import Vote
from coordinator import registry
from coordinator.storage import Store
from partner_node.acceptance import signed_vote
from tests.gate_house import gate_row
from tests.simulator import Consortium

RUN = RunId("0" * 32)


@pytest.fixture(scope="module")
def consortium() -> Consortium:
    return Consortium()


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = Store(database_url)
    yield store
    store.close()


def _add(store: Store, name: str, *, passed: bool = True) -> Digest:
    version = digest_of(name.encode())
    store.models.add(version, RUN, name.encode(), 1, gate=gate_row(version, passed=passed))
    return version


def _vote(
    consortium: Consortium,
    member: str,
    version: Digest,
    *,
    accept: bool = True,
    number: int = 1,
) -> Vote:
    bare = Vote(
        version=version,
        member=PartnerId(member),
        accept=accept,
        reason="validated",
        number=number,
        signature=b"",
    )
    return signed_vote(
        bare, consortium.manifest.digest, consortium.nodes[PartnerId(member)].key
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
    for number in (1, 2, 3):
        vote = _vote(consortium, "bank_a", version, number=number)
        assert registry.cast_vote(store, consortium.manifest, vote, lambda: 2) == "candidate"


@pytest.mark.parametrize("later", [True, False])
def test_vote_cast_again_after_a_later_one_is_refused(
    consortium: Consortium, store: Store, *, later: bool
) -> None:
    version = _add(store, "a")
    yes = _vote(consortium, "bank_a", version, number=5)
    no = _vote(consortium, "bank_a", version, accept=False, number=5 + later)
    registry.cast_vote(store, consortium.manifest, yes, lambda: 2)
    if later:
        registry.cast_vote(store, consortium.manifest, no, lambda: 2)
    for replayed in (yes, no):
        with pytest.raises(OutOfOrderError, match="voted later"):
            registry.cast_vote(store, consortium.manifest, replayed, lambda: 3)
    assert store.models.votes(version) == (no if later else yes,)


def test_vote_under_another_manifest_or_number_is_not_the_members(
    consortium: Consortium, store: Store
) -> None:
    version = _add(store, "a")
    vote = _vote(consortium, "bank_a", version)
    changed = replace(
        consortium.manifest, policy=replace(consortium.manifest.policy, vote_quorum=1)
    )
    with pytest.raises(SignatureError):
        registry.cast_vote(store, changed, vote, lambda: 2)
    with pytest.raises(SignatureError):
        registry.cast_vote(store, consortium.manifest, replace(vote, number=9), lambda: 2)
    assert store.models.votes(version) == ()


def test_refusing_votes_carry_nothing(consortium: Consortium, store: Store) -> None:
    version = _add(store, "a")
    for name in ("bank_a", "bank_b", "shop_c"):
        vote = _vote(consortium, name, version, accept=False)
        registry.cast_vote(store, consortium.manifest, vote, lambda: 2)
    with pytest.raises(ConfigurationError, match="0 accepting votes of 3"):
        registry.activate(store, consortium.manifest, version, 3)


def test_waiting_for_a_candidate_ends_when_votes_leave_no_quorum(
    consortium: Consortium, store: Store
) -> None:
    version = _add(store, "a")
    registry.check_hope(store, consortium.manifest)
    for name in ("bank_a", "bank_b"):
        registry.check_hope(store, consortium.manifest)  # one no of four still leaves three
        vote = _vote(consortium, name, version, accept=False)
        registry.cast_vote(store, consortium.manifest, vote, lambda: 2)
    with pytest.raises(OutOfOrderError, match=r"by bank_a \(validated\), bank_b .*3 of 4"):
        registry.check_hope(store, consortium.manifest)
    _carry(consortium, store, later := _add(store, "b"))
    assert registry.tally(store, consortium.manifest, later).carried
    registry.check_hope(store, consortium.manifest)


def test_vote_signed_by_another_member_is_refused(consortium: Consortium, store: Store) -> None:
    version = _add(store, "a")
    good = _vote(consortium, "bank_a", version)
    forged = replace(good, member=PartnerId("bank_b"))
    with pytest.raises(SignatureError):
        registry.cast_vote(store, consortium.manifest, forged, lambda: 2)
    assert store.models.votes(version) == ()


def test_vote_of_a_stranger_or_on_nothing_is_refused(
    consortium: Consortium, store: Store
) -> None:
    version = _add(store, "a")
    good = _vote(consortium, "bank_a", version)
    stranger = replace(good, member=PartnerId("zz"))
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


# --- heads ------------------------------------------------------------------------------------


def _add_head(store: Store, name: str, base: Digest) -> Digest:
    version = digest_of(name.encode())
    store.models.add(
        version, RUN, name.encode(), 1, base=base, gate=gate_row(version, passed=True)
    )
    return version


def _in_use(store: Store) -> tuple[str | None, str | None]:
    rows = (store.models.active(), store.models.active_head())
    return tuple(None if row is None else row.document.decode() for row in rows)  # type: ignore[return-value]


def test_head_is_active_together_with_its_base(consortium: Consortium, store: Store) -> None:
    base = _add(store, "a")
    _carry(consortium, store, base)
    head = _add_head(store, "a1", base)
    _carry(consortium, store, head)
    assert _in_use(store) == ("a", "a1")


def test_newer_head_retires_the_older_one_alone(consortium: Consortium, store: Store) -> None:
    base = _add(store, "a")
    _carry(consortium, store, base)
    for name in ("a1", "a2"):
        _carry(consortium, store, _add_head(store, name, base))
    assert _in_use(store) == ("a", "a2")


def test_new_base_retires_the_head(consortium: Consortium, store: Store) -> None:
    first, second = _add(store, "a"), _add(store, "b")
    _carry(consortium, store, first)
    _carry(consortium, store, _add_head(store, "a1", first))
    _carry(consortium, store, second)
    assert _in_use(store) == ("b", None)


def test_head_of_a_model_that_is_not_active_waits(consortium: Consortium, store: Store) -> None:
    first, second = _add(store, "a"), _add(store, "b")
    head = _add_head(store, "b1", second)
    _carry(consortium, store, first)
    _carry(consortium, store, head)
    assert _in_use(store) == ("a", None)
    with pytest.raises(ConfigurationError, match="base model first"):
        registry.activate(store, consortium.manifest, head, 3)
    _carry(consortium, store, second)
    registry.activate(store, consortium.manifest, head, 4)
    assert _in_use(store) == ("b", "b1")


def test_rollback_goes_from_head_to_base_and_on_to_the_earlier_pair(
    consortium: Consortium, store: Store
) -> None:
    first, second = _add(store, "a"), _add(store, "b")
    _carry(consortium, store, first)
    _carry(consortium, store, _add_head(store, "a1", first))
    _carry(consortium, store, second)
    _carry(consortium, store, _add_head(store, "b1", second))
    seen = []
    for _ in range(3):
        registry.rollback(store, 9)
        seen.append(_in_use(store))
    assert seen == [("b", None), ("a", "a1"), ("a", None)]
    with pytest.raises(ConfigurationError, match="no earlier version"):
        registry.rollback(store, 9)


# --- the release gate -------------------------------------------------------------------------


def test_version_that_its_gate_refuses_cannot_be_voted_in_or_activated(
    consortium: Consortium, store: Store
) -> None:
    version = _add(store, "a", passed=False)
    with pytest.raises(OutOfOrderError, match=r"gate refuses it: calibration\.slope"):
        registry.cast_vote(
            store, consortium.manifest, _vote(consortium, "bank_a", version), lambda: 2
        )
    no = _vote(consortium, "bank_a", version, accept=False)
    assert registry.cast_vote(store, consortium.manifest, no, lambda: 2) == "candidate"
    with pytest.raises(ConfigurationError, match="gate refuses it"):
        registry.activate(store, consortium.manifest, version, 3)


def test_version_without_a_gate_cannot_be_voted_in_or_activated(
    consortium: Consortium, store: Store
) -> None:
    version = digest_of(b"a")
    store.models.add(version, RUN, b"a", 1)
    with pytest.raises(OutOfOrderError, match="no release gate"):
        registry.cast_vote(
            store, consortium.manifest, _vote(consortium, "bank_a", version), lambda: 2
        )
    with pytest.raises(ConfigurationError, match="no release gate"):
        registry.activate(store, consortium.manifest, version, 3)


def test_newest_gate_counts(consortium: Consortium, store: Store) -> None:
    version = _add(store, "a", passed=False)
    store.models.add_gate(gate_row(version, passed=True), 2)
    _carry(consortium, store, version)
    active = store.models.active()
    assert active is not None
    assert active.version == version


def test_refusal_for_unstable_reasons_stops_what_the_quorum_accepts(
    consortium: Consortium, store: Store
) -> None:
    version = _add(store, "a")
    bare = replace(
        _vote(consortium, "shop_d", version, accept=False), reason="unstable_reasons"
    )
    against = signed_vote(
        bare, consortium.manifest.digest, consortium.nodes[PartnerId("shop_d")].key
    )
    registry.cast_vote(store, consortium.manifest, against, lambda: 2)
    _carry(consortium, store, version)
    assert store.models.active() is None
    with pytest.raises(ConfigurationError, match="unstable reasons"):
        registry.activate(store, consortium.manifest, version, 3)
