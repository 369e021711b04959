"""Replay of this node's own uploads: what left is made again and compared (protocol 9.4).

Reads the table, the database and the keys, and writes nothing, so it may run beside the
process that serves. What it says is made of digests and verdicts; no value of a row, of a sum
or of the noise is in a report. Only ``opened`` gives secrets out, to a file on the premises.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np

from consortium.canonical import parse_canonical
from consortium.crypto.keys import AgreementKey, Secret
from consortium.documents import parse_document
from consortium.errors import (
    ConfigurationError,
    DataError,
    DecodeError,
    OutOfOrderError,
    RefusalCode,
    RefusalError,
    RiskWeaveError,
    TransportError,
)
from consortium.features.schema import Schema
from consortium.ids import Digest, PartnerId, RunId
from consortium.ledger.entries import AuditChallenge, AuditResult, from_jcs, verify_entry
from consortium.ledger.merkle import leaf_hash
from consortium.ledger.run_bodies import RoundJoin, RoundUpload, RunCommit
from consortium.manifest import Manifest, parse_manifest
from consortium.messages import Join, SumRequest
from consortium.plan import ReleaseKind, TrainingPlan
from consortium.secagg.context import SumInputs
from consortium.secagg.opened import OpenedRun, line_of, opened_attempt
from consortium.secagg.replay import (
    AllJoins,
    Committed,
    Exact,
    OnRecord,
    Opened,
    Outcome,
    Part,
    Verdict,
    mask_keys,
    replay,
    seed_faults,
)
from consortium.secagg.replay_report import report_digest, report_of
from models.run import ClosedSum, RunSession
from partner_node.entry_book import EntryBook
from partner_node.local_sums import Sums
from partner_node.records import AuditEntry, KeptAttempt, KeptSum, OwnEntry
from partner_node.storage import NodeStore

OpenSums = Callable[[TrainingPlan, Manifest, Schema], Sums]
Key = tuple[ReleaseKind, int, int]
_B = TypeVar("_B", RunCommit, RoundJoin, RoundUpload)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which attempts are replayed; nothing chosen means all of them."""

    rounds: tuple[int, ...] = ()
    """Rounds of gradients."""
    sums: tuple[int, ...] = ()
    """Numbers of closed sums, from 1, as a challenge draws them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Premises:
    """What a replay is made with; all of it stays here."""

    store: NodeStore
    member: PartnerId
    agreement: AgreementKey
    open_sums: OpenSums
    code: Digest
    """Of the software that makes the sums again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One attempt, with what the regulator's program needs. Secret but for ``verdict``."""

    verdict: Verdict
    exact: Exact | None = field(repr=False)
    keys: Mapping[PartnerId, Secret] | None = field(repr=False)


@dataclass(slots=True, kw_only=True)
class _Record:
    """What this node has of a run."""

    opened: Opened
    manifest: Manifest
    schema: Schema
    committed: Committed
    joins: Mapping[Key, RoundJoin]
    uploads: Mapping[Key, RoundUpload]
    attempts: tuple[KeptAttempt, ...]
    sums: tuple[ClosedSum, ...]


