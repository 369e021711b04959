"""The surroundings of the credit desk, as whoever puts it together hands them in."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, tzinfo

from consortium.features.schema import Schema
from partner_node.credit.rules import RulesBook
from partner_node.credit.scores import ScoreLeg
from partner_node.credit.showing import Showing
from partner_node.credit.storage import CreditStore

KEYS_S = 86_400
"""How long an idempotency key brings the same bytes, if nothing else is set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskServicePorts:
    """The surroundings of the credit desk."""

    store: CreditStore
    rules: RulesBook
    scores: ScoreLeg | None
    """None: no node serves here, so only decisions without a score can be made."""
    subject: Callable[[str], bytes]
    """Keyed hash of a person's identifier; PersonError."""
    keyed: Callable[[str], str]
    """Keyed hash of a text: what is kept names no question to who may guess one."""
    schema: Callable[[], Schema | None]
    """In force; it says which reason codes there are. None before a manifest is trusted."""
    now: Callable[[], int]
    zone: tzinfo
    """Of the partner: its calendar dates are those of a decision."""
    keys_s: int = KEYS_S
    showing: Showing | None = None
    """Verifies histories that applicants carry; None: no node serves here."""

    def today(self) -> date:
        """The partner's calendar date."""
        return self.day_of(self.now())

    def day_of(self, at: int) -> date:
        """The partner's calendar date at a second that was read of ``now``."""
        return datetime.fromtimestamp(at, self.zone).date()
