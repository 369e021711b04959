"""The chain of links that every member commits to before a run (protocol 3.1, 3.3).

``n^L`` comes from the run's seed, ``n^(k-1) = H(LINK ‖ n^k)``, and ``n⁰`` is signed with the
acceptance of the plan. The k-th JOIN of a member shows ``n^k``: everybody can check it and
nobody could choose it, so nobody can steer the joined context, hence the noise. Until sums
are logged, these links and the chain of closed sums are what binds rounds to each other.
"""

import hashlib
from dataclasses import dataclass

from consortium.canonical import Label
from consortium.crypto.keys import Secret, hkdf
from consortium.errors import DomainError, RefusalCode, RefusalError
from consortium.ids import Digest
from consortium.plan import TrainingPlan
from consortium.privacy.mechanism import attempts_of, kinds_of

_INFO = b"riskweave/chain/v1"
_PREFIX = Label.LINK.line


@dataclass(frozen=True, slots=True)
class Link:
    """The last link that was seen of one member; ``Link(0, chain_head)`` at first."""

    count: int
    digest: Digest


def chain_length(plan: TrainingPlan) -> int:
    """L: all attempts of the run, at gradients and at histograms (protocol 3.1)."""
    return sum(attempts_of(plan, kind) for kind in kinds_of(plan))


def link(seed: Secret, length: int, count: int) -> Digest:
    """``n^k`` of the chain of ``length`` links, k = ``count`` from 0 (``n⁰``) to L.

    Raises:
        DomainError: the count is outside the chain.
    """
    if not 0 <= count <= length:
        raise DomainError(f"link {count} of a chain of {length}")
    last = Digest(hkdf(seed, b"", _INFO).expose().hex())
    return _forward(last, length - count)


def verify_link(
    shown: Digest, count: int, known: Digest, known_count: int, *, length: int
) -> None:
    """Raise RefusalError (R16) unless ``shown`` is the later link ``n^count`` (protocol 3.4).

    Args:
        shown: What the member's JOIN says.
        count: k of that JOIN. It must be above ``known_count``: no link is used twice.
        known: The last link of that member that was checked before.
        known_count: Its position; 0 for the chain's head.
        length: L. It bounds the work that a hostile count can cause.
    """
    if not known_count < count <= length:
        raise RefusalError(
            RefusalCode.CHAIN, f"link {count} after {known_count} of a chain of {length}"
        )
    if _forward(shown, count - known_count) != known:
        raise RefusalError(RefusalCode.CHAIN, f"link {count} does not lead to {known_count}")


def _forward(digest: Digest, steps: int) -> Digest:
    """``H(LINK ‖ …)`` of the link, ``steps`` times; a run's whole chain for its first JOIN."""
    link_bytes = bytes.fromhex(digest)
    for _ in range(steps):
        link_bytes = hashlib.sha256(_PREFIX + link_bytes).digest()
    return Digest(link_bytes.hex())
