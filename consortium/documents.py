"""Frozen dataclasses <-> canonical JSON, strictly (protocol 0.5, 8.3).

Plans, requests, acceptances and uploads are hashed and signed as these bytes. A document
with an unknown field, a missing field or a value of another type is refused, so that two
parties never read different things out of the same bytes.

A field that came later and is not always there may be marked ``LEFT_OUT``: where it is None its
name is in no document, so that what was hashed before there was such a field is the same bytes.

What writes and what reads a type is put together once, from its fields' types: a decision has
a millisecond, and some hundred fields. A value that is not of its field's type is written by
the plain way, which is the rule.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from datetime import date
from enum import Enum
from functools import lru_cache, partial
from operator import attrgetter
from typing import NamedTuple, TypeVar, cast

from consortium.canonical import (
    Label,
    canonical_json,
    hash_with,
    integer_text,
    parse_canonical,
    string_text,
)
from consortium.errors import DecodeError
from consortium.ids import Digest
from consortium.plan import TrainingPlan

T = TypeVar("T")

Reader = Callable[[object], object]
"""Takes a value of parsed JSON; raises ``_MisreadError``."""
Writer = Callable[[object], str]
"""Makes the text of a value; raises DecodeError."""

LEFT_OUT = "left out"
"""In the metadata of an optional field, default None: without a value it has no name either."""

_UNIONS = (types.UnionType, typing.Union)
_AS_THEY_ARE = frozenset({str, int, bool})


def document_of(value: object) -> bytes:
    """The canonical bytes of a frozen dataclass of this project."""
    kind: object = type(value)
    try:
        return _writer(kind)(value).encode("utf-8")
    except UnicodeEncodeError as error:
        raise DecodeError("no canonical form: a lone surrogate") from error


def parse_document(kind: type[T], data: bytes) -> T:
    """Return the value of type ``kind``, or raise DecodeError naming the field."""
    return value_of(kind, parse_canonical(data))


def plain_of(value: object) -> object:
    """A frozen dataclass as the objects, lists, texts and numbers that its document is of."""
    return _plain(value)


def value_of(kind: type[T], plain: object) -> T:
    """The value of type ``kind`` of a parsed document; DecodeError naming the field."""
    whole: object = kind
    try:
        return cast("T", _reader(whole)(plain))
    except _MisreadError as error:
        raise DecodeError(f"{kind.__name__}{error.place}: {error.text}") from error.__cause__


def plan_digest(plan: TrainingPlan) -> Digest:
    """Hash of the plan's canonical JSON under its label (protocol 3.1)."""
    return hash_with(Label.PLAN, document_of(plan))


# --- writing ----------------------------------------------------------------------------------


def _plain(value: object) -> object:
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        absent = _left_out(type(value))
        return {
            name: _optional(getattr(value, name)) if optional else _plain(getattr(value, name))
            for name, optional in _fields(type(value))
            if name not in absent or getattr(value, name) is not None
        }
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if type(value) is date else value


@lru_cache(maxsize=256)
def _fields(kind: type) -> tuple[tuple[str, bool], ...]:
    """Names of a dataclass's fields, and whether each is optional."""
    hints = _hints(kind)
    return tuple(
        (field.name, typing.get_origin(hints[field.name]) in _UNIONS)
        for field in dataclasses.fields(kind)
    )


@lru_cache(maxsize=256)
def _left_out(kind: type) -> frozenset[str]:
    """Names of fields that a document has only where they have a value."""
    fields = dataclasses.fields(kind)
    return frozenset(one.name for one in fields if one.metadata.get(LEFT_OUT))


@lru_cache(maxsize=256)
def _hints(kind: type) -> Mapping[str, object]:
    """Types of a dataclass's fields; of a closed set of classes, so the cache is bounded."""
    return typing.get_type_hints(kind)


def _optional(value: object) -> object:
    """Optional fields are lists of one or none: canonical JSON has no null."""
    return [] if value is None else [_plain(value)]


def _by_rule(value: object) -> str:
    """The text of any value, whatever its field's type."""
    return canonical_json(_plain(value)).decode("utf-8")


