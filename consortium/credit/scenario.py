"""Shocks of policy and market on the same borrowers: each node scores its own rows anew (4.8).

Five drivers, composed in this order: unemployment moves everybody's log-odds; lost income
raises dues against income, in the score and in the limit on dues; a price cap takes offers
away; a tenor cap makes dues larger; a funding cut lowers how many a grade may be granted.
A driver of 0 touches no float, so an empty scenario gives the bytes of the base.

The base and all scenarios are counted side by side in one table, by the grade of the base:
so a grade's figures speak of the same persons throughout.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from consortium.credit.reading import Table, read_toml
from consortium.credit.terms import GRADES, MILLION, Grade, Ppm, parse_ppm, ppm_text
from consortium.errors import DomainError, ShapeError

Float = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

BASE = "base"
"""Name of the world as it is."""
MEASURES = ("persons", "approvals", "pd", "loss")
MOST_SCENARIOS = 6

_NONE = Ppm(0)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_LONGEST_TENOR = 600
_MOST_POINTS = 30
_YEAR = 12
_ETA_LIMIT = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One shock. Public: it stands in the plan."""

    name: str
    unemployment: Ppm = _NONE
    """Percentage points more, in millionths of a point."""
    income: Ppm = _NONE
    """Share of income that is lost."""
    price_cap: Ppm | None = None
    """Highest yearly price that may still be offered."""
    tenor_cap: int | None = None
    """Longest tenor, months."""
    funding: Ppm = _NONE
    """Share of the growth caps that is cut."""

    def __post_init__(self) -> None:
        """Refuse drivers outside their ranges."""
        if not 0 <= self.unemployment <= _MOST_POINTS * MILLION:
            raise DomainError(f"scenario {self.name}: unemployment outside 0 to 30 points")
        if not (0 <= self.income < MILLION and 0 <= self.funding <= MILLION):
            raise DomainError(f"scenario {self.name}: a share outside 0 to 1")
        if self.price_cap is not None and self.price_cap < 0:
            raise DomainError(f"scenario {self.name}: price cap below 0")
        if self.tenor_cap is not None and not 1 <= self.tenor_cap <= _LONGEST_TENOR:
            raise DomainError(f"scenario {self.name}: tenor cap outside 1 to 600 months")

    @property
    def drivers(self) -> str:
        """All shocks, as a plan tells them to nodes: ``u2.5:i0.1:p0.15:t12:f0.3``."""
        parts = (
            ("u", _short(self.unemployment) if self.unemployment else None),
            ("i", _short(self.income) if self.income else None),
            ("p", None if self.price_cap is None else _short(self.price_cap)),
            ("t", None if self.tenor_cap is None else str(self.tenor_cap)),
            ("f", _short(self.funding) if self.funding else None),
        )
        return ":".join(f"{letter}{text}" for letter, text in parts if text is not None)

    @property
    def empty(self) -> bool:
        """Whether nothing is shocked: it is the base, under another name."""
        caps = self.price_cap is None and self.tenor_cap is None
        return caps and not (self.unemployment or self.income or self.funding)


def scenario_of(name: str, drivers: str) -> Scenario:
    """The scenario that ``drivers`` tells; DomainError for what none would tell."""
    found: dict[str, str] = {part[:1]: part[1:] for part in drivers.split(":")}
    shares = {letter: parse_ppm(text) for letter, text in found.items() if letter != "t"}
    tenor = found.get("t")
    if tenor is not None and not (tenor.isascii() and tenor.isdecimal()):
        raise DomainError(f"{tenor[:8]!r} is no number of months")
    scenario = Scenario(
        name=name,
        unemployment=shares.get("u", _NONE),
        income=shares.get("i", _NONE),
        price_cap=shares.get("p"),
        tenor_cap=None if tenor is None else int(tenor),
        funding=shares.get("f", _NONE),
    )
    if scenario.drivers != drivers:
        raise DomainError(f"{drivers[:40]!r} are no drivers of a scenario")
    return scenario


