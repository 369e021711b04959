"""``riskweave coordinator``: the verbs of upkeep. Arguments in, lines of text out."""

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from consortium.manifest import parse_manifest
from coordinator import registry, waiting, wiring
from coordinator.config import load_config
from coordinator.waiting import Goal
from upkeep.backup import Facts, restore_backup, write_backup

if TYPE_CHECKING:
    Verbs: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

_DAY_S = 86_400
_ROLE = "coordinator"


def add_verbs(verbs: "Verbs") -> None:
    """Add them."""
    text = "write one file with keys, settings and databases, while it serves or not"
    verb = verbs.add_parser("backup", help=text, description=text)
    verb.set_defaults(command=_backup)
    verb.add_argument("directory", metavar="DIR", type=Path, help="coordinator directory")
    verb.add_argument("out", metavar="OUT", type=Path, help="new file; it holds the keys")

    text = "make the directory again from a backup"
    verb = verbs.add_parser("restore", help=text, description=text)
    verb.set_defaults(command=_restore)
    verb.add_argument("source", metavar="OUT", type=Path, help="what `backup` wrote")
    verb.add_argument("directory", metavar="DIR", type=Path, help="new or empty")

    text = "wait, as one cheap process, until so many have joined, are connected, and so on"
    verb = verbs.add_parser("wait", help=text, description=text)
    verb.set_defaults(command=_wait)
    verb.add_argument("directory", metavar="DIR", type=Path, help="coordinator directory")
    goals = verb.add_mutually_exclusive_group(required=True)
    for goal, what in (
        (Goal.JOINED, "members that have enrolled, regulators too"),
        (Goal.CONNECTED, "partners with both streams up under a manifest in force"),
        (Goal.ACTIVE, "models and heads in use; ends if the newest candidate is voted down"),
        (Goal.COSIGNED, "members that have cosigned all that is in the log now"),
    ):
        goals.add_argument(f"--{goal}", metavar="N", type=int, help=what)
    verb.add_argument(
        "--timeout", metavar="SECONDS", type=float, default=_DAY_S, help="(%(default)s)"
    )


def _wait(arguments: argparse.Namespace) -> int:
    goal = next(goal for goal in Goal if getattr(arguments, goal) is not None)
    desk = wiring.open_desk(arguments.directory)
    least: int = getattr(arguments, goal)

    def look() -> int:
        found = waiting.count(desk, goal)
        manifest = desk.membership.current()
        if goal is Goal.ACTIVE and found < least and manifest is not None:
            registry.check_hope(desk.store, manifest)
        return found

    seen = waiting.wait(
        look,
        least,
        wiring.pause,
        seconds=arguments.timeout,
    )
    print(f"{seen} {goal}")
    return 0


def wait_for_partners(desk: wiring.Desk) -> None:
    """Until the newest manifest is in force and every partner of it is connected.

    Raises:
        ManifestError: none is proposed.
        TransportError: not all are there after a day.
    """
    partners = parse_manifest(desk.membership.bundle(None).body).partners
    waiting.wait(
        lambda: waiting.count(desk, Goal.CONNECTED),
        len(partners),
        wiring.pause,
        seconds=_DAY_S,
    )


def _backup(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.directory)
    facts = write_backup(
        config.directory,
        arguments.out,
        Facts(
            role=_ROLE,
            name=config.federation,
            software=wiring.software(),
            made_at=wiring.now(),
            files={},
        ),
    )
    print(f"{arguments.out}: {len(facts.files)} files of {facts.name}, keys included")
    if config.storage_url.startswith("postgresql"):
        print("the database is not in it: pg_dump, docs/operations.md")
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    facts = restore_backup(arguments.source, arguments.directory, _ROLE)
    made = datetime.fromtimestamp(facts.made_at, tz=UTC).isoformat(timespec="seconds")
    print(f"{arguments.directory}: {facts.name} as of {made}, by {facts.software}")
    print("nodes refuse a log that is shorter than what they have: docs/operations.md")
    return 0
