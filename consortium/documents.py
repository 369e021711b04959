"""Frozen dataclasses <-> canonical JSON, strictly (protocol 0.5, 8.3).

Plans, requests, acceptances and uploads are hashed and signed as these bytes. A document
with an unknown field, a missing field or a value of another type is refused, so that two
parties never read different things out of the same bytes.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from datetime import date
from enum import Enum
from functools import lru_cache, partial
from typing import TypeVar, cast

from consortium.canonical import Label, canonical_json, hash_with, parse_canonical
from consortium.errors import DecodeError
from consortium.ids import Digest
from consortium.plan import TrainingPlan

T = TypeVar("T")

Reader = Callable[[object, str], object]
"""Takes a value of parsed JSON and its place in the document; raises DecodeError."""

_UNIONS = (types.UnionType, typing.Union)
_AS_THEY_ARE = frozenset({str, int, bool})


def document_of(value: object) -> bytes:
    """The canonical bytes of a frozen dataclass of this project."""
    return canonical_json(_plain(value))


def parse_document(kind: type[T], data: bytes) -> T:
    """Return the value of type ``kind``, or raise DecodeError naming the field."""
    whole: object = kind
    return cast("T", _reader(whole)(parse_canonical(data), kind.__name__))


def plain_of(value: object) -> object:
    """A frozen dataclass as the objects, lists, texts and numbers that its document is of."""
    return _plain(value)


def value_of(kind: type[T], plain: object) -> T:
    """The value of type ``kind`` of a parsed document; DecodeError naming the field."""
    whole: object = kind
    return cast("T", _reader(whole)(plain, kind.__name__))


def plan_digest(plan: TrainingPlan) -> Digest:
    """Hash of the plan's canonical JSON under its label (protocol 3.1)."""
    return hash_with(Label.PLAN, document_of(plan))


def _plain(value: object) -> object:
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            name: _optional(getattr(value, name)) if optional else _plain(getattr(value, name))
            for name, optional in _fields(type(value))
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
def _hints(kind: type) -> Mapping[str, object]:
    """Types of a dataclass's fields; of a closed set of classes, so the cache is bounded."""
    return typing.get_type_hints(kind)


def _optional(value: object) -> object:
    """Optional fields are lists of one or none: canonical JSON has no null."""
    return [] if value is None else [_plain(value)]


@lru_cache(maxsize=512)
def _reader(kind: object) -> Reader:
    """What reads a value of the type ``kind``; made once for each type of a closed set."""
    origin = typing.get_origin(kind)
    if origin is tuple:
        return partial(_tuple, _reader(typing.get_args(kind)[0]))
    if origin in _UNIONS:
        options = [option for option in typing.get_args(kind) if option is not type(None)]
        return partial(_one_or_none, _reader(options[0]))
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


def _plain_type(kind: type, value: object, where: str) -> object:
    if type(value) is not kind:
        raise DecodeError(f"{where}: expected {kind.__name__}, seen {type(value).__name__}")
    return value


def _bytes(text: str) -> bytes:
    """The bytes of lower-case hex; ``fromhex`` alone would take capitals and spaces, too."""
    value = bytes.fromhex(text)
    if value.hex() != text:
        raise ValueError("not lower-case hex")
    return value


def _date(value: object, where: str) -> object:
    """A calendar date as YYYY-MM-DD, and in no other of ISO 8601's forms."""
    text = _plain_type(str, value, where)
    try:
        day = date.fromisoformat(cast("str", text))
    except ValueError as error:
        raise DecodeError(f"{where}: {value!r:.40} is no date") from error
    if day.isoformat() != text:
        raise DecodeError(f"{where}: {value!r:.40} is not written as YYYY-MM-DD")
    return day


def _enum_or_bytes(kind: type, value: object, where: str) -> object:
    try:
        if issubclass(kind, Enum):
            return kind(value)
        if isinstance(value, str):
            return _bytes(value)
    except ValueError as error:
        raise DecodeError(f"{where}: {value!r} is no {kind.__name__}") from error
    return _plain_type(kind, value, where)


def _one_or_none(read: Reader, value: object, where: str) -> object:
    found = _tuple(read, value, where)
    if len(found) > 1:
        raise DecodeError(f"{where}: {len(found)} values for an optional field")
    return found[0] if found else None


def _tuple(read: Reader, value: object, where: str) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise DecodeError(f"{where}: expected a list, seen {type(value).__name__}")
    return tuple(read(item, f"{where}[{i}]") for i, item in enumerate(value))


def _dataclass(kind: type, value: object, where: str) -> object:
    if not isinstance(value, dict):
        raise DecodeError(f"{where}: expected an object, seen {type(value).__name__}")
    hints = _hints(kind)
    names = [name for name, _ in _fields(kind)]
    if set(value) != set(names):
        odd = sorted(set(value) ^ set(names))
        raise DecodeError(f"{where}: unknown or missing fields {', '.join(odd)[:200]}")
    return kind(
        **{name: _reader(hints[name])(value[name], f"{where}.{name}") for name in names}
    )
