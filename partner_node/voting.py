"""A release candidate from the coordinator's registry to this node's vote.

The document is fetched once, checked against its digest, and kept; the test of it reads this
partner's own table. What leaves is the signed word alone, noted before it is sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from consortium.errors import ConfigurationError
from consortium.ids import Digest, digest_of
from consortium.messages import Vote
from models.document import Document, HeadDocument, ModelDocument, parse_any, verify_version
from partner_node import acceptance, ingest
from partner_node.acceptance import BlockResult
from partner_node.keystore import Pin
from partner_node.records import Disclosure, OwnEntry
from partner_node.study import SOCKET, rows_of_socket
from partner_node.wiring import Desk


@dataclass(frozen=True, slots=True)
class Verdict:
    """A test's results, and why they break this partner's own rule. Private."""

    results: tuple[BlockResult, ...]
    shortcomings: list[str]


def candidate(desk: Desk, pin: Pin, version: Digest) -> Document:
    """The model or head of that version; fetched if this node does not have it yet.

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
    return parse_any(data, pin.schema)


def witnesses(desk: Desk, version: Digest) -> Mapping[str, str]:
    """What all accountants say of the version's privacy statement, Opacus among them (4.7).

    Raises:
        TrustError: they disagree.
        ConfigurationError: Opacus is not installed here.
    """
    try:
        from models.opacus_witness import witnesses_of  # noqa: PLC0415 - loads torch
    except ImportError as error:
        text = f"Opacus is not installed here ({error.name}): pip install riskweave[networks]"
        raise ConfigurationError(text) from error

    return witnesses_of(candidate(desk, desk.completed_pin(), version).statement)


def validate(desk: Desk, version: Digest) -> Verdict:
    """Test a version on this partner's own hold-out rows.

    A head is tested by its askers, on the joint rows that the serving process has; any other
    partner has nothing to test it on, and no result.

    Raises:
        DataError: the table does not fit, or none of its rows is held out.
        TransportError: a head, and nobody serves this node.
    """
    pin = desk.completed_pin()
    document = candidate(desk, pin, version)
    least = desk.config.votes.min_auc
    if isinstance(document, HeadDocument):
        results = _head_results(desk, document)
    else:
        results = _model_results(desk, pin, document)
    return Verdict(results, acceptance.shortcomings(results, min_auc=least))


def _head_results(desk: Desk, document: HeadDocument) -> tuple[BlockResult, ...]:
    if desk.config.partner not in document.plan.blocks[0].holders:
        return ()
    rows = rows_of_socket(desk.config.directory / SOCKET, document.base)
    return acceptance.validate_head(document, rows)


def _model_results(desk: Desk, pin: Pin, document: ModelDocument) -> tuple[BlockResult, ...]:
    plan = document.plan
    table = ingest.load(
        desk.data_source(),
        pin.schema,
        document.bins,
        desk.families(pin),
        holdout=(plan.holdout_salt, plan.holdout_fraction),
    )
    return acceptance.validate(document, table, desk.config.partner)


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
    entry = desk.book().voted(vote, pin.digest)
    store.add_disclosure(journal, [OwnEntry(type="release.vote", data=entry)])
    with desk.door() as coordinator:
        status = coordinator.cast_vote(vote, entry)
    store.add_vote(vote)
    return status
