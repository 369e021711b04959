"""``riskweave coordinator``: the verbs that start a run, and how one is followed to its end."""

import argparse
import json
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from consortium.errors import ConfigurationError
from consortium.ids import parse_partner_id
from coordinator import cli_upkeep, commands, control, wiring
from coordinator.calibration import HeadSettings
from coordinator.config import load_config
from coordinator.events import RunEvent
from coordinator.verbs import add_verb, with_json

if TYPE_CHECKING:
    from coordinator.verbs import Verbs


def add_verbs(verbs: "Verbs") -> None:
    """Add them."""
    verb = add_verb(
        verbs, "train", _train, "start a run on the serving coordinator and follow it"
    )
    verb.add_argument("plan", metavar="PLAN.toml", type=Path, nargs="?")
    verb.add_argument(
        "--wait", action="store_true", help="until all partners have signed and are connected"
    )
    verb.add_argument(
        "--watch", metavar="RUN", nargs="?", const="", help="follow a run (default: newest)"
    )
    with_json(verb)

    verb = add_verb(
        verbs, "calibrate", _calibrate, "train the head of the active model, for joint scores"
    )
    defaults = HeadSettings()
    verb.add_argument("--epsilon", default=defaults.epsilon, help="beside the model's own")
    verb.add_argument("--rounds", type=int, default=defaults.rounds, help="(%(default)s)")
    verb.add_argument("--clip", default=defaults.clip, help="C (%(default)s)")
    verb.add_argument(
        "--askers", default="", help="a,b: who studies its customers (first block's holders)"
    )
    verb.add_argument("--print", action="store_true", help="print the plan, start nothing")
    with_json(verb)


def _train(arguments: argparse.Namespace) -> int:
    socket = load_config(arguments.directory).control_socket
    if (arguments.plan is None) == (arguments.watch is None):
        raise ConfigurationError("give either a plan file or --watch")
    if arguments.plan is None:
        events = control.watch_run(socket, arguments.watch)
    else:
        if arguments.wait:
            cli_upkeep.wait_for_partners(wiring.open_desk(arguments.directory))
        events = control.start_run(socket, wiring.read_text(arguments.plan))
    return show_run(events, as_json=arguments.json)


def _calibrate(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    names = [part.strip() for part in arguments.askers.split(",") if part.strip()]
    settings = HeadSettings(
        epsilon=arguments.epsilon,
        rounds=arguments.rounds,
        clip=arguments.clip,
        askers=tuple(parse_partner_id(name) for name in names),
    )
    plan = commands.plan_of_head(desk, settings)
    if arguments.print:
        print(plan, end="")
        return 0
    return show_run(control.start_run(desk.config.control_socket, plan), as_json=arguments.json)


def show_run(events: Iterable[RunEvent], *, as_json: bool) -> int:
    """Follow a run to its end, on a terminal with a bar; 0 if it finished, else 1."""
    last: RunEvent | None = None
    with ExitStack() as stack:
        bar: _Bar | None = None
        if sys.stdout.isatty() and not as_json:
            bar = _Bar(stack)
        for last in events:
            if as_json:
                print(json.dumps(asdict(last)), flush=True)
            elif bar is None or last.text or last.final:
                print(_event_line(last), flush=True)
            if bar is not None:
                bar.show(last)
    return 0 if last is not None and last.stage == "finished" else 1


def _event_line(event: RunEvent) -> str:
    parts = [event.stage]
    if event.round:
        parts.append(f"{event.round}/{event.rounds}")
    if event.attempt > 1:
        parts.append(f"attempt {event.attempt}")
    if event.seconds:
        parts.append(f"{event.seconds:.3f} s")
    parts += [part for part in (event.text, event.version) if part]
    return "  ".join(parts)


class _Bar:
    """One bar for each stage, on a terminal."""

    def __init__(self, stack: ExitStack) -> None:
        self._progress = stack.enter_context(
            Progress(
                TextColumn("{task.description:<14}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
        )
        self._task = self._progress.add_task("preparing", total=None)
        self._stage = ""

    def show(self, event: RunEvent) -> None:
        """Move the bar to where the run is."""
        if event.final or event.stage == "waiting":
            return
        if event.stage != self._stage and self._stage:
            self._task = self._progress.add_task(event.stage, total=None)
        self._stage = event.stage
        self._progress.update(
            self._task,
            description=event.stage,
            completed=event.round,
            total=event.rounds or None,
        )
