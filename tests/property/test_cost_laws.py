"""Schedules, rates and sheets for any loan: sums, bounds, and oracles of others."""

from datetime import timedelta
from itertools import pairwise

import numpy_financial as npf
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from consortium.credit.cost import Cap, cost_sheet, within_cap
from consortium.credit.pack import CapBasis
from consortium.credit.rates import Clock, Flow, costs_more_than, yearly_rates
from consortium.credit.schedule import LoanTerms, Method, flows_of, schedule_of
from consortium.credit.terms import MILLION, Ppm, add_months
from tests.cost_house import EARLY, LATE, PAYOUT, addon, charge, loan

NO_CAP = Cap(annualised=Ppm(10**12), basis=CapBasis.EFFECTIVE)
charges = st.lists(
    st.builds(
        lambda amount, every: charge(amount, every=every),
        st.integers(0, 900),
        st.integers(0, 13),
    ),
    max_size=3,
).map(tuple)


@st.composite
def loans(draw: st.DrawFn) -> LoanTerms:
    days = draw(st.integers(1, 60))
    month = add_months(PAYOUT, 1)
    first = month if draw(st.booleans()) else PAYOUT + timedelta(days=days)
    return loan(
        amount=draw(st.integers(100_000, 50_000_000)),
        months=draw(st.integers(1, 60)),
        apr=draw(st.integers(0, 360_000)),
        method=draw(st.sampled_from(Method)),
        first_due_on=first,
        charges=draw(charges),
    )


@given(loans())
def test_principals_add_up_to_the_amount_and_rows_follow_one_another(terms: LoanTerms) -> None:
    rows = schedule_of(terms)
    assert sum(row.principal for row in rows) == terms.amount.minor == rows[0].opening
    assert rows[-1].closing == 0
    assert all(row.due == row.interest + row.fees + row.principal for row in rows)
    assert all(row.closing == row.opening - row.principal for row in rows)
    assert all(a.closing == b.opening and a.on < b.on for a, b in pairwise(rows))
    assert all(min(row.interest, row.fees, row.principal) >= 0 for row in rows)
    listed = sum(one.amount.minor * one.times(terms.months) for one in terms.charges)
    assert sum(row.fees for row in rows) == listed - terms.upfront


@given(loans(), st.integers(0, 600_000), st.sampled_from(CapBasis))
def test_cap_is_broken_just_if_the_rate_is_above_it(
    terms: LoanTerms, cap: int, basis: CapBasis
) -> None:
    rows = schedule_of(terms)
    flows = flows_of(terms, rows)
    rate = yearly_rates(flows, terms.clock).figure(basis) * MILLION
    assume(abs(rate - cap) > 1)
    over = costs_more_than(flows, terms.clock, cap=Ppm(cap), basis=basis)
    assert over == (rate > cap)
    assert within_cap(terms, rows, Cap(annualised=Ppm(cap), basis=basis)) is not over


@given(loans(), st.integers(0, 2**48 - 1))
def test_addons_change_neither_price_nor_rate_nor_cap(terms: LoanTerms, seed: int) -> None:
    """All, some or none: the sheet less its list of add-ons is the same."""
    offered = [
        addon(code, seed >> 8 * place & 0xFFFF, every=place) for place, code in enumerate("ABC")
    ]
    subsets = [offered[:0], offered[:1], offered[1:], offered]
    sheets = [
        cost_sheet(
            terms, cap=NO_CAP, penalties=(LATE,), early_repayment=EARLY, addons=tuple(some)
        )
        for some in subsets
    ]
    for sheet in sheets:
        for name in sheet.__dataclass_fields__:
            if name != "addons":
                assert getattr(sheet, name) == getattr(sheets[0], name), name
        for priced in sheet.addons:
            assert priced.total_with - priced.total == sheet.total_cost


@given(
    st.lists(st.integers(1, 5_000_000), min_size=1, max_size=48),
    st.integers(40, 250),
)
def test_rates_by_months_agree_with_numpy_financial_for_any_instalments(
    paid: list[int], percent: int
) -> None:
    flows = [Flow(0, sum(paid) * 100 // percent + 1)]
    flows += [Flow(month, -amount) for month, amount in enumerate(paid, 1)]
    found = yearly_rates(flows, Clock.MONTHS)
    expected = npf.irr([float(flow.amount) for flow in flows])
    assert float(found.nominal) / 12 == pytest.approx(float(expected), abs=1e-7)


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 10**6)), min_size=1, max_size=20))
def test_rate_does_not_depend_on_order_or_splitting_of_flows(
    paid: list[tuple[int, int]],
) -> None:
    total = sum(amount for _, amount in paid)
    flows = [Flow(0, total), *(Flow(at, -amount - 1) for at, amount in paid)]
    split = [Flow(at, -1) for at, _ in paid] + [Flow(at, -amount) for at, amount in paid]
    other = [*reversed(split), Flow(0, total)]
    assert yearly_rates(flows, Clock.MONTHS) == yearly_rates(other, Clock.MONTHS)
