"""Ask a partner's own RiskWeave node for joint scores: typed, over gRPC, without numpy.

```python
from riskweave_client import Client, Consent, Tls

with Client("unix:/srv/node/desk.sock") as desk:
    score = desk.score("11010519491231002X", Consent("consent-2026-000123"))
    print(score.points, score.pd, score.band, score.fallback)
```

A score is never an error of the federation's: if partners are silent or the coordinator is
gone, the node answers with its own score, ``band`` is "0" and ``fallback`` says why. Errors
(``DeskError``) are about the question: no consent, a malformed identifier, a key used twice.
"""

from riskweave_client.client import AsyncClient, Client, Tls
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
    "AsyncClient",
    "Change",
    "Client",
    "Consent",
    "DeskError",
    "Failure",
    "Loss",
    "Reason",
    "Score",
    "Status",
    "Tls",
]