class Replay:
    """The replay of one run; see ``verdicts`` and ``report``."""

    def __init__(self, premises: Premises, run: RunId) -> None:
        """Gather what was kept of the run.

        Raises:
            RefusalError: the run was not accepted here (R05), or its window has ended (R21).
            OutOfOrderError: nothing of it was kept: no words left, or an older version ran.
        """
        self._premises = premises
        self._record = _record(premises, run)
        self._sums: Sums | None = None
        self._unreadable = ""

    @property
    def opened(self) -> Opened:
        """The run's secrets."""
        return self._record.opened

    @property
    def seed_fault(self) -> str:
        """Why the seed is not the committed one; empty if it is."""
        return seed_faults(self._record.opened, self._record.committed)

    def replayed(self, chosen: Chosen) -> Iterator[Replayed]:
        """Each chosen attempt in its turn, one in memory at a time."""
        for attempt, number, inputs in _with_inputs(self._record):
            if _is_chosen(attempt.request, number, chosen):
                yield self._replayed(attempt, inputs)

    def opened_run(self) -> OpenedRun:
        """The run as it is opened to the regulator's program. Secret."""
        opened = self.opened
        return OpenedRun(
            run=opened.plan.run,
            member=opened.member,
            manifest=opened.manifest,
            code=self._premises.code,
            seed=opened.seed.expose(),
        )

    def not_kept(self, sums: Sequence[int]) -> tuple[int, ...]:
        """Those of the closed sums for which this node cannot show its upload."""
        record = self._record
        kept = {number for _, number, _ in _with_inputs(record)}
        others = {
            number
            for number, closed in enumerate(record.sums, start=1)
            if record.opened.member not in closed.request.roster
        }
        return tuple(sorted(set(sums) - kept - others))

    def report(
        self, verdicts: Sequence[Verdict], *, not_kept: Sequence[int] = ()
    ) -> dict[str, object]:
        """What may be shown."""
        return report_of(
            self.opened,
            verdicts,
            seed=self.seed_fault,
            not_kept=not_kept,
            code=self._premises.code,
        )

    def _replayed(self, attempt: KeptAttempt, inputs: SumInputs | None) -> Replayed:
        record = self._on_record(attempt)
        if isinstance(record, Verdict):
            return Replayed(verdict=record, exact=None, keys=None)
        keys = self._keys(record)
        exact = None if inputs is None else self._exact(attempt, record, inputs)
        verdict = replay(self.opened, record, exact, keys)
        return Replayed(verdict=verdict, exact=exact, keys=keys)

    def _on_record(self, attempt: KeptAttempt) -> OnRecord | Verdict:
        """The attempt as this node signed it for the log; a verdict if it did not."""
        request, record = attempt.request, self._record
        key = (request.kind, request.round, request.attempt)
        joins = parse_document(AllJoins, attempt.joins).joins
        logged, upload = record.joins.get(key), record.uploads.get(key)
        shown = [_join_facts(one) for one in joins if one.member == record.opened.member]
        if upload is None or logged is None:
            text = "no entry for the log says that this was joined and sent"
            return _unlogged(attempt, Outcome.INCOMPLETE, Part.WORDS, text)
        if shown != [_join_facts(logged)]:
            text = "the JOIN that was made is not the one that was signed for the log"
            return _unlogged(attempt, Outcome.DIFFERS, Part.JOIN, text)
        words = self._premises.store.replays.words(request)
        return OnRecord(
            request=request,
            joins=joins,
            joined=upload.joined,
            words=upload.words,
            kept=None if words is None else np.frombuffer(words, "<u8").astype(np.uint64),
        )

    def _keys(self, record: OnRecord) -> Mapping[PartnerId, Secret] | None:
        manifest, member = self._record.manifest, self._record.opened.member
        agreement = self._premises.agreement
        if agreement.public.hex() != manifest.member(member).agreement:
            return None
        return mask_keys(self.opened, record, manifest, agreement)

    def _exact(self, attempt: KeptAttempt, record: OnRecord, inputs: SumInputs) -> Exact | None:
        """The sum over the rows as they are now; None if they cannot be read."""
        request, opened = attempt.request, self.opened
        try:
            if self._sums is None and not self._unreadable:
                self._sums = self._premises.open_sums(
                    opened.plan, self._record.manifest, self._record.schema
                )
            if self._sums is None:
                return None
            self._sums.prepare(request, inputs)
            found = self._sums.compute(request, inputs, seed=opened.seed, context=record.joined)
        except (TransportError, DataError) as error:
            self._unreadable = type(error).__name__
            return None
        return Exact(
            values=found.values,
            held=found.held,
            same_rows=self._sums.fingerprint(opened.seed) == attempt.rows,
        )


def challenge_of(data: bytes, manifest: Manifest) -> tuple[AuditEntry, AuditChallenge]:
    """A challenge that the regulator of this manifest signed.

    Raises:
        DecodeError: it is none. Fault: who brought it.
        SignatureError: not under the regulator's key.
    """
    entry = from_jcs(data)
    if not isinstance(entry.body, AuditChallenge):
        raise DecodeError(f"{entry.type} is no challenge")
    verify_entry(entry, data, manifest.member(entry.actor))
    leaf = Digest(leaf_hash(data).hex())
    kept = AuditEntry(leaf=leaf, type=entry.type, run=entry.body.run, data=data)
    return kept, entry.body


def waiting_challenge(store: NodeStore, manifest: Manifest) -> bytes:
    """The oldest challenge in this node's mirror of the log that it has not answered.

    Raises:
        OutOfOrderError: there is none.
    """
    said = store.log.of_types("audit.challenge")
    take_entries(store, manifest, [one.data for one in said])
    waiting = store.replays.unanswered()
    if not waiting:
        raise OutOfOrderError("no challenge in the mirror of the log waits for an answer")
    return waiting[0].data


def replay_all(
    made: Replay, chosen: Chosen, *, opened: Path | None = None
) -> dict[str, object]:
    """Replay what is chosen; the report.

    Args:
        made: The run's.
        chosen: Which of its uploads.
        opened: A new file, readable by its owner alone, for the regulator's program; it gets
            the run's secrets.

    Raises:
        ConfigurationError: the file is there, or cannot be written.
    """
    verdicts: list[Verdict] = []
    with _new_file(opened) as out:
        if out is not None:
            out.write(line_of(made.opened_run()))
        for one in made.replayed(chosen):
            verdicts.append(one.verdict)
            if out is not None:
                out.write(line_of(opened_attempt(one.verdict.request, one.exact, one.keys)))
    return made.report(verdicts, not_kept=made.not_kept(chosen.sums))


