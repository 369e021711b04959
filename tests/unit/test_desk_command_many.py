"""``riskweave desk decide --file``: a line each, in order, taken up again by its key."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from consortium.errors import ConfigurationError, DecodeError
from partner_node.credit.cli_many import SOME_FAILED, decide_lines
from partner_node.desk_wire import Named
from partner_node.loan_desk import Failure

KEY = str(UUID(int=5))


class Door:
    """Answers each application by its name; ``odd`` fails."""

    def __init__(self) -> None:
        self.batches: list[list[Named]] = []

    def __call__(self, batches: Iterable[list[Named]]) -> Iterator[list[bytes | Failure]]:
        for batch in batches:
            self.batches.append(batch)
            yield [self.answer(one) for one in batch]

    def answer(self, one: Named) -> bytes | Failure:
        name = json.loads(one.document)["application"]
        if name == "odd":
            return Failure("decode", "wish: not an object")
        made = {"application": name, "outcome": "REFER", "limit": 0, "grade": [], "code": "R20"}
        return json.dumps({"decision": made, "reasons": [], "id": "0" * 64}).encode()


def write(path: Path, names: Iterable[str]) -> str:
    path.write_text("".join(json.dumps({"application": one}) + "\n\n" for one in names))
    return str(path)


def test_lines_are_answered_in_order_and_failures_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, door = write(tmp_path / "many", ["a-1", "odd", "a-2"]), Door()
    assert decide_lines(path, "", door, as_json=False) == SOME_FAILED
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()] == ["a-1", "line 2", "a-2"]
    assert err == "2 REFER, 1 not decided\n"
    assert decide_lines(path, "", door, as_json=True) == SOME_FAILED
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [next(iter(one)) for one in shown] == ["decision", "failure", "decision"]


def test_keys_follow_from_one_key_and_the_line(tmp_path: Path) -> None:
    path, first, again = write(tmp_path / "many", map(str, range(600))), Door(), Door()
    assert decide_lines(path, KEY, first, as_json=True) == 0
    assert decide_lines(path, KEY, again, as_json=True) == 0
    assert first.batches == again.batches
    assert [len(batch) for batch in first.batches] == [256, 256, 88]
    keys = [one.key for batch in first.batches for one in batch]
    assert len(set(keys)) == 600
    assert all(UUID(key) for key in keys)


def test_large_lines_go_in_messages_that_a_desk_takes(tmp_path: Path) -> None:
    path, door = tmp_path / "many", Door()
    line = json.dumps({"application": "a", "attributes": "x" * 60_000})
    path.write_text(f"{line}\n" * 100)
    assert decide_lines(str(path), "", door, as_json=True) == 0
    assert len(door.batches) > 1
    assert all(sum(len(one.document) for one in batch) < 4 << 20 for batch in door.batches)


def test_what_cannot_be_read_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    door = Door()
    with pytest.raises(ConfigurationError):
        decide_lines(str(tmp_path / "none"), "", door, as_json=True)
    with pytest.raises(DecodeError, match="UUID"):
        decide_lines(write(tmp_path / "many", ["a"]), "no key", door, as_json=True)
    assert door.batches == []
