"""A member's half of a key ceremony: a new epoch's key, or its resharing (protocol 6.3, 6.8).

Commit to a polynomial, reveal it and send the sealed shares, check everybody's, sign the
public keys. The machine draws nothing: made again from the same stored secret it gives the
same bytes, so a node that was killed is asked again from the start. What must be on disk,
and when, is the caller's: the secret of (epoch, attempt) before the first step leaves, the
share before the confirmation does; after the install the old share is erased.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from consortium.canonical import Label
from consortium.crypto.keys import Secret
from consortium.crypto.ristretto import Point, Scalar
from consortium.documents import document_of, parse_document
from consortium.errors import OutOfOrderError, RiskWeaveError, ScoreRefusal, ScoreRefusalError
from consortium.identity.ceremony import (
    Ceremony,
    EpochFacts,
    EpochShare,
    accept_offer,
    check_reveal,
    key_of,
    own_reveal,
    own_share,
    polynomial_of,
    share_from,
)
from consortium.identity.complaints import Complaint
from consortium.identity.dealing import Reveal, share_key
from consortium.identity.epoch_states import EPOCH, EpochEvent, EpochState
from consortium.identity.epoch_steps import (
    Confirm,
    EpochKey,
    EpochRecord,
    EpochStep,
    Step,
    digest_of_steps,
    open_steps,
    sign_key,
    sign_step,
    verify_record,
)
from consortium.identity.shares import combine_secret
from consortium.ids import Digest, PartnerId


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """Keys that this member has signed. Store ``share`` before ``document`` leaves."""

    document: bytes
    """The signed step."""
    key: EpochKey
    share: EpochShare


@dataclass(frozen=True, slots=True, kw_only=True)
class Complained:
    """A dealer's share is bad: the ceremony is over, ``document`` says whose (6.3)."""

    document: bytes
    dealer: PartnerId


