"""Papers at a desk: the sample terms, a scored case with its basis, a notice of any input."""

from dataclasses import replace
from pathlib import Path

from consortium.credit.decision import decide
from consortium.credit.facts import DecisionInput, ScoreReason
from consortium.credit.policy import Lever, LeverKind
from consortium.credit.tiers import Rules, check_rules
from consortium.credit.verdict import Override
from consortium.scoring.reasons import Case, Part, Source
from consortium.scoring.scorecard import points
from partner_node.credit.house_terms import HouseTerms, Words, parse_terms
from partner_node.credit.notices import Noticed
from partner_node.credit.offers import offers_of
from partner_node.credit.what_helps import Basis, Help
from tests.credit_desk_house import write_rules
from tests.credit_house import ROOT, RULES, SCORE, case, catalogue, pack, policy
from tests.reasons_house import LABELS, LATE, TABLES, own_logit

TERMS_FILE = ROOT / "examples" / "policy" / "bank_a_terms.toml"
TERMS: HouseTerms = parse_terms(TERMS_FILE.read_bytes(), "bank_a_terms.toml")
TEXTS = {
    one.code: Words(zh=f"{one.code} 说明", en=f"about {one.code}") for one in SCORE.reasons
}
_LEVERS = (
    Lever(feature="late", kind=LeverKind.WITH_TIME, months=2, cost=1, max_steps=255),
    Lever(feature="worst", kind=LeverKind.NOW, months=0, cost=2, max_steps=255),
)


def with_levers() -> Rules:
    """The sample rules, with what a person can do about the small model's features."""

    return check_rules(pack("tw"), replace(policy(), levers=_LEVERS), catalogue())


def late_person() -> tuple[DecisionInput, Basis]:
    """Who is declined for being late, and could mend it."""
    codes = {"late": 4, "worst": 4, "months": 2, "bill": 1, "kind": 1, "paid": 2}
    codes |= {"shy": 1, "mute": 1}
    parts = tuple(
        Part(family, LATE, own, own, 1)
        for family in ("repayment", "billing", "payments")
        for own in (own_logit(codes, family),)
    )
    eta = -LATE + sum(part.total for part in parts)
    found = Case(alpha=-LATE, eta=eta, parts=parts, codes=codes)
    reasons = (ScoreReason(code="R01", points=41, source=Source.OWN),)
    inputs = case(eta=eta, points=points(eta / 2**32), reasons=reasons, band="1")
    return inputs, Basis(found, TABLES, LABELS)


def noticed(
    inputs: DecisionInput,
    rules: Rules = RULES,
    *,
    helps: Help | None = None,
    final: Override | None = None,
) -> Noticed:
    """All that a notice of this input is made from."""
    decision = decide(inputs, rules)
    return Noticed(
        id=decision.digest,
        decision=decision,
        inputs=inputs,
        rules=rules,
        texts=TEXTS,
        final=final,
        helps=helps,
        offered=offers_of(inputs, rules),
        terms=TERMS,
    )


def write_terms(home: Path) -> Path:
    """Rules and terms in a node's directory; the directory."""
    folder = write_rules(home)
    (folder / "terms.toml").write_bytes(TERMS_FILE.read_bytes())
    return home
