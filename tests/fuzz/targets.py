"""Every decoder of bytes from outside, by name.

A target takes any bytes. It returns, or raises an error of the house; whatever else it
raises, a hang or memory without bound is a defect of the decoder. ``test_decoders.py`` bends
honest samples of each in every run of the tests, ``run.py`` lets Atheris search for minutes.
Whoever writes a decoder enters it here.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
from pydantic import ValidationError

from consortium import codec, enrolment_codec, federation_codec, messages, optimizer
from consortium.audit.result import EmpiricalAudit
from consortium.canonical import canonical_json, parse_canonical
from consortium.codec import Frame, StreamKind
from consortium.credit import policy, scenario, tiers
from consortium.credit.admission import Admission
from consortium.credit.attestation import (
    RevocationList,
    SignedAttestation,
    SignedRevocations,
)
from consortium.credit.contribution import ContributionStatement
from consortium.credit.facts import DecisionInput, input_of
from consortium.credit.figures import parse_table
from consortium.credit.pack import parse_pack
from consortium.credit.table_document import parse_table_document
from consortium.credit.verdict import Decision, Override
from consortium.crypto import ristretto
from consortium.documents import document_of, value_of
from consortium.errors import DecodeError, RiskWeaveError
from consortium.features.bins import Bins
from consortium.features.schema import Schema, parse_schema
from consortium.identity import dealing, epoch_steps, overlap
from consortium.identity.complaints import Complaint
from consortium.ids import PartnerId, parse_digest, parse_partner_id, parse_request_id
from consortium.ledger import archive, checkpoint, entries, inquiries, note, proof, tiles
from consortium.ledger.evidence import Signatures
from consortium.ledger.findings import Findings
from consortium.ledger.sealed import DecisionReport
from consortium.manifest import parse_manifest
from consortium.plan import TrainingPlan
from consortium.scoring import clear, consent, head
from consortium.secagg import opened, vectors
from consortium.secagg.replay import AllJoins
from coordinator.authority import spki_of_request
from models.document import base_of, parse_any
from partner_node import desk, desk_wire, join_token, loan_desk, part_bytes, study
from partner_node.credit import forms, house_terms
from partner_node.credit.admission import Order
from partner_node.rest_forms import ScoreIn, question_of
from regulator import enrolment
from regulator.bundle import audit_bundle
from tests import engine_house
from tests.credit_desk_house import application
from tests.figure_house import PARTNERS, release
from tests.fuzz.samples import (
    bundle,
    example,
    files,
    filled,
    house,
    requests,
    short_house,
)
from tests.head_house import joint_rows
from tests.ledger_house import START
from tests.overlap_house import PLAN
from tests.scoring_house import House as ScoringHouse
from tests.scoring_house import receipt_of
from tests.unit.test_audit_result import AUDIT
from tests.unit.test_figures import SPEC
from tests.unit.test_node_join_token import ISSUED

Read = Callable[[bytes], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One decoder, and what makes honest bytes for it."""

    read: Read
    samples: Callable[[], tuple[bytes, ...]]


def _text(read: Callable[[str], object]) -> Read:
    """A decoder of text, as its callers make text of bytes: strictly, or by a wire's rule."""
    return lambda data: read(data.decode("utf-8", "replace"))


# --- the wire ---------------------------------------------------------------------------------

_BODIES = {
    (codec.encode_up, StreamKind.TRAINING): (
        filled(messages.Hello),
        messages.Heartbeat(),
        filled(messages.Goodbye),
        messages.FlowerMessage(b"any"),
    ),
    (codec.encode_down, StreamKind.TRAINING): (filled(messages.Welcome),),
    (codec.encode_up, StreamKind.SCORING): (
        filled(codec.scoring_frames.ScoreRequest),
        filled(codec.scoring_frames.ScoreAnswer),
        filled(codec.scoring_frames.ScoreRefused),
        filled(codec.scoring_frames.OprfRequest),
        filled(codec.scoring_frames.OprfReply, code=""),
        filled(codec.scoring_frames.EpochTell, step="commit", code=""),
        filled(codec.scoring_frames.OverlapTell),
    ),
    (codec.encode_down, StreamKind.SCORING): (
        filled(codec.scoring_frames.Roster),
        filled(codec.scoring_frames.ScoreAnswers),
        filled(codec.scoring_frames.ScoreFailed),
        filled(
            codec.scoring_frames.OprfReplies,
            replies=(filled(codec.scoring_frames.OprfReply, code=""),),
        ),
        filled(codec.scoring_frames.EpochAsk, step="commit"),
        filled(codec.scoring_frames.OverlapAsk),
    ),
}


