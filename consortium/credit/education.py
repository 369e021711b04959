"""What a borrower may read, chosen by the borrower's own reasons (credit 3.3, row 25).

Six modules in Chinese and English, in short sentences. A code of the consortium has its module
here; a code that a federation's own schema made gets the module of what its feature is about,
so that no reason is without one. Whether somebody read a module is recorded nowhere: it has no
column in any schema.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from consortium.credit.education_texts import MODULES, Module, Topic
from consortium.errors import DomainError
from consortium.features.concepts import Concept
from consortium.features.schema import Schema

CODES: Mapping[str, Topic] = MappingProxyType(
    {
        "R01": Topic.PAYING,
        "R02": Topic.PAYING,
        "R03": Topic.USING,
        "R04": Topic.USING,
        "R05": Topic.APPLYING,
        "R06": Topic.RECORD,
        "R07": Topic.BUDGET,
        "R08": Topic.USING,
        "R09": Topic.USING,
        "R10": Topic.USING,
        "R11": Topic.RECORD,
        "R12": Topic.GUARANTEE,
        "R20": Topic.BUDGET,
        "R21": Topic.BUDGET,
        "R22": Topic.RECORD,
        "R23": Topic.PAYING,
        "R24": Topic.RECORD,
        "R25": Topic.RECORD,
        "R26": Topic.RECORD,
        "R27": Topic.RECORD,
        "F1": Topic.RECORD,
        "R31": Topic.PAYING,
        "R32": Topic.USING,
        "R33": Topic.USING,
        "R34": Topic.BUDGET,
        "R35": Topic.RECORD,
    }
)
"""Codes whose meaning is the consortium's; they are never used for anything else."""

CONCEPTS: Mapping[Concept, Topic] = MappingProxyType(
    {
        Concept.ARREARS: Topic.PAYING,
        Concept.REPAYMENT_STATUS: Topic.PAYING,
        Concept.PAID_AMOUNT: Topic.USING,
        Concept.PAYMENT_RATIO: Topic.USING,
        Concept.BILLED_AMOUNT: Topic.USING,
        Concept.BALANCE: Topic.USING,
        Concept.UTILISATION: Topic.USING,
        Concept.CASH_SHARE: Topic.USING,
        Concept.CREDIT_LIMIT: Topic.RECORD,
        Concept.CREDIT_APPLICATIONS: Topic.APPLYING,
        Concept.HISTORY_LENGTH: Topic.RECORD,
        Concept.OPEN_LINES: Topic.APPLYING,
        Concept.SECURED_LINES: Topic.APPLYING,
        Concept.INACTIVITY: Topic.RECORD,
        Concept.LINE_CLOSURE: Topic.RECORD,
        Concept.LOAN_AMOUNT: Topic.BUDGET,
        Concept.LOAN_TERM: Topic.BUDGET,
        Concept.LOAN_PURPOSE: Topic.RECORD,
        Concept.PRODUCT: Topic.RECORD,
        Concept.ACCOUNT_STATUS: Topic.PAYING,
        Concept.DUES: Topic.BUDGET,
        Concept.GUARANTEE: Topic.GUARANTEE,
        Concept.EMPLOYMENT_LENGTH: Topic.BUDGET,
        Concept.OCCUPATION: Topic.BUDGET,
        Concept.HOUSING: Topic.BUDGET,
        Concept.ENTERPRISE_SIZE: Topic.GUARANTEE,
        Concept.ENTERPRISE_SECTOR: Topic.GUARANTEE,
        Concept.DEVICE_CHANGE: Topic.RECORD,
        Concept.INCOME: Topic.BUDGET,
        Concept.DEBT_TO_INCOME: Topic.BUDGET,
        Concept.DEPOSITS: Topic.BUDGET,
        Concept.SECURITIES: Topic.BUDGET,
        Concept.COMMERCIAL_INSURANCE: Topic.BUDGET,
        Concept.REAL_ESTATE: Topic.BUDGET,
        Concept.TAX: Topic.BUDGET,
    }
)
"""For codes of a federation's own: the module of what the feature is about."""


def modules_for(codes: Iterable[str], schema: Schema) -> tuple[Module, ...]:
    """The modules of a borrower's reasons, each once, in the order of the reasons.

    Args:
        codes: Of the reasons. Private.
        schema: Under which they were scored; it says what its own codes are about.

    Raises:
        DomainError: a code that neither the consortium nor the schema knows.
    """
    topics: dict[Topic, None] = {}
    for code in codes:
        topics.update(dict.fromkeys(_topics(code, schema)))
    return tuple(MODULES[topic] for topic in topics)


def _topics(code: str, schema: Schema) -> tuple[Topic, ...]:
    if code in CODES:
        return (CODES[code],)
    about = [feature.concept for feature in schema.features if feature.reason == code]
    if not about:
        raise DomainError(f"reason code {code!r} is neither the consortium's nor the schema's")
    return tuple(dict.fromkeys(CONCEPTS[concept] for concept in about))
