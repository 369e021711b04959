"""A planted market for tables: rates that are known, rows drawn from them, releases without
processes. Every release draws rows anew and has noise of its own; who reads the table must
find the planted figure inside its band.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consortium.credit import contribution_table, dependence, indices, market, trends
from consortium.credit.figure_forms import CAUSES, DECISIONS, PPM, SEGMENTS, STATES
from consortium.credit.figure_specs import Wanted, figure
from consortium.credit.figures import NoisyTable, simulated_release
from consortium.credit.shown import Section, Shown
from consortium.crypto.keys import Secret
from consortium.figure import SCALE_BITS, FigureKind, FigureSpec

Float = NDArray[np.float64]
Integers = NDArray[np.int64]
Rng = np.random.Generator  # noqa: TID251 - draws rows of a test, no noise
rng_of = np.random.default_rng  # noqa: TID251 - likewise

PARTNERS = 4
WEEKS = 24
GRADE_RATES = np.array([0.8, 0.7, 0.55, 0.4, 0.2])
GRADE_VOLUME = np.array([1200.0, 2000.0, 2400.0, 1600.0, 800.0])
LATE = np.array([0, 4, 6, 8, 9, 9, 8, 7, 6, 5, 5, 4, 4]) / 1000
BOUND = 500_000


def seeds(number: int) -> list[Secret]:
    """Of all partners, for one release."""
    return [
        Secret(hashlib.sha256(f"{number}/{partner}".encode()).digest())
        for partner in range(PARTNERS)
    ]


def release(spec: FigureSpec, counts: Sequence[Float], number: int) -> NoisyTable:
    """The release of counts in units of the measures, one array for each partner."""
    bounds = np.array([one.bound for one in spec.measures], dtype=np.float64)
    parts = [
        np.rint(part.reshape(-1, len(bounds)) / bounds * 2**SCALE_BITS)
        .astype(np.int64)
        .reshape(-1)
        for part in counts
    ]
    return simulated_release(spec, parts, seeds(number))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kind of figure over the planted market."""

    name: str
    spec: FigureSpec
    draw: Callable[[Rng], list[Float]]
    """Counts of each partner, in units of the measures, axes first."""
    section: Callable[[NoisyTable], Section]
    truth: Callable[[Shown, list[Float]], float | None]
    """The planted figure, or of a total the one that was drawn; None: not of this case."""


def _shared(rng: Rng, means: Float) -> Integers:
    return rng.poisson(means / PARTNERS)


def _tables(rng: Rng, rows: Sequence[tuple[int, Float]]) -> Float:
    """One multinomial draw for each row, as counts of one measure."""
    return np.stack([rng.multinomial(n, row) for n, row in rows])[..., None].astype(float)


def weekly_rates(*, step_at: int = 10**6, factor: float = 1.0) -> Float:
    """Approval rates by week and grade; from a week on multiplied."""
    rates = np.outer(np.ones(WEEKS), GRADE_RATES)
    rates[step_at:] *= factor
    return rates


def approvals(rates: Float, *, volume: float = 1.0) -> Case:
    """Approvals by week and grade, with an appetite index."""
    spec = figure(FigureKind.APPROVALS, "2026-W01", f"2026-W{len(rates):02d}", Wanted())
    applied = np.outer(np.ones(len(rates)), GRADE_VOLUME) * volume

    def draw(rng: Rng) -> list[Float]:
        parts = []
        for _ in range(PARTNERS):
            asked = _shared(rng, applied)
            parts.append(np.stack([asked, rng.binomial(asked, rates)], -1).astype(float))
        return parts

    mix = GRADE_VOLUME / GRADE_VOLUME.sum()
    levels = rates @ mix
    index = 100 * levels / levels[: indices.BASE_WEEKS].mean()

    def truth(one: Shown, _: list[Float]) -> float | None:
        week = spec.axes[0].cells.index(one.labels[0])
        if one.name == "appetite_index":
            return float(index[week])
        return float(rates[week, spec.axes[1].cells.index(one.labels[1])])

    return Case(name="appetite", spec=spec, draw=draw, section=indices.appetite, truth=truth)


