"""A release candidate from the coordinator's registry to this node's vote.

The document is fetched once, checked against its digest, and kept; the test of it reads this
partner's own table. What leaves is the signed word alone, noted before it is sent.
"""

from dataclasses import dataclass

from consortium.ids import Digest, digest_of
from consortium.messages import Vote
from models.document import ModelDocument, parse_model_document, verify_version
from partner_node import acceptance, ingest
from partner_node.acceptance import BlockResult
from partner_node.keystore import Pin
from partner_node.storage import Disclosure
from partner_node.wiring import Desk


@dataclass(frozen=True, slots=True)
class Verdict:
    """A test's results, and why they break this partner's own rule. Private."""

    results: tuple[BlockResult, ...]
    shortcomings: list[str]


def candidate(desk: Desk, pin: Pin, version: Digest) -> ModelDocument:
    """The model of that version; fetched if this node does not have it yet.

    Raises:
        DigestMismatchError: the document is another one. Fault: the coordinator.
        DecodeError: its parts do not belong together, or it is for another schema.
        TransportError: the coordinator is not reachable.
    """
    store = desk.store()
    data = store.model(version)
    if data is None:
        with desk.door() as coordinator:
            data = coordinator.fetch_model(version).document
        store.keep_model(version, data)
    verify_version(data, version)
    return parse_model_document(data, pin.schema)


def validate(desk: Desk, version: Digest) -> Verdict:
    """Test a version on this partner's own hold-out rows.

    Raises:
        DataError: the table does not fit, or none of its rows is held out.
    """
    pin = desk.completed_pin()
    document = candidate(desk, pin, version)
    plan = document.plan
    table = ingest.load(
        desk.data_source(),
        pin.schema,
        document.bins,
        desk.families(pin),
        holdout=(plan.holdout_salt, plan.holdout_fraction),
    )
    results = acceptance.validate(document, table, desk.config.partner)
    least = desk.config.votes.min_auc
    return Verdict(results, acceptance.shortcomings(results, min_auc=least))


def cast(desk: Desk, version: Digest, *, accept: bool, reason: str) -> str:
    """Vote; returns the version's status after it.

    Raises:
        DigestMismatchError, DecodeError: as ``candidate``; an unsound version gets no vote.
        OutOfOrderError: the version is unknown, or past voting.
    """
    pin = desk.completed_pin()
    candidate(desk, pin, version)
    store = desk.store()
    bare = Vote(
        version=version,
        member=desk.config.partner,
        accept=accept,
        reason=reason,
        number=store.next_vote(version),
        signature=b"",
    )
    vote = acceptance.signed_vote(bare, pin.digest, desk.keys.identity())
    journal = Disclosure(
        kind="vote", size=len(vote.signature), sha256=digest_of(vote.signature)
    )
    store.add_disclosure(journal)
    with desk.door() as coordinator:
        status = coordinator.cast_vote(vote)
    store.add_vote(vote)
    return status
