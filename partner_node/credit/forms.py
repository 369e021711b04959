"""What a decision is asked with, read strictly: names first, then forms, no value repeated.

One reader for every door. Any name that stands for a forbidden concept is refused wherever
it is, then any name that is not known (credit 3.6). An error names fields, never what stands
in them: it may end in a log of the caller's.
"""

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NoReturn, TypeVar, cast

from consortium.credit.attested import refuse_plain
from consortium.credit.facts import Consent, Standing, Wish, refuse_forbidden
from consortium.credit.terms import Purpose
from consortium.credit.verdict import Final, Outcome, OverrideCode
from consortium.documents import value_of
from consortium.errors import DecodeError, DomainError, MessageTooLargeError

T = TypeVar("T")

LARGEST = 64 << 10
"""Bytes of one application."""
LARGEST_ATTESTATION = 4 << 10
"""Bytes of a signed history; one has below one KiB."""
LARGEST_FILE = 1 << 30
"""Bytes of a file of the node's owner: a cohort, what became of it."""
LONGEST_TEXT = 256
MOST_ATTRIBUTES = 512
_DEEPEST = 8
_KEY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_ROLE = re.compile(r"[a-z][a-z0-9_]{0,31}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}")
_PURPOSES = frozenset(Purpose)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_HALF_PAIR = re.compile(r"[\ud800-\udfff]")
"""Comes of a terminal that says what is no UTF-8."""
_UNKNOWN = "unknown or missing fields"

