"""APPROVE, REFER or DECLINE: one table of rules in one order (credit 3.2, row 2).

``decide`` is a pure function of a decision input and of the rules whose digests stand in
it: the same bytes in, the same bytes out, on any machine and in any year. The first rule
that fires decides; all that fired are kept. A reason is a rule that decided or a loss that
was scored, never anything else. What is not about the applicant (fraud flags to be looked
at, data that are missing, a volume that is used up) is a REFER, never a DECLINE.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from consortium.canonical import Label, hash_with
from consortium.credit.attested import AttestedFacts
from consortium.credit.capacity import (
    IncomeState,
    NewLoan,
    amount_that_fits,
    dsr,
    dues_of,
    exceeds,
    income_state,
    new_due,
)
from consortium.credit.facts import DecisionInput, RestartTier
from consortium.credit.pack import MOST_REASONS
from consortium.credit.terms import GRADES, ConsentPurpose, Grade, Ppm
from consortium.credit.tiers import Product, Repayment, Rules, Terms
from consortium.credit.verdict import (
    Bound,
    Decision,
    DecisionReason,
    Fired,
    HumanReview,
    Outcome,
    ReasonSource,
    Rule,
)
from consortium.errors import (
    AttestationError,
    ConsentMissingError,
    DigestMismatchError,
    DomainError,
    PolicyError,
    ReasonMissingError,
)
from consortium.ids import Digest
from consortium.scoring.reasons import Source

__all__ = [
    "Assessment",
    "Decision",
    "Outcome",
    "Rule",
    "admit",
    "assess",
    "decide",
    "replay",
]

SERIOUS_DPD = 90
"""More days past due than this is M3+ (credit 2.1)."""
STAGE_3 = 3


def decide(inputs: DecisionInput, rules: Rules, *, digest: Digest | None = None) -> Decision:
    """Apply the rules in their order.

    Args:
        inputs: Private.
        rules: Pack, policy and catalogue that the input names.
        digest: Of the input, from who has it already; a wrong one does not replay.

    Raises:
        DigestMismatchError: they are others than the input names.
        PolicyError: one of them is not in force on the day of the decision.
        ConsentMissingError: CREDIT_DECISION, or JOINT_SCORE for a joint answer.
        AttestationError: the policy takes none, its list is too old, or no consent to it.
        DomainError: another currency than the policy's.
        ReasonMissingError: a decline that nothing explains: a defect of what scored.
    """
    admit(inputs, rules)
    case = _Case(inputs, rules)
    fired = case.fired
    outcome, code = _first(fired)
    approved = case.offer if outcome is Outcome.APPROVE else None
    return Decision(
        application=inputs.application,
        input=inputs.digest if digest is None else digest,
        decided_on=inputs.decided_on,
        outcome=outcome,
        code=code,
        grade=case.grade,
        limit=0 if approved is None else approved.limit,
        price_apr=() if approved is None else approved.terms.price,
        bounds=() if approved is None else approved.bounds,
        documents=() if approved is None else approved.terms.documents,
        dsr=case.dsr_with(approved.limit if approved is not None else case.asked),
        dues_elsewhere_unknown=inputs.standing.elsewhere_upper is None,
        reasons=_reasons(case, outcome, fired, approved),
        fired=fired,
        review=_review(inputs, rules),
    )


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the rules come to, without what is told and kept of it."""

    outcome: Outcome
    grade: Grade | None
    fired: tuple[Fired, ...]


def assess(inputs: DecisionInput, rules: Rules, etas: Sequence[int] = ()) -> list[Assessment]:
    """Outcome and grade as ``decide`` finds them, by the same rules in the same order.

    For who asks many times what would be if: consents and digests are not looked at.

    Args:
        inputs: Private.
        rules: Of the input.
        etas: Log-odds in place of the score's, units of 2**-32; of an input with a score.

    Returns:
        One for each eta, in order; without any, one for the input as it is.
    """
    case = _Case(inputs, rules)
    cases = [case.scored(eta) for eta in etas] or [case]
    return [Assessment(_first(one.fired)[0], one.grade, one.fired) for one in cases]


def _first(fired: tuple[Fired, ...]) -> tuple[Outcome, str]:
    for one in fired:
        if one.outcome is not Outcome.APPROVE:
            return one.outcome, one.code
    return Outcome.APPROVE, ""


