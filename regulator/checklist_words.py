"""Questions and answers of the SP 800-226 checklist, in English and Chinese."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Text:
    """One text in both languages."""

    en: str
    zh: str

    def of(self, language: str) -> str:
        """The text in one of them."""
        return self.zh if language == "zh" else self.en


@dataclass(frozen=True, slots=True)
class Question:
    """One question under a heading of the publication's pyramid."""

    heading: Text
    question: Text
    held: Text
    """The answer where the evidence bears it out."""
    missing: Text
    """Why it is not proven where it does not."""


EPSILON = Text("Privacy parameters: epsilon and delta", "隐私参数: ε 与 δ")
UNIT = Text("The unit of privacy", "隐私单位")
MECHANISM = Text("Mechanism and algorithm", "机制与算法")
COMPOSITION = Text("Composition and accounting", "组合与计费")
UTILITY = Text("Utility, accuracy and bias", "效用、准确性与偏差")
MODELS = Text("Query model, threat model and trust model", "查询模型、威胁模型与信任模型")
BUILD = Text("Implementation", "实现")
SECURITY = Text("Data security, access control and exposure", "数据安全、访问控制与暴露")

_NO_RELEASE = Text("no release is on record", "没有发布记录")
_NO_RUN = Text("no run is on record", "没有训练任务记录")
_NO_REPLAY = Text(
    "no replay of noise on the partners' premises is on record; a log alone cannot show it",
    "没有在参与方现场重放噪声的记录; 仅凭日志无法证明",
)