def _short(share: Ppm) -> str:
    """A share without zeros at its end."""
    return ppm_text(share).rstrip("0").rstrip(".")


def parse_scenarios(data: bytes, source: str) -> tuple[Scenario, ...]:
    """The scenarios of a TOML file, in its order.

    Raises:
        PolicyError: file, line and field of what is not as it must be.
    """
    top = read_toml(data, source)
    found = tuple(_scenario(table) for table in top.tables("scenario"))
    top.done()
    if not 1 <= len(found) <= MOST_SCENARIOS:
        raise top.refuse("scenario", len(found), f"1 to {MOST_SCENARIOS} of [[scenario]]")
    names = [one.name for one in found]
    if len(set(names)) < len(names) or BASE in names:
        raise top.refuse("scenario", names, f"different names, none of them {BASE!r}")
    return found


def _scenario(table: Table) -> Scenario:
    price = table.share("price_cap", "10") if table.has("price_cap") else None
    tenor = (
        table.integer("tenor_cap_months", 1, _LONGEST_TENOR)
        if table.has("tenor_cap_months")
        else None
    )
    name = table.text("name")
    if not _NAME.fullmatch(name):
        raise table.refuse("name", name, "a name of a-z, 0-9 and '_', a letter first")
    found = Scenario(
        name=name,
        unemployment=table.share("unemployment_points", str(_MOST_POINTS), default="0"),
        income=table.share("income_loss", "0.99", default="0"),
        price_cap=price,
        tenor_cap=tenor,
        funding=table.share("funding_cut", default="0"),
    )
    table.done()
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class DsrBins:
    """The score's attribute of dues against income: inner edges and log-odds of each bin."""

    edges: tuple[float, ...]
    """Strictly rising; a value on an edge belongs to the bin above."""
    weights: tuple[float, ...]
    """One more than edges."""
    missing: float
    """Of persons without a usable income."""

    def __post_init__(self) -> None:
        """Refuse bins that do not fit together."""
        if len(self.weights) != len(self.edges) + 1:
            raise ShapeError(f"{len(self.weights)} bins between {len(self.edges)} edges")
        if any(low >= high for low, high in pairwise(self.edges)):
            raise DomainError("edges of the DSR do not rise")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRules:
    """What a node decides by, of its own model and policy."""

    bins: DsrBins
    cut: float
    """Log-odds of bad from which an application is declined."""
    dsr_cap: float
    growth: Mapping[Grade, int]
    """Most approvals of a grade in the period."""
    lgd: float
    unemployment_weight: float = 0.12
    """Log-odds by point of unemployment; the policy's, assumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRows:
    """A node's borrowers, one row a person, arrays of shape (n,). Private."""

    eta: Float
    """Log-odds of bad, of the base."""
    grade: Integers
    """Place in ``GRADES``, of the base."""
    dues: Float
    """Monthly dues without a new loan, minor units."""
    income: Float
    """Net monthly, minor units; NaN where it may not be used."""
    amount: Float
    """What each would ask for, minor units."""
    least: Float
    """Smallest amount of the product."""
    price: Float
    """Nominal yearly price of the offer in the person's cell."""
    months: Integers
    ead: Float
    """Exposure at default, minor units."""

    def __post_init__(self) -> None:
        """Refuse ragged rows, and what no borrower has."""
        shapes = {getattr(self, name).shape for name in self.__slots__}
        if len(shapes) != 1 or self.eta.ndim != 1:
            raise ShapeError(f"rows of a scenario have the shapes {sorted(shapes)}")
        known = (self.eta, self.dues, self.amount, self.least, self.price, self.ead)
        if not all(bool(np.isfinite(one).all()) for one in known):
            raise DomainError("rows of a scenario: NaN or infinity")
        if bool((self.months < 1).any() or (self.income <= 0).any()):
            raise DomainError("rows of a scenario: no month, or an income that is not positive")
        if bool(((self.grade < 0) | (self.grade >= len(GRADES))).any()):
            raise DomainError("rows of a scenario: no such grade")


