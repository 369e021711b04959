"""What the ecosystem report says, in Chinese and English."""

from collections.abc import Mapping

from consortium.credit.shown import Why

Pair = tuple[str, str]
"""Chinese, English."""

TITLE: Pair = ("信贷生态报告", "Credit ecosystem")
_LEAD_ZH = (
    "所有数字均来自各机构加噪后的安全求和, 没有任何一家机构的单独数字或任何一笔记录离开机构。"
    "每个数字旁为 95 % 区间; 人数少于 50 (按加噪计数) 的数字不予显示。"
)
_LEAD_EN = (
    "Every figure comes from a noisy secure sum over partners; no row and no figure of one "
    "partner ever left it. Beside each stands its 95 % interval; what rests on fewer than 50 "
    "persons by the noisy count is not shown."
)
LEAD: Pair = (_LEAD_ZH, _LEAD_EN)
SYNTHETIC = "SYNTHETIC"

SECTIONS: Mapping[str, Pair] = {
    "demand": ("需求指数", "Demand index"),
    "appetite": ("风险偏好指数", "Appetite index"),
    "approvals": ("审批通过率", "Approval rates"),
    "vintages": ("账龄曲线", "Vintages"),
    "roll_rates": ("滚动率", "Roll rates"),
    "closures": ("关闭率", "Closure rates"),
    "concentration": ("集中度", "Concentration"),
    "fairness": ("公平性检验", "Fairness test"),
    "premium": ("信息损失溢价", "Information-loss premium"),
    "dependence": ("对各机构的依赖", "Dependence on each partner"),
    "contribution": ("各机构训练贡献", "Contribution of each partner's training"),
    "premium_fit": ("信息损失前后的联合评分", "The joint score before and after the loss"),
}
_DEPENDENCE_ZH = (
    "各机构自己客户的联合评分, 含该机构部分与不含该机构部分时按等级计算的 AUC 及其差。"
    "由被衡量的机构自己计数, 因此不作为结算依据; 区间未利用两者为同一批人这一点, 偏宽。"
)
_DEPENDENCE_EN = (
    "AUC over grades of the joint scores of each partner's own customers, with its part and "
    "without, and the difference. Who counts is who is measured, so nothing is settled by it. "
    "The interval does not use that the persons are the same, and is wide for that."
)
_CONTRIBUTION_ZH = (
    "以去掉一家机构重新训练的模型, 在其他机构的留出人员上的对数损失, 减去全体模型的对数损失。"
    "正数表示该机构有贡献。"
)
_CONTRIBUTION_EN = (
    "Log-loss of a model trained without one partner, less that of the model of all, on the "
    "held-out persons of the others. Above 0 the partner's rows help."
)
_PREMIUM_ZH = (
    "一家机构关闭时, 其客户因失去该机构的信贷记录而损失的分数 (中位数), 以及降级者的比例。"
    "正数为损失。"
)
_PREMIUM_EN = (
    "What the customers of a partner that closes lose with its record of them: points "
    "(median), and the share that falls to a weaker grade. Positive is harm."
)
_FIT_ZH = (
    "同一批客户 (关闭机构的, 且同意影响研究) 的联合评分: 有该机构的信息 (with)、"
    "没有 (without)、没有但出示签名历史证明 (attested), 对照该机构记录的结果。"
    "价格按 60 % 违约损失率 (假设值) 折算; "
    "正的变化为损失。AUC 变化的区间偏宽。"
)
_FIT_EN = (
    "The joint score of the same persons, customers of the partner that closes who consented "
    "to impact studies: with its part, without it, and without it but with the signed history "
    "that a person carries (attested), against what became of them there. without is told "
    "against with, attested against without. PD and price: more is harm; a price is the PD at "
    "an assumed loss given default of 60 %, in points of a year's interest. Intervals of a "
    "change of AUC are on the wide side."
)
ABOUT: Mapping[str, Pair] = {
    "demand": (
        "每周申请金额 (逐笔截断), 以最初十二周的均值为 100。",
        "Amounts applied for, clipped one by one; the mean of the first twelve weeks is 100.",
    ),
    "appetite": (
        "在不变的等级结构下的通过率, 以最初十二周为 100。",
        "Approval at a constant mix of grades; the first twelve weeks are 100.",
    ),
    "approvals": ("通过数除以申请数。", "Approved of applied, through the door."),
    "vintages": (
        "按开户月份, 到某账龄为止曾逾期的比例; 曲线在加噪之后取累计最大值。",
        "Share of a month's new lines ever late by an age; a running maximum, after the noise.",
    ),
    "roll_rates": (
        "从一个月末到下一个月末的状态转移比例。",
        "From the state at one month end to that at the next.",
    ),
    "closures": (
        "期初有效的额度在期内因各种原因结束的比例; 关闭不等于违约。",
        "What ended the lines that were at risk when the period began. Closure is no default.",
    ),
    "concentration": (
        "各类业务在全部余额中的占比及其赫芬达尔指数 (已扣除噪声)。",
        "Shares of segments in all balances and their Herfindahl index, corrected for noise.",
    ),
    "fairness": (
        "与人数最多的组比较。这是政策检验, 不是法律结论。",
        "Against the largest group. A policy test, not a legal finding.",
    ),
    "premium": (_PREMIUM_ZH, _PREMIUM_EN),
    "dependence": (_DEPENDENCE_ZH, _DEPENDENCE_EN),
    "contribution": (_CONTRIBUTION_ZH, _CONTRIBUTION_EN),
    "premium_fit": (_FIT_ZH, _FIT_EN),
}
FIGURES: Mapping[str, Pair] = {
    "demand_index": ("需求指数", "demand index"),
    "appetite_index": ("偏好指数", "appetite index"),
    "approval_rate": ("通过率", "approval rate"),
    "ever_late": ("曾逾期", "ever late"),
    "transition": ("转移", "transition"),
    "closure_rate": ("关闭率", "closure rate"),
    "balance_share": ("余额占比", "share of balances"),
    "hhi": ("赫芬达尔指数", "HHI"),
    "group_approval": ("通过率", "approval rate"),
    "impact_ratio": ("不利影响比", "adverse impact ratio"),
    "opportunity_gap": ("机会均等差", "equal opportunity gap"),
    "calibration": ("预期/实际", "expected over observed"),
    "points_lost": ("损失分数 (中位数)", "points lost, median"),
    "grade_lost": ("降级比例", "share losing a grade"),
    "auc_with": ("含该机构的 AUC", "AUC with its part"),
    "auc_without": ("不含该机构的 AUC", "AUC without"),
    "auc_gain": ("AUC 增益", "AUC gain"),
    "loss_gain": ("对数损失增益", "gain in log-loss"),
    "auc": ("AUC", "AUC"),
    "expected_observed": ("预期/实际坏账", "expected over observed bads (E/O)"),
    "mean_pd": ("平均违约概率", "mean PD"),
    "auc_change": ("AUC 变化", "change of AUC"),
    "pd_change": ("平均违约概率变化", "change of mean PD"),
    "price_change": ("价格变化 (每年)", "change of price, a year"),
}
WHY: Mapping[Why, Pair] = {
    Why.FEW: ("人数过少, 不予显示", "too few persons: not shown"),
    Why.BASE: ("基期未满十二周", "base not yet twelve weeks"),
    Why.PARENT: ("人数过少, 以全部业务代替", "too few persons: all segments instead"),
    Why.MIX: ("某等级申请过少, 结构已重新归一", "a grade left out, mix renormalised"),
    Why.UNDEFINED: ("无定义", "not defined"),
    Why.REFERENCE: ("参照组", "reference"),
}
VERDICTS: Mapping[str, Pair] = {
    "fine": ("正常", "fine"),
    "watch": ("关注", "watch"),
    "fail": ("不通过", "fail"),
    "not_assessed": ("未评估", "not assessed"),
}
AXES: Mapping[str, Pair] = {
    "week": ("周", "week"),
    "month": ("月", "month"),
    "opened": ("开户月", "opened"),
    "age": ("账龄 (月)", "age, months"),
    "product": ("产品", "product"),
    "segment": ("业务", "segment"),
    "grade": ("等级", "grade"),
    "before": ("期初", "before"),
    "after": ("期末", "after"),
    "cause": ("原因", "cause"),
    "group": ("组", "group"),
    "tier": ("客群", "tier"),
    "partner": ("机构", "partner"),
    "without": ("去掉一家机构的模型", "model without one partner"),
    "view": ("视角", "view"),
}
COLUMNS: Mapping[str, Pair] = {
    "figure": ("数字", "figure"),
    "value": ("值", "value"),
    "interval": ("95 % 区间", "95 % interval"),
    "band": ("人数区间", "n band"),
    "note": ("说明", "note"),
}
_COST_ZH = (
    "发布号 {release}; 期间 {first} 至 {last}; 机构 {partners} 家; 每人 ε = {epsilon} "
    "(全部诚实 {honest}, 其余全部合谋 {others}), δ = {delta}; 人数 {band}。"
)
_COST_EN = (
    "Release {release}; {first} to {last}; {partners} partners; epsilon of a person {epsilon} "
    "(all honest {honest}, everyone else colluding {others}), delta {delta}; n {band}."
)
COST: Pair = (_COST_ZH, _COST_EN)
STEPS: Pair = ("检测到的水平变化: {weeks}", "Changes of level seen in: {weeks}")


def both(pair: Pair) -> str:
    """A short label in both languages."""
    return f"{pair[0]} {pair[1]}"
