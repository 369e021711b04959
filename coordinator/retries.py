"""Which retries are true: of a request that failed, without those who failed it (7.9).

Responders see that a retry names what they answered last; only the relay knows whether the
asker got its answers. What is older than a responder takes a retry of is forgotten here.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from consortium.errors import ScoreRefusal, ScoreRefusalError
from consortium.ids import PartnerId, RequestId
from consortium.inquiries import Inquiry
from consortium.scoring.guard import RETRY_MS

KEPT_MS = 2 * RETRY_MS


@dataclass(eq=False, slots=True)
class _Relayed:
    """A request of the last two minutes."""

    asker: PartnerId
    roster: tuple[PartnerId, ...]
    at_ms: int
    roster_version: int
    failed_by: frozenset[PartnerId] = frozenset()
    """Who left, kept silent or refused; nobody while it waits, or if it was answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """What the log says of a retry beside its own request (protocol 7.9)."""

    earlier_version: int
    """Roster of the request that is retried; 0 if it is forgotten."""
    missing: tuple[PartnerId, ...]
    """Whom the retry leaves out."""


class Retries:
    """The requests that a retry may still name. Lives in the loop."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._relayed: dict[RequestId, _Relayed] = {}

    def check(self, inquiry: Inquiry, present: Collection[PartnerId]) -> None:
        """Raise ScoreRefusalError (S10) for what is no retry.

        Args:
            inquiry: Of a checked asker.
            present: Partners of the roster that it names: others need not be asked.
        """
        earlier = self._relayed.get(inquiry.retry_of) if inquiry.retry_of else None
        if earlier is None:
            return  # responders answer an old or unknown one with the same roster alone
        if (earlier.asker, earlier.roster) == (inquiry.requester, inquiry.roster):
            return
        left_out = set(earlier.roster).difference(inquiry.roster)
        true = (
            earlier.asker == inquiry.requester
            and set(inquiry.roster) < set(earlier.roster)
            and earlier.failed_by
            and left_out <= earlier.failed_by | set(earlier.roster).difference(present)
        )
        if not true:
            raise ScoreRefusalError(
                ScoreRefusal.DIFFERENCING, "a retry of what was answered, or without others"
            )

    def of(self, inquiry: Inquiry) -> Retried | None:
        """What an inquiry retries, as far as that is remembered; None: it is no retry."""
        if inquiry.retry_of is None:
            return None
        earlier = self._relayed.get(inquiry.retry_of)
        if earlier is None:
            return Retried(earlier_version=0, missing=())
        left_out = tuple(sorted(set(earlier.roster).difference(inquiry.roster)))
        return Retried(earlier_version=earlier.roster_version, missing=left_out)

    def began(self, inquiry: Inquiry) -> None:
        """A request is relayed, or fails at once."""
        now_ms = self._now_ms()
        while self._relayed:
            oldest = next(iter(self._relayed))
            if now_ms - self._relayed[oldest].at_ms <= KEPT_MS:
                break
            del self._relayed[oldest]
        if inquiry.request not in self._relayed:  # the first of an id counts
            version = inquiry.roster_version
            made = _Relayed(inquiry.requester, inquiry.roster, now_ms, version)
            self._relayed[inquiry.request] = made

    def failed(self, inquiry: Inquiry, by: Collection[PartnerId]) -> None:
        """It has ended without their answers."""
        kept = self._relayed.get(inquiry.request)
        if kept is not None and (kept.asker, kept.roster) == (
            inquiry.requester,
            inquiry.roster,
        ):
            kept.failed_by = frozenset(by)
