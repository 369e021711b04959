"""``riskweave node``: the verbs of upkeep. Arguments in, lines of text out."""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from partner_node import wiring
from partner_node.config_reading import load_config
from partner_node.left_journal import MEANINGS, Left
from upkeep.backup import Facts, restore_backup, write_backup

if TYPE_CHECKING:
    from partner_node.cli_verbs import Verbs

_ROLE = "node"


def add_verbs(verbs: "Verbs") -> None:
    """Add them."""
    text = "write one file with keys, settings and databases, while it serves or not"
    verb = verbs.add_parser("backup", help=text, description=text)
    verb.set_defaults(command=_backup)
    verb.add_argument("directory", metavar="DIR", type=Path, help="node directory")
    verb.add_argument("out", metavar="OUT", type=Path, help="new file; it holds the keys")

    text = "make the directory again from a backup"
    verb = verbs.add_parser("restore", help=text, description=text)
    verb.set_defaults(command=_restore)
    verb.add_argument("source", metavar="OUT", type=Path, help="what `backup` wrote")
    verb.add_argument("directory", metavar="DIR", type=Path, help="new or empty")

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


def _backup(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.directory)
    facts = write_backup(
        config.directory,
        arguments.out,
        Facts(
            role=_ROLE,
            name=config.partner,
            software=wiring.software(),
            made_at=wiring.now(),
            files={},
        ),
    )
    print(f"{arguments.out}: {len(facts.files)} files of {facts.name}, keys included")
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    facts = restore_backup(arguments.source, arguments.directory, _ROLE)
    made = datetime.fromtimestamp(facts.made_at, tz=UTC).isoformat(timespec="seconds")
    print(f"{arguments.directory}: {facts.name} as of {made}, by {facts.software}")
    print(f"before it serves: riskweave node budget {arguments.directory} --accept-log")
    return 0
