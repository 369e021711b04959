"""SYNTHETIC market: what is planted in it is there, and the same seed gives the same bytes."""

import hashlib
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest

from examples.ecosystem import PROFILES, Ecosystem, Truth, generate, law
from examples.ecosystem.files import write
from examples.ecosystem.market import applications, enterprises
from examples.ecosystem.months import ANOMALY, ARREARS, BORROWER, INACTIVITY, NEVER
from examples.ecosystem.restart import first_payments
from examples.ecosystem.wide import wide_tables
from examples.ecosystem.world import ATTRIBUTES
from partner_node.credit.lines import histories
from partner_node.table import DataSource

TINY = PROFILES["tiny"]
MARKET = replace(PROFILES["standard"], persons=60_000, months=24)
Market = tuple[Ecosystem, Truth]


@pytest.fixture(scope="module")
def market() -> Market:
    return generate(MARKET, 1)


def column(market: Market, month: int, name: str) -> np.ndarray:
    """One attribute, or one field of the snapshot, of all partners together."""
    shots = [partner.snapshot(month) for partner in market[0].partners]
    return np.concatenate(
        [shot.attributes[name] if name in ATTRIBUTES else getattr(shot, name) for shot in shots]
    )


def hidden(market: Market, month: int, name: str) -> np.ndarray:
    found = []
    for partner, truth in zip(market[0].partners, market[1].hidden, strict=True):
        rows = partner.snapshot(month).line
        values = getattr(truth, name)
        found.append(values[rows] if values.ndim == 1 else values[month][rows])
    return np.concatenate(found)


def logistic_fit(design: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Newton's method; the first weight is the intercept."""
    x = np.column_stack([np.ones(len(design)), design])
    weights = np.zeros(x.shape[1])
    for _ in range(12):
        p = law.expit(x @ weights)
        weights += np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x, x.T @ (labels - p))
    return weights


def test_same_seed_gives_the_same_files_and_another_seed_others(tmp_path: Path) -> None:
    def digests(seed: int, where: str) -> list[str]:
        paths = write(*generate(TINY, seed), tmp_path / where)
        assert all(path.name.startswith("SYNTHETIC_") for path in paths)
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]

    assert digests(1, "a") == digests(1, "b")
    assert digests(1, "a")[0] != digests(2, "c")[0]


def test_a_partner_s_months_do_not_depend_on_who_else_is_drawn() -> None:
    alone, beside = generate(TINY, 3)[0], generate(replace(TINY, poison=True), 3)[0]
    assert np.array_equal(
        alone.partners[0].panel.utilisation, beside.partners[0].panel.utilisation
    )


def test_files_of_lines_are_read_by_a_node(tmp_path: Path) -> None:
    write(*generate(TINY, 1), tmp_path)
    source = DataSource(
        query="SELECT * FROM 'SYNTHETIC_partner_1_lines.parquet' WHERE line < 'L1-00000200'",
        person="person",
        label="line",
        directory=tmp_path,
    )
    read = list(histories(source))
    assert len(read) == 200
    for history in read:
        for before, after in zip(history.months, history.months[1:], strict=False):
            assert after.end.balance == before.end.balance - after.end.paid + after.end.debits


def test_truth_is_in_no_file_that_a_node_reads(tmp_path: Path) -> None:
    write(*generate(TINY, 1), tmp_path)
    for path in tmp_path.glob("*.parquet"):
        names = set(duckdb.read_parquet(str(path)).columns)
        assert not names & {"pd12", "in_onset", "shift", "z", "dormant"}


def test_overlap_is_as_planted(market: Market) -> None:
    held = np.bincount(column(market, 0, "person"), minlength=MARKET.persons)
    assert held.min() == 1
    assert held.mean() == pytest.approx(2.03, abs=0.02)
    assert (held > 1).mean() == pytest.approx(0.68, abs=0.01)
    assert set(np.bincount(column(generate(replace(TINY, overlap=0.0), 1), 0, "person"))) == {1}


def test_bad_rates_by_grade_at_month_six(market: Market) -> None:
    grade = law.grade_of(hidden(market, 6, "pd12"))
    kept = column(market, 6, "stage") <= 2
    bad = column(market, 6, "label")
    rates = [bad[kept & (grade == one)].mean() for one in range(5)]
    assert rates == pytest.approx([0.024, 0.050, 0.102, 0.195, 0.391], rel=0.12)


