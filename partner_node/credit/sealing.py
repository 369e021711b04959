"""Commitments to this partner's decisions, and decisions made again for an audit (9.4.2).

Once a day, or when somebody says so, all decisions since the last batch are put under a Merkle
root; the log has a hiding commitment and a band. Of what the regulator draws the decision is
made again here, from the stored input and rules, and what leaves is digests and words.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from consortium.canonical import Label, hash_with
from consortium.credit.decision import replay
from consortium.credit.facts import DecisionInput
from consortium.crypto.keys import Secret
from consortium.errors import (
    ConfigurationError,
    OutOfOrderError,
    PolicyError,
    RiskWeaveError,
)
from consortium.ids import Digest, PartnerId
from consortium.ledger.bodies import (
    DecisionAnswer,
    DecisionBatch,
    DecisionChallenge,
    band_of,
)
from consortium.ledger.draws import drawn_decisions
from consortium.ledger.entries import from_jcs, verify_entry
from consortium.ledger.merkle import leaf_hash
from consortium.ledger.sealed import (
    LATE_S,
    DecisionReport,
    MadeAgain,
    Sameness,
    batch_commitment,
    sealed_leaf,
    sealed_tree,
)
from consortium.manifest import Manifest
from partner_node.credit import storage_sealed
from partner_node.credit.application import DeskService
from partner_node.credit.storage import Connection, CreditStore, StoredDecision
from partner_node.credit.storage_sealed import SealedBatch, SealedDecision
from partner_node.entry_book import EntryBook
from partner_node.log_store import LogStore
from partner_node.records import OwnEntry

_DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class SealPorts:
    """The surroundings of commitments."""

    store: CreditStore
    log: LogStore
    book: EntryBook
    entropy: Callable[[], Secret]
    """Fresh, for salts."""
    now: Callable[[], int]


class Sealer:
    """Commits to decisions; from any thread and several processes."""

    def __init__(self, ports: SealPorts) -> None:
        self._ports = ports

    def seal_when_due(self) -> int:
        """Commit once a day (UTC) from the first decision on; returns how many were said.

        Raises:
            StorageError: a database cannot be read or written.
        """
        ports = self._ports
        with ports.store.reading() as connection:
            last = storage_sealed.last_batch(connection)
            begun = last is not None or bool(storage_sealed.decisions_after(connection, 0))
        if begun and (last is None or last.at // _DAY_S < ports.now() // _DAY_S):
            self._seal()
        return self.say()

    def seal(self) -> SealedBatch:
        """Commit now to all that is in no batch, be it nothing; raises as above."""
        made = self._seal()
        self.say()
        return made

    def say(self) -> int:
        """Keep entries for the log of batches that have none: a crash came between."""
        ports = self._ports
        with ports.store.reading() as connection:
            found = storage_sealed.batches(connection, above=self._said())
        ports.log.say([self._entry(one) for one in found])
        return len(found)

    def _said(self) -> int:
        """Number of the last batch that was said; -1: none."""
        said = [from_jcs(data).body for data in self._ports.log.said("decision.batch")]
        return max((one.number for one in said if isinstance(one, DecisionBatch)), default=-1)

    def _seal(self) -> SealedBatch:
        ports = self._ports
        with ports.store.reading() as connection:
            last = storage_sealed.last_batch(connection)
            until = 0 if last is None else last.until
            # Row numbers are given under the write lock: below the newest none is missing.
            rows = storage_sealed.decisions_after(connection, until)
        # A restored database may have fewer batches than the log: its numbers go on there.
        number = max(-1 if last is None else last.number, self._said()) + 1
        leaves = tuple(self._leaves(number, rows))
        salt, root = ports.entropy().expose(), sealed_tree(one.leaf for one in leaves).root()
        made = SealedBatch(
            number=number,
            until=rows[-1][0] if rows else until,
            at=ports.now(),
            count=len(leaves),
            salt=salt,
            commitment=batch_commitment(salt, len(leaves), root),
        )
        with ports.store.transaction() as connection:
            newest = storage_sealed.last_batch(connection)
            if newest != last:
                raise OutOfOrderError("another process commits to decisions at this moment")
            storage_sealed.keep(connection, made, leaves)
        return made

    def _leaves(
        self, batch: int, rows: Sequence[tuple[int, bytes, bytes]]
    ) -> Iterator[SealedDecision]:
        for place, (_, decision, inputs) in enumerate(rows):
            salt = self._ports.entropy().expose()
            yield SealedDecision(
                batch=batch,
                place=place,
                decision=hash_with(Label.DECISION, decision),
                salt=salt,
                leaf=sealed_leaf(salt, decision, inputs),
            )

    def _entry(self, made: SealedBatch) -> OwnEntry:
        body = DecisionBatch(
            number=made.number, commitment=made.commitment, decisions=band_of(made.count)
        )
        return OwnEntry(type="decision.batch", data=self._ports.book.signed(body))


# --- challenges -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A challenge of one of this node's batches."""

    leaf: Digest
    body: DecisionChallenge
    batch: DecisionBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a replay came to; ``names`` stay on the premises."""

    report: DecisionReport
    batch: DecisionBatch
    names: tuple[str, ...]
    """Ids of decisions that are not as they were committed to, with what is the matter."""


def waiting(log: LogStore, manifest: Manifest) -> Iterator[Drawn]:
    """Challenges in the mirror that this node has not answered, the oldest first."""
    own = {
        Digest(leaf_hash(data).hex()): from_jcs(data).body
        for data in log.said("decision.batch")
    }
    said = [from_jcs(data).body for data in log.said("decision.answer")]
    answered = {one.challenge for one in said if isinstance(one, DecisionAnswer)}
    for row in log.of_types("decision.challenge"):
        leaf = Digest(leaf_hash(row.data).hex())
        try:
            entry = from_jcs(row.data)
            verify_entry(entry, row.data, manifest.member(entry.actor))
        except RiskWeaveError:
            continue  # not the regulator's word: the mirror's own checks name its fault
        body = entry.body
        batch = own.get(body.batch) if isinstance(body, DecisionChallenge) else None
        if (
            isinstance(body, DecisionChallenge)
            and isinstance(batch, DecisionBatch)
            and leaf not in answered
        ):
            yield Drawn(leaf=leaf, body=body, batch=batch)


def answer_of(service: DeskService, member: PartnerId, code: Digest, drawn: Drawn) -> Answered:
    """Make the drawn decisions again, and look at all others of their batch.

    Args:
        service: The desk over this node's database; it writes nothing.
        member: This partner.
        code: Of the installed software.
        drawn: What the regulator asks for.

    Raises:
        OutOfOrderError: the database has no such batch: it is not the one that was committed.
    """
    with service.ports.store.reading() as connection:
        batch = storage_sealed.batch(connection, drawn.batch.number)
        if batch is None:
            raise OutOfOrderError(f"batch {drawn.batch.number} of decisions is not here")
        return _Batch(service, connection, batch).answered(member, code, drawn)


class _Batch:
    """One batch, as it is stored now."""

    def __init__(
        self, service: DeskService, connection: Connection, batch: SealedBatch
    ) -> None:
        self._service = service
        self._connection = connection
        self._batch = batch
        self._leaves = storage_sealed.leaves_of(connection, batch.number)
        before = storage_sealed.batch(connection, batch.number - 1)
        self._since = 0 if before is None else before.at - LATE_S
        self._tree = sealed_tree(one.leaf for one in self._leaves)

    def answered(self, member: PartnerId, code: Digest, drawn: Drawn) -> Answered:
        places = drawn_decisions(drawn.body.choice, len(self._leaves), drawn.body.places)
        again = tuple(map(self._again, places))
        kept = {place: self._kept(one)[0] for place, one in enumerate(self._leaves)}
        wrong = tuple(
            place
            for place, outcome in kept.items()
            if place not in places and outcome not in {Sameness.EQUAL, Sameness.ERASED}
        )
        added = storage_sealed.unsealed(self._connection, self._batch.until)
        report = DecisionReport(
            member=member,
            challenge=drawn.leaf,
            code=code,
            salt=self._batch.salt,
            count=len(self._leaves),
            root=Digest(self._tree.root().hex()),
            drawn=again,
            elsewhere=wrong,
            added=len(added),
        )
        outcomes = kept | {one.place: one.outcome for one in again}
        names = [
            f"{self._leaves[place].decision} {outcome}"
            for place, outcome in sorted(outcomes.items())
            if outcome is not Sameness.EQUAL
        ]
        names += [f"{one} is in no batch" for one in added]
        return Answered(report=report, batch=drawn.batch, names=tuple(names))

    def _again(self, place: int) -> MadeAgain:
        leaf = self._leaves[place]
        outcome, found = self._kept(leaf)
        made = None
        if found is not None:
            made = sealed_leaf(leaf.salt, found.decision, found.input)
            if outcome is Sameness.EQUAL:
                outcome, made = self._made(leaf, found)
        return MadeAgain(
            place=place,
            committed=leaf.leaf,
            made=made,
            path=tuple(Digest(one.hex()) for one in self._tree.inclusion(place)),
            outcome=outcome,
        )

    def _kept(self, leaf: SealedDecision) -> tuple[Sameness, StoredDecision | None]:
        """Whether what is stored is what was committed to; without making it again."""
        found = storage_sealed.stored(self._connection, leaf)
        if found is None:
            return (Sameness.ERASED if leaf.erased else Sameness.DROPPED), None
        if sealed_leaf(leaf.salt, found.decision, found.input) != leaf.leaf:
            return Sameness.ALTERED, found
        return Sameness.EQUAL, found

    def _made(
        self, leaf: SealedDecision, found: StoredDecision
    ) -> tuple[Sameness, Digest | None]:
        """The rules applied to the stored input again."""
        try:
            inputs = DecisionInput.from_bytes(found.input)
            rules = self._service.rules_of(self._connection, inputs)
            made = replay(found.input, found.decision, rules)
        except PolicyError:  # not in force on its day
            return Sameness.DIFFERS, None
        except ConfigurationError:  # a file of the rules was not kept
            return Sameness.UNMADE, None
        except RiskWeaveError:
            return Sameness.DIFFERS, None
        if inputs.decided_at < self._since:
            return Sameness.BACKDATED, None
        return Sameness.EQUAL, sealed_leaf(leaf.salt, made.to_bytes(), found.input)


def sign_answer(log: LogStore, book: EntryBook, answered: Answered) -> None:
    """Keep the signed answer among this node's entries for the log."""
    report = answered.report
    body = DecisionAnswer(
        challenge=report.challenge, verdict=report.verdict, report=report.digest
    )
    log.say([OwnEntry(type="decision.answer", data=book.signed(body))])
