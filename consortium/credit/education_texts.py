"""The texts of the six education modules, Chinese and English (credit 3.3, row 25).

A paragraph is a block of lines; tests hold sentences short. No text promises an outcome, names
a lender or asks for money.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Topic(StrEnum):
    """The modules by their code."""

    PAYING = "E1"
    USING = "E2"
    APPLYING = "E3"
    RECORD = "E4"
    BUDGET = "E5"
    GUARANTEE = "E6"


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One module. Public."""

    topic: Topic
    title_zh: str
    title_en: str
    zh: tuple[str, ...]
    """Paragraphs."""
    en: tuple[str, ...]


def _paragraphs(text: str, join: str) -> tuple[str, ...]:
    """Blocks of lines, each joined to one line."""
    blocks = text.strip().split("\n\n")
    return tuple(join.join(line.strip() for line in block.split("\n")) for block in blocks)


def _module(topic: Topic, titles: tuple[str, str], *, zh: str, en: str) -> Module:
    return Module(
        topic=topic,
        title_zh=titles[0],
        title_en=titles[1],
        zh=_paragraphs(zh, ""),
        en=_paragraphs(en, " "),
    )


_PAYING = _module(
    Topic.PAYING,
    ("按时还款", "Paying on time"),
    zh="""
    按时还款是信贷记录中最重要的一项。
    每一笔欠款都有到期日, 请在到期日之前存入足够的钱。

    如果可以, 请设置自动还款, 并在发薪日之后几天还款。
    手机提醒也有帮助。

    如果这个月还不上, 请在到期日之前联系贷款机构。
    提前说明往往可以得到延期或新的还款安排。

    已经逾期时, 请先还清逾期最久的一笔。
    还清以后, 连续几个月按时还款, 记录会慢慢变好。

    请不要借新的钱去还逾期的钱。
    这样通常会让总欠款更多。
    免费的咨询可以帮您制定计划。
    """,
    en="""
    Paying on time is the most important part of a credit record. Every debt has a due
    date. Have enough money in the account before that day.

    If you can, set up automatic payment a few days after your pay day. A reminder on your
    phone helps as well.

    If you cannot pay this month, call the lender before the due date. Those who call
    early are often given more time or a new plan.

    If you are late already, pay the oldest debt first. After that, some months of
    payments on time make the record better step by step.

    Do not borrow new money to pay what is late. It usually makes the debt larger.
    Counselling is free and can help you to make a plan.
    """,
)

_USING = _module(
    Topic.USING,
    ("合理使用额度", "Using a limit well"),
    zh="""
    额度不是收入。
    用得越满, 遇到意外时就越没有余地。

    请尽量让欠款保持在额度的一半以下。
    如果已经很高, 请先停止新的消费, 再每月多还一些。

    只还最低还款额时, 欠款减少得很慢, 利息却一直在算。
    哪怕每月多还一点, 也能早很多还清。

    取现通常从当天开始计息, 还可能有手续费。
    请只在没有其他办法时取现。

    如果账单一个月比一个月高, 请看看哪些支出可以减少。
    把固定支出写下来会很清楚。
    """,
    en="""
    A limit is not income. The more of it is used, the less room is left when something
    unexpected happens.

    Try to keep what you owe below half of your limit. If it is high, stop new spending
    first. Then pay back a little more each month.

    If you pay only the minimum, the debt falls very slowly and interest goes on. Even a
    small extra payment each month ends it much earlier.

    Cash from a credit line usually costs interest from the first day, and often a fee.
    Use it only if there is no other way.

    If your bills rise from month to month, look at what you can spend less on. A list of
    your fixed costs makes it clear.
    """,
)

_APPLYING = _module(
    Topic.APPLYING,
    ("申请信贷", "Applications"),
    zh="""
    短时间内多次申请, 看起来像是急需用钱。
    请先比较条件, 再只申请最合适的一个。

    申请之前, 请看费用说明中的年化综合成本和总还款额, 而不是只看每月还款额。

    被拒绝以后, 请先看拒绝的原因。
    在原因没有变化之前, 再次申请通常得不到不同的结果。

    每多一笔贷款, 每月就多一个到期日。
    请把已有的贷款写在一张纸上, 再决定是否需要新的。

    没有人可以收费帮您修复信贷记录。
    如果有人这样承诺, 请不要付钱, 也不要交出证件。
    """,
    en="""
    Many applications within a short time look like an urgent need for money. Compare
    first. Then apply only for the one that suits you best.

    Before you apply, read the yearly total cost and the total amount on the cost sheet.
    Do not look at the monthly payment alone.

    If you were declined, read the reasons first. Until something about them has changed,
    the next answer will usually be the same.

    Each further loan adds one more due date to every month. Write down the loans you have
    before you decide on a new one.

    Nobody can repair a credit record for money. If somebody promises it, do not pay, and
    do not hand over your documents.
    """,
)

