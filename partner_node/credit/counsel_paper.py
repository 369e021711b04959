"""A counselling case as a paper: the budget, every plan, the days of follow-up (9.1, 9.2)."""

from collections.abc import Mapping
from types import MappingProxyType

from consortium.credit.counselling import fits
from consortium.credit.debt_plans import Plan
from consortium.credit.pack import Language
from consortium.credit.terms import Money
from partner_node.credit.document import (
    Block,
    Fact,
    Facts,
    Grid,
    Item,
    Items,
    Paper,
    Section,
    Text,
    Tone,
    money,
    plain_money,
)
from partner_node.credit.house_terms import HouseTerms
from partner_node.credit.path import Counselled

_TEXTS: Mapping[Language, Mapping[str, str]] = MappingProxyType(
    {
        Language.ZH: {
            "kind": "债务咨询",
            "title": "您的预算和可行的安排",
            "opened": "开始日期",
            "banner": "债务咨询免费",
            "h_budget": "每月预算",
            "income": "收入",
            "living": "生活费用",
            "dues": "现有还款",
            "left": "剩余",
            "unknown": "收入未知, 因此没有预算。",
            "h_plans": "可行的安排",
            "plans_about": "全部列出, 没有一项因为不合适而被隐藏。选哪一项由您和贷款人商定。",
            "plan": "安排",
            "heaviest": "最重的一个月",
            "months": "月数",
            "interest": "利息合计",
            "fits": "预算够用",
            "yes": "是",
            "no": "否",
            "h_follow": "回访日期",
            "not_filed": "您没有同意建档, 因此没有档案和回访。咨询本身不受影响。",
            "done": "已完成",
            "h_contact": "联系",
            "foot": "咨询不会影响您今后的申请。",
        },
        Language.EN: {
            "kind": "Debt counselling",
            "title": "Your budget and what can be done",
            "opened": "opened on",
            "banner": "Counselling is free",
            "h_budget": "A month",
            "income": "Income",
            "living": "Living costs",
            "dues": "What you pay on debts",
            "left": "What is left",
            "unknown": "Income is not known, so there is no budget.",
            "h_plans": "What can be done",
            "plans_about": "All plans are listed; none is hidden because it does not fit. "
            "Which one is taken is for you and the lender to agree.",
            "plan": "Plan",
            "heaviest": "Heaviest month",
            "months": "Months",
            "interest": "Interest in all",
            "fits": "Fits",
            "yes": "yes",
            "no": "no",
            "h_follow": "When we talk again",
            "not_filed": "You did not allow a file, so there is none and nobody calls again. "
            "The advice is the same.",
            "done": "done on",
            "h_contact": "Whom to ask",
            "foot": "Counselling is no drawback for later applications.",
        },
    }
)

_PLANS: Mapping[Language, Mapping[Plan, str]] = MappingProxyType(
    {
        Language.ZH: {
            Plan.RESCHEDULE: "延长期限",
            Plan.CONSOLIDATE: "合并为一笔",
            Plan.PAUSE_INTEREST: "暂停计息",
            Plan.DEAREST_FIRST: "先还利率最高的",
        },
        Language.EN: {
            Plan.RESCHEDULE: "longer terms",
            Plan.CONSOLIDATE: "one debt in place of all",
            Plan.PAUSE_INTEREST: "a pause without interest",
            Plan.DEAREST_FIRST: "the dearest debt first",
        },
    }
)


def counsel_paper(
    made: Counselled, terms: HouseTerms, language: Language, currency: str
) -> Paper:
    """The case in one language."""
    words, case = _TEXTS[language], made.case
    follow: Block = Text(words["not_filed"])
    if made.filed:
        follow = Items(
            tuple(
                Item(due.isoformat(), more=f"{words['done']} {on}" if on else "")
                for due, on in made.follow_ups
            )
        )
    return Paper(
        language=language,
        kind=f"{terms.lender.of(language)} · {words['kind']}",
        title=words["title"],
        about=f"{case.case_ref} · {words['opened']} {case.opened_on}",
        tone=Tone.CALM,
        banner=words["banner"],
        more="",
        sections=(
            Section(words["h_budget"], (_budget(made, words, currency),)),
            Section(words["h_plans"], _plans(made, language, currency)),
            Section(words["h_follow"], (follow,)),
            Section(words["h_contact"], (Text(terms.counselling.of(language)),)),
        ),
        foot=words["foot"],
    )


def _budget(made: Counselled, words: Mapping[str, str], currency: str) -> Block:
    budget = made.case.budget
    if budget is None:
        return Text(words["unknown"])
    return Facts(
        tuple(
            Fact(words[name], money(Money(getattr(budget, name), currency)))
            for name in ("income", "living", "dues", "left")
        )
    )


def _plans(made: Counselled, language: Language, currency: str) -> tuple[Block, ...]:
    words, budget = _TEXTS[language], made.case.budget
    heads = [words[name] for name in ("plan", "fits", "heaviest", "months", "interest")]
    rows = []
    for one in made.case.options:
        fit = "–" if budget is None else words["yes" if fits(one, budget) else "no"]
        required = plain_money(Money(one.required, currency))
        interest = plain_money(Money(one.interest, currency))
        rows.append((_PLANS[language][one.plan], fit, required, str(len(one.rows)), interest))
    return Text(words["plans_about"]), Grid(tuple(heads), tuple(rows), words=2)