def _frames(encode: Callable[[StreamKind, Frame], bytes], kind: StreamKind) -> Target:
    decode = codec.decode_up if encode is codec.encode_up else codec.decode_down
    bodies = _BODIES[encode, kind]
    return Target(
        read=partial(decode, kind),
        samples=lambda: tuple(encode(kind, Frame(body, 7)) for body in bodies),
    )


def _one(read: Read, sample: Callable[[], bytes]) -> Target:
    return Target(read=read, samples=lambda: (sample(),))


_DIGEST = parse_digest("ab" * 32)
_VERSION = messages.PROTOCOL_VERSION

WIRE = {
    "training frame up": _frames(codec.encode_up, StreamKind.TRAINING),
    "training frame down": _frames(codec.encode_down, StreamKind.TRAINING),
    "scoring frame up": _frames(codec.encode_up, StreamKind.SCORING),
    "scoring frame down": _frames(codec.encode_down, StreamKind.SCORING),
    "enrolment request": _one(
        enrolment_codec.decode_enrolment_request,
        lambda: enrolment_codec.encode_enrolment_request(
            filled(messages.EnrolmentRequest, protocol_version=_VERSION)
        ),
    ),
    "enrolled": _one(
        enrolment_codec.decode_enrolled,
        lambda: enrolment_codec.encode_enrolled(filled(messages.Enrolled)),
    ),
    "renewal": _one(
        enrolment_codec.decode_renewal,
        lambda: enrolment_codec.encode_renewal(filled(messages.Renewal)),
    ),
    "renewed": _one(
        enrolment_codec.decode_renewed,
        lambda: enrolment_codec.encode_renewed(filled(messages.Renewed)),
    ),
    "manifest request": _one(
        federation_codec.decode_manifest_request,
        lambda: federation_codec.encode_manifest_request(_DIGEST),
    ),
    "manifest signature": _one(
        lambda data: (
            federation_codec.entry_of_signed(data),
            federation_codec.decode_signed(data),
        ),
        lambda: federation_codec.encode_signed(filled(messages.Signed), b"entry"),
    ),
    "manifest bundle": _one(
        federation_codec.decode_manifest_bundle,
        lambda: federation_codec.encode_manifest_bundle(filled(messages.ManifestBundle)),
    ),
    "ack": _one(federation_codec.decode_ack, federation_codec.encode_ack),
    "models request": _one(
        federation_codec.decode_models_request, federation_codec.encode_models_request
    ),
    "model list": _one(
        federation_codec.decode_model_list,
        lambda: federation_codec.encode_model_list((filled(messages.ModelEntry),)),
    ),
    "model request": _one(
        federation_codec.decode_model_request,
        lambda: federation_codec.encode_model_request(_DIGEST),
    ),
    "model envelope": _one(
        federation_codec.decode_model_document,
        lambda: federation_codec.encode_model_document(filled(messages.ModelDocument)),
    ),
    "gate request": _one(
        federation_codec.decode_gate_request,
        lambda: federation_codec.encode_gate_request(_DIGEST, 1),
    ),
    "gate document": _one(
        federation_codec.decode_gate_document,
        lambda: federation_codec.encode_gate_document(filled(messages.GateDocument)),
    ),
    "vote": _one(
        lambda data: (federation_codec.entry_of_vote(data), federation_codec.decode_vote(data)),
        lambda: federation_codec.encode_vote(filled(messages.Vote), b"entry"),
    ),
    "vote reply": _one(
        federation_codec.decode_vote_reply, lambda: federation_codec.encode_vote_reply("active")
    ),
    "witness question": _one(
        federation_codec.decode_witness_question,
        lambda: federation_codec.encode_witness_question(filled(messages.WitnessQuestion)),
    ),
    "log head": _one(
        federation_codec.decode_log_head,
        lambda: federation_codec.encode_log_head(filled(messages.LogHead, proof=(bytes(32),))),
    ),
    "certificate request": Target(read=spki_of_request, samples=requests),
}