@lru_cache(maxsize=512)
def _writer(kind: object) -> Writer:
    """What writes values of the type ``kind``; made once for each type of a closed set."""
    if typing.get_origin(kind) is tuple:
        return partial(_write_tuple, _writer(typing.get_args(kind)[0]))
    supertype = getattr(kind, "__supertype__", None)
    if supertype is not None:
        return _writer(supertype)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return partial(_write_dataclass, kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return partial(_write_enum, kind, {one: _by_rule(one) for one in kind})
    return _WRITERS.get(kind, _by_rule)


def _write_str(value: object) -> str:
    return string_text(value) if type(value) is str else _by_rule(value)


def _write_int(value: object) -> str:
    return integer_text(value) if type(value) is int else _by_rule(value)


def _write_bool(value: object) -> str:
    if value is True:
        return "true"
    return "false" if value is False else _by_rule(value)


def _write_date(value: object) -> str:
    return f'"{value.isoformat()}"' if type(value) is date else _by_rule(value)


def _write_bytes(value: object) -> str:
    return f'"{value.hex()}"' if type(value) is bytes else _by_rule(value)


_WRITERS: Mapping[object, Writer] = types.MappingProxyType(
    {
        str: _write_str,
        int: _write_int,
        bool: _write_bool,
        date: _write_date,
        bytes: _write_bytes,
    }
)


def _write_enum(kind: type, texts: Mapping[object, str], value: object) -> str:
    return texts[value] if type(value) is kind else _by_rule(value)


def _write_tuple(write: Writer, value: object) -> str:
    if type(value) is not tuple:
        return _by_rule(value)
    return f"[{','.join(map(write, value))}]"


def _write_optional(write: Writer, value: object) -> str:
    return "[]" if value is None else f"[{write(value)}]"


def _write_left_out(lead: str, write: Writer, value: object) -> str:
    return "" if value is None else f"{lead}[{write(value)}]"


def _write_dataclass(kind: type, value: object) -> str:
    form = _form(kind)
    if type(value) is not kind:
        return _by_rule(value)
    parts = zip(form.leads, form.writers, form.values(value), strict=True)
    text = "".join([lead + write(one) for lead, write, one in parts])
    return f"{{{text[1:]}}}"


class _Form(NamedTuple):
    """How a dataclass of at least two fields is written, fields in the order of names."""

    leads: tuple[str, ...]
    """What stands before each value: a comma, the first one's too, and its name."""
    writers: tuple[Writer, ...]
    values: Callable[[object], tuple[object, ...]]


@lru_cache(maxsize=256)
def _form(kind: type) -> _Form:
    hints, fields, absent = _hints(kind), sorted(_fields(kind)), _left_out(kind)
    names = [name for name, _ in fields]
    leads = [f",{_by_rule(name)}:" for name in names]
    writers = []
    for place, (name, optional) in enumerate(fields):
        write = _writer(_inner(hints[name]) if optional else hints[name])
        if name in absent:
            write = partial(_write_left_out, leads[place], write)
            leads[place] = ""
        elif optional:
            write = partial(_write_optional, write)
        writers.append(write)
    return _Form(tuple(leads), tuple(writers), _getter(names))


def _getter(names: list[str]) -> Callable[[object], tuple[object, ...]]:
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: tuple(getattr(value, name) for name in names)


def _inner(kind: object) -> object:
    """The type of an optional field's value."""
    return next(one for one in typing.get_args(kind) if one is not type(None))


# --- reading ----------------------------------------------------------------------------------


class _MisreadError(Exception):
    """A value that is not of its type, and where it stands below who reads it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
        self.place = ""


@lru_cache(maxsize=512)
def _reader(kind: object) -> Reader:
    """What reads a value of the type ``kind``; made once for each type of a closed set."""
    origin = typing.get_origin(kind)
    if origin is tuple:
        return partial(_tuple, _reader(typing.get_args(kind)[0]))
    if origin in _UNIONS:
        return partial(_one_or_none, _reader(_inner(kind)))
    supertype = getattr(kind, "__supertype__", None)
    if supertype is not None:
        return _reader(supertype)
    if not isinstance(kind, type):
        raise DecodeError(f"no rule for {kind!r}")
    if dataclasses.is_dataclass(kind):
        return partial(_dataclass, kind)
    if kind is date:
        return _date
    return partial(_enum_or_bytes if issubclass(kind, (Enum, bytes)) else _plain_type, kind)


def _plain_type(kind: type, value: object) -> object:
    if type(value) is not kind:
        raise _MisreadError(f"expected {kind.__name__}, seen {type(value).__name__}")
    return value


def _bytes(text: str) -> bytes:
    """The bytes of lower-case hex; ``fromhex`` alone would take capitals and spaces, too."""
    value = bytes.fromhex(text)
    if value.hex() != text:
        raise ValueError("not lower-case hex")
    return value


def _date(value: object) -> object:
    """A calendar date as YYYY-MM-DD, and in no other of ISO 8601's forms."""
    text = cast("str", _plain_type(str, value))
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise _MisreadError(f"{value!r:.40} is no date") from error
    if day.isoformat() != text:
        raise _MisreadError(f"{value!r:.40} is not written as YYYY-MM-DD")
    return day


def _enum_or_bytes(kind: type, value: object) -> object:
    try:
        if issubclass(kind, Enum):
            return kind(value)
        if isinstance(value, str):
            return _bytes(value)
    except ValueError as error:
        raise _MisreadError(f"{value!r} is no {kind.__name__}") from error
    return _plain_type(kind, value)


def _one_or_none(read: Reader, value: object) -> object:
    found = _tuple(read, value)
    if len(found) > 1:
        raise _MisreadError(f"{len(found)} values for an optional field")
    return found[0] if found else None


def _one(read: Reader, value: object) -> object:
    """Of a field that would be left out without a value: else there were two forms."""
    found = _tuple(read, value)
    if len(found) != 1:
        raise _MisreadError(f"{len(found)} values, expected one or no such field")
    return found[0]


def _tuple(read: Reader, value: object) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise _MisreadError(f"expected a list, seen {type(value).__name__}")
    found: list[object] = []
    try:
        for item in value:
            found.append(read(item))  # noqa: PERF401 - a comprehension hides the place
    except _MisreadError as error:
        error.place = f"[{len(found)}]{error.place}"
        raise
    return tuple(found)


def _dataclass(kind: type, value: object) -> object:
    if not isinstance(value, dict):
        raise _MisreadError(f"expected an object, seen {type(value).__name__}")
    fields, absent = _field_readers(kind), _left_out(kind)
    if value.keys() != fields.keys() and (
        odd := sorted((value.keys() ^ fields.keys()) - (absent - value.keys()))
    ):
        raise _MisreadError(f"unknown or missing fields {', '.join(odd)[:200]}")
    found: dict[str, object] = {}
    name = ""
    try:
        for name, read in fields.items():
            if name in value:
                found[name] = read(value[name])
    except _MisreadError as error:
        error.place = f".{name}{error.place}"
        raise
    return kind(**found)


@lru_cache(maxsize=256)
def _field_readers(kind: type) -> Mapping[str, Reader]:
    hints, absent = _hints(kind), _left_out(kind)
    return {
        name: partial(_one, _reader(_inner(hints[name])))
        if name in absent
        else _reader(hints[name])
        for name, _ in _fields(kind)
    }