_RECORD = _module(
    Topic.RECORD,
    ("建立信贷记录", "Building a record"),
    zh="""
    信贷记录需要时间。
    一个小额度, 按时使用并还清, 几个月后就会有帮助。

    请不要为了建立记录而借不需要的钱。
    现有的账户按时还款就足够了。

    申请时请写清楚金额、期限和用途。
    信息越完整, 人工审核就越少, 也越快。

    有时决定由人作出, 或者本期额度已经用完。
    这不是对您的评价, 您可以补充材料或稍后再申请。

    您可以查看自己的信息。
    如果有错误, 请提出异议, 更正是免费的。

    如果一个账户被关闭, 请要求一份带签名的历史证明。
    换一家机构时, 它可以说明您过去的还款情况。
    """,
    en="""
    A credit record takes time. A small limit that is used and paid back on time helps
    after some months.

    Do not borrow money that you do not need in order to build a record. Paying the
    accounts you have on time is enough.

    State the amount, the term and the purpose when you apply. The more complete it is,
    the less often a person must ask, and the faster it is.

    Sometimes a person decides, or this week's volume is used up. This is no judgement of
    you. You can add documents, or apply again later.

    You can see the data about you. If something is wrong, dispute it. A correction is
    free.

    If an account was closed, ask for a signed summary of its history. It shows another
    lender how you paid in the past.
    """,
)

_BUDGET = _module(
    Topic.BUDGET,
    ("预算与收入", "Budget and income"),
    zh="""
    请每月写下收入、生活费用和所有还款。
    剩下的钱就是您可以承担的新还款。

    所有还款加起来, 最好不超过收入的一半。
    低于四成会更安全。

    请先留出一笔应急的钱, 哪怕每次只存一点。
    它可以让您在意外时不用借款。

    贷款期限长, 每月还得少, 但总利息更多。
    请在两者之间选择适合您的一种。

    收入证明请保持更新。
    缺少收入信息时, 机构只能转为人工审核, 不会当作没有收入。

    如果还款太重, 请尽早联系机构或免费咨询。
    重新安排、合并或暂停利息都可能有帮助。
    """,
    en="""
    Write down each month your income, your living costs and all payments on debts. What
    is left is what a new payment may take.

    All payments together should stay below half of your income. Below two fifths is
    safer.

    Put something aside for emergencies first, even if it is little each time. Then an
    accident does not have to become a loan.

    A longer term makes the monthly payment smaller and the total interest larger. Choose
    what suits you between the two.

    Keep your proof of income up to date. If it is missing, a person has to decide. It is
    never taken as no income.

    If the payments are too heavy, call the lender or a free counsellor early. A new
    schedule, one loan in place of many, or a pause of interest may help.
    """,
)

_GUARANTEE = _module(
    Topic.GUARANTEE,
    ("担保", "Guarantees"),
    zh="""
    担保意味着: 对方不还, 由您来还。
    签字之前, 请把它当作自己的贷款来考虑。

    请先看清楚担保的金额、期限, 以及是否可以提前结束。

    如果您是企业主, 担保人的信贷变化会影响企业的申请。
    请尽早和担保人沟通。

    如果担保人的账户被关闭, 请向机构说明原因, 并考虑补充其他材料或其他担保。

    您的担保信息只有在您同意以后才会用于企业的决定。
    您可以随时撤回同意。
    """,
    en="""
    A guarantee means that you pay if the other person does not. Think of it as a loan of
    your own before you sign.

    Read first how much is guaranteed, for how long, and whether it can be ended early.

    If you own a business, a change in a guarantor's credit affects its applications.
    Speak with your guarantors early.

    If an account of a guarantor was closed, tell the lender why. Think about further
    documents or another guarantee.

    Data about you as a guarantor are used for a business only if you agreed. You can
    withdraw your consent at any time.
    """,
)

MODULES: Mapping[Topic, Module] = MappingProxyType(
    {one.topic: one for one in (_PAYING, _USING, _APPLYING, _RECORD, _BUDGET, _GUARANTEE)}
)