# --- documents --------------------------------------------------------------------------------

KINDS: tuple[type, ...] = (
    messages.PlanOffer,
    messages.PlanAccepted,
    messages.SumRequest,
    messages.Join,
    messages.Upload,
    AllJoins,
    TrainingPlan,
    Signatures,
    SignedAttestation,
    RevocationList,
    SignedRevocations,
    ContributionStatement,
    Order,
    epoch_steps.EpochOffer,
    epoch_steps.EpochStep,
    epoch_steps.EpochRecord,
    epoch_steps.EpochKey,
    epoch_steps.Confirm,
    dealing.Reveal,
    Complaint,
    opened.OpenedRun,
    opened.OpenedAttempt,
)
"""What ``parse_document`` reads on the word of another party."""


def _any_document(data: bytes) -> object:
    """The bytes as a document of each kind, of which one is meant."""
    plain, found = parse_canonical(data), None
    for kind in KINDS:
        with suppress(RiskWeaveError):
            found = value_of(kind, plain)
    if found is None:
        raise DecodeError("a document of no kind")
    return found


def _documents() -> Iterator[bytes]:
    run = house()
    yield document_of(run.plan)
    for kind in KINDS:
        if kind is not TrainingPlan:
            with suppress(RiskWeaveError):
                yield document_of(filled(kind))


def _schema(data: bytes) -> object:
    return Schema.from_canonical(parse_canonical(data))


def _bins(data: bytes) -> object:
    return Bins.from_canonical(parse_canonical(data), house().schema)


def _bins_sample() -> bytes:
    body = parse_canonical(files("models/")[0])
    assert isinstance(body, dict)
    return canonical_json(body["bins"])


def _model(data: bytes) -> object:
    return base_of(data), parse_any(data, house().schema)


def _entries() -> tuple[bytes, ...]:
    found = {entries.from_jcs(data).type: data for data in house().entries}
    for name, kind in entries.TYPES.items():
        if name not in found:
            with suppress(RiskWeaveError):
                body = filled(kind)
                one = entries.Entry(
                    seq_hint=1, at=START, actor=PartnerId("a"), body=body, signature=bytes(64)
                )
                entries.from_jcs(one.to_jcs())
                found[name] = one.to_jcs()
    return tuple(found.values())


def _opened(data: bytes) -> object:
    first, rest = opened.read_opened(data.splitlines(keepends=True))
    return first, list(rest)


def _opened_sample() -> bytes:
    lines = (filled(opened.OpenedRun), filled(opened.OpenedAttempt))
    return b"".join(map(opened.line_of, lines))


def _reports(data: bytes) -> None:
    for read in (
        DecisionReport.from_bytes,
        Decision.from_bytes,
        Override.from_bytes,
        Admission.from_bytes,
        DecisionInput.from_bytes,
    ):
        with suppress(RiskWeaveError):
            read(data)


DOCUMENTS = {
    "canonical JSON": _one(parse_canonical, lambda: files("manifests/")[0]),
    "document": Target(read=_any_document, samples=lambda: tuple(_documents())),
    "credit documents": _one(_reports, lambda: document_of(filled(Override, reasons=()))),
    "manifest": Target(
        read=parse_manifest,
        samples=lambda: tuple(d for n, d in bundle().items() if n.endswith(".json"))[:1],
    ),
    "schema": Target(read=_schema, samples=lambda: files("schemas/")),
    "bins": _one(_bins, _bins_sample),
    "model or head": Target(read=_model, samples=lambda: files("models/")),
    "head": _one(head.parse_head, lambda: head.head_bytes(head.plain_head(("orders",), 5))),
    "empirical audit": Target(
        read=lambda data: EmpiricalAudit.from_canonical(parse_canonical(data)),
        samples=lambda: (canonical_json(AUDIT.to_canonical()),),
    ),
    "noisy table": _one(parse_table, lambda: document_of(_table())),
    "table document": _one(
        parse_table_document,
        lambda: canonical_json(
            {
                "type": "riskweave/table/v1",
                "plan": parse_canonical(document_of(house().plan)),
                "table": parse_canonical(document_of(_table())),
                "statement": {},
            }
        ),
    ),
    "overlap plan": _one(overlap.parse_plan, lambda: document_of(PLAN)),
    "opened sums": _one(_opened, _opened_sample),
    "join token": _one(_text(join_token.parse_token), lambda: ISSUED.encode().encode("ascii")),
    "regulator's join token": _one(
        _text(enrolment.parse_token), lambda: ISSUED.encode().encode("ascii")
    ),
}


