"""What a duty of a policy pack can ask of the software: a closed list (credit 5.1).

A duty names one hook and its parameters. A hook's parameters are a type here, read by one
pure function: what is in force on a day is the value of that type, or None. What a hook
makes the software do is done where its type is asked for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from consortium.credit.reading import Table


class Hook(StrEnum):
    """One thing that law may switch on."""

    CONSENT = "consent"
    SEPARATE_CONSENT = "separate_consent"
    WITHDRAWAL = "withdrawal"
    HUMAN_REVIEW = "human_review"
    NON_PERSONALISED = "non_personalised"
    EXPLAIN = "explain"
    COST_SHEET = "cost_sheet"
    COST_CAP = "cost_cap"
    AMOUNT_CAP = "amount_cap"
    ADVERSE_AGE = "adverse_age"
    PRIOR_NOTICE = "prior_notice"
    ANNUAL_COPY = "annual_copy"
    DELETION = "deletion"
    IMPACT_ASSESSMENT = "impact_assessment"
    AUDIT_DUE = "audit_due"
    DATA_CLASS = "data_class"
    LOCAL_ACCEPTANCE = "local_acceptance"
    SCORE_DELIVERY = "score_delivery"
    MASKED_ARREARS = "masked_arrears"
    ADVERSE_ACTION = "adverse_action"
    SCORE_DISCLOSURE = "score_disclosure"
    FAIRNESS_LABEL = "fairness_label"
    MODEL_INVENTORY = "model_inventory"
    TECHNICAL_FILE = "technical_file"
    MEMBERSHIP_TEST = "membership_test"
    RETENTION = "retention"


Value = bool | int | str | tuple[str, ...]

_FLAG, _WHOLE, _TEXT, _TEXTS, _DAY = "flag", "whole", "text", "texts", "day"

PARAMETERS: Mapping[Hook, Mapping[str, str]] = MappingProxyType(
    {
        Hook.CONSENT: {"per_purpose": _FLAG, "written": _FLAG},
        Hook.SEPARATE_CONSENT: {"purposes": _TEXTS},
        Hook.WITHDRAWAL: {"next_call": _FLAG},
        Hook.HUMAN_REVIEW: {"may_refuse_automated": _FLAG},
        Hook.NON_PERSONALISED: {},
        Hook.EXPLAIN: {"procedure": _FLAG, "counterfactual": _FLAG},
        Hook.COST_SHEET: {"forced_reading_s": _WHOLE, "confirm": _FLAG, "channels": _TEXTS},
        Hook.COST_CAP: {},
        Hook.AMOUNT_CAP: {},
        Hook.ADVERSE_AGE: {},
        Hook.PRIOR_NOTICE: {"before": _TEXT},
        Hook.ANNUAL_COPY: {"free_copies": _WHOLE},
        Hook.DELETION: {"days": _WHOLE},
        Hook.IMPACT_ASSESSMENT: {"kind": _TEXT, "keep_years": _WHOLE},
        Hook.AUDIT_DUE: {"persons_over": _WHOLE, "every_months": _WHOLE},
        Hook.DATA_CLASS: {"standard": _TEXT},
        Hook.LOCAL_ACCEPTANCE: {},
        Hook.SCORE_DELIVERY: {"direct_needs_licence": _FLAG},
        Hook.MASKED_ARREARS: {
            "arrears_from": _DAY,
            "arrears_to": _DAY,
            "repaid_by": _DAY,
            "most": _WHOLE,
        },
        Hook.ADVERSE_ACTION: {"notice_days": _WHOLE, "line_changes": _FLAG},
        Hook.SCORE_DISCLOSURE: {"consumer_report": _FLAG},
        Hook.FAIRNESS_LABEL: {"label": _TEXT},
        Hook.MODEL_INVENTORY: {"effective_challenge": _FLAG},
        Hook.TECHNICAL_FILE: {"keep_years": _WHOLE},
        Hook.MEMBERSHIP_TEST: {"each_release": _FLAG},
        Hook.RETENTION: {"years": _WHOLE},
    }
)
"""Parameters of each hook; one that is missing or more is refused when a pack is read."""

_READERS: Mapping[str, Callable[[Table, str], Value]] = MappingProxyType(
    {
        _FLAG: lambda table, key: table.flag(key),
        _WHOLE: lambda table, key: table.integer(key, 0),
        _TEXT: lambda table, key: table.text(key),
        _TEXTS: lambda table, key: table.texts(key),
        _DAY: lambda table, key: table.day(key).isoformat(),
    }
)


@dataclass(frozen=True, slots=True)
class FlagParam:
    """A parameter that is true or false."""

    name: str
    value: bool


@dataclass(frozen=True, slots=True)
class WholeParam:
    """A parameter that is a whole number."""

    name: str
    value: int


@dataclass(frozen=True, slots=True)
class TextParam:
    """A parameter that is a text, a date as YYYY-MM-DD, or a list of texts."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """Parameters of a duty, as its document holds them: by kind, each sorted by name."""

    flags: tuple[FlagParam, ...] = ()
    wholes: tuple[WholeParam, ...] = ()
    texts: tuple[TextParam, ...] = ()

    def flag(self, name: str) -> bool:
        """A flag; False where the hook has none of this name."""
        return any(one.name == name and one.value for one in self.flags)

    def whole(self, name: str) -> int:
        """A whole number; 0 where the hook has none of this name."""
        return next((one.value for one in self.wholes if one.name == name), 0)

    def text(self, name: str) -> str:
        """A text or a date; empty where the hook has none of this name."""
        return next((one.values[0] for one in self.texts if one.name == name), "")

    def items(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        return next((one.values for one in self.texts if one.name == name), ())


def read_params(hook: Hook, table: Table) -> Params:
    """Parameters of ``hook``, all of them and no others; PolicyError."""
    flags, wholes, texts = [], [], []
    for name, kind in sorted(PARAMETERS[hook].items()):
        match _READERS[kind](table, name):
            case bool() as flag:
                flags.append(FlagParam(name, flag))
            case int() as whole:
                wholes.append(WholeParam(name, whole))
            case str() as text:
                texts.append(TextParam(name, (text,)))
            case values:
                texts.append(TextParam(name, values))
    table.done()
    return Params(flags=tuple(flags), wholes=tuple(wholes), texts=tuple(texts))
