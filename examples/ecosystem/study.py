"""What each lender of a synthetic market could fill into the tables of a stress run.

``Elsewhere`` is what a consented inquiry would have told; here everybody consents. The truth
is apart, for tests.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consortium.credit.elasticity import (
    ARMS,
    ELSEWHERE,
    Arm,
    Elsewhere,
    StudyColumns,
    study_cells,
)
from consortium.credit.figure_columns import contribution_of_columns
from consortium.credit.figures import NoisyTable, Terms, simulated_release
from consortium.credit.shock_tables import elasticity_spec
from consortium.crypto.keys import Secret
from consortium.figure import FigureSpec
from consortium.ids import PartnerId
from examples.ecosystem import law
from examples.ecosystem.files import month_end
from examples.ecosystem.law import Float
from examples.ecosystem.months import GONE, OPEN, WITHDRAWN
from examples.ecosystem.people import Bools, Ints
from examples.ecosystem.profiles import Profile
from examples.ecosystem.world import (
    ACTIVE_MONTHS,
    WITHDRAWER,
    Ecosystem,
    Partner,
    Truth,
)

Integers = NDArray[np.int64]

TIERS = 3
CREDIT_CONVERSION = 0.5
PARTNER_NAMES = tuple(PartnerId(f"partner_{number}") for number in range(1, 51))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NodeStudy:
    """One lender's part of a closure study, shape (rows,) each."""

    person: Integers
    line: Integers
    columns: StudyColumns


def studies(observed: Ecosystem) -> dict[int, NodeStudy]:
    """By lender, counted from 0; the one that withdrew has none."""
    month = observed.profile.withdrawn_in
    return {
        number: _study(observed, number, month)
        for number in range(observed.profile.partners)
        if number != WITHDRAWER
    }


def _study(observed: Ecosystem, number: int, month: int) -> NodeStudy:
    partner = observed.partners[number]
    shot = partner.snapshot(month)
    eta = law.log_odds(**shot.attributes)
    elsewhere = _elsewhere(observed, number, month)[shot.person]
    return NodeStudy(
        person=shot.person.astype(np.int64),
        line=shot.line.astype(np.int64),
        columns=StudyColumns(
            grade=law.grade_of(law.expit(eta)).astype(np.int64),
            is_open=shot.open,
            active=shot.active,
            dpd=np.asarray(law.STAGE_DPD)[shot.stage].astype(np.int64),
            elsewhere=elsewhere,
            bad=shot.label == 1,
        ),
    )


def _elsewhere(observed: Ecosystem, number: int, month: int) -> Integers:
    """By person: what the others' lines say to lender ``number``."""
    count = observed.profile.persons
    withdrawer = observed.partners[WITHDRAWER]
    had = _persons(withdrawer, withdrawer.panel.status[month - 1] != GONE, count)
    lost = _persons(
        withdrawer, _was_active(withdrawer, month) & _withdrawn(withdrawer, month), count
    )
    third = np.zeros(count, dtype=bool)
    for other, partner in enumerate(observed.partners):
        if other not in (number, WITHDRAWER):
            third |= _persons(partner, active(partner, month), count)
    found = np.full(count, ELSEWHERE.index(Elsewhere.NOTHING), dtype=np.int64)
    found[~had & third] = ELSEWHERE.index(Elsewhere.STAYS)
    found[lost] = ELSEWHERE.index(Elsewhere.WITHDRAWN)
    return found


def active(partner: Partner, month: int) -> Bools:
    """Open and used within half a year, by line."""
    return (partner.panel.status[month] == OPEN) & _was_active(partner, month)


def _was_active(partner: Partner, month: int) -> Bools:
    return partner.panel.inactive[month] < ACTIVE_MONTHS


def _withdrawn(partner: Partner, month: int) -> Bools:
    return partner.panel.cause[month] == WITHDRAWN


def _persons(partner: Partner, lines: Bools, count: int) -> Bools:
    found = np.zeros(count, dtype=bool)
    found[partner.lines.person[lines]] = True
    return found


