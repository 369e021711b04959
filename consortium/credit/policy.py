"""A partner's own policy: what it lends to whom, as dated data (credit 5.5).

A policy may be stricter than its pack, never looser (``tiers.check_rules``). All 40 cells of
grade and purpose are served or say why not; a gap, an overlap or an inverted range is
refused with file, line, field, what was seen and what is expected.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from itertools import pairwise
from typing import cast

from consortium.canonical import Label, canonical_json, hash_with
from consortium.credit.attestation import FRESH_DAYS
from consortium.credit.pack import Pack, parse_pack
from consortium.credit.reading import Table, read_toml
from consortium.credit.terms import (
    GRADES,
    MILLION,
    PURPOSES,
    Grade,
    Ppm,
    Purpose,
    Span,
    parse_ppm,
)
from consortium.documents import LEFT_OUT, plain_of
from consortium.errors import PolicyError
from consortium.ids import Digest
from consortium.scoring.scorecard import cut_units

__all__ = ["Pack", "Policy", "parse_pack", "parse_policy", "policy_at"]

APPROVAL_DAYS = 30
"""How long something may be signed under an approval, if the policy says nothing else."""
_LONGEST_APPROVAL = 90
_PERCENT = 100
_LONGEST_TENOR = 600


class LeverKind(StrEnum):
    """Whether a person can change something (credit 4.20)."""

    NOW = "now"
    WITH_TIME = "with_time"
    NO = "no"


@dataclass(frozen=True, slots=True, kw_only=True)
class PurposeCuts:
    """PDs from which a purpose is referred and declined, as decimals."""

    purpose: Purpose
    refer_pd: str
    decline_pd: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Conditions of one grade and purpose; all empty where it is not offered."""

    grade: Grade
    purpose: Purpose
    not_offered: str
    """Why it is not offered; empty: it is."""
    limit_max: int
    """Minor units."""
    tenor_months: tuple[int, ...]
    """Shortest and longest."""
    price_apr: tuple[Ppm, ...]
    """Lowest and highest yearly price."""
    documents: tuple[str, ...]

    @property
    def offered(self) -> bool:
        """Whether anything is lent in this cell."""
        return not self.not_offered


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRules:
    """Bounds of the decision's rules (credit 3.2, 4.10)."""

    dsr_cap: Ppm
    income_max_age_months: int
    revolving_due_share: Ppm
    barred_funds_share: Ppm
    """Share of the draws of 30 days that may go to barred categories without a flag."""
    approval_days: int
    """After the day of an approval, on which a sheet may still be made and signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Most new exposure in a week by grade, and the ramp's shares of it (row 26)."""

    weekly_exposure: tuple[int, ...]
    """G1 to G5, minor units; 0: nothing."""
    ramp_percent: tuple[int, ...]
    """Strictly rising, the last is 100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRule:
    """The sequential stop of ramps and waves (credit 4.17)."""

    fpd30_plan: Ppm
    """p0."""
    ratio: Ppm
    """p1 / p0."""
    alpha: Ppm
    beta: Ppm
    least_accounts: int
    most_accounts: int
    looks: int
    """Planned looks at noisy totals, over which alpha is split; 1: at exact counts."""
    holdout_margin: Ppm
    """By how much a wave's rate of dpd 30 may exceed its hold-out's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartRules:
    """Bounds of the tiers of a closed cohort."""

    a_pd: str
    b_pd: str
    a_dsr: Ppm
    b_dsr: Ppm
    holdout_percent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRules:
    """Thresholds of the deterioration stages (row 7); 30 and 90 days are no setting."""

    pd_ratio: Ppm
    pd_floor: Ppm
    pd_step: Ppm
    cure_months: int
    paid_months: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRules:
    """Loss given default and credit conversion."""

    lgd: Ppm
    ccf_revolving: Ppm


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationRules:
    """How a history that an applicant shows is taken up (credit path 12.6)."""

    list_days: int
    """Age up to which an issuer's list of what it took back counts; at most seven."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lever:
    """What a person can do about one feature (credit 4.20); in place of the default."""

    feature: str
    kind: LeverKind
    months: int
    """To wait for one bin; 0 if ``now``."""
    cost: int
    """Of one bin, if ``now``."""
    max_steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One dated version of a partner's policy. Its own business; digest in every decision."""

    id: str
    version: str
    pack: str
    """Id of the pack under which it lends."""
    currency: str
    effective_from: date
    effective_to: date | None
    pd_cuts: tuple[str, ...]
    """Where G2 to G5 begin."""
    cuts: tuple[PurposeCuts, ...]
    """Of every purpose that is offered to some grade."""
    cells: tuple[Cell, ...]
    """40, by grade and then purpose."""
    rules: DecisionRules
    growth: Growth
    stop: StopRule
    restart: RestartRules
    stages: StageRules
    loss: LossRules
    levers: tuple[Lever, ...]
    attestation: AttestationRules | None = field(default=None, metadata={LEFT_OUT: True})
    """None: this partner takes no attestations."""

    @property
    def digest(self) -> Digest:
        """Named by every decision under this policy.

        Of a policy with the usual ``approval_days`` the name is not in what is hashed: one
        that says 30 is the one that says nothing, and decisions of before replay.
        """
        plain = plain_of(self)
        if self.rules.approval_days == APPROVAL_DAYS:
            del cast("dict[str, dict[str, object]]", plain)["rules"]["approval_days"]
        return hash_with(Label.POLICY, canonical_json(plain))

    @property
    def span(self) -> Span:
        """When it is in force."""
        return Span(self.effective_from, self.effective_to)

    def in_force(self, day: date) -> bool:
        """Whether it holds on that day."""
        return self.span.holds(day)

    def cell(self, grade: Grade, purpose: Purpose) -> Cell:
        """Conditions of one cell."""
        return self.cells[GRADES.index(grade) * len(PURPOSES) + PURPOSES.index(purpose)]

    def cuts_of(self, purpose: Purpose) -> PurposeCuts | None:
        """Cuts of a purpose; None if it is offered to no grade."""
        return next((one for one in self.cuts if one.purpose is purpose), None)


