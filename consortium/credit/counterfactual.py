"""What would change the outcome: the cheapest changes of a person's own items (credit 4.20).

Exact: every choice of at most three changes is looked at, and the whole decision is made
again with the one that is told. It is true "on today's other data" only: other partners'
knowledge stays as it was summed, the week's caps as they stand.

The score moves in integers. What the rules make of log-odds changes at a few cuts only, so
the decision is asked once in each interval between them, and the search over bins needs to
know only which intervals are good ones.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from consortium.credit.decision import assess, decide
from consortium.credit.facts import DecisionInput, ScoreFacts
from consortium.credit.levers import Applied, Move, Option, beside_the_score, options_of
from consortium.credit.terms import Grade, add_months
from consortium.credit.tiers import Rules
from consortium.credit.verdict import Decision, Outcome, Rule
from consortium.errors import DomainError
from consortium.scoring.combine import scaled
from consortium.scoring.layout import LOGIT_LIMIT
from consortium.scoring.reasons import Case, Part, Tables, own_bins, table_of
from consortium.scoring.scorecard import UNIT_BITS, from_units, points

MOST_CHANGES = 3
OBSERVATION_MONTHS = 12
"""Arrears older than this are outside the window (credit 2.3)."""

_FIXED = frozenset({Rule.FLAG, Rule.INCOME, Rule.PURPOSE, Rule.INFORMATION, Rule.ARREARS})
"""Rules that no change of items answers."""

Integers = NDArray[np.int64]

_LIMITS = (-LOGIT_LIMIT, LOGIT_LIMIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterfactual:
    """Changes after which the outcome would be another one. Private."""

    moves: tuple[Move, ...]
    eta: int
    """Log-odds after them, units of 2**-32."""
    applied: DecisionInput
    decision: Decision
    """Made from ``applied`` by all rules: what is promised on today's other data."""

    @property
    def cost(self) -> int:
        """Thirds of a bin step."""
        return sum(move.cost for move in self.moves)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoChange:
    """No change of these items alone reaches the next step."""

    leaves_on: date | None
    """When the latest arrears leave the window; None: there are none."""


def counterfactual(
    inputs: DecisionInput,
    rules: Rules,
    case: Case,
    tables: Tables,
    *,
    arrears_on: date | None = None,
) -> Counterfactual | NoChange:
    """The cheapest way to an approval or, for who is approved, to the next grade.

    Args:
        inputs: The decision's. Private.
        rules: The decision's.
        case: The answer that was scored, as it is explained. Private.
        tables: Of the model that scored it. Public.
        arrears_on: Last day of arrears, if there were any. Private.

    Raises:
        DomainError: the case is not that of the input's score.
    """
    score = inputs.score
    if score is not None and score.eta != case.eta:
        raise DomainError("the case is not that of the decision's score")
    found = None
    if score is not None:
        found = _best(inputs, rules, score, _space(case, tables, rules))
    if found is None:
        left = None if arrears_on is None else add_months(arrears_on, OBSERVATION_MONTHS)
        return NoChange(leaves_on=left)
    made = decide(found.inputs, rules)
    return Counterfactual(
        moves=found.moves, eta=found.key[2], applied=found.inputs, decision=made
    )


# --- the search -------------------------------------------------------------------------------


class _Found(NamedTuple):
    key: tuple[int, int, int]
    """Cost, number of changes, eta: smaller is better; then the earlier."""
    moves: tuple[Move, ...]
    inputs: DecisionInput


def _best(
    inputs: DecisionInput, rules: Rules, score: ScoreFacts, space: "_Space"
) -> _Found | None:
    (now,) = assess(inputs, rules)
    if any(one.rule in _FIXED for one in now.fired):
        return None
    target = now.grade if now.outcome is Outcome.APPROVE else None
    search = _Search(score, space)
    seen: list[tuple[int, tuple[bool, ...]]] = []
    for applied in beside_the_score(inputs, rules, MOST_CHANGES):
        if search.best is not None and applied.cost > search.best.key[0]:
            break
        good, used = _Good.of(applied.inputs, rules, target), len(applied.moves)
        # What a cheaper one with no more changes allows needs no second look.
        if not any(count <= used and _covers(flags, good.flags) for count, flags in seen):
            seen.append((used, good.flags))
            search.beside(applied, good)
    return search.best


def _covers(flags: Sequence[bool], others: Sequence[bool]) -> bool:
    return all(one or not other for one, other in zip(flags, others, strict=True))


