"""What the report says, in English and Chinese; numbers and names are the same in both."""

from collections.abc import Mapping

from consortium.ledger.findings import Check, Grade
from consortium.release import Level
from regulator.checklist import Answer

TEXTS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "title": "Audit of a consortium's log",
        "about": (
            "Everything below was computed on this machine from one file, without a network, "
            "from the manifest digest that the auditor brought along."
        ),
        "verified": "Verified: no claim is false. What is not proven is listed as notes.",
        "warnings": "Verified, with warnings to look at.",
        "failed": "Failed: a claim is false, or what it rests on is missing.",
        "passed": "passed",
        "fact": "fact",
        "value": "value",
        "federation": "federation",
        "manifest": "pinned manifest",
        "entries": "entries",
        "cosigned": "newest head cosigned by",
        "head_time": "newest cosignature",
        "number": "protocol",
        "check": "check",
        "result": "result",
        "findings": "findings",
        "grade": "grade",
        "name": "name",
        "text": "what was found",
        "where": "where",
        "version": "version",
        "accepted": "accepted by",
        "refused": "refused by",
        "served": "served at entry",
        "run": "run",
        "partners": "partners",
        "attempts": "sums / aborted / replayed",
        "replayed": "replayed",
        "type": "type",
        "h_facts": "What was read",
        "h_epsilon": "Epsilon of a person, recomputed, by who colludes",
        "h_checks": "Checks",
        "h_findings": "Findings",
        "h_runs": "Runs",
        "h_log": "The log",
        "runs_about": "Every request of a replayed attempt is the one that the sums lead to.",
        "h_figures": "What the log tells",
        "h_checklist": "NIST SP 800-226",
        "checklist_about": (
            "The questions of the publication. Proven: computed again here. Stated: signed by "
            "who says it. Everything else is not proven by this bundle."
        ),
        "h_entries": "Entries named above",
        "entries_about": (
            "Where a finding or a table names an entry it is listed here; the first bytes of "
            "its leaf hash tell it from any other."
        ),
        "question": "question",
        "answer": "answer",
        "evidence": "evidence",
        "time": "time",
        "actor": "by",
        "leaf": "leaf hash",
        "contents": "Contents",
        "more": "more",
        "page": "page",
        "none": "Nothing.",
        "made": "Log as of",
    },
    "zh": {
        "title": "联合体日志审计报告",
        "about": "以下全部内容均在本机离线计算, 只依据一个文件和审计人自带的成员清单摘要。",
        "verified": "通过: 没有任何声明不实。未能证明的事项列为说明。",
        "warnings": "通过, 但有需要关注的警告。",
        "failed": "未通过: 有声明不实, 或其依据缺失。",
        "passed": "通过",
        "fact": "事项",
        "value": "内容",
        "federation": "联合体",
        "manifest": "锁定的成员清单",
        "entries": "条目数",
        "cosigned": "最新日志头的共同签署方",
        "head_time": "最近一次共同签署",
        "number": "协议编号",
        "check": "检查",
        "result": "结果",
        "findings": "发现",
        "grade": "级别",
        "name": "名称",
        "text": "发现内容",
        "where": "位置",
        "version": "版本",
        "accepted": "赞成",
        "refused": "反对",
        "served": "启用条目",
        "run": "训练任务",
        "partners": "参与方数",
        "attempts": "求和 / 中止 / 重放",
        "replayed": "已重放",
        "type": "类型",
        "h_facts": "审计对象",
        "h_epsilon": "个人级隐私预算 ε (重新计算, 按合谋方划分)",
        "h_checks": "检查项目",
        "h_findings": "审计发现",
        "h_runs": "训练任务",
        "h_log": "日志",
        "runs_about": "凡已重放的请求, 均与此前公布的求和结果所推出的请求一致。",
        "h_figures": "日志所示",
        "h_checklist": "NIST SP 800-226 核对表",
        "checklist_about": (
            "该出版物的各项问题。已证明: 在此重新计算。已陈述: 由陈述方签署。"
            "其余事项本审计包未能证明。"
        ),
        "h_entries": "以上提及的条目",
        "entries_about": "审计发现或数据表提及的条目列于此处; 以叶哈希的开头字节区分。",
        "question": "问题",
        "answer": "回答",
        "evidence": "依据",
        "time": "时间",
        "actor": "提交方",
        "leaf": "叶哈希",
        "contents": "目录",
        "more": "另有",
        "page": "页",
        "none": "无。",
        "made": "日志截至",
    },
}