def policy_at(policies: Sequence[Policy], day: date) -> Policy:
    """The version in force on a day.

    Raises:
        PolicyError: two versions overlap anywhere, or none is in force on that day.
    """
    ordered = sorted(policies, key=lambda one: one.effective_from)
    for earlier, later in pairwise(ordered):
        if earlier.span.meets(later.span):
            raise PolicyError(
                f"policy {later.id}: effective_from: seen {later.effective_from} while version "
                f"{earlier.version} is in force, expected a date on or after its effective_to"
            )
    found = next((one for one in ordered if one.in_force(day)), None)
    if found is None:
        seen = ", ".join(f"{one.version} from {one.effective_from}" for one in ordered)
        raise PolicyError(f"policy: seen {seen or 'none'}, expected one in force on {day}")
    return found


def parse_policy(data: bytes, source: str) -> Policy:
    """Read a policy; whether its pack allows it is checked by ``tiers.check_rules``.

    Args:
        data: TOML.
        source: The file's name, for the texts of errors.

    Raises:
        PolicyError: naming file, line, field, value seen and value expected.
    """
    top = read_toml(data, source)
    head, grades = top.table("policy"), top.table("grades")
    span = head.span()
    pd_cuts = grades.decimals("pd_cuts")
    if len(pd_cuts) != len(GRADES) - 1:
        raise grades.refuse("pd_cuts", list(pd_cuts), f"{len(GRADES) - 1} decimals")
    cells = _cells(top.table("tier"))
    policy = Policy(
        id=head.identifier("id"),
        version=head.identifier("version"),
        pack=head.identifier("pack"),
        currency=head.currency("currency"),
        effective_from=span.start,
        effective_to=span.end,
        pd_cuts=pd_cuts,
        cuts=_cuts(top.table("cuts"), cells),
        cells=cells,
        rules=_rules(top.table("rules", optional=True)),
        growth=_growth(top.table("growth")),
        stop=_stop(top.table("stop", optional=True)),
        restart=_restart(top.table("restart", optional=True)),
        stages=_stages(top.table("stages", optional=True)),
        loss=_loss(top.table("loss", optional=True)),
        levers=_levers(top.table("levers", optional=True)),
        attestation=_attestation(top.table("attestation")) if top.has("attestation") else None,
    )
    for table in (head, grades, top):
        table.done()
    return policy


