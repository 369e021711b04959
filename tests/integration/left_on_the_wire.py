"""A node's journal of what left, against all that a tap saw of it."""

from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from consortium import codec
from consortium.codec import StreamKind
from consortium.errors import RiskWeaveError
from consortium.messages import Hello
from partner_node.left_journal import Left, LeftJournal, chained
from partner_node.link_stream import class_of
from tests.integration.wiretap import PREFACE, Tap, messages
from upkeep import traces


def left_at(node: Path) -> dict[str, Left]:
    """What has left, by class."""
    with closing(LeftJournal(node / "left.db", now=lambda: 0)) as journal:
        return {row.kind: row for row in journal.rows()}


def journal_against(
    tap: Tap, before: Mapping[str, Left], after: Mapping[str, Left]
) -> dict[str, tuple[int, int]]:
    """Compare class by class what was noted since ``before`` with what the tap saw.

    Returns:
        Class -> count and bytes that were noted.
    """
    seen: dict[str, list[bytes]] = defaultdict(list)
    for flow in tap.flows:
        if not flow.startswith(PREFACE):
            continue  # from the coordinator
        sent = list(messages(bytes(flow)))
        for name, message in zip(_classes(sent), sent, strict=True):
            seen[name].append(message)
    asked = seen.pop("ask", [])
    new = {name: _since(after[name], before.get(name)) for name in after}
    assert {name for name, (count, _) in new.items() if count} >= set(seen)
    for name, sent in seen.items():
        count, size = new[name]
        if name.endswith(("Heartbeat", "Goodbye")):
            assert 0 <= count - len(sent) <= 2, "noted, and cut off before it was sent"
            continue
        assert (count, size) == (len(sent), sum(map(len, sent))), name
        known = before.get(name)
        chain = known.chain if known else bytes(32)
        for one in sent:
            chain = chained(chain, one)
        assert after[name].chain == chain, name
    asks = [new[name] for name in new if name.startswith("ask.")]
    assert sum(count for count, _ in asks) == len(asked)
    assert sum(size for _, size in asks) == sum(map(len, asked))
    unseen = {name for name, (count, _) in new.items() if count and name not in seen}
    assert all(name.startswith("ask.") or name == traces.CLASS for name in unseen), unseen
    return new


def _since(after: Left, before: Left | None) -> tuple[int, int]:
    known = (0, 0) if before is None else (before.count, before.size)
    return after.count - known[0], after.size - known[1]


def _classes(sent: list[bytes]) -> list[str]:
    """The class of each message of one connection: a stream greets first, a question not."""
    kind = StreamKind.SCORING
    if any(b"train.upload" in one for one in sent):
        kind = StreamKind.TRAINING
    try:
        bodies = [codec.decode_up(kind, one).body for one in sent]
    except RiskWeaveError:
        return ["ask"] * len(sent)
    if not bodies or not isinstance(bodies[0], Hello):
        return ["ask"] * len(sent)
    return [class_of(kind, body) for body in bodies]
