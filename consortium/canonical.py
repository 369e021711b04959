"""The exact bytes that are hashed or signed, and a label for each use (protocol 0.3, 0.5).

One rule: a value has one byte string. Whoever parses bytes makes them again and compares,
so that two objects never share a digest and one object never has two.
"""

import hashlib
import json
from collections.abc import Iterable
from enum import StrEnum
from functools import cached_property
from json.encoder import encode_basestring as string_text
from typing import NoReturn

from consortium.errors import DecodeError, DomainError
from consortium.ids import Digest

__all__ = [
    "Label",
    "canonical_json",
    "hash_with",
    "integer_text",
    "lp",
    "parse_canonical",
    "string_text",
    "u16",
    "u32",
    "u64",
]

_U16, _U32, _U64 = 2, 4, 8
_INTEGER_LIMIT = 2**53
_ENCODER = json.JSONEncoder(
    ensure_ascii=False,
    check_circular=False,
    allow_nan=False,
    sort_keys=True,
    separators=(",", ":"),
)


class Label(StrEnum):
    """The domain line that opens every hashed or signed input. No two uses share one."""

    MANIFEST = "riskweave/manifest/v1\n"
    MANIFEST_SIGNATURE = "riskweave/manifest-sig/v1\n"
    SCHEMA = "riskweave/schema/v1\n"
    BINS = "riskweave/bins/v1\n"
    CODE = "riskweave/code/v1\n"
    PLAN = "riskweave/plan/v1\n"
    PLAN_ACCEPTED = "riskweave/plan-accepted/v1\n"
    MODEL = "riskweave/model/v1\n"
    INPUTS = "riskweave/inputs/v1\n"
    CONTEXT = "riskweave/ctx/v1\n"
    BLOCK = "riskweave/block/v1\n"
    JOINED_CONTEXT = "riskweave/rctx/v1\n"
    JOIN = "riskweave/join/v1\n"
    SEED = "riskweave/seed/v1\n"
    LINK = "riskweave/link/v1\n"
    CHAIN = "riskweave/closed-sums/v1\n"
    WORDS = "riskweave/words/v1\n"
    UPLOAD = "riskweave/upload/v1\n"
    VOTE = "riskweave/vote/v1\n"
    ENROLMENT = "riskweave/enrolment/v1\n"
    RENEWAL = "riskweave/renewal/v1\n"
    HELLO = "riskweave/hello/v1\n"
    ROSTER = "riskweave/roster/v1\n"
    SCORE = "riskweave/score/v1\n"
    SCORE_REQUEST = "riskweave/score-req/v1\n"
    SCORE_ANSWER = "riskweave/score-ans/v1\n"
    SCORE_REFUSAL = "riskweave/score-refusal/v1\n"
    SCORE_SEALED = "riskweave/score-sealed/v1\n"
    SCORE_MEMBERS = "riskweave/score-members/v1\n"
    SCORE_SEEN = "riskweave/score-seen/v1\n"
    CLOSURE_LAYOUT = "riskweave/closure-layout/v1\n"
    CONSENT = "riskweave/consent/v1\n"
    CONSENTS = "riskweave/consents/v1\n"
    PERSON = "riskweave/id/v1\n"
    OPRF_POINTS = "riskweave/oprf-points/v1\n"
    OPRF_REQUEST = "riskweave/oprf-req/v1\n"
    OPRF_REPLY = "riskweave/oprf-reply/v1\n"
    DLEQ_NONCE = "riskweave/dleq-nonce/v1\n"
    OVERLAP = "riskweave/overlap/v1\n"
    OVERLAP_PLAN = "riskweave/overlap-plan/v1\n"
    OVERLAP_QUESTION = "riskweave/overlap-question/v1\n"
    OVERLAP_LIST = "riskweave/overlap-list/v1\n"
    DKG_OFFER = "riskweave/dkg-offer/v1\n"
    DKG_POK = "riskweave/dkg-pok/v1\n"
    DKG_COMMIT = "riskweave/dkg/v1\n"
    DKG_COMMITS = "riskweave/dkg-commits/v1\n"
    DKG_TRANSCRIPT = "riskweave/dkg-transcript/v1\n"
    DKG_STEP = "riskweave/dkg-step/v1\n"
    EPOCH = "riskweave/oprf-epoch/v1\n"
    EPOCH_SIGNATURE = "riskweave/oprf-epoch-sig/v1\n"
    DESK_KEY = "riskweave/desk-key/v1\n"
    DESK_QUESTION = "riskweave/desk-question/v1\n"
    COST_SHEET = "riskweave/cost-sheet/v1\n"
    RESTART_HOLDOUT = "riskweave/restart-holdout/v1\n"
    RESTART_WAVE = "riskweave/restart-wave/v1\n"
    ATTESTATION = "riskweave/attestation/v1\n"
    ATTESTATION_SIGNATURE = "riskweave/attestation-sig/v1\n"
    REVOCATIONS = "riskweave/revocations/v1\n"
    REVOCATIONS_SIGNATURE = "riskweave/revocations-sig/v1\n"
    ENTRY = "riskweave/entry/v1\n"
    STATEMENT = "riskweave/statement/v1\n"
    EMPIRICAL_AUDIT = "riskweave/empirical-audit/v1\n"
    SHADOW_SEED = "riskweave/shadow-seed/v1\n"
    PACK = "riskweave/pack/v1\n"
    POLICY = "riskweave/policy/v1\n"
    CATALOGUE = "riskweave/catalogue/v1\n"
    DECISION_INPUT = "riskweave/decision-input/v1\n"
    DECISION = "riskweave/decision/v1\n"
    HOUSE_TERMS = "riskweave/house-terms/v1\n"
    DKG_LOGGED = "riskweave/dkg-logged/v1\n"
    WITHDRAWAL = "riskweave/withdrawal/v1\n"
    AUDIT_NONCE = "riskweave/audit-nonce/v1\n"
    AUDIT_CHOICE = "riskweave/audit-choice/v1\n"
    AUDIT_DRAW = "riskweave/audit-draw/v1\n"
    REPLAY = "riskweave/replay-report/v1\n"
    FIGURE_SPEC = "riskweave/figure-spec/v1\n"
    FIGURE = "riskweave/figure/v1\n"
    TABLE = "riskweave/table/v1\n"
    NOISY_TABLE = "riskweave/noisy-table/v1\n"
    SEALED_DECISION = "riskweave/sealed-decision/v1\n"
    SEALED_BATCH = "riskweave/sealed-batch/v1\n"
    DECISION_REPORT = "riskweave/decision-report/v1\n"
    ADMISSION = "riskweave/admission/v1\n"
    ADMISSION_ORDER = "riskweave/admission-order/v1\n"
    CAMPAIGN = "riskweave/campaign/v1\n"
    CAMPAIGN_STATE = "riskweave/campaign-state/v1\n"
    CHARTER = "riskweave/charter/v1\n"
    CONTRIBUTION = "riskweave/contribution/v1\n"

    @cached_property
    def line(self) -> bytes:
        """The ASCII bytes of the line, its newline included."""
        return self.value.encode("ascii")


