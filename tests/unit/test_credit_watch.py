"""Following up: the table of lines, the behaviour score, stages, flags and capacity."""

from collections.abc import Collection
from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest

from consortium.credit.early_warning import Level, Sign
from consortium.credit.stages import Stage, Trigger
from consortium.credit.terms import ConsentPurpose
from consortium.errors import ConfigurationError, DataError, OutOfOrderError
from partner_node.credit import storage_watch, watching
from partner_node.credit.behaviour import (
    FEATURES,
    BehaviourModel,
    became_bad,
    codes_of,
    fit,
    ginis_of,
    observation_of,
    pd12_of,
)
from partner_node.credit.lines import History, histories, lines_source
from partner_node.credit.storage import CreditStore
from partner_node.credit.watch import Followed, Known, Measures, capacity_of, follow_line
from partner_node.credit.watching import WatchPorts
from partner_node.table import DataSource
from tests.credit_house import RULES
from tests.watch_house import COUNT, SEGMENTS, history, write_table

TODAY = date(2026, 12, 1)
POLICY = RULES.policy
FLAT = BehaviourModel(
    fitted_on=TODAY,
    label="bad",
    intercept=-5 << 32,
    weights=tuple((0,) * one.bins for one in FEATURES),
)
"""PD3m .006693, whoever is asked for."""


NOTHING = Known()


def judged(
    one: History, known: Known = NOTHING, gone: Collection[ConsentPurpose] = ()
) -> Followed:
    return follow_line(one, known, model=FLAT, policy=POLICY, gone=gone)


# --- segments and stages ----------------------------------------------------------------------


@pytest.mark.parametrize("name", SEGMENTS)
def test_account_gets_the_segment_that_was_worked_by_hand(name: str) -> None:
    columns, segment = SEGMENTS[name]
    assert judged(history(**columns)).months[-1].use == segment


def test_thirty_days_are_never_stage_one_and_ninety_one_always_stage_three() -> None:
    found = judged(history(dpd=[0, 29, 30, 60, 90, 91, 0, 0]))
    stages = [month.staging.stage for month in found.months]
    assert stages == [Stage(k) for k in (1, 1, 2, 2, 2, 3, 3, 3)]
    assert Trigger.DPD30 in found.months[2].triggers
    assert Trigger.DPD90 in found.months[5].triggers


def test_months_judged_one_by_one_come_out_as_all_at_once() -> None:
    one = history(dpd=[0, 35, 0, 0, 0, 0, 95, 0], balance=[50_000] * 3 + [99_000] * 5)
    whole = judged(one)
    known, months = Known(), []
    for month in range(1, COUNT + 1):
        cut = history(
            dpd=[0, 35, 0, 0, 0, 0, 95, 0][:month],
            balance=([50_000] * 3 + [99_000] * 5)[:month],
        )
        found = judged(cut, known)
        months += found.months
        known = Known(
            on=cut.months[-1].end.on,
            staging=found.months[-1].staging,
            events=known.events + found.events,
        )
    assert tuple(months) == whole.months
    assert known.events == whole.events


def test_line_older_than_its_table_is_not_judged_before_its_behaviour_is_known() -> None:
    old = judged(history(opened=date(2020, 1, 1), origination=None))
    assert len(old.months) == COUNT - 2
    new = judged(history(origination=None))
    assert len(new.months) == COUNT
    assert new.months[0].triggers == (Trigger.PD_UNKNOWN,)


def test_expected_loss_counts_a_line_of_stage_three_as_certain() -> None:
    last = judged(history(dpd=[0] * 7 + [120])).months[-1]
    # 10,000 owed, half of the open 90,000 drawn, .60 lost.
    assert last.loss == 33_000
    # PD3m .006693, PD12 .026505 of the same.
    assert judged(history()).months[-1].loss == 875


# --- early warning ----------------------------------------------------------------------------


def test_planted_onset_is_flagged_sixty_one_days_before_it_is_thirty_days_late() -> None:
    # June: used to .95; July: part paid; August: 31 days late.
    measures = Measures()
    balances = [10_000, 10_000, 95_000, 95_000, 95_000, 95_000]
    paid = [10_000, 10_000, 10_000, 100, 0, 0]
    late = history(balance=balances, paid=paid, dpd=[0, 0, 0, 0, 31, 61])
    measures.add(late, FLAT)
    assert measures.lead_days == Fraction((date(2026, 8, 31) - date(2026, 6, 30)).days)
    flag = judged(late).months[3].flag
    assert flag.level is Level.RESTRUCTURE_TALK
    assert flag.signs == (Sign.USED_UP, Sign.RISING, Sign.PART_PAID)


