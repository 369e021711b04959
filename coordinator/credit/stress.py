"""From stored releases to the report of a closure: what to read, what is missing, the answer.

Asking costs nothing: every figure here is computed from releases that are paid for. What is
missing is named with the figure to run and its price, for only the operator may decide that.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from consortium.credit.contagion import shock_of
from consortium.credit.figures import FigureKind, NoisyTable
from consortium.credit.shock import TIERS, Closure, Elasticity, Question, Tier
from consortium.credit.shock_tables import (
    Pair,
    market_of,
    needed_pairs,
    partners_of,
    study_of,
)
from consortium.errors import NotFoundError
from consortium.identity.overlap import OverlapCount
from consortium.ids import Digest, PartnerId, digest_of
from consortium.privacy.accountant import epsilon_of_units, units_of
from coordinator.credit.stress_policy import StressPolicy
from coordinator.credit.stress_report import Basis, Behind, Document, document_of

TABLE_PRICE = "epsilon 1 for a person by default, reserved at every node before it starts"
OVERLAP_PRICE = "`riskweave coordinator overlap --epsilon 0.1`: 0.1 for a person at both"
_NAMED = 4
"""Missing pairs that an error names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Releases that were made, in any order. Public."""

    tables: tuple[NoisyTable, ...]
    overlaps: tuple[OverlapCount, ...]
    most_partners: int | None = None
    """That may hold one person, as the tables' plans say; None: all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the operator asks."""

    closing: Mapping[PartnerId, frozenset[Tier]]
    share: float = 1.0
    rounds: int = 3
    month: str = ""
    """Empty: the newest month that has a table of tiers."""
    seed: int = 1


def closure_report(stored: Stored, policy: StressPolicy, asked: Asked) -> Document:
    """What happens elsewhere if lines close.

    Raises:
        NotFoundError: releases are missing; names them, what to run and what it costs.
        DomainError: the question names a partner that is not in the tables.
    """
    tiers = _tiers(stored, asked.month)
    month = tiers.spec.last
    overlaps = [one for one in stored.overlaps if one.period == month]
    pairs = needed_pairs(partners_of(tiers), asked.closing, rounds=asked.rounds)
    _check_pairs(pairs, overlaps, month)
    wanted = set(pairs)
    used = _newest(one for one in overlaps if (one.counter, one.peer) in wanted)
    studies = _studies(stored)
    question = Question(
        closure=Closure(tiers=asked.closing, share=asked.share),
        elasticities=_elasticities(studies, policy),
        bands=policy.bands,
        cut=policy.cut,
        reaction=policy.reaction,
        rounds=asked.rounds,
    )
    market = market_of(tiers, used)
    tables = (tiers, *studies)
    seed = _seed(tables, used, question, asked.seed)
    basis = Basis(
        policy=policy,
        behind=(*map(table_behind, tables), *_overlaps_behind(used)),
        epsilon=_together(tables, used, stored.most_partners or len(market.partners)),
        synthetic=any(one.synthetic for one in tables),
        seed=seed,
        period=month,
    )
    shock = shock_of(market, question, seed=seed)
    return document_of(market, question, shock, basis)


def _tiers(stored: Stored, month: str) -> NoisyTable:
    found = [one for one in stored.tables if one.spec.kind is FigureKind.TIERS]
    found = [one for one in found if month in ("", one.spec.last)]
    if not found:
        raise NotFoundError(
            f"no TIERS release{f' of {month}' if month else ''}: run the figure tiers; "
            f"`riskweave stress plan` prints its plan ({TABLE_PRICE})"
        )
    return max(found, key=lambda one: (one.spec.last, one.release))


def _check_pairs(pairs: Sequence[Pair], overlaps: Sequence[OverlapCount], month: str) -> None:
    told: dict[Pair, set[str]] = {}
    for one in overlaps:
        told.setdefault((one.counter, one.peer), set()).add(one.tier)
    missing = [pair for pair in pairs if not set(TIERS) <= told.get(pair, set())]
    if not missing:
        return
    named = ", ".join(f"{one} with {other}" for one, other in missing[:_NAMED])
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    count = f"{len(missing)} of {len(pairs)} pairs"
    raise NotFoundError(
        f"no OVERLAP release of {month} for {count}: {named}{more}. "
        f"Run each with the tiers it has by default ({OVERLAP_PRICE}, for each pair); "
        "with --rounds 1 only those of the closing partners are needed"
    )


