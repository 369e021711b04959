"""The node's half of key ceremonies: an epoch's key is made, or shared anew (6.3, 6.8).

The rules are in ``consortium.identity``; here is what must be on disk before each step leaves,
and what this member says of it in the log.
"""

import asyncio
import logging
from collections.abc import Sequence

from consortium.errors import (
    DecodeError,
    OutOfOrderError,
    RiskWeaveError,
    ScoreRefusal,
    ScoreRefusalError,
)
from consortium.identity.ceremony import EpochFacts, EpochShare, Holding, install
from consortium.identity.epoch import Confirmed, EpochMachine
from consortium.identity.epoch_steps import EpochOffer, read_offer, verify_record
from consortium.ids import PartnerId
from consortium.inquiries import EpochAsk, EpochTell
from consortium.ledger.entries import Entry, sign_entry
from consortium.ledger.epochs import check_entries, step_body
from consortium.manifest import ScoringPolicy
from partner_node.key_shares import StoredShare
from partner_node.pseudonyms import PseudonymPorts

log = logging.getLogger(__name__)


class KeyCeremony:
    """Takes the steps of ceremonies under one manifest, and holds what they have made."""

    def __init__(self, ports: PseudonymPorts) -> None:
        self._ports = ports
        self._policy: ScoringPolicy = ports.manifest.policy.scoring
        self._machine: EpochMachine | None = None
        self._offer: EpochOffer | None = None
        self._lock = asyncio.Lock()
        self._barred: frozenset[PartnerId] = frozenset()
        self._holding = self._installed()

    def bar(self, names: frozenset[PartnerId]) -> None:
        """Begin no ceremony with these any more: they are revoked (protocol 2.7)."""
        self._barred |= names

    @property
    def holding(self) -> Holding | None:
        """The epoch that is installed here."""
        return self._holding

    async def on_epoch(self, ask: EpochAsk) -> EpochTell:
        """This member's next step, or the code of why it takes none."""
        async with self._lock:
            try:
                document = await asyncio.to_thread(self._step, ask)
                entry = self._entry(document) if document else b""
            except RiskWeaveError as error:
                log.warning("key ceremony, %s: %s", ask.step, error)
                code = error.public if isinstance(error, ScoreRefusalError) else error.code
                return EpochTell(step=ask.step, document=b"", code=code)
        return EpochTell(step=ask.step, document=document, code="", entry=entry)

    def _entry(self, document: bytes) -> bytes:
        """What this member says in the log of a step that it has signed (protocol 8.4)."""
        if self._offer is None:
            raise OutOfOrderError("no ceremony was begun here")
        ports = self._ports
        bare = Entry(
            seq_hint=0,
            at=ports.now_ms() // 1000,
            actor=ports.member,
            body=step_body(document, self._offer),
        )
        return sign_entry(bare, ports.identity).to_jcs()

    def _step(self, ask: EpochAsk) -> bytes:
        active = {member.id for member in self._ports.manifest.partners}
        if ask.step != "install" and (out := self._barred & active):
            raise ScoreRefusalError(ScoreRefusal.REQUESTER, f"{min(out)} was revoked")
        if ask.step == "commit":
            return self._begin(ask.documents)
        if ask.step == "install":
            return self._install(ask.documents)
        if self._machine is None:
            raise OutOfOrderError("no ceremony was begun here")
        if ask.step == "reveal":
            return self._machine.on_commits(ask.documents)
        if ask.step != "confirm":
            raise DecodeError(f"unknown step {ask.step!r}")
        made = self._machine.on_reveals(ask.documents)
        if isinstance(made, Confirmed):
            share = made.share
            self._ports.store.shares.keep(
                StoredShare(
                    epoch=share.epoch,
                    attempt=share.attempt,
                    position=share.index,
                    share=share.share,
                    record=None,
                )
            )
        return made.document

    def _begin(self, documents: Sequence[bytes]) -> bytes:
        if not documents:
            raise DecodeError("no offer")
        ports = self._ports
        offer = read_offer(documents[0], ports.manifest)
        self._offer = offer
        secret = ports.store.shares.seed(offer.epoch, offer.attempt, ports.entropy)
        self._machine = EpochMachine(
            EpochFacts(
                manifest=ports.manifest,
                member=ports.member,
                identity=ports.identity,
                agreement=ports.agreement,
                secret=secret,
                holding=self._holding,
            )
        )
        return self._machine.on_offer(documents)

    def _install(self, documents: Sequence[bytes]) -> bytes:
        if not documents:
            raise DecodeError("no record")
        ports, (record, *entries) = self._ports, documents
        # Whoever was shown other steps stands for other keys in the log (protocol 6.3 (4)).
        check_entries(entries, verify_record(record, ports.manifest), ports.manifest)
        for stored in reversed(ports.store.shares.of(self._policy.epoch)):
            try:
                holding = install(record, ports.manifest, _share_of(stored))
            except ScoreRefusalError as error:
                if error.reason is not ScoreRefusal.EPOCH:
                    raise
                continue
            ports.store.shares.install(stored.epoch, stored.attempt, record)
            ports.store.drop_epochs_before(stored.epoch)
            self._holding = holding
            self._machine = None
            log.info("epoch %d is installed, attempt %d", stored.epoch, stored.attempt)
            return b""
        raise ScoreRefusalError(ScoreRefusal.EPOCH, "no share of this record is held here")

    def _installed(self) -> Holding | None:
        if not self._policy.epoch:
            return None
        stored = self._ports.store.shares.installed(self._policy.epoch)
        if stored is None or stored.record is None:
            return None
        try:
            return install(stored.record, self._ports.manifest, _share_of(stored))
        except (ScoreRefusalError, DecodeError) as error:
            # Members changed since: the coordinator will ask for a resharing (6.8).
            log.warning("epoch %d does not serve this manifest: %s", stored.epoch, error)
            return None


def _share_of(stored: StoredShare) -> EpochShare:
    return EpochShare(
        epoch=stored.epoch, attempt=stored.attempt, index=stored.position, share=stored.share
    )
