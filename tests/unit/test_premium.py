"""What the loss of a part costs: signs kept, nothing counted twice (protocol 7.18)."""

import hashlib
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consortium.credit.attestation import (
    Attestation,
    CauseClass,
    DpdBand,
    MonthsBand,
    Use,
    UtilisationBand,
)
from consortium.credit.attested import FEATURES, features_of, schema_lines
from consortium.credit.figure_forms import LOST
from consortium.credit.figure_specs import Wanted, figure
from consortium.credit.figures import contribution, simulated_release
from consortium.credit.premium_figure import premium_entries, tiers_of
from consortium.crypto.keys import Secret
from consortium.errors import DomainError, ShapeError
from consortium.features.schema import parse_schema
from consortium.figure import FigureKind
from consortium.scoring.head import ONE, Head, plain_head
from consortium.scoring.layout import JointSums
from consortium.scoring.premium import (
    ATTESTATION,
    OwnPart,
    Premium,
    premium_of,
    study_variants,
    with_attested,
    without_part,
)
from coordinator.credit.trend_page import trend_page
from coordinator.credit.trends import as_csv, report_of
from tests.overlap_house import COUNTER
from tests.simulator import SCHEMA

UNIT = 1 << 32
FIGURES_OF = ("points_lost", "grade_lost")
WANTED = Wanted(closing="bank_a", head="ab" * 32)
FAMILIES = ("repayment", "billing", ATTESTATION)
HEAD = plain_head(FAMILIES, -UNIT)


def sums(*persons: tuple[tuple[float, int], tuple[float, int]]) -> JointSums:
    """(logit, holders) of repayment and billing of each person."""
    logits = [[int(z * UNIT) for z, _ in person] + [0] for person in persons]
    counts = [[n for _, n in person] + [0] for person in persons]
    return JointSums(
        columns=FAMILIES,
        logits=np.array(logits, dtype=np.int64),
        counts=np.array(counts, dtype=np.int64),
        partners=np.array([max(row) for row in counts], dtype=np.int64),
    )


def part(*persons: tuple[float, int]) -> OwnPart:
    """(logit, holds) of repayment of each person."""
    rows = len(persons)
    logits, counts = np.zeros((rows, 3), dtype=np.int64), np.zeros((rows, 3), dtype=np.int64)
    for row, (z, n) in enumerate(persons):
        logits[row, 0], counts[row, 0] = int(z * UNIT), n
    return OwnPart(logits=logits, counts=counts)


def test_part_is_taken_out_of_logit_holders_and_partners_worked_by_hand() -> None:
    before = sums(((3.0, 2), (0.5, 1)), ((1.0, 1), (0.0, 0)))
    after = without_part(before, part((1.0, 1), (1.0, 1)))
    assert after.logits[:, 0].tolist() == [2 * UNIT, 0]
    assert after.counts[:, :2].tolist() == [[1, 1], [0, 0]]
    assert after.partners.tolist() == [1, 0]
    lost = premium_of(HEAD, before, after)
    # Two holders are averaged: 3/2 + 1/2 before, 2 + 1/2 after; the other falls to the base.
    assert (lost.before / UNIT).tolist() == [1.0, 0.0]
    assert (lost.after / UNIT).tolist() == [1.5, -1.0]
    assert lost.strata.tolist() == [2, 0]
    assert lost.points.round(6).tolist() == [14.42695, -28.853901]
    assert lost.pd[0] > 0 > lost.pd[1]


@given(st.lists(st.tuples(st.integers(-16, 16), st.integers(0, 1)), min_size=1, max_size=5))
def test_part_that_nobody_holds_costs_nothing(persons: list[tuple[int, int]]) -> None:
    before = sums(*(((float(z), n), (0.5, 1)) for z, n in [(z * n, n) for z, n in persons]))
    lost = premium_of(HEAD, before, without_part(before, part(*[(0.0, 0)] * len(persons))))
    assert not lost.points.any()
    assert not lost.pd.any()


@pytest.mark.parametrize("own", [(1.0, 2), (1.0, 0), (0.0, -1)])
def test_part_that_is_not_in_the_sums_is_refused(own: tuple[float, int]) -> None:
    with pytest.raises(DomainError):
        without_part(sums(((1.0, 1), (0.0, 0))), part(own))
    with pytest.raises(ShapeError):
        without_part(sums(((1.0, 1), (0.0, 0))), part((1.0, 1), (1.0, 1)))


