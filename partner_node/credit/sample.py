"""One whole application: a new desk is tried with it, and the doors' description shows it."""

from datetime import date
from typing import Any

FILE = "application.json"


def sample_application(*, on: date, currency: str) -> dict[str, Any]:
    """An application that the starters of a new desk take up.

    Args:
        on: Of the consents and of the newest salary.
        currency: The policy's.
    """
    day = on.isoformat()
    return {
        "application": "application-1",
        "person": "1",
        "wish": {
            "product": "instalment_small",
            "purpose": "DURABLES",
            "amount": 2_000_000,
            "currency": currency,
            "tenor_months": 12,
        },
        "standing": {
            "adult": True,
            "has_history": True,
            "dpd_now": 0,
            "income": {"credits": [6_000_000, 6_000_000, 6_000_000], "latest_on": day},
            "here": [{"kind": "term", "scheduled": 500_000, "balance": 9_000_000}],
            "elsewhere": [],
        },
        "consents": [
            {"purpose": purpose, "id": f"consent-{place}", "given_on": day}
            for place, purpose in enumerate(("CREDIT_DECISION", "JOINT_SCORE", "INCOME_DATA"))
        ],
    }