def true_elasticities(observed: Ecosystem, truth: Truth) -> tuple[Float, Float]:
    """Mean change of the chance of bad over the lines of the closed arm, by tier.

    Returns:
        Of the chance to be bad within twelve months, along each line's own way through the
        months, which is what an elasticity speaks of; and of the law's PD12 on the day of the
        withdrawal, which takes a line's behaviour as frozen. 0 for lines in onset.
    """
    month = observed.profile.withdrawn_in
    sums, counts = np.zeros((2, TIERS)), np.zeros(TIERS)
    for number, study in studies(observed).items():
        member, cells = study_cells(study.columns)
        closed = cells[:, 1] == ARMS.index(Arm.CLOSED)
        lines, tiers = study.line[member][closed], _tiers(cells[closed, 0])
        free = truth.hidden[number].onset[lines] > month
        for row, change in enumerate(_changes(truth, number, lines, month)):
            sums[row] += np.bincount(tiers, weights=change * free, minlength=TIERS)
        counts += np.bincount(tiers, minlength=TIERS)
    along, frozen = sums / np.maximum(counts, 1)
    return along, frozen


def _changes(truth: Truth, number: int, lines: Ints, month: int) -> tuple[Float, Float]:
    """Of the chance along the way, and of PD12 on the day."""
    pd12 = truth.hidden[number].pd12
    with_, without = np.ones(lines.size), np.ones(lines.size)
    for later in range(month, month + law.ONSET_CHANCES):
        with_ *= 1 - law.onset_hazard(pd12[later][lines].astype(np.float64))
        without *= 1 - law.onset_hazard(truth.base_pd(number, later)[lines])
    return without - with_, pd12[month][lines] - truth.base_pd(number, month)[lines]


def _tiers(grades: Ints) -> Ints:
    return np.asarray(law.TIER_OF_GRADE)[grades]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StudyParts:
    """What the lenders of a study put into its sum."""

    spec: FigureSpec
    parts: tuple[Integers, ...]
    """The exact part of each lender but the one that withdrew."""

    def released(self, name: str, *, epsilon: str = "1") -> NoisyTable:
        """A release with the product's noise.

        Args:
            name: Of the nodes' secrets: another name, other noise.
            epsilon: Of a person.
        """
        count = len(self.parts)
        terms = Terms(epsilon=epsilon, max_partners_per_person=count)
        return simulated_release(self.spec, self.parts, secrets(name, count), terms=terms)


def study_parts(observed: Ecosystem) -> StudyParts:
    """The study of the market's withdrawal."""
    spec = elasticity_spec(
        month_name(observed.profile, observed.profile.withdrawn_in), synthetic=True
    )
    parts = []
    for study in studies(observed).values():
        member, cells = study_cells(study.columns)
        ones = np.ones((len(cells), 1), dtype=np.int64)
        parts.append(contribution_of_columns(spec, study.person[member], cells, ones))
    return StudyParts(spec=spec, parts=tuple(parts))


def tier_part(spec: FigureSpec, observed: Ecosystem, number: int, month: int) -> Integers:
    """One lender's part of a table of tiers, from its active lines."""
    partner = observed.partners[number]
    shot = partner.snapshot(month)
    kept = shot.active
    pd = law.expit(law.log_odds(**{n: v[kept] for n, v in shot.attributes.items()}))
    limit = partner.lines.limit[shot.line[kept]]
    drawn = limit * shot.attributes["utilisation"][kept]
    exposure = drawn + CREDIT_CONVERSION * (limit - drawn)
    tiers = _tiers(law.grade_of(pd))
    places = np.full(len(tiers), number)
    columns = (np.ones(len(tiers)), np.rint(exposure), np.rint(1e6 * pd))
    return contribution_of_columns(
        spec,
        shot.person[kept].astype(np.int64),
        np.stack((places, tiers), axis=1).astype(np.int64),
        np.stack(columns, axis=1).astype(np.int64),
    )


def common_persons(observed: Ecosystem, month: int) -> Integers:
    """Persons with an active line at both lenders, by tier at the second: (J, J, 3)."""
    count, persons = observed.profile.partners, observed.profile.persons
    tiers = np.full((count, persons), -1)
    for number, partner in enumerate(observed.partners):
        shot = partner.snapshot(month)
        pd = law.expit(law.log_odds(**shot.attributes))
        kept = shot.active
        tiers[number, shot.person[kept]] = _tiers(law.grade_of(pd))[kept]
    found = np.zeros((count, count, TIERS), dtype=np.int64)
    for one in range(count):
        for other in range(count):
            if one != other:
                both = tiers[other][(tiers[one] >= 0) & (tiers[other] >= 0)]
                found[one, other] = np.bincount(both, minlength=TIERS)
    return found


def secrets(name: str, count: int) -> list[Secret]:
    """Of ``count`` nodes."""
    texts = [f"{name} {number}" for number in range(count)]
    return [Secret(hashlib.sha256(text.encode()).digest()) for text in texts]


def month_name(profile: Profile, month: int) -> str:
    """As a figure's period names it."""
    return month_end(profile, month).isoformat()[:7]
