"""A partner's half of one attempt: JOIN, check everybody's JOIN, mask once (protocol 3.3, 3.4).

Nothing is drawn: the one-time key comes from the run's seed and the context, so a machine
made again after a restart from the same facts and the same request makes the same JOIN and
the same masks. What must be on disk, and when, is the session's: the JOIN and its count
before the JOIN is sent, the debit and the peers' links before the words are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from consortium.crypto.keys import AgreementKey, IdentityKey, Secret
from consortium.crypto.pairwise import (
    OwnKeys,
    PeerKeys,
    apply_masks,
    ephemeral_key,
    pair_key,
)
from consortium.errors import RefusalCode, RefusalError, RiskWeaveError, ShapeError
from consortium.ids import Digest, PartnerId
from consortium.manifest import Manifest
from consortium.messages import Join, SumRequest, Upload
from consortium.secagg.chain import Link, link
from consortium.secagg.context import context_of, joined_context
from consortium.secagg.joins import sign_join, verify_join
from consortium.secagg.ring import to_ring
from consortium.secagg.states import PARTNER, PartnerEvent, PartnerState, after
from consortium.secagg.uploads import sign_upload

Integers = NDArray[np.int64]
Words = NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartnerFacts:
    """What one attempt needs of a node beside the request."""

    manifest: Manifest
    member: PartnerId
    identity: IdentityKey
    agreement: AgreementKey
    seed: Secret
    """The run's, committed to in the acceptance of the plan."""
    length: int
    """L of the run's chains."""
    count: int
    """k of the JOIN to be made: one above that of the last JOIN in this run."""
    links: Mapping[PartnerId, Link]
    """Last checked link of every other member; ``Link(0, chain_head)`` before its first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedContext:
    """An attempt that all members have joined."""

    context: Digest
    """ctx."""
    digest: Digest
    """rctx: noise and upload are bound to it."""
    links: Mapping[PartnerId, Link]
    """The other members' new links; to be stored with the debit."""
    keys: Mapping[PartnerId, Secret] = field(repr=False)
    """Mask keys of the pairs. Secret."""


