"""What became of whom the credit desks decided on: bad rates by tier, exact.

Labels are known to the rehearsal alone, which sees all files.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from consortium.credit.terms import GRADES
from rehearsal.baselines import Tables
from rehearsal.joint_evidence import labels_of
from rehearsal.results_desk import DeskEvidence, DeskRecord, Tier

LEAST_PERSONS = 200
"""A grade with fewer stands together with the next weaker one."""
DECLINE = "DECLINE"


def desk_evidence(tables: Tables, record: DeskRecord) -> DeskEvidence:
    """Exact figures of all decisions; of a person whom two askers decided on, of both."""
    persons = np.concatenate([one.persons for one in record.answers])
    outcomes = np.concatenate([one.outcomes for one in record.answers])
    grades = np.concatenate([one.grades for one in record.answers])
    reasons = np.concatenate([one.reasons for one in record.answers])
    bad = labels_of(tables, persons).astype(bool)
    single = [
        Tier(
            grades=(str(grade),),
            persons=int((grades == grade).sum()),
            bads=int(bad[grades == grade].sum()),
            outcomes=Counter(outcomes[grades == grade].tolist()),
        )
        for grade in GRADES
    ]
    declined = outcomes == DECLINE
    told = declined & (reasons > 0) & (reasons <= _MOST_REASONS)
    return DeskEvidence(
        persons=int(persons.size),
        tiers=tuple(merged(single)),
        by_outcome={
            name: (int((outcomes == name).sum()), int(bad[outcomes == name].sum()))
            for name in sorted(set(outcomes.tolist()))
        },
        declines=int(declined.sum()),
        declines_with_reasons=int(told.sum()),
    )


_MOST_REASONS = 4


def merged(tiers: Sequence[Tier]) -> Iterator[Tier]:
    """Thin grades together with the next weaker one; the weakest with the one before it."""
    found: list[Tier] = []
    waiting: Tier | None = None
    for tier in tiers:
        one = tier if waiting is None else _together(waiting, tier)
        waiting = one if one.persons < LEAST_PERSONS else None
        if waiting is None:
            found.append(one)
    if waiting is not None and waiting.persons:
        found = [*found[:-1], _together(found[-1], waiting)] if found else [waiting]
    yield from found


def _together(one: Tier, other: Tier) -> Tier:
    return Tier(
        grades=one.grades + other.grades,
        persons=one.persons + other.persons,
        bads=one.bads + other.bads,
        outcomes=Counter(one.outcomes) + Counter(other.outcomes),
    )