def sign_answer(
    store: NodeStore, book: EntryBook, asked: AuditEntry, report: Mapping[str, object]
) -> bytes:
    """The signed answer to a challenge, among this node's entries for the log."""
    entry = book.answered(
        asked.leaf,
        asked.run,
        verdict=str(report["judgement"]),
        report=report_digest(report),
    )
    store.replays.take_audit(asked)
    own = OwnEntry(type="audit.answer", run=asked.run, data=entry)
    store.replays.answer(asked.leaf, own)
    return entry


@contextmanager
def _new_file(path: Path | None) -> Iterator[BinaryIO | None]:
    if path is None:
        yield None
        return
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as out:
            yield out
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error


def take_entries(store: NodeStore, manifest: Manifest, entries: Sequence[bytes]) -> None:
    """Take up the challenges and results among entries of the log, wherever they come from."""
    for data in entries:
        try:
            entry = from_jcs(data)
            if not isinstance(entry.body, AuditChallenge | AuditResult):
                continue
            verify_entry(entry, data, manifest.member(entry.actor))
        except RiskWeaveError:
            continue  # not the regulator's word: the mirror's own checks name its fault
        leaf = Digest(leaf_hash(data).hex())
        store.replays.take_audit(
            AuditEntry(leaf=leaf, type=entry.type, run=entry.body.run, data=data)
        )


def _record(premises: Premises, run: RunId) -> _Record:
    store = premises.store
    stored, kept = store.commitment(run), store.replays.run(run)
    if stored is None:
        raise RefusalError(RefusalCode.PLAN, "run was not accepted here")
    plan, seed = stored
    if seed is None:
        raise RefusalError(RefusalCode.SEED_WINDOW, "the window has ended, the seed is erased")
    commits = _bodies(store, run, "run.commit", RunCommit)
    if kept is None or not commits:
        raise OutOfOrderError(f"nothing of run {run} was kept for a replay")
    manifest = parse_manifest(kept.manifest)
    joins = _bodies(store, run, "round.join", RoundJoin)
    return _Record(
        opened=Opened(plan=plan, manifest=manifest.digest, member=premises.member, seed=seed),
        manifest=manifest,
        schema=Schema.from_canonical(parse_canonical(kept.schema)),
        committed=Committed(seed=commits[0].seed_commitment, chain_head=commits[0].chain_head),
        joins={(one.kind, one.round, one.attempt): one for one in joins},
        uploads=_uploads(store, run),
        attempts=store.replays.attempts(run),
        sums=tuple(_closed(one) for one in store.sums(run)),
    )


def _bodies(store: NodeStore, run: RunId, name: str, kind: type[_B]) -> list[_B]:
    """This node's entries of one run and type, as it signed them."""
    bodies = [from_jcs(data).body for data in store.own_entries(run, name)]
    return [body for body in bodies if isinstance(body, kind)]


def _uploads(store: NodeStore, run: RunId) -> Mapping[Key, RoundUpload]:
    """What was signed of the words of each attempt; the journal says which are whose."""
    signed = {one.words: one for one in _bodies(store, run, "round.upload", RoundUpload)}
    return {
        (ReleaseKind(one.kind), one.round, one.attempt): signed[one.sha256]
        for one in store.disclosures()
        if one.run == run and one.sha256 in signed
    }


def _with_inputs(record: _Record) -> Iterator[tuple[KeptAttempt, int, SumInputs | None]]:
    """Each attempt with the number of its sum, and what it was computed from (3.3).

    The run's machine is taken through the published sums, as it was in the run: so the
    weights are not believed but made again. No inputs: the sums before it are not here.
    """
    machine = RunSession(record.opened.plan, record.schema)
    waiting = list(record.attempts)
    for number, closed in enumerate((*record.sums, None), start=1):
        head = machine.state.head
        for attempt in [one for one in waiting if one.request.head == head]:
            due, inputs = machine.request(attempt.request.roster)
            yield attempt, number, inputs if due.inputs == attempt.request.inputs else None
        waiting = [one for one in waiting if one.request.head != head]
        if closed is not None:
            machine.on_sum(closed)
    for attempt in waiting:
        yield attempt, 0, None


def _is_chosen(request: SumRequest, number: int, chosen: Chosen) -> bool:
    if not chosen.rounds and not chosen.sums:
        return True
    gradient = request.kind is ReleaseKind.GRADIENT
    return number in chosen.sums or (gradient and request.round in chosen.rounds)


def _join_facts(join: Join | RoundJoin) -> tuple[Digest, bytes, int, Digest]:
    return join.context, join.ephemeral, join.count, join.link


def _unlogged(attempt: KeptAttempt, outcome: Outcome, part: Part, text: str) -> Verdict:
    nothing = Digest("0" * 64)
    return Verdict(
        request=attempt.request,
        joined=nothing,
        logged=nothing,
        made=None,
        outcome=outcome,
        parts=(part,),
        text=text,
    )


def _closed(kept: KeptSum) -> ClosedSum:
    return ClosedSum(
        request=parse_document(SumRequest, kept.request),
        joined=kept.joined,
        total=np.frombuffer(kept.total, dtype="<i8").astype(np.int64),
    )
