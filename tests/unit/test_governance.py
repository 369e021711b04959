"""Contribution, charter, onboarding and exit: what follows from signed facts."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import Generator  # noqa: TID251 - the tests' only generator

from consortium.credit.contribution import (
    Measured,
    Moments,
    Worth,
    gain_of,
    settlement,
    statement_of,
    worst_of,
    worth_of,
)
from consortium.credit.governance import (
    Charter,
    Clause,
    Members,
    Milestone,
    Trained,
    exits,
    lacking,
    onboarding,
)
from consortium.credit.intervals import Figure
from consortium.documents import document_of, parse_document
from consortium.errors import DomainError, ShapeError
from consortium.ids import Digest, PartnerId
from models.contribution import BOUND, auc_change, differences, losses, moments

A, B, C, D = (PartnerId(f"bank_{x}") for x in "abcd")
NEW, OLD = Digest("11" * 32), Digest("22" * 32)

# --- contribution -----------------------------------------------------------------------------


def rows(rng: Generator, count: int = 4_000) -> tuple[np.ndarray, np.ndarray]:
    eta = rng.normal(-1.5, 1.0, count)
    return eta, (rng.random(count) < 1 / (1 + np.exp(-eta))).astype(np.uint8)


def test_log_loss_is_minus_the_log_of_what_was_said_of_the_outcome(rng: Generator) -> None:
    eta, labels = rows(rng)
    said = np.where(labels == 1, 1 / (1 + np.exp(-eta)), 1 / (1 + np.exp(eta)))
    assert losses(eta, labels) == pytest.approx(-np.log(said), abs=1e-12)
    assert losses(np.array([800.0]), np.zeros(1, dtype=np.uint8))[0] == 800.0


def test_flipped_labels_are_seen_by_log_loss_and_not_by_auc(rng: Generator) -> None:
    """A poisoned partner's model is shrunk to the mean: ranks stay, odds do not."""
    eta, labels = rows(rng)
    poisoned = 0.4 * eta + 0.5
    assert auc_change(eta, poisoned, labels) == pytest.approx(0.0, abs=1e-12)
    gain = gain_of(moments(eta, poisoned, labels))
    assert gain is not None
    assert worth_of(gain) is Worth.HARMS
    back = gain_of(moments(poisoned, eta, labels))
    assert back is not None
    assert back.value == pytest.approx(-gain.value)
    assert worth_of(back) is Worth.HELPS


def test_interval_of_a_gain_is_paired_and_widens_with_noise(rng: Generator) -> None:
    eta, labels = rows(rng)
    found = moments(eta + rng.normal(0, 0.05, eta.size), eta, labels)
    exact = gain_of(found)
    noisy = gain_of(replace(found, deviations=(40.0, 40.0 * BOUND, 0.0)))
    assert exact is not None
    assert noisy is not None
    apart = 1.96 * losses(eta, labels).std() / np.sqrt(eta.size)
    assert exact.half < apart / 5
    assert noisy.half > 3 * exact.half
    assert worth_of(noisy) is Worth.UNCLEAR


def test_person_moves_the_sum_by_at_most_the_bound_and_columns_are_refused() -> None:
    far = differences(np.array([900.0, -900.0]), np.zeros(2), np.zeros(2, dtype=np.uint8))
    assert np.abs(far).max() <= BOUND
    with pytest.raises(ShapeError):
        differences(np.zeros((2, 1)), np.zeros(2), np.zeros(2, dtype=np.uint8))


def test_few_persons_are_not_assessed() -> None:
    assert worth_of(gain_of(Moments(count=49.0, total=9.0, squared=9.0))) is Worth.NOT_ASSESSED
    with pytest.raises(DomainError):
        Moments(count=float("nan"), total=0.0, squared=0.0)


gains = st.dictionaries(
    st.sampled_from([A, B, C, D]), st.floats(-1e3, 1e3, allow_subnormal=False), min_size=1
)


@given(found=gains)
def test_settlement_is_whole_never_negative_and_pays_no_harm(
    found: dict[PartnerId, float],
) -> None:
    shares = settlement(found)
    assert sum(shares.values()) == 1_000_000
    assert min(shares.values()) >= 0
    if max(found.values()) > 0:
        assert all(shares[name] <= 1 for name, gain in found.items() if gain <= 0)
    else:
        assert max(shares.values()) - min(shares.values()) <= 1


def test_who_harms_most_is_set_aside_first_and_has_no_share() -> None:
    small, large = (Moments(count=900.0, total=-x, squared=1.0) for x in (9.0, 90.0))
    none = Moments(count=900.0, total=0.0, squared=1.0)
    found = {A: gain_of(small), B: gain_of(large), C: gain_of(none)}
    assert worst_of(found) == B
    assert worst_of({C: gain_of(none), D: None}) is None
    said = statement_of(
        [
            Measured(partner=B, moments=large, aside=True),
            Measured(partner=C, moments=none),
            Measured(partner=D, moments=none),
        ],
        federation="north",
        version=NEW,
        measured_on=date(2026, 1, 5),
    )
    assert [one.settlement for one in said.lines] == [0, 500_000, 500_000]


