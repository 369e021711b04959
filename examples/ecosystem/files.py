"""Files of a synthetic market: what each node could read, and the truth in a folder apart.

``SYNTHETIC_partner_1_lines.parquet`` has the columns of a node's table of lines;
``..._scores.parquet`` one row a person for a score; ``SYNTHETIC_applications.parquet`` all
applications; ``truth/`` what only a test may read.
"""

from calendar import monthrange
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from consortium.credit.closures import Anomaly
from examples.ecosystem import law
from examples.ecosystem.market import PRODUCTS, PURPOSES, applications, consents, enterprises
from examples.ecosystem.months import ANOMALY, GONE, STATUSES
from examples.ecosystem.people import PRODUCTS as LINE_PRODUCTS
from examples.ecosystem.people import Ints, identifiers
from examples.ecosystem.profiles import Profile
from examples.ecosystem.world import WITHDRAWER, Ecosystem, Partner, Truth

LEAST_SHARE, PARTLY = 0.05, 0.5


def write(observed: Ecosystem, truth: Truth, directory: Path) -> list[Path]:
    """Write all files and return their paths."""
    (directory / "truth").mkdir(parents=True, exist_ok=True)
    names = np.asarray(identifiers(np.arange(observed.profile.persons)))
    written = []
    for number, partner in enumerate(observed.partners):
        stem = f"SYNTHETIC_partner_{partner.number}"
        tables = {
            f"{stem}_lines": lines_table(observed, partner, names),
            f"{stem}_scores": scores_table(observed, partner, names),
            f"truth/{stem}_truth": _truth_table(truth, number, partner, names),
        }
        written += [_write(directory, name, table) for name, table in tables.items()]
    for name, table in _shared(observed, truth, names).items():
        written.append(_write(directory, f"SYNTHETIC_{name}", table))
    return written


def month_end(profile: Profile, month: int) -> date:
    """Last day of a month, counted from 0."""
    year, first = profile.begins
    year, place = year + (first - 1 + month) // 12, (first - 1 + month) % 12 + 1
    return date(year, place, monthrange(year, place)[1])


def lines_table(observed: Ecosystem, partner: Partner, names: Any) -> Any:  # noqa: ANN401 - arrow
    """One row a line and month end, ordered by both, as ``partner_node.credit.lines`` reads."""
    panel, lines = partner.panel, partner.lines
    line, month = np.nonzero((panel.status != GONE).T)
    money = money_of(partner)
    dpd = days_late(panel.stage)
    ends = np.asarray(
        [month_end(observed.profile, m) for m in range(observed.profile.months)],
        "datetime64[D]",
    )
    opened = (ends.astype("datetime64[M]")[0] - lines.months_on_book).astype("datetime64[D]")
    status = np.asarray([one.value for one in STATUSES])
    first = np.float64(1e-6)
    pd = np.clip(np.asarray(law.expit(_local_eta(partner))), first, 1 - first)
    return pa.table(
        {
            "line": _line_names(partner)[line],
            "person": names[lines.person[line]],
            "month_end": ends[month],
            "opened_on": opened[line],
            "status": status[panel.status[month, line]],
            "credit_limit": lines.limit[line],
            **{name: values[month, line] for name, values in money.items()},
            "dpd": dpd[month, line],
            "applications": panel.applied[month, line].astype(np.int64),
            "pd_origination": np.round(pd[line], 6),
            "product": np.asarray(LINE_PRODUCTS)[lines.product[line]],
            "device_flag": panel.device[month, line],
            "inactive_months": panel.inactive[month, line].astype(np.int64),
            "anomaly": np.where(panel.cause[month, line] == ANOMALY, Anomaly.DEVICE.value, ""),
            "withdrawn_on": _withdrawn_on(observed, partner, month),
            "worst_dpd_basis": np.where(
                observed.profile.masked & (month >= observed.profile.masked_from),
                "MASKED",
                "ALL",
            ),
        }
    )


def _withdrawn_on(observed: Ecosystem, partner: Partner, month: Ints) -> Any:  # noqa: ANN401 - arrow
    """The announced day of partner 2's withdrawal, in rows from its announcement on."""
    profile = observed.profile
    announced = (partner.number == WITHDRAWER + 1) & (month >= profile.announced_in)
    if profile.withdrawn_in >= profile.months:
        announced[:] = False
    days = np.full(month.size, np.datetime64(month_end(profile, profile.withdrawn_in)))
    return pa.array(days, mask=~announced)


