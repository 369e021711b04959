"""What the closure model knows of a line: causes, months ahead, attributes and their bins.

Public and fixed, alike at all partners: they are part of the software that a plan names, and
cost nothing. A schema is not asked (credit 4.14).
"""

from dataclasses import dataclass

CAUSES = ("ARREARS", "ANOMALY", "INACTIVITY", "COMPETING")
"""What a month may end a line by; the last one ends the risk and is no closure."""
CLOSURES = 3
"""The first so many causes are closures."""
WITHDRAWN = "PRODUCT_WITHDRAWN"
"""Certain on its date, and predicted from nobody's behaviour."""
STEPS = 3
"""Months ahead: 90 days."""
MOST_ROWS = 12
"""Line-months of one person."""
START = -7.0
"""Log-hazard that training starts from, for every cause: one line in a thousand a month.

From below: what is too rare is soon made up for, what is too frequent is overshot."""

BUCKET_FROM = (1, 31, 61)
"""Days past due at which M1, M2 and M3 begin."""
UTILISATION = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
CASH = (0.05, 0.15, 0.30, 0.50)
INACTIVE = (1, 3, 6, 9, 12)
ON_BOOK = (12, 24, 36, 60)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFeature:
    """One attribute of the closure model. Public."""

    name: str
    bins: tuple[str, ...]
    zh: str
    en: str
    """What is told when this attribute carries the risk."""


_MONTHS_AHEAD = tuple(range(1, STEPS + 1))
_UNTOLD = "not known"
FEATURES = (
    LineFeature(
        name="bucket",
        bins=tuple(f"{b}, month {m}" for b in ("M0", "M1", "M2", "M3") for m in _MONTHS_AHEAD),
        zh="逾期状况",
        en="Arrears on the line",
    ),
    LineFeature(
        name="inactive_months",
        bins=("0", "1-2", "3-5", "6-8", "9-11", "12+"),
        zh="连续未使用的月数",
        en="Months without use",
    ),
    LineFeature(
        name="utilisation",
        bins=(_UNTOLD, "0", "< .1", "< .3", "< .5", "< .7", "< .9", ".9+"),
        zh="额度使用率",
        en="Share of the limit in use",
    ),
    LineFeature(
        name="cash_share",
        bins=(_UNTOLD, "< .05", "< .15", "< .3", "< .5", ".5+"),
        zh="取现占比",
        en="Share drawn as cash",
    ),
    LineFeature(
        name="device_flag", bins=(_UNTOLD, "no", "yes"), zh="设备异常标记", en="Device flag"
    ),
    LineFeature(
        name="product_flag",
        bins=("no", "announced"),
        zh="产品停办公告",
        en="End of the product was announced",
    ),
    LineFeature(
        name="months_on_book",
        bins=("< 12", "< 24", "< 36", "< 60", "60+"),
        zh="开户时长",
        en="Months since the line was opened",
    ),
)
BIN_COUNTS = tuple(len(feature.bins) for feature in FEATURES)