def replay(inputs: bytes, decision: bytes, rules: Rules) -> Decision:
    """Decide again from stored bytes.

    Returns:
        The decision, which has the bytes that were stored.

    Raises:
        DigestMismatchError: it comes out otherwise, or rests on other rules.
        DecodeError: the bytes are not canonical.
    """
    made = decide(DecisionInput.from_bytes(inputs), rules)
    if made.to_bytes() != decision:
        stored = hash_with(Label.DECISION, decision)
        raise DigestMismatchError(f"decision {made.application}", stored, made.digest)
    return made


def admit(inputs: DecisionInput, rules: Rules) -> None:
    """Step 1: refused as an error; no decision is stored. Raises what ``decide`` does first."""
    today = inputs.decided_on
    for what, seen, expected in (
        ("pack", inputs.pack, rules.pack_digest),
        ("policy", inputs.policy, rules.policy_digest),
        ("catalogue", inputs.catalogue, rules.catalogue_digest),
    ):
        if seen != expected:
            raise DigestMismatchError(f"{what} of the rules", expected, seen)
    for one in (rules.pack, rules.policy, rules.catalogue):
        if not one.in_force(today):
            raise PolicyError(f"{one.id} {one.version} is not in force on {today}")
    if inputs.wish.currency != rules.policy.currency:
        raise DomainError(f"wish.currency: not {rules.policy.currency}")
    if not inputs.consented(ConsentPurpose.CREDIT_DECISION):
        raise ConsentMissingError("no consent to CREDIT_DECISION is in force")
    joint = inputs.score is not None and inputs.score.band != "0"
    if joint and not inputs.consented(ConsentPurpose.JOINT_SCORE):
        raise ConsentMissingError("a joint score without a consent to JOINT_SCORE in force")
    _admit_shown(inputs, inputs.attestation, rules)


def _admit_shown(inputs: DecisionInput, shown: AttestedFacts | None, rules: Rules) -> None:
    """The policy takes attestations, the list was fresh by it, and the person agrees."""
    if shown is None:
        return
    taken = rules.policy.attestation
    if taken is None:
        raise AttestationError("this policy takes no attestations", rule="policy")
    if inputs.decided_on - shown.listed_on > timedelta(days=taken.list_days):
        raise AttestationError(
            f"the list of {shown.listed_on} is older than {taken.list_days} days", rule="list"
        )
    if not inputs.consented(ConsentPurpose.ATTESTATION):
        raise AttestationError("no consent to ATTESTATION is in force", rule="consent")


# --- what the rules look at -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Offer:
    """What could be granted by product, tier, capacity and growth."""

    limit: int
    terms: Terms
    bounds: tuple[Bound, ...]


V = TypeVar("V")


class _once(Generic[V]):  # noqa: N801 - a decorator
    """A property that is computed once; a case belongs to one thread, so without a lock."""

    def __init__(self, made: "Callable[[_Case], V]") -> None:
        self._made = made
        self._name = made.__name__

    def __get__(self, case: "_Case", _owner: object) -> V:
        value = self._made(case)
        case.__dict__[self._name] = value  # found there from now on
        return value


