"""What a column may be about: a closed list (credit 5.3, 5.4).

Every field of a schema names its concept. Free names cannot smuggle one in: a new concept
is a reviewed change of this file. A derived field takes the strictest class of its inputs,
which is why ``debt_to_income`` needs the same consent as ``income``.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Concept(StrEnum):
    """What a model may be told about a person."""

    ARREARS = "arrears"
    """Delays in payment: days past due, months late, how often."""
    REPAYMENT_STATUS = "repayment_status"
    PAID_AMOUNT = "paid_amount"
    PAYMENT_RATIO = "payment_ratio"
    BILLED_AMOUNT = "billed_amount"
    BALANCE = "balance"
    UTILISATION = "utilisation"
    CASH_SHARE = "cash_share"
    CREDIT_LIMIT = "credit_limit"
    CREDIT_APPLICATIONS = "credit_applications"
    HISTORY_LENGTH = "history_length"
    OPEN_LINES = "open_lines"
    SECURED_LINES = "secured_lines"
    """Number of loans on real estate, not the real estate that a person owns."""
    INACTIVITY = "inactivity"
    LINE_CLOSURE = "line_closure"
    LOAN_AMOUNT = "loan_amount"
    LOAN_TERM = "loan_term"
    LOAN_PURPOSE = "loan_purpose"
    PRODUCT = "product"
    ACCOUNT_STATUS = "account_status"
    DUES = "dues"
    GUARANTEE = "guarantee"
    EMPLOYMENT_LENGTH = "employment_length"
    OCCUPATION = "occupation"
    HOUSING = "housing"
    ENTERPRISE_SIZE = "enterprise_size"
    ENTERPRISE_SECTOR = "enterprise_sector"
    DEVICE_CHANGE = "device_change"
    """A flag, never an identifier of the device."""
    INCOME = "income"
    DEBT_TO_INCOME = "debt_to_income"
    DEPOSITS = "deposits"
    SECURITIES = "securities"
    COMMERCIAL_INSURANCE = "commercial_insurance"
    REAL_ESTATE = "real_estate"
    TAX = "tax"


class GroupConcept(StrEnum):
    """Held at the node for the fairness report (credit 4.13); never an input of a model."""

    SEX = "sex"
    AGE = "age"
    EDUCATION = "education"
    MARITAL_STATUS = "marital_status"
    DEPENDENTS = "dependents"
    PUBLIC_ASSISTANCE = "public_assistance"
    EXERCISE_OF_RIGHTS = "exercise_of_rights"


CONSENT_NEEDED: Mapping[Concept, str] = MappingProxyType(
    dict.fromkeys(
        (
            Concept.INCOME,
            Concept.DEBT_TO_INCOME,
            Concept.DEPOSITS,
            Concept.SECURITIES,
            Concept.COMMERCIAL_INSURANCE,
            Concept.REAL_ESTATE,
            Concept.TAX,
        ),
        "INCOME_DATA",
    )
)
"""Concepts that need a consent of their own, and its purpose code (credit 2.4)."""

_CORE = "forbidden in every federation (credit 5.3, core)"
_NEVER = "never an attribute (credit 5.3, never)"
_C3 = "of data class C3, refused at ingest (credit 5.4)"

FORBIDDEN: Mapping[str, str] = MappingProxyType(
    {
        "religion": _CORE,
        "ethnicity": _CORE,
        "race": _CORE,
        "national_origin": _CORE,
        "nationality": _CORE,
        "political_opinion": _CORE,
        "union_membership": _CORE,
        "genetic_data": _CORE,
        "biometrics": _CORE,
        "blood_type": _CORE,
        "health": _CORE,
        "sexual_orientation": _CORE,
        "sex_life": _CORE,
        "contact_list": _NEVER,
        "message_content": _NEVER,
        "location_trail": _NEVER,
        "device_identifier": _NEVER,
        "education_completion": _NEVER,
        "complaint_history": _NEVER,
        "password": _C3,
        "card_verification_code": _C3,
    }
)
"""Concepts that no column may have, in any role, and why."""


def why_not_a_feature(word: str) -> str | None:
    """Why ``word``, as a concept or as a column's name, may not enter a model; else None."""
    if word in FORBIDDEN:
        return FORBIDDEN[word]
    if word in set(GroupConcept):
        return "a group attribute for the fairness report, never a feature (credit 5.3)"
    return None
