"""Key ceremonies in the log: each member's own words, and whether they agree (6.3, 8.7 (20)).

A member logs every step that it takes, and stands with an entry of its own for the keys that
came out and for the transcript that it saw. A coordinator that shows members different steps
gets entries that differ, and nobody installs the key.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from consortium.canonical import Label, hash_with
from consortium.documents import parse_document
from consortium.errors import (
    DecodeError,
    RiskWeaveError,
    ScoreRefusal,
    ScoreRefusalError,
    SignatureError,
)
from consortium.identity.epoch_steps import (
    Confirm,
    EpochKey,
    EpochOffer,
    EpochStep,
    Step,
    offer_digest,
    verify_record,
)
from consortium.ids import Digest, PartnerId
from consortium.ledger.bodies import DkgCommit, DkgComplaint, DkgReveal, OprfEpoch, OprfReshare
from consortium.ledger.entries import from_jcs, verify_entry
from consortium.ledger.facts import Timeline
from consortium.ledger.findings import Check, Findings
from consortium.manifest import Manifest

StepBody = DkgCommit | DkgReveal | DkgComplaint | OprfEpoch | OprfReshare
KeyBody = OprfEpoch | OprfReshare


def step_body(document: bytes, offer: EpochOffer) -> StepBody:
    """What a member logs of its own signed step.

    Raises:
        DecodeError: not the bytes of a step, or of one that is not logged.
    """
    made = parse_document(EpochStep, document)
    digest = offer_digest(offer)
    if made.step is Step.CONFIRM:
        body = parse_document(Confirm, made.body)
        return key_body(parse_document(EpochKey, body.document), digest)
    kinds: dict[Step, type[DkgCommit | DkgReveal | DkgComplaint]] = {
        Step.COMMIT: DkgCommit,
        Step.REVEAL: DkgReveal,
        Step.COMPLAIN: DkgComplaint,
    }
    if made.step not in kinds:
        raise DecodeError(f"step {made.step} is not logged")
    return kinds[made.step](
        offer=digest,
        epoch=offer.epoch,
        attempt=offer.attempt,
        step=hash_with(Label.DKG_LOGGED, document),
    )


def key_body(key: EpochKey, offer: Digest) -> KeyBody:
    """What a member logs when it has confirmed these keys."""
    if key.previous is None:
        return OprfEpoch(
            offer=offer,
            epoch=key.epoch,
            attempt=key.attempt,
            threshold=key.threshold,
            group_key=key.group_key,
            transcript=key.transcript,
            key=key.digest,
        )
    return OprfReshare(
        offer=offer,
        epoch=key.epoch,
        attempt=key.attempt,
        threshold=key.threshold,
        group_key=key.group_key,
        transcript=key.transcript,
        key=key.digest,
        previous=key.previous,
    )


def check_entries(entries: Sequence[bytes], key: EpochKey, manifest: Manifest) -> None:
    """Raise unless every holder of a key has logged that it stands for it (protocol 6.3 (4)).

    Args:
        entries: One of each holder, as the coordinator hands them out with the record.
        key: Of a verified record.
        manifest: The pinned one. A holder that was revoked since still counts.

    Raises:
        ScoreRefusalError: an entry is missing, of other keys, or of different ceremonies
            (S13), or its signature fails (S03). Fault: the coordinator, or the member.
    """
    members = {member.id: member for member in manifest.members}
    offers: dict[PartnerId, Digest] = {}
    for data in entries:
        try:
            entry = from_jcs(data)
            body = entry.body
            if not isinstance(body, OprfEpoch | OprfReshare):
                raise ScoreRefusalError(ScoreRefusal.EPOCH, f"an entry {entry.type}")
            if entry.actor not in members or body != key_body(key, body.offer):
                text = f"{entry.actor} has logged other keys than the record's"
                raise ScoreRefusalError(ScoreRefusal.EPOCH, text)
            verify_entry(entry, data, members[entry.actor])
        except (DecodeError, SignatureError) as error:
            text = "an entry of the epoch is not one"
            raise ScoreRefusalError(ScoreRefusal.SIGNATURE, text) from error
        offers[entry.actor] = body.offer
    if len(entries) != len(offers) or sorted(offers) != [one.member for one in key.holders]:
        text = "not one entry of each holder"
        raise ScoreRefusalError(ScoreRefusal.EPOCH, text)
    if len(set(offers.values())) != 1:
        raise ScoreRefusalError(ScoreRefusal.EPOCH, "entries of different ceremonies")


# --- the audit --------------------------------------------------------------------------------


@dataclass(slots=True)
class _Ceremony:
    """What the log has of one offer."""

    epoch: int
    attempt: int
    commits: dict[PartnerId, int] = field(default_factory=dict)
    reveals: dict[PartnerId, int] = field(default_factory=dict)
    keys: dict[PartnerId, tuple[int, KeyBody]] = field(default_factory=dict)


def audit_epochs(timeline: Timeline, findings: Findings) -> None:
    """Check every ceremony in the log, and every record of keys in the bundle."""
    ceremonies = _collect(timeline, findings)
    attempts: dict[int, dict[int, Digest]] = defaultdict(dict)
    logged: dict[Digest, tuple[Digest, _Ceremony]] = {}
    for offer, one in ceremonies.items():
        other = attempts[one.epoch].setdefault(one.attempt, offer)
        if other != offer:
            text = f"two ceremonies of attempt {one.attempt} at epoch {one.epoch}"
            findings.error(Check.EPOCHS, "epoch.split", text, *sorted(one.commits.values()))
        _check_order(one, findings)
        for _, body in one.keys.values():
            logged[body.key] = (offer, one)
    for digest, record in sorted(timeline.evidence.epochs.items()):
        place = f"epochs/{digest}.json"
        with findings.catch(Check.EPOCHS, "epoch.record", place=place):
            key = _verified(record, timeline)
            if digest not in logged:
                text = f"the keys of epoch {key.epoch} are in use, and no member logged them"
                findings.error(Check.EPOCHS, "epoch.unlogged", text, place=place)
                continue
            offer, one = logged[digest]
            _check_record(key, offer, one, findings)


def _collect(timeline: Timeline, findings: Findings) -> dict[Digest, _Ceremony]:
    ceremonies: dict[Digest, _Ceremony] = {}
    for index, entry in sorted(timeline.entries.items()):
        body = entry.body
        if not isinstance(body, DkgCommit | DkgReveal | OprfEpoch | OprfReshare):
            if isinstance(body, DkgComplaint):
                text = f"{entry.actor} complains of a share in epoch {body.epoch}"
                findings.warn(Check.EPOCHS, "epoch.complaint", text, index)
            continue
        one = ceremonies.setdefault(body.offer, _Ceremony(body.epoch, body.attempt))
        if (one.epoch, one.attempt) != (body.epoch, body.attempt):
            text = f"{entry.actor} names another epoch or attempt for one offer"
            findings.error(Check.EPOCHS, "epoch.offer", text, index)
        if isinstance(body, OprfEpoch | OprfReshare):
            earlier = one.keys.setdefault(entry.actor, (index, body))
            if earlier[1] != body:
                text = f"{entry.actor} stands for two keys of one ceremony"
                findings.error(Check.EPOCHS, "epoch.twice", text, index, earlier[0])
        else:
            steps = one.commits if isinstance(body, DkgCommit) else one.reveals
            steps.setdefault(entry.actor, index)
    return ceremonies


def _check_order(one: _Ceremony, findings: Findings) -> None:
    """All COMMITs before any REVEAL, all REVEALs before any key: no last mover (6.3)."""
    last_commit = max(one.commits.values(), default=-1)
    early = [index for index in one.reveals.values() if index < last_commit]
    last_reveal = max(one.reveals.values(), default=-1)
    early += [index for index, _ in one.keys.values() if index < last_reveal]
    if early or not set(one.keys) <= set(one.reveals) <= set(one.commits):
        text = "a step of a ceremony stands before those that it rests on"
        findings.error(Check.EPOCHS, "epoch.order", text, *sorted(early))
    bodies = {body for _, body in one.keys.values()}
    if len(bodies) > 1:
        text = f"members stand for different keys of epoch {one.epoch}: they saw other steps"
        indices = sorted(index for index, _ in one.keys.values())
        findings.error(Check.EPOCHS, "epoch.differs", text, *indices)


def _verified(record: bytes, timeline: Timeline) -> EpochKey:
    """The keys of a record, under the newest manifest that has its epoch."""
    error: RiskWeaveError | None = None
    for manifest in sorted(timeline.manifests.values(), key=lambda one: -one.version):
        try:
            return verify_record(record, manifest)
        except ScoreRefusalError as refused:
            error = error or refused
    raise error or DecodeError("a record without a manifest")


def _check_record(key: EpochKey, offer: Digest, one: _Ceremony, findings: Findings) -> None:
    holders = [holder.member for holder in key.holders]
    indices = sorted(index for index, _ in one.keys.values())
    if sorted(one.keys) != holders or any(
        body != key_body(key, offer) for _, body in one.keys.values()
    ):
        text = f"the keys of epoch {key.epoch} are not those that each holder stands for"
        findings.error(Check.EPOCHS, "epoch.keys", text, *indices)
