"""Drives the ceremonies that make an epoch's key, and hands its record out (6.3, 6.8).

The coordinator makes no rule here and holds no secret: it offers, collects one signed step of
each partner, shows all of them to all, and stores what all have signed. It begins when every
partner of the manifest is connected and no record of the manifest's epoch fits its members:
a new key where there is none, a resharing where the members changed. A ceremony that fails
in any way is given up; the next one has a higher attempt.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from consortium.documents import document_of
from consortium.errors import (
    DecodeError,
    RiskWeaveError,
    ScoreRefusalError,
    TransportError,
)
from consortium.identity.epoch_steps import (
    EpochKey,
    EpochOffer,
    Step,
    offer_digest,
    open_step,
    record_of,
    verify_record,
)
from consortium.ids import Digest, PartnerId
from consortium.inquiries import EpochAsk, EpochTell
from consortium.ledger.epochs import step_body
from consortium.manifest import Manifest
from coordinator.audit_log import member_entry
from coordinator.rosters import Lines, Rosters
from coordinator.scoring_storage import EpochEnd, ScoringStore

log = logging.getLogger(__name__)

_STEP_S = 60.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 2.0, 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochStatus:
    """How the epoch of the manifest in force stands."""

    epoch: int = 0
    """0: the manifest asks for none."""
    state: str = "none"
    """none, waiting, commit, reveal, confirm, complete, failed, or lost."""
    detail: str = ""
    holders: tuple[PartnerId, ...] = ()
    """Of the newest complete record."""
    lacking: tuple[PartnerId, ...] = ()
    """Holders whose node said that it cannot use the record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ceremony:
    """What one attempt is about."""

    manifest: Manifest
    offer: EpochOffer
    record: bytes
    """That is reshared; empty for a new key."""
    entries: list[bytes] = field(default_factory=list)
    """That go into the log with its end."""

    @property
    def members(self) -> tuple[PartnerId, ...]:
        return tuple(member.id for member in self.manifest.partners)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """The newest complete record of the manifest's epoch, verified under the manifest."""

    manifest: Digest
    key: EpochKey | None
    record: bytes
    entries: tuple[bytes, ...] = ()
    """By which its holders stand for it in the log."""


