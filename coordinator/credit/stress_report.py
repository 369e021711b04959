"""A closure stress as one document: every figure with interval, n band and epsilon.

The document is all there is: table, page and terminal are drawn from it and from nothing else,
so a stored run shows the same figures for ever. Figures keep six significant digits, which is
more than any interval here bears out.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import cast

import numpy as np

from consortium.credit.contagion import Effects, Estimates, Round, Shock
from consortium.credit.figures import n_band
from consortium.credit.shock import TIERS, Market, Question, Tier
from consortium.errors import ConfigurationError
from consortium.ids import Digest, digest_of
from coordinator.credit.stress_policy import StressPolicy

MEASURES = ("hit", "pd", "loss", "moves", "approvals")
KIND = "closure stress"
ALL = "*"
"""All partners, or all tiers of one."""

Document = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """A release that a report rests on."""

    figure: str
    release: Digest
    period: str
    about: str
    """Which pair, or which study."""
    epsilon: Mapping[str, str]
    """Of a person, by who colludes."""
    delta: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """All that a report rests on beside the question."""

    policy: StressPolicy
    behind: tuple[Behind, ...]
    epsilon: str
    """Of a person in all releases together, as claimed and charged."""
    synthetic: bool
    seed: Digest
    period: str


def document_of(market: Market, question: Question, shock: Shock, basis: Basis) -> Document:
    """The report of a shock."""
    return {
        "kind": KIND,
        "title": title(synthetic=basis.synthetic, assumed=question.assumed),
        "synthetic": basis.synthetic,
        "assumed": question.assumed,
        "period": basis.period,
        "seed": basis.seed,
        "epsilon": basis.epsilon,
        "interval": "95 %, seeded draws over the noise of all releases and the elasticities",
        "question": _question(question),
        "policy": _policy(basis.policy, question),
        "elasticities": {tier: _elasticity(question, tier) for tier in TIERS},
        "before": _before(market, shock),
        "rounds": [_round(market, question, shock, one) for one in shock.rounds],
        "together": _round(market, question, shock, shock.together),
        "releases": [asdict(one) for one in basis.behind],
    }


def title(*, synthetic: bool, assumed: bool) -> Mapping[str, str]:
    """In both languages; says what must not be overlooked."""
    zh, en = "信贷关闭压力测试", "Closure stress"
    if assumed:
        zh, en = f"{zh}(弹性为假设值)", f"{en} (elasticities are assumed)"
    return {
        "zh": f"合成数据 · {zh}" if synthetic else zh,
        "en": f"SYNTHETIC · {en}" if synthetic else en,
    }


def as_json(document: Document) -> str:
    """The bytes of a stored report."""
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def from_json(data: bytes, source: str) -> Document:
    """A stored report; ConfigurationError if it is none."""
    try:
        found = json.loads(data)
    except ValueError as error:
        raise ConfigurationError(f"{source}: no JSON: {error}") from error
    if not isinstance(found, dict) or not str(found.get("kind", "")).endswith(" stress"):
        raise ConfigurationError(f"{source}: no report of a stress run")
    return found


def stem_of(document: Document) -> str:
    """Of the files' names: what it is, and the digest of its bytes."""
    label = "SYNTHETIC-" if document["synthetic"] else ""
    digest = digest_of(as_json(document).encode())
    return f"{label}{str(document['kind']).replace(' ', '-')}-{digest[:12]}"


def summary(document: Document) -> Iterable[str]:
    """A few lines for a terminal."""
    titles = cast("Mapping[str, str]", document["title"])
    unit = cast("Mapping[str, str]", document["policy"])["currency"]
    yield f"{titles['en']}, {document['period']}, epsilon {document['epsilon']} for a person"
    for line in together_of(document):
        if line["tier"] == ALL:
            hit, pd, loss = (triple(line, name) for name in ("hit", "pd", "loss"))
            name = "all partners" if line["partner"] == ALL else line["partner"]
            yield (
                f"{name!s:>14} (n {line['n_band']}): hit {hit[0]:,.0f} "
                f"[{hit[1]:,.0f}, {hit[2]:,.0f}], PD {100 * pd[0]:+.3f} points "
                f"[{100 * pd[1]:+.3f}, {100 * pd[2]:+.3f}], EL {loss[0] / 100:+,.0f} {unit} "
                f"[{loss[1] / 100:+,.0f}, {loss[2] / 100:+,.0f}]"
            )