class _Search:
    """The best choice so far."""

    def __init__(self, score: ScoreFacts, space: "_Space") -> None:
        self._score = score
        self._space = space
        self.best: _Found | None = None

    def beside(self, applied: Applied, good: "_Good") -> None:
        """Look at all choices of bins beside the changes that are applied."""
        used = len(applied.moves)
        if applied.moves and good.holds(self._score.eta):
            key = (applied.cost, used, self._score.eta)
            self._keep(_Found(key, applied.moves, applied.inputs))
        for count in range(1, MOST_CHANGES - used + 1):
            for chosen in combinations(range(len(self._space.attributes)), count):
                self._bins(applied, good, chosen)

    def _bins(self, applied: Applied, good: "_Good", chosen: tuple[int, ...]) -> None:
        space, changes = self._space, len(applied.moves) + len(chosen)
        least = applied.cost + sum(space.cheapest[place] for place in chosen)
        if self.best is not None and (least, changes) > self.best.key[:2]:
            return
        hit = space.look(chosen, good) if good.reaches(space.lowest(chosen)) else None
        if hit is not None:
            cost, eta, options = hit
            moves = (*applied.moves, *space.moves(chosen, options))
            inputs = _scored(applied.inputs, self._score, eta)
            self._keep(_Found((applied.cost + cost, changes, eta), moves, inputs))

    def _keep(self, found: _Found) -> None:
        if self.best is None or found.key < self.best.key:
            self.best = found


def _scored(inputs: DecisionInput, score: ScoreFacts, eta: int) -> DecisionInput:
    """The input with another score; its reasons are not known before it is scored."""
    changed = replace(score, eta=eta, points=points(from_units(eta)), reasons=())
    return replace(inputs, score=changed)


class _Good(NamedTuple):
    """Which log-odds lead where one wants to go: intervals between the rules' cuts."""

    cuts: tuple[int, ...]
    flags: tuple[bool, ...]
    """One more than cuts; from strong to weak."""

    @classmethod
    def of(cls, inputs: DecisionInput, rules: Rules, beyond: Grade | None) -> "_Good":
        """Ask the decision once in each interval.

        ``beyond``: the grade that is to be left for a stronger one; None: an approval is all
        that is wanted.
        """
        product, score = rules.catalogue.product(inputs.wish.product), inputs.score
        purpose = inputs.wish.purpose
        if product is None or purpose is None or score is None:
            return cls((), (False,))
        own = rules.cuts(product, purpose) or ()
        cuts = tuple(sorted({*rules.grade_cuts, *own}))
        probes = (cuts[0] - 1, *cuts)
        made = assess(inputs, rules, probes)
        return cls(
            cuts,
            tuple(
                one.outcome is Outcome.APPROVE
                and (beyond is None or (one.grade is not None and one.grade < beyond))
                for one in made
            ),
        )

    def holds(self, eta: int) -> bool:
        """Whether these log-odds are good."""
        return self.flags[bisect_right(self.cuts, eta)]

    def reaches(self, lowest: int) -> bool:
        """Whether some good log-odds are at or above ``lowest``."""
        return any(self.flags[bisect_right(self.cuts, lowest) :])

    def mask(self, eta: Integers) -> NDArray[np.bool_]:
        """Which of them are good."""
        flags: NDArray[np.bool_] = np.array(self.flags)[
            np.searchsorted(np.array(self.cuts, dtype=np.int64), eta, side="right")
        ]
        return flags


# --- the score in integers --------------------------------------------------------------------


class _Attribute(NamedTuple):
    """An own attribute that can be changed, and to what."""

    name: str
    code: int
    part: int
    family: str
    options: tuple[Option, ...]
    weights: Integers
    costs: Integers
    best: int
    """The change of weight that lowers the risk most."""


def _clamped(logit: int) -> int:
    return max(-LOGIT_LIMIT, min(LOGIT_LIMIT, logit))