@dataclass(eq=False, slots=True)
class _Asking:
    """One step that was asked of all members."""

    number: int
    step: Step
    ceremony: _Ceremony
    done: "asyncio.Future[None]"
    documents: dict[PartnerId, bytes] = field(default_factory=dict)
    entries: dict[PartnerId, bytes] = field(default_factory=dict)
    """What each member says of its step in the log."""

    def awaits(self, partner: PartnerId, number: int) -> bool:
        asked = self.number == number and partner in self.ceremony.members
        return asked and not self.done.done() and partner not in self.documents

    def fail(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(TransportError(reason))


class PseudonymEpochs:
    """The epoch of the manifest in force. Lives in the loop."""

    def __init__(
        self,
        lines: Lines,
        rosters: Rosters,
        store: ScoringStore,
        *,
        now: Callable[[], int],
        append: Callable[[Sequence[bytes]], None],
    ) -> None:
        """Take the streams, the database, and what appends members' entries to the log."""
        self._append = append
        self._lines = lines
        self._rosters = rosters
        self._store = store
        self._now = now
        self._looked = asyncio.Event()
        self._numbers = itertools.count(1)
        self._asking: _Asking | None = None
        self._installing: dict[PartnerId, int] = {}
        self._known: _Known | None = None
        self._fresh: set[PartnerId] = set()
        """Who has not been handed the record since its stream came up."""
        self._wait_s = _FIRST_WAIT_S
        self._not_before = 0.0
        self.status = EpochStatus()
        """Replaced as a whole: may be read from any thread."""
        rosters.on_look = self._looked.set

    # --- the streams --------------------------------------------------------------------------

    def on_up(self, partner: PartnerId) -> None:
        """It will be handed the record, or a ceremony can begin."""
        self._fresh.add(partner)

    def on_down(self, partner: PartnerId) -> None:
        """A ceremony without one of its members is over."""
        self._fresh.discard(partner)
        self._installing.pop(partner, None)
        if self._asking is not None and partner in self._asking.ceremony.members:
            self._asking.fail(f"{partner} left")

    def on_tell(self, partner: PartnerId, tell: EpochTell, number: int) -> bool:
        """A member's step, on its own stream; False if nobody waits for it."""
        asking = self._asking
        if self._installing.get(partner) == number:
            self._on_installed(partner, tell)
        elif asking is None or not asking.awaits(partner, number):
            return False
        elif tell.code:
            asking.fail(f"{partner} refuses to {asking.step}: {tell.code}")
        else:
            self._on_step(asking, partner, tell)
        return True

    def _on_step(self, asking: _Asking, partner: PartnerId, tell: EpochTell) -> None:
        document = tell.document
        digest = offer_digest(asking.ceremony.offer)
        manifest = asking.ceremony.manifest
        try:
            made = open_step(document, digest, asking.step, manifest)
        except (DecodeError, ScoreRefusalError) as error:
            if asking.step is Step.CONFIRM and _complains(document, digest, manifest):
                asking.documents[partner] = document
                with suppress(RiskWeaveError):
                    asking.entries[partner] = _entry_of(tell, asking.ceremony, partner)
                asking.fail(f"{partner} complains of a share")
            else:
                asking.fail(f"{partner}: {error}")
            return
        if made.member != partner:
            asking.fail(f"{partner} sent a step of {made.member}")
            return
        try:
            asking.entries[partner] = _entry_of(tell, asking.ceremony, partner)
        except RiskWeaveError as error:
            asking.fail(f"{partner}: {error}")
            return
        asking.documents[partner] = document
        if len(asking.documents) == len(asking.ceremony.members) and not asking.done.done():
            asking.done.set_result(None)

    def _on_installed(self, partner: PartnerId, tell: EpochTell) -> None:
        del self._installing[partner]
        lacking = set(self.status.lacking) - {partner}
        if tell.code:
            lacking.add(partner)
            log.warning("%s cannot use epoch %d: %s", partner, self.status.epoch, tell.code)
        self.status = replace(self.status, lacking=tuple(sorted(lacking)))

    # --- driving ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look after the epoch each time that manifest and streams were looked at."""
        while True:
            await self._looked.wait()
            self._looked.clear()
            manifest = self._rosters.manifest
            try:
                if manifest is None or not manifest.policy.scoring.epoch:
                    self.status = EpochStatus()
                else:
                    await self._look(manifest)
            except RiskWeaveError as error:
                log.warning("epoch: %s", error)
                self.status = replace(self.status, state="failed", detail=str(error))

    async def _look(self, manifest: Manifest) -> None:
        epoch = manifest.policy.scoring.epoch
        if self._known is None or self._known.manifest != manifest.digest:
            self._known = await asyncio.to_thread(self._read, manifest)
        key = self._known.key
        wanted = {(member.id, member.index) for member in manifest.partners}
        if key is not None and set(key.members) == wanted:
            self._complete(key, self._known)
            return
        record = self._known.record
        holders = () if key is None else tuple(name for name, _ in key.members)
        status = EpochStatus(epoch=epoch, state="waiting", holders=holders)
        missing = sorted(name for name, _ in wanted if name not in self._rosters.up)
        dealers = _dealers(key, manifest)
        if not dealers:
            detail = "too few of the holders are left to reshare the key; set a new epoch"
            self.status = replace(status, state="lost", detail=detail)
        elif missing:
            self.status = replace(status, detail=f"for {', '.join(missing)}")
        elif asyncio.get_running_loop().time() >= self._not_before:
            self.status = status
            previous = None if key is None else key.digest
            await self._attempt(manifest, dealers, previous, record)

    def _read(self, manifest: Manifest) -> "_Known":
        row = self._store.epoch_record(manifest.policy.scoring.epoch)
        if row is None:
            return _Known(manifest=manifest.digest, key=None, record=b"")
        key = verify_record(row.document, manifest)
        entries = self._store.epoch_entries(row.epoch, row.attempt)
        return _Known(manifest=manifest.digest, key=key, record=row.document, entries=entries)

    def _complete(self, key: EpochKey, known_epoch: "_Known") -> None:
        if self.status.state != "complete" or self.status.epoch != key.epoch:
            holders = tuple(name for name, _ in key.members)
            self.status = EpochStatus(epoch=key.epoch, state="complete", holders=holders)
            self._fresh = set(self._rosters.up)
        known = {name for name, _ in key.members}
        asked, self._fresh = self._fresh & known, set()
        if not asked:
            return
        number = next(self._numbers)
        for partner in sorted(asked):
            # Each has a stream of its own to say that it cannot; nobody waits for that.
            self._installing[partner] = number
        ask = EpochAsk(
            step=Step.INSTALL.value, documents=(known_epoch.record, *known_epoch.entries)
        )
        self._lines.spread(sorted(asked), ask, number)

    async def _attempt(
        self,
        manifest: Manifest,
        dealers: tuple[PartnerId, ...],
        previous: Digest | None,
        record: bytes,
    ) -> None:
        epoch = manifest.policy.scoring.epoch
        attempt = await asyncio.to_thread(
            self._store.begin_epoch, epoch, manifest.digest, self._now()
        )
        offer = EpochOffer(
            manifest=manifest.digest,
            epoch=epoch,
            attempt=attempt,
            dealers=dealers,
            previous=previous,
        )
        kind = "a new key" if previous is None else "a resharing"
        log.info("epoch %d, attempt %d: %s begins", epoch, attempt, kind)
        ceremony = _Ceremony(manifest=manifest, offer=offer, record=record)
        try:
            made = await self._ceremony(ceremony)
        except RiskWeaveError as error:
            await self._give_up(ceremony, str(error))
        else:
            # Stored before anybody installs it: what is in use is never forgotten.
            await asyncio.to_thread(self._end, ceremony, "complete", "", made)
            self._wait_s = _FIRST_WAIT_S
            log.info("epoch %d, attempt %d: complete", epoch, attempt)
            self._looked.set()
        finally:
            self._asking = self._known = None

    async def _ceremony(self, ceremony: _Ceremony) -> bytes:
        """All steps in their order; returns the record that all members have signed."""
        begin = [document_of(ceremony.offer)] + [ceremony.record] * bool(ceremony.record)
        commits = await self._gather(ceremony, Step.COMMIT, begin)
        # In the log before anybody reveals: nobody can commit to what it has seen of others.
        await asyncio.to_thread(self._append, self._said())
        reveals = await self._gather(ceremony, Step.REVEAL, commits)
        await asyncio.to_thread(self._append, self._said())
        confirms = await self._gather(ceremony, Step.CONFIRM, reveals)
        ceremony.entries.extend(self._said())
        return await asyncio.to_thread(record_of, confirms, ceremony.offer, ceremony.manifest)

    def _said(self) -> list[bytes]:
        """What members say of the step that was asked last, by their names."""
        said = {} if self._asking is None else self._asking.entries
        return [said[name] for name in sorted(said)]

    async def _gather(
        self, ceremony: _Ceremony, step: Step, documents: Sequence[bytes]
    ) -> list[bytes]:
        """Ask all members for one step and return theirs, in order of their names."""
        self.status = replace(
            self.status, state=step.value, detail=f"attempt {ceremony.offer.attempt}"
        )
        done = asyncio.get_running_loop().create_future()
        asking = _Asking(next(self._numbers), step, ceremony, done)
        self._asking = asking
        ask = EpochAsk(step=step.value, documents=tuple(documents))
        missed = self._lines.spread(ceremony.members, ask, asking.number)
        if missed:
            asking.fail(f"{missed[0]} left")
        try:
            async with asyncio.timeout(_STEP_S):
                await done
        except TimeoutError as error:
            silent = sorted(set(ceremony.members) - set(asking.documents))
            raise TransportError(f"no {step} of {', '.join(silent)}") from error
        return [asking.documents[name] for name in ceremony.members]

    async def _give_up(self, ceremony: _Ceremony, reason: str) -> None:
        offer = ceremony.offer
        log.warning("epoch %d, attempt %d failed: %s", offer.epoch, offer.attempt, reason)
        self.status = replace(self.status, state="failed", detail=reason)
        self._not_before = asyncio.get_running_loop().time() + self._wait_s
        self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)
        complaint = b""
        if self._asking is not None:
            complaint = _complaint(self._asking.documents, ceremony)
        status = "complaint" if complaint else "failed"
        ceremony.entries[:] = self._said() if complaint else []
        await asyncio.to_thread(self._end, ceremony, status, reason, complaint)

    def _end(self, ceremony: _Ceremony, status: str, detail: str, document: bytes) -> None:
        offer = ceremony.offer
        self._store.end_epoch(
            offer.epoch,
            offer.attempt,
            EpochEnd(
                status=status,
                detail=detail,
                document=document,
                entries=tuple(ceremony.entries),
            ),
        )


