"""One person that others are asked about, its part of what comes back, or why none does.

Values only, shared by applicants, studies and closure inquiries (protocol 7.3, 7.10).
"""

from dataclasses import dataclass, field

from consortium.errors import RiskWeaveError
from consortium.ids import Digest, PartnerId, PersonToken
from consortium.inquiries import Purpose
from consortium.scoring.consent import Method
from consortium.scoring.layout import JointSums
from partner_node.score_table import Holding


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One person that is asked about, as far as the others are concerned. Private."""

    token: PersonToken = field(repr=False)
    evidence: bytes = field(repr=False)
    purposes: frozenset[Purpose]
    expires: int
    notice: int
    method: Method
    holding: Holding = field(repr=False)
    """What this partner holds of the person itself, arrays of one."""
    model: Digest
    """The version that the holding is of: it is asked for, or nothing is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One person's part of a request's sums. Private."""

    sums: JointSums = field(repr=False)
    """Of all persons of the request."""
    place: int
    """Which of them it is."""
    context: Digest
    receipt: bytes = field(repr=False)
    """Digest of the receipt."""
    roster: int
    partners: tuple[PartnerId, ...]
    """Whose answers are in the sums, the asker among them."""
    model: Digest
    """Which the sums are of."""


class LocalError(RiskWeaveError):
    """No joint answer can be had; ``reason`` is one of ``answers.FALLBACKS``."""

    code = "local"

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason} {detail}".strip())
        self.reason = reason