@dataclass(frozen=True, slots=True)
class _Line:
    """One part of the answer: what of it the asker's own bins move. Private."""

    part: Part
    raw: Mapping[str, int]
    """By schema family, before it was clamped."""
    term: int
    """This part's term of eta now."""

    def lowest_of(self, changes: Mapping[str, int]) -> int:
        """The term with raw logits changed, for one choice."""
        own = sum(_clamped(raw + changes.get(family, 0)) for family, raw in self.raw.items())
        logit = self.part.total - self.part.own + _clamped(own)
        return self.part.slope * (logit // self.part.holders) >> UNIT_BITS

    def terms_of(self, changes: Mapping[str, Integers]) -> Integers:
        """The term with raw logits changed, family by family (protocol 7.1, 7.7)."""
        own = np.zeros_like(next(iter(changes.values())))
        for family, raw in self.raw.items():
            own += np.clip(raw + changes.get(family, np.zeros_like(own)), *_LIMITS)
        logit: Integers = self.part.total - self.part.own + np.clip(own, *_LIMITS)
        slope: Integers = np.full_like(logit, self.part.slope)
        return scaled(slope, logit // self.part.holders)


@dataclass(frozen=True, slots=True)
class _Space:
    """Everything that can be changed, in schema order. Private."""

    eta: int
    lines: tuple[_Line, ...]
    attributes: tuple[_Attribute, ...]
    cheapest: tuple[int, ...]

    def lowest(self, chosen: Sequence[int]) -> int:
        """Least log-odds with the best bin of each: no other choice of bins goes below."""
        changes: dict[int, dict[str, int]] = {}
        for place in chosen:
            one = self.attributes[place]
            families = changes.setdefault(one.part, {})
            families[one.family] = families.get(one.family, 0) + one.best
        return self.eta + sum(
            self.lines[part].lowest_of(families) - self.lines[part].term
            for part, families in changes.items()
        )

    def look(
        self, chosen: Sequence[int], good: _Good
    ) -> tuple[int, int, tuple[Option, ...]] | None:
        """Cheapest good choice of one bin each: cost, eta, bins; or None."""
        found = [self.attributes[place] for place in chosen]
        shape = tuple(len(one.options) for one in found)
        picks = np.unravel_index(np.arange(math.prod(shape)), shape)
        eta = self._eta(
            chosen, [one.weights[pick] for one, pick in zip(found, picks, strict=True)]
        )
        costs = np.zeros_like(eta)
        for one, pick in zip(found, picks, strict=True):
            costs += one.costs[pick]
        places = np.flatnonzero(good.mask(eta))
        if places.size == 0:
            return None
        # by cost, then by the larger margin, then in schema order
        place = places[np.lexsort((places, eta[places], costs[places]))[0]]
        options = tuple(
            one.options[int(pick[place])] for one, pick in zip(found, picks, strict=True)
        )
        return int(costs[place]), int(eta[place]), options

    def moves(self, chosen: Sequence[int], options: Sequence[Option]) -> Iterator[Move]:
        """What is told of a choice."""
        for place, option in zip(chosen, options, strict=True):
            one = self.attributes[place]
            yield Move(
                what=one.name,
                before=one.code,
                after=option.code,
                months=option.months,
                cost=option.cost,
            )

    def _eta(self, chosen: Sequence[int], weights: Sequence[Integers]) -> Integers:
        changes: dict[int, dict[str, Integers]] = {}
        for place, weight in zip(chosen, weights, strict=True):
            one = self.attributes[place]
            families = changes.setdefault(one.part, {})
            families[one.family] = families.get(one.family, np.zeros_like(weight)) + weight
        eta = np.full(len(weights[0]), self.eta, dtype=np.int64)
        for part, families in changes.items():
            eta += self.lines[part].terms_of(families) - self.lines[part].term
        return eta


def _space(case: Case, tables: Tables, rules: Rules) -> _Space:
    lines, attributes = [], []
    for place, part in enumerate(case.parts):
        raw: dict[str, int] = {}
        if part.holders > 0:
            table = table_of(tables, part.name)
            for attribute, code in own_bins(table, case.codes):
                family = attribute.feature.family
                raw.setdefault(family, -table.centres.get(family, 0))
                raw[family] += attribute.weights[code]
                options = tuple(options_of(attribute, code, part.slope, rules.policy))
                if options:
                    best = min((one.weight for one in options), key=part.slope.__mul__)
                    attributes.append(
                        _Attribute(
                            attribute.name,
                            code,
                            place,
                            family,
                            options,
                            np.array([one.weight for one in options], dtype=np.int64),
                            np.array([one.cost for one in options], dtype=np.int64),
                            best,
                        )
                    )
        holders = max(part.holders, 1)
        term = part.slope * (part.total // holders) >> UNIT_BITS
        lines.append(_Line(part, raw, term))
    return _Space(
        eta=case.eta,
        lines=tuple(lines),
        attributes=tuple(attributes),
        cheapest=tuple(min(option.cost for option in one.options) for one in attributes),
    )
