"""The whole market: what each lender sees, and apart from it what is true."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from examples.ecosystem import law
from examples.ecosystem.law import Float
from examples.ecosystem.months import (
    GONE,
    M3_PLUS,
    OPEN,
    WITHDRAWN,
    Hidden,
    Panel,
    Setting,
    drifted,
    simulate,
)
from examples.ecosystem.people import Bools, Ints, Lines, Persons, lines_of, persons_of
from examples.ecosystem.profiles import Profile
from examples.ecosystem.streams import stream

WITHDRAWER = 1
"""Partner 2, counted from 0."""
PERFORMANCE_MONTHS = 12
ACTIVE_MONTHS = 6
POISONED = 0.2
ATTRIBUTES = tuple(law.WEIGHTS)
NO_LABEL = np.int8(-1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Snapshot:
    """One partner's lines with a row in one month, shape (rows,) each."""

    line: Ints
    """Place in the partner's ``Lines``."""
    person: Ints
    attributes: Mapping[str, Float]
    """As the law names them; what a lender can know of them."""
    group: Ints
    open: Bools
    active: Bools
    dormant: Bools
    """Open, and not used for twelve months."""
    stage: Ints
    label: Ints
    """1: M3+ or charged off within twelve months; 0: not; -1: less than twelve are known."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Partner:
    """What one lender could know. Nothing here comes from the truth."""

    number: int
    """From 1."""
    lines: Lines
    panel: Panel
    dsr: Float
    applications: Float
    group: Ints
    income: Float
    """A month, major units; NaN where it was not told."""
    region: Ints
    flipped: Bools
    """Lines whose label this partner reports upside down; all False but for T8."""
    drift_from: int
    """Month from which DSR is reported as it drifted; the last month or later: never."""

    def snapshot(self, month: int) -> Snapshot:
        """All lines that have a row in ``month``."""
        panel, lines = self.panel, self.lines
        rows = np.flatnonzero(panel.status[month] != GONE)
        inactive = panel.inactive[month][rows]
        is_open = panel.status[month][rows] == OPEN
        return Snapshot(
            line=rows,
            person=lines.person[rows],
            attributes={name: values[rows] for name, values in self._attributes(month).items()},
            group=self.group[rows],
            open=is_open,
            active=is_open & (inactive < ACTIVE_MONTHS),
            dormant=is_open & (inactive >= law.INACTIVE_FROM),
            stage=panel.stage[month][rows],
            label=self.labels(month)[rows],
        )

    def labels(self, month: int) -> Ints:
        """Outcome of each line within twelve months after ``month``, shape (lines,)."""
        until = month + PERFORMANCE_MONTHS
        stages = self.panel.stage[month + 1 : until + 1]
        if until >= self.panel.stage.shape[0]:
            return np.full(self.lines.person.size, NO_LABEL)
        bad = (stages == M3_PLUS).any(axis=0) | (self.panel.stage[month] == M3_PLUS)
        return (bad ^ self.flipped).astype(np.int8)

    def _attributes(self, month: int) -> dict[str, Float]:
        lines = self.lines
        return {
            "utilisation": self.panel.utilisation[month],
            "payment_ratio": lines.payment_ratio,
            "late": self.panel.late[month].astype(np.float64),
            "dsr": drifted(self.dsr) if month >= self.drift_from else self.dsr,
            "applications": self.applications,
            "cash_share": lines.cash_share,
            "months_on_book": lines.months_on_book + float(month),
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """What no lender knows: for tests."""

    persons: Persons
    hidden: tuple[Hidden, ...]
    """Of each partner's lines."""
    hit: Bools
    """By person: an active line at partner 2 was withdrawn."""

    def base_pd(self, partner: int, month: int) -> Float:
        """PD12 of each line as it would be without a withdrawal.

        Args:
            partner: From 0.
            month: One in which the shift is in force.
        """
        hidden = self.hidden[partner]
        pd = hidden.pd12[month].astype(np.float64)
        known = (pd > 0) & (pd < 1)
        eta = law.logit(np.where(known, pd, 0.5)) - hidden.shift
        return np.where(known, law.expit(eta), pd)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ecosystem:
    """What all lenders together could know."""

    profile: Profile
    seed: int
    partners: tuple[Partner, ...]

    @property
    def synthetic(self) -> bool:
        """Always: nothing here is a person."""
        return True


def generate(profile: Profile, seed: int) -> tuple[Ecosystem, Truth]:
    """The market of that profile, and its truth; the same for the same seed."""
    persons = persons_of(profile, seed)
    nobody = np.zeros(profile.persons, dtype=bool)
    settings = [
        Setting(
            profile=profile, seed=seed, partner=number, lines=lines, persons=persons, hit=nobody
        )
        for number, lines in enumerate(lines_of(profile, seed, persons))
    ]
    withdrawing = simulate(settings[WITHDRAWER])
    hit = _hit(profile, settings[WITHDRAWER].lines, withdrawing[0], nobody)
    runs = [
        withdrawing if one.partner == WITHDRAWER else simulate(replace(one, hit=hit))
        for one in settings
    ]
    partners = tuple(
        _partner(one, panel) for one, (panel, _) in zip(settings, runs, strict=True)
    )
    observed = Ecosystem(profile=profile, seed=seed, partners=partners)
    return observed, Truth(persons=persons, hidden=tuple(h for _, h in runs), hit=hit)


def _hit(profile: Profile, lines: Lines, panel: Panel, nobody: Bools) -> NDArray[np.bool_]:
    """Whose active line was withdrawn."""
    hit = nobody.copy()
    if profile.withdrawn_in < profile.months:
        ended = panel.cause[profile.withdrawn_in] == WITHDRAWN
        active = panel.inactive[profile.withdrawn_in] < ACTIVE_MONTHS
        hit[lines.person[ended & active]] = True
    return hit


def _partner(setting: Setting, panel: Panel) -> Partner:
    profile, number = setting.profile, setting.partner
    lines, persons = setting.lines, setting.persons
    flips = np.zeros(lines.person.size, dtype=bool)
    if profile.poison and number == profile.partners - 1:
        flips = stream(setting.seed, f"poison|{number}").random(lines.person.size) < POISONED
    told = persons.income_told[lines.person]
    return Partner(
        number=number + 1,
        lines=lines,
        panel=panel,
        dsr=persons.dsr[lines.person],
        applications=persons.applications[lines.person].astype(np.float64),
        group=persons.group[lines.person],
        income=np.where(told, persons.income[lines.person], np.nan),
        region=persons.region[lines.person],
        flipped=flips,
        drift_from=profile.drift_from
        if profile.drift and number == 2  # noqa: PLR2004 - partner 3
        else profile.months,
    )
