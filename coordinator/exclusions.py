"""Whom a run goes on without: a partner whose answers fail verification (protocol 3.6).

A pure function of the attempts on record, so a coordinator that is started again leaves out
the same partners. Silence and refusals are no fault in this sense: who is gone comes back,
and who refuses may be right.
"""

from collections import Counter
from collections.abc import Iterable

from consortium.errors import RefusalError
from consortium.ids import PartnerId
from consortium.release import Attempt
from models.run import RunSession

FAILURES = 2
"""Answers in one run that may not verify before their sender is left out of it."""

UNREADABLE, WRONG_SOURCE = "unreadable", "wrong source"
"""What the grid says of bytes that are no message, or not from whom they came."""

_JOIN = "JOIN "
_UNVERIFIED = frozenset(
    {
        UNREADABLE,
        WRONG_SOURCE,
        "decode",
        "digest",
        "identifier",
        "manifest",
        "out_of_order",
        "shape",
        "signature",
    }
)
"""Codes of ``consortium.errors`` that checking an answer ends with. What a node itself
answers is its error's ``public`` text, which is none of these."""


def reason_of(refused: RefusalError) -> str:
    """The reason on record for a JOIN that this side refused; unlike a node's own refusal."""
    return f"{_JOIN}{refused.reason.value}"


def failures(attempts: Iterable[Attempt]) -> Counter[PartnerId]:
    """How many answers of each partner failed verification."""
    return Counter(
        name
        for one in attempts
        for name, reason in zip(one.missing, one.reasons, strict=True)
        if reason in _UNVERIFIED or reason.startswith(_JOIN)
    )


def left_out(session: RunSession, roster: Iterable[PartnerId]) -> frozenset[PartnerId]:
    """Members of ``roster`` that the due attempt goes without.

    Who failed twice in the run, or at the due sum when that may not fail once more; the
    worst first, and nobody without whom the sum could not be carried.
    """
    state = session.state
    counted = failures(state.attempts)
    if session.last_attempt:
        due = [
            one for one in state.attempts if (one.kind, one.round) == (state.stage, state.round)
        ]
        counted.update(dict.fromkeys(failures(due), FAILURES))
    kept = set(roster)
    for name, count in counted.most_common():
        rest = kept - {name}
        if count >= FAILURES and not session.lacks(tuple(sorted(rest))):
            kept = rest
    return frozenset(set(roster) - kept)
