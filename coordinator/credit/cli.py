"""``riskweave stress``: what happens elsewhere if a line closes, or if the market turns."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from consortium.credit.scenario import parse_scenarios
from consortium.credit.shock import MOST_ROUNDS, TIERS, Tier
from consortium.credit.shock_tables import elasticity_spec, scenario_spec, tiers_spec
from consortium.errors import ConfigurationError
from consortium.figure import FigureSpec
from consortium.ids import PartnerId, parse_partner_id
from coordinator import wiring
from coordinator.credit import scenario_report, stress_report
from coordinator.credit.releases_read import Gathered
from coordinator.credit.scenario_page import scenario_page
from coordinator.credit.stress import Asked, Stored, closure_report
from coordinator.credit.stress_page import stress_page
from coordinator.credit.stress_policy import load_policy
from coordinator.credit.stress_report import Document
from coordinator.figure_plans import FigureTerms, table_plan_text


def main(argv: Sequence[str]) -> int:
    """Run ``riskweave stress ARGV``; returns the exit status."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    return command(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="riskweave stress",
        description="Stress from noisy totals that were released: no row is read, no budget "
        "is spent, and the same question gives the same bytes.",
    )
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    run = verbs.add_parser(
        "run",
        help="reckon a closure or a file of scenarios, write JSON, CSV and a page",
        description="Close lines of partners, or shock the market, and see what happens: "
        "per partner and round, or per grade. Writes three files.",
    )
    _add_question(run)
    run.add_argument(
        "directory", metavar="DIR", type=Path, nargs="?", help="coordinator directory"
    )
    run.add_argument(
        "--from",
        dest="folders",
        metavar="FOLDER",
        type=Path,
        action="append",
        default=[],
        help="exported releases (*.json), beside or instead of DIR; may be repeated",
    )
    run.add_argument("--policy", metavar="FILE.toml", type=Path, help="instead of the shipped")
    run.add_argument("--out", metavar="DIR", type=Path, default=Path("build/stress"))
    run.add_argument("--json", action="store_true", help="print the report, not a summary")
    run.set_defaults(command=_run)
    _add_plan(verbs)
    show = verbs.add_parser(
        "show", help="print a stored report again", description="Print a stored report again."
    )
    show.add_argument("report", metavar="REPORT.json", type=Path)
    show.add_argument("--json", action="store_true", help="print the report as it is stored")
    show.add_argument("--html", metavar="OUT.html", type=Path, help="write its page again")
    show.set_defaults(command=_show)
    return parser


def _add_plan(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    defaults = FigureTerms()
    plan = verbs.add_parser(
        "plan",
        help="print the plan of a table that a closure or a scenario is reckoned from",
        description="Print the plan of the table of tiers, of elasticities, or of a file of "
        "scenarios, of a month, for `riskweave coordinator train`. Nothing is started and "
        "nothing is charged yet.",
    )
    plan.add_argument("directory", metavar="DIR", type=Path, help="coordinator directory")
    plan.add_argument("kind", choices=("tiers", "elasticity", "scenario"))
    plan.add_argument("--month", required=True, help="YYYY-MM: its end, or of the inquiries")
    plan.add_argument(
        "--bound",
        type=int,
        default=0,
        help="most that a person adds, minor units: of tiers exposure, of scenarios loss",
    )
    plan.add_argument(
        "--scenario", metavar="FILE.toml", type=Path, help="of scenarios: the shocks"
    )
    plan.add_argument("--without", default="", help="a,b: do not count, such as who withdrew")
    plan.add_argument("--epsilon", default=defaults.epsilon, help="of a person (%(default)s)")
    plan.add_argument("--synthetic", action="store_true", help="the rows are made up")
    plan.set_defaults(command=_plan)


def _add_question(run: argparse.ArgumentParser) -> None:
    what = run.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--close",
        metavar="PARTNER[:TIER,...]",
        action="append",
        help=f"whose lines close, of which tiers ({', '.join(TIERS)}; all); may be repeated",
    )
    what.add_argument(
        "--scenario", metavar="FILE.toml", type=Path, help="shocks of policy and market"
    )
    run.add_argument("--share", type=float, default=1.0, help="of those lines (%(default)s)")
    run.add_argument(
        "--rounds",
        type=int,
        default=MOST_ROUNDS,
        choices=range(1, MOST_ROUNDS + 1),
        help="at most (%(default)s)",
    )
    run.add_argument("--month", default="", help="YYYY-MM (the newest there is)")
    run.add_argument("--seed", type=int, default=1, help="of the draws (%(default)s)")


