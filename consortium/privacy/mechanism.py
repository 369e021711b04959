"""How much noise a plan asks of one node, and what the whole run may ever charge.

``own`` mode (protocol 4.8): each node's noise suffices alone, whoever else colludes.
``shared`` mode (protocol 4.3): the noise of any h honest members of a roster suffices
together; secure aggregation lets nobody see less than all of it. In both, the target of the
plan is a number of units; every attempt gets an equal integer part of its share, and the
variance is the smallest that costs no more. So the sum of all charges can never exceed the
target, without a tolerance anywhere.

Q is computed here from the width, never typed in: sensitivity and noise cannot disagree.
"""

import math
from collections import Counter
from fractions import Fraction
from functools import lru_cache
from typing import TypedDict

from consortium.errors import ConfigurationError, DomainError, RefusalCode, RefusalError
from consortium.figure import FigureSpec
from consortium.ids import PartnerId
from consortium.plan import (
    Algorithm,
    BinSource,
    Block,
    LocalSteps,
    ModelKind,
    ReleaseKind,
    TrainingPlan,
    decimal,
)
from consortium.privacy.accountant import UNITS, epsilon_of_units, units_of
from consortium.privacy.witnesses import poisson_units
from consortium.release import Mechanism, SharedNoise

SCALE_BITS = 24
"""A gradient of norm C is 2**24 in ring units (protocol 3.4.4)."""

COUNT_SCALE = 1 << 10
"""One person in a histogram, in ring units (protocol 5.3, 5.5)."""

SHARED, OWN = "shared", "own"
NOISE_MODES = (SHARED, OWN)

_PAIR = 2
_LEAST_VARIANCE = 1_000_000
"""Below this the lattice would show in delta (protocol 3.5.7)."""


class Reservation(TypedDict):
    """All that a run may ever charge, in person-level units, by the persons it concerns."""

    training: int
    """Persons in training: bins, gradients, recalibration."""
    holdout: int
    """Persons held out: the evaluation. Disjoint from the others, so it does not add."""
    tables: int
    """Everybody, in table releases: an account beside the two others (protocol 13.11)."""


def by_account(held: Reservation) -> dict[str, int]:
    """A reservation as a mapping from account to units."""
    return {
        "training": held["training"],
        "holdout": held["holdout"],
        "tables": held["tables"],
    }


ACCOUNTS = ("training", "holdout", "tables")
"""Whose rows are spent on: persons in training, persons held out, everybody in a table."""


def accounts_of(plan: TrainingPlan) -> tuple[str, ...]:
    """The accounts that a run of the plan may be charged to."""
    return ("tables",) if plan.model is ModelKind.TABLE else ("training", "holdout")


def account_of(kind: ReleaseKind) -> str:
    """The account that a sum of this kind is charged to (protocol 4.6, 13.11)."""
    if kind is ReleaseKind.TABLE:
        return "tables"
    return "holdout" if kind is ReleaseKind.EVALUATION else "training"


@lru_cache(maxsize=256)  # asked several times an attempt, always with the same few answers
def mechanism_for(
    plan: TrainingPlan, kind: ReleaseKind, *, width: int, partners: int
) -> Mechanism:
    """The release that this node must make, and no weaker one, for one attempt of ``kind``.

    ``V_i = ⌈(σ_i·Q)²⌉``, σ_i by protocol 4.3 or 4.8, computed in integers. With local steps
    a gradient's mechanism is that of *one step*, suffices alone in either mode, and its
    ``units`` leave the sampling out and are not the charge, see ``reserve_units``.

    Args:
        plan: Checked against schema and policy by the caller.
        kind: What the sum is for.
        width: Coordinates d of a gradient; features p with private bins; else ignored.
        partners: K, size of the attempt's roster. A smaller one never needs less noise, so
            within a run V only grows (protocol 4.3). Without meaning in ``own`` mode.

    Raises:
        ConfigurationError: the plan has no share, attempts or noise for this kind, or a
            noise mode that does not exist.
        RefusalError: the noise's deviation is below 1,000 (R10, protocol 3.5.7), or a
            roster of one is to share noise (R04).
        DomainError: the width or the number of partners is not positive.
    """
    if plan.noise_mode not in NOISE_MODES:
        raise ConfigurationError(f"noise_mode: {plan.noise_mode!r} is not of {NOISE_MODES}")
    if partners < 1:
        raise DomainError(f"{kind.value}: a roster of {partners}")
    part = _part(plan, kind, width)
    blocks = 1 if kind is ReleaseKind.BINS else most_blocks_held(plan)
    sensitivity = _ceil_root(blocks * part)
    shared: SharedNoise | None = None
    if kind is ReleaseKind.GRADIENT and plan.algorithm is Algorithm.LOCAL_STEPS:
        variance = _ceil((_noise_multiplier(_local(plan)) * sensitivity) ** 2)
    elif plan.noise_mode == OWN:
        squared = plan.max_partners_per_person * sensitivity**2
        variance = _ceil(Fraction(squared * UNITS, _units_per_attempt(plan, kind)))
    else:
        least = honest_of(plan, partners)
        most = max(partners, len(_holders(plan)))
        persons = tuple(part * _together(plan, kind, honest) for honest in range(1, most + 1))
        # Over all larger rosters too: V may only grow when members are lost.
        worst = max(Fraction(persons[honest - 1], honest) for honest in range(least, most + 1))
        variance = _ceil(worst * UNITS / _units_per_attempt(plan, kind))
        shared = SharedNoise(partners=partners, honest=least, persons=persons[:partners])
    if variance < _LEAST_VARIANCE:  # protocol 3.5.7
        raise RefusalError(
            RefusalCode.NOISE, f"{kind.value}: variance {variance} is below {_LEAST_VARIANCE}"
        )
    return Mechanism(
        kind=kind,
        sensitivity=sensitivity,
        variance=variance,
        persons_factor=plan.max_partners_per_person,
        shared=shared,
        echoes=_echoes(plan),
    )


