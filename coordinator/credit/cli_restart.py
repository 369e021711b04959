"""``riskweave restart``: plan a campaign, take its looks, order its waves, report on it."""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from consortium.credit.waves import Move, next_look
from consortium.errors import ConfigurationError, ManifestError
from coordinator import control, wiring
from coordinator.credit import campaign_report
from coordinator.credit.campaign_report import Looked
from coordinator.credit.governing import Governing
from coordinator.credit.opening import registers_of
from coordinator.credit.restart_plan import parse_campaign
from coordinator.credit.restart_waves import PERSONS, Campaigns, Decider
from coordinator.table_storage import TableStore
from coordinator.verbs import add_verb, with_json
from coordinator.wiring import Desk

WAITING = 3
"""Exit status of ``run`` where nothing is due."""


def main(argv: Sequence[str]) -> int:
    """Run ``riskweave restart ARGV``; returns the exit status."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    return command(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="riskweave restart",
        description="Restart campaigns in waves, on noisy totals alone. Orders are signed into "
        "the log; nodes read them there and offer by themselves.",
    )
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    verb = with_json(add_verb(verbs, "plan", _plan, "lay a campaign before everybody"))
    verb.add_argument("file", metavar="PLAN.toml", type=Path)
    verb = with_json(add_verb(verbs, "run", _run, "take the look that is due, or order a move"))
    verb.add_argument("name", metavar="NAME", help="of the campaign")
    verb.add_argument(
        "--order", choices=[one.value for one in PERSONS], help="what a person decides"
    )
    verb.add_argument("--role", default="", help="of who decides; no name")
    verb.add_argument("--reason", default="", help="a code of your own")
    verb.add_argument(
        "--print", action="store_true", help="print the plan of the table, count nothing"
    )
    verb = with_json(
        add_verb(verbs, "report", _report, "the day's report: JSON, CSV and a page")
    )
    verb.add_argument("name", metavar="NAME", help="of the campaign")
    verb.add_argument("--out", metavar="FOLDER", type=Path, help="write the three files")
    return parser


def _campaigns(desk: Desk) -> Campaigns:
    governing = Governing(desk.store, desk.log)
    return Campaigns(governing, TableStore(desk.store), registers_of(desk, governing))


def _plan(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    manifest = desk.membership.current()
    if manifest is None:
        raise ManifestError("no manifest is in force")
    text = wiring.read_text(arguments.file)
    plan = parse_campaign(text, delta=manifest.policy.delta, source=str(arguments.file))
    running = _campaigns(desk).plan(plan, manifest)
    if arguments.json:
        print(json.dumps({"campaign": plan.name, "plan": running.plan.digest}))
    else:
        print(f"campaign {plan.name}, plan {plan.digest}: in the log")
        print(f"lenders enrol their cohort now: riskweave desk campaign DIR enrol {plan.name}")
    return 0


def _run(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    campaigns = _campaigns(desk)
    if arguments.order is not None:
        by = Decider(arguments.role, arguments.reason)
        campaigns.order(arguments.name, Move(arguments.order), by)
        return _standing(campaigns, arguments)
    due = campaigns.due(arguments.name)
    if due is None:
        running = campaigns.running(arguments.name)
        print(f"the next look is due on {next_look(running.plan, running.now)}")
        return WAITING
    if arguments.print:
        print(due.plan_text, end="")
        return 0
    if not campaigns.is_counted(arguments.name):
        last = None
        for last in control.start_run(desk.config.control_socket, due.plan_text):
            if last.text:
                print(f"{last.stage}: {last.text}")
        if last is None or last.stage != "finished":
            return 1
    campaigns.look(arguments.name)
    return _standing(campaigns, arguments)


def _standing(campaigns: Campaigns, arguments: argparse.Namespace) -> int:
    running = campaigns.running(arguments.name)
    now, last = running.now, running.orders[-1]
    if arguments.json:
        waves = [one.value for one in now.waves]
        found = {"move": last.move.value, "waves": waves, "over": now.is_over}
        print(json.dumps({"campaign": arguments.name, **found}))
    else:
        print(f"{arguments.name}, wave {last.wave + 1}: {last.move}; it is now {now.state}")
    return 0


def _report(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    campaigns = _campaigns(desk)
    running = campaigns.running(arguments.name)
    looks = [Looked(on=on, table=table) for on, table in campaigns.tables(arguments.name)]
    document = campaign_report.document_of(running, looks, on=campaigns.today())
    if arguments.out is not None:
        for path in _written(document, arguments.out):
            print(f"wrote {path}")
    elif arguments.json:
        print(campaign_report.as_json(document).decode("utf-8"))
    else:
        print("\n".join(campaign_report.lines_of(document)))
    return 0


def _written(document: campaign_report.Document, folder: Path) -> list[Path]:
    stem = campaign_report.stem_of(document)
    texts = {
        "json": campaign_report.as_json(document).decode("utf-8") + "\n",
        "csv": campaign_report.as_csv(document),
        "html": campaign_report.page_of(document),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{folder}: {error.strerror}") from error
    paths = []
    for ending, text in texts.items():
        paths.append(folder / f"{stem}.{ending}")
        wiring.write_text(paths[-1], text)
    return paths
