"""Where the points went: reasons that add up to the score (protocol 7.12, 13.5; credit 4.12).

The asker's own attributes are told one by one. What other partners know is told as a total
of each family, rounded to the manifest's step. What neither tells is told as
``unattributed``, always. Shown integers add up to the shown points exactly. Only what was
scored is a reason: a family that nobody holds is "no data", and texts name no partner.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from consortium.errors import DomainError
from consortium.features.bins import MISSING
from consortium.features.concepts import Concept
from consortium.features.schema import Disclosure, Feature, Schema
from consortium.scoring.layout import TOTAL
from consortium.scoring.scorecard import FACTOR, UNIT_BITS, from_units, points, score

MOST_REASONS = 4
_TWO_UNITS = 1 << 2 * UNIT_BITS


class Source(StrEnum):
    """Whose knowledge a reason rests on."""

    OWN = "own"
    OTHERS = "others"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteText:
    """What is said of other partners' knowledge of a family."""

    code: str
    zh: str
    en: str


_REPAYMENT = RemoteText(
    code="R31", zh="其他机构的还款记录", en="Repayment record at other institutions"
)
_USE = RemoteText(
    code="R32",
    zh="其他机构的账单与用款情况",
    en="Billing and use of credit at other institutions",
)
_PAID = RemoteText(
    code="R33", zh="其他机构的还款金额情况", en="Payment amounts at other institutions"
)
_CAPACITY = RemoteText(
    code="R34", zh="其他机构的额度与负债情况", en="Limits and debts at other institutions"
)
_ANY = RemoteText(
    code="R35", zh="其他机构的信贷信息", en="Credit information at other institutions"
)

REMOTE: Mapping[Concept, RemoteText] = MappingProxyType(
    dict.fromkeys(
        (
            Concept.ARREARS,
            Concept.REPAYMENT_STATUS,
            Concept.CREDIT_APPLICATIONS,
            Concept.HISTORY_LENGTH,
            Concept.LINE_CLOSURE,
            Concept.ACCOUNT_STATUS,
        ),
        _REPAYMENT,
    )
    | dict.fromkeys(
        (
            Concept.BILLED_AMOUNT,
            Concept.BALANCE,
            Concept.UTILISATION,
            Concept.CASH_SHARE,
            Concept.INACTIVITY,
        ),
        _USE,
    )
    | dict.fromkeys((Concept.PAID_AMOUNT, Concept.PAYMENT_RATIO), _PAID)
    | dict.fromkeys(
        (
            Concept.CREDIT_LIMIT,
            Concept.OPEN_LINES,
            Concept.SECURED_LINES,
            Concept.LOAN_AMOUNT,
            Concept.DUES,
            Concept.INCOME,
            Concept.DEBT_TO_INCOME,
            Concept.DEPOSITS,
            Concept.SECURITIES,
            Concept.REAL_ESTATE,
        ),
        _CAPACITY,
    )
)
"""Which text fits a concept; R35 where none does, and for ``total_only``."""


def remote_text(features: Sequence[Feature]) -> RemoteText:
    """The text of a family: what most of its features are about, at a tie the earlier."""
    texts = [REMOTE.get(feature.concept, _ANY) for feature in features]
    return max(dict.fromkeys(texts), key=texts.count, default=_ANY)


# --- what is the same for all persons ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attribute:
    """One feature of the model and the weight of each of its bins. Public."""

    feature: Feature
    weights: tuple[int, ...]
    """By bin code, the missing bin first; log-odds of bad in units of 2**-32."""
    name: str = field(init=False)
    lowest: int = field(init=False)
    highest: int = field(init=False)

    def __post_init__(self) -> None:
        """Look once at what is asked for each person."""
        object.__setattr__(self, "name", self.feature.name)
        object.__setattr__(self, "lowest", min(self.weights))
        object.__setattr__(self, "highest", max(self.weights))

    def best(self, slope: int) -> int:
        """Weight of the bin that costs nothing: the lowest, or the highest if it turns."""
        return self.lowest if slope >= 0 else self.highest


@dataclass(frozen=True, slots=True)
class FamilyTable:
    """One family of the served layout. Public."""

    name: str
    attributes: tuple[Attribute, ...]
    """In schema order."""
    centres: Mapping[str, int]
    """What is subtracted from a schema family's sum of weights, so that an average person
    has 0; in units."""
    remote: RemoteText
    lowest: int = field(init=False)
    highest: int = field(init=False)

    def __post_init__(self) -> None:
        """Add up once what is asked for each person."""
        centre = self.centres.get(self.name, 0)
        lowest = sum(attribute.lowest for attribute in self.attributes) - centre
        highest = sum(attribute.highest for attribute in self.attributes) - centre
        object.__setattr__(self, "lowest", lowest)
        object.__setattr__(self, "highest", highest)

    def remote_reference(self, slope: int) -> int:
        """ref_f: centred logit of the best that another holder can report, in units.

        Of ``total_only`` it is 0, the average person: which families a holder added up is
        not known, so no best can be named (credit 4.12 (6)).
        """
        if self.name == TOTAL:
            return 0
        return self.lowest if slope >= 0 else self.highest

    def own_reference(self, slope: int, own: "OwnBins") -> int:
        """Centred logit of the asker's own best: of the families that it holds."""
        if len(own) == len(self.attributes) and self.name != TOTAL:
            return self.lowest if slope >= 0 else self.highest
        families = {attribute.feature.family for attribute, _ in own}
        best = sum(attribute.best(slope) for attribute, _ in own)
        return best - sum(self.centres.get(name, 0) for name in families)


