"""``riskweave trends``: ask for a table, list what is there, print the ecosystem report."""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from consortium.credit.figure_forms import LATE, PERSONS, SEGMENTS
from consortium.credit.figure_specs import Wanted, figure
from consortium.credit.table_document import parse_table_document
from consortium.errors import ConfigurationError
from consortium.figure import FigureKind, FigureSpec
from consortium.ids import parse_partner_id
from coordinator import control, wiring
from coordinator.cli_training import show_run
from coordinator.credit.trend_page import trend_page
from coordinator.credit.trends import MAKERS, as_csv, as_json, report_of
from coordinator.figure_plans import FigureTerms, table_plan_text
from coordinator.table_releases import figure_digest
from coordinator.table_storage import TableRow, TableStore
from coordinator.verbs import add_verb


def main(argv: Sequence[str]) -> int:
    """Run ``riskweave trends ARGV``; returns the exit status."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    return command(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="riskweave trends",
        description="The market's mood from noisy tables: demand, appetite, vintages, roll "
        "rates, closures, concentration, fairness, premium and its fit, dependence, "
        "contribution. A table that is there costs nothing more.",
    )
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_run(verbs)
    verb = add_verb(verbs, "list", _list, "published tables, oldest first")
    verb.add_argument("--json", action="store_true", help="print JSON for scripts")
    verb = add_verb(
        verbs, "show", _show, "the report over published tables: HTML, CSV and JSON"
    )
    verb.add_argument(
        "releases",
        metavar="RELEASE",
        nargs="*",
        help="ids or beginnings (newest of each)",
    )
    verb.add_argument("--out", metavar="FOLDER", type=Path, help="write all three forms there")
    form = verb.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV")
    form.add_argument("--html", action="store_true", help="print the page")
    return parser


def _add_run(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = add_verb(
        verbs, "run", _run, "release a table; what is there already is shown instead"
    )
    verb.add_argument("kind", choices=[kind.value for kind in MAKERS])
    verb.add_argument("--first", required=True, help="first month 2026-01 or week 2026-W01")
    verb.add_argument("--last", required=True, help="last one")
    verb.add_argument("--by", default="", help="axes, such as segment,cause")
    verb.add_argument("--products", default="", help="a,b: cells of the axis product")
    verb.add_argument("--groups", default="", help="a,b: cells of the axis group")
    verb.add_argument("--segments", default=",".join(SEGMENTS), help="(%(default)s)")
    verb.add_argument("--ages", type=int, default=12, help="oldest age, months (%(default)s)")
    verb.add_argument("--late", choices=LATE, default=LATE[0], help="days (%(default)s)")
    verb.add_argument("--closing", default="", help="of a premium: whose part is lost")
    verb.add_argument(
        "--head", default="", help="of a premium or dependence: version of the head in force"
    )
    text = "of a premium's fit: with the signed history that borrowers carry, too"
    verb.add_argument("--attested", action="store_true", help=text)
    verb.add_argument("--partners", default="", help="a,b: of a dependence, who is measured")
    verb.add_argument("--cuts", default="", help="a,b,c,d: of a dependence, PDs between grades")
    verb.add_argument(
        "--outcomes", choices=PERSONS, default=PERSONS[0], help="whose count (%(default)s)"
    )
    verb.add_argument("--model", default="", help="of a contribution: version of all")
    verb.add_argument("--without", default="", help="v,w: versions with one partner less each")
    verb.add_argument("--bound", type=int, default=0, help="of one amount, minor units")
    verb.add_argument(
        "--cells-per-person", type=int, default=1, help="most weeks or months that count"
    )
    verb.add_argument("--synthetic", action="store_true", help="the rows are made up")
    defaults = FigureTerms()
    verb.add_argument("--epsilon", default=defaults.epsilon, help="of a person (%(default)s)")
    verb.add_argument(
        "--attempts", type=int, default=defaults.attempts, help="paid for (%(default)s)"
    )
    verb.add_argument(
        "--persons", type=int, default=defaults.persons, help="a public number above all"
    )
    verb.add_argument("--holders", default="", help="a,b: who counts (all partners)")
    verb.add_argument("--again", action="store_true", help="count and charge it once more")
    verb.add_argument("--print", action="store_true", help="print the plan, start nothing")
    verb.add_argument("--json", action="store_true", help="print JSON for scripts")


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _spec(arguments: argparse.Namespace) -> FigureSpec:
    wanted = Wanted(
        by=_names(arguments.by),
        products=_names(arguments.products),
        partners=_names(arguments.partners),
        groups=_names(arguments.groups),
        segments=_names(arguments.segments),
        ages=arguments.ages,
        late=arguments.late,
        closing=arguments.closing,
        head=arguments.head,
        cuts=_names(arguments.cuts),
        persons=arguments.outcomes,
        model=arguments.model,
        without=_names(arguments.without),
        attested=arguments.attested,
        bound=arguments.bound,
        cells_per_person=arguments.cells_per_person,
        synthetic=arguments.synthetic,
    )
    return figure(FigureKind(arguments.kind), arguments.first, arguments.last, wanted)


def _run(arguments: argparse.Namespace) -> int:
    spec = _spec(arguments)
    terms = FigureTerms(
        epsilon=arguments.epsilon,
        attempts=arguments.attempts,
        persons=arguments.persons,
        holders=tuple(parse_partner_id(name) for name in _names(arguments.holders)),
        again=arguments.again,
    )
    plan = table_plan_text(spec, terms)
    if arguments.print:
        print(plan, end="")
        return 0
    desk = wiring.open_desk(arguments.directory)
    known = TableStore(desk.store).of_figure(figure_digest(spec))
    if known is not None and not arguments.again:
        print(json.dumps(_facts(known)) if arguments.json else _line(known))
        return 0
    events = control.start_run(desk.config.control_socket, plan)
    return show_run(events, as_json=arguments.json)


def _list(arguments: argparse.Namespace) -> int:
    rows = TableStore(wiring.open_desk(arguments.directory).store).tables()
    if arguments.json:
        print(json.dumps([_facts(row) for row in rows]))
        return 0
    for row in rows:
        print(_line(row))
    return 0


def _facts(row: TableRow) -> dict[str, object]:
    facts = asdict(row)
    document = facts.pop("document")
    table = parse_table_document(document).table
    return facts | {
        "epsilon": table.epsilon,
        "n_band": table.band,
        "synthetic": table.synthetic,
    }


def _line(row: TableRow) -> str:
    table = parse_table_document(row.document).table
    mark = "  SYNTHETIC" if table.synthetic else ""
    return (
        f"{row.release}  {row.kind:<13} {row.first} to {row.last}  epsilon {table.epsilon}  "
        f"n {table.band}  run {row.run}{mark}"
    )


def _show(arguments: argparse.Namespace) -> int:
    store = TableStore(wiring.open_desk(arguments.directory).store)
    rows = _chosen(store, arguments.releases)
    report = report_of(parse_table_document(row.document).table for row in rows)
    if arguments.json or arguments.csv or arguments.html:
        print(
            as_json(report)
            if arguments.json
            else as_csv(report)
            if arguments.csv
            else trend_page(report),
            end="",
        )
        return 0
    folder = arguments.out or Path()
    folder.mkdir(parents=True, exist_ok=True)
    for form, text in (
        ("html", trend_page(report)),
        ("csv", as_csv(report)),
        ("json", as_json(report)),
    ):
        path = folder / f"{report.stem}.{form}"
        wiring.write_text(path, text)
        print(path)
    return 0


def _chosen(store: TableStore, beginnings: Sequence[str]) -> list[TableRow]:
    """The tables that are named, or the newest of each figure."""
    if not beginnings:
        newest = {row.figure: row for row in store.tables()}
        return list(newest.values())
    chosen = []
    for beginning in beginnings:
        found = store.find(beginning)
        if len(found) != 1:
            raise ConfigurationError(f"{len(found)} tables begin with {beginning!r}")
        chosen.append(found[0])
    return chosen