def as_csv(document: Document) -> str:
    """One figure a line."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ("label", "round", "partner", "tier", "n_band", "figure", "value", "low", "high")
    writer.writerow((*head, "undefined", "epsilon", "period"))
    label = "SYNTHETIC" if document["synthetic"] else ""
    tail = (document["epsilon"], document["period"])
    for line in lines_of(document):
        for name in MEASURES:
            values = triple(line, name)
            place = [line[key] for key in ("round", "partner", "tier", "n_band")]
            writer.writerow((label, *place, name, *values, line["undefined"], *tail))
    return out.getvalue()


def lines_of(document: Document) -> Iterable[Document]:
    """Lines of all rounds, then of all together."""
    for one in (*cast("list[list[Document]]", document["rounds"]), together_of(document)):
        yield from one


def together_of(document: Document) -> Sequence[Document]:
    """Lines of all rounds added up."""
    return cast("list[Document]", document["together"])


def triple(line: Document, name: str) -> tuple[float, float, float]:
    """Value and ends of the interval of a figure in a line."""
    found = cast("Mapping[str, float]", line[name])
    return found["value"], found["low"], found["high"]


def _question(question: Question) -> Document:
    closing = question.closure.tiers
    return {
        "closing": {
            partner: [tier for tier in TIERS if tier in closing[partner]]
            for partner in sorted(closing)
        },
        "share": question.closure.share,
        "rounds": question.rounds,
    }


def _policy(policy: StressPolicy, question: Question) -> Document:
    reaction = question.reaction
    return {
        "id": policy.id,
        "version": policy.version,
        "currency": policy.currency,
        "lgd": reaction.lgd,
        "theta": reaction.theta,
        "kappa": {tier: reaction.kappa[tier] for tier in TIERS},
        "decline_pd": policy.decline_pd,
    }


def _elasticity(question: Question, tier: Tier) -> Document:
    one = question.elasticities[tier]
    return {
        **_estimate(one.value, one.low, one.high),
        "provenance": one.provenance,
        "source": one.source,
    }


def _before(market: Market, shock: Shock) -> list[Document]:
    """Expected loss before, by partner and of all."""
    persons = np.maximum(market.persons.values, 0.0).sum(axis=1)
    lines = [
        {"partner": partner, "n_band": n_band(float(persons[j])), **_at(shock.before, j)}
        for j, partner in enumerate(shock.partners)
    ]
    total = {"partner": ALL, "n_band": n_band(float(persons.sum()))}
    return [*lines, {**total, **_at(shock.before_all)}]


def _round(market: Market, question: Question, shock: Shock, one: Round) -> list[Document]:
    """Lines by partner and tier, by partner, and of all; round 0 is all together."""
    persons = np.maximum(market.persons.values, 0.0)
    lines: list[Document] = []
    for j, partner in enumerate(shock.partners):
        closes = question.closure.tiers.get(partner, frozenset())
        for t, tier in enumerate(TIERS):
            head = _head(one, partner, tier, float(persons[j, t]))
            marks = {"undefined": bool(shock.undefined[j, t]), "closes": tier in closes}
            lines.append({**head, **marks, **_effects(one.by_tier, j, t)})
        head = _head(one, partner, ALL, float(persons[j].sum()))
        marks = {
            "undefined": bool(shock.undefined[j].all()),
            "closes": closes == frozenset(TIERS),
        }
        lines.append({**head, **marks, **_effects(one.by_partner, j)})
    head = _head(one, ALL, ALL, float(persons.sum()))
    return [*lines, {**head, "undefined": False, "closes": False, **_effects(one.total)}]


def _head(one: Round, partner: str, tier: str, persons: float) -> dict[str, object]:
    number = one.number or "all"
    return {"round": number, "partner": partner, "tier": tier, "n_band": n_band(persons)}


def _effects(effects: Effects, *place: int) -> Mapping[str, object]:
    found: dict[str, object] = {}
    for name in MEASURES:
        one: Estimates = getattr(effects, name)
        found[name] = _at(one, *place)
    return found


def _at(estimates: Estimates, *place: int) -> Mapping[str, float]:
    one = estimates.at(*place)
    return _estimate(one.value, one.low, one.high)


def _estimate(value: float, low: float, high: float) -> Mapping[str, float]:
    return {"value": _figure(value), "low": _figure(low), "high": _figure(high)}


def _figure(value: float) -> float:
    """Six significant digits; 0 has no sign."""
    return float(f"{value:.6g}") + 0.0