def _table() -> object:
    shape = (*(len(axis.cells) for axis in SPEC.axes), len(SPEC.measures))
    return release(SPEC, [np.ones(shape)] * PARTNERS, 1)


# --- the log and its bundle -------------------------------------------------------------------


def _audit(data: bytes) -> object:
    return audit_bundle(data, short_house().manifest.digest, now=START + 1000)


def _note(data: bytes) -> object:
    found = note.parse_note(data)
    return checkpoint.parse_checkpoint(found.text)


def _vkey() -> str:
    return checkpoint.log_verifier(short_house().manifest).vkey


def _proof_sample() -> bytes:
    tree = short_house().tree
    head_note = short_house().files[f"checkpoints/{tree.size}"]
    return proof.LogProof(index=2, path=tree.inclusion(2), checkpoint=head_note).to_bytes()


def _batch_sample() -> bytes:
    record = filled(
        inquiries.InquiryRecord,
        consents="ab" * 16 + ":" + "cd" * 32,
        outcome="answered",
        requester=PartnerId("shop"),
        responders=(inquiries.Asked(member=PartnerId("bank-a"), status="answered"),),
    )
    return inquiries.record_bytes(record)


LOG = {
    "entry of the log": Target(read=entries.from_jcs, samples=_entries),
    "checkpoint": Target(read=_note, samples=lambda: (bundle()["checkpoint"],)),
    "note opened": Target(
        read=lambda data: checkpoint.open_checkpoint(data, house().manifest),
        samples=lambda: (bundle()["checkpoint"],),
    ),
    "log proof": _one(proof.parse_proof, _proof_sample),
    "verifier key": _one(
        _text(note.parse_vkey),
        lambda: _vkey().encode(),
    ),
    "tile path": Target(
        read=_text(tiles.parse_path),
        samples=lambda: (b"tile/0/x001/234.p/56", b"tile/entries/000"),
    ),
    "tile of entries": Target(read=tiles.decode_bundle, samples=lambda: files("tile/entries/")),
    "inquiry record": _one(inquiries.parse_record, _batch_sample),
    "batch of inquiries": _one(
        inquiries.decode_batch,
        lambda: inquiries.encode_batch(
            [inquiries.Leaf(bytes(32), _batch_sample()), inquiries.Leaf(bytes(32))]
        ),
    ),
    "archive": _one(
        lambda data: archive.unpack(data, Findings()),
        lambda: archive.pack({"checkpoint": b"head", "tile/entries/000": b"\0\1a"}),
    ),
    "bundle, audited": _one(_audit, lambda: archive.pack(short_house().bundle())),
}

# --- scores, persons, sums --------------------------------------------------------------------


def _inquiry_sample() -> bytes:
    asked = ScoringHouse(3)
    return asked.seal(asked.ids[0])[0].inquiry


def _state_sample() -> bytes:
    return optimizer.to_bytes(optimizer.initial_state(3))


def _npy(dtype: str) -> Target:
    def sample() -> bytes:
        return vectors._header(3, dtype) + bytes(24)

    return _one(lambda data: vectors.read_vector(data, dtype), sample)


