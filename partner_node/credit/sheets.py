"""Cost sheets and the list that is not personal, as papers (credit path 5.5, 6.4, 6.5)."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from consortium.credit.cost import CostSheet, PricedAddOn, Reading, sheet_digest
from consortium.credit.offers import SHOWN_MONTHS, Listed
from consortium.credit.pack import CapBasis, Language
from consortium.credit.schedule import Method, Row
from consortium.credit.terms import Money
from partner_node.credit.document import (
    Block,
    Box,
    Boxes,
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
    percent,
    plain_money,
)
from partner_node.credit.house_terms import Words
from partner_node.credit.notices import months_in

_TEXTS: Mapping[Language, Mapping[str, str]] = MappingProxyType(
    {
        Language.ZH: {
            "kind": "费用说明书",
            "title": "这笔信贷一共要花多少钱",
            "yearly": "年化综合成本",
            "total": "总费用",
            "paid": "总还款额",
            "h_key": "主要数字",
            "amount": "借款金额",
            "payout": "实际到手",
            "payout_on": "放款日",
            "method": "还款方式",
            "price": "合同年利率",
            "nominal": "年化综合成本 (单利)",
            "effective": "年化综合成本 (复利)",
            "cap": "法定上限",
            "cap_held": "{cap}, 按{basis}比较: 没有超过",
            "no_cap": "法规未设上限",
            "h_charges": "必须支付的费用",
            "no_charges": "除利息外没有其他费用。",
            "payee": "收取方",
            "h_rows": "还款计划",
            "date": "到期日",
            "due": "应还",
            "principal": "本金",
            "interest": "利息",
            "fees": "费用",
            "left": "剩余本金",
            "h_late": "逾期与提前还款",
            "h_addons": "可以另外选择的项目",
            "addons_about": "以下项目都不是必需的, 不影响审批和价格。不选择即为不需要。",
            "with": "选择后总费用 {total}",
            "rate_with": "选择后年化综合成本 {rate}",
            "each": "每次 {each}",
            "cooling": "{days} 天内可无条件取消",
            "h_confirm": "签约之前",
            "reading": "请至少阅读 {seconds} 秒, 并确认您看到的是这一份说明书。",
            "confirm": "请确认您看到的是这一份说明书。",
            "h_proof": "核验信息",
            "digest": "说明书摘要",
            "foot": "合同只有在您确认本说明书之后才能签署, 并须写明本说明书的摘要。",
            "h_list": "全部产品",
            "list_kind": "非个性化产品列表",
            "list_title": "所有人看到的都是同一份列表",
            "list_banner": "不使用任何个人信息",
            "list_more": "按借 {amount}、{months} 的总费用从低到高排列, 均按最高价格计算。",
            "product": "产品",
            "sold": "是否按此出售",
            "yes": "是",
            "no": "仅供比较",
            "list_foot": "排列顺序与本机构的收益无关。",
        },
        Language.EN: {
            "kind": "Cost sheet",
            "title": "What this credit costs in all",
            "yearly": "Yearly cost, all in",
            "total": "total cost",
            "paid": "Total of payments",
            "h_key": "In short",
            "amount": "Amount of the credit",
            "payout": "What you receive",
            "payout_on": "Paid out on",
            "method": "Repayment",
            "price": "Contract interest, a year",
            "nominal": "Yearly cost, nominal",
            "effective": "Yearly cost, effective",
            "cap": "Legal cap",
            "cap_held": "{cap}, compared with the {basis} figure: not exceeded",
            "no_cap": "the law sets no cap",
            "h_charges": "Charges you have to pay",
            "no_charges": "There are no charges beside the interest.",
            "payee": "paid to",
            "h_rows": "Schedule",
            "date": "Due on",
            "due": "To pay",
            "principal": "Principal",
            "interest": "Interest",
            "fees": "Charges",
            "left": "Left",
            "h_late": "Late and early payment",
            "h_addons": "What you may take beside it",
            "addons_about": "None of these is needed for the credit or changes its price. "
            "If you choose nothing, you take nothing.",
            "with": "total cost with it {total}",
            "rate_with": "yearly cost with it {rate}",
            "each": "{each} each time",
            "cooling": "may be given back within {days} days",
            "h_confirm": "Before you sign",
            "reading": "Please read for at least {seconds} seconds, and confirm that this is "
            "the sheet that you saw.",
            "confirm": "Please confirm that this is the sheet that you saw.",
            "h_proof": "For verification",
            "digest": "Digest of this sheet",
            "foot": "A contract can be signed only after you have confirmed this sheet, and "
            "names its digest.",
            "h_list": "All products",
            "list_kind": "List that is not personal",
            "list_title": "Everybody sees this same list",
            "list_banner": "Nothing about you was used",
            "list_more": "By the total cost of {amount} over {months}, at the highest price.",
            "product": "Product",
            "sold": "Sold like this",
            "yes": "yes",
            "no": "to compare only",
            "list_foot": "The order does not depend on what this lender earns.",
        },
    }
)

_METHODS: Mapping[Language, Mapping[Method, str]] = MappingProxyType(
    {
        Language.ZH: {
            Method.ANNUITY: "等额本息",
            Method.EQUAL_PRINCIPAL: "等额本金",
            Method.INTEREST_ONLY: "按月付息, 到期还本",
            Method.BULLET: "到期一次还本付息",
        },
        Language.EN: {
            Method.ANNUITY: "equal instalments",
            Method.EQUAL_PRINCIPAL: "equal parts of principal",
            Method.INTEREST_ONLY: "interest each month, principal at the end",
            Method.BULLET: "all at the end",
        },
    }
)

_BASES: Mapping[Language, Mapping[CapBasis, str]] = MappingProxyType(
    {
        Language.ZH: {CapBasis.EFFECTIVE: "复利", CapBasis.NOMINAL: "单利"},
        Language.EN: {CapBasis.EFFECTIVE: "effective", CapBasis.NOMINAL: "nominal"},
    }
)


def sheet_paper(
    sheet: CostSheet, language: Language, *, product: Words, lender: Words, reading: Reading
) -> Paper:
    """The sheet as a borrower reads it.

    Args:
        sheet: Private.
        language: Of the paper.
        product: Its name.
        lender: Who lends.
        reading: What the pack asks for before a contract.
    """
    words = _TEXTS[language]
    return Paper(
        language=language,
        kind=f"{lender.of(language)} · {words['kind']}",
        title=words["title"],
        about=f"{product.of(language)} · {money(sheet.amount)} · "
        f"{months_in(language, len(sheet.rows))} · {sheet.payout_on}",
        tone=Tone.CALM,
        banner=f"{words['yearly']} {percent(sheet.effective)} · {words['total']} "
        f"{money(sheet.total_cost)}",
        more=f"{words['paid']} {money(sheet.total_paid)}",
        sections=tuple(
            Section(title, tuple(blocks)) for title, blocks in _sections(sheet, words, language)
        )
        + _closing(sheet, words, reading),
        foot=words["foot"],
    )


def _sections(
    sheet: CostSheet, words: Mapping[str, str], language: Language
) -> Iterator[tuple[str, list[Block]]]:
    yield words["h_key"], [_key(sheet, words, language)]
    yield words["h_charges"], [_charges(sheet, words, language)]
    yield words["h_rows"], [_rows(sheet, words)]
    zh = language is Language.ZH
    clauses = (*sheet.penalties, sheet.early_repayment)
    yield (
        words["h_late"],
        [Items(tuple(Item(one.zh if zh else one.en) for one in clauses))],
    )
    if sheet.addons:
        boxes = tuple(_box(one, words, language) for one in sheet.addons)
        yield words["h_addons"], [Text(words["addons_about"]), Boxes(boxes)]


def _closing(
    sheet: CostSheet, words: Mapping[str, str], reading: Reading
) -> tuple[Section, ...]:
    seconds = reading.forced_reading_s
    text = words["reading"].format(seconds=seconds) if seconds else words["confirm"]
    digest = Fact(words["digest"], sheet_digest(sheet), code=True)
    return (
        Section(words["h_confirm"], (Text(text),)),
        Section(words["h_proof"], (Facts((digest,)),)),
    )


def _key(sheet: CostSheet, words: Mapping[str, str], language: Language) -> Facts:
    cap = words["no_cap"]
    if sheet.cap is not None:
        basis = _BASES[language][sheet.cap.basis]
        cap = words["cap_held"].format(cap=percent(sheet.cap.annualised), basis=basis)
    return Facts(
        (
            Fact(words["amount"], money(sheet.amount)),
            Fact(words["payout"], money(sheet.payout)),
            Fact(words["payout_on"], sheet.payout_on.isoformat()),
            Fact(words["method"], _METHODS[language][sheet.method]),
            Fact(words["price"], percent(sheet.price_apr)),
            Fact(words["nominal"], percent(sheet.nominal)),
            Fact(words["effective"], percent(sheet.effective)),
            Fact(words["cap"], cap),
        )
    )


def _charges(sheet: CostSheet, words: Mapping[str, str], language: Language) -> Block:
    if not sheet.charges:
        return Text(words["no_charges"])
    zh = language is Language.ZH
    return Items(
        tuple(
            Item(
                f"{one.charge.name_zh if zh else one.charge.name_en}: {money(one.total)}",
                more=f"{words['payee']} {one.charge.payee}",
            )
            for one in sheet.charges
        )
    )


def _rows(sheet: CostSheet, words: Mapping[str, str]) -> Grid:
    """Without a column of charges where there are none."""
    currency = sheet.amount.currency
    names = ["due", "principal", "interest"]
    names += ["fees"] if any(row.fees for row in sheet.rows) else []
    heads = (words["date"], *(words[name] for name in names), words["left"])

    def cells(row: Row) -> tuple[str, ...]:
        values = (*(getattr(row, name) for name in names), row.closing)
        return (row.on.isoformat(), *(plain_money(Money(one, currency)) for one in values))

    return Grid(heads, tuple(cells(row) for row in sheet.rows))


def _box(one: PricedAddOn, words: Mapping[str, str], language: Language) -> Box:
    addon = one.addon
    name = addon.name_zh if language is Language.ZH else addon.name_en
    parts = [
        words["each"].format(each=money(addon.amount)),
        f"{words['payee']} {addon.payee}",
        words["with"].format(total=money(one.total_with)),
    ]
    if one.effective_with is not None:
        parts.append(words["rate_with"].format(rate=percent(one.effective_with)))
    parts.append(words["cooling"].format(days=addon.cooling_off_days))
    return Box(f"{name}: {money(one.total)}", " · ".join(parts))


def list_paper(
    lines: tuple[Listed, ...], language: Language, *, amount: Money, lender: Words
) -> Paper:
    """The list that is not personal. It takes no applicant, so it is the same for all."""
    words = _TEXTS[language]
    zh = language is Language.ZH
    months = months_in(language, SHOWN_MONTHS)
    rows = tuple(
        (
            one.name_zh if zh else one.name_en,
            words["yes" if one.sold_so else "no"],
            percent(one.price_apr),
            plain_money(Money(one.total_cost, amount.currency)),
        )
        for one in lines
    )
    heads = (words["product"], words["sold"], words["price"], words["total"])
    return Paper(
        language=language,
        kind=f"{lender.of(language)} · {words['list_kind']}",
        title=words["list_title"],
        about=words["list_more"].format(amount=money(amount), months=months),
        tone=Tone.CALM,
        banner=words["list_banner"],
        more="",
        sections=(Section(words["h_list"], (Grid(heads, rows, words=2),)),),
        foot=words["list_foot"],
    )
