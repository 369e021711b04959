"""Noisy tables: what one partner adds to a sum, and what the sum says (protocol 13.11).

One secure sum makes one table. A partner counts its persons into public cells by the counting
rule (credit 2.1) in whole numbers; what is published is the integer total of all partners with
everybody's noise in it. A table has one release id, and its figures are computed from it as
often as anybody likes: that costs nothing. Whoever has the table computes the same bits.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from consortium.canonical import Label, hash_with, lp
from consortium.credit.intervals import NORMAL_95, Figure
from consortium.crypto.keys import Secret
from consortium.documents import document_of, parse_document, plan_digest
from consortium.errors import DecodeError, DomainError, ShapeError
from consortium.figure import (
    SCALE_BITS,
    Axis,
    FigureKind,
    FigureSpec,
    Filter,
    Measure,
)
from consortium.ids import Digest, PartnerId, RunId
from consortium.plan import (
    Algorithm,
    BinSource,
    Block,
    BudgetShares,
    ModelKind,
    OptimizerSettings,
    ReleaseKind,
    TrainingPlan,
    decimal,
)
from consortium.privacy.accountant import Epsilons, three_epsilons
from consortium.privacy.mechanism import mechanism_for
from consortium.privacy.noise import noise_share
from consortium.release import Attempt, Outcome

__all__ = [
    "MIN_CELL",
    "Axis",
    "Entry",
    "FigureKind",
    "FigureSpec",
    "Filter",
    "Measure",
    "NoisyTable",
    "Terms",
    "contribution",
    "figure_plan",
    "interval",
    "n_band",
    "parse_table",
    "published",
    "rate_interval",
    "release_id",
    "simulated_release",
]

Float = NDArray[np.float64]
Integers = NDArray[np.int64]

BLOCK = "table"
"""Name of the one block of a table's plan; it has no families."""

MIN_CELL = 50
"""No published figure rests on fewer persons, by the noisy count (credit 2.3)."""

