"""What would change a decision, worked out after it and kept with it (credit 4.20).

The search needs what was summed of a person, which is kept nowhere; so it runs while the
answer is at hand, beside the desk (``helping``), and what it found is kept: the changes in
words, the changed input, and the decision that was made from it. Whoever tells it later
decides again first: a promise that does not come out so is not told.
"""

import re
from dataclasses import dataclass, field
from datetime import date

from consortium.credit.counterfactual import Counterfactual, NoChange, counterfactual
from consortium.credit.decision import replay
from consortium.credit.facts import DecisionInput
from consortium.credit.levers import Change, Move
from consortium.credit.pack import Language
from consortium.credit.terms import Money
from consortium.credit.tiers import Rules
from consortium.credit.verdict import Decision
from consortium.documents import document_of, parse_document
from consortium.scoring.reasons import Case, Tables
from consortium.scoring.whatif import Labels
from partner_node.credit.document import money


@dataclass(frozen=True, slots=True)
class Basis:
    """An answer as it is explained, and what explains it. Private."""

    case: Case = field(repr=False)
    tables: Tables = field(repr=False)
    labels: Labels = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unhelped:
    """A decision that is on disk and no approval, and what it was made from. Private."""

    name: str
    """Its id."""
    inputs: DecisionInput = field(repr=False)
    rules: Rules = field(repr=False)
    basis: Basis = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldMove:
    """One change, as a borrower reads it. Private."""

    what: str
    """A feature's name, or one of ``Change``."""
    code: str
    """Reason code of the feature; empty beside the score."""
    unit: str
    zh: str
    en: str
    """What the feature is about; empty beside the score."""
    before: str
    after: str
    """Bins in words, or whole numbers."""
    months: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Help:
    """What would change one decision. Private."""

    moves: tuple[ToldMove, ...]
    """Empty: nothing that the person can change leads further today."""
    applied: str
    decision: str
    """Canonical bytes of the changed input and of the decision made from it, as text."""
    leaves_on: date | None
    """When the latest arrears leave the window, if nothing can be changed."""

    def to_bytes(self) -> bytes:
        """Canonical JSON (protocol 0.5)."""
        return document_of(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Help":
        """The value of these bytes, or DecodeError."""
        return parse_document(cls, data)

    def promised(self, rules: Rules) -> Decision | None:
        """The decision after the changes, made once more; None: there are no changes.

        Raises:
            DigestMismatchError: it comes out otherwise; it must not be told.
        """
        if not self.moves:
            return None
        return replay(self.applied.encode(), self.decision.encode(), rules)


def help_of(
    inputs: DecisionInput, rules: Rules, basis: Basis, *, arrears_on: date | None = None
) -> Help:
    """Work out what would change a decision.

    Args:
        inputs: The decision's. Private.
        rules: The decision's.
        basis: Of the answer that was scored.
        arrears_on: Last day of arrears, if it is known. Private.

    Raises:
        DomainError: the basis is not that of the input's score.
    """
    found = counterfactual(inputs, rules, basis.case, basis.tables, arrears_on=arrears_on)
    match found:
        case NoChange():
            return Help(moves=(), applied="", decision="", leaves_on=found.leaves_on)
        case Counterfactual():
            return Help(
                moves=tuple(_told(move, basis) for move in found.moves),
                applied=found.applied.to_bytes().decode(),
                decision=found.decision.to_bytes().decode(),
                leaves_on=None,
            )


def _told(move: Move, basis: Basis) -> ToldMove:
    if move.what in set(Change):
        before, after = str(move.before), str(move.after)
        return ToldMove(
            what=move.what, code="", unit="", zh="", en="", before=before, after=after, months=0
        )
    feature = next(
        one.feature
        for table in basis.tables.values()
        for one in table.attributes
        if one.name == move.what
    )
    return ToldMove(
        what=feature.name,
        code=feature.reason,
        unit=feature.unit,
        zh=feature.reason_zh,
        en=feature.reason_en,
        before=basis.labels.of(feature.name, move.before),
        after=basis.labels.of(feature.name, move.after),
        months=move.months,
    )


# --- in words ---------------------------------------------------------------------------------

_CHANGES = {
    Change.AMOUNT: {Language.ZH: "申请金额", Language.EN: "The amount you ask for"},
    Change.TENOR: {Language.ZH: "期限(月)", Language.EN: "The term, in months"},
    Change.PAY_OFF: {
        Language.ZH: "还清余额最小的循环额度(笔)",
        Language.EN: "Revolving lines paid off, smallest balance first",
    },
}

_ZH_BINS = (
    (re.compile(r"\[(\S+), (\S+)\)"), r"\1 至 \2 (不含)"),
    (re.compile(r"below (\S+)"), r"低于 \1"),
    (re.compile(r"(\S+) or more"), r"\1 或以上"),
    (re.compile(r"(\S+) to (\S+)"), r"\1 至 \2"),
    (re.compile(r"any value"), "任意值"),
    (re.compile(r"missing"), "缺失"),
)


def bin_in(language: Language, label: str) -> str:
    """A bin's label in a language; a category's own text stands as it is."""
    if language is Language.ZH:
        for form, text in _ZH_BINS:
            if form.fullmatch(label):
                return form.sub(text, label)
    return label


def move_in(language: Language, move: ToldMove, currency: str) -> tuple[str, str, str]:
    """What is changed, from what, and to what."""
    if not move.code:
        change = Change(move.what)
        before, after = move.before, move.after
        if change is Change.AMOUNT:
            before, after = (money(Money(int(one), currency)) for one in (before, after))
        return _CHANGES[change][language], before, after
    about = move.zh if language is Language.ZH else move.en
    unit = f"{move.what}, {move.unit}" if move.unit else move.what
    name = f"{about} ({unit})"
    return name, bin_in(language, move.before), bin_in(language, move.after)