def test_weights_of_the_law_are_recovered_from_what_lenders_see(market: Market) -> None:
    """T1, on lines that have not begun to fail."""
    calm = hidden(market, 8, "onset") > 8
    design = np.column_stack([column(market, 8, name) for name in ATTRIBUTES])
    found = logistic_fit(design[calm], column(market, 8, "label")[calm])[1:]
    for name, weight in zip(ATTRIBUTES, found, strict=True):
        assert np.sign(weight) == np.sign(law.WEIGHTS[name]), name
        if name != "late":  # it fades within the twelve months
            assert weight == pytest.approx(law.WEIGHTS[name], rel=0.25), name


def test_a_line_that_has_not_begun_is_bad_with_its_probability(market: Market) -> None:
    pd, bad = hidden(market, 5, "pd12"), column(market, 5, "label")
    calm = (hidden(market, 5, "onset") > 5) & column(market, 5, "open")
    assert bad[calm].mean() == pytest.approx(pd[calm].mean(), rel=0.08)
    begun = hidden(market, 5, "onset") <= 5
    assert bad[begun].mean() > 0.99


def test_elasticities_are_as_planted_and_low_is_negative(market: Market) -> None:
    """T2: the truth that a stress study is held against, in points."""
    observed, truth = market
    month, changes, tiers = MARKET.withdrawn_in, [], []
    for number in (0, 2, 3):
        shot = observed.partners[number].snapshot(month)
        measured = truth.hit[shot.person] & shot.active & (shot.stage == 0)
        base = truth.base_pd(number, month)[shot.line]
        changes.append((truth.hidden[number].pd12[month][shot.line] - base)[measured])
        tiers.append(law.tier_of(base)[measured])
    change, tier = np.concatenate(changes), np.concatenate(tiers)
    points = [100 * change[tier == one].mean() for one in range(3)]
    assert points == pytest.approx([7.2, 7.4, -11.5], rel=0.12)


def test_dormant_good_payers_are_closed_and_not_bad(market: Market) -> None:
    """T5: the shape of it, counted: closure .154 against .010, PD .020 against .062."""
    month, observed = 13, market[0]
    closed = np.concatenate(
        [
            ((causes > 0) & (causes < BORROWER)).any(axis=0)[partner.snapshot(month).line]
            for partner in observed.partners
            for causes in [partner.panel.cause[month + 1 : month + 4]]
        ]
    )
    alive = column(market, month, "open") & (column(market, month, "stage") < 4)
    asleep = column(market, month, "dormant") & (column(market, month, "late") == 0)
    assert 0.14 < closed[asleep].mean() < 0.19
    assert closed[alive & ~asleep].mean() < 0.02
    pd = hidden(market, month, "pd12")
    assert np.median(pd[asleep]) < 0.022
    assert np.median(pd[alive]) > 0.048


def test_causes_come_at_their_hazards(market: Market) -> None:
    """T6: what a closure model's incidences are held against."""
    counts, exposed = np.zeros(6), np.zeros(3)
    for partner in market[0].partners:
        panel = partner.panel
        # Causes are drawn on the state of the month itself, month 0 left out.
        could = (panel.status[1:] >= 0) & (panel.stage[1:] < 4)
        could &= (panel.status[1:] == 0) | (panel.cause[1:] > 0)
        counts += np.bincount(panel.cause[1:].ravel(), minlength=6)
        exposed[0] += (
            could * np.select([panel.stage[1:] >= 2, panel.stage[1:] == 1], [0.12, 0.03], 0)
        ).sum()
        exposed[1] += 0.0008 * (could * np.where(panel.device[1:], 5, 1)).sum()
        exposed[2] += 0.06 * (could & (panel.inactive[1:] >= 12)).sum()
    seen = [counts[one] for one in (ARREARS, ANOMALY, INACTIVITY)]
    assert min(seen) > 500
    assert seen == pytest.approx(exposed.tolist(), rel=0.1)


def test_drift_shows_in_one_attribute_of_one_partner() -> None:
    """T7: PSI about .34 in ten equal bands, all others below .10."""
    observed, _ = generate(replace(TINY, persons=30_000, drift=True), 1)
    for partner in observed.partners:
        before, after = partner.snapshot(7), partner.snapshot(8)
        for name in ("utilisation", "payment_ratio", "dsr", "cash_share", "months_on_book"):
            edges = np.unique(np.quantile(before.attributes[name], np.linspace(0.1, 0.9, 9)))
            p, q = (
                np.bincount(np.searchsorted(edges, shot.attributes[name]), minlength=10)
                / len(shot.line)
                for shot in (before, after)
            )
            p, q = np.maximum(p, 1e-4), np.maximum(q, 1e-4)
            psi = float(((q - p) * np.log(q / p)).sum())
            moved = partner.number == 3 and name == "dsr"
            assert psi == pytest.approx(0.34, abs=0.06) if moved else psi < 0.1