class PartnerMachine:
    """One attempt at one partner; a retry is another attempt and another machine."""

    def __init__(self, facts: PartnerFacts) -> None:
        self._facts = facts
        self._manifest = facts.manifest.digest
        self._state = PartnerState.IDLE
        self._request: SumRequest | None = None
        self._join: Join | None = None
        self._joined: JoinedContext | None = None

    @property
    def state(self) -> PartnerState:
        """Where the attempt is."""
        return self._state

    def on_proposal(self, request: SumRequest) -> Join:
        """This member's JOIN; store it before it is sent (protocol 3.3).

        That the request follows from plan, budget and closed sums was checked by the caller.

        Raises:
            RefusalError: the roster is not sorted and unique (R15), names somebody who is
                no active partner (R02), or not this member (R03); no link is left (R13).
            OutOfOrderError: this attempt had a proposal already.
        """
        later = after(PARTNER, self._state, PartnerEvent.PROPOSAL)
        facts = self._facts
        with _Refusing(self):
            self._check_roster(request.roster)
            if not 1 <= facts.count <= facts.length:
                raise RefusalError(
                    RefusalCode.ATTEMPTS, f"JOIN {facts.count} of at most {facts.length}"
                )
        context = context_of(request, self._manifest)
        bare = Join(
            context=context,
            member=facts.member,
            ephemeral=ephemeral_key(facts.seed, context).public,
            count=facts.count,
            link=link(facts.seed, facts.length, facts.count),
            signature=b"",
        )
        self._request, self._join = request, sign_join(bare, facts.identity)
        self._state = later
        return self._join

    def on_joins(self, joins: Sequence[Join]) -> JoinedContext:
        """Check all JOINs of the attempt and make the pair keys (protocol 3.4, 3.4.1).

        Raises:
            RefusalError: a JOIN is missing, double, of a stranger, for another attempt, or
                not the one that this member made (R15); a signature fails (R14); a link
                does (R16); a key is of small order (R17). The attempt is over then.
            DecodeError: a field of a JOIN is not of its form. The attempt is over then.
            OutOfOrderError: no proposal came before, or JOINs did.
        """
        later = after(PARTNER, self._state, PartnerEvent.JOINS)
        with _Refusing(self):
            self._joined = self._agreed(joins)
        self._state = later
        return self._joined

    def mask(self, values: Integers) -> tuple[Words, Upload]:
        """Mask and sign the noised integers, once (protocol 3.4.8).

        Args:
            values: Shape (d,), int64, noise inside. Left as they are.

        Returns:
            The words, shape (d,), uint64, and their signed envelope. They may leave the
            node only after the debit and the links are on disk.

        Raises:
            ShapeError: not as many values as the request says.
            OutOfOrderError: not all JOINs were checked, or a mask was made already.
        """
        later = after(PARTNER, self._state, PartnerEvent.MASK)
        if self._joined is None or self._request is None:  # pragma: no cover - the table
            raise AssertionError("AGREED without a joined context")
        if values.shape != (self._request.dimension,):
            raise ShapeError(f"{values.shape} values for a sum of ({self._request.dimension},)")
        words = to_ring(values).copy()
        member = self._facts.member
        apply_masks(words, member, self._joined.keys)
        self._state = later
        upload = sign_upload(
            words, context=self._joined.digest, member=member, key=self._facts.identity
        )
        return words, upload

    def refuse(self) -> None:
        """End the attempt; raises OutOfOrderError if it is over already."""
        self._state = after(PARTNER, self._state, PartnerEvent.REFUSAL)

    def _check_roster(self, roster: tuple[PartnerId, ...]) -> None:
        active = {member.id for member in self._facts.manifest.partners}
        if tuple(sorted(set(roster))) != roster:
            raise RefusalError(RefusalCode.SPLIT_VIEW, "roster is not sorted and unique")
        if strangers := set(roster) - active:
            raise RefusalError(RefusalCode.MEMBER, f"{min(strangers)} is no active partner")
        if self._facts.member not in roster:
            raise RefusalError(RefusalCode.SELF_ABSENT, "this node is not in the roster")

    def _agreed(self, joins: Sequence[Join]) -> JoinedContext:
        request, own = self._request, self._join
        if request is None or own is None:  # pragma: no cover - the table
            raise AssertionError("JOINED without a request")
        if sorted(join.member for join in joins) != list(request.roster):
            raise RefusalError(RefusalCode.SPLIT_VIEW, "JOINs are not those of the roster")
        if own not in joins:
            raise RefusalError(RefusalCode.SPLIT_VIEW, "another JOIN in this node's name")
        peers = [join for join in joins if join.member != own.member]
        links = {join.member: self._verified(join, own.context) for join in peers}
        joined = joined_context(own.context, joins)
        keys = self._pair_keys(peers, own.context, joined)
        return JoinedContext(context=own.context, digest=joined, links=links, keys=keys)

    def _verified(self, join: Join, context: Digest) -> Link:
        known = self._facts.links.get(join.member)
        if known is None:
            raise RefusalError(RefusalCode.CHAIN, f"{join.member} committed to no chain")
        return verify_join(
            join,
            context=context,
            member=self._facts.manifest.member(join.member),
            known=known,
            length=self._facts.length,
        )

    def _pair_keys(
        self, peers: Sequence[Join], context: Digest, joined: Digest
    ) -> dict[PartnerId, Secret]:
        facts = self._facts
        own = OwnKeys(
            member=facts.member,
            ephemeral=ephemeral_key(facts.seed, context),
            agreement=facts.agreement,
        )
        keys = {}
        for join in peers:
            agreement = bytes.fromhex(facts.manifest.member(join.member).agreement)
            peer = PeerKeys(member=join.member, ephemeral=join.ephemeral, agreement=agreement)
            keys[join.member] = pair_key(own, peer, joined=joined)
        return keys


class _Refusing:
    """Ends the machine's attempt if the block raises: what failed once is not asked again."""

    def __init__(self, machine: PartnerMachine) -> None:
        self._machine = machine

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, RiskWeaveError):
            self._machine.refuse()
