"""``riskweave desk decide DIR --file FILE``: a portfolio, one application a line.

Answers are printed in the order of the lines while they come. With a key a run that was cut
off is taken up by running it again: what was decided brings the same bytes.
"""

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from uuid import UUID, uuid5

from consortium.errors import ConfigurationError, DecodeError
from consortium.inquiries import LARGEST_BATCH
from partner_node.credit.forms import LARGEST, check_key
from partner_node.desk_wire import BATCH_LIMIT, Named
from partner_node.loan_desk import Failure

SOME_FAILED = 4
"""Exit status if an application of several got no decision."""

_LARGEST = BATCH_LIMIT - (64 << 10)
"""Bytes of the documents of one message; the rest is for keys and lengths."""

DecideMany = Callable[[Iterable[list[Named]]], Iterator[list[bytes | Failure]]]


def decide_lines(path: str, key: str, decide: DecideMany, *, as_json: bool) -> int:
    """Have all lines decided and print one line for each; then how many came to what.

    Args:
        path: Of the file; ``-``: standard input.
        key: A UUID from which each line's key follows, by its number; empty: no keys.
        decide: The desk's door.
        as_json: Print each answer as it was given, ``{"failure": ...}`` where there is none.

    Raises:
        ConfigurationError: the file cannot be read.
        DecodeError: the key is no UUID, or a line is longer than an application may be.
    """
    tally = Counter[str]()
    with _lines(path) as lines:
        asked = _named(lines, check_key(key))
        for replies in decide(_parts(asked)):
            for one in replies:
                place = tally.total() + 1
                tally[_outcome(one)] += 1
                line = _as_json(one) if as_json else _as_text(place, one)
                sys.stdout.write(f"{line}\n")
    came = ", ".join(f"{count:,} {name}" for name, count in sorted(tally.items()))
    sys.stderr.write(f"{came or 'no applications'}\n")
    return SOME_FAILED if tally[_FAILED] else 0


_FAILED = "not decided"


@contextlib.contextmanager
def _lines(path: str) -> Iterator[Iterable[bytes]]:
    if path == "-":
        yield sys.stdin.buffer
        return
    try:
        with Path(path).open("rb") as file:
            yield file
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error


def _named(lines: Iterable[bytes], key: str) -> Iterator[Named]:
    place = 0
    for line in lines:
        document = line.strip()
        if not document:
            continue
        place += 1
        if len(document) > LARGEST:
            raise DecodeError(f"line {place}: more than {LARGEST} bytes")
        yield Named(document=document, key=str(uuid5(UUID(key), str(place))) if key else "")


def _parts(asked: Iterator[Named]) -> Iterator[list[Named]]:
    """As many as one message holds, by number and by bytes."""
    part, size = list[Named](), 0
    for one in asked:
        if part and (len(part) == LARGEST_BATCH or size + len(one.document) > _LARGEST):
            yield part
            part, size = [], 0
        part.append(one)
        size += len(one.document)
    if part:
        yield part


def _outcome(one: bytes | Failure) -> str:
    if isinstance(one, Failure):
        return _FAILED
    found: str = json.loads(one)["decision"]["outcome"]
    return found


def _as_json(one: bytes | Failure) -> str:
    if isinstance(one, Failure):
        return json.dumps({"failure": {"code": one.code, "text": one.text}})
    return one.decode()


def _as_text(place: int, one: bytes | Failure) -> str:
    if isinstance(one, Failure):
        return f"line {place}: {_FAILED}: {one.code}: {one.text}"
    answer = json.loads(one)
    made = answer["decision"]
    codes = " ".join(reason["code"] for reason in answer["reasons"]) or made["code"]
    grade = "".join(made["grade"]) or "-"
    return (
        f"{made['application']}: {made['outcome']}, limit {made['limit']:,}, grade {grade}"
        f"{', ' + codes if codes else ''}, decision {answer['id']}"
    )