def test_attestation_counts_once_and_only_where_it_is_shown() -> None:
    left = without_part(sums(((1.0, 1), (0.5, 1)), ((1.0, 1), (0.0, 0))), part((1, 1), (1, 1)))
    logits = np.array([UNIT, -UNIT], dtype=np.int64)
    shown = with_attested(left, logits, np.array([True, False]))
    assert shown.logits[:, 2].tolist() == [UNIT, 0]
    assert shown.counts[:, 2].tolist() == [1, 0]
    assert shown.partners.tolist() == [1, 0]
    with pytest.raises(DomainError, match="twice"):
        with_attested(shown, logits, np.array([True, True]))
    weighted = Head(
        families=FAMILIES,
        base=0,
        alpha=(0, 0, 0),
        beta=((ONE, ONE, ONE // 2),) * 3,
    )
    assert (premium_of(weighted, left, shown).after / UNIT).tolist() == [1.0, 0.0]


def test_study_has_each_person_once_as_one_of_three_and_only_today_has_an_own_part() -> None:
    today = sums(*[((1.0, 1), (0.5, 1))] * 3)
    own = part(*[(1.0, 1)] * 3)
    logits = np.full(3, UNIT // 4, dtype=np.int64)
    mixed, mine = study_variants(today, own, logits, np.array([3, 1, 5]))
    assert mixed.counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 1]]
    assert mixed.logits[:, 0].tolist() == [UNIT, 0, 0]
    assert mixed.logits[:, 2].tolist() == [0, 0, UNIT // 4]
    assert mine.counts[:, 0].tolist() == [1, 0, 0]
    assert mine.logits[:, 0].tolist() == [UNIT, 0, 0]


def attestation() -> Attestation:
    day = date(2026, 11, 1)
    return Attestation(
        version=1,
        issuer=COUNTER,
        epoch=1,
        subject=bytes(16),  # type: ignore[arg-type]
        months=MonthsBand.TO_60,
        worst_dpd=DpdBand.TO_30,
        utilisation=UtilisationBand.TO_40,
        cause=CauseClass.OTHER,
        issued_on=day,
        expires_on=day,
        purpose=Use.LENDER_CHECK,
    )


def test_every_band_of_an_attestation_has_a_bin_of_its_own_in_a_schema() -> None:
    reason = '[reason.R07]\nzh = "历史"\nen = "History"\n'
    text = f"{SCHEMA}\n{reason}\n{schema_lines(reason='R07')}"
    schema = parse_schema(text, source="s")
    listed = {one.name: one for one in schema.of_families((ATTESTATION,))}
    found = features_of(attestation())
    assert found.keys() == listed.keys() == FEATURES.keys()
    for name, value in found.items():
        assert listed[name].categories == FEATURES[name]
        assert value in listed[name].categories


def test_noisy_table_of_premiums_says_quartiles_and_lost_grades_and_hides_small_tiers() -> None:
    rows = 4_000
    before = np.full(rows, int(-3.5 * UNIT), dtype=np.int64)
    after = before + np.where(np.arange(rows) % 4 == 0, UNIT, UNIT // 8)
    before[:20] = 2 * UNIT
    after[:20] = 2 * UNIT
    lost = Premium(before=before, after=after, strata=np.ones(rows, dtype=np.int64))
    entries = premium_entries(
        lost, [str(n) for n in range(rows)], ("0.02", "0.05", "0.1", "0.2")
    )
    spec = figure(FigureKind.PREMIUM, "2026-10", "2026-10", WANTED)
    own = contribution(spec, entries)
    seeds = [Secret(hashlib.sha256(bytes([n])).digest()) for n in range(4)]
    table = simulated_release(spec, [own, 0 * own, 0 * own, 0 * own], seeds)
    prime, near, low = tiers_of(table)
    assert abs(prime.persons - 3_980) < 9 * table.deviation("persons") * len(LOST)
    assert prime.quartiles is not None
    assert prime.losing_a_grade is not None
    lower, middle, upper = prime.quartiles
    # 28.9 points for a quarter, 3.6 for the rest: bands of 0 to 5 and of 20 to 40.
    assert -5 <= lower <= 5
    assert 0 < middle <= 5
    assert upper >= middle
    assert abs(prime.losing_a_grade.value - 0.25) < 2 * prime.losing_a_grade.half
    assert prime.median is not None
    assert prime.median[0] <= middle <= prime.median[1]
    assert prime.median[1] - prime.median[0] < 6
    assert near.quartiles is None
    assert low.quartiles is None
    report = report_of([table])
    rows_ = [row.split(",") for row in as_csv(report).splitlines()[1:]]
    assert [(row[7], row[8], row[13]) for row in rows_] == [
        ("points_lost", "PRIME", ""),
        ("grade_lost", "PRIME", ""),
        *((name, tier, "few") for tier in ("NEAR", "LOW") for name in FIGURES_OF),
    ]
    assert float(rows_[0][9]) == round(middle, 6)
    assert "Information-loss premium" in trend_page(report)
    with pytest.raises(DomainError):
        premium_entries(lost, ["one"], ("0.02", "0.05", "0.1", "0.2"))