def test_line_without_a_sign_has_no_lead_and_counts() -> None:
    measures = Measures()
    measures.add(history(dpd=[0, 0, 31, 61]), FLAT)
    assert measures.lead_days == 0
    measures.add(history(dpd=[31, 61, 61, 61]), FLAT)
    assert len(measures.leads) == 1  # late when it was first seen: nothing to warn of


def test_without_consent_there_is_no_bit() -> None:
    each = [{"closed_elsewhere": True}] * COUNT
    assert judged(history(each=each)).events[0].sign is Sign.CLOSED_ELSEWHERE
    found = judged(history(each=each), gone=[ConsentPurpose.CLOSURE_SIGNAL])
    assert found.events == ()


def test_income_that_was_withdrawn_is_not_read_whatever_the_table_says() -> None:
    each = [{"income": 10_000, "income_consent": True}] * COUNT
    assert judged(history(each=each)).months[-1].capacity.dsr == 50_000
    found = judged(history(each=each), gone=[ConsentPurpose.INCOME_DATA]).months[-1].capacity
    assert (found.dsr, found.codes) == (None, ("R20",))


# --- capacity ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("each", "codes", "dsr"),
    [
        ({}, ("R20",), None),
        ({"income": 1_000_000}, ("R20",), None),
        ({"income": 0, "income_consent": True}, ("R20",), None),
        ({"income": 10_000, "income_consent": True}, (), 50_000),
        ({"income": 900, "income_consent": True}, ("R21",), 555_555),
        ({"income": 10_000, "income_consent": True, "barred_debits": 2_000}, ("F1",), 50_000),
    ],
)
def test_income_that_is_missing_or_barred_has_no_debt_service(
    each: dict[str, object], codes: tuple[str, ...], dsr: int | None
) -> None:
    # 10,000 owed: a due of 500, the policy's 5 %.
    state = capacity_of(history(each=[each] * COUNT).months, POLICY)
    assert state.codes == codes
    assert state.dsr == dsr
    assert state.utilisation == 100_000


# --- the behaviour score ----------------------------------------------------------------------


def test_pd_of_a_year_is_that_of_four_quarters() -> None:
    assert pd12_of(100_000) == 343_900
    assert pd12_of(0) == 0
    assert pd12_of(1_000_000) == 1_000_000


def test_outcome_needs_its_months_unless_it_was_bad_before() -> None:
    one = history(dpd=[0, 0, 0, 0, 95, 0, 0, 0])
    known = [became_bad(one, place) for place in range(COUNT)]
    assert known == [False, True, True, True, None, None, None, None]
    assert became_bad(history(dpd=[0] * 5), 1) is False


def test_model_of_other_bins_is_refused() -> None:
    other = BehaviourModel(fitted_on=TODAY, label="bad", intercept=0, weights=((0,),))
    with pytest.raises(DataError, match="fit it again"):
        BehaviourModel.from_bytes(other.to_bytes())
    assert BehaviourModel.from_bytes(FLAT.to_bytes()) == FLAT


def test_fit_ranks_who_was_late_and_keeps_the_held_out_out() -> None:
    lines = [
        history(f"l-{k}", dpd=[0, 0, 0, 35, 35, 95, 95, 95] if k % 4 == 0 else [0] * COUNT)
        for k in range(400)
    ]
    seen = [one for line in lines if (one := observation_of(line))]
    model = fit(seen, today=TODAY, label="bad")
    late, sound = codes_of(lines[0].months[:5]), codes_of(lines[1].months[:5])
    assert late is not None
    assert sound is not None
    assert model.eta(late) > model.eta(sound)
    without = [one for one in seen if not one.held_out]
    assert 0 < len(without) < len(seen)
    assert fit(without, today=TODAY, label="bad") == model
    assert ginis_of(seen, model).lines == len(seen) - len(without)


