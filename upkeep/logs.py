"""The logs of a serving process: one line an event, as text or as JSON, and no one's data.

A line holds what the house's own code says. Of an error that is foreign to the house it holds
the type and the places, never the error's own words: a library may quote the value that it
could not read, and that value may be a person's.
"""

import json
import logging
import sys
import threading
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType

from consortium.errors import ConfigurationError, RiskWeaveError

JSON, TEXT = "json", "text"
FORMS = (TEXT, JSON)

_CHAIN = 8
"""Errors behind an error that are named."""


def set_up(level: str, form: str) -> None:
    """Write what happens to standard error, also of threads and at an end nobody expected.

    Args:
        level: Of ``logging``, in any case.
        form: ``text`` or ``json``.

    Raises:
        ConfigurationError: neither is known.
    """
    known = logging.getLevelNamesMapping()
    if level.upper() not in known:
        raise ConfigurationError(f"RISKWEAVE_LOG = {level!r} is none of {', '.join(known)}")
    if form not in FORMS:
        raise ConfigurationError(f"RISKWEAVE_LOG_FORMAT = {form!r} is none of text, json")
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == JSON else TextLines())
    logging.basicConfig(level=known[level.upper()], handlers=[handler])
    sys.excepthook = _at_the_end
    threading.excepthook = _of_a_thread


class TextLines(logging.Formatter):
    """For people: time, level, where from, what; the places of an error on the same line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatException(self, ei: object) -> str:  # noqa: N802 - of the library
        """The error by type and places."""
        return f"  {_places(ei)}"


class JsonLines(logging.Formatter):
    """For machines: ``at`` (UTC, ISO 8601), ``level``, ``from``, ``says``, ``error`` if any."""

    def format(self, record: logging.LogRecord) -> str:
        """One object, one line."""
        error = {"error": _places(record.exc_info)} if record.exc_info else {}
        return json_line(
            record.created,
            {
                "level": record.levelname.lower(),
                "from": record.name,
                "says": record.getMessage(),
                **error,
            },
        )


def json_line(at: float, says: Mapping[str, str]) -> str:
    """One event as one line; ``at`` in seconds since 1970."""
    moment = datetime.fromtimestamp(at, tz=UTC).isoformat(timespec="milliseconds")
    return json.dumps({"at": moment, **says}, ensure_ascii=False)


def _places(raised: object) -> str:
    """Types and places of an error and those behind it; words only of errors of the house."""
    if not isinstance(raised, tuple) or not isinstance(raised[1], BaseException):
        return "no error"
    return _named(raised[1])


def _named(last: BaseException) -> str:
    error: BaseException | None = last
    parts: list[str] = []
    while error is not None and len(parts) < _CHAIN:
        words = f" ({error})" if isinstance(error, RiskWeaveError) else ""
        frames = traceback.extract_tb(error.__traceback__)
        where = " < ".join(f"{_short(one.filename)}:{one.lineno}" for one in reversed(frames))
        if isinstance(error, BaseExceptionGroup):
            words = f" ({'; '.join(map(_named, error.exceptions[:_CHAIN]))})"
        parts.append(f"{type(error).__name__}{words} at {where or 'nowhere'}")
        error = error.__cause__ or error.__context__
    return " <- ".join(parts)


def _short(path: str) -> str:
    return "/".join(path.split("/")[-2:])


def _at_the_end(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger(__name__).critical("the process ends", exc_info=(kind, error, trace))


def _of_a_thread(raised: threading.ExceptHookArgs) -> None:
    if raised.exc_value is None or isinstance(raised.exc_value, SystemExit):
        return
    name = raised.thread.name if raised.thread else "unknown"
    logging.getLogger(__name__).error(
        "thread %s ends",
        name,
        exc_info=(raised.exc_type, raised.exc_value, raised.exc_traceback),
    )
