"""Names of artefacts and of their fields, in English and Chinese."""

from collections.abc import Mapping

from regulator.checklist_words import Text

TITLES: Mapping[str, Text] = {
    "model_card": Text("Model card", "模型卡"),
    "privacy_statement": Text("Privacy statement", "隐私声明"),
    "lineage": Text("Lineage", "数据谱系"),
    "access_log": Text("Access log", "访问日志"),
    "fairness": Text("Fairness table", "公平性表"),
    "decision_notice": Text("Decision notice (template)", "决定通知书 (模板)"),
}

WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "log": "Log of {entries} entries, as of {at}",
        "field": "field",
        "value": "value",
        "source": "from",
        "entries": "entries",
        "not_recorded": "not recorded:",
        "yes": "yes",
        "no": "no",
    },
    "zh": {
        "log": "日志共 {entries} 条, 截至 {at}",
        "field": "项目",
        "value": "内容",
        "source": "来源",
        "entries": "条目",
        "not_recorded": "未记录:",
        "yes": "是",
        "no": "否",
    },
}

_PAIRS = """
aborted|aborted|中止
accept|accept|赞成
access|access|访问
account|account|账户
accountant|accountant|核算方法
accountants|accountants|各核算方法
adverse_impact_ratio|adverse impact ratio|不利影响比
algorithm|algorithm|算法
all_honest|all honest|全部诚实
alternatives|alternatives searched|替代方案
attempt|attempt|第几次
attempts|attempts|求和次数
attribute|attribute|属性
attributes|group attributes|群体属性
auc|AUC|AUC
batch|batch|批次
batches|batches of inquiries|查询批次
bin|bin|分箱
bins|bins|分箱
block|block|区块
blocks|blocks|区块
brier_banded|Brier, banded|Brier 分数 (分档)
by_honest|by who colludes|按合谋方
calibration_gap|calibration gap|校准差距
change_log|versions served until then|此前启用的版本
charged|charged|计费
charged_attempts|charged attempts|计费次数
charges|charges|计费明细
claimed|claimed and charged|声明并计费
clip|clip C|裁剪 C
closed_form|closed form|闭式公式
code|code|代码
code_covers|its digest covers|摘要覆盖范围
concept|concept|概念
consent_basis|consents that fields need|字段所需授权
consents|consents used|所用授权
consents_hash|salted hash of the consents|授权的加盐哈希
cost_sheet|cost sheet digest|费用表摘要
coverage|coverage band|覆盖档
cumulative|cumulative epsilon of the epoch|周期累计 ε
date|date|日期
decision|decision and reason|决定与理由
definition|definition|定义
delta|delta|δ
delta_times_rows|delta times persons|δ 与人数之积
dependence|dependence|依赖性
digest|digest|摘要
disclosure|disclosure|披露范围
dispute_route|dispute route|争议渠道
empirical_lower_bound|empirical lower bound|经验下界
en|English|英文
entry|entry|条目
epoch|epoch|周期
epsilon|epsilon|ε
equal_opportunity_gap|equal opportunity gap|机会均等差距
exits|partners that have left|已退出的机构
extract_date|extract date|提取日期
fail|fails if|不通过
fairness|fairness|公平性
families|families|类别
family|family|类别
feature|feature|特征
field|field|字段
figure|figure|指标
figures|figures with 95 % intervals|指标及 95% 区间
formula|formula|公式
gini|Gini|基尼系数
groups|groups|群体
half_collude|half collude|半数合谋
headline|headline|主要数值
high|to|上限
holders|holders|持有方
holders_per_person|holders per person|每人持有方
holdout|held out|留出集
honest|honest|诚实方数
honest_fraction|share of a roster assumed honest|假设诚实比例
in_the_large|expected over observed|预期与实际之比
inquirer|inquirer|询问方
inquiries|inquiries|查询次数
inquiries_outside|inquiries, outside of every epsilon|查询 (不计入 ε)
ks|KS|KS
label_definition|label definition|标签定义
largest|largest of all cases|各种情形中最大
left_since|left or revoked since|此后退出或被撤销
library|library|程序库
limits|limits and known failures|局限与已知缺陷
low|from|下限
made|made|进行
max_partners_per_person|most partners of one person (m)|每人最多参与方 (m)
measure|measure|度量
measures|measures and thresholds|度量与阈值
mechanism|mechanism|机制
member|member|成员
method|method and settings|方法与设置
model|model version|模型版本
monitoring|monitoring plan|监测计划
most_reasons|most reasons|理由数上限
name|name|名称
noise_mode|noise mode|噪声模式
normaliser|normaliser N0|归一化常数 N0
not_for|not for|不适用
offer_or_counselling|offer or counselling|方案或咨询
other_charges|other releases charged|其他计费发布
others_collude|everyone else colludes|其余全部合谋
outcome|outcome|结果
owner|owner role|责任角色
pack|policy pack|政策包
partner|partner|参与方
partners|partners|参与方数
pd|PD|违约概率
person|person|个人
person_by_honest|person, by who colludes|个人 (按合谋方)
person_replace_one|person, replaced|个人 (替换)
person_units|units of a person|个人额度
persons|persons|人员
plan|plan|训练计划
points|points|分值
policy|policy digest|政策摘要
psi|PSI|稳定性指数 PSI
published|published|已公布
published_sums|published sums|已公布的求和
purpose|purpose|用途
quality_checks|quality checks|质量检查
range|range|范围
reason|reason|理由
reason_stability|reason stability|理由稳定性
reasons|reasons|理由
record|record|记录
record_by_honest|record, by who colludes|记录 (按合谋方)
record_replace_one|record, replaced|记录 (替换)
records|inquiries one by one|查询明细
rejects|rejects by reason|拒收 (按原因)
relation|relation|相邻关系
reset_rule|reset rule|重置规则
responders|responders|应答方
result|result class|结果类别
retire_date|retire date|退役日期
retry_of|retry of|重试自
review_route|review route and deadline|复核渠道与期限
role|role|角色
root|root|根哈希
roster_version|roster version|名册版本
rosters|rosters|名册
round|round|轮次
rounds|rounds|轮次
rows_band|rows (band)|行数 (区间)
sampler|sampler|采样器
schema|schema|特征方案
schema_fields|schema fields and classes|字段与类别
score|score|分值
second|second|秒
segment|segment|分组
sensitivity|sensitivity Q|灵敏度 Q
served_at_entry|served at entry|启用条目
side_channels|not protected|不受保护的事项
sigma|sigma|σ
slope|slope|斜率
source|source|来源
source_system|source system|来源系统
sources|class of sources|来源类别
standardised_mean_difference|standardised mean difference|标准化均值差
statement_digest|statement digest|隐私声明摘要
status|status|状态
step|step|步骤
subject|subject|被查询人
sum|sum|求和
target_epsilon|target epsilon|目标 ε
test|test|测试
time|time|时间
totals|totals reconciled|总数核对
training|in training|训练集
transforms|transforms|变换
trust|who sees what, and who is trusted|可见范围与信任
unit|unit|单位
value|value|数值
values|values|数值
variance|variance V|方差 V
verdict|verdict|结论
version|version|版本
votes|votes|投票
votes_outside|votes, outside of every epsilon|投票 (不计入 ε)
watch|watch if|关注
weights_digest|weights digest|权重摘要
what_would_change_it|what would change it|如何改变结果
why|why|原因
width|width d|维数 d
windows|windows|时间窗口
zh|Chinese|中文
"""

KEYS: Mapping[str, Text] = {
    key: Text(en, zh)
    for key, en, zh in (line.split("|") for line in _PAIRS.strip().splitlines())
}
