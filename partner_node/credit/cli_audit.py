"""Verbs of ``riskweave desk`` for the regulator: commit to decisions, make drawn ones again."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from consortium.errors import ConfigurationError, OutOfOrderError
from consortium.ledger.bodies import band_of
from consortium.ledger.sealed import lines_of
from partner_node import wiring
from partner_node.credit.cli import add_verb, show
from partner_node.credit.opening import open_service
from partner_node.credit.sealing import (
    Answered,
    Sealer,
    SealPorts,
    answer_of,
    sign_answer,
    waiting,
)
from partner_node.keystore import write_file

if TYPE_CHECKING:
    Verbs: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

INCOMPLETE = 3
FAILED = 4
"""Exit statuses of `answer`, as of `riskweave node replay`."""
_STATUS = {"passed": 0, "incomplete": INCOMPLETE, "failed": FAILED}


def add_verbs(verbs: "Verbs") -> None:
    """Add them."""
    text = "commit in the log to all decisions since the last time; the node does so daily"
    add_verb(verbs, "seal", _seal, text)
    text = "make the decisions again that the regulator drew"
    verb = add_verb(verbs, "answer", _answer, text)
    verb.description = (
        f"{text}, from what is stored here, and compare them with what was committed to. "
        "Exit code 0: the same bytes, 3: some could not be made again, 4: some differ."
    )
    verb.add_argument("--sign", action="store_true", help="sign the answers for the log")
    verb.add_argument(
        "--out", type=Path, metavar="FILE", help="reports for the regulator, one on a line"
    )


def _seal(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    with open_service(desk) as service:
        made = Sealer(
            SealPorts(
                store=service.ports.store,
                log=desk.store().log,
                book=desk.book(),
                entropy=wiring.entropy,
                now=wiring.now,
            )
        ).seal()
    facts = {"batch": made.number, "decisions": band_of(made.count)}
    lines = [f"batch {made.number}: {facts['decisions']} decisions; the witness brings it"]
    return show(facts, lines, as_json=arguments.json)


def _answer(arguments: argparse.Namespace) -> int:
    with _answers(arguments.directory) as (found, desk):
        if not found:
            raise OutOfOrderError("no draw of decisions in the mirror of the log is open")
        if arguments.out is not None:
            _write(arguments.out, found)
        if arguments.sign:
            log, book = desk.store().log, desk.book()
            for one in found:
                sign_answer(log, book, one)
    lines = [line for one in found for line in (*lines_of(one.report, one.batch), *one.names)]
    facts = [
        {"batch": one.batch.number, "verdict": one.report.verdict, "differs": list(one.names)}
        for one in found
    ]
    show(facts, lines, as_json=arguments.json)
    return max(_STATUS[one.report.verdict] for one in found)


@contextmanager
def _answers(directory: Path) -> Iterator[tuple[list[Answered], wiring.Desk]]:
    desk = wiring.open_desk(directory)
    manifest = desk.known_pin().manifest
    with open_service(desk) as service:
        drawn = list(waiting(desk.store().log, manifest))
        code = wiring.code_digest()
        yield [answer_of(service, desk.config.partner, code, one) for one in drawn], desk


def _write(path: Path, found: list[Answered]) -> None:
    if path.exists():
        raise ConfigurationError(f"{path} is there already")
    write_file(path, b"".join(one.report.to_bytes() + b"\n" for one in found))
