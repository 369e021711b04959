"""``riskweave node``: the verbs of upkeep. Arguments in, lines of text out."""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from partner_node import wiring
from partner_node.left_journal import MEANINGS, Left

if TYPE_CHECKING:
    Verbs: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001


def add_verbs(verbs: "Verbs") -> None:
    """Add them."""
    text = "every class of byte that ever left this node: count, size and running hash"
    verb = verbs.add_parser("what-left", help=text, description=text)
    verb.set_defaults(command=_what_left)
    verb.add_argument("directory", metavar="DIR", type=Path, help="node directory")
    verb.add_argument("--json", action="store_true", help="print JSON for scripts")


def _what_left(arguments: argparse.Namespace) -> int:
    rows = wiring.open_desk(arguments.directory).left().rows()
    if arguments.json:
        print(json.dumps([_facts(row) for row in rows]))
        return 0
    for row in rows:
        since = datetime.fromtimestamp(row.first, tz=UTC).date()
        print(
            f"{row.kind:<22} {row.count:>9,} frames {row.size:>15,} bytes  since {since}  "
            f"{row.chain.hex()[:16]}  {MEANINGS.get(row.kind, '')}"
        )
    total = sum(row.size for row in rows)
    print(f"{'all':<22} {sum(row.count for row in rows):>9,} frames {total:>15,} bytes")
    return 0


def _facts(row: Left) -> dict[str, object]:
    return {
        "class": row.kind,
        "count": row.count,
        "bytes": row.size,
        "chain": row.chain.hex(),
        "first": row.first,
        "last": row.last,
        "meaning": MEANINGS.get(row.kind, ""),
    }