def test_poison_and_group_effect_stay_where_they_belong(market: Market) -> None:
    """T8 and T11."""
    poisoned, _ = generate(replace(MARKET, persons=20_000, poison=True), 1)
    assert [p.flipped.mean() for p in poisoned.partners[:3]] == [0, 0, 0]
    assert poisoned.partners[3].flipped.mean() == pytest.approx(0.2, abs=0.02)
    z, group = market[1].persons.z, market[1].persons.group
    assert abs(z[group == 1].mean() - z[group == 0].mean()) < 0.03
    _, moved = generate(replace(TINY, persons=20_000, group_effect=True), 1)
    z, group = moved.persons.z, moved.persons.group
    assert z[group == 1].mean() - z[group == 0].mean() == pytest.approx(1, abs=0.05)


def test_signs_come_before_arrears(market: Market) -> None:
    """T10: two months of partial payments and applications, then M1, M2, M3, M3+."""
    panel, truth = market[0].partners[0].panel, market[1].hidden[0]
    month = np.arange(MARKET.months)[:, None]
    here = (panel.status >= 0) & (truth.onset >= 3)
    stressed = here & (month >= truth.onset) & (month < truth.onset + 2)
    calm = here & (month < truth.onset) & (panel.utilisation > 0)
    for name, rates in (("partial", (0.45, 0.05)), ("applied", (0.5, 0.06))):
        values = getattr(panel, name)
        assert values[stressed].mean() == pytest.approx(rates[0], abs=0.02), name
        assert values[calm].mean() == pytest.approx(rates[1], abs=0.005), name
    for behind in range(2, 6):
        at = here & (month == truth.onset + behind) & (month > 0)
        assert set(np.unique(panel.stage[at])) <= {max(behind - 1, 0), 2}


def test_masked_arrears_are_hidden_from_their_month_only() -> None:
    """T13."""
    masked = replace(TINY, persons=20_000, masked=True)
    (observed, truth), plain = generate(masked, 1), generate(replace(TINY, persons=20_000), 1)
    hidden_months, small_ones = 0, 0
    for number, partner in enumerate(observed.partners):
        one = truth.hidden[number]
        differs = one.stage != partner.panel.stage
        assert not differs[: masked.masked_from].any()
        assert np.array_equal(one.stage, plain[1].hidden[number].stage)
        small = (one.stage > 0) & (one.onset == NEVER)
        hidden_months += differs[masked.masked_from :].sum()
        small_ones += small[masked.masked_from :].sum()
    assert hidden_months / small_ones == pytest.approx(0.8, abs=0.06)


def test_demand_and_appetite_step_in_their_weeks(market: Market) -> None:
    """T14."""
    found = applications(*market)
    weekly = np.bincount(found.week)
    assert weekly[40:].mean() / weekly[:40].mean() == pytest.approx(1.2, abs=0.03)
    late = found.week >= 50
    for grade in range(4):
        of = found.grade == grade
        fall = found.approved[of & late].mean() / found.approved[of & ~late].mean()
        assert fall == pytest.approx(0.9, abs=0.06)


def test_a_closed_owner_makes_an_enterprise_worse(market: Market) -> None:
    """T9, at the sizes of the law: the weight itself."""
    firms, pd = enterprises(*market)
    design = np.column_stack([firms.own, firms.worst_grade, firms.owner_closed])
    exact = np.linalg.lstsq(
        np.column_stack([np.ones(len(pd)), design]), law.logit(pd), rcond=None
    )[0]
    assert exact[-1] == pytest.approx(0.8)
    assert firms.owner_closed.mean() == pytest.approx(0.2, abs=0.02)
    assert logistic_fit(design, firms.bad)[-1] == pytest.approx(0.8, abs=0.25)


def test_a_bad_wave_is_as_bad_as_asked_and_keeps_the_order() -> None:
    """T12."""
    pd = np.linspace(0.02, 0.1, 20_000)
    for factor in (1, 2, 3):
        late = first_payments(1, "w1", pd, plan=0.03, factor=factor)
        assert late.mean() == pytest.approx(0.03 * factor, rel=0.1)
        assert late[:7_000].mean() < late[-7_000:].mean()


def test_wide_tables_are_consistent() -> None:
    tables = wide_tables(1, partners=8, persons=10_000)
    assert (tables.persons.sum(axis=1) == 10_000).all()
    assert (tables.overlap <= tables.persons).all()
    assert not tables.overlap[np.arange(8), np.arange(8)].any()
    assert np.array_equal(tables.overlap, wide_tables(1, partners=8, persons=10_000).overlap)
