"""Rules of one bank, and an applicant who is approved: tests change one thing of either."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from consortium.credit.capacity import DueKind, Income, Obligation
from consortium.credit.facts import (
    Consent,
    DecisionInput,
    RestartTier,
    ScoreFacts,
    ScoreReason,
    Standing,
    Wish,
)
from consortium.credit.pack import Pack, parse_pack
from consortium.credit.policy import Policy, parse_policy
from consortium.credit.terms import ConsentPurpose, Purpose
from consortium.credit.tiers import Catalogue, Rules, check_rules, parse_catalogue
from consortium.scoring.reasons import Source
from consortium.scoring.scorecard import cut_units

ROOT = Path(__file__).resolve().parent.parent
PACKS = ROOT / "consortium" / "credit" / "packs"
POLICY_FILE = ROOT / "examples" / "policy" / "bank_a.toml"
CATALOGUE_FILE = ROOT / "examples" / "policy" / "bank_a_products.toml"

TODAY = date(2026, 11, 26)
NOW = 1_795_651_200


def pack(name: str) -> Pack:
    """A shipped pack."""
    return parse_pack((PACKS / f"{name}.toml").read_bytes(), f"{name}.toml")


def policy(**changes: str) -> Policy:
    """The sample policy, with texts exchanged."""
    return parse_policy(changed(POLICY_FILE, changes), "bank_a.toml")


def catalogue(**changes: str) -> Catalogue:
    """The sample catalogue, with texts exchanged."""
    return parse_catalogue(changed(CATALOGUE_FILE, changes), "bank_a_products.toml")


def changed(path: Path, changes: dict[str, str]) -> bytes:
    """A file in which each old text, which must stand there, is a new one."""
    text = path.read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new, 1)
    return text.encode()


RULES: Rules = check_rules(pack("tw"), policy(), catalogue())

INCOME = Income(credits=(6_000_000, 6_000_000, 6_000_000), latest_on=date(2026, 11, 5))
TERM = Obligation(kind=DueKind.TERM, scheduled=500_000, balance=9_000_000)
CARD = Obligation(kind=DueKind.REVOLVING, scheduled=10_000, balance=2_000_000)

CONSENTS = tuple(
    Consent(purpose=purpose, id=f"c-{purpose.lower()}", given_on=date(2026, 11, 20))
    for purpose in (
        ConsentPurpose.CREDIT_DECISION,
        ConsentPurpose.JOINT_SCORE,
        ConsentPurpose.INCOME_DATA,
    )
)

WISH = Wish(
    product="instalment_small",
    purpose=Purpose.DURABLES,
    amount=6_000_000,
    currency="TWD",
    tenor_months=12,
)
STANDING = Standing(
    adult=True,
    flags=(),
    has_history=True,
    dpd_now=0,
    stage=1,
    restart=RestartTier.NONE,
    income=INCOME,
    here=(TERM,),
    elsewhere=(CARD,),
    elsewhere_upper=None,
)
SCORE = ScoreFacts(
    eta=cut_units("0.05"),
    points=599,
    band="2",
    calibration="stratum",
    fallback="",
    reasons=(
        ScoreReason(code="R01", points=41, source=Source.OWN),
        ScoreReason(code="R32", points=20, source=Source.OTHERS),
        ScoreReason(code="R06", points=7, source=Source.OWN),
    ),
    model="a" * 64,
    head="b" * 64,
    schema="c" * 64,
    manifest="d" * 64,
    request="e" * 64,
)
INPUT = DecisionInput(
    application="application-1",
    decided_on=TODAY,
    decided_at=NOW,
    pack=RULES.pack_digest,
    policy=RULES.policy_digest,
    catalogue=RULES.catalogue_digest,
    wish=WISH,
    standing=STANDING,
    score=SCORE,
    consents=CONSENTS,
    headroom=(10**12,) * 5,
)


def case(inputs: DecisionInput = INPUT, **changes: object) -> DecisionInput:
    """The applicant with some facts changed; each is found in the part that has it."""
    parts: dict[str, Any] = {"wish": inputs.wish, "standing": inputs.standing}
    if inputs.score is not None:
        parts["score"] = inputs.score
    whole: dict[str, Any] = {}
    for name, value in changes.items():
        owner = next((part for part, held in parts.items() if hasattr(held, name)), None)
        if owner is None:
            whole[name] = value
        else:
            parts[owner] = replace(parts[owner], **{name: value})
    return replace(inputs, **(parts | whole))


def under(rules: Rules, inputs: DecisionInput = INPUT) -> DecisionInput:
    """The applicant under other rules."""
    return replace(
        inputs,
        pack=rules.pack_digest,
        policy=rules.policy_digest,
        catalogue=rules.catalogue_digest,
    )
