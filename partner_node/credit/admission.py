"""Growth caps and the ramp at this partner: read, reserved and written in one transaction.

The value and its laws are ``consortium.credit.admission``; here is who keeps it. Each grant
remembers the turn of the ramp in which it was made: first payments of an earlier turn say
nothing about this one. A halted ramp runs again by an order that this node signed, and every
order stays on record with the state that it changed (credit 4.18).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from consortium.canonical import Label, hash_with
from consortium.credit import admission as ramp
from consortium.credit.admission import Admission, Event, Phase
from consortium.credit.policy import Policy
from consortium.credit.terms import GRADES, Grade
from consortium.crypto.keys import IdentityKey, verify_signature
from consortium.documents import document_of, parse_document
from consortium.errors import DomainError, OutOfOrderError
from consortium.ids import Digest
from partner_node.credit import storage, storage_path
from partner_node.credit.storage import Connection, Grant

ORDERED = (Event.RESUME, Event.END, Event.REVIEWED)
"""What a person decides; all else follows from counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The state as the database holds it, and the turn of the ramp that it is in."""

    state: Admission
    turn: int
    """Rises whenever counts start again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A decision about the ramp, as it is signed."""

    event: Event
    role: str
    """Of who decided; no name."""
    reason: str
    """A code of the partner's own."""
    on: date
    before: Digest
    """Of the state that it is about: an order cannot be used twice."""

    def to_bytes(self) -> bytes:
        """Canonical JSON (protocol 0.5)."""
        return document_of(self)


@dataclass(frozen=True, slots=True)
class SignedOrder:
    """An order and this node's signature over it."""

    document: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Whose signature an order must have, and when it is carried out."""

    public: bytes
    at: int


def load(connection: Connection, day: date) -> Kept:
    """The state of a day; a new ramp at its first stage if there is none yet."""
    row = storage.admission_row(connection)
    if row is None:
        return Kept(state=ramp.start(day), turn=0)
    return Kept(state=ramp.at(row[0], day), turn=row[1])


def save(connection: Connection, kept: Kept) -> None:
    """Keep the state; within the transaction in which it was loaded."""
    storage.keep_admission(connection, kept.state, kept.turn)


def digest_of(state: Admission) -> Digest:
    """Under which an order names a state."""
    return hash_with(Label.ADMISSION, state.to_bytes())


# --- grants -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Granting:
    """What is granted in which grade, for which decision."""

    decision: str
    grade: Grade
    amount: int


def grant(kept: Kept, policy: Policy, granted: Granting) -> Kept:
    """Reserve for an approval; DomainError if it is more than the week's cap leaves.

    Whoever keeps the state then notes what was granted in it, too.
    """
    return replace(kept, state=ramp.reserve(kept.state, policy, granted.grade, granted.amount))


def grant_beyond(connection: Connection, kept: Kept, granted: Granting) -> Kept:
    """Count what an officer grants, which no cap refuses: it leaves less for the others.

    A first payment that was counted is not counted again with it. What is lent under a
    contract is counted already; no sheet can be signed under it again.
    """
    if storage_path.contract_of(connection, granted.decision) is not None:
        return kept
    used = list(kept.state.used)
    used[GRADES.index(granted.grade)] += granted.amount
    after = replace(kept, state=replace(kept.state, used=tuple(used)))
    before = storage.grant_of(connection, granted.decision)
    note(connection, after, [granted], bad=None if before is None else before.bad)
    return after


def give_back(connection: Connection, kept: Kept, decision: str) -> Kept:
    """Release what a decision reserved, if it did and its week is not over.

    What a contract was signed about is lent, whatever an officer says of it later.
    """
    found = storage.grant_of(connection, decision)
    if found is None or found.released:
        return kept
    if storage_path.contract_of(connection, decision) is not None:
        return kept
    storage.keep_grants(connection, [replace(found, released=True)])
    if found.week != kept.state.week.isoformat():
        return kept
    return replace(kept, state=ramp.release(kept.state, Grade(found.grade), found.amount))


def note(
    connection: Connection,
    kept: Kept,
    granted: Sequence[Granting],
    *,
    bad: bool | None = None,
) -> None:
    """Keep what was granted in the week and turn of a state.

    ``bad``: what became of the first payment, if it was counted already.
    """
    week = kept.state.week.isoformat()
    grants = [
        Grant(
            decision=one.decision,
            grade=one.grade,
            amount=one.amount,
            week=week,
            turn=kept.turn,
            released=False,
            bad=bad,
        )
        for one in granted
    ]
    storage.keep_grants(connection, grants)


# --- what became of them ----------------------------------------------------------------------


def first_payments(
    connection: Connection, kept: Kept, policy: Policy, became: Mapping[str, bool]
) -> Kept:
    """Take up first payments that fell due: decision -> whether it was 30 days late (FPD30).

    One look at the totals of the ramp's stage (credit 4.17). Each decision counts once, and
    only in the turn in which it was granted.

    Raises:
        DomainError: a decision that granted nothing.
    """
    good = bad = 0
    for decision, late in became.items():
        found = storage.grant_of(connection, decision)
        if found is None or found.released:
            raise DomainError("first payments: a decision that granted nothing")
        if found.bad is None:
            storage.keep_grants(connection, [replace(found, bad=late)])
            good += found.turn == kept.turn and not late
            bad += found.turn == kept.turn and late
    return _turned(kept, ramp.observe(kept.state, policy, good, bad))


def _turned(kept: Kept, state: Admission) -> Kept:
    """A state after an event; its counts are those of a new turn where they start again."""
    moved = (state.phase, state.stage) != (kept.state.phase, kept.state.stage)
    again = moved and state.phase in {Phase.RUNNING, Phase.OPEN}
    return Kept(state=state, turn=kept.turn + again)


# --- orders -----------------------------------------------------------------------------------


def sign(order: Order, key: IdentityKey) -> SignedOrder:
    """The order under this node's identity."""
    document = order.to_bytes()
    return SignedOrder(document, key.sign(Label.ADMISSION_ORDER, document))


def obey(
    connection: Connection,
    kept: Kept,
    policy: Policy,
    signed: SignedOrder,
    *,
    by: Signer,
) -> Kept:
    """Carry out an order and keep it with its signature.

    Raises:
        SignatureError: not signed by this node.
        OutOfOrderError: it is about another state, or its event does not follow this one.
        DomainError: an event that counts decide, not persons.
    """
    verify_signature(by.public, Label.ADMISSION_ORDER, signed.document, signed.signature)
    order = parse_document(Order, signed.document)
    if order.event not in ORDERED:
        raise DomainError(f"{order.event}: not what a person decides")
    if order.before != digest_of(kept.state):
        raise OutOfOrderError("the ramp has moved since this order was made")
    after = _turned(kept, ramp.apply(kept.state, order.event, policy))
    storage.keep_order(connection, signed.document, signed.signature, by.at)
    return after