def test_score_of_behaviour_beats_the_limit_on_the_shipped_table() -> None:
    root = Path(__file__).resolve().parents[2]
    query = (root / "examples" / "taiwan" / "lines.sql").read_text(encoding="utf-8")
    sampled = query.replace(
        "read_csv('taiwan_default.csv.gz')",
        "(SELECT * FROM read_csv('taiwan_default.csv.gz') WHERE ID % 4 = 0)",
    )
    assert sampled != query
    source = DataSource(
        query=sampled, person="person", label="line", directory=root / "data", origin="lines"
    )
    lines = list(histories(source))
    seen = [one for line in lines if (one := observation_of(line))]
    model = fit(seen, today=TODAY, label="default_next_month")
    ginis = ginis_of(seen, model)
    assert ginis.ratio is not None
    assert ginis.ratio >= 1.2
    found = Measures()
    for line in lines:
        found.add(line, model)
    by_score = found.precision_by_score
    assert by_score is not None
    assert by_score.lift is not None
    assert by_score.lift >= 3


# --- the table --------------------------------------------------------------------------------


def test_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    one = history(each=[{"closed_elsewhere": True}] * COUNT, dpd=[0, 1, 31, 61, 91, 0, 0, 0])
    assert list(histories(write_table(tmp_path, [one]))) == [one]


def test_rows_out_of_order_and_missing_days_are_refused_by_number(tmp_path: Path) -> None:
    lines = [history("l-1"), history("l-2")]
    with pytest.raises(DataError, match="row 9: rows are not ordered"):
        list(histories(write_table(tmp_path, lines, order="ORDER BY line DESC, month_end")))
    with pytest.raises(DataError, match="row 2: months are not in order"):
        list(histories(write_table(tmp_path, lines, order="ORDER BY line, month_end DESC")))
    source = write_table(tmp_path, lines)
    path = tmp_path / "lines.csv"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(",10000,0,,0.02", ",10000,,,0.02", 1), encoding="utf-8")
    with pytest.raises(DataError, match="row 1: dpd: missing") as found:
        list(histories(source))
    assert "person of" not in str(found.value)


def test_source_is_one_query_and_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        lines_source(tmp_path)
    (tmp_path / "lines.toml").write_text('query = "SELECT 1"\nperson = "x"\n', encoding="utf-8")
    with pytest.raises(ConfigurationError, match="seen person"):
        lines_source(tmp_path)
    for odd in (
        'threads = "x"',
        "threads = 0",
        "threads = true",
        "memory_limit = 1",
        "postgres = 1",
    ):
        text = f'query = "SELECT 1"\n{odd}\n'
        (tmp_path / "lines.toml").write_text(text, encoding="utf-8")
        with pytest.raises(ConfigurationError, match=f"{odd.split(' ', 1)[0]}: expected"):
            lines_source(tmp_path)
    (tmp_path / "lines.toml").write_text('query = "SELECT 1 AS line"\n', encoding="utf-8")
    with pytest.raises(ConfigurationError, match="no column 'person'"):
        list(histories(lines_source(tmp_path)))


# --- runs -------------------------------------------------------------------------------------


def test_run_judges_each_month_once_and_wants_a_fitted_score(tmp_path: Path) -> None:
    lines = [
        history(f"l-{k:03}", dpd=[0, 0, 0, 35, 35, 95, 95, 95] if k % 4 == 0 else [0] * COUNT)
        for k in range(200)
    ]
    store = CreditStore(tmp_path / "credit.db")
    ports = WatchPorts(
        store=store,
        source=write_table(tmp_path, lines),
        subject=lambda person: person.encode()[-16:],
        policy=POLICY,
        today=TODAY,
        now=1_800_000_000,
    )
    with pytest.raises(OutOfOrderError, match="watch DIR fit"):
        watching.run(ports)
    watching.fit_behaviour(ports)
    first = watching.run(ports)
    assert (first.lines, first.months) == (200, 200 * COUNT)
    again = watching.run(ports)
    assert (again.months, again.events) == (0, 0)
    with store.reading() as connection:
        worst = storage_watch.newest_months(connection, stage=3)
        assert len(worst) == 50
        subject = b"person of l-000"[-16:]
        assert storage_watch.stages_of(connection, [subject, b"nobody"]) == {subject: 3}
    store.close()