def _echoes(plan: TrainingPlan) -> int:
    """Most askers whose row of a head one record elsewhere can change (protocol 4.2.2)."""
    if plan.model is not ModelKind.HEAD:
        return 0
    m = plan.max_partners_per_person
    return min(m, max(_cap(block, m) for block in plan.blocks))


def kinds_of(plan: TrainingPlan) -> tuple[ReleaseKind, ...]:
    """The kinds of sums that the run may ask for, in their order (protocol 3.1, 7.11)."""
    if plan.model is ModelKind.TABLE:
        return (ReleaseKind.TABLE,)
    if plan.model is ModelKind.HEAD:
        return (ReleaseKind.GRADIENT, ReleaseKind.OVERLAP, ReleaseKind.EVALUATION)
    after = (ReleaseKind.GRADIENT, ReleaseKind.RECALIBRATION, ReleaseKind.EVALUATION)
    return (ReleaseKind.BINS, *after) if plan.bin_source is BinSource.PRIVATE else after


def honest_of(plan: TrainingPlan, partners: int) -> int:
    """h: fewest members of a roster of K that the plan assumes honest (protocol 4.3, 3.7).

    ``⌈K·fraction⌉``; 1 for a pair, where each sees the other's upload by subtraction.

    Raises:
        RefusalError: a roster of one has nothing to share (R04).
    """
    if partners < _PAIR:
        raise RefusalError(RefusalCode.QUORUM, "shared noise needs at least two partners")
    if partners == _PAIR:
        return 1
    fraction = decimal(plan.honest_fraction, "honest_fraction", low="0.01", high="1")
    return _ceil(partners * fraction)


def attempts_of(plan: TrainingPlan, kind: ReleaseKind) -> int:
    """The most attempts of ``kind`` in the run, all of them paid for (protocol 3.1)."""
    if kind is ReleaseKind.GRADIENT:
        return plan.rounds + plan.spare_attempts
    return plan.histogram_attempts


def most_blocks_held(plan: TrainingPlan) -> int:
    """The most blocks that one partner holds; public, from the plan.

    A row of such a partner moves each of its blocks, every one by at most C (protocol 4.2).
    """
    blocks = Counter(holder for block in plan.blocks for holder in block.holders)
    if not blocks:
        raise ConfigurationError("blocks: the plan has no block, or a block without holders")
    return max(blocks.values())


def _holders(plan: TrainingPlan) -> set[PartnerId]:
    return {holder for block in plan.blocks for holder in block.holders}


def _together(plan: TrainingPlan, kind: ReleaseKind, honest: int) -> int:
    """Most that one person with rows at ``honest`` honest members moves a sum (4.2.1).

    Squared, in units of what one row moves one block, squared. ``max Σ n_b²`` over the
    numbers n_b of honest holders of block b that hold the person, where n_b is at most m_b,
    at most the block's holders and at most ``M = min(m, H)``, and their sum is at most M
    times the most blocks of one partner. The function is convex, so the largest blocks are
    filled first. Bin counts are not split by blocks: all M rows may move the same cells.
    """
    m = plan.max_partners_per_person
    if m < 1:
        raise ConfigurationError("max_partners_per_person: below 1")
    most = min(m, honest)
    if kind is ReleaseKind.BINS:
        return most**2
    left = most * most_blocks_held(plan)
    total = 0
    for cap in sorted((_cap(block, m) for block in plan.blocks), reverse=True):
        here = min(cap, most, left)
        total += here**2
        left -= here
    return total


def _cap(block: Block, m: int) -> int:
    stated = m if block.holders_per_person is None else block.holders_per_person
    if stated < 1:
        raise ConfigurationError(f"block {block.name}: holders_per_person is below 1")
    return min(stated, len(block.holders))