def demand(weeks: Float) -> Case:
    """Applications and their amounts by week; the truth is what was drawn."""
    last = f"2026-W{len(weeks):02d}"
    spec = figure(FigureKind.DEMAND, "2026-W01", last, Wanted(bound=BOUND))

    def draw(rng: Rng) -> list[Float]:
        parts = []
        for _ in range(PARTNERS):
            asked = _shared(rng, 4_000 * weeks)
            sums = [np.minimum(rng.lognormal(11.0, 0.8, count), BOUND).sum() for count in asked]
            parts.append(np.stack([asked, np.array(sums)], -1).astype(float))
        return parts

    def truth(one: Shown, drawn: list[Float]) -> float | None:
        amounts = np.sum(drawn, axis=0)[:, 1]
        week = spec.axes[0].cells.index(one.labels[0])
        return float(100 * amounts[week] / amounts[: indices.BASE_WEEKS].mean())

    return Case(name="demand", spec=spec, draw=draw, section=indices.demand, truth=truth)


def vintages() -> Case:
    """Vintages of twelve months with planted hazards of first being 30 days late."""
    spec = figure(FigureKind.VINTAGES, "2025-01", "2025-12", Wanted(ages=12))
    chances = np.concatenate([[1 - LATE.sum()], LATE])

    def draw(rng: Rng) -> list[Float]:
        return [
            rng.multinomial(600, chances, size=12)[..., None].astype(float)
            for _ in range(PARTNERS)
        ]

    def truth(one: Shown, _: list[Float]) -> float | None:
        return float(LATE[: int(one.labels[1]) + 1].sum())

    return Case(name="vintages", spec=spec, draw=draw, section=trends.vintages, truth=truth)


ROLL = np.array(
    [
        [0.93, 0.05, 0.0, 0.0, 0.0, 0.0, 0.02],
        [0.55, 0.20, 0.23, 0.0, 0.0, 0.0, 0.02],
        [0.20, 0.10, 0.20, 0.49, 0.0, 0.0, 0.01],
        [0.08, 0.04, 0.06, 0.12, 0.69, 0.0, 0.01],
        [0.02, 0.0, 0.0, 0.0, 0.78, 0.20, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0],
    ]
)
STANDING = np.array([20_000, 1_600, 700, 400, 900, 300, 1_000])


