"""The clear part of a score request: its one byte string and its context (protocol 7.3).

The bytes are those of ``documents.document_of``. They are made and read here without its
general machinery, for every node reads them for every request: an inquiry holds ASCII text
and integers only, for which ``json`` with sorted keys is the canonical form.
"""

import hashlib
import json
from itertools import pairwise
from typing import Any

from consortium.canonical import Label
from consortium.errors import IdentifierError, ScoreRefusal, ScoreRefusalError
from consortium.ids import Digest, PartnerId, parse_digest, parse_partner_id, parse_request_id
from consortium.inquiries import LARGEST_BATCH, Inquiry, Purpose

LONGEST_CLEAR_PART = 8_192
"""Bytes; 64 partners with the longest names stay below."""

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_INTEGER_LIMIT = 1 << 53
_KEY_HEX = 64
_NAMES = frozenset(Inquiry.__slots__)


def inquiry_bytes(inquiry: Inquiry) -> bytes:
    """Canonical JSON of the inquiry."""
    document = {
        "request": inquiry.request,
        "requester": inquiry.requester,
        "ephemeral": inquiry.ephemeral.hex(),
        "roster": inquiry.roster,
        "roster_version": inquiry.roster_version,
        "model": inquiry.model,
        "purpose": inquiry.purpose.value,
        "persons": inquiry.persons,
        "deadline": inquiry.deadline,
        "consents": inquiry.consents,
        "sealed": inquiry.sealed,
        "retry_of": [] if inquiry.retry_of is None else [inquiry.retry_of],
    }
    return _ENCODER.encode(document).encode("ascii")


def parse_inquiry(data: bytes) -> Inquiry:
    """Return the inquiry, or raise ScoreRefusalError.

    Raises:
        ScoreRefusalError: the purpose is unknown (S08); anything else is not of its form,
            or there is a second way to write it (S11). Fault: the asker.
    """
    if len(data) > LONGEST_CLEAR_PART:
        raise _malformed(f"clear part of {len(data)} bytes")
    try:
        inquiry = _inquiry_of(json.loads(data))
    except (ValueError, KeyError, TypeError, RecursionError, IdentifierError) as error:
        raise _malformed(f"clear part: {type(error).__name__}") from error
    # Two ways to write one inquiry would be two contexts for one request.
    if inquiry_bytes(inquiry) != data:
        raise _malformed("clear part is not in canonical form")
    return inquiry


def _inquiry_of(entry: Any) -> Inquiry:  # noqa: ANN401 - JSON, of which nothing is known yet
    if not isinstance(entry, dict) or entry.keys() != _NAMES:
        raise _malformed("clear part has other fields")
    roster = tuple(parse_partner_id(name) for name in entry["roster"])
    retry_of = [parse_request_id(name) for name in entry["retry_of"]]
    if len(entry["ephemeral"]) != _KEY_HEX or len(retry_of) > 1:
        raise _malformed("clear part: size of a field")
    return Inquiry(
        request=parse_request_id(entry["request"]),
        requester=parse_partner_id(entry["requester"]),
        ephemeral=bytes.fromhex(entry["ephemeral"]),
        roster=_ascending(roster),
        roster_version=_integer(entry["roster_version"], 0, _INTEGER_LIMIT),
        model=parse_digest(entry["model"]),
        purpose=_purpose(entry["purpose"]),
        persons=_integer(entry["persons"], 1, LARGEST_BATCH + 1),
        deadline=_integer(entry["deadline"], 0, _INTEGER_LIMIT),
        consents=parse_digest(entry["consents"]),
        sealed=parse_digest(entry["sealed"]),
        retry_of=retry_of[0] if retry_of else None,
    )


def context_of(clear: bytes, manifest: Digest) -> Digest:
    """sctx: ``H(SCORE ‖ manifest ‖ clear part)`` (protocol 7.3)."""
    whole = Label.SCORE.line + bytes.fromhex(manifest) + clear
    return Digest(hashlib.sha256(whole).hexdigest())


def _ascending(roster: tuple[PartnerId, ...]) -> tuple[PartnerId, ...]:
    if any(one >= other for one, other in pairwise(roster)):
        raise _malformed("the roster is not sorted, or lists a partner twice")
    return roster


def _integer(value: object, low: int, high: int) -> int:
    if type(value) is not int or not low <= value < high:
        raise _malformed("clear part: an integer out of range")
    return value


def _purpose(text: str) -> Purpose:
    try:
        return Purpose(text)
    except ValueError as error:
        raise ScoreRefusalError(ScoreRefusal.PURPOSE, "unknown purpose") from error


def _malformed(detail: str) -> ScoreRefusalError:
    return ScoreRefusalError(ScoreRefusal.MALFORMED, detail)
