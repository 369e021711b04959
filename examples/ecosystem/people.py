"""Persons and their lines as they stand before the first month (7.1)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from examples.ecosystem.law import (
    OVERLAP,
    OVERLAP_SHARE,
    Float,
    expit,
    grade_of,
    log_odds,
)
from examples.ecosystem.profiles import Profile
from examples.ecosystem.streams import stream

Ints = NDArray[np.integer]
Bools = NDArray[np.bool_]

PRODUCTS = ("flash", "card", "flex")
MOST_APPLICATIONS = 6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Persons:
    """All persons, shape (persons,) each. ``z`` and ``dormant`` belong to the truth."""

    z: Float
    dormant: Bools
    income: Float
    """A month, major units; as it is."""
    income_told: Bools
    region: Ints
    group: Ints
    applications: Float
    dsr: Float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lines:
    """The lines of one partner, shape (lines,) each, ordered by person."""

    person: Ints
    product: Ints
    limit: Ints
    """Minor units."""
    months_on_book: Ints
    """In month 0."""
    utilisation: Float
    """The mean that it returns to, and where it starts."""
    payment_ratio: Float
    cash_share: Float
    inactive: Ints
    """Months without use before month 0."""


def persons_of(profile: Profile, seed: int) -> Persons:
    """Everybody."""
    draw = stream(seed, "persons")
    count = profile.persons
    z = draw.standard_normal(count)
    group = (draw.random(count) < 0.4).astype(np.int8)  # noqa: PLR2004 - 7.1
    if profile.group_effect:
        z = z + group
    dormant = draw.random(count) < np.where(z < 0, 0.22, 0.06)
    return Persons(
        z=z,
        dormant=dormant,
        income=np.exp(8.9 - 0.1 * z + 0.5 * draw.standard_normal(count)),
        income_told=draw.random(count) >= 0.12,  # noqa: PLR2004 - 7.1
        region=draw.integers(1, 6, count),
        group=group,
        applications=np.minimum(draw.poisson(np.exp(-1 + 0.5 * z)), MOST_APPLICATIONS),
        dsr=np.exp(-1.25 + 0.25 * z + 0.45 * draw.standard_normal(count)),
    )


def lines_of(profile: Profile, seed: int, persons: Persons) -> tuple[Lines, ...]:
    """The lines of each partner: one sure line each, others more likely for the weak."""
    every = np.arange(profile.persons)
    sure = stream(seed, "sure line").integers(0, profile.partners, profile.persons)
    drawn = [
        _drawn(persons, every, seed=seed, entity=f"lines|{partner}")
        for partner in range(profile.partners)
    ]
    grades = np.empty(profile.persons, dtype=np.int8)
    for partner, lines in enumerate(drawn):
        here = sure == partner
        grades[here] = grade_of(expit(first_log_odds(lines, persons)))[here]
    chance = profile.overlap * OVERLAP_SHARE * np.asarray(OVERLAP)[grades]
    kept = []
    for partner, lines in enumerate(drawn):
        more = stream(seed, f"overlap|{partner}").random(profile.persons)
        kept.append(_only(lines, (sure == partner) | (more < np.minimum(1.0, chance))))
    return tuple(kept)


def first_log_odds(lines: Lines, persons: Persons) -> Float:
    """Eta before anything has happened."""
    return log_odds(
        utilisation=lines.utilisation,
        payment_ratio=lines.payment_ratio,
        late=np.zeros(1),
        dsr=persons.dsr[lines.person],
        applications=persons.applications[lines.person],
        cash_share=lines.cash_share,
        months_on_book=lines.months_on_book,
    )


def _drawn(persons: Persons, who: Ints, *, seed: int, entity: str) -> Lines:
    """A line for everybody; most of them are dropped."""
    draw = stream(seed, entity)
    count, z, sleeps = who.size, persons.z, persons.dormant

    def normal() -> Float:
        return 0.5 * draw.standard_normal(count)

    on_book = draw.integers(3, 73, count)
    return Lines(
        person=who,
        product=draw.integers(0, len(PRODUCTS), count),
        limit=np.rint(100 * persons.income * draw.uniform(0.8, 3.0, count)).astype(np.int64),
        months_on_book=on_book,
        utilisation=np.where(sleeps, 0.0, expit(-0.7 + 0.7 * z + normal())),
        payment_ratio=np.where(sleeps, 1.0, expit(0.9 - 0.8 * z + normal())),
        cash_share=np.where(sleeps, 0.0, expit(-1.8 + 0.5 * z + 1.2 * normal())),
        inactive=np.where(
            sleeps, (draw.random(count) * np.minimum(on_book, 24)).astype(np.int64), 0
        ),
    )


def _only(lines: Lines, kept: Bools) -> Lines:
    return Lines(**{name: getattr(lines, name)[kept] for name in Lines.__slots__})


def identifiers(who: Ints) -> list[str]:
    """Made-up identifiers by rule.

    The last two digits are the remainder by 97 of the number before, plus one: identifiers
    that carry this check in earnest hold the remainder itself or its complement.
    """
    return [f"SYN-{number:09}-{(number * 100 % 97) + 1:02}" for number in who.tolist()]
