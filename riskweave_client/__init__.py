"""Ask a partner's own RiskWeave node for scores and decisions: typed, gRPC, no numpy.

```python
from riskweave_client import Client, Consent, Tls

with Client("unix:/srv/node/desk.sock") as desk:
    score = desk.score("11010519491231002X", Consent("consent-2026-000123"))
    print(score.points, score.pd, score.band, score.fallback)
```

A score is never an error of the federation's: if partners are silent or the coordinator is
gone, the node answers with its own score, ``band`` is "0" and ``fallback`` says why. Errors
(``DeskError``) are about the question: no consent, a malformed identifier, a key used twice.

``Client.decide`` takes a ``CreditApplication`` and brings a ``CreditDecision``;
``Client.decide_many`` takes any number of them.
"""

from riskweave_client.client import AsyncClient, Client, Tls
from riskweave_client.decisions import (
    AskedDecision,
    ConsentRecord,
    CreditApplication,
    CreditDecision,
    DecisionReason,
    FinalDecision,
    Income,
    Obligation,
    Review,
    Standing,
    Wish,
)
from riskweave_client.values import (
    Applicant,
    Change,
    Consent,
    DeskError,
    Failure,
    Loss,
    Reason,
    Score,
    Status,
)

__all__ = [
    "Applicant",
    "AskedDecision",
    "AsyncClient",
    "Change",
    "Client",
    "Consent",
    "ConsentRecord",
    "CreditApplication",
    "CreditDecision",
    "DecisionReason",
    "DeskError",
    "Failure",
    "FinalDecision",
    "Income",
    "Loss",
    "Obligation",
    "Reason",
    "Review",
    "Score",
    "Standing",
    "Status",
    "Tls",
    "Wish",
]