def canonical_json(value: object) -> bytes:
    """The RFC 8785 bytes of ``value``.

    Allowed are strings, booleans, lists, tuples, objects with ASCII keys and integers
    below 2**53 in size (protocol 0.5). Real numbers travel as decimal strings. For these
    the encoder of Python's own library has the RFC's form: ASCII keys sort alike by code
    unit and by code point, and its short escapes are the RFC's. Tests compare it with an
    implementation of the whole RFC.

    Raises:
        DecodeError: anything else is in it: a float, null, a large integer, a key that is
            not ASCII text, a lone surrogate.
    """
    try:
        _check(value)
        return _ENCODER.encode(value).encode("utf-8")
    except UnicodeEncodeError as error:
        raise DecodeError("no canonical form: a lone surrogate") from error
    except RecursionError as error:
        raise DecodeError("no canonical form: nested too deeply") from error


def integer_text(value: int) -> str:
    """The canonical text of an integer; DecodeError if it is too large."""
    if not -_INTEGER_LIMIT < value < _INTEGER_LIMIT:
        raise DecodeError(f"no canonical form: {value!r:.80} is not allowed")
    return repr(value)


def _check(value: object) -> None:
    if type(value) is str:  # nearly all are
        return
    match value:
        case bool() | str():
            return
        case int() if abs(value) < _INTEGER_LIMIT:
            return
        case list() | tuple():
            items: Iterable[object] = value
        case dict():
            if not all(isinstance(key, str) and key.isascii() for key in value):
                raise DecodeError("no canonical form: a key is not ASCII text")
            items = value.values()
        case _:
            raise DecodeError(f"no canonical form: {value!r:.80} is not allowed")
    for item in items:
        _check(item)


def parse_canonical(data: bytes) -> object:
    """The value whose canonical bytes are ``data``.

    Raises:
        DecodeError: they are not canonical: a second way to write the same value, a
            duplicate key, a float, or no JSON at all. Fault: the sender.
    """
    try:
        value = json.loads(data.decode("utf-8"), parse_float=_no_real, parse_constant=_no_real)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"not canonical JSON: {error}") from error
    if canonical_json(value) != data:
        raise DecodeError("not canonical JSON: the bytes differ from the canonical form")
    return value


def _no_real(text: str) -> NoReturn:
    raise DecodeError(f"not canonical JSON: {text[:40]} is not an integer")


def hash_with(label: Label, *parts: bytes | memoryview) -> Digest:
    """``H(label ‖ parts…)``. Parts of variable length must be wrapped in ``lp``."""
    state = hashlib.sha256(label.line)
    for part in parts:
        state.update(part)
    return Digest(state.hexdigest())


def lp(data: bytes) -> bytes:
    """``u32(len x) ‖ x`` (protocol 0.1)."""
    return u32(len(data)) + data


def u16(value: int) -> bytes:
    """Two bytes, big-endian, or DomainError."""
    return _unsigned(value, _U16)


def u32(value: int) -> bytes:
    """Four bytes, big-endian, or DomainError."""
    return _unsigned(value, _U32)


def u64(value: int) -> bytes:
    """Eight bytes, big-endian, or DomainError."""
    return _unsigned(value, _U64)


def _unsigned(value: int, size: int) -> bytes:
    if not 0 <= value < 1 << 8 * size:
        raise DomainError(f"{value} does not fit in {size} unsigned bytes")
    return value.to_bytes(size, "big")