def roll_rates() -> Case:
    """Transitions of one month."""
    spec = figure(FigureKind.ROLL_RATES, "2026-01", "2026-02", Wanted())

    def draw(rng: Rng) -> list[Float]:
        rows = list(zip(STANDING // PARTNERS, ROLL, strict=True))
        return [_tables(rng, rows) for _ in range(PARTNERS)]

    def truth(one: Shown, _: list[Float]) -> float | None:
        before, after = (STATES.index(label) for label in one.labels)
        return float(ROLL[before, after])

    return Case(name="roll_rates", spec=spec, draw=draw, section=trends.roll_rates, truth=truth)


def closures() -> Case:
    """Closures of a quarter by cause in two segments."""
    segments = SEGMENTS[:2]
    wanted = Wanted(by=("segment", "cause"), segments=segments)
    spec = figure(FigureKind.CLOSURES, "2026-01", "2026-03", wanted)
    closed = {
        "ARREARS": 0.02,
        "ANOMALY": 0.004,
        "INACTIVITY_CLOSE": 0.015,
        "CLOSED_BORROWER": 0.012,
        "DEFAULT": 0.01,
    }
    chances = np.array([closed.get(cause, 0.0) for cause in CAUSES])
    chances[0] = 1 - chances.sum()
    ended = sum(closed[name] for name in ("ARREARS", "ANOMALY", "INACTIVITY_CLOSE"))

    def draw(rng: Rng) -> list[Float]:
        rows = [(4_000, chances), (900, chances)]
        return [_tables(rng, rows) for _ in range(PARTNERS)]

    def truth(one: Shown, _: list[Float]) -> float | None:
        cause = one.labels[1]
        return ended if cause == trends.ALL else float(chances[CAUSES.index(cause)])

    return Case(name="closures", spec=spec, draw=draw, section=trends.closures, truth=truth)


def approval_rates() -> Case:
    """The rates behind the appetite index."""
    case = approvals(weekly_rates())
    return Case(
        name="approvals",
        spec=case.spec,
        draw=case.draw,
        section=trends.approvals,
        truth=case.truth,
    )


def concentration() -> Case:
    """Balances by segment; the truth is what was drawn."""
    spec = figure(FigureKind.CONCENTRATION, "2026-02", "2026-02", Wanted(bound=BOUND))

    def draw(rng: Rng) -> list[Float]:
        parts = []
        for _ in range(PARTNERS):
            persons = rng.poisson([3_000, 1_500, 400, 200])
            sums = [
                np.minimum(rng.lognormal(11.5, 0.7, count), BOUND).sum() for count in persons
            ]
            parts.append(np.stack([persons, np.array(sums)], -1).astype(float))
        return parts

    def truth(one: Shown, drawn: list[Float]) -> float | None:
        amounts = np.sum(drawn, axis=0)[:, 1]
        shares = amounts / amounts.sum()
        if one.name == "hhi":
            return float((shares**2).sum())
        return float(shares[spec.axes[0].cells.index(one.labels[0])])

    return Case(
        name="concentration",
        spec=spec,
        draw=draw,
        section=market.concentration,
        truth=truth,
    )


GROUPS = ("a", "b")


def fairness(*, gap: float = 0.0) -> Case:
    """Two groups; the second one's approvals are lower by ``gap``."""
    spec = figure(FigureKind.FAIRNESS, "2026-01", "2026-06", Wanted(groups=GROUPS))
    approved = np.array([0.6, 0.6 - gap])
    bad = np.array([0.05, 0.05])
    sizes = (3_000, 1_500)

    def draw(rng: Rng) -> list[Float]:
        parts = []
        for _ in range(PARTNERS):
            table = np.zeros((*spec.shape, 2))
            for group, size in enumerate(sizes):
                yes = approved[group]
                chances = np.array([yes, (1 - yes) / 2, (1 - yes) / 2])
                for place, count in enumerate(rng.multinomial(size, chances)):
                    split = rng.multinomial(
                        count, [(1 - bad[group]) * 0.7, bad[group] * 0.7, 0.3]
                    )
                    table[group, place, :, 0] = split
                    table[group, place, :, 1] = split * bad[group] * PPM
            parts.append(table)
        return parts

    def truth(one: Shown, _: list[Float]) -> float | None:
        group = GROUPS.index(one.labels[0])
        ratio = float(approved[group] / approved[0])
        return {
            "group_approval": float(approved[group]),
            "impact_ratio": ratio,
            "opportunity_gap": float(approved[0] - approved[group]),
            "calibration": 1.0,
        }[one.name]

    assert DECISIONS[0] == "APPROVE"
    return Case(name="fairness", spec=spec, draw=draw, section=market.fairness, truth=truth)


BANKS = tuple(f"bank_{letter}" for letter in "abcd")
CUTS = ("0.08", "0.12", "0.18", "0.35")
KNOWN = (0.3, 0.6, 0.9, 1.2)
"""How much each partner knows of its customers: deviation of its part of the log-odds."""


def _graded(known: float) -> Float:
    """Chance of each (grade with, grade without, outcome), shape (5, 5, 2)."""
    grid = np.linspace(-4.0, 4.0, 201)
    weights = np.exp(-(grid**2) / 2)
    weights /= weights.sum()
    left, own = np.meshgrid(-1.3 + 0.7 * grid, known * grid, indexing="ij")
    chance = np.outer(weights, weights)
    bad = 1 / (1 + np.exp(-(left + own)))
    cuts = np.array([np.log(float(cut) / (1 - float(cut))) for cut in CUTS])
    found = np.zeros((5, 5, 2))
    places = np.searchsorted(cuts, left + own), np.searchsorted(cuts, left)
    for mark, part in enumerate((1 - bad, bad)):
        np.add.at(found, (*places, mark), chance * part)
    return found


def _over_grades(counts: Float) -> float:
    good, bad = counts[:, 0] / counts[:, 0].sum(), counts[:, 1] / counts[:, 1].sum()
    return float((bad * (np.cumsum(good) - good / 2)).sum())


def dependences() -> Case:
    """Four partners that know their customers more or less well; two know little of many."""
    wanted = Wanted(partners=BANKS, head="ab" * 32, cuts=CUTS)
    spec = figure(FigureKind.DEPENDENCE, "2026-01", "2026-01", wanted)
    planted = [_graded(known) for known in KNOWN]
    truths = [(_over_grades(one.sum(1)), _over_grades(one.sum(0))) for one in planted]

    def draw(rng: Rng) -> list[Float]:
        parts = []
        for place, chances in enumerate(planted):
            table = np.zeros((*spec.shape, 1))
            drawn = rng.multinomial(2_000 + 1_000 * place, chances.ravel()).reshape(5, 5, 2)
            table[0, place, ..., 0], table[1, place, ..., 0] = drawn.sum(1), drawn.sum(0)
            parts.append(table)
        return parts

    def truth(one: Shown, _: list[Float]) -> float | None:
        before, after = truths[BANKS.index(one.labels[0])]
        return {"auc_with": before, "auc_without": after}.get(one.name, before - after)

    return Case(
        name="dependence", spec=spec, draw=draw, section=dependence.section, truth=truth
    )


GAINS = (0.02, 0.0, 0.005, -0.03)
"""By how much the others are better off with each partner, in log-loss."""


def contributions() -> Case:
    """Four partners, each judged by the three others."""
    without = tuple(f"{place}" * 40 for place in range(4))
    wanted = Wanted(model="ab" * 32, without=without)
    spec = figure(FigureKind.CONTRIBUTION, "2026-01", "2026-01", wanted)

    def draw(rng: Rng) -> list[Float]:
        parts = []
        for judge in range(PARTNERS):
            table = np.zeros((len(GAINS), 3))
            for place, gain in enumerate(GAINS):
                if place != judge:
                    found = rng.normal(gain, 0.2, 3_000)
                    table[place] = found.size, PPM * found.sum(), PPM * (found**2).sum()
            parts.append(table)
        return parts

    def truth(one: Shown, _: list[Float]) -> float | None:
        return GAINS[without.index(one.labels[0])]

    return Case(
        name="contribution",
        spec=spec,
        draw=draw,
        section=contribution_table.section,
        truth=truth,
    )


def cases() -> tuple[Case, ...]:
    """Every figure of the ecosystem view."""
    return (
        demand(np.ones(WEEKS)),
        approvals(weekly_rates()),
        approval_rates(),
        vintages(),
        roll_rates(),
        closures(),
        concentration(),
        fairness(),
        dependences(),
        contributions(),
    )


def held(
    case: Case, releases: int, *, seed: int = 1
) -> dict[tuple[str, tuple[str, ...]], tuple[int, int]]:
    """By figure and cell: how often its band held the truth, and how often it was printed."""
    rng = rng_of(seed)
    found: dict[tuple[str, tuple[str, ...]], tuple[int, int]] = {}
    for number in range(releases):
        drawn = case.draw(rng)
        table = release(case.spec, drawn, 10_000 * seed + number)
        for one in case.section(table).figures:
            truth = case.truth(one, drawn)
            # What is exact by its definition is no test of a band.
            if one.low is None or one.high is None or truth is None or one.low == one.high:
                continue
            inside, printed = found.get((one.name, one.labels), (0, 0))
            inside += one.low - 1e-12 <= truth <= one.high + 1e-12
            found[one.name, one.labels] = (inside, printed + 1)
    return found


def covered(case: Case, releases: int, *, seed: int = 1) -> dict[str, tuple[int, int]]:
    """By figure, all its cells together."""
    total: dict[str, tuple[int, int]] = {}
    for (name, _), (inside, printed) in held(case, releases, seed=seed).items():
        before = total.get(name, (0, 0))
        total[name] = (before[0] + inside, before[1] + printed)
    return total