@dataclass(frozen=True, slots=True)
class Scored:
    """What a scenario makes of each row, shape (n,). Private."""

    pd: Float
    loss: Float
    """Expected loss of twelve months, minor units."""
    approved: Flags


def rescored(rows: NodeRows, scenario: Scenario | None, rules: NodeRules) -> Scored:
    """A node's rows under a scenario; None: the base.

    Rule 7 grants the largest amount whose dues fit, if the product goes down that far; a
    grade's growth cap is filled in the order of the rows, which must not depend on data.
    """
    shock = Scenario(name=BASE) if scenario is None else scenario
    eta, dsr_now = rows.eta, rows.dues / rows.income
    if shock.unemployment:
        eta = eta + rules.unemployment_weight * (shock.unemployment / MILLION)
    income = rows.income
    if shock.income:
        income = income * (1 - shock.income / MILLION)
        eta = eta + _weight(rows.dues / income, rules.bins) - _weight(dsr_now, rules.bins)
    offered = np.ones(len(eta), dtype=bool)
    if shock.price_cap is not None:
        offered = rows.price <= shock.price_cap / MILLION
    months = rows.months
    if shock.tenor_cap is not None:
        months = np.minimum(months, shock.tenor_cap)
    room = rules.dsr_cap * income - rows.dues
    fits = room / _annuity(rows.price, months)
    wanted = np.minimum(rows.amount, fits) >= rows.least
    approved = offered & (eta < rules.cut) & wanted  # an income of NaN compares as False
    pd = 1 / (1 + np.exp(-np.clip(eta, -_ETA_LIMIT, _ETA_LIMIT)))
    return Scored(
        pd=pd,
        loss=pd * rules.lgd * rows.ead,
        approved=_within_growth(approved, rows.grade, shock.funding, rules.growth),
    )


def _weight(dsr: Float, bins: DsrBins) -> Float:
    places = np.searchsorted(np.array(bins.edges), dsr, side="right")
    return np.where(np.isnan(dsr), bins.missing, np.array(bins.weights)[places])


def _annuity(price: Float, months: Integers) -> Float:
    """Monthly due of a loan of 1."""
    monthly = price / _YEAR
    growth = np.expm1(months * np.log1p(monthly))
    free = monthly <= 0
    return np.where(free, 1 / months, monthly * (1 + 1 / np.where(free, 1.0, growth)))


def _within_growth(
    approved: Flags, grade: Integers, cut: Ppm, growth: Mapping[Grade, int]
) -> Flags:
    kept = approved.copy()
    for place, name in enumerate(GRADES):
        rank = np.cumsum(approved & (grade == place))
        most = growth[name] * (MILLION - cut) // MILLION
        kept &= (grade != place) | (rank <= most)
    return kept


def amounts_of(
    rows: NodeRows, scenarios: Sequence[Scenario], rules: NodeRules
) -> tuple[Float, ...]:
    """What each row adds to the measures of its grade's cell, in the base and each scenario.

    Empty scenarios are the base itself and have no cells of their own, see ``counted``.

    Returns:
        Of the base and then of ``counted(scenarios)``: shape (n, 4), in the order of
        ``MEASURES``: 1, approved, PD, loss. Private, not yet clipped nor rounded.
    """
    worlds = (None, *counted(scenarios))
    found = [rescored(rows, world, rules) for world in worlds]
    ones = np.ones(len(rows.eta))
    return tuple(
        np.stack((ones, one.approved.astype(np.float64), one.pd, one.loss), axis=1)
        for one in found
    )


def counted(scenarios: Sequence[Scenario]) -> tuple[Scenario, ...]:
    """Those that are counted on their own: each costs privacy, and an empty one need not."""
    return tuple(one for one in scenarios if not one.empty)
