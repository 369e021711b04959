"""Frozen dataclasses <-> canonical JSON, strictly (protocol 0.5, 8.3).

Plans, requests, acceptances and uploads are hashed and signed as these bytes. A document
with an unknown field, a missing field or a value of another type is refused, so that two
parties never read different things out of the same bytes.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from typing import TypeVar, cast

from consortium.canonical import Label, canonical_json, hash_with, parse_canonical
from consortium.errors import DecodeError
from consortium.ids import Digest
from consortium.plan import TrainingPlan

T = TypeVar("T")

_UNIONS = (types.UnionType, typing.Union)


def document_of(value: object) -> bytes:
    """The canonical bytes of a frozen dataclass of this project."""
    return canonical_json(_plain(value))


def parse_document(kind: type[T], data: bytes) -> T:
    """Return the value of type ``kind``, or raise DecodeError naming the field."""
    return cast("T", _typed(kind, parse_canonical(data), kind.__name__))


def plan_digest(plan: TrainingPlan) -> Digest:
    """Hash of the plan's canonical JSON under its label (protocol 3.1)."""
    return hash_with(Label.PLAN, document_of(plan))


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = _hints(type(value))
        return {
            field.name: _field(hints[field.name], getattr(value, field.name))
            for field in dataclasses.fields(value)
        }
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    return value


@lru_cache(maxsize=256)
def _hints(kind: type) -> Mapping[str, object]:
    """Types of a dataclass's fields; of a closed set of classes, so the cache is bounded."""
    return typing.get_type_hints(kind)


def _field(kind: object, value: object) -> object:
    """Optional fields are lists of one or none: canonical JSON has no null."""
    if typing.get_origin(kind) in _UNIONS:
        return [] if value is None else [_plain(value)]
    return _plain(value)


def _typed(kind: object, value: object, where: str) -> object:
    origin = typing.get_origin(kind)
    if origin is tuple:
        return _tuple(typing.get_args(kind), value, where)
    if origin in _UNIONS:
        options = [option for option in typing.get_args(kind) if option is not type(None)]
        found = _tuple((options[0],), value, where)
        if len(found) > 1:
            raise DecodeError(f"{where}: {len(found)} values for an optional field")
        return found[0] if found else None
    supertype = getattr(kind, "__supertype__", None)
    if supertype is not None:
        return _typed(supertype, value, where)
    if isinstance(kind, type):
        return _plain_type(kind, value, where)
    raise DecodeError(f"{where}: no rule for {kind!r}")


def _plain_type(kind: type, value: object, where: str) -> object:
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, where)
    try:
        if issubclass(kind, Enum):
            return kind(value)
        if kind is bytes and isinstance(value, str):
            return bytes.fromhex(value)
    except ValueError as error:
        raise DecodeError(f"{where}: {value!r} is no {kind.__name__}") from error
    if type(value) is not kind:
        raise DecodeError(f"{where}: expected {kind.__name__}, seen {type(value).__name__}")
    return value


def _tuple(arguments: tuple[object, ...], value: object, where: str) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise DecodeError(f"{where}: expected a list, seen {type(value).__name__}")
    return tuple(_typed(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))


def _dataclass(kind: type, value: object, where: str) -> object:
    if not isinstance(value, dict):
        raise DecodeError(f"{where}: expected an object, seen {type(value).__name__}")
    hints = _hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    if set(value) != set(names):
        odd = sorted(set(value) ^ set(names))
        raise DecodeError(f"{where}: unknown or missing fields {', '.join(odd)[:200]}")
    return kind(**{name: _typed(hints[name], value[name], f"{where}.{name}") for name in names})