class _Case:
    """An input with what follows from it; each is computed once, when a rule asks."""

    def __init__(self, inputs: DecisionInput, rules: Rules) -> None:
        self.inputs = inputs
        self.rules = rules
        self.product: Product | None = rules.catalogue.product(inputs.wish.product)
        self.eta = None if inputs.score is None else inputs.score.eta
        self.grade = None if self.eta is None else rules.grade(self.eta)

    def scored(self, eta: int) -> "_Case":
        """The same with other log-odds; what does not rest on them is not computed again."""
        other = _Case.__new__(_Case)
        shared = {name: getattr(self, name) for name in _WITHOUT_SCORE}
        grade = self.rules.grade(eta)
        other.__dict__.update(shared, eta=eta, grade=grade)
        return other

    @_once
    def fired(self) -> tuple[Fired, ...]:
        """All rules that fire, in the order of the table."""
        return tuple(one for step in STEPS for one in step(self))

    @_once
    def cuts(self) -> tuple[int, int] | None:
        """Refer and decline cut; None if nobody is sold this product for this purpose."""
        purpose = self.inputs.wish.purpose
        if self.product is None or purpose is None:
            return None
        return self.rules.cuts(self.product, purpose)

    @_once
    def terms(self) -> Terms | None:
        """Of the applicant's own cell; None if it is not offered."""
        purpose = self.inputs.wish.purpose
        if self.product is None or purpose is None or self.grade is None:
            return None
        return self.rules.terms(self.product, self.grade, purpose)

    @_once
    def income_state(self) -> IncomeState:
        return income_state(
            self.inputs.standing.income,
            today=self.inputs.decided_on,
            rules=self.rules.policy.rules,
            consented=self.inputs.consented(ConsentPurpose.INCOME_DATA),
        )

    @_once
    def dues(self) -> int:
        standing = self.inputs.standing
        return dues_of(
            standing.here,
            standing.elsewhere,
            standing.elsewhere_upper,
            self.rules.policy.rules,
        )

    @_once
    def loan(self) -> NewLoan | None:
        if self.product is None or self.terms is None:
            return None
        return NewLoan(
            self.product.repayment, self.terms.price[1], self.inputs.wish.tenor_months
        )

    @_once
    def dsr_cap(self) -> Ppm:
        """The policy's, or that of a restart's tier (credit 3.2, rows 20, 21)."""
        policy = self.rules.policy
        return {
            RestartTier.NONE: policy.rules.dsr_cap,
            RestartTier.A: policy.restart.a_dsr,
            RestartTier.B: policy.restart.b_dsr,
        }[self.inputs.standing.restart]

    @property
    def asked(self) -> int:
        """What could be granted without looking at capacity."""
        amount = self.inputs.wish.amount
        return amount if self.terms is None else min(amount, self.terms.limit)

    @_once
    def over_cap(self) -> bool:
        """Whether the DSR with the dues of what is asked for exceeds its cap."""
        income, loan = self.inputs.standing.income, self.loan
        if income is None or loan is None or self.income_state is not IncomeState.USABLE:
            return False
        due = new_due(self.asked, loan, self.rules.policy.rules)
        return exceeds(self.dues + due, income, self.dsr_cap)

    @_once
    def fits(self) -> int:
        """Largest amount whose dues can be carried, at most what is asked for."""
        income, loan = self.inputs.standing.income, self.loan
        if not self.over_cap or income is None or loan is None:
            return self.asked
        rules = self.rules.policy.rules
        most = amount_that_fits(loan, income, dues=self.dues, cap=self.dsr_cap, rules=rules)
        return min(self.asked, most)

    @property
    def headroom(self) -> int:
        """What the week's caps leave in the applicant's grade."""
        return 0 if self.grade is None else self.inputs.headroom[GRADES.index(self.grade)]

    @_once
    def offer(self) -> _Offer | None:
        """Step 9: the least of tier, capacity and growth."""
        if self.terms is None:
            return None
        bounds = []
        if self.asked < self.inputs.wish.amount:
            bounds.append(Bound.TIER)
        if self.fits < self.asked:
            bounds.append(Bound.DSR)
        if self.headroom < self.fits:
            bounds.append(Bound.GROWTH)
        return _Offer(min(self.fits, self.headroom), self.terms, tuple(bounds))

    def dsr_with(self, amount: int) -> Ppm | None:
        """DSR with a new loan of ``amount``; None without a usable income."""
        income, loan = self.inputs.standing.income, self.loan
        if income is None or self.income_state is not IncomeState.USABLE:
            return None
        due = 0 if loan is None else new_due(amount, loan, self.rules.policy.rules)
        return dsr(self.dues + due, income)


_WITHOUT_SCORE = ("inputs", "rules", "product", "cuts", "income_state", "dues", "dsr_cap")
"""Of a case, what its log-odds have no part in."""


# --- the table --------------------------------------------------------------------------------


def _flags(case: _Case) -> Iterator[Fired]:
    if case.inputs.standing.flags:
        yield Fired(step=2, rule=Rule.FLAG, outcome=Outcome.REFER, code="F1")


def _missing(case: _Case) -> Iterator[Fired]:
    inputs = case.inputs
    if case.income_state is not IncomeState.USABLE:
        yield Fired(step=3, rule=Rule.INCOME, outcome=Outcome.REFER, code="R20")
    if inputs.wish.purpose is None:
        yield Fired(step=3, rule=Rule.PURPOSE, outcome=Outcome.REFER, code="R24")
    score = inputs.score
    if score is None or (score.band == "0" and not inputs.standing.has_history):
        yield Fired(step=3, rule=Rule.INFORMATION, outcome=Outcome.REFER, code="R25")


def _arrears(case: _Case) -> Iterator[Fired]:
    standing = case.inputs.standing
    if standing.dpd_now > SERIOUS_DPD or standing.stage >= STAGE_3:
        yield Fired(step=4, rule=Rule.ARREARS, outcome=Outcome.DECLINE, code="R23")