GRADES: Mapping[str, Mapping[Grade, str]] = {
    "en": {Grade.ERROR: "error", Grade.WARNING: "warning", Grade.NOTE: "note"},
    "zh": {Grade.ERROR: "错误", Grade.WARNING: "警告", Grade.NOTE: "说明"},
}

ANSWERS: Mapping[str, Mapping[Answer, str]] = {
    "en": {one: one.value for one in Answer},
    "zh": {
        Answer.PROVEN: "已证明",
        Answer.STATED: "已陈述",
        Answer.NOT_PROVEN: "未证明",
        Answer.CONTRADICTED: "有矛盾",
    },
}

LEVELS: Mapping[str, Mapping[Level, str]] = {
    "en": {
        Level.ALL: "all honest",
        Level.HALF: "half collude",
        Level.ALONE: "everyone else colludes",
        Level.LARGEST: "largest of all cases",
        Level.CLAIMED: "claimed and charged",
    },
    "zh": {
        Level.ALL: "全部诚实",
        Level.HALF: "半数合谋",
        Level.ALONE: "其余全部合谋",
        Level.LARGEST: "各种情形中最大",
        Level.CLAIMED: "声明并计费",
    },
}

CHECKS: Mapping[str, Mapping[Check, str]] = {
    "en": {
        Check.BUNDLE: "the bundle is written in its one form",
        Check.PINNED: "it holds the pinned manifest",
        Check.MANIFESTS: "manifests: signatures and chain",
        Check.LOG_SIGNATURE: "heads: the log's signature",
        Check.COSIGNATURES: "heads: quorum of witnesses and times",
        Check.ROOT: "heads: root recomputed from all entries",
        Check.INCLUSION: "proofs of single entries",
        Check.ENTRIES: "entries: form, actor, signature",
        Check.ORDER: "order of events",
        Check.CONTEXTS: "contexts and chains of the attempts",
        Check.SUMS: "published sums",
        Check.REPLAY: "models replayed from the sums",
        Check.BUDGET: "privacy budget: debits are the attempts",
        Check.EPSILON: "epsilon by three accountants equals the statement",
        Check.RELEASE: "releases: statement and votes",
        Check.CALIBRATION: "recalibration",
        Check.SCORES: "inquiries",
        Check.AUDITS: "audits on record",
        Check.REVOKED: "revoked members are absent",
    },
    "zh": {
        Check.BUNDLE: "审计包符合唯一格式",
        Check.PINNED: "含有锁定的成员清单",
        Check.MANIFESTS: "成员清单的签名与版本链",
        Check.LOG_SIGNATURE: "日志头的日志签名",
        Check.COSIGNATURES: "日志头的见证法定数与时间",
        Check.ROOT: "由全部条目重新计算日志根",
        Check.INCLUSION: "单个条目的包含证明",
        Check.ENTRIES: "条目的格式、主体与签名",
        Check.ORDER: "事件先后次序",
        Check.CONTEXTS: "每次求和的上下文与链值",
        Check.SUMS: "公布的求和结果",
        Check.REPLAY: "由求和结果重放模型",
        Check.BUDGET: "隐私预算: 扣减与求和逐一对应",
        Check.EPSILON: "三种方法计算的 ε 与声明一致",
        Check.RELEASE: "发布: 声明与投票",
        Check.CALIBRATION: "重新校准",
        Check.SCORES: "查询记录",
        Check.AUDITS: "已记录的审计",
        Check.REVOKED: "被撤销成员不再出现",
    },
}
