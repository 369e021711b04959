"""The fixed words of borrowers' papers, Chinese and English."""

from collections.abc import Mapping
from types import MappingProxyType

from consortium.credit.offers import WhyNot
from consortium.credit.pack import Language
from consortium.credit.terms import ConsentPurpose, Purpose
from consortium.credit.verdict import Bound, Outcome, OverrideCode, ReasonSource

TEXTS: Mapping[Language, Mapping[str, str]] = MappingProxyType(
    {
        Language.ZH: {
            "kind": "信贷决定通知书",
            "title": "关于您的信贷申请的决定",
            "application": "申请编号",
            "decided_on": "决定日期",
            "limit": "可用额度",
            "asked": "您申请的是",
            "by_officer": "本结果由工作人员作出, 取代了自动结果。",
            "automated": "本结果由规则自动得出。您可以要求由人重新决定。",
            "to_person": "您的申请将由工作人员决定, 您无需重新申请。",
            "h_reasons": "原因",
            "reasons_about": "按影响从大到小排列。每一项都确实影响了本次结果。",
            "reasons_lower": "额度低于申请金额的原因:",
            "h_why_person": "为什么由人决定",
            "h_terms": "条件",
            "price": "年利率",
            "documents": "放款前需核验",
            "bounds": "额度受限于",
            "h_score": "评分",
            "score": "您的评分",
            "range": "评分范围",
            "range_is": "{low} 至 {high}, 越高越好",
            "pd": "估计违约概率",
            "band": "信息覆盖",
            "no_score": "本次决定没有使用评分。",
            "h_sources": "依据了哪些信息",
            "h_change": "什么会改变结果",
            "change_about": "以下变化合在一起, 按今天的其他数据重新决定, 结果将是:",
            "change_note": "只列出您自己能够改变的事项。以后的数据不同, 结果也可能不同。",
            "change_none": "仅凭您自己能够改变的事项, 今天没有办法得到更好的结果。",
            "change_arrears": "最近一次逾期将在 {day} 离开观察期, 届时可再申请。",
            "change_unknown": "本次没有计算出可以改变结果的事项。复核时可以要求说明。",
            "change_person": "由人决定之前, 没有需要您改变的事项。",
            "now": "现在",
            "then": "改变后",
            "months": "约需 {months} 个月",
            "at_once": "现在即可",
            "grade_then": "更好的等级",
            "h_next": "现在可以怎么做",
            "offer": "适合您的产品",
            "none_suits": "目前没有适合您的产品",
            "monthly": "每月约还",
            "cost": "总费用",
            "h_review": "复核与异议",
            "review": "要求由人复核",
            "dispute": "认为信息有误",
            "last_day": "截止日期",
            "h_consents": "使用了您的哪些同意",
            "consent": "同意",
            "given": "日期",
            "until": "有效至",
            "open": "您撤回为止",
            "none": "没有使用。",
            "h_learn": "值得了解",
            "h_proof": "核验信息",
            "proof_about": "凭以下摘要, 监管机构可以逐字节重演本次决定。",
            "decision": "决定",
            "input": "决定输入",
            "policy": "政策",
            "pack": "法规包",
            "catalogue": "产品目录",
            "model": "模型",
            "head": "校准",
            "schema": "特征表",
            "manifest": "联盟清单",
            "sheet": "费用说明书",
            "foot": "本通知免费。其他机构的名称和具体数据不在本通知中, 也未向本机构提供。",
        },
        Language.EN: {
            "kind": "Notice of a credit decision",
            "title": "The decision on your application for credit",
            "application": "Application",
            "decided_on": "decided on",
            "limit": "Your limit",
            "asked": "You asked for",
            "by_officer": "A member of staff decided this, in place of the automated result.",
            "automated": "Rules came to this result. You may ask that a person decides again.",
            "to_person": "A member of staff will decide. You need not apply again.",
            "h_reasons": "Reasons",
            "reasons_about": "What weighed most comes first. Each did count in this result.",
            "reasons_lower": "Why the limit is below what you asked for:",
            "h_why_person": "Why a person decides",
            "h_terms": "Conditions",
            "price": "Yearly interest",
            "documents": "To be seen before payout",
            "bounds": "What holds the limit",
            "h_score": "Your score",
            "score": "Score",
            "range": "Range",
            "range_is": "{low} to {high}; more is better",
            "pd": "Estimated probability of default",
            "band": "What is covered",
            "no_score": "No score was used in this decision.",
            "h_sources": "What information was used",
            "h_change": "What would change the result",
            "change_about": "Together, and on today's other data, these changes lead to:",
            "change_note": "Only what you can change yourself is listed. With other data on a "
            "later day the result may be another one.",
            "change_none": "What you can change yourself leads to no better result today.",
            "change_arrears": "The latest arrears leave the period that is looked at on {day}; "
            "you may apply again then.",
            "change_unknown": "What would change this result was not worked out. You may ask "
            "for it in a review.",
            "change_person": "There is nothing for you to change before a person has decided.",
            "now": "now",
            "then": "then",
            "months": "takes about {months} months",
            "at_once": "can be done now",
            "grade_then": "a better grade",
            "h_next": "What you can do now",
            "offer": "Products that suit",
            "none_suits": "No product suits you at present",
            "monthly": "about a month",
            "cost": "total cost",
            "h_review": "Review and dispute",
            "review": "To have a person decide again",
            "dispute": "If information is wrong",
            "last_day": "last day",
            "h_consents": "Which of your consents were used",
            "consent": "Consent",
            "given": "given on",
            "until": "until",
            "open": "you withdraw it",
            "none": "None.",
            "h_learn": "Worth knowing",
            "h_proof": "For verification",
            "proof_about": "With these digests a supervisor can make this decision again, byte "
            "for byte.",
            "decision": "Decision",
            "input": "Input",
            "policy": "Policy",
            "pack": "Pack of law",
            "catalogue": "Catalogue",
            "model": "Model",
            "head": "Calibration",
            "schema": "Feature schema",
            "manifest": "Manifest",
            "sheet": "Cost sheet",
            "foot": "This notice is free. Names and single data of other institutions are not "
            "in it, and were not given to this lender.",
        },
    }
)