class EpochMachine:
    """One ceremony at one member; another attempt is another machine.

    The same machine serves a new key, in which all members deal, and a resharing, in which
    t old holders deal what they hold: the offer says which.
    """

    def __init__(self, facts: EpochFacts) -> None:
        self._facts = facts
        self._state = EpochState.IDLE
        self._ceremony: Ceremony | None = None
        self._commits: dict[PartnerId, EpochStep] = {}
        self._seen = Digest("")
        self._confirmed = b""

    @property
    def state(self) -> EpochState:
        """Where the ceremony is."""
        return self._state

    def on_offer(self, documents: Sequence[bytes]) -> bytes:
        """This member's signed COMMIT.

        Args:
            documents: The offer; for a resharing then the record that is reshared.

        Raises:
            DecodeError, ScoreRefusalError: as ``accept_offer``.
            OutOfOrderError: there was an offer already.
        """
        with self._step(EpochEvent.OFFER):
            self._ceremony = accept_offer(self._facts, documents)
            return self._signed(Step.COMMIT, self._ceremony.commitment)

    def on_commits(self, documents: Sequence[bytes]) -> bytes:
        """This member's signed REVEAL, after all have committed.

        Raises:
            DecodeError: a document is not of its form.
            ScoreRefusalError: not one COMMIT of each member (S02, S03, S11, S13), or another
                in this member's name (S13).
            OutOfOrderError: no offer came before, or COMMITs did.
        """
        with self._step(EpochEvent.COMMITS):
            ceremony = self._running()
            commits = open_steps(documents, ceremony.digest, Step.COMMIT, self._facts.manifest)
            if commits[self._facts.member].body != ceremony.commitment:
                raise ScoreRefusalError(
                    ScoreRefusal.EPOCH, "another COMMIT in this member's name"
                )
            self._commits = commits
            self._seen = digest_of_steps(Label.DKG_COMMITS, ceremony.digest, commits)
            reveal = own_reveal(ceremony, self._seen, self._facts.agreement)
            return self._signed(Step.REVEAL, document_of(reveal))

    def on_reveals(self, documents: Sequence[bytes]) -> Confirmed | Complained:
        """Check every polynomial and share, and sign the keys that they make.

        Raises:
            DecodeError: a document is not of its form.
            ScoreRefusalError: not one REVEAL of each member (S02, S03, S11); a member saw
                other COMMITs (S13); a polynomial is not the one committed to, its proof
                fails or it does not deal the old share (S15); a commitment is no point
                (S14). The text names the member.
            OutOfOrderError: no COMMITs came before, or REVEALs did.
        """
        with self._step(EpochEvent.REVEALS):
            ceremony = self._running()
            reveals = open_steps(documents, ceremony.digest, Step.REVEAL, self._facts.manifest)
            bodies = {name: parse_document(Reveal, made.body) for name, made in reveals.items()}
            for name, body in bodies.items():
                commit = self._commits[name].body
                check_reveal(ceremony, name, body, seen=self._seen, commit=commit)
            polynomials = {
                dealer: polynomial_of(ceremony, dealer, bodies[dealer])
                for dealer in ceremony.offer.dealers
            }
            shares = []
            for dealer, commitments in polynomials.items():
                received = self._share_from(dealer, bodies[dealer], commitments)
                if received is None:
                    return self._complaint(dealer, reveals[dealer])
                shares.append(received)
            return self._confirm(key_of(ceremony, polynomials, self._commits, reveals), shares)

    def on_record(self, record: bytes) -> EpochKey:
        """The keys that are in force from now on: all holders signed what this one did.

        Raises:
            DecodeError, ScoreRefusalError: as ``verify_record``; S13 if it is of other keys
                than this member confirmed.
            OutOfOrderError: this member has confirmed nothing.
        """
        with self._step(EpochEvent.RECORD):
            key = verify_record(record, self._facts.manifest)
            if parse_document(EpochRecord, record).document != self._confirmed:
                raise ScoreRefusalError(
                    ScoreRefusal.EPOCH, "a record of other keys than confirmed here"
                )
            return key

    def refuse(self) -> None:
        """End the ceremony; nothing of this attempt can be signed afterwards."""
        self._state = _after(self._state, EpochEvent.REFUSAL)

    @contextmanager
    def _step(self, event: EpochEvent) -> Iterator[None]:
        """Move on if the block succeeds, end the ceremony if it raises."""
        later = _after(self._state, event)
        try:
            yield
        except RiskWeaveError:
            self.refuse()
            raise
        if self._state is not EpochState.ABORTED:
            self._state = later

    def _running(self) -> Ceremony:
        if self._ceremony is None:  # pragma: no cover - the table
            raise AssertionError("a step without an offer")
        return self._ceremony

    def _signed(self, step: Step, body: bytes) -> bytes:
        facts = self._facts
        return sign_step(
            self._running().digest, facts.member, step, body=body, key=facts.identity
        )

    def _share_from(
        self, dealer: PartnerId, body: Reveal, commitments: Sequence[Point]
    ) -> Scalar | None:
        ceremony = self._running()
        if dealer == ceremony.me.id and ceremony.dealing is not None:
            return own_share(ceremony.dealing, ceremony.me)
        peer = self._facts.manifest.member(dealer)
        return share_from(ceremony, peer, body, commitments, key=self._key_from(dealer))

    def _key_from(self, dealer: PartnerId) -> Secret:
        peer, me = self._facts.manifest.member(dealer), self._facts.member
        agreement = self._facts.agreement
        return share_key(agreement, peer, commits=self._seen, dealer=dealer, receiver=me)

    def _confirm(self, key: EpochKey, shares: Sequence[Scalar]) -> Confirmed:
        self._confirmed = document_of(key)
        body = Confirm(document=self._confirmed, signature=sign_key(key, self._facts.identity))
        share = EpochShare(
            epoch=key.epoch,
            attempt=key.attempt,
            index=self._running().me.index,
            share=Secret(combine_secret(shares)),
        )
        document = self._signed(Step.CONFIRM, document_of(body))
        return Confirmed(document=document, key=key, share=share)

    def _complaint(self, dealer: PartnerId, reveal: EpochStep) -> Complained:
        key = self._key_from(dealer).expose()
        body = Complaint(dealer=dealer, key=key, reveal=document_of(reveal))
        document = self._signed(Step.COMPLAIN, document_of(body))
        self.refuse()
        return Complained(document=document, dealer=dealer)


def _after(state: EpochState, event: EpochEvent) -> EpochState:
    row = EPOCH[state]
    if event not in row:
        raise OutOfOrderError(f"{event.value} in state {state.value}")
    return row[event]