def test_statement_is_a_document_and_is_not_assessed_after_a_year() -> None:
    said = statement_of(
        [
            Measured(partner=B, moments=Moments(count=900.0, total=90.0, squared=20.0)),
            Measured(
                partner=A,
                moments=Moments(count=900.0, total=-90.0, squared=20.0),
                hanging=Figure(0.01, 0.002),
            ),
        ],
        federation="north",
        version=NEW,
        measured_on=date(2026, 1, 5),
    )
    assert [(one.partner, one.worth, one.settlement) for one in said.lines] == [
        (A, "harms", 0),
        (B, "helps", 1_000_000),
    ]
    assert parse_document(type(said), document_of(said)) == said
    assert said.is_fresh(date(2027, 1, 5))
    assert not said.is_fresh(date(2027, 3, 1))


# --- charter ----------------------------------------------------------------------------------

CHARTER = Charter(
    federation="north",
    version=1,
    previous=None,
    in_force=date(2026, 1, 1),
    clauses=(Clause(code="purpose", zh="仅用于信用风险评估", en="Credit risk only"),),
    settlement_ppm=500_000,
    exit_notice_days=90,
)


def test_charter_is_in_force_once_every_active_partner_has_signed_its_digest() -> None:
    other = replace(CHARTER, exit_notice_days=0)
    agreed = {CHARTER.digest: {A, B}, other.digest: {C}}
    assert lacking(CHARTER, agreed, [A, B, C]) == (C,)
    assert lacking(CHARTER, agreed, [A, B]) == ()
    assert lacking(other, {}, [A]) == (A,)


@pytest.mark.parametrize(
    "broken",
    [
        {"clauses": ()},
        {"clauses": CHARTER.clauses * 2},
        {"clauses": (Clause(code="purpose", zh=" ", en="x"),)},
        {"version": 2},
        {"settlement_ppm": 1_000_001},
        {"retrain_days": 31},
    ],
)
def test_charter_that_cannot_be_is_refused(broken: dict[str, object]) -> None:
    with pytest.raises(DomainError):
        replace(CHARTER, **broken)  # type: ignore[arg-type]


# --- onboarding and exit ----------------------------------------------------------------------


def test_onboarding_names_what_it_waits_for_and_counts_days_once_live() -> None:
    facts = {one: date(2026, 5, 4) for one in Milestone}
    assert onboarding(A, facts).days == 0
    facts.pop(Milestone.CHARTER_AGREED)
    waiting = onboarding(A, facts)
    assert (waiting.waits_for, waiting.days) == ("charter_agreed", None)


FOUR = Members(since=date(2026, 1, 1), partners=(A, B, C, D))
THREE = Members(since=date(2026, 6, 1), partners=(A, B, C))


def trained(version: Digest, on: date, *names: PartnerId, active: bool = True) -> Trained:
    return Trained(version=version, on=on, partners=names, active=active)


def test_exit_leaves_a_note_and_an_obligation_until_a_model_without_it_is_in_use() -> None:
    old = trained(OLD, date(2026, 2, 1), A, B, C, D)
    (note,) = exits([FOUR, THREE], [old])
    assert (note.before, note.after, note.retrained) == (4, 3, False)
    assert "4 -> 3" in note.text
    assert "retrained since exit: no, due by 2026-07-01" in note.text
    assert not note.overdue(date(2026, 7, 1))
    assert note.overdue(date(2026, 7, 2))
    new = trained(NEW, date(2026, 6, 20), A, B, C)
    (done,) = exits([FOUR, THREE], [replace(old, active=False), new])
    assert "retrained since exit: yes, on 2026-06-20" in done.text
    assert not done.overdue(date(2027, 1, 1))


def test_retraining_does_not_count_while_an_old_version_is_in_use_beside_it() -> None:
    both = [
        trained(OLD, date(2026, 2, 1), A, B, C, D),
        trained(NEW, date(2026, 6, 20), A, B, C),
    ]
    (note,) = exits([FOUR, THREE], both)
    assert not note.retrained
    assert note.overdue(date(2026, 8, 1))


def test_partner_that_came_back_has_no_note_and_one_that_left_twice_has_one() -> None:
    back = replace(FOUR, since=date(2026, 8, 1))
    assert exits([FOUR, THREE, back], []) == ()
    (note,) = exits([FOUR, THREE, back, replace(THREE, since=date(2026, 9, 1))], [])
    assert note.left_on == date(2026, 9, 1)