def _range(case: _Case) -> Iterator[Fired]:
    if _outside(case):
        yield Fired(step=5, rule=Rule.RANGE, outcome=Outcome.DECLINE, code="R22")


def _outside(case: _Case) -> bool:
    """Whether amount, tenor, purpose or majority are outside product or pack."""
    inputs, product = case.inputs, case.product
    if product is None or not inputs.standing.adult:
        return True
    if inputs.wish.purpose is not None and case.cuts is None:
        return True
    tenor = product.tenor_months if case.terms is None else case.terms.tenor
    amount, months = inputs.wish.amount, inputs.wish.tenor_months
    if not tenor[0] <= months <= tenor[1]:
        return True
    if not product.amount[0] <= amount <= product.amount[1]:
        return True
    return _over_pack(case, product)


def _over_pack(case: _Case, product: Product) -> bool:
    pack, today, wish = case.rules.pack, case.inputs.decided_on, case.inputs.wish
    most = pack.amount_cap(today, product.segment)
    longest = pack.bullet_cap(today, product.segment)
    bullet = product.repayment is Repayment.BULLET
    return (most is not None and wish.amount > most) or (
        bullet and longest is not None and wish.tenor_months > longest
    )


def _score(case: _Case) -> Iterator[Fired]:
    eta, cuts = case.eta, case.cuts
    if eta is None or cuts is None:
        return
    refer, decline = cuts
    if eta >= decline:
        yield Fired(step=6, rule=Rule.SCORE, outcome=Outcome.DECLINE, code="")
    elif eta >= refer:
        yield Fired(step=6, rule=Rule.SCORE_RANGE, outcome=Outcome.REFER, code="R26")


def _capacity(case: _Case) -> Iterator[Fired]:
    if case.terms is not None and case.over_cap:
        enough = case.fits >= case.terms.least
        outcome = Outcome.APPROVE if enough else Outcome.DECLINE
        yield Fired(step=7, rule=Rule.CAPACITY, outcome=outcome, code="R21")


def _growth(case: _Case) -> Iterator[Fired]:
    if case.terms is not None and case.headroom < case.terms.least:
        yield Fired(step=8, rule=Rule.GROWTH, outcome=Outcome.REFER, code="R27")


STEPS: tuple[Callable[[_Case], Iterator[Fired]], ...] = (
    _flags,
    _missing,
    _arrears,
    _range,
    _score,
    _capacity,
    _growth,
)
"""In the order of credit 3.2: the first that fires with REFER or DECLINE decides."""


# --- what is told -----------------------------------------------------------------------------


def _reasons(
    case: _Case, outcome: Outcome, fired: tuple[Fired, ...], approved: _Offer | None
) -> tuple[DecisionReason, ...]:
    """Rule codes that decided, then what was scored (credit 3.3)."""
    if outcome is Outcome.REFER:
        return ()
    codes, scored = _declining(fired) if approved is None else _lowering(approved)
    reasons = [DecisionReason(code=code, points=0, source=ReasonSource.RULE) for code in codes]
    if scored and case.inputs.score is not None:
        reasons += [
            DecisionReason(code=one.code, points=one.points, source=_SOURCES[one.source])
            for one in case.inputs.score.reasons
        ]
    if outcome is Outcome.DECLINE and not reasons:
        raise ReasonMissingError("a decline by score without a loss that was scored")
    return tuple(reasons[: min(MOST_REASONS, case.rules.pack.notice.max_reasons)])


_SOURCES = {Source.OWN: ReasonSource.OWN, Source.OTHERS: ReasonSource.OTHERS}


def _declining(fired: tuple[Fired, ...]) -> tuple[list[str], bool]:
    """Codes of all rules that decline, and whether the score is one of them."""
    declining = [one for one in fired if one.outcome is Outcome.DECLINE]
    scored = any(one.rule is Rule.SCORE for one in declining)
    return [one.code for one in declining if one.code], scored


def _lowering(offer: _Offer) -> tuple[list[str], bool]:
    """Codes of what holds the limit below the wish; a tier follows from the score."""
    codes = {Bound.DSR: "R21", Bound.GROWTH: "R27"}
    found = [codes[bound] for bound in offer.bounds if bound in codes]
    return found, Bound.TIER in offer.bounds


def _review(inputs: DecisionInput, rules: Rules) -> HumanReview:
    notice = rules.pack.notice
    by = inputs.decided_on + timedelta(days=notice.review_days)
    return HumanReview(route=notice.review_route, days=notice.review_days, by=by)
