"""Policy packs: what a jurisdiction asks for, as dated data (credit 5.1, 5.2).

A pack is read once and never rewritten: a decision names the digest of the pack under which
it was made. Whether a duty is in force is a question to the pack and a day, never to a
setting. Packs are engineering input, not legal advice: each duty says how well its source
was read, and ``unconfirmed`` lists what an adopter has not yet confirmed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from itertools import combinations

from consortium.canonical import Label, hash_with
from consortium.credit.hooks import Hook, Params, read_params
from consortium.credit.reading import Table, read_toml
from consortium.credit.terms import Ppm, Segment, Span
from consortium.documents import document_of
from consortium.errors import PolicyError
from consortium.features.concepts import FORBIDDEN
from consortium.ids import Digest

MOST_REASONS = 4
_DEFAULT_MAJORITY = 18


class Status(StrEnum):
    """How well the source of a duty is known."""

    READ = "read"
    """The primary text, read by the adopter."""
    SECONDARY = "secondary"
    RECALLED = "recalled"


class CapBasis(StrEnum):
    """Which yearly figure the cost cap is compared with (credit 5.5)."""

    EFFECTIVE = "effective"
    NOMINAL = "nominal"


class ScoreDelivery(StrEnum):
    """How a joint score may reach a lender (credit 5.2)."""

    PARTNER_LOCAL = "partner_local"
    VIA_LICENSED_BUREAU = "via_licensed_bureau"
    DIRECT = "direct"


class Language(StrEnum):
    """Of notices."""

    ZH = "zh"
    EN = "en"


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """One thing that is asked for, from a day on. Public."""

    id: str
    source: str
    effective_from: date
    effective_to: date | None
    applies_to: tuple[Segment, ...]
    """Empty: to all."""
    hook: Hook
    params: Params
    status: Status
    confirmed_by_role: str
    """Empty until somebody of the adopter has confirmed it."""
    confirmed_on: date | None

    @property
    def span(self) -> Span:
        """When it is in force."""
        return Span(self.effective_from, self.effective_to)

    def concerns(self, segment: Segment | None) -> bool:
        """Whether it applies to a segment; to any at all if None is asked for."""
        return segment is None or not self.applies_to or segment in self.applies_to


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """Bounds of price, amount and tenor; what is None is not bounded by this pack."""

    annualised_cost: Ppm | None
    cap_basis: CapBasis
    consumer_loan_max: int | None
    """Minor units of the pack's currency."""
    bullet_max_months: int | None
    majority_years: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureRules:
    """Concepts that may not be used, or only with consent, beside those of the schema."""

    forbidden: tuple[str, ...]
    consent_only: tuple[str, ...]
    adverse_max_months: int
    """Adverse data older than this are dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeRules:
    """What a decision notice must hold."""

    max_reasons: int
    review_days: int
    review_route: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """A jurisdiction's duties and bounds. Public."""

    id: str
    version: str
    effective_from: date
    effective_to: date | None
    default_language: Language
    score_delivery: ScoreDelivery
    currency: str
    caps: Caps
    features: FeatureRules
    notice: NoticeRules
    duties: tuple[Duty, ...]

    @property
    def digest(self) -> Digest:
        """Named by every decision under this pack."""
        return hash_with(Label.PACK, document_of(self))

    def in_force(self, day: date) -> bool:
        """Whether the pack itself holds on that day."""
        return Span(self.effective_from, self.effective_to).holds(day)

    def duty(self, hook: Hook, day: date, segment: Segment | None = None) -> Duty | None:
        """The duty that switches ``hook`` on for a segment on that day, or None."""
        for one in self.duties:
            if one.hook is hook and one.span.holds(day) and one.concerns(segment):
                return one
        return None

    def demands(self, hook: Hook, day: date, segment: Segment | None = None) -> Params | None:
        """Parameters of what is demanded on that day, or None if it is not demanded."""
        found = self.duty(hook, day, segment)
        return None if found is None else found.params

    def cost_cap(self, day: date, segment: Segment) -> Ppm | None:
        """Most that a line may cost a year on that day, in millionths; None: no cap."""
        capped = self.duty(Hook.COST_CAP, day, segment) is not None
        return self.caps.annualised_cost if capped else None

    def amount_cap(self, day: date, segment: Segment) -> int | None:
        """Most that may be lent on that day, in minor units; None: no cap."""
        capped = self.duty(Hook.AMOUNT_CAP, day, segment) is not None
        return self.caps.consumer_loan_max if capped else None

    def bullet_cap(self, day: date, segment: Segment) -> int | None:
        """Longest tenor of a loan that is repaid at its end, in months; None: no cap."""
        capped = self.duty(Hook.AMOUNT_CAP, day, segment) is not None
        return self.caps.bullet_max_months if capped else None

    def adverse_months(self, day: date) -> int | None:
        """Age in months at which adverse data are dropped; None: they are not."""
        dropped = self.duty(Hook.ADVERSE_AGE, day) is not None
        return self.features.adverse_max_months if dropped else None

    def unconfirmed(self) -> tuple[Duty, ...]:
        """Duties that the adopter must confirm before production."""
        return tuple(one for one in self.duties if not one.confirmed_by_role)


