"""One run on its way into the log: what its members say of each attempt, and how it ended.

Members' entries ride in the answers that they give anyway. They are held until the attempt is
closed, then appended in one order, JOINs, debits, uploads, with the coordinator's own word at
the end, in the transaction that keeps the sum (protocol 8.4, 12.6).
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from consortium.canonical import parse_canonical
from consortium.errors import DecodeError
from consortium.ids import Digest, PartnerId, RunId
from consortium.ledger.claims import statement_digest
from consortium.ledger.entries import Body, ReleaseCandidate, StatementPublished
from consortium.ledger.run_bodies import (
    BudgetDebit,
    PlanProposed,
    RoundAbort,
    RoundJoin,
    RoundSum,
    RoundUpload,
    RunClosed,
    RunCommit,
    SummedUpload,
)
from consortium.manifest import Manifest
from consortium.messages import Join, PlanAccepted, SumRequest, Upload
from consortium.plan import TrainingPlan
from consortium.release import Attempt, Outcome
from consortium.secagg.ring import to_ring
from consortium.secagg.uploads import words_digest
from coordinator.audit_log import MOST_ENTRIES, AuditLog, member_entry
from models.run import ClosedSum

Words = NDArray[np.uint64]

_OF_AN_UPLOAD = 2
WORDS_BYTES = 16 << 20
"""Most that the words of one sum may have to be kept, where nothing else is said."""


class RunRecord:
    """The entries of one run; used by the trainer's thread alone."""

    def __init__(
        self,
        log: AuditLog,
        manifest: Manifest,
        *,
        durably: Callable[[Callable[[], None]], None] = lambda write: write(),
        words_bytes: int = WORDS_BYTES,
    ) -> None:
        """Entries of ``log`` under ``manifest``; ``durably`` writes, or waits for the disk.

        The words of a sum are held while they have at most ``words_bytes`` together.
        """
        self._log = log
        self._durably = durably
        self._manifest = manifest
        self._joins: list[bytes] = []
        self._debits: list[bytes] = []
        self._uploads: list[tuple[PartnerId, Digest, bytes]] = []
        self._words: dict[PartnerId, bytes] = {}
        self._most = words_bytes

    def on_accepted(self, accepted: PlanAccepted, entries: Sequence[bytes]) -> None:
        """Append a member's commitment to the run, and debits that got lost on their way.

        Raises:
            DecodeError, SignatureError: not the entry of this acceptance. Fault: the member.
        """
        if not 1 <= len(entries) <= MOST_ENTRIES:
            raise DecodeError(f"acceptance with {len(entries)} entries")
        body = self._body(entries[0], accepted.member)
        if not isinstance(body, RunCommit) or (
            body.plan,
            body.seed_commitment,
            body.chain_head,
        ) != (accepted.plan, accepted.seed_commitment, accepted.chain_head):
            raise DecodeError(f"{accepted.member} accepts one thing and logs another")
        for data in entries[1:]:
            debit = self._body(data, accepted.member)
            if not isinstance(debit, BudgetDebit) or debit.run != body.run:
                raise DecodeError(f"{accepted.member} logs no debit of this run")
        self._durably(lambda: self._log.append(entries))

    def begin(self) -> None:
        """A new attempt."""
        self._joins, self._debits, self._uploads = [], [], []
        self._words = {}

    def check_join(self, join: Join, request: SumRequest, entries: Sequence[bytes]) -> None:
        """Raise DecodeError or SignatureError unless the one entry is that of this JOIN."""
        if len(entries) != 1:
            raise DecodeError(f"JOIN with {len(entries)} entries")
        expected = RoundJoin(
            run=request.run,
            kind=request.kind,
            round=request.round,
            attempt=request.attempt,
            context=join.context,
            ephemeral=join.ephemeral,
            count=join.count,
            link=join.link,
        )
        if self._body(entries[0], join.member) != expected:
            raise DecodeError(f"{join.member} joins one attempt and logs another")

    def on_join(self, entries: Sequence[bytes]) -> None:
        """Hold the entry of a JOIN that was taken."""
        self._joins += entries

    def check_upload(
        self, upload: Upload, request: SumRequest, entries: Sequence[bytes]
    ) -> None:
        """Raise unless the entries are the debit and the digest of these words."""
        if len(entries) != _OF_AN_UPLOAD:
            raise DecodeError(f"upload with {len(entries)} entries")
        debit, words = (self._body(data, upload.member) for data in entries)
        if words != RoundUpload(joined=upload.context, words=upload.words):
            raise DecodeError(f"{upload.member} uploads one thing and logs another")
        if not isinstance(debit, BudgetDebit) or (
            debit.run,
            debit.kind,
            debit.round,
            debit.attempt,
        ) != (request.run, request.kind, request.round, request.attempt):
            raise DecodeError(f"{upload.member} logs the debit of another attempt")

    def on_upload(
        self, upload: Upload, request: SumRequest, words: Words, entries: Sequence[bytes]
    ) -> None:
        """Hold the entries of words that were taken, and the words if there is room."""
        debit, said = entries
        self._debits.append(debit)
        self._uploads.append((upload.member, upload.words, said))
        if words.nbytes * len(request.roster) <= self._most:
            self._words[upload.member] = words.astype("<u8", copy=False).tobytes()

    def words(self, closed: ClosedSum | None) -> bytes | None:
        """All words of a closed sum in order of its roster; None where they are not held."""
        if closed is None or set(self._words) != set(closed.request.roster):
            return None
        return b"".join(self._words[name] for name in closed.request.roster)

    def closing(
        self, request: SumRequest, attempt: Attempt, closed: ClosedSum | None
    ) -> tuple[bytes, ...]:
        """All entries of the attempt, the coordinator's last."""
        body: Body
        if attempt.outcome is Outcome.SUMMED and closed is not None:
            body = RoundSum(
                request=request,
                joined=closed.joined,
                total=words_digest(to_ring(closed.total)),
                uploads=tuple(
                    SummedUpload(member=name, words=words)
                    for name, words, _ in sorted(self._uploads)
                ),
            )
        else:
            body = RoundAbort(
                request=request,
                missing=attempt.missing,
                reasons=attempt.reasons,
                charged=attempt.charged,
            )
        own: list[bytes] = []
        self._durably(lambda: own.append(self._log.entry(body)))
        uploads = (data for _, _, data in self._uploads)
        return (*self._joins, *self._debits, *uploads, own[-1])

    def _body(self, data: bytes, member: PartnerId) -> Body:
        entry = member_entry(data, self._manifest, member)
        # A database that is away is no fault of the member's: it is waited for.
        self._durably(lambda: self._log.check_hint(entry))
        return entry.body


