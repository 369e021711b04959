"""``riskweave coordinator``: the verbs of upkeep. Arguments in, lines of text out."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from coordinator import waiting, wiring
from coordinator.waiting import Goal

if TYPE_CHECKING:
    Verbs: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

_DAY_S = 86_400


def add_verbs(verbs: "Verbs") -> None:
    """Add them."""
    text = "wait, as one cheap process, until so many have joined, are connected or are active"
    verb = verbs.add_parser("wait", help=text, description=text)
    verb.set_defaults(command=_wait)
    verb.add_argument("directory", metavar="DIR", type=Path, help="coordinator directory")
    goals = verb.add_mutually_exclusive_group(required=True)
    for goal, what in (
        (Goal.JOINED, "members that have enrolled, regulators too"),
        (Goal.CONNECTED, "partners with both streams up under a manifest in force"),
        (Goal.ACTIVE, "models and heads in use"),
    ):
        goals.add_argument(f"--{goal}", metavar="N", type=int, help=what)
    verb.add_argument(
        "--timeout", metavar="SECONDS", type=float, default=_DAY_S, help="(%(default)s)"
    )


def _wait(arguments: argparse.Namespace) -> int:
    goal = next(goal for goal in Goal if getattr(arguments, goal) is not None)
    desk = wiring.open_desk(arguments.directory)
    seen = waiting.wait(
        lambda: waiting.count(desk, goal),
        getattr(arguments, goal),
        wiring.pause,
        seconds=arguments.timeout,
    )
    print(f"{seen} {goal}")
    return 0
