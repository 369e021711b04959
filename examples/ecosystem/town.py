"""A town of four lenders: what each of them would put beside its own node.

The market is that of ``generate``, moved so that its last month end is just behind us: figures
of "last month" mean what they mean in life. Each lender gets its lines with consents, its
customers with outcomes, and what its back office knows of the lines that it has closed. One
lender has withdrawn its product: its borrowers are the cohort of a restart.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from consortium.credit.outcomes import MonthEnd, lateness_of
from consortium.scoring.scorecard import to_units
from examples.ecosystem import law
from examples.ecosystem.files import days_late, lines_table, money_of, month_end, scores_table
from examples.ecosystem.market import consents
from examples.ecosystem.months import ANOMALY, ARREARS, GONE, INACTIVITY, STATUSES, WITHDRAWN
from examples.ecosystem.people import Bools, Ints, identifiers
from examples.ecosystem.profiles import PROFILES, Profile
from examples.ecosystem.restart import first_payments
from examples.ecosystem.streams import stream
from examples.ecosystem.world import Ecosystem, Partner, Truth, generate

LENDERS = ("lender_1", "lender_2", "lender_3", "lender_4")
WITHDREW = "lender_2"
CAUSES = {
    ARREARS: "ARREARS",
    ANOMALY: "ANOMALY",
    INACTIVITY: "INACTIVITY_CLOSE",
    WITHDRAWN: "PRODUCT_WITHDRAWN",
}
OLD_PRICE = "0.13"
ACCEPTED = 0.75
"""Share of offers that are taken up."""
RATES = {"A": 0.6, "B": 1.6, "C": 3.0}
"""Planted: what a tier's rate of thirty days late is of the planned one."""
LENT = ("A", "B")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Town:
    """The market, and how its months are named."""

    observed: Ecosystem
    truth: Truth
    names: Any
    """Identifier of each person."""

    @property
    def profile(self) -> Profile:
        """Its sizes."""
        return self.observed.profile

    @property
    def last(self) -> date:
        """The newest month end."""
        return month_end(self.profile, self.profile.months - 1)

    @property
    def withdrawn(self) -> date:
        """The month end at which the product was gone."""
        return month_end(self.profile, self.profile.withdrawn_in)

    def partner(self, lender: str) -> tuple[int, Partner]:
        """Place and lines of a lender."""
        place = LENDERS.index(lender)
        return place, self.observed.partners[place]


