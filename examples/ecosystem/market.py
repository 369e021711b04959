"""Weekly applications, consents, and enterprises with guarantors (7.1)."""

from dataclasses import dataclass

import numpy as np

from consortium.credit.terms import Purpose
from examples.ecosystem import law
from examples.ecosystem.law import Float
from examples.ecosystem.months import BORROWER, NONE
from examples.ecosystem.people import Bools, Ints
from examples.ecosystem.streams import stream
from examples.ecosystem.world import Ecosystem, Truth

PURPOSES = tuple(Purpose)[:6]
PRODUCTS = ("CONSUMER_REVOLVING", "CONSUMER_TERM")
CONSENTS = (
    "CREDIT_DECISION",
    "JOINT_SCORE",
    "INCOME_DATA",
    "CLOSURE_SIGNAL",
    "OWNER_LINK",
    "ATTESTATION",
    "RESTART_CONTACT",
    "COUNSELLING",
    "CALIBRATION",
    "IMPACT_STUDY",
)
GIVEN, JOINT_SCORE_GIVEN = 0.6, 0.9
DEMAND_WEEK, DEMAND_RISE = 40, 1.2
APPETITE_WEEK, APPETITE_FALL = 50, 0.9
APPROVED = (0.95, 0.85, 0.65, 0.40, 0.15)
"""Share of applications that are approved, by grade."""
WEEKLY = 0.01
"""Applications of a person a week, all partners together."""
WEEKS_A_YEAR, MONTHS_A_YEAR = 52, 12

ENTERPRISES = 5_000
MOST_OWNERS = 3
OWNER_GRADE, OWNER_CLOSED, CLOSED_SHARE = 0.25, 0.8, 0.2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Applications:
    """All applications, in the order of weeks, shape (applications,) each."""

    week: Ints
    person: Ints
    partner: Ints
    """From 0."""
    product: Ints
    purpose: Ints
    amount: Ints
    """Minor units."""
    grade: Ints
    approved: Bools


def applications(observed: Ecosystem, truth: Truth) -> Applications:
    """T14: demand is a fifth higher from week 40, approvals a tenth rarer from week 50."""
    profile, persons = observed.profile, truth.persons
    grades = person_grades(observed, truth)
    weeks = profile.months * WEEKS_A_YEAR // MONTHS_A_YEAR
    parts = []
    for week in range(weeks):
        draw = stream(observed.seed, "applications", week)
        rise = DEMAND_RISE if week >= DEMAND_WEEK else 1.0
        count = draw.poisson(WEEKLY * rise * profile.persons)
        who = draw.integers(0, profile.persons, count)
        fall = APPETITE_FALL if week >= APPETITE_WEEK else 1.0
        amount = persons.income[who] * draw.uniform(0.5, 3.0, count)
        parts.append(
            Applications(
                week=np.full(count, week),
                person=who,
                partner=draw.integers(0, profile.partners, count),
                product=draw.integers(0, len(PRODUCTS), count),
                purpose=draw.integers(0, len(PURPOSES), count),
                amount=np.rint(100 * amount).astype(np.int64),
                grade=grades[who],
                approved=draw.random(count) < fall * np.asarray(APPROVED)[grades[who]],
            )
        )
    return Applications(
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in Applications.__slots__
        }
    )


def person_grades(observed: Ecosystem, truth: Truth) -> Ints:
    """Grade in month 0 of each person: of the weakest line."""
    grades = np.zeros(observed.profile.persons, dtype=np.int8)
    for partner, hidden in zip(observed.partners, truth.hidden, strict=True):
        np.maximum.at(grades, partner.lines.person, law.grade_of(hidden.pd12[0]))
    return grades


def consents(observed: Ecosystem) -> dict[str, Bools]:
    """By purpose, who has given it; each alone."""
    count = observed.profile.persons
    return {
        name: stream(observed.seed, f"consent|{name}").random(count)
        < (JOINT_SCORE_GIVEN if name == "JOINT_SCORE" else GIVEN)
        for name in CONSENTS
    }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Enterprises:
    """Files of enterprises, shape (enterprises,) unless said otherwise."""

    owners: Ints
    """Persons who guarantee, shape (enterprises, 3); -1: nobody."""
    own: Float
    """Two figures of the firm itself, shape (enterprises, 2)."""
    worst_grade: Ints
    """0 to 4, of its owners."""
    owner_closed: Bools
    """A line of an owner was ended by its lender in the last six months."""
    bad: Bools


def enterprises(observed: Ecosystem, truth: Truth) -> tuple[Enterprises, Float]:
    """T9: the files, and apart from them the true PD of each."""
    draw = stream(observed.seed, "enterprises")
    grades = person_grades(observed, truth)
    ended = _ended_persons(observed)
    who = np.arange(observed.profile.persons)
    closed = draw.random(ENTERPRISES) < CLOSED_SHARE
    calm = who[~ended[who]]
    owners = draw.choice(calm, (ENTERPRISES, MOST_OWNERS))
    owners[closed, 0] = draw.choice(who[ended[who]], int(closed.sum()))
    number = draw.integers(1, MOST_OWNERS + 1, ENTERPRISES)
    owners = np.where(np.arange(MOST_OWNERS) < number[:, None], owners, -1)
    worst = np.where(owners >= 0, grades[owners], 0).max(axis=1)
    own = draw.standard_normal((ENTERPRISES, 2))
    eta = -2.2 + own @ np.asarray([0.6, -0.4])
    eta += OWNER_GRADE * (worst + 1 - 3) + OWNER_CLOSED * closed
    pd = law.expit(eta)
    found = Enterprises(
        owners=owners,
        own=own,
        worst_grade=worst,
        owner_closed=closed,
        bad=draw.random(ENTERPRISES) < pd,
    )
    return found, pd


def _ended_persons(observed: Ecosystem) -> Bools:
    """Who lost a line to its lender within six months from the withdrawal."""
    ended = np.zeros(observed.profile.persons, dtype=bool)
    last = min(observed.profile.withdrawn_in, observed.profile.months - 1)
    for partner in observed.partners:
        causes = partner.panel.cause[max(0, last - 5) : last + 1]
        lender = ((causes > NONE) & (causes < BORROWER)).any(axis=0)
        ended[partner.lines.person[lender]] = True
    return ended