def parse_pack(data: bytes, source: str) -> Pack:
    """Read a pack.

    Args:
        data: TOML. Public.
        source: The file's name, for the texts of errors.

    Raises:
        PolicyError: naming file, line, field, value seen and value expected.
    """
    top = read_toml(data, source)
    head = top.table("pack")
    span = head.span()
    pack = Pack(
        id=head.identifier("id"),
        version=head.identifier("version"),
        effective_from=span.start,
        effective_to=span.end,
        default_language=head.choice("default_language", Language),
        score_delivery=head.choice("score_delivery", ScoreDelivery),
        currency=head.currency("currency"),
        caps=_caps(top.table("caps", optional=True)),
        features=_features(top.table("features")),
        notice=_notice(top.table("notice")),
        duties=tuple(_duty(one) for one in top.tables("duty")),
    )
    head.done()
    top.done()
    _check_duties(pack, source)
    return pack


def pack_at(packs: Sequence[Pack], day: date) -> Pack:
    """The version of one pack that is in force on a day.

    Raises:
        PolicyError: none is, or two are.
    """
    found = [pack for pack in packs if pack.in_force(day)]
    if len(found) != 1:
        seen = ", ".join(f"{pack.id} {pack.version}" for pack in found) or "none"
        raise PolicyError(f"packs in force on {day}: seen {seen}, expected one")
    return found[0]


def _caps(table: Table) -> Caps:
    caps = Caps(
        annualised_cost=(
            table.share("annualised_cost", "10") if table.has("annualised_cost") else None
        ),
        cap_basis=table.choice("cap_basis", CapBasis, CapBasis.EFFECTIVE),
        consumer_loan_max=(
            table.integer("consumer_loan_max") if table.has("consumer_loan_max") else None
        ),
        bullet_max_months=(
            table.integer("bullet_max_months", 1, 600)
            if table.has("bullet_max_months")
            else None
        ),
        majority_years=table.integer("majority_years", 1, 30, default=_DEFAULT_MAJORITY),
    )
    table.done()
    return caps


def _features(table: Table) -> FeatureRules:
    rules = FeatureRules(
        forbidden=table.texts("forbidden"),
        consent_only=table.texts("consent_only"),
        adverse_max_months=table.integer("adverse_max_months", 1, 600),
    )
    for concept in rules.consent_only:
        if concept in rules.forbidden or concept in FORBIDDEN:
            raise table.refuse("consent_only", concept, "a concept that is not forbidden")
    table.done()
    return rules


def _notice(table: Table) -> NoticeRules:
    rules = NoticeRules(
        max_reasons=table.integer("max_reasons", 1, MOST_REASONS),
        review_days=table.integer("review_days", 1, 365),
        review_route=table.text("review_route"),
    )
    table.done()
    return rules


def _duty(table: Table) -> Duty:
    span = table.span()
    hook = table.choice("hook", Hook)
    confirmed = table.text("confirmed_by_role") if table.has("confirmed_by_role") else ""
    duty = Duty(
        id=table.identifier("id"),
        source=table.text("source"),
        effective_from=span.start,
        effective_to=span.end,
        applies_to=table.choices("applies_to", Segment),
        hook=hook,
        params=read_params(hook, table.table("params", optional=True)),
        status=table.choice("status", Status),
        confirmed_by_role=confirmed,
        confirmed_on=table.day("confirmed_on") if confirmed else None,
    )
    table.done()
    return duty


def _check_duties(pack: Pack, source: str) -> None:
    """No id twice, and no hook switched on twice for a segment on one day."""
    for one, other in combinations(pack.duties, 2):
        if one.id == other.id:
            raise PolicyError(f"{source}: duty: seen two of id {one.id}, expected one")
        shared = not one.applies_to or not other.applies_to
        shared = shared or bool(set(one.applies_to) & set(other.applies_to))
        if one.hook is other.hook and shared and one.span.meets(other.span):
            raise PolicyError(
                f"{source}: duty: seen {one.id} and {other.id} with hook {one.hook} "
                "on the same days, expected that one ends before the other begins"
            )