def _plan(arguments: argparse.Namespace) -> int:
    manifest = wiring.open_desk(arguments.directory).membership.current()
    if manifest is None:
        raise ConfigurationError("no manifest is in force: nobody could be asked")
    without = {parse_partner_id(name) for name in arguments.without.split(",") if name}
    partners = sorted(one.id for one in manifest.partners if one.id not in without)
    spec = _spec(arguments, partners)
    terms = FigureTerms(epsilon=arguments.epsilon, holders=tuple(partners) if without else ())
    print(table_plan_text(spec, terms), end="")
    return 0


def _spec(arguments: argparse.Namespace, partners: Sequence[PartnerId]) -> FigureSpec:
    kind, month, synthetic = arguments.kind, arguments.month, arguments.synthetic
    if (arguments.scenario is not None) != (kind == "scenario"):
        raise ConfigurationError("--scenario: a plan of the kind scenario needs it, no other")
    if kind == "elasticity":
        return elasticity_spec(month, synthetic=synthetic)
    if arguments.bound < 1:
        raise ConfigurationError(f"--bound: a table of {kind} needs the most of a person")
    if kind == "tiers":
        return tiers_spec(month, partners, bound=arguments.bound, synthetic=synthetic)
    scenarios = parse_scenarios(_bytes(arguments.scenario), arguments.scenario.name)
    return scenario_spec(month, scenarios, bound=arguments.bound, synthetic=synthetic)


def _run(arguments: argparse.Namespace) -> int:
    progress = Console(stderr=True, quiet=arguments.json)
    with progress.status("reading releases"):
        stored = _stored(arguments.directory, arguments.folders)
    with progress.status("reckoning"):
        document = _document(arguments, stored)
    for file in _write(document, arguments.out):
        progress.print(f"wrote {file}", highlight=False, soft_wrap=True)
    print(stress_report.as_json(document) if arguments.json else _summary(document), end="")
    return 0


def _stored(directory: Path | None, folders: Sequence[Path]) -> Stored:
    if directory is None and not folders:
        raise ConfigurationError("name a coordinator directory, or --from FOLDER, or both")
    gathered = Gathered()
    if directory is not None:
        gathered.take_registry(wiring.open_desk(directory).store)
    for folder in folders:
        gathered.take_folder(folder)
    return gathered.stored


def _document(arguments: argparse.Namespace, stored: Stored) -> Document:
    if arguments.scenario is not None:
        scenarios = parse_scenarios(_bytes(arguments.scenario), arguments.scenario.name)
        return scenario_report.report_of(stored, scenarios, month=arguments.month)
    asked = Asked(
        closing=_closing(arguments.close),
        share=arguments.share,
        rounds=arguments.rounds,
        month=arguments.month,
        seed=arguments.seed,
    )
    return closure_report(stored, load_policy(arguments.policy), asked)


def _closing(texts: Sequence[str]) -> dict[PartnerId, frozenset[Tier]]:
    found: dict[PartnerId, frozenset[Tier]] = {}
    for text in texts:
        name, _, tiers = text.partition(":")
        unknown = [tier for tier in tiers.split(",") if tiers and tier not in set(TIERS)]
        if unknown:
            raise ConfigurationError(
                f"--close {text}: {unknown[0]!r} is no tier; there are {', '.join(TIERS)}"
            )
        chosen = frozenset(map(Tier, tiers.split(","))) if tiers else frozenset(TIERS)
        partner = parse_partner_id(name)
        found[partner] = found.get(partner, frozenset()) | chosen
    return found


def _show(arguments: argparse.Namespace) -> int:
    document = stress_report.from_json(_bytes(arguments.report), arguments.report.name)
    if arguments.html is not None:
        arguments.html.write_text(_page(document), encoding="utf-8")
    text = stress_report.as_json(document) if arguments.json else _summary(document)
    print(text, end="")
    return 0


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error


def _write(document: Document, out: Path) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    stem = stress_report.stem_of(document)
    of_closure = document["kind"] == stress_report.KIND
    table = stress_report.as_csv if of_closure else scenario_report.as_csv
    texts = {
        "json": stress_report.as_json(document),
        "csv": table(document),
        "html": _page(document),
    }
    files = []
    for ending, text in texts.items():
        files.append(out / f"{stem}.{ending}")
        files[-1].write_text(text, encoding="utf-8")
    return files


def _page(document: Document) -> str:
    of_closure = document["kind"] == stress_report.KIND
    return stress_page(document) if of_closure else scenario_page(document)


def _summary(document: Document) -> str:
    of_closure = document["kind"] == stress_report.KIND
    told = stress_report.summary(document) if of_closure else scenario_report.summary(document)
    return "\n".join(told) + "\n"
