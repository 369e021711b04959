"""The months of one partner's lines (7.2), all lines at once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consortium.credit.outcomes import LineStatus
from examples.ecosystem import law
from examples.ecosystem.law import Float
from examples.ecosystem.people import Bools, Ints, Lines, Persons
from examples.ecosystem.profiles import Profile
from examples.ecosystem.streams import stream

STATUSES = (
    LineStatus.OPEN,
    LineStatus.CLOSED_LENDER,
    LineStatus.CLOSED_BORROWER,
    LineStatus.CHARGED_OFF,
)
OPEN, CLOSED, LEFT, CHARGED_OFF = range(4)
GONE = np.int8(-1)
"""Status of a line without a row: it ended before."""

CAUSES = ("", "ARREARS", "ANOMALY", "INACTIVITY", "PRODUCT_WITHDRAWN", "BORROWER")
NONE, ARREARS, ANOMALY, INACTIVITY, WITHDRAWN, BORROWER = range(6)

NEVER = np.int16(10_000)
M3_PLUS = 4
HIDDEN_SHARE = 0.8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panel:
    """What a partner sees of its lines, shape (months, lines) each."""

    utilisation: NDArray[np.float32]
    stage: NDArray[np.int8]
    """0 to 4: M0, M1, M2, M3, M3+."""
    status: NDArray[np.int8]
    """Index into ``STATUSES``, or -1: no row."""
    cause: NDArray[np.int8]
    """In the month of its end, why: index into ``CAUSES``."""
    inactive: NDArray[np.int16]
    partial: NDArray[np.bool_]
    """Less than what was due was paid."""
    applied: NDArray[np.bool_]
    """For other credit, within the month."""
    device: NDArray[np.bool_]
    late: NDArray[np.bool_]
    """Past due at a month end of the last six, this one included."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hidden:
    """The truth about the same lines."""

    pd12: NDArray[np.float32]
    """Shape (months, lines); with the shift that is in force."""
    shift: NDArray[np.float32]
    """d_t by line, log-odds, in force in ``law.SHIFT_MONTHS`` months from the withdrawal."""
    onset: NDArray[np.int16]
    """Month in which the line began to fail, or ``NEVER``."""
    stage: NDArray[np.int8]
    """As it is, hidden arrears included."""


@dataclass(slots=True, eq=False)
class _State:
    """Of all lines in one month."""

    utilisation: Float
    inactive: Ints
    status: Ints
    onset: Ints
    curable: Ints
    """Stage by arrears that can be cured: 0, 1, 2."""
    late_for: Ints
    """Months for which the late flag still stands."""
    failed: Ints
    hidden: Bools
    pd: Float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Setting:
    """What one partner's months start from."""

    profile: Profile
    seed: int
    partner: int
    """From 0."""
    lines: Lines
    persons: Persons
    hit: Bools
    """By person: an active line elsewhere is withdrawn in the profile's month."""


def simulate(setting: Setting) -> tuple[Panel, Hidden]:
    """Run one partner's lines through all months."""
    run = _Run(setting)
    for month in range(setting.profile.months):
        run.step(month)
    return run.panel, run.hidden