OUTCOMES: Mapping[Language, Mapping[Outcome, str]] = MappingProxyType(
    {
        Language.ZH: {
            Outcome.APPROVE: "已批准",
            Outcome.REFER: "转由人工决定",
            Outcome.DECLINE: "未批准",
        },
        Language.EN: {
            Outcome.APPROVE: "Approved",
            Outcome.REFER: "A person will decide",
            Outcome.DECLINE: "Not approved",
        },
    }
)

BANDS: Mapping[Language, Mapping[str, str]] = MappingProxyType(
    {
        Language.ZH: {
            "0": "仅本机构自己的信息",
            "1": "一家机构的信息",
            "2": "两家机构的信息",
            "3+": "三家或更多机构的信息",
        },
        Language.EN: {
            "0": "This lender's own information only",
            "1": "Information of one institution",
            "2": "Information of two institutions",
            "3+": "Information of three institutions or more",
        },
    }
)

BOUNDS: Mapping[Language, Mapping[Bound, str]] = MappingProxyType(
    {
        Language.ZH: {
            Bound.TIER: "您的等级的最高额度",
            Bound.DSR: "收入能够承担的还款",
            Bound.GROWTH: "本周可发放的总额",
        },
        Language.EN: {
            Bound.TIER: "the highest limit of your grade",
            Bound.DSR: "what your income can carry",
            Bound.GROWTH: "what may be lent this week",
        },
    }
)

SOURCES: Mapping[Language, Mapping[str, str]] = MappingProxyType(
    {
        Language.ZH: {
            ReasonSource.OWN: "本机构自己的记录",
            ReasonSource.OTHERS: "其他机构的信息, 仅为加总后的结果, 依据您的同意",
            "income": "您提供的收入信息, 依据您的同意",
            "declared": "您申报的其他负债",
            ReasonSource.RULE: "本机构公布的信贷规则",
        },
        Language.EN: {
            ReasonSource.OWN: "This lender's own records",
            ReasonSource.OTHERS: "Other institutions' information, as a sum, with your consent",
            "income": "Your income, as you gave it, with your consent",
            "declared": "Debts elsewhere, as you declared them",
            ReasonSource.RULE: "This lender's rules for credit",
        },
    }
)

CONSENTS: Mapping[Language, Mapping[ConsentPurpose, str]] = MappingProxyType(
    {
        Language.ZH: {
            ConsentPurpose.CREDIT_DECISION: "信贷决定",
            ConsentPurpose.JOINT_SCORE: "联合评分",
            ConsentPurpose.INCOME_DATA: "收入数据",
            ConsentPurpose.CLOSURE_SIGNAL: "额度关闭信号",
            ConsentPurpose.OWNER_LINK: "经营者关联",
            ConsentPurpose.ATTESTATION: "信用证明",
            ConsentPurpose.RESTART_CONTACT: "重启联系",
            ConsentPurpose.COUNSELLING: "债务咨询",
            ConsentPurpose.CALIBRATION: "校准",
            ConsentPurpose.IMPACT_STUDY: "影响研究",
        },
        Language.EN: {
            ConsentPurpose.CREDIT_DECISION: "Credit decision",
            ConsentPurpose.JOINT_SCORE: "Joint score",
            ConsentPurpose.INCOME_DATA: "Income data",
            ConsentPurpose.CLOSURE_SIGNAL: "Closure signal",
            ConsentPurpose.OWNER_LINK: "Link of an owner",
            ConsentPurpose.ATTESTATION: "Attestation",
            ConsentPurpose.RESTART_CONTACT: "Contact for a restart",
            ConsentPurpose.COUNSELLING: "Counselling",
            ConsentPurpose.CALIBRATION: "Calibration",
            ConsentPurpose.IMPACT_STUDY: "Impact study",
        },
    }
)