QUESTIONS: Mapping[str, Question] = {
    "epsilon": Question(
        EPSILON,
        Text(
            "What are epsilon and delta, and do they follow from what was done?",
            "ε 与 δ 是多少, 是否由实际过程得出?",
        ),
        Text(
            "each published epsilon was computed again from the logged attempts by a closed "
            "formula, PLD and RDP, and is equal to the fourth decimal",
            "每个公布的 ε 均由日志中的求和以闭式公式、PLD 与 RDP 重新计算, 四位小数一致",
        ),
        _NO_RELEASE,
    ),
    "variant": Question(
        EPSILON,
        Text("Which variant of differential privacy?", "采用哪种差分隐私定义?"),
        Text(
            "approximate differential privacy of a Gaussian composition; delta stands in plan "
            "and manifest, and delta times persons beside it",
            "高斯组合的近似差分隐私; δ 见训练计划与成员清单, 并给出 δ 与人数之积",
        ),
        _NO_RELEASE,
    ),
    "unit": Question(
        UNIT,
        Text("Whose contribution is protected?", "保护的是谁的贡献?"),
        Text(
            "a person with all rows at all partners; a single record stands beside it",
            "一个人在所有参与方的全部记录; 另列单条记录",
        ),
        _NO_RELEASE,
    ),
    "relation": Question(
        UNIT,
        Text(
            "Bounded or unbounded: what is a neighbouring data set?",
            "有界还是无界: 何为相邻数据集?",
        ),
        Text(
            "add or remove is the headline; replace-one is computed beside it",
            "以增加或删除为准; 同时计算替换",
        ),
        _NO_RELEASE,
    ),
    "contributions": Question(
        UNIT,
        Text(
            "How are a person's contributions bounded over partners?",
            "个人跨参与方的贡献如何限定?",
        ),
        Text(
            "by the manifest's bound on partners per person; that the market is so is a signed "
            "statement and not a measurement",
            "由成员清单中每人最多参与方数限定; 该上限为已签署的陈述, 并非测量结果",
        ),
        Text("no manifest is in the bundle", "审计包中没有成员清单"),
    ),
    "mechanism": Question(
        MECHANISM,
        Text("Which mechanism produced what was released?", "发布结果由何种机制产生?"),
        Text(
            "sums of clipped integers with discrete Gaussian noise of the plan's size; each "
            "sum and every request is logged, and each request follows from the sums before",
            "裁剪后的整数求和并加入计划方差的离散高斯噪声; "
            "每个求和与请求均在日志中, 且由之前的求和推出",
        ),
        _NO_RUN,
    ),
    "noise": Question(
        MECHANISM,
        Text("Was the noise really added, at that variance?", "噪声是否确实按该方差加入?"),
        Text(
            "the regulator replayed noise on the partners' premises and logged that it passed",
            "监管方已在参与方现场重放噪声, 并记录通过",
        ),
        _NO_REPLAY,
    ),
    "sensitivity": Question(
        MECHANISM,
        Text("Is the sensitivity bounded, and how?", "灵敏度是否有界, 如何限定?"),
        Text(
            "clip and scale stand in the signed plan; that nodes clip is shown by their own "
            "replay and by canaries, not by the log",
            "裁剪与缩放见已签署的计划; 节点确实裁剪由现场重放与金丝雀测试证明, 而非日志",
        ),
        _NO_RUN,
    ),
    "learning": Question(
        MECHANISM,
        Text(
            "Is the model only post-processing of noised sums?",
            "模型是否仅为加噪求和结果的后处理?",
        ),
        Text(
            "each model was computed again from the logged sums and is equal bit for bit",
            "每个模型均由日志中的求和重新计算, 逐位一致",
        ),
        _NO_RELEASE,
    ),
    "composition": Question(
        COMPOSITION,
        Text(
            "Is every access to data charged, failed attempts included?",
            "每次访问数据是否都计费, 包括失败的?",
        ),
        Text(
            "debits and attempts were matched one by one, with the plan's price",
            "扣减与求和逐一对应, 价格与计划一致",
        ),
        _NO_RUN,
    ),
    "lifetime": Question(
        COMPOSITION,
        Text("Is the total over all releases bounded?", "所有发布的总额是否有上限?"),
        Text(
            "no account exceeds the manifest's lifetime cap over all runs of an epoch",
            "同一周期内所有任务之和均未超过成员清单的终身上限",
        ),
        _NO_RUN,
    ),
    "mixing": Question(
        COMPOSITION,
        Text(
            "Are there releases without noise from the same data?",
            "同一数据是否有未加噪的其他发布?",
        ),
        Text(
            "no inquiry is on record; joint scores, where they are asked for, carry no noise",
            "没有查询记录; 联合评分 (如有) 不加噪声",
        ),
        Text(
            "joint scores are on record: exact sums by family to the asker, outside every "
            "epsilon here",
            "存在联合评分记录: 询问方得到各类别的精确和, 不在上述 ε 之内",
        ),
    ),
    "utility": Question(
        UTILITY,
        Text("How accurate is the result, and who measured it?", "结果的准确性如何, 由谁测量?"),
        Text(
            "figures from one noisy table of persons held out stand in the model document; the "
            "audit computed them again from the published sums",
            "指标来自留出人员的一张加噪表, 见模型文档; 审计已由公布的和重新计算",
        ),
        Text("no evaluation is on record", "没有评估记录"),
    ),
    "statistical_bias": Question(
        UTILITY,
        Text("Is bias from the noise corrected?", "噪声引起的偏差是否校正?"),
        Text(
            "each release was calibrated again after its last gradient; noisy counts are not "
            "clamped",
            "每次发布均在最后一次梯度后重新校准; 加噪计数不截断",
        ),
        _NO_RELEASE,
    ),
    "systemic_bias": Question(
        UTILITY,
        Text("Are groups of persons treated alike?", "不同人群是否受到同等对待?"),
        Text("a fairness test is on record", "有公平性测试记录"),
        Text(
            "group attributes stay at the nodes, and no fairness table is in the log",
            "群体属性留存于节点, 日志中没有公平性表",
        ),
    ),
    "queries": Question(
        MODELS,
        Text(
            "What may be asked of the data, and who decides?", "可对数据提出哪些查询, 由谁决定?"
        ),
        Text(
            "the plan fixes all requests; partners committed to it before the first, and no "
            "other request is on record",
            "全部请求由计划确定; 参与方在首个请求前已承诺, 日志中没有其他请求",
        ),
        _NO_RUN,
    ),
    "threats": Question(
        MODELS,
        Text("Against whom does the guarantee hold?", "该保证针对哪些对手成立?"),
        Text(
            "the statement says who may collude and what is not protected; epsilon is "
            "recomputed for each number of colluders",
            "声明列出可能的合谋方及不受保护的事项; 对每种合谋人数均重新计算 ε",
        ),
        _NO_RELEASE,
    ),
    "trust": Question(
        MODELS,
        Text("Who must be trusted?", "必须信任谁?"),
        Text(
            "no central curator: each partner adds noise and sums are masked; the claim "
            "assumes the stated share of honest partners",
            "没有集中的数据管理方: 各参与方自行加噪, 求和经过掩码; "
            "声明假设一定比例的参与方诚实",
        ),
        _NO_RELEASE,
    ),
    "history": Question(
        MODELS,
        Text("Can the record itself be rewritten?", "记录本身能否被改写?"),
        Text(
            "every head was cosigned by a quorum of witnesses, and the root recomputed from "
            "all entries",
            "每个日志头均由法定数的见证方共同签署, 日志根由全部条目重新计算",
        ),
        Text(
            "no witness cosigned: there may be another log",
            "没有见证方共同签署: 可能存在另一份日志",
        ),
    ),
    "floating_point": Question(
        BUILD,
        Text("Are floating-point attacks excluded?", "是否排除浮点攻击?"),
        Text(
            "values are rounded to integers before any addition and noise is a discrete "
            "Gaussian on integers, as the statement says; that nodes do so is shown by replay",
            "数值在相加前取整, 噪声为整数上的离散高斯 (见声明); 节点确实如此由重放证明",
        ),
        _NO_RELEASE,
    ),
    "timing": Question(
        BUILD,
        Text("Are timing side channels excluded?", "是否排除时间侧信道?"),
        Text("", ""),
        Text(
            "message sizes and times are not protected; the statement says so",
            "消息大小与时间不受保护, 声明中已说明",
        ),
    ),
    "randomness": Question(
        BUILD,
        Text("Where does randomness come from?", "随机数来自何处?"),
        Text(
            "seeds were committed to before each run, noise is derived from them and from the "
            "JOINs of all, and its replay passed",
            "种子在每次任务前已承诺, 噪声由种子与全体 JOIN 导出, 且重放通过",
        ),
        Text(
            "seeds were committed to before each run; that the noise was derived from them is "
            "shown by replay only, and none is on record",
            "种子在每次任务前已承诺; 噪声是否由其导出只能由重放证明, 目前没有记录",
        ),
    ),
    "software": Question(
        BUILD,
        Text("Which software ran?", "运行的是哪种软件?"),
        Text(
            "plan and manifest name its digest; that a node ran it is that node's word",
            "计划与成员清单列明其摘要; 节点是否运行该软件为节点自身陈述",
        ),
        _NO_RUN,
    ),
    "access": Question(
        SECURITY,
        Text("Who could act, and in whose name?", "谁可以行动, 以谁的名义?"),
        Text(
            "every entry is signed by an active member of the manifest in force, in its role; "
            "revoked members are absent",
            "每个条目均由当时有效成员按其角色签署; 被撤销的成员不再出现",
        ),
        Text("the log has no entry", "日志为空"),
    ),
    "release_control": Question(
        SECURITY,
        Text("Who lets a result out?", "由谁批准发布?"),
        Text(
            "every version in service has its statement published before and the votes of a "
            "quorum of partners",
            "每个启用版本均已事先公布声明, 并获得法定数参与方的赞成票",
        ),
        Text("no version is in service", "没有启用的版本"),
    ),
    "at_rest": Question(
        SECURITY,
        Text("How are the rows kept at each partner?", "各参与方的数据如何保存?"),
        Text("", ""),
        Text(
            "outside of any log: each partner answers for its own staff and machines",
            "不在任何日志之内: 各参与方对自身人员与设备负责",
        ),
    ),
    "exposure": Question(
        SECURITY,
        Text("Where is raw data exposed on its way?", "原始数据在何处暴露?"),
        Text(
            "rows are read at their owner only; what left it is words whose digests it signed",
            "数据行仅在所有者处读取; 离开的只是其已签署摘要的字",
        ),
        _NO_RUN,
    ),
}
