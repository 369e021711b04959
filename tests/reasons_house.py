"""A small model with three families, for reasons, what-ifs and the doors of a node."""

from consortium.features.bins import Bins, public_bins
from consortium.features.schema import Schema, parse_schema
from consortium.scoring.layout import TOTAL
from consortium.scoring.reasons import Tables, tables_of
from consortium.scoring.whatif import Labels

LATE = 1 << 32
"""One unit of log-odds."""

_FEATURE = """
[[feature]]
name = "{name}"
family = "{family}"
kind = "{kind}"
unit = "test"
concept = "{concept}"
{shape}
direction = "{direction}"
disclosure = "{disclosure}"
reason = "{reason}"
reason_zh = "{reason}中"
reason_en = "{reason} in words"
"""

_NUMBER = "range = [0, 100]\nedges = [10, 20, 30]"


def _feature(name: str, family: str, reason: str, **other: str) -> str:
    defaults = {
        "kind": "integer",
        "concept": "arrears",
        "shape": _NUMBER,
        "direction": "none",
        "disclosure": "own",
    }
    return _FEATURE.format(name=name, family=family, reason=reason, **(defaults | other))


SCHEMA: Schema = parse_schema(
    'name = "three"\nversion = 1\n[label]\nname = "bad"\ndefinition = "bad"\n'
    + _feature("late", "repayment", "R01", direction="up")
    + _feature("worst", "repayment", "R01", direction="up")
    + _feature("months", "repayment", "R06", direction="down", concept="history_length")
    + _feature("bill", "billing", "R10", concept="billed_amount")
    + _feature(
        "kind",
        "billing",
        "R40",
        kind="category",
        concept="product",
        shape='categories = ["card", "loan"]',
    )
    + _feature("paid", "payments", "R04", concept="paid_amount")
    + _feature("shy", "payments", "R09", concept="paid_amount", disclosure="family_total")
    + _feature("mute", "payments", "R09", concept="paid_amount", disclosure="hidden"),
    source="three",
)
BINS: Bins = public_bins(SCHEMA)
LABELS = Labels(SCHEMA, BINS)

WEIGHTS: dict[str, tuple[int, ...]] = {
    # missing, then 0-9, 10-19, 20-29, 30 and more; in eighths of a unit of log-odds
    "late": (0, -4, 0, 4, 8),
    "worst": (0, -2, 0, 2, 4),
    "months": (3, 6, 2, -2, -6),
    "bill": (0, 1, -1, 2, 0),
    "kind": (0, -1, 1, 2),
    "paid": (0, 4, 2, -2, -4),
    "shy": (0, 2, 1, -1, -2),
    "mute": (0, 1, 0, 0, -1),
}
WEIGHTS = {name: tuple(w * LATE // 8 for w in row) for name, row in WEIGHTS.items()}

FAMILIES = ("repayment", "billing", "payments")
TABLES: Tables = tables_of(SCHEMA, WEIGHTS, families=FAMILIES)
TOTAL_TABLES: Tables = tables_of(SCHEMA, WEIGHTS, families=(TOTAL,))


def own_logit(codes: dict[str, int], family: str) -> int:
    """Sum of the weights of a family's bins."""
    return sum(
        WEIGHTS[name][code]
        for name, code in codes.items()
        if family in (TOTAL, SCHEMA.feature(name).family)
    )