def scores_table(observed: Ecosystem, partner: Partner, names: Any) -> Any:  # noqa: ANN401 - arrow
    """One row a person with the attributes of the law and a label, for a joint PD model.

    As at the latest month whose twelve following months are known; without one, month 0 and
    no labels.
    """
    month = max(0, observed.profile.months - 13)
    shot = partner.snapshot(month)
    given = consents(observed)
    return pa.table(
        {
            "person": names[shot.person],
            **{name: np.round(values, 6) for name, values in shot.attributes.items()},
            "group": shot.group,
            "region": partner.region[shot.line],
            "income": pa.array(partner.income[shot.line], from_pandas=True),
            "bad": pa.array(shot.label, mask=shot.label < 0),
            **{f"consent_{name.lower()}": who[shot.person] for name, who in given.items()},
        }
    )


def money_of(partner: Partner) -> dict[str, Ints]:
    """Balances and flows that add up: balance = balance before - paid + debits."""
    panel, lines = partner.panel, partner.lines
    balance = np.rint(panel.utilisation.astype(np.float64) * lines.limit).astype(np.int64)
    before = np.concatenate([balance[:1], balance[:-1]])
    due = np.rint(LEAST_SHARE * before).astype(np.int64)
    wish = np.rint(before * lines.payment_ratio).astype(np.int64)
    paid = np.where(
        panel.partial, np.rint(PARTLY * due).astype(np.int64), np.maximum(wish, due)
    )
    paid = np.where(panel.stage > 0, 0, np.minimum(paid, before))
    paid = np.maximum(paid, before - balance)
    debits = balance - before + paid
    cash = np.rint(debits * lines.cash_share).astype(np.int64)
    return {
        "balance": balance,
        "statement": before,
        "due": due,
        "paid": paid,
        "debits": debits,
        "cash": cash,
    }


def days_late(stage: Ints) -> Ints:
    """Days past due at month ends; those in M3+ grow by thirty a month."""
    dpd = np.asarray(law.STAGE_DPD)[stage].astype(np.int64)
    for month in range(1, len(dpd)):
        worst = stage[month] == len(law.STAGE_DPD) - 1
        dpd[month] = np.where(worst, np.maximum(dpd[month], dpd[month - 1] + 30), dpd[month])
    return dpd


def _line_names(partner: Partner) -> Any:  # noqa: ANN401 - an array of text
    return np.asarray([f"L{partner.number}-{i:08}" for i in range(partner.lines.person.size)])


def _local_eta(partner: Partner) -> Any:  # noqa: ANN401 - an array
    return law.log_odds(**partner.snapshot(0).attributes)


def _truth_table(truth: Truth, number: int, partner: Partner, names: Any) -> Any:  # noqa: ANN401 - arrow
    hidden, lines = truth.hidden[number], partner.lines
    line, month = np.nonzero((partner.panel.status != GONE).T)
    return pa.table(
        {
            "line": _line_names(partner)[line],
            "person": names[lines.person[line]],
            "month": month,
            "pd12": hidden.pd12[month, line],
            "in_onset": hidden.onset[line] <= month,
            "shift": hidden.shift[line],
            "stage": hidden.stage[month, line],
        }
    )


def _shared(observed: Ecosystem, truth: Truth, names: Any) -> dict[str, Any]:  # noqa: ANN401
    asked = applications(observed, truth)
    firms, pd = enterprises(observed, truth)
    owners = np.where(firms.owners >= 0, names[firms.owners], "")
    return {
        "applications": pa.table(
            {
                "week": asked.week,
                "person": names[asked.person],
                "partner": asked.partner + 1,
                "product": np.asarray(PRODUCTS)[asked.product],
                "purpose": np.asarray([one.value for one in PURPOSES])[asked.purpose],
                "amount": asked.amount,
                "grade": asked.grade + 1,
                "approved": asked.approved,
            }
        ),
        "enterprises": pa.table(
            {
                "enterprise": np.arange(len(pd)),
                **{f"owner_{i + 1}": owners[:, i] for i in range(owners.shape[1])},
                "own_1": firms.own[:, 0],
                "own_2": firms.own[:, 1],
                "worst_owner_grade": firms.worst_grade + 1,
                "owner_closed": firms.owner_closed,
                "bad": firms.bad,
            }
        ),
    }


def _write(directory: Path, name: str, table: Any) -> Path:  # noqa: ANN401 - arrow
    parent, _, last = name.rpartition("/")
    path = directory / parent / f"{last}.parquet"
    pq.write_table(table, path, compression="zstd", write_statistics=False)
    return path
