"""From a joint answer to what a loan desk is told: points, PD, band, reasons (protocol 13.5).

Pure: what answered, and the tables of the model that answered, are arguments. A score has
one byte form, so that it can be kept and given again. It tells bands and totals only: no
partner's name, no number of holders (credit 4.2).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from consortium.errors import DecodeError
from consortium.scoring import reasons, whatif
from consortium.scoring.reasons import (
    Case,
    Explanation,
    Loss,
    Part,
    Reason,
    Source,
    Tables,
)
from consortium.scoring.scorecard import from_units, pd_of
from consortium.scoring.whatif import Change, Labels
from partner_node.answers import JointAnswer

PD_DECIMALS = 4
LOCAL = "local"
"""Calibration of an answer that is the partner's own alone."""


@dataclass(frozen=True, slots=True)
class Line:
    """Constant and slopes of one stratum, or of the local model. Public."""

    alpha: int
    slopes: Mapping[str, int]
    """By family; a family that is not named counts for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What explains the answers of one pair of model and head. Public."""

    labels: Labels
    tables: Tables
    strata: tuple[Line, ...]
    """Of 0, 1, 2 and 3 or more covered families."""
    local: Line
    local_tables: Tables
    """By family, also where the federation sums totals only."""
    step: int
    """The manifest's ``reason_step``."""
    interval: str = ""
    """What is known of the uncertainty of a PD, in words; empty if nothing."""


class TellLoss(NamedTuple):
    """Points lost by one own attribute, or by one family's total; the bin in words."""

    family: str
    feature: str
    bin: str
    points: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What the desk is told of one person. Private; the field names are those on the wire."""

    points: int
    pd: str
    eta: int
    band: str
    fallback: str
    calibration: str
    best: int
    unattributed: int
    reasons: tuple[Reason, ...]
    losses: tuple[TellLoss, ...]
    no_data: tuple[str, ...]
    what_if: tuple[Change, ...]
    model: str
    head: str
    policy: str
    request: str
    interval: str
    answered_at: int

    def to_bytes(self) -> bytes:
        """Canonical JSON (protocol 0.5): strings, integers, lists and objects only.

        ``eta`` is below 2**53 as all log-odds are; keys are ASCII: so sorting them and
        leaving out blanks is all that RFC 8785 asks for.
        """
        body = {
            name: [_plain(one) for one in value] if isinstance(value, tuple) else value
            for name in SCORE_FIELDS
            for value in (getattr(self, name),)
        }
        text = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return text.encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Score":
        """The score of its bytes, or DecodeError: they are not of this version."""
        try:
            body: dict[str, Any] = json.loads(data)
            return cls(
                **body
                | {
                    "reasons": tuple(reason_of(**one) for one in body["reasons"]),
                    "losses": tuple(TellLoss(**one) for one in body["losses"]),
                    "what_if": tuple(Change(**one) for one in body["what_if"]),
                    "no_data": tuple(body["no_data"]),
                }
            )
        except (ValueError, TypeError, KeyError) as error:
            raise DecodeError("a kept score is not of this version") from error


SCORE_FIELDS = tuple(Score.__dataclass_fields__)


def _plain(value: object) -> object:
    return value if isinstance(value, str) else cast("NamedTuple", value)._asdict()


def reason_of(code: str, zh: str, en: str, points: int, source: str) -> Reason:  # noqa: PLR0917 - a row
    """A reason as it was kept or sent; DecodeError for a source that there is not."""
    try:
        return Reason(code, zh, en, points, Source(source))
    except ValueError as error:
        raise DecodeError(f"no source of a reason: {source[:40]!r}") from error


def assemble(
    answer: JointAnswer, served: Served, *, brief: bool = False, answered_at: int
) -> Score:
    """Say what an answer means.

    Args:
        answer: Private.
        served: Of the versions that answered. Public.
        brief: Without losses and what-ifs; reasons stay.
        answered_at: Seconds since 1970, UTC.

    Raises:
        DomainError: the answer is not of these versions.
    """
    case, tables = case_of(answer, served)
    told = reasons.explain(case, tables, step=served.step)
    return Score(
        points=told.points,
        pd=f"{pd_of(from_units(answer.eta)):.{PD_DECIMALS}f}",
        eta=answer.eta,
        band=answer.band,
        fallback=answer.fallback,
        calibration=answer.calibration,
        best=told.best,
        unattributed=told.unattributed,
        reasons=told.reasons,
        losses=() if brief else _losses(told, served),
        no_data=told.no_data,
        what_if=() if brief else whatif.changes(case, tables, served.labels),
        model=answer.model or "",
        head=answer.head or "",
        policy=answer.policy,
        request=answer.context or "",
        interval=served.interval,
        answered_at=answered_at,
    )


def case_of(answer: JointAnswer, served: Served) -> tuple[Case, Tables]:
    """An answer as it is explained, and the tables that explain it. Private."""
    local = answer.calibration == LOCAL
    line = served.local if local else served.strata[answer.stratum]
    parts = tuple(
        Part(part.name, line.slopes.get(part.name, 0), part.own, part.total, part.holders)
        for part in answer.families
    )
    # Of a person unknown here the partner's own answer is the base, whatever its line is.
    known = not local or any(part.holders > 0 for part in parts)
    alpha = line.alpha if known else answer.eta
    case = Case(alpha=alpha, eta=answer.eta, parts=parts, codes=answer.codes)
    return case, served.local_tables if local else served.tables


def _losses(told: Explanation, served: Served) -> tuple[TellLoss, ...]:
    return tuple(
        TellLoss(one.family, one.feature, _bin(one, served), one.points, one.source)
        for one in told.losses
    )


def _bin(loss: Loss, served: Served) -> str:
    return served.labels.of(loss.feature, loss.bin) if loss.feature else ""