_BANDS = (1_000, 5_000, 20_000, 100_000, 1_000_000)
_BAND_TEXTS = ("< 1k", "1-5k", "5-20k", "20-100k", "100k-1M", "> 1M")
_UNIT = 1 << SCALE_BITS
_LARGEST_TOTAL = 1 << 53
_NO_DIGEST = Digest("0" * 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line, application or person that may fill a cell. Private: it never leaves."""

    person: str = field(repr=False)
    cell: tuple[int, ...] = field(repr=False)
    """Place on each axis."""
    values: tuple[int, ...] = field(default=(1,), repr=False)
    """Of each measure, before clipping, in its unit."""
    balance: int = field(default=0, repr=False)
    """Decides which entry counts where a person has more than it may fill (credit 2.1)."""
    since: str = field(default="", repr=False)
    """ISO date on which it began: the oldest counts where balances are equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyTable:
    """One published table and all that its reader needs to know of its noise. Public.

    Its canonical document (``consortium.documents.document_of``) holds the integers of the
    sum, so values, deviations and digest are the same on every machine.
    """

    spec: FigureSpec
    release: Digest
    run: RunId
    plan: Digest
    partners: int
    """K, members in the sum."""
    variance: str
    """Of the noise of one word of the sum, in scaled integers squared, a whole number."""
    epsilon: str
    """Claimed for a person: at least h members of the roster are honest (protocol 4.3)."""
    epsilon_all_honest: str
    epsilon_others_collude: str
    delta: str
    band: str
    """n band of the noisy total of the first measure (credit 2.3)."""
    totals: tuple[int, ...]
    """The sum as it was published, by axes, measures last."""

    def __post_init__(self) -> None:
        """Raise ShapeError or DecodeError for what is no table of its specification."""
        if len(self.totals) != self.spec.size:
            raise ShapeError(f"{len(self.totals)} words, expected {self.spec.size}")
        if not self.variance.isascii() or not self.variance.isdecimal():
            raise DecodeError("NoisyTable.variance: no whole number")

    @property
    def synthetic(self) -> bool:
        """Whether the rows are made up."""
        return self.spec.synthetic

    @property
    def digest(self) -> Digest:
        """Hash of the canonical document."""
        return hash_with(Label.NOISY_TABLE, document_of(self))

    @property
    def values(self) -> Float:
        """In units of the measures, shape (*axes, measures); negative values stay."""
        scaled = np.array(self.totals, dtype=np.float64) / _UNIT
        bounds = np.array([one.bound for one in self.spec.measures], dtype=np.float64)
        return scaled.reshape(*self.spec.shape, len(bounds)) * bounds

    def measure(self, name: str) -> Float:
        """One measure's values, shape of the axes."""
        return self.values[..., self.spec.measure(name)]

    def deviation(self, name: str) -> float:
        """Standard deviation of the noise of one cell of a measure, in its unit."""
        bound = self.spec.measures[self.spec.measure(name)].bound
        return math.sqrt(int(self.variance)) / _UNIT * bound


def parse_table(data: bytes) -> NoisyTable:
    """Read a canonical document; DecodeError, ShapeError or ConfigurationError otherwise."""
    return parse_document(NoisyTable, data)


def release_id(spec: FigureSpec, plan: Digest) -> Digest:
    """Digest of figure kind, period, filters and plan (credit 2.3)."""
    filters = b"".join(lp(one.name.encode()) + lp(one.value.encode()) for one in spec.filters)
    texts = (spec.kind.value, spec.first, spec.last)
    head = b"".join(lp(text.encode()) for text in texts)
    return hash_with(Label.FIGURE, head, lp(filters), bytes.fromhex(plan))


def n_band(persons: float) -> str:
    """The band that is printed instead of a number of persons (credit 2.3)."""
    return _BAND_TEXTS[sum(persons >= edge for edge in _BANDS)]


def interval(count: float, deviation: float) -> Figure:
    """A noisy count with half of its 95 % interval: binomial and noise (credit 4.5).

    Args:
        count: As published, negative or not.
        deviation: Of its noise; of a sum of c cells ``√c`` times that of one.
    """
    if not (math.isfinite(count) and math.isfinite(deviation) and deviation >= 0):
        raise DomainError("a count or its deviation is not finite, or below 0")
    return Figure(count, NORMAL_95 * math.sqrt(max(count, 0.0) + deviation**2))


def rate_interval(
    part: float, whole: float, deviation: float, *, spread: float = 1.0
) -> Figure | None:
    """``part / whole`` with half of its 95 % interval, the part being among the whole.

    Args:
        part: Noisy count.
        whole: Noisy count of the same cells, with noise of its own.
        deviation: Of the noise of each of the two.
        spread: Of the noise of the whole, in units of ``deviation``.

    Returns:
        None where the whole is below the least cell: the figure is suppressed.
    """
    if not all(map(math.isfinite, (part, whole, deviation, spread))):
        raise DomainError("a rate of what is not finite")
    if whole < MIN_CELL:
        return None
    value = part / whole
    share = min(max(value, 0.0), 1.0)
    noise = deviation**2 * (1 + (value * spread) ** 2) / whole**2
    return Figure(value, NORMAL_95 * math.sqrt(share * (1 - share) / whole + noise))


def contribution(spec: FigureSpec, entries: Iterable[Entry]) -> Integers:
    """One partner's exact part of the sum, by the counting rule (credit 2.1).

    Of each person the entries with the largest balance count, of equal ones the oldest, at
    most ``cells_per_person`` and no cell twice. Values are clipped at the public bound and
    rounded to a millionth of it. So no person moves the vector by more than Q.

    Returns:
        Shape (spec.size,), int64, scaled by 2**20. Private until noise is added.

    Raises:
        ShapeError: an entry has another number of places or values.
        DomainError: a place is outside its axis.
    """
    persons: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        persons[entry.person].append(entry)
    vector = np.zeros((spec.cells, len(spec.measures)), dtype=np.int64)
    for listed in persons.values():
        for entry in _counted(spec, listed):
            vector[_place(spec, entry.cell)] += _scaled(spec, entry.values)
    return vector.reshape(-1)


def _counted(spec: FigureSpec, listed: list[Entry]) -> Iterable[Entry]:
    chosen: dict[tuple[int, ...], Entry] = {}
    if len(listed) > 1:
        listed.sort(key=lambda one: (-one.balance, one.since, one.cell, one.values))
    for entry in listed:
        if len(chosen) == spec.cells_per_person:
            break
        chosen.setdefault(entry.cell, entry)
    return chosen.values()


def _place(spec: FigureSpec, cell: tuple[int, ...]) -> int:
    if len(cell) != len(spec.axes):
        raise ShapeError(f"{len(cell)} places on {len(spec.axes)} axes")
    found = 0
    for place, length in zip(cell, spec.shape, strict=True):
        if not 0 <= place < length:
            raise DomainError("an entry is outside the table")
        found = found * length + place
    return found


def _scaled(spec: FigureSpec, values: tuple[int, ...]) -> Integers:
    if len(values) != len(spec.measures):
        raise ShapeError(f"{len(values)} values of {len(spec.measures)} measures")
    scaled = []
    for value, one in zip(values, spec.measures, strict=True):
        low = -one.bound if one.signed else 0
        clipped = min(max(value, low), one.bound)
        size = (2 * abs(clipped) * _UNIT + one.bound) // (2 * one.bound)
        scaled.append(size if clipped >= 0 else -size)
    return np.array(scaled, dtype=np.int64)


def published(
    plan: TrainingPlan, total: Integers, *, attempts: Sequence[Attempt]
) -> NoisyTable:
    """The table of a closed sum.

    Args:
        plan: Of the kind ``table``.
        total: The sum, shape (d,), int64.
        attempts: All of the run, lost ones too: those that were charged make the epsilon,
            and the one that was summed says who is in it.

    Raises:
        ShapeError: the sum has another size.
        DomainError: the plan has no figure, no attempt was summed, or a word is beyond what
            a document holds.
    """
    spec = plan.figure
    if spec is None:
        raise DomainError("the plan has no figure")
    if total.shape != (spec.size,) or total.dtype != np.int64:
        raise ShapeError(f"sum of shape {total.shape}, expected ({spec.size},)")
    summed = [one for one in attempts if one.outcome is Outcome.SUMMED]
    if len(summed) != 1:
        raise DomainError(f"{len(summed)} attempts were summed, of a table one is")
    partners = len(summed[0].roster)
    words = tuple(int(word) for word in total.tolist())
    if max(abs(word) for word in words) >= _LARGEST_TOTAL:
        raise DomainError("a word of the sum is beyond 2**53")
    charged = [
        mechanism_for(plan, one.kind, width=1, partners=len(one.roster))
        for one in attempts
        if one.charged
    ]
    figures = three_epsilons(charged, float(plan.delta)).person
    made = mechanism_for(plan, ReleaseKind.TABLE, width=1, partners=partners)
    digest = plan_digest(plan)
    return NoisyTable(
        spec=spec,
        release=release_id(spec, digest),
        run=plan.run,
        plan=digest,
        partners=partners,
        variance=str(partners * made.variance),
        **_epsilons(figures),
        delta=plan.delta,
        band=n_band(sum(words[:: len(spec.measures)]) / _UNIT),
        totals=words,
    )


def _epsilons(figures: Epsilons) -> dict[str, str]:
    return {
        "epsilon": f"{figures.claimed:.4f}",
        "epsilon_all_honest": f"{figures.all_honest:.4f}",
        "epsilon_others_collude": f"{figures.others_collude:.4f}",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a table's claim rests on beside its figure (protocol 4)."""

    epsilon: str = "1"
    delta: str = "0.000001"
    max_partners_per_person: int = 2
    honest_fraction: str = "0.5"
    attempts: int = 1
    """Attempts that the noise is made for; the second one is paid for whether it is needed."""
    min_partners: int = 3
    noise_mode: str = "shared"
    persons: int = 1_000_000
    """A public number above the persons of all partners, beside which delta is printed."""


def figure_plan(
    spec: FigureSpec,
    terms: Terms,
    *,
    run: RunId,
    holders: Sequence[PartnerId],
    under: tuple[Digest, Digest, Digest],
) -> TrainingPlan:
    """The plan of one table release.

    Args:
        spec: What is counted.
        terms: Noise and budget.
        run: Fresh.
        holders: All partners that may hold a person; whether one has rows is its own.
        under: Digests of manifest, schema and software.

    Raises:
        ConfigurationError: a decimal is outside its range.
    """
    decimal(terms.epsilon, "epsilon", low="0.0001", high="100")
    manifest, schema, code = under
    block = Block(
        name=BLOCK, families=(), holders=tuple(sorted(holders)), normaliser=terms.persons
    )
    return TrainingPlan(
        run=run,
        manifest=manifest,
        schema=schema,
        code=code,
        model=ModelKind.TABLE,
        algorithm=Algorithm.SUM,
        bin_source=BinSource.PUBLIC,
        blocks=(block,),
        clip="1",
        rounds=1,
        spare_attempts=0,
        histogram_attempts=terms.attempts,
        epsilon=terms.epsilon,
        delta=terms.delta,
        max_partners_per_person=terms.max_partners_per_person,
        noise_mode=terms.noise_mode,
        honest_fraction=terms.honest_fraction,
        min_partners=terms.min_partners,
        shares=BudgetShares(training="0", recalibration="0"),
        optimizer=OptimizerSettings(),
        holdout_fraction="0",
        holdout_salt="-",
        figure=spec,
    )


def simulated_release(
    spec: FigureSpec,
    contributions: Sequence[Integers],
    seeds: Sequence[Secret],
    *,
    terms: Terms | None = None,
    context: Digest = _NO_DIGEST,
) -> NoisyTable:
    """A release without processes: the product's own mechanism and integer noise.

    Args:
        spec: What is counted.
        contributions: Each partner's exact part, as ``contribution`` makes it.
        seeds: Each partner's secret; other seeds, or another context, give other noise.
        terms: Of the plan.
        context: Stands for the attempt's.

    Returns:
        The table as it would be published. Not a claim about anybody's data: the noise can
        be computed again from the seeds.
    """
    if len(contributions) != len(seeds) or not seeds:
        raise ShapeError(f"{len(contributions)} contributions, {len(seeds)} seeds")
    partners = len(seeds)
    plan = figure_plan(
        spec,
        terms or Terms(min_partners=min(3, partners)),
        run=RunId("0" * 32),
        holders=[PartnerId(f"p{index:04d}") for index in range(partners)],
        under=(_NO_DIGEST, _NO_DIGEST, _NO_DIGEST),
    )
    made = mechanism_for(plan, ReleaseKind.TABLE, width=1, partners=partners)
    total = np.zeros(spec.size, dtype=np.int64)
    for part, seed in zip(contributions, seeds, strict=True):
        total += part + noise_share(seed, context, variance=made.variance, count=spec.size)
    return published(plan, total, attempts=(_attempt(plan),))


def _attempt(plan: TrainingPlan) -> Attempt:
    return Attempt(
        kind=ReleaseKind.TABLE,
        round=1,
        attempt=1,
        roster=plan.blocks[0].holders,
        outcome=Outcome.SUMMED,
        missing=(),
        reasons=(),
        charged=True,
    )
