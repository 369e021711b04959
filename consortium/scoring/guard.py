"""What a responder answers only once, or only together with the same others (protocol 7.9).

Sums carry no noise: complete answers over U and over U without i give i's part of them. So a
responder holds each asker to one roster for a person, with one retry when a partner fell
silent. The rules are here; whoever stores what was answered calls them in one transaction
with storing it, before the answer leaves.
"""

import hashlib
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from consortium.canonical import Label, lp
from consortium.errors import ScoreRefusal, ScoreRefusalError
from consortium.ids import Digest, PartnerId, RequestId, digest_of
from consortium.inquiries import Inquiry
from consortium.scoring.inquiry import LONGEST_DEADLINE
from consortium.scoring.roster import members_digest

RETRY_MS = 60_000
"""After an answered request, its one retry may come with a smaller roster."""

DAY_MS = 86_400_000
MEMORY_MS = 30 * DAY_MS
"""How long an answered roster is kept."""

MOST_ROSTERS = 3
"""Different rosters of one asker for one person within that time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request as far as this rule looks at it."""

    request: RequestId
    roster: Digest
    """``members_digest`` of U."""
    retry_of: RequestId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A request that was answered for the same asker and person."""

    request: RequestId
    roster: Digest
    at_ms: int
    """Milliseconds since 1970, UTC."""


def asked_of(inquiry: Inquiry) -> Asked:
    """What the rule needs of an inquiry; the same for all persons in it."""
    roster = members_digest(inquiry.roster)
    return Asked(request=inquiry.request, roster=roster, retry_of=inquiry.retry_of)


def seen_key(asker: PartnerId, token: bytes) -> Digest:
    """``H(SCORE_SEEN ‖ lp(asker) ‖ token)``: under which answered rosters are kept.

    The token itself is not: it is deleted after 24 hours (protocol 7.4).
    """
    return digest_of(_seen_prefix(asker) + token)


def seen_keys(asker: PartnerId, tokens: Iterable[bytes]) -> list[bytes]:
    """The 32 bytes of ``seen_key`` for each token."""
    prefix = _seen_prefix(asker)
    return [hashlib.sha256(prefix + token).digest() for token in tokens]


def _seen_prefix(asker: PartnerId) -> bytes:
    return Label.SCORE_SEEN.line + lp(asker.encode("ascii"))


def decide(history: Sequence[Seen], asked: Asked, *, now_ms: int, whole: bool = True) -> None:
    """Raise unless this roster may be answered for this person (protocol 7.9).

    The last 24 hours must know this roster alone; or the request is the one retry of a
    request that was answered in the last 60 seconds, when they know one other roster alone.
    The fourth roster within 30 days is refused whatever it says. Less than the whole roster is
    answered for a person that was asked for with it last, or as that retry: else an asker
    would choose whom it asks by making up what it retries. Clocks that went back make
    the past look recent, which only refuses more.

    Args:
        history: Of this asker and person, oldest first; of each roster the last suffices.
            What is older than 30 days is not looked at.
        asked: The request.
        now_ms: Milliseconds since 1970, UTC.
        whole: Whether U is all of the coordinator's roster that the request names.

    Raises:
        ScoreRefusalError: S10. Fault: the asker, or partners come and go too often.
    """
    kept = [seen for seen in history if now_ms - seen.at_ms < MEMORY_MS]
    if not whole and not _known_retry(kept, asked, now_ms):
        raise _refusal("a part of the roster, and no retry of what was answered here")
    if not kept:
        return
    if len({seen.roster for seen in kept} | {asked.roster}) > MOST_ROSTERS:
        raise _refusal("a fourth roster for one person in 30 days")
    recent = [seen for seen in kept if now_ms - seen.at_ms < DAY_MS]
    rosters = {seen.roster for seen in recent}
    if rosters <= {asked.roster}:
        return
    last = kept[-1]
    if last.roster == asked.roster:
        return  # the retry's roster again: nothing new can be taken apart
    if len(rosters) > 1:
        raise _refusal("a second retry for one person in 24 hours")
    if asked.retry_of != last.request or now_ms - last.at_ms > RETRY_MS:
        raise _refusal("a second roster for one person in 24 hours")


def _known_retry(kept: Sequence[Seen], asked: Asked, now_ms: int) -> bool:
    if not kept:
        return False
    last = kept[-1]
    timely = now_ms - last.at_ms <= RETRY_MS
    return last.roster == asked.roster or (asked.retry_of == last.request and timely)


def check_new(inquiry: Inquiry, known: Container[RequestId]) -> None:
    """Raise ScoreRefusalError (S09) if the request id was answered before (protocol 7.5).

    Args:
        inquiry: One that passed ``open_inquiry``, so its deadline is near.
        known: Ids of requests that were taken in the last 60 seconds or more; an older
            request is refused for its deadline.
    """
    if inquiry.request in known:
        raise ScoreRefusalError(ScoreRefusal.REPLAY, f"request {inquiry.request}")


def forgotten(known: Iterable[tuple[RequestId, int]], *, now_ms: int) -> list[RequestId]:
    """The ids that need not be remembered: their deadline passed 60 seconds ago.

    Args:
        known: Ids and deadlines, in milliseconds.
        now_ms: Milliseconds since 1970, UTC.
    """
    return [request for request, end in known if end + LONGEST_DEADLINE < now_ms]


def _refusal(detail: str) -> ScoreRefusalError:
    return ScoreRefusalError(ScoreRefusal.DIFFERENCING, detail)