# --- sections ---------------------------------------------------------------------------------


def _cells(table: Table) -> tuple[Cell, ...]:
    """All 40, in order; a gap and a grade or purpose that there is not are refused."""
    cells = []
    for grade in GRADES:
        row = table.table(grade)
        for purpose in PURPOSES:
            if not row.has(purpose):
                expected = f"[tier.{grade}.{purpose}] with conditions or not_offered"
                raise row.refuse(purpose, None, expected)
            cells.append(_cell(grade, purpose, row.table(purpose)))
        row.done()
    table.done()
    for purpose in PURPOSES:
        _check_column([cell for cell in cells if cell.purpose is purpose], table)
    return tuple(cells)


def _cell(grade: Grade, purpose: Purpose, table: Table) -> Cell:
    if table.has("not_offered"):
        reason = table.text("not_offered")
        table.done()  # conditions beside it would overlap with it
        return Cell(
            grade=grade,
            purpose=purpose,
            not_offered=reason,
            limit_max=0,
            tenor_months=(),
            price_apr=(),
            documents=(),
        )
    tenor = table.span_of_integers("tenor_months")
    if tenor[1] > _LONGEST_TENOR:
        raise table.refuse("tenor_months", list(tenor), f"at most {_LONGEST_TENOR} months")
    cell = Cell(
        grade=grade,
        purpose=purpose,
        not_offered="",
        limit_max=table.integer("limit_max"),
        tenor_months=tenor,
        price_apr=table.span_of_shares("price_apr", "10"),
        documents=table.texts("documents"),
    )
    table.done()
    return cell


def _check_column(column: Sequence[Cell], table: Table) -> None:
    """From strong to weak of one purpose: no better terms, nothing offered after a gap.

    So a better score never makes an outcome worse, and who is declined because a cell is
    not offered is declined by the score (credit 3.2, step 6).
    """
    for strong, weak in pairwise(column):
        path = f"{weak.grade}.{weak.purpose}"
        if weak.offered and not strong.offered:
            raise table.refuse(path, "offered", f"not_offered, as {strong.grade} is not")
        if weak.offered and weak.limit_max > strong.limit_max:
            expected = f"a limit_max of at most {strong.limit_max}, that of {strong.grade}"
            raise table.refuse(f"{path}.limit_max", weak.limit_max, expected)
        longest, shortest = strong.tenor_months[-1:], strong.tenor_months[:1]
        wider = weak.tenor_months[-1:] > longest or weak.tenor_months[:1] < shortest
        if weak.offered and wider:
            expected = f"a tenor within {list(strong.tenor_months)}, that of {strong.grade}"
            raise table.refuse(f"{path}.tenor_months", list(weak.tenor_months), expected)
        if weak.offered and weak.price_apr[1] < strong.price_apr[1]:
            expected = f"a highest price of at least that of {strong.grade}"
            raise table.refuse(f"{path}.price_apr", weak.price_apr[1], expected)


def _cuts(table: Table, cells: Sequence[Cell]) -> tuple[PurposeCuts, ...]:
    offered = {cell.purpose for cell in cells if cell.offered}
    found = []
    for purpose in PURPOSES:
        if purpose in offered:
            inner = table.table(purpose)
            refer, decline = inner.decimal("refer_pd"), inner.decimal("decline_pd")
            if cut_units(refer) > cut_units(decline):
                raise inner.refuse("refer_pd", refer, f"at most decline_pd, {decline}")
            inner.done()
            found.append(PurposeCuts(purpose=purpose, refer_pd=refer, decline_pd=decline))
    table.done()
    return tuple(found)