SCORES = {
    "inquiry": _one(clear.parse_inquiry, _inquiry_sample),
    "receipts": _one(
        lambda data: consent.unpack(data, len(data) // consent.RECEIPT_BYTES),
        lambda: consent.pack([receipt_of(0), receipt_of(1)]),
    ),
    "group element": _one(ristretto.parse_point, lambda: bytes.fromhex(_GENERATOR)),
    "scalar": _one(ristretto.parse_scalar, lambda: bytes([1, *bytes(31)])),
    "vector of words": _npy(vectors.WORDS),
    "vector of reals": _npy(vectors.REALS),
    "optimiser state": _one(optimizer.from_bytes, _state_sample),
    "job of an engine": _one(part_bytes.unpack_job, engine_house.job),
    "answer of an engine": _one(part_bytes.unpack_sum, engine_house.answer),
    "joint rows": _one(study.unpack, lambda: study.pack(joint_rows(1, 9))),
    "ids": _one(_text(lambda text: [_maybe(read, text) for read in _IDS]), lambda: b"ab" * 32),
}
_GENERATOR = "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76"
_IDS: tuple[Callable[[str], object], ...] = (parse_digest, parse_partner_id, parse_request_id)


def _maybe(read: Callable[[str], object], text: str) -> object:
    try:
        return read(text)
    except RiskWeaveError:
        return None


# --- the desk's doors and files that travel ---------------------------------------------------


def _desk_requests(data: bytes) -> None:
    for read in (
        desk_wire.decode_question,
        desk_wire.decode_batch,
        desk_wire.decode_decide,
        desk_wire.decode_decide_batch,
        desk_wire.decode_decision_id,
        desk_wire.decode_override,
        desk_wire.decode_offer,
        desk_wire.decode_notice,
    ):
        with suppress(RiskWeaveError):
            read(data)


def _desk_answers(data: bytes) -> None:
    for read in (
        desk_wire.decode_decided,
        desk_wire.decode_document,
        desk_wire.decode_score,
        desk_wire.decode_results,
        desk_wire.decode_status,
    ):
        with suppress(RiskWeaveError):
            read(data)


def _question() -> loan_desk.Question:
    terms = filled(loan_desk.Consent)
    return loan_desk.Question(person="11010519", consent=terms, attributes={"age": 3.0})


def _forms(data: bytes) -> None:
    plain = forms.parse_json(data)
    for read in (forms.application_of, forms.batch_of, forms.override_of, input_of):
        with suppress(RiskWeaveError):
            read(plain)


def _rest(data: bytes) -> object:
    try:
        return question_of(ScoreIn.model_validate_json(data))
    except ValidationError as error:  # FastAPI's own answer to it is 422
        raise DecodeError("refused by the form") from error


def _override_form() -> bytes:
    return b'{"code":"POLICY_EXCEPTION","role":"officer","outcome":"DECLINE","reasons":["R1"]}'


DESK = {
    "desk request": Target(
        read=_desk_requests,
        samples=lambda: (
            desk_wire.encode_question(_question()),
            desk_wire.encode_batch([_question()] * 2),
            desk_wire.encode_decide(b"{}", "key"),
        ),
    ),
    "desk answer": Target(
        read=_desk_answers,
        samples=lambda: (
            desk_wire.encode_score(filled(desk.Score)),
            desk_wire.encode_results([filled(desk.Score), loan_desk.Failure("S01", "no")]),
            desk_wire.encode_decided([b"{}", loan_desk.Failure("S01", "no")]),
        ),
    ),
    "credit form": Target(
        read=_forms, samples=lambda: (_json(application()), _override_form())
    ),
    "REST form": _one(
        _rest, lambda: b'{"person":"11010519","consent":{"reference":"r","method":"paper"}}'
    ),
    "policy pack": Target(
        read=lambda data: parse_pack(data, "pack"),
        samples=lambda: example("consortium/credit/packs/tw.toml"),
    ),
    "partner's policy": Target(
        read=lambda data: policy.parse_policy(data, "policy"),
        samples=lambda: example("examples/policy/bank_a.toml"),
    ),
    "catalogue": Target(
        read=lambda data: tiers.parse_catalogue(data, "catalogue"),
        samples=lambda: example("examples/policy/bank_a_products.toml"),
    ),
    "house terms": Target(
        read=lambda data: house_terms.parse_terms(data, "terms"),
        samples=lambda: example("examples/policy/bank_a_terms.toml"),
    ),
    "scenarios": Target(
        read=lambda data: scenario.parse_scenarios(data, "scenarios"),
        samples=lambda: example("examples/scenarios/winter.toml"),
    ),
    "schema file": Target(
        read=_text(partial(parse_schema, source="schema")),
        samples=lambda: example("examples/taiwan/schema.toml"),
    ),
}


def _json(plain: object) -> bytes:
    return json.dumps(plain).encode()

    return json.dumps(plain).encode()


TARGETS: dict[str, Target] = {**WIRE, **DOCUMENTS, **LOG, **SCORES, **DESK}