def reserve_units(plan: TrainingPlan) -> Reservation:
    """All that the run may ever charge, to be reserved before it starts (protocol 4.6 (2)).

    No width is needed: whatever the width, an attempt's mechanism costs at most its part.

    Raises:
        ConfigurationError: the charge is above the plan's own epsilon, which only a plan
            with local steps can bring about; or as ``mechanism_for``.
    """
    held = Reservation(training=0, holdout=0, tables=0)
    if plan.model is ModelKind.TABLE:
        held["tables"] = _run_units(plan, ReleaseKind.TABLE)
    else:
        kinds = set(kinds_of(plan)) - {ReleaseKind.EVALUATION}
        held["training"] = sum(_run_units(plan, kind) for kind in kinds)
        held["holdout"] = _run_units(plan, ReleaseKind.EVALUATION)
    most = max(held["training"], held["holdout"], held["tables"])
    if most > _target(plan):
        found = epsilon_of_units(most, float(plan.delta))
        raise ConfigurationError(f"plan costs epsilon {found}, its target is {plan.epsilon}")
    return held


def _run_units(plan: TrainingPlan, kind: ReleaseKind) -> int:
    if kind is ReleaseKind.GRADIENT and plan.algorithm is Algorithm.LOCAL_STEPS:
        return local_steps_units(plan, person=True)
    return attempts_of(plan, kind) * _units_per_attempt(plan, kind)


def local_steps_units(plan: TrainingPlan, *, person: bool) -> int:
    """The charge of all local steps of the run together (protocol 4.8).

    It covers every step of every attempt, at m partners for a person and at one for a
    record. It is one figure for the run and not a sum over rounds: charge all of it before
    the first upload leaves. See ``witnesses.poisson_units`` for what it bounds.
    """
    local = _local(plan)
    if most_blocks_held(plan) > 1:
        raise ConfigurationError("local steps: a partner holds more than one block")
    rate = decimal(local.sample_rate, "local.sample_rate", low="0.000001", high="1")
    steps = attempts_of(plan, ReleaseKind.GRADIENT) * local.steps
    if steps < 1:
        raise ConfigurationError(f"local.steps: {local.steps} is not positive")
    return poisson_units(
        float(_noise_multiplier(local)),
        steps * (plan.max_partners_per_person if person else 1),
        float(plan.delta),
        sample_rate=float(rate),
    )


def _part(plan: TrainingPlan, kind: ReleaseKind, width: int) -> int:
    """Most that one row moves one block of the sum (bins: all of it), squared."""
    if width < 1:
        raise DomainError(f"{kind.value}: width {width} is not positive")
    match kind:
        case ReleaseKind.GRADIENT:  # protocol 3.4.5
            return ((1 << SCALE_BITS) + _ceil_root(width)) ** 2
        case ReleaseKind.BINS:  # protocol 5.3: one person changes one cell of each feature
            return COUNT_SCALE**2 * width
        case ReleaseKind.TABLE:  # protocol 13.11
            return _figure(plan).squared
        case ReleaseKind.EVALUATION if plan.model is ModelKind.HEAD:
            return 2 * COUNT_SCALE**2  # protocol 13.9: one cell, and a vector of length 1
        case _:  # protocol 5.5, 5.8, 7.11: one cell a block
            return COUNT_SCALE**2


def _figure(plan: TrainingPlan) -> FigureSpec:
    if plan.figure is None:
        raise ConfigurationError("figure: missing, but the plan is for a table")
    return plan.figure


def _units_per_attempt(plan: TrainingPlan, kind: ReleaseKind) -> int:
    attempts = attempts_of(plan, kind)
    if attempts < 1 or plan.max_partners_per_person < 1:
        raise ConfigurationError(f"{kind.value}: {attempts} attempts, or m below 1")
    units = math.floor(_share(plan, kind) * _target(plan)) // attempts
    if units < 1:
        raise ConfigurationError(f"{kind.value}: the plan gives it no share of the budget")
    return units


def _target(plan: TrainingPlan) -> int:
    epsilon = decimal(plan.epsilon, "epsilon", low="0.0001", high="100")
    delta = decimal(plan.delta, "delta", low="1E-15", high="0.001")
    return units_of(float(epsilon), float(delta))


def _share(plan: TrainingPlan, kind: ReleaseKind) -> Fraction:
    shares = {
        ReleaseKind.BINS: plan.shares.bins,
        ReleaseKind.GRADIENT: plan.shares.training,
        ReleaseKind.RECALIBRATION: plan.shares.recalibration,
        ReleaseKind.OVERLAP: plan.shares.overlap,
    }
    parsed = {
        name: decimal(text, f"shares.{name.value}", low="0", high="1")
        for name, text in shares.items()
    }
    if sum(parsed.values()) > 1:
        raise ConfigurationError("shares: they add up to more than 1 (protocol 5.6)")
    # Persons held out are in no other release: their own budget is whole (protocol 5.8).
    return parsed.get(kind, Fraction(1))


def _local(plan: TrainingPlan) -> LocalSteps:
    if plan.local is None:
        raise ConfigurationError("local: missing, but the algorithm is local_steps")
    return plan.local


def _noise_multiplier(local: LocalSteps) -> Fraction:
    return decimal(local.noise_multiplier, "local.noise_multiplier", low="0.1", high="1000")


def _ceil(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)


def _ceil_root(value: int) -> int:
    root = math.isqrt(value)
    return root + (root * root < value)