PURPOSES: Mapping[Language, Mapping[Purpose, str]] = MappingProxyType(
    {
        Language.ZH: {
            Purpose.EDUCATION: "教育",
            Purpose.MEDICAL: "医疗",
            Purpose.HOME: "家居",
            Purpose.DURABLES: "耐用品",
            Purpose.TRAVEL: "旅行",
            Purpose.REFINANCE: "置换",
            Purpose.SME_WORKING: "企业周转",
            Purpose.PROJECT: "项目",
        },
        Language.EN: {
            Purpose.EDUCATION: "education",
            Purpose.MEDICAL: "medical care",
            Purpose.HOME: "home",
            Purpose.DURABLES: "durables",
            Purpose.TRAVEL: "travel",
            Purpose.REFINANCE: "refinancing",
            Purpose.SME_WORKING: "working capital",
            Purpose.PROJECT: "project",
        },
    }
)

DOCUMENTS: Mapping[Language, Mapping[str, str]] = MappingProxyType(
    {
        Language.ZH: {"identity": "身份证明", "income": "收入证明"},
        Language.EN: {"identity": "proof of identity", "income": "proof of income"},
    }
)
"""Of the sample policy; a house's own name stands as it is written."""

OVERRIDES: Mapping[Language, Mapping[OverrideCode, str]] = MappingProxyType(
    {
        Language.ZH: {
            OverrideCode.NEW_FACTS: "出现了新的事实",
            OverrideCode.DOCUMENT_ERROR: "资料有误, 已更正",
            OverrideCode.RELATIONSHIP: "考虑了长期往来",
            OverrideCode.POLICY_EXCEPTION: "按政策作为例外处理",
            OverrideCode.HARDSHIP: "考虑了困难情况",
        },
        Language.EN: {
            OverrideCode.NEW_FACTS: "new facts came up",
            OverrideCode.DOCUMENT_ERROR: "a document was wrong and was corrected",
            OverrideCode.RELATIONSHIP: "the time that you have been a customer was considered",
            OverrideCode.POLICY_EXCEPTION: "an exception under the policy",
            OverrideCode.HARDSHIP: "hardship was considered",
        },
    }
)

WHY_NOT: Mapping[Language, Mapping[str, str]] = MappingProxyType(
    {
        Language.ZH: {
            WhyNot.REPAYS_ARREARS: "借新还旧不能解决逾期, 请先免费咨询。",
            WhyNot.OVER_THE_CAP_ALREADY: "现有还款已超过收入可承担的比例, 请先免费咨询。",
            WhyNot.INCOME_UNKNOWN: "没有可用的收入信息。",
            WhyNot.NOT_OFFERED: "没有适用于您的等级和用途的产品。",
            WhyNot.BELOW_THE_LEAST: "可借金额低于产品的最低金额。",
            WhyNot.CAPACITY: "收入可承担的金额低于产品的最低金额。",
            WhyNot.COST_CAP: "产品的年化综合成本会超过法定上限。",
            "DECISION": "按同样的规则, 这些产品今天也不会获批。",
            "CONSENT": "您已撤回所需的同意, 因此没有为您挑选产品。",
        },
        Language.EN: {
            WhyNot.REPAYS_ARREARS: "New credit does not cure arrears; please talk to us first.",
            WhyNot.OVER_THE_CAP_ALREADY: "What you pay each month is more than your income can "
            "carry; please talk to us first.",
            WhyNot.INCOME_UNKNOWN: "There is no income that may be used.",
            WhyNot.NOT_OFFERED: "Nothing is sold to your grade for this purpose.",
            WhyNot.BELOW_THE_LEAST: "What could be lent is below the product's least amount.",
            WhyNot.CAPACITY: "What your income can carry is below the product's least amount.",
            WhyNot.COST_CAP: "The product would cost more than the legal cap.",
            "DECISION": "By the same rules these products would not be approved today.",
            "CONSENT": "You have withdrawn a consent that this needs, so nothing was chosen.",
        },
    }
)