def proposed(log: AuditLog, plan: TrainingPlan) -> tuple[bytes, ...]:
    """What is said when a run starts."""
    return (log.entry(PlanProposed(plan=plan)),)


def failed(log: AuditLog, run: RunId, attempts: int) -> tuple[bytes, ...]:
    """What is said of a run that fails."""
    closed = RunClosed(run=run, outcome="failed", attempts=attempts, version=None)
    return (log.entry(closed),)


def released(
    log: AuditLog, run: RunId, attempts: int, *, version: Digest, document: bytes
) -> tuple[bytes, ...]:
    """What is said of a run that ends with a candidate: it, and the epsilons it claims."""
    statement, claims = _statement(document)
    digest = statement_digest(statement)
    return tuple(
        log.entry(body)
        for body in (
            RunClosed(run=run, outcome="finished", attempts=attempts, version=version),
            ReleaseCandidate(version=version, run=run, statement=digest),
            StatementPublished(
                version=version, statement=digest, person=claims[0], record=claims[1]
            ),
        )
    )


def _statement(document: bytes) -> tuple[dict[str, object], tuple[str, str]]:
    """A document's privacy statement, and the epsilons of a person and a record in it."""
    plain = parse_canonical(document)
    statement = plain.get("statement") if isinstance(plain, dict) else None
    headline = statement.get("headline") if isinstance(statement, dict) else None
    if not isinstance(statement, dict) or not isinstance(headline, dict):
        raise DecodeError("model document without a privacy statement")
    return statement, (str(headline["person"]), str(headline["record"]))