def _newest(overlaps: Iterable[OverlapCount]) -> list[OverlapCount]:
    """One count for each pair and tier: of several releases always the same one."""
    kept: dict[tuple[str, str, str], OverlapCount] = {}
    for one in sorted(overlaps, key=lambda one: one.release):
        kept.setdefault((one.counter, one.peer, one.tier), one)
    return [kept[key] for key in sorted(kept)]


def _studies(stored: Stored) -> list[NoisyTable]:
    """The newest study, if there is any."""
    found = [one for one in stored.tables if one.spec.kind is FigureKind.ELASTICITY]
    found.sort(key=lambda one: (one.spec.last, one.release), reverse=True)
    return found[:1]


def _elasticities(
    studies: Sequence[NoisyTable], policy: StressPolicy
) -> Mapping[Tier, Elasticity]:
    """Measured where there is a study with enough persons, else assumed."""
    measured = {
        tier: one.elasticity for table in studies for tier, one in study_of(table).items()
    }
    return {tier: measured.get(tier, policy.elasticities[tier]) for tier in TIERS}


def _seed(
    tables: Sequence[NoisyTable],
    overlaps: Sequence[OverlapCount],
    question: Question,
    number: int,
) -> Digest:
    """Of the draws: digest of the question, of all that it reads, and of a number."""
    closing = question.closure.tiers
    asked = {
        "closing": {name: sorted(closing[name]) for name in closing},
        "share": question.closure.share,
        "rounds": question.rounds,
        "tables": [one.digest for one in tables],
        "overlaps": sorted({one.release for one in overlaps}),
        "elasticities": {tier: asdict(one) for tier, one in question.elasticities.items()},
        "reaction": asdict(question.reaction),
        "number": number,
    }
    return digest_of(b"riskweave/stress/v1\n" + json.dumps(asked, sort_keys=True).encode())


def _together(tables: Sequence[NoisyTable], overlaps: Sequence[OverlapCount], most: int) -> str:
    """Epsilon of a person in all of them, as claimed, at the largest delta.

    A person who is at no more than ``most`` partners is in no more than ``most·(most - 1)``
    of the overlaps; the dearest ones count.
    """
    runs = {one.release: one for one in overlaps}.values()
    dearest = sorted(units_of(float(one.epsilon), float(one.delta)) for one in runs)
    units = sum(dearest[-most * (most - 1) :]) if most > 1 else 0
    units += sum(units_of(float(one.epsilon), float(one.delta)) for one in tables)
    delta = max(float(text) for text in (*(t.delta for t in tables), *(o.delta for o in runs)))
    return f"{epsilon_of_units(units, delta):.4f}"


def table_behind(table: NoisyTable) -> Behind:
    """A table as a report names it."""
    spec = table.spec
    study = spec.kind is FigureKind.ELASTICITY
    return Behind(
        figure=spec.kind.name,
        release=table.release,
        period=spec.first if spec.first == spec.last else f"{spec.first} - {spec.last}",
        about=f"{'arms at ' if study else ''}{table.partners} partners",
        epsilon={
            "claimed": table.epsilon,
            "all honest": table.epsilon_all_honest,
            "others collude": table.epsilon_others_collude,
        },
        delta=table.delta,
    )


def _overlaps_behind(overlaps: Sequence[OverlapCount]) -> Iterable[Behind]:
    seen = {one.release: one for one in overlaps}
    for one in seen.values():
        yield Behind(
            figure="OVERLAP",
            release=one.release,
            period=one.period,
            about=f"{one.counter}, {one.peer}",
            epsilon={"towards all but the counting partner": one.epsilon},
            delta=one.delta,
        )