Tables = Mapping[str, FamilyTable]
"""By family, in the order of the layout."""

OwnBins = Sequence[tuple[Attribute, int]]
"""Attributes that the asker knows of a person, and the bin of each. Private."""


def tables_of(
    schema: Schema,
    weights: Mapping[str, Sequence[int]],
    *,
    families: Sequence[str],
    centres: Mapping[str, int] | None = None,
) -> Tables:
    """Tables of a model.

    Args:
        schema: Public.
        weights: By feature and bin code, in units of 2**-32. Public.
        families: The served layout, or ``(TOTAL,)``.
        centres: By family; 0 where none is named.

    Raises:
        SchemaError: a feature or family that the schema has not.
    """
    known = {name: Attribute(schema.feature(name), tuple(w)) for name, w in weights.items()}
    ordered = [known[feature.name] for feature in schema.features if feature.name in known]
    centres = centres or {}
    if tuple(families) == (TOTAL,):
        return {TOTAL: FamilyTable(TOTAL, tuple(ordered), dict(centres), _ANY)}
    return {
        name: FamilyTable(
            name,
            tuple(one for one in ordered if one.feature.family == name),
            {name: centres.get(name, 0)},
            remote_text(schema.of_families((name,))),
        )
        for name in families
    }


# --- one person -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """One family's part of an answer, logits in units. Private."""

    name: str
    slope: int
    """beta of this family in the answer's stratum, in units."""
    own: int
    total: int
    holders: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An answer that is to be explained. Private."""

    alpha: int
    """Constant of the answer's stratum, in units."""
    eta: int
    """Log-odds of bad that were scored, in units."""
    parts: tuple[Part, ...]
    """In the order of the layout."""
    codes: Mapping[str, int]
    """Bin codes of the own attributes, by feature; empty for a person unknown here."""


class Loss(NamedTuple):
    """Points lost by one attribute, or by one family's total."""

    family: str
    feature: str
    """Empty for a total."""
    bin: int
    """Code of the own bin; 0 for a total."""
    points: int
    source: Source


class Reason(NamedTuple):
    """One reason as it is told to a person."""

    code: str
    zh: str
    en: str
    points: int
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """``points == best − sum of losses − unattributed``, in integers. Private."""

    points: int
    best: int
    """Points with every covered family at its best."""
    losses: tuple[Loss, ...]
    unattributed: int
    no_data: tuple[str, ...]
    """Families that nobody holds of this person."""
    reasons: tuple[Reason, ...]


def explain(case: Case, tables: Tables, *, step: int, most: int = MOST_REASONS) -> Explanation:
    """Say where the points of a score went.

    Args:
        case: Private.
        tables: Of the model that scored it. Public.
        step: Points to which totals of other partners are rounded (the manifest's).
        most: Reasons at most; a policy pack may say fewer than four.

    Raises:
        DomainError: a step below 1, a family without a table, or a code that is no bin.
    """
    if step < 1:
        raise DomainError(f"reasons are rounded to steps of {step} points")
    best_eta = case.alpha
    exact: list[Line] = []
    for part in case.parts:
        if part.holders > 0:
            table = table_of(tables, part.name)
            own = own_bins(table, case.codes)
            best_eta += (part.slope * _best_logit(part, table, own)) >> UNIT_BITS
            exact += _own_losses(part, own)
            exact += _remote_loss(part, table, own, step)
    best = score(from_units(best_eta))
    lost = best - score(from_units(case.eta))
    shown_best, shown = math.floor(best + 0.5), points(from_units(case.eta))
    rest = lost - math.fsum(amount for _, amount, _ in exact)
    amounts = [amount for _, amount, _ in exact]
    integers = _largest_remainder([*amounts, rest], shown_best - shown)
    told = [
        (Loss(one.family, one.feature, one.bin, number, one.source), amount, text)
        for (one, amount, text), number in zip(exact, integers, strict=False)
    ]
    return Explanation(
        points=shown,
        best=shown_best,
        losses=tuple(one for one, _, _ in told),
        unattributed=integers[-1],
        no_data=tuple(part.name for part in case.parts if part.holders <= 0),
        reasons=_reasons(told, step)[:most],
    )


