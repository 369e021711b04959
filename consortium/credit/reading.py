"""Typed reading of packs, policies and catalogues; an unknown key is refused (credit 5).

Each error names the file, the line, the field, what was seen and what is expected. Lines
are found by reading the text a second time: they serve who corrects the file, and decide
nothing.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from enum import StrEnum
from itertools import pairwise
from typing import TypeVar

from consortium.credit.terms import LARGEST_MINOR, Ppm, Span, parse_currency, parse_ppm
from consortium.errors import DomainError, PolicyError
from consortium.features.toml_text import tables_of

E = TypeVar("E", bound=StrEnum)

Path = tuple[str, ...]

LARGEST_FILE = 1 << 20
"""Bytes of one file."""

_TEXT_LIMIT = 400
_HEADER = re.compile(r"^\s*\[(\[)?\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"^\s*([A-Za-z0-9_\-.\"']+)\s*=")
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}")
_PAIR = 2


class Source:
    """A file's name and the line of each of its keys."""

    def __init__(self, name: str, text: str = "") -> None:
        self._name = name
        self._lines = _lines_of(text)

    def refuse(self, path: Path, seen: object, expected: str) -> PolicyError:
        """The error to raise about the field at ``path``."""
        field = ".".join(path) or "the file"
        line = self._line(path)
        return PolicyError(
            f"{self._name}{f', line {line}' if line else ''}: {field}: "
            f"seen {shown(seen)}, expected {expected}"
        )

    def _line(self, path: Path) -> int:
        """Of the field, or of the nearest table around it."""
        while path:
            if path in self._lines:
                return self._lines[path]
            path = path[:-1]
        return 0


