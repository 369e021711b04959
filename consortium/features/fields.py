"""Typed reading of one table of a schema file; an unknown key is refused.

Each text of an error names the file, the table, the key, what was seen and what is expected.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from consortium.errors import SchemaError

E = TypeVar("E", bound=StrEnum)

_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,30})?")
_TEXT_LIMIT = 400


class Fields:
    """Takes keys out of one table; ``done`` refuses what is left."""

    def __init__(self, values: object, where: str) -> None:
        if not isinstance(values, Mapping):
            raise SchemaError(f"{where}: expected a table, seen {type(values).__name__}")
        self._left = dict(values)
        self._where = where

    def refuse(self, key: str, problem: str) -> SchemaError:
        """The error to raise about ``key``."""
        return SchemaError(f"{self._where}: {key}: {problem}")

    def rename(self, where: str) -> None:
        """Name the table in later errors, once its name is known."""
        self._where = where

    def names(self) -> tuple[str, ...]:
        """The keys not yet taken."""
        return tuple(self._left)

    def done(self) -> None:
        """Raise SchemaError if a key was not taken."""
        if self._left:
            unknown = min(str(key) for key in self._left)
            raise SchemaError(f"{self._where}: unknown key {unknown[:64]!r}")

    def take(self, key: str) -> object:
        """The raw value, or None if there is none."""
        return self._left.pop(key, None)

    def text(self, key: str, default: str | None = None) -> str:
        """A text that is not empty."""
        value = self._left.pop(key, default)
        if value is None:
            raise self.refuse(key, "missing")
        if not isinstance(value, str) or not value.strip() or len(value) > _TEXT_LIMIT:
            raise self.refuse(key, f"expected a text of 1 to {_TEXT_LIMIT} characters")
        return value

    def name(self, key: str, pattern: str) -> str:
        """A text of the form ``pattern``."""
        value = self.text(key)
        if not re.fullmatch(pattern, value):
            raise self.refuse(key, f"{value[:64]!r} is not of the form {pattern}")
        return value

    def integer(self, key: str) -> int:
        """A positive whole number."""
        value = self._left.pop(key, None)
        if type(value) is not int or not 0 < value < 2**31:
            raise self.refuse(key, "expected a positive whole number")
        return value

    def choice(self, key: str, kind: type[E], default: E | None = None) -> E:
        """A member of ``kind``."""
        value = self.text(key, None if default is None else default.value)
        if value not in set(kind):
            raise self.refuse(key, f"{value[:64]!r} is none of {', '.join(kind)}")
        return kind(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of different texts, none of them empty; () if the key is absent."""
        values = self._items(key)
        texts = tuple(value for value in values if isinstance(value, str) and value.strip())
        if len(texts) != len(values) or len(set(texts)) != len(texts):
            raise self.refuse(key, "expected a list of different texts in quotes")
        return texts

    def decimals(self, key: str) -> tuple[str, ...]:
        """A list of decimals, as they were written; () if absent."""
        texts = tuple(str(value) for value in self._items(key))
        for text in texts:
            if not _DECIMAL.fullmatch(text):
                raise self.refuse(key, f"{text[:64]!r} is not a decimal such as -1250.5")
        return texts

    def table(self, key: str) -> dict[str, object]:
        """A table within this one, unchecked."""
        value = self._left.pop(key, None)
        if not isinstance(value, dict):
            raise self.refuse(key, f"expected a table, seen {type(value).__name__}")
        return value

    def pairs(self, key: str) -> tuple[tuple[str, str], ...]:
        """A table from text to text; () if absent."""
        value = self._left.pop(key, None)
        if value is None:
            return ()
        inner = Fields(value, f"{self._where}: {key}")
        return tuple((name, inner.text(name)) for name in sorted(inner.names()))

    def tables(self, key: str) -> list[object]:
        """A list of tables, as written ``[[key]]``; [] if absent."""
        return self._items(key)

    def _items(self, key: str) -> list[object]:
        value = self._left.pop(key, None)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.refuse(key, f"expected a list, seen {type(value).__name__}")
        return value