def own_bins(table: FamilyTable, codes: Mapping[str, int]) -> OwnBins:
    """The attributes that the asker holds of a person, and the bin of each.

    A family without any value is not held, as in the words that are summed (protocol 7.5).

    Raises:
        DomainError: a code that is no bin.
    """
    found = []
    held = set()
    for attribute in table.attributes:
        code = codes.get(attribute.name)
        if code is not None:
            if not 0 <= code < len(attribute.weights):
                raise DomainError(f"feature {attribute.name!r} has no bin {code}")
            found.append((attribute, code))
            if code != MISSING:
                held.add(attribute.feature.family)
    return [(one, code) for one, code in found if one.feature.family in held]


def table_of(tables: Tables, family: str) -> FamilyTable:
    """The table of a family, or DomainError."""
    try:
        return tables[family]
    except KeyError as error:
        raise DomainError(f"no table of family {family!r}") from error


Line = tuple[Loss, float, Feature | RemoteText | None]
"""A loss before its points are whole, its points, and whose text may be said of it."""


def _others(part: Part, own: OwnBins) -> int:
    held = bool(own) or part.own != 0  # a model without attributes has only its logit
    return part.holders - held


def _best_logit(part: Part, table: FamilyTable, own: OwnBins) -> int:
    """z_f if the own bins and the other holders' totals were at their best."""
    remote = _others(part, own) * table.remote_reference(part.slope)
    mine = table.own_reference(part.slope, own) if own else 0
    return (mine + remote) // part.holders


def _own_losses(part: Part, own: OwnBins) -> list[Line]:
    """Credit 4.12 (1); features that may be told by total only are one line, at the end."""
    lines: list[Line] = []
    together = []
    for attribute, code in own:
        feature = attribute.feature
        worse = part.slope * (attribute.weights[code] - attribute.best(part.slope))
        amount = FACTOR * (worse / (part.holders * _TWO_UNITS))
        if feature.disclosure is Disclosure.OWN:
            loss = Loss(part.name, attribute.name, code, 0, Source.OWN)
            lines.append((loss, amount, feature))
        elif feature.disclosure is Disclosure.FAMILY_TOTAL:
            together.append(amount)
    if together:
        lines.append((Loss(part.name, "", 0, 0, Source.OWN), math.fsum(together), None))
    return lines


def _remote_loss(part: Part, table: FamilyTable, own: OwnBins, step: int) -> list[Line]:
    """Credit 4.12 (2): other holders' total against their best, rounded to the step."""
    others = _others(part, own)
    if others <= 0:
        return []
    best = others * table.remote_reference(part.slope)
    worse = part.slope * (part.total - part.own - best)
    amount = FACTOR * (worse / (part.holders * _TWO_UNITS))
    rounded = float(step * math.floor(amount / step + 0.5))
    return [(Loss(part.name, "", 0, 0, Source.OTHERS), rounded, table.remote)]


def _largest_remainder(amounts: Sequence[float], total: int) -> list[int]:
    """Integers that add up to ``total``: floors, then one more by falling remainder.

    ``total`` differs from the sum by less than 1, so no more are raised than have a
    remainder: what is whole stays as it is. A rounded total keeps its step, and nothing that
    cost nothing is shown to cost a point. Ties go to the earlier.
    """
    floors = [math.floor(amount) for amount in amounts]
    parts = [amount - low for amount, low in zip(amounts, floors, strict=True)]
    order = sorted(range(len(amounts)), key=lambda place: -parts[place])
    left = total - sum(floors)
    for place in order[: max(0, left)]:
        floors[place] += 1
    floors[-1] += min(0, left)  # the last takes what rounding of the sum itself took
    return floors


def _reasons(lines: Sequence[Line], step: int) -> tuple[Reason, ...]:
    """Credit 4.12 (4): one code's losses together, small ones dropped, largest first."""
    sums: dict[str, tuple[Feature | RemoteText, int, float]] = {}
    for loss, amount, text in lines:
        if text is not None and amount > 0.0:
            code = text.reason if isinstance(text, Feature) else text.code
            first, shown, exact = sums.get(code, (text, 0, 0.0))
            sums[code] = (first, shown + loss.points, exact + amount)
    kept = [
        (text, shown, exact)
        for text, shown, exact in sums.values()
        if min(shown, exact) >= (1 if isinstance(text, Feature) else step)
    ]
    kept.sort(key=lambda one: (-one[1], -one[2]))  # stable: ties stay in schema order
    return tuple(_told(text, shown) for text, shown, _ in kept)


def _told(text: Feature | RemoteText, shown: int) -> Reason:
    if isinstance(text, Feature):
        return Reason(text.reason, text.reason_zh, text.reason_en, shown, Source.OWN)
    return Reason(text.code, text.zh, text.en, shown, Source.OTHERS)