def _dealers(key: EpochKey | None, manifest: Manifest) -> tuple[PartnerId, ...]:
    """All partners for a new key; the first t holders that are still active for a resharing."""
    active = {member.id: member.index for member in manifest.partners}
    if key is None:
        return tuple(sorted(active))
    left = [name for name, index in key.members if active.get(name) == index]
    return tuple(left[: key.threshold]) if len(left) >= key.threshold else ()


def _entry_of(tell: EpochTell, ceremony: _Ceremony, partner: PartnerId) -> bytes:
    """The member's entry of its step; DecodeError or SignatureError if it is not that."""
    entry = member_entry(tell.entry, ceremony.manifest, partner)
    if entry.body != step_body(tell.document, ceremony.offer):
        raise DecodeError(f"{partner} takes one step and logs another")
    return tell.entry


def _complains(document: bytes, offer: Digest, manifest: Manifest) -> bool:
    with suppress(DecodeError, ScoreRefusalError):
        open_step(document, offer, Step.COMPLAIN, manifest)
        return True
    return False


def _complaint(documents: Mapping[PartnerId, bytes], ceremony: _Ceremony) -> bytes:
    digest = offer_digest(ceremony.offer)
    for document in documents.values():
        if _complains(document, digest, ceremony.manifest):
            return document
    return b""
