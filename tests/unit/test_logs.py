"""Logs are lines of one form, and quote nobody's data: not even what a library quotes."""

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from io import StringIO

import pytest

from consortium.errors import ConfigurationError, DataError
from regulator import wiring as regulator_wiring
from upkeep import logs

PLANTED = "Adelheid Zwanziger 7301994"


@pytest.fixture
def written() -> Iterator[tuple[logging.Logger, StringIO]]:
    stream = StringIO()
    logger = logging.getLogger("tests.logs")
    logger.propagate = False
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    yield logger, stream
    logger.removeHandler(handler)


def use(logger: logging.Logger, form: logging.Formatter) -> None:
    logger.handlers[0].setFormatter(form)


def stumble() -> None:
    """An error of a library that quotes what it could not read, behind two others."""
    try:
        try:
            int(PLANTED)
        except ValueError as error:
            raise KeyError(PLANTED) from error
    except KeyError as error:
        raise ExceptionGroup(PLANTED, [RuntimeError(PLANTED)]) from error


@pytest.mark.parametrize("form", [logs.TextLines(), logs.JsonLines()])
def test_value_that_a_foreign_error_quotes_is_in_no_line(
    written: tuple[logging.Logger, StringIO], form: logging.Formatter
) -> None:
    logger, stream = written
    use(logger, form)
    try:
        stumble()
    except ExceptionGroup:
        logger.exception("it failed")
    seen = stream.getvalue()
    assert PLANTED not in seen
    assert "7301994" not in seen
    for part in ("it failed", "ValueError", "KeyError", "RuntimeError", "test_logs.py:"):
        assert part in seen


def test_error_of_the_house_says_its_words(
    written: tuple[logging.Logger, StringIO],
) -> None:
    logger, stream = written
    use(logger, logs.JsonLines())
    logger.error("the table", exc_info=DataError("row 7: not of its form"))
    assert "row 7: not of its form" in json.loads(stream.getvalue())["error"]


def test_json_line_is_one_line_with_time_level_origin_and_text(
    written: tuple[logging.Logger, StringIO],
) -> None:
    logger, stream = written
    use(logger, logs.JsonLines())
    logger.warning("two\nlines of %s", "text")
    (line,) = stream.getvalue().splitlines()
    seen = json.loads(line)
    assert (seen["level"], seen["from"], seen["says"]) == (
        "warning",
        "tests.logs",
        "two\nlines of text",
    )
    assert seen["at"].endswith("+00:00")


def test_end_that_nobody_expected_quotes_nothing_either() -> None:
    """In a process of its own: the hooks of interpreter and threads are replaced."""
    program = (
        "import threading; from upkeep import logs; logs.set_up('info', 'json')\n"
        f"def fall(): int({PLANTED!r})\n"
        "thread = threading.Thread(target=fall); thread.start(); thread.join()\n"
        "fall()\n"
    )
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["level"] for line in lines] == ["error", "critical"]
    assert "7301994" not in done.stderr


@pytest.mark.parametrize(("level", "form"), [("loud", "json"), ("info", "yaml")])
def test_unknown_level_or_form_is_refused(level: str, form: str) -> None:
    before = (sys.excepthook, threading.excepthook)
    with pytest.raises(ConfigurationError):
        logs.set_up(level, form)
    assert (sys.excepthook, threading.excepthook) == before


def test_regulators_watch_speaks_the_same_form(monkeypatch: pytest.MonkeyPatch) -> None:
    assert regulator_wiring.log_line("ALARM rollback: x") == "ALARM rollback: x"
    monkeypatch.setenv("RISKWEAVE_LOG_FORMAT", "json")
    line = json.loads(regulator_wiring.log_line("ALARM rollback: x"))
    assert (line["level"], line["says"]) == ("error", "ALARM rollback: x")
