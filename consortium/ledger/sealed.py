"""Decisions under a commitment, and the report on those that were made again (9.4.2).

A batch is the Merkle tree over all decisions of a partner since its last batch. The log has
``H(salt ‖ count ‖ root)`` and a band, so it tells neither how many they are nor what they are;
the report opens count and root to the regulator, and of each drawn decision a salted digest
with its path. No value, no identifier and no salt of a decision is in a report.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from consortium.canonical import Label, hash_with, u64
from consortium.documents import document_of, parse_document
from consortium.errors import DecodeError, IdentifierError, ProofError
from consortium.ids import Digest, PartnerId, parse_digest, parse_partner_id
from consortium.ledger.bodies import DecisionBatch, DecisionChallenge, band_of
from consortium.ledger.draws import drawn_decisions
from consortium.ledger.merkle import Tree, leaf_hash, verify_inclusion

SALT_BYTES = 32
LATE_S = 300
"""A decision that says it was made so much before the last batch was not in it: backdated."""


class Sameness(StrEnum):
    """What came of one decision."""

    EQUAL = "equal"
    ALTERED = "altered"
    """What is stored is not what was committed to."""
    DIFFERS = "differs"
    """What was committed to is not what the rules make of its input."""
    DROPPED = "dropped"
    """It is not there any more."""
    BACKDATED = "backdated"
    """It says that it was made before the batch that it is not in."""
    ERASED = "erased"
    """Its time was over, and it was erased by policy."""
    UNMADE = "unmade"
    """Rules that it names are not here."""


_INCOMPLETE = frozenset({Sameness.ERASED, Sameness.UNMADE})


def sealed_leaf(salt: bytes, decision: bytes, inputs: bytes) -> Digest:
    """The salted digest of one decision.

    Args:
        salt: 32 bytes of this decision alone. Secret.
        decision: Its canonical bytes. Private.
        inputs: Those of what it was made from. Private.
    """
    parts = hash_with(Label.DECISION, decision), hash_with(Label.DECISION_INPUT, inputs)
    return hash_with(Label.SEALED_DECISION, salt, *map(bytes.fromhex, parts))


def sealed_tree(leaves: Iterable[Digest]) -> Tree:
    """The tree of a batch, over salted digests in the order of the decisions."""
    return Tree(leaf_hash(bytes.fromhex(one)) for one in leaves)


def batch_commitment(salt: bytes, count: int, root: bytes) -> Digest:
    """What the log has of a batch; the salt hides how many there are."""
    return hash_with(Label.SEALED_BATCH, salt, u64(count), root)


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeAgain:
    """One drawn decision."""

    place: int
    """In its batch, from 0."""
    committed: Digest
    """Its salted digest, as it is under the root."""
    made: Digest | None
    """That of what came out now; None: nothing did."""
    path: tuple[Digest, ...]
    outcome: Sameness


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionReport:
    """The answer to one challenge; for the regulator, and by its digest for the log."""

    member: PartnerId
    challenge: Digest
    code: Digest
    """Of the installation that made the decisions again."""
    salt: bytes = field(repr=False)
    """Of the batch's commitment, not of a decision."""
    count: int
    root: Digest
    drawn: tuple[MadeAgain, ...]
    elsewhere: tuple[int, ...]
    """Places that were not drawn, but whose stored bytes are not those committed to, sorted."""
    added: int
    """Decisions that stand among those that were committed to and are in no batch."""

    @property
    def digest(self) -> Digest:
        """What entries call it by."""
        return hash_with(Label.DECISION_REPORT, self.to_bytes())

    @property
    def verdict(self) -> str:
        """passed, failed or incomplete: it follows from what is in it."""
        outcomes = {one.outcome for one in self.drawn}
        if self.elsewhere or self.added or outcomes - _INCOMPLETE - {Sameness.EQUAL}:
            return "failed"
        return "incomplete" if outcomes & _INCOMPLETE else "passed"

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return document_of(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> "DecisionReport":
        """The report of these bytes; DecodeError if they are none. Fault: the partner."""
        report = parse_document(cls, data)
        try:
            parse_partner_id(report.member)
            for one in report.drawn:
                names = (one.committed, *one.path, *(() if one.made is None else (one.made,)))
                for name in names:
                    parse_digest(name)
            for name in (report.challenge, report.code, report.root):
                parse_digest(name)
        except IdentifierError as error:
            raise DecodeError(f"report on decisions: {error}") from error
        if len(report.salt) != SALT_BYTES or report.count < 0 or report.added < 0:
            raise DecodeError("report on decisions: not the opening of a batch")
        return report


def faults_of(
    report: DecisionReport, batch: DecisionBatch, challenge: DecisionChallenge
) -> tuple[str, ...]:
    """What of a report does not follow from the log; nothing if it may be believed.

    Args:
        report: As the partner handed it over.
        batch: What it committed to.
        challenge: What was drawn of it.
    """
    root = bytes.fromhex(report.root)
    found = []
    if batch_commitment(report.salt, report.count, root) != batch.commitment:
        found.append("count and root are not those that were committed to")
    if band_of(report.count) != batch.decisions:
        found.append(f"the band of the batch is not that of its {report.count} decisions")
    drawn = drawn_decisions(challenge.choice, report.count, challenge.places)
    if tuple(one.place for one in report.drawn) != drawn:
        found.append("others are shown than were drawn")
    found += [text for one in report.drawn if (text := _fault(one, report.count, root))]
    return tuple(found)


def _fault(one: MadeAgain, count: int, root: bytes) -> str:
    leaf, path = leaf_hash(bytes.fromhex(one.committed)), tuple(map(bytes.fromhex, one.path))
    try:
        verify_inclusion(leaf, one.place, count, path=path, root=root)
    except ProofError:
        return f"decision {one.place} is not under the root of its batch"
    if (one.outcome is Sameness.EQUAL) != (one.made == one.committed):
        return f"decision {one.place}: the word on it is not that of its digests"
    return ""


def lines_of(report: DecisionReport, batch: DecisionBatch) -> Sequence[str]:
    """A report as text; a decision that is not equal is named by batch and place."""
    name = f"{report.member}, batch {batch.number}"
    found = [f"{name}: {len(report.drawn)} decisions drawn: {report.verdict}"]
    found += [
        f"  decision {batch.number}.{one.place} {one.outcome}"
        for one in report.drawn
        if one.outcome is not Sameness.EQUAL
    ]
    found += [
        f"  decision {batch.number}.{place} not as committed to, and not drawn"
        for place in report.elsewhere
    ]
    if report.added:
        found.append(f"  {report.added} decisions stand among them and are in no batch")
    return [*found, f"report {report.digest}"]