Attributes = Mapping[str, float | str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """One application as the desk brings it. Private."""

    application: str
    """The partner's own name of it."""
    person: str = field(repr=False)
    """The identifier in the federation's form; empty: nobody is asked, there is no score."""
    attributes: Attributes | None = field(repr=False)
    """Own features of an applicant; None: the customer's own row counts."""
    wish: Wish = field(repr=False)
    standing: Standing = field(repr=False)
    consents: tuple[Consent, ...] = field(repr=False)
    attestation: bytes = field(default=b"", repr=False)
    """The signed history that the person carries, not verified; empty: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverrideWish:
    """What an officer decides, and why."""

    code: OverrideCode
    role: str
    to: Final
    note: str = field(repr=False)
    """Free text; stays in this node."""


def parse_json(data: bytes, *, most: int = LARGEST) -> object:
    """The object of a request's body, JSON in UTF-8 (RFC 8259); DecodeError.

    Half of a surrogate pair, which no text can hold, and numbers that are none are refused.
    """
    if len(data) > most:
        raise MessageTooLargeError(len(data), most)
    try:
        text = data.decode()
        found: object = _DECODER.decode(text)
        if _SURROGATE.search(text):
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise DecodeError("not JSON, or a name twice in one object") from None
    return found


def _no_number(_text: str) -> NoReturn:
    raise ValueError("NaN and infinities are no JSON")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_number)


def application_of(plain: object) -> Application:
    """An application of parsed JSON.

    An optional field may be absent, null, or its value. A purpose that is not one of the
    list is none: the decision refers it (credit 2.1).

    Raises:
        ForbiddenFieldError: a name that no rule may see stands anywhere in it.
        DecodeError: an unknown or missing field, or a value of another form.
        DomainError: a value outside its bounds.
        AttestationError: attributes say what only a signed history says.
    """
    for name in _names(plain):
        _allowed(name)
    top = _object(plain, "application")
    known = {"application", "person", "attributes", "wish", "standing", "consents"}
    known |= {"attestation"}
    if odd := sorted(set(top) - known):
        raise DecodeError(f"{_UNKNOWN} {', '.join(odd)[:200]}")
    return Application(
        application=_text(top, "application"),
        person=_text(top, "person", default=""),
        attributes=_attributes(top.get("attributes")),
        wish=_value(Wish, _wish(_object(top.get("wish"), "wish"))),
        standing=_value(Standing, _standing(_object(top.get("standing"), "standing"))),
        consents=tuple(
            _value(Consent, _filled(_object(one, "consents"), "expires_on", "withdrawn_on"))
            for one in _list(top.get("consents", []), "consents")
        ),
        attestation=_attestation(top.get("attestation")),
    )


def with_attestation(document: bytes, paper: bytes) -> bytes:
    """An application with the signed history of a file in it.

    Raises:
        DecodeError: it is no object, or has one already.
    """
    top = _object(parse_json(document), "application")
    if top.get("attestation"):
        raise DecodeError("attestation: the application has one already")
    return json.dumps({**top, "attestation": base64.b64encode(paper).decode()}).encode()


def batch_of(plain: object) -> list[tuple[object, str]]:
    """Applications, not read yet, and their idempotency keys, of parsed JSON; DecodeError."""
    top = _object(plain, "batch")
    if odd := sorted(set(top) - {"requests"}):
        raise DecodeError(f"{_UNKNOWN} {', '.join(odd)[:200]}")
    found = []
    for one in _list(top.get("requests"), "requests"):
        request = _object(one, "requests")
        if set(request) - {"application", "idempotency_key"}:
            raise DecodeError("requests: each has an application and an idempotency_key")
        found.append(
            (request.get("application"), _text(request, "idempotency_key", default=""))
        )
    return found


def override_of(plain: object) -> OverrideWish:
    """What an officer decides, of parsed JSON; DecodeError."""
    top = _object(plain, "override")
    known = {"code", "role", "outcome", "limit", "reasons", "note"}
    if odd := sorted(set(top) - known):
        raise DecodeError(f"{_UNKNOWN} {', '.join(odd)[:200]}")
    role, limit = _text(top, "role"), top.get("limit", 0)
    reasons = _list(top.get("reasons", []), "reasons")
    if not _ROLE.fullmatch(role):
        raise DecodeError("role: not of the form " + _ROLE.pattern)
    if type(limit) is not int:
        raise DecodeError("limit: not a whole number")
    try:
        code, outcome = OverrideCode(str(top.get("code"))), Outcome(str(top.get("outcome")))
    except ValueError:
        raise DecodeError(
            f"code: one of {', '.join(OverrideCode)}; outcome: APPROVE or DECLINE"
        ) from None
    if not all(isinstance(one, str) for one in reasons):
        raise DecodeError("reasons: codes of reasons")
    note = _text(top, "note", default="", most=2_000)
    to = Final(outcome=outcome, limit=limit, reasons=tuple(map(str, reasons)))
    return OverrideWish(code=code, role=role, to=to, note=note)


def check_key(key: str) -> str:
    """An idempotency key, a UUID; empty: none. DecodeError."""
    if key and not _KEY.fullmatch(key):
        raise DecodeError("idempotency key: not a UUID")
    return key.lower()


# --- parts ------------------------------------------------------------------------------------


def _names(value: object) -> dict[str, None]:
    """All names in it, however deep; what is nested without end is refused."""
    found: dict[str, None] = {}
    level, depth = [value], 0
    while level:
        if depth > _DEEPEST:
            raise DecodeError("nested too deeply")
        below: list[object] = []
        for one in level:
            if isinstance(one, dict):
                found.update(dict.fromkeys(map(str, one)))
                below.extend(one.values())
            elif isinstance(one, list):
                below.extend(one)
        level, depth = below, depth + 1
    return found


@lru_cache(maxsize=4_096)
def _allowed(name: str) -> None:
    """As ``refuse_forbidden``, which takes names apart; the same ones come all day."""
    refuse_forbidden(name)


def _wish(plain: Mapping[str, object]) -> dict[str, object]:
    stated = plain.get("purpose")
    known = stated if isinstance(stated, str) and stated in _PURPOSES else None
    return _filled({**plain, "purpose": known}, "purpose")


def _standing(plain: Mapping[str, object]) -> dict[str, object]:
    defaults: dict[str, object] = {"stage": 1, "restart": "none"}
    lists: dict[str, object] = {"flags": [], "here": [], "elsewhere": []}
    return _filled({**defaults, **lists, **plain}, "income", "elsewhere_upper")


def _filled(plain: Mapping[str, object], *optional: str) -> dict[str, object]:
    """Optional fields as documents hold them: a list of one or none."""
    found = dict(plain)
    for name in optional:
        value = found.get(name)
        found[name] = [] if value is None else [value]
    return found


def _value(kind: type[T], plain: Mapping[str, object]) -> T:
    try:
        return value_of(kind, plain)
    except DecodeError as error:
        # "Wish.amount: expected int, seen str" would be fine; "'x' is no date" would not.
        text = str(error)
        place = text.partition(":")[0].lower()
        odd = text.partition(_UNKNOWN)[2]
        why = f"{_UNKNOWN}{odd}" if odd else "not of its form"
        raise DecodeError(f"{place}: {why}") from None
    except (TypeError, AttributeError):
        raise DecodeError(f"{kind.__name__.lower()}: not of its form") from None


def _object(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise DecodeError(f"{where}: not an object")
    return cast("Mapping[str, object]", value)


def _list(value: object, where: str) -> list[object]:
    if not isinstance(value, list):
        raise DecodeError(f"{where}: not a list")
    return value


def _text(
    top: Mapping[str, object],
    name: str,
    default: str | None = None,
    *,
    most: int = LONGEST_TEXT,
) -> str:
    value = top.get(name, default)
    if not isinstance(value, str) or len(value) > most or _HALF_PAIR.search(value):
        raise DecodeError(f"{name}: not a text of at most {most} characters")
    return value


def _attestation(value: object) -> bytes:
    """The document in base64 (RFC 4648, 4), in its one form."""
    text = "" if value is None else value
    most = -(-LARGEST_ATTESTATION // 3) * 4
    if not isinstance(text, str) or len(text) > most:
        raise DecodeError(f"attestation: not base64 of at most {LARGEST_ATTESTATION} bytes")
    try:
        found = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        raise DecodeError("attestation: not base64") from None
    if base64.b64encode(found).decode() != text:
        raise DecodeError("attestation: not base64 in its one form")
    return found


def _attributes(value: object) -> Attributes | None:
    if value is None:
        return None
    found: dict[str, float | str | None] = {}
    for name, one in _object(value, "attributes").items():
        if isinstance(one, bool) or not isinstance(one, int | float | str | None):
            raise DecodeError(f"attributes: {name[:64]!r} is no number, text or null")
        if isinstance(one, str) and len(one) > LONGEST_TEXT:
            raise DomainError(f"attributes: {name[:64]!r} is too long")
        found[name] = _finite(name, one) if isinstance(one, int | float) else one
    refuse_plain(found)
    if len(found) > MOST_ATTRIBUTES:
        raise DomainError(f"attributes: more than {MOST_ATTRIBUTES}")
    return found


def _finite(name: str, value: float) -> float:
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise DomainError(f"attributes: {name[:64]!r} is too large")
    return found