def town(today: date, *, seed: int = 1, persons: int = 0) -> Town:
    """The town as of a day.

    Args:
        today: The last month end before it is the market's last.
        seed: Of the market.
        persons: Instead of the profile's, if not 0.
    """
    profile = PROFILES["town"]
    at = today.year * 12 + today.month - 1 - profile.months
    profile = replace(
        profile, begins=(at // 12, at % 12 + 1), persons=persons or profile.persons
    )
    observed, truth = generate(profile, seed)
    names = np.asarray(identifiers(np.arange(profile.persons)))
    return Town(observed=observed, truth=truth, names=names)


def write_town(made: Town, directory: Path) -> None:
    """A folder for each lender: lines, customers, and what it knows of lines it closed."""
    for lender in LENDERS:
        folder = directory / lender
        folder.mkdir(parents=True, exist_ok=True)
        _, partner = made.partner(lender)
        pq.write_table(_lines(made, partner), folder / "SYNTHETIC_lines.parquet")
        customers = scores_table(made.observed, partner, made.names)
        pq.write_table(customers, folder / "SYNTHETIC_customers.parquet")
        closed = closed_lines(made, lender)
        _json(folder / "SYNTHETIC_closed.json", [one["restart"] for one in closed])
        cohort = [
            {"line": one["restart"]["line"], **{k: one[k] for k in ("person", "closed_on")}}
            for one in closed
        ]
        _json(folder / "SYNTHETIC_cohort.json", cohort)


def _json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _lines(made: Town, partner: Partner) -> Any:  # noqa: ANN401 - arrow
    """The generator's lines with the lender's rating, income and consents beside them."""
    found = lines_table(made.observed, partner, made.names)
    status = partner.panel.status
    line, month = np.nonzero((status != GONE).T)
    who = partner.lines.person[line]
    given = consents(made.observed)
    income = np.rint(100 * partner.income[line])
    more = {
        "pd12": np.round(_ratings(made, partner)[month, line], 6),
        "income": pa.array(income, pa.int64(), mask=~np.isfinite(income), safe=False),
        "income_consent": given["INCOME_DATA"][who],
        "study_consent": _references("S-", given["IMPACT_STUDY"][who], made.names[who]),
        "signal_consent": _references("C-", given["CLOSURE_SIGNAL"][who], made.names[who]),
        "product_withdrawn": found["withdrawn_on"],
    }
    for name, values in more.items():
        found = found.append_column(
            name,
            pa.chunked_array([pa.array(values)])
            if not isinstance(values, pa.ChunkedArray)
            else values,
        )
    return found


def _references(mark: str, given: Bools, names: Any) -> Any:  # noqa: ANN401 - arrays of text
    return pa.array(np.char.add(mark, names), mask=~given)


def _ratings(made: Town, partner: Partner) -> Any:  # noqa: ANN401 - an array
    """PD of each line at each month end by what the lender itself knows."""
    found = np.zeros(partner.panel.status.shape)
    for month in range(made.profile.months):
        shot = partner.snapshot(month)
        eta = law.log_odds(**shot.attributes)
        found[month, shot.line] = np.clip(law.expit(eta), 1e-6, 1 - 1e-6)
    return found


# --- the way back -----------------------------------------------------------------------------


def closed_lines(made: Town, lender: str) -> list[dict[str, Any]]:
    """What the lender knows of each line that it closed: person, day, and restart request."""
    _, partner = made.partner(lender)
    given = consents(made.observed)["RESTART_CONTACT"]
    money, late = money_of(partner), days_late(partner.panel.stage)
    ratings = _ratings(made, partner)
    found = []
    for month, line in np.argwhere(np.isin(partner.panel.cause, list(CAUSES))).tolist():
        person = int(partner.lines.person[line])
        income = float(partner.income[line])
        due = int(money["due"][month, line])
        told = None if np.isnan(income) else round(100 * income)
        dues = 0 if told is None else max(0, round(told * float(partner.dsr[line])) - due)
        pd = float(ratings[month, line])
        found.append(
            {
                "person": str(made.names[person]),
                "closed_on": month_end(made.profile, month).isoformat(),
                "restart": {
                    "line": f"L{partner.number}-{line:08}",
                    "cause": CAUSES[int(partner.panel.cause[month, line])],
                    "fraud_confirmed": False,
                    "anomaly_cleared": True,
                    "dpd": int(late[month, line]),
                    "charged_off": False,
                    "lateness": _lateness(made, late, (month, line)),
                    "eta": to_units(float(law.logit(np.float64(pd)))),
                    "dues": dues,
                    "income": told,
                    "product": "revolving",
                    "purpose": "DURABLES",
                    "tenor_months": 12,
                    "old_limit": int(partner.lines.limit[line]),
                    "old_price": OLD_PRICE,
                    "consents": _contact(made, person) if given[person] else [],
                },
            }
        )
    return found


def _contact(made: Town, person: int) -> list[dict[str, str]]:
    on = month_end(made.profile, 0).isoformat()
    return [{"purpose": "RESTART_CONTACT", "id": f"R-{made.names[person]}", "given_on": on}]


def _lateness(made: Town, late: Ints, at: tuple[int, int]) -> dict[str, int | None]:
    month, line = at
    ends = [
        MonthEnd(
            on=month_end(made.profile, before),
            dpd=int(late[before, line]),
            worst_dpd=int(late[before, line]),
            status=STATUSES[0],
            restructured=False,
            balance=1,
            statement=1,
            paid=0,
            debits=0,
        )
        for before in range(month + 1)
    ]
    found = lateness_of(ends)
    return {
        "worst_12": found.worst_12,
        "worst_24": found.worst_24,
        "cured_months": found.cured_months,
    }


def outcomes(
    made: Town, lender: str, members: Sequence[Mapping[str, Any]], *, plan: float, factor: float
) -> dict[str, str]:
    """What becomes of a wave's members, by line: first payments as the generator draws them.

    Args:
        made: The town.
        lender: Whose members.
        members: As ``riskweave desk campaign N list NAME --json`` tells them.
        plan: Planned rate of first payments that are thirty days late.
        factor: 1: a wave as planned; 3: a bad one.
    """
    place, partner = made.partner(lender)
    watched = [one for one in members if one["turn"]]
    lines = np.array([int(one["line"].split("-")[1]) for one in watched], dtype=np.int64)
    month = made.profile.withdrawn_in - 1
    pd = made.truth.hidden[place].pd12[month, lines].astype(np.float64)
    ratings = _ratings(made, partner)[month, lines]
    pd = np.where((pd > 0) & (pd < 1), pd, np.maximum(ratings, 1e-3))
    draw = stream(made.observed.seed, f"outcomes|{lender}")
    taken = draw.random(len(lines)) < ACCEPTED
    bad = np.zeros(len(lines), dtype=bool)
    for arm, rate in RATES.items():
        here = np.flatnonzero([one["arm"].startswith(arm) for one in watched])
        times = factor if arm in LENT else 1.0
        found_bad = first_payments(
            made.observed.seed, f"{lender} {arm}", pd[here], plan=plan * rate, factor=times
        )
        bad[here] = found_bad
    found = {}
    for at, one in enumerate(watched):
        lent = one["fate"] == "offered"
        if lent and not taken[at]:
            continue
        late = "fpd30" if lent else "later30"
        found[one["line"]] = late if bad[at] else "paid"
    return found