def _rules(table: Table) -> DecisionRules:
    rules = DecisionRules(
        dsr_cap=table.share("dsr_cap", default="0.50"),
        income_max_age_months=table.integer("income_max_age_months", 1, 12, default=12),
        revolving_due_share=table.share("revolving_due_share", default="0.05"),
        barred_funds_share=table.share("barred_funds_share", default="0.10"),
        approval_days=table.integer(
            "approval_days", 1, _LONGEST_APPROVAL, default=APPROVAL_DAYS
        ),
    )
    table.done()
    return rules


def _growth(table: Table) -> Growth:
    weekly = table.table("weekly_exposure")
    exposure = tuple(weekly.integer(grade, 0) for grade in GRADES)
    weekly.done()
    ramp = table.integers("ramp_percent")
    rising = all(low < high for low, high in pairwise(ramp))
    if not ramp or not rising or ramp[-1] != _PERCENT:
        raise table.refuse("ramp_percent", list(ramp), "rising percents that end with 100")
    table.done()
    return Growth(weekly_exposure=exposure, ramp_percent=ramp)


def _stop(table: Table) -> StopRule:
    rule = StopRule(
        fpd30_plan=table.share("fpd30_plan", default="0.03"),
        ratio=table.share("ratio", "100", default="2.0"),
        alpha=table.share("alpha", "0.5", default="0.05"),
        beta=table.share("beta", "0.5", default="0.10"),
        least_accounts=table.integer("least_accounts", default=50),
        most_accounts=table.integer("most_accounts", default=1_500),
        looks=table.integer("looks", default=1),
        holdout_margin=table.share("holdout_margin", default="0.02"),
    )
    if not 0 < rule.fpd30_plan * rule.ratio < MILLION * MILLION or rule.ratio <= MILLION:
        raise table.refuse("ratio", rule.ratio, "more than 1, and plan times ratio below 1")
    if rule.alpha == 0 or rule.beta == 0:
        raise table.refuse("alpha", [rule.alpha, rule.beta], "alpha and beta above 0")
    if rule.least_accounts > rule.most_accounts:
        raise table.refuse("least_accounts", rule.least_accounts, "at most most_accounts")
    table.done()
    return rule


def _restart(table: Table) -> RestartRules:
    rules = RestartRules(
        a_pd=table.decimal("a_pd", "0.02"),
        b_pd=table.decimal("b_pd", "0.10"),
        a_dsr=table.share("a_dsr", default="0.50"),
        b_dsr=table.share("b_dsr", default="0.60"),
        holdout_percent=table.integer("holdout_percent", 1, 50, default=10),
    )
    if parse_ppm(rules.a_pd) > parse_ppm(rules.b_pd):
        raise table.refuse("a_pd", rules.a_pd, f"at most b_pd, {rules.b_pd}")
    table.done()
    return rules


def _stages(table: Table) -> StageRules:
    rules = StageRules(
        pd_ratio=table.share("pd_ratio", "100", default="2.0"),
        pd_floor=table.share("pd_floor", default="0.01"),
        pd_step=table.share("pd_step", default="0.05"),
        cure_months=table.integer("cure_months", 1, 60, default=3),
        paid_months=table.integer("paid_months", 1, 60, default=6),
    )
    table.done()
    return rules


def _loss(table: Table) -> LossRules:
    rules = LossRules(
        lgd=table.share("lgd", default="0.60"),
        ccf_revolving=table.share("ccf_revolving", default="0.50"),
    )
    table.done()
    return rules


def _attestation(table: Table) -> AttestationRules:
    rules = AttestationRules(
        list_days=table.integer("list_days", 1, FRESH_DAYS, default=FRESH_DAYS)
    )
    table.done()
    return rules


def _levers(table: Table) -> tuple[Lever, ...]:
    found = []
    for name in table.keys():  # noqa: SIM118 - a Table is no mapping
        inner = table.table(name)
        kind = inner.choice("kind", LeverKind)
        waits = kind is LeverKind.WITH_TIME
        found.append(
            Lever(
                feature=name,
                kind=kind,
                months=inner.integer("months", 1, 120) if waits else 0,
                cost=inner.integer("cost", 1, 1_000, default=1),
                max_steps=inner.integer("max_steps", 1, 255, default=255),
            )
        )
        inner.done()
    table.done()
    return tuple(found)