class _Run:
    """One partner's months; arrays are written row by row."""

    def __init__(self, setting: Setting) -> None:
        lines, persons, profile = setting.lines, setting.persons, setting.profile
        count, shape = lines.person.size, (profile.months, lines.person.size)
        self.profile, self.seed, self.partner = profile, setting.seed, setting.partner
        self.lines, self.hit = lines, setting.hit[lines.person]
        self.dsr = persons.dsr[lines.person].astype(np.float32)
        self.fixed = _fixed_part(lines, persons, self.dsr)
        self.mean = lines.utilisation.astype(np.float32)
        self.state = _State(
            utilisation=self.mean.copy(),
            inactive=lines.inactive.astype(np.int16),
            status=np.zeros(count, dtype=np.int8),
            onset=np.full(count, NEVER),
            curable=np.zeros(count, dtype=np.int8),
            late_for=np.zeros(count, dtype=np.int8),
            failed=np.zeros(count, dtype=np.int8),
            hidden=np.zeros(count, dtype=bool),
            pd=np.zeros(count, dtype=np.float32),
        )
        self.panel = Panel(
            utilisation=np.zeros(shape, dtype=np.float32),
            stage=np.zeros(shape, dtype=np.int8),
            status=np.full(shape, GONE),
            cause=np.zeros(shape, dtype=np.int8),
            inactive=np.zeros(shape, dtype=np.int16),
            partial=np.zeros(shape, dtype=bool),
            applied=np.zeros(shape, dtype=bool),
            device=np.zeros(shape, dtype=bool),
            late=np.zeros(shape, dtype=bool),
        )
        self.hidden = Hidden(
            pd12=np.zeros(shape, dtype=np.float32),
            shift=np.zeros(count, dtype=np.float32),
            onset=self.state.onset,
            stage=np.zeros(shape, dtype=np.int8),
        )

    def step(self, month: int) -> None:
        """One month: behaviour, arrears, ends, and the PD that the next month starts from."""
        draw = stream(self.seed, f"months|{self.partner}", month)
        state, count = self.state, self.lines.person.size
        here = state.status != GONE
        noise = draw.standard_normal(count, dtype=np.float32)
        chance = draw.random((7, count), dtype=np.float32)
        if month > 0:
            self._begin_to_fail(month, here, chance[0])
            self._move(month, noise)
            self._curable(here, chance[1], chance[6])
        stressed = (month >= state.onset) & (month < state.onset + law.STRESS_MONTHS)
        used = self.mean > 0
        partial = chance[2] < np.where(stressed, law.PARTIAL_STRESSED, law.PARTIAL)
        applied = chance[3] < np.where(stressed, law.APPLIES_STRESSED, law.APPLIES)
        device = chance[4] < law.DEVICE
        stage = self._stage(month)
        awake = state.utilisation > 0
        state.inactive = np.where(awake, 0, state.inactive + (month > 0)).astype(np.int16)
        masked = state.hidden & (month >= self.profile.masked_from) & (stage == state.curable)
        shown = np.where(masked, 0, stage)
        state.late_for = np.where(stage > 0, law.LATE_MONTHS, np.maximum(state.late_for - 1, 0))
        cause = self._ends(month, stage, device, chance[5])
        panel = self.panel
        panel.utilisation[month] = np.where(here, state.utilisation, 0)
        panel.stage[month] = np.where(here, shown, 0)
        panel.status[month] = np.where(here, state.status, GONE)
        panel.cause[month], panel.inactive[month] = cause, np.where(here, state.inactive, 0)
        panel.partial[month] = here & partial & (used | stressed)
        panel.applied[month], panel.device[month] = here & applied, here & device
        recent = panel.stage[max(0, month - law.LATE_MONTHS + 1) : month + 1]
        panel.late[month] = recent.any(axis=0)
        self.hidden.stage[month] = np.where(here, stage, 0)
        self._price(month, here)
        self._forget(month)

    def _begin_to_fail(self, month: int, here: Bools, chance: Float) -> None:
        state = self.state
        starts = here & (state.onset == NEVER) & (chance < law.onset_hazard(state.pd))
        state.onset[starts & (state.status <= CLOSED)] = month

    def _move(self, month: int, noise: Float) -> None:
        """Utilisation returns to its mean, rises under stress, runs down after an end."""
        state = self.state
        u = state.utilisation
        moved = u + np.float32(0.15) * (self.mean - u) + np.float32(0.06) * noise
        moved = np.where(self.mean > 0, np.clip(moved, 0.001, 1.0), u)
        stressed = (month >= state.onset) & (month < state.onset + law.STRESS_MONTHS)
        moved = np.where(month >= state.onset, u, moved)
        moved = np.where(stressed, np.minimum(u + law.STRESS_RISE, 1.0), moved)
        closed = (state.status == CLOSED) & (month < state.onset)
        state.utilisation = np.where(closed, u * law.RUN_DOWN, moved).astype(np.float32)

    def _curable(self, here: Bools, chance: Float, hiding: Float) -> None:
        """Small arrears: most are cured in a month, none goes beyond M2."""
        state, profile = self.state, self.profile
        late = state.curable > 0
        staying = np.where(chance < law.CURE, 0, 2)
        hazard = law.CURABLE_SHARE * law.onset_hazard(state.pd) + law.CURABLE_BASE
        free = here & ~late & (self.mean > 0) & (state.onset == NEVER)
        begins = free & (chance < hazard)
        if profile.masked:
            state.hidden = np.where(begins, hiding < HIDDEN_SHARE, state.hidden & late)
        state.curable = np.where(late, staying, begins).astype(np.int8)

    def _stage(self, month: int) -> Ints:
        """Worst of curable arrears and of the way from onset to M3+."""
        state = self.state
        since = month - state.onset.astype(np.int32) - law.STRESS_MONTHS + 1
        return np.maximum(np.clip(since, 0, M3_PLUS), state.curable).astype(np.int8)

    def _ends(self, month: int, stage: Ints, device: Bools, chance: Float) -> Ints:
        """Which lines end in the month, and why."""
        state, profile = self.state, self.profile
        can = (state.status == OPEN) & (stage < M3_PLUS)
        if month == 0:
            can = np.zeros_like(can)
        arrears = np.where(stage >= 2, law.CLOSE_M2, np.where(stage == 1, law.CLOSE_M1, 0.0))  # noqa: PLR2004 - M2
        anomaly = law.CLOSE_ANOMALY * np.where(device, law.ANOMALY_FACTOR, 1.0)
        asleep = state.inactive >= law.INACTIVE_FROM
        inactive = np.where(asleep, law.CLOSE_INACTIVE, 0.0)
        leaves = np.where((stage == 0) & (month < state.onset), law.CLOSE_BORROWER, 0.0)
        cause = np.zeros(can.size, dtype=np.int8)
        above = np.zeros(can.size)
        parts = ((ARREARS, arrears), (ANOMALY, anomaly), (INACTIVITY, inactive))
        for code, hazard in (*parts, (BORROWER, leaves)):
            cause[can & (chance >= above) & (chance < above + hazard)] = code
            above = above + hazard
        if self.partner == 1 and month == profile.withdrawn_in:
            cause[can & (cause == NONE)] = WITHDRAWN
        state.status = np.where(cause == NONE, state.status, CLOSED).astype(np.int8)
        state.status[cause == BORROWER] = LEFT
        state.failed = np.where(stage == M3_PLUS, state.failed + 1, 0)
        state.status[state.failed > law.CHARGED_OFF_AFTER] = CHARGED_OFF
        return cause

    def _price(self, month: int, here: Bools) -> None:
        """PD12 as the law has it, with the shift of a withdrawal while it lasts.

        A line that began to fail will be bad whatever happens: it keeps the PD it had.
        """
        state, profile = self.state, self.profile
        failing = month >= state.onset
        eta = self.fixed + np.float32(law.WEIGHTS["utilisation"]) * state.utilisation
        eta += np.float32(law.WEIGHTS["late"]) * (state.late_for > 0)
        eta += np.float32(law.WEIGHTS["months_on_book"]) * np.float32(month)
        if profile.drift and self.partner == 2 and month >= profile.drift_from:  # noqa: PLR2004 - partner 3
            eta += np.float32(law.WEIGHTS["dsr"]) * (drifted(self.dsr) - self.dsr)
        if month == profile.withdrawn_in:
            tiers = law.tier_of(law.expit(eta))
            shift = np.asarray(law.SHIFT, dtype=np.float32)[tiers]
            self.hidden.shift[:] = np.where(self.hit & ~failing, shift, 0)
        if profile.withdrawn_in <= month < profile.withdrawn_in + law.SHIFT_MONTHS:
            eta += self.hidden.shift
        state.pd = np.where(failing, state.pd, law.expit(eta))
        self.hidden.pd12[month] = np.where(here, state.pd, 0)

    def _forget(self, month: int) -> None:
        """Lines that ended without a balance, or were charged off, have no further row."""
        state = self.state
        settled = (state.status == CLOSED) & (state.utilisation <= 0) & (month < state.onset)
        gone = settled | (state.status == LEFT) | (state.status == CHARGED_OFF)
        state.status = np.where(gone, GONE, state.status)


def drifted(dsr: Float) -> Float:
    """DSR after ln DSR rose by .6 of its own deviation (T7)."""
    return dsr * np.exp(np.float32(0.6 * np.sqrt(0.45**2 + 0.25**2)))


def _fixed_part(lines: Lines, persons: Persons, dsr: Float) -> Float:
    """Eta's part that no month changes, in float32."""
    zero = np.zeros(1)
    return law.log_odds(
        utilisation=zero,
        payment_ratio=lines.payment_ratio,
        late=zero,
        dsr=dsr,
        applications=persons.applications[lines.person],
        cash_share=lines.cash_share,
        months_on_book=lines.months_on_book,
    ).astype(np.float32)