def shown(value: object) -> str:
    """A value as an error tells it."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a table"
    return f"{value!r:.80}"


def _lines_of(text: str) -> dict[Path, int]:
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    for number, line in enumerate(text.splitlines(), start=1):
        header, key = _HEADER.match(line), _KEY.match(line)
        if header:
            table = _path_of(header.group(2))
            if header.group(1):
                counts[table] = counts.get(table, -1) + 1
                table = (*table, str(counts[table]))
            for length in range(1, len(table) + 1):
                lines.setdefault(table[:length], number)
        elif key:
            lines.setdefault((*table, *_path_of(key.group(1))), number)
    return lines


def _path_of(dotted: str) -> Path:
    return tuple(part.strip().strip("\"'") for part in dotted.split(".") if part.strip())


class Table:
    """Takes keys out of one table; ``done`` refuses what is left."""

    def __init__(self, values: object, source: Source, path: Path = ()) -> None:
        if not isinstance(values, Mapping):
            raise source.refuse(path, values, "a table")
        self._left = dict(values)
        self._source = source
        self.path = path

    def refuse(self, key: str, seen: object, expected: str) -> PolicyError:
        """The error to raise about ``key``, a dotted path; about this table if it is empty."""
        return self._source.refuse((*self.path, *_path_of(key)), seen, expected)

    def done(self) -> None:
        """Raise PolicyError if a key was not taken."""
        if self._left:
            unknown = min(map(str, self._left))
            raise self.refuse(unknown, self._left.get(unknown), "no such key here")

    def has(self, key: str) -> bool:
        """Whether the key is there and not yet taken."""
        return key in self._left

    def keys(self) -> tuple[str, ...]:
        """The keys not yet taken."""
        return tuple(map(str, self._left))

    def table(self, key: str, *, optional: bool = False) -> "Table":
        """A table within this one; an empty one if it may be absent and is."""
        value = self._left.pop(key, {} if optional else None)
        return Table(value, self._source, (*self.path, key))

    def tables(self, key: str) -> list["Table"]:
        """A list of tables, as written ``[[key]]``; [] if absent."""
        return [
            Table(item, self._source, (*self.path, key, str(place)))
            for place, item in enumerate(self._items(key, default=[]))
        ]

    def text(self, key: str, default: str | None = None) -> str:
        """A text that is not empty."""
        value = self._left.pop(key, default)
        if not isinstance(value, str) or not value.strip() or len(value) > _TEXT_LIMIT:
            raise self.refuse(key, value, f"a text of 1 to {_TEXT_LIMIT} characters")
        return value

    def identifier(self, key: str) -> str:
        """A short name of letters, digits and ``_.-``."""
        value = self.text(key)
        if not _IDENTIFIER.fullmatch(value):
            raise self.refuse(key, value, "a name of letters, digits, '_', '.' and '-'")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of different texts; () if absent."""
        values = self._items(key, default=[])
        texts = tuple(one for one in values if isinstance(one, str) and one.strip())
        if len(texts) != len(values) or len(set(texts)) != len(texts):
            raise self.refuse(key, values, "a list of different texts")
        return texts

    def choice(self, key: str, kind: type[E], default: E | None = None) -> E:
        """A member of ``kind``."""
        value = self._left.pop(key, default)
        if not isinstance(value, str) or value not in set(kind):
            raise self.refuse(key, value, f"one of {', '.join(kind)}")
        return kind(value)

    def choices(self, key: str, kind: type[E]) -> tuple[E, ...]:
        """Different members of ``kind``, in its order; () if absent."""
        values = self.texts(key)
        for value in values:
            if value not in set(kind):
                raise self.refuse(key, value, f"some of {', '.join(kind)}")
        return tuple(one for one in kind if one.value in values)

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        """``true`` or ``false``."""
        value = self._left.pop(key, default)
        if type(value) is not bool:
            raise self.refuse(key, value, "true or false")
        return value

    def integer(
        self, key: str, least: int = 1, most: int = LARGEST_MINOR, *, default: int | None = None
    ) -> int:
        """A whole number within bounds."""
        value = self._left.pop(key, default)
        if type(value) is not int or not least <= value <= most:
            raise self.refuse(key, value, f"a whole number of {least} to {most}")
        return value

    def integers(self, key: str, least: int = 1) -> tuple[int, ...]:
        """A list of whole numbers."""
        values = self._items(key)
        for value in values:
            if type(value) is not int or not least <= value <= LARGEST_MINOR:
                raise self.refuse(key, value, f"a list of whole numbers from {least}")
        return tuple(value for value in values if isinstance(value, int))

    def span_of_integers(self, key: str, least: int = 1) -> tuple[int, int]:
        """``[lowest, highest]``; an inverted range is refused."""
        values = self.integers(key, least)
        if len(values) != _PAIR or values[0] > values[1]:
            raise self.refuse(key, list(values), "[lowest, highest], in this order")
        return values[0], values[1]

    def share(self, key: str, most: str = "1", *, default: str | None = None) -> Ppm:
        """A decimal from 0 to ``most``, in millionths."""
        return self._share(key, self._left.pop(key, default), most)

    def shares(self, key: str, most: str = "1") -> tuple[Ppm, ...]:
        """A list of decimals, in millionths."""
        return tuple(self._share(key, value, most) for value in self._items(key))

    def span_of_shares(self, key: str, most: str) -> tuple[Ppm, Ppm]:
        """``["lowest", "highest"]`` in millionths; an inverted range is refused."""
        values = self.shares(key, most)
        if len(values) != _PAIR or values[0] > values[1]:
            raise self.refuse(key, list(values), '["lowest", "highest"], in this order')
        return values[0], values[1]

    def decimals(self, key: str) -> tuple[str, ...]:
        """A list of decimals between 0 and 1, as written, strictly rising."""
        texts = tuple(map(str, self._items(key)))
        values = tuple(self._share(key, text, "1") for text in texts)
        inside = all(0 < value < parse_ppm("1") for value in values)
        if not inside or any(low >= high for low, high in pairwise(values)):
            raise self.refuse(key, list(texts), "decimals between 0 and 1, strictly rising")
        return texts

    def decimal(self, key: str, default: str | None = None) -> str:
        """A decimal strictly between 0 and 1, as written."""
        value = self._left.pop(key, default)
        if not 0 < self._share(key, value, "1") < parse_ppm("1"):
            raise self.refuse(key, value, "a decimal strictly between 0 and 1")
        return str(value)

    def currency(self, key: str) -> str:
        """An ISO 4217 code."""
        value = self.text(key)
        try:
            return parse_currency(value)
        except DomainError as error:
            raise self.refuse(key, value, "a currency code such as CNY") from error

    def day(self, key: str) -> date:
        """A calendar date."""
        value = self._left.pop(key, None)
        if type(value) is not date:
            raise self.refuse(key, value, "a date such as 2026-11-01")
        return value

    def span(self) -> Span:
        """``effective_from`` and, if there is one, ``effective_to``."""
        start = self.day("effective_from")
        end = self.day("effective_to") if self.has("effective_to") else None
        if end is not None and end <= start:
            raise self.refuse("effective_to", end.isoformat(), f"a date after {start}")
        return Span(start, end)

    def _share(self, key: str, value: object, most: str) -> Ppm:
        try:
            found = parse_ppm(value) if isinstance(value, str) else None
        except DomainError:
            found = None
        if found is None or found > parse_ppm(most):
            raise self.refuse(key, value, f'a decimal such as "0.24", of at most {most}')
        return found

    def _items(self, key: str, *, default: list[object] | None = None) -> Sequence[object]:
        value = self._left.pop(key, default)
        if not isinstance(value, list):
            raise self.refuse(key, value, "a list")
        return value


def read_toml(data: bytes, source: str) -> Table:
    """The top table of a file.

    Decimals keep the digits that were written.

    Raises:
        PolicyError: too large, not UTF-8, or not TOML.
    """
    if len(data) > LARGEST_FILE:
        raise PolicyError(f"{source}: {len(data)} bytes, expected at most {LARGEST_FILE}")
    try:
        text = data.decode("utf-8")
        values = tables_of(text)
    except ValueError as error:
        raise PolicyError(f"{source}: not TOML: {error}") from error
    return Table(values, Source(source, text))
