"""``riskweave coordinator`` and ``riskweave models``: arguments in, lines of text out."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from consortium import diagnosis
from consortium.canonical import parse_canonical
from consortium.documents import plain_of
from consortium.errors import ConfigurationError, ManifestError
from consortium.ids import parse_partner_id
from consortium.plan import decimal
from coordinator import (
    cli_founding,
    cli_keys,
    cli_upkeep,
    commands,
    control,
    doctor,
    gating,
    registry,
    serving,
    statement_page,
    wiring,
)
from coordinator.calibration import HeadSettings
from coordinator.config import load_config
from coordinator.events import RunEvent
from coordinator.model_storage import ModelRow
from coordinator.pseudonym_epochs import EpochStatus
from coordinator.scoring_storage import InquiryCount, ScoringStore
from coordinator.verbs import add_verb, with_json

_EPOCH_DAY = date(1970, 1, 1)

REFUSED = 3
"""Exit status of ``models gate`` for a version that its gate refuses."""


def main(argv: Sequence[str]) -> int:
    """Run ``riskweave coordinator ARGV``; returns the exit status."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    return command(arguments)


def models_main(argv: Sequence[str]) -> int:
    """Run ``riskweave models ARGV``; returns the exit status."""
    arguments = _models_parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    return command(arguments)


def doctor_main(argv: Sequence[str]) -> int:
    """Run ``riskweave doctor ARGV`` for a coordinator; returns the exit status: 0, 3 or 4."""
    parser = argparse.ArgumentParser(
        prog="riskweave doctor",
        description="Look for what keeps a coordinator from working. Exit status: 0 all is "
        "well, 3 something needs attention, 4 something is broken.",
    )
    parser.add_argument("directory", metavar="DIR", type=Path, help="coordinator directory")
    parser.add_argument("--json", action="store_true", help="print JSON for scripts")
    arguments = parser.parse_args(argv)
    found = doctor.diagnose(arguments.directory)
    print(diagnosis.as_json(found) if arguments.json else "\n".join(diagnosis.lines(found)))
    return diagnosis.exit_status(found)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="riskweave coordinator",
        description="The operator's side: enrols partners, collects signatures, runs training.",
    )
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    cli_founding.add_verbs(verbs)
    add_verb(verbs, "serve", _serve, "serve partners until SIGTERM or Ctrl-C")

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

    with_json(add_verb(verbs, "status", _status, "who is connected, which run, which model"))
    with_json(
        add_verb(
            verbs, "inquiries", _inquiries, "how many joint scores were asked for, by whom"
        )
    )
    _add_overlap(verbs)
    _add_governance(verbs)
    _add_bundle(verbs)
    cli_keys.add_verbs(verbs)
    cli_upkeep.add_verbs(verbs)
    return parser


def _add_overlap(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "count the persons that two partners have in common, by tier of the second"
    verb = add_verb(verbs, "overlap", _overlap, text)
    verb.add_argument("counter", help="partner that counts, and learns the exact counts")
    verb.add_argument("peer", help="partner whose tiers are looked at")
    verb.add_argument("period", metavar="YYYY-MM", help="active lines at this month's end")
    verb.add_argument(
        "--tiers",
        default="PRIME:0.05,NEAR:0.10,LOW:1",
        help="NAME:PD,...: each tier with the PD that ends it, the last with 1 (%(default)s)",
    )
    verb.add_argument("--epsilon", default="1", help="of a person (%(default)s)")
    with_json(verb)


def _add_governance(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "propose the charter of a file to all partners, or show the newest"
    verb = add_verb(verbs, "charter", _governs("charter"), text)
    verb.add_argument("file", metavar="FILE.toml", type=Path, nargs="?")
    with_json(verb)
    text = "how far partners are on board, who has left, and what is owed; 2: it is late"
    with_json(add_verb(verbs, "governance", _governs("governance"), text))
    text = "state in the log what released tables say each partner was worth"
    verb = add_verb(verbs, "contribution", _governs("contribution"), text)
    verb.add_argument(
        "tables", metavar="RELEASE", nargs="+", help="of the kind contribution, in order"
    )
    verb.add_argument("--hanging", metavar="RELEASE", default="", help="of dependence")
    verb.add_argument("--out", metavar="FOLDER", type=Path, help="write HTML, CSV and JSON")
    with_json(verb)
    text = "train as a version was trained, less one partner"
    verb = add_verb(verbs, "retrain", _governs("retrain"), text)
    verb.add_argument("version", metavar="VERSION", help="of a base model, or its beginning")
    verb.add_argument("--without", metavar="PARTNER", required=True, help="who is left out")
    verb.add_argument("--print", action="store_true", help="print the plan, start nothing")
    with_json(verb)


def _governs(name: str) -> Callable[[argparse.Namespace], int]:
    """A command of another file, loaded when it is asked for: it needs numpy."""

    def command(arguments: argparse.Namespace) -> int:
        from coordinator.credit import cli_governance  # noqa: PLC0415

        verbs = {
            "charter": cli_governance.charter,
            "governance": cli_governance.governance,
            "contribution": cli_governance.contribution,
            "retrain": cli_governance.retrain,
        }
        return verbs[name](arguments)

    return command


def _add_bundle(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = add_verb(verbs, "bundle", _bundle, "write the log as one file for an auditor")
    verb.add_argument("out", metavar="OUT.zip", type=Path)
    verb.add_argument(
        "--uploads",
        action="store_true",
        help="with the masked words that are still kept: the audit then adds them up itself",
    )


def _models_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="riskweave models", description="The model registry of a coordinator."
    )
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, text in (
        ("list", _models_list, "all versions, newest first"),
        ("show", _models_show, "the document of a version"),
        ("statement", _models_statement, "the privacy statement of a version, recomputed"),
        ("gate", _models_gate, "what the release gate says of a version, line by line"),
        ("activate", _models_activate, "put a version with enough votes to use"),
        ("rollback", _models_rollback, "return to the version that was active before"),
    ):
        verb = verbs.add_parser(name, help=text, description=text)
        verb.set_defaults(command=command)
        verb.add_argument(
            "--dir", dest="directory", type=Path, default=Path(), help="coordinator directory"
        )
        if name in ("show", "statement", "gate", "activate"):
            verb.add_argument("version", metavar="VERSION", help="digest or its beginning")
        if name == "statement":
            verb.add_argument("--html", metavar="FILE", type=Path, help="write it as one page")
        if name == "gate":
            verb.add_argument(
                "--audit",
                metavar="FILE",
                type=Path,
                help="take up an empirical audit of the software, and make the gate again",
            )
        with_json(verb)
    return parser


# --- coordinator ------------------------------------------------------------------------------


def _serve(arguments: argparse.Namespace) -> int:
    wiring.set_up_logging()

    def ready() -> None:
        print(f"serving {arguments.directory}", flush=True)

    serving.serve(arguments.directory, ready)
    return 0


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


def _status(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.directory)
    seen = control.fetch_status(config.control_socket)
    days = serving.certificate_days(config)
    if arguments.json:
        print(json.dumps(asdict(seen) | {"certificate_days": days}))
        return 0
    print(f"certificate ends in {days} days; renewed by itself a month before")
    state = "in force" if seen.manifest_complete else "not signed by all"
    print(f"manifest  {seen.manifest or 'none proposed'} {state if seen.manifest else ''}")
    for one in seen.partners:
        up = [name for name, on in (("training", one.training), ("scoring", one.scoring)) if on]
        print(f"partner   {one.partner:<32} {', '.join(up) or 'not connected'}")
    print(f"run       {seen.run or 'none'}")
    print(f"model     {seen.active_model or 'none active'}")
    print(f"epoch     {_epoch_line(seen.scoring.epoch)}")
    return 0


def _overlap(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.directory)
    counts = control.count_overlap(
        config.control_socket,
        (arguments.counter, arguments.peer),
        arguments.period,
        tiers=_tiers(arguments.tiers),
        epsilon=arguments.epsilon,
    )
    if arguments.json:
        print(json.dumps([asdict(one) for one in counts]))
        return 0
    for one in counts:
        low, high = one.interval
        print(f"{one.tier:<16} {one.shown:>10}   95 % {low:,.0f} to {high:,.0f}")
    first = counts[0]
    print(f"release   {first.release}")
    print(
        f"epsilon {first.epsilon} of a person at delta {first.delta}, towards all but "
        f"{first.counter}, which knows the exact counts"
    )
    print("persons who consented to IMPACT_STUDY at both: a lower bound of all")
    return 0


def _tiers(text: str) -> list[tuple[str, int]]:
    """Names with the PD in millionths that ends each."""
    pairs = [part.partition(":") for part in text.split(",")]
    found = [
        (name.strip(), int(decimal(pd.strip(), f"tier {name}", low="0", high="1") * 10**6))
        for name, _, pd in pairs
    ]
    if found[-1][1] != 10**6:
        raise ConfigurationError("--tiers: the last tier ends at 1")
    return found


def _epoch_line(epoch: EpochStatus) -> str:
    if not epoch.epoch:
        return "none: the manifest asks for no pseudonyms"
    parts = [f"{epoch.epoch} {epoch.state} {epoch.detail}".rstrip()]
    if epoch.holders:
        parts.append(f"key shares at {', '.join(epoch.holders)}")
    if epoch.lacking:
        parts.append(f"unusable at {', '.join(epoch.lacking)}")
    return "; ".join(parts)


def _inquiries(arguments: argparse.Namespace) -> int:
    rows = ScoringStore(wiring.open_desk(arguments.directory).store).inquiry_counts()
    facts = [_count_facts(row) for row in rows]
    if arguments.json:
        print(json.dumps(facts))
        return 0
    for row, fact in zip(rows, facts, strict=True):
        print(
            f"{fact['day']}  {row.requester:<32} {row.purpose:<12} requests {row.requests:>7}  "
            f"persons {row.persons:>8}  answered {row.answered:>7}  "
            f"retries {row.retries / row.requests:.2%}"
        )
    return 0


def _bundle(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    digest = commands.write_bundle(desk, arguments.out, uploads=arguments.uploads)
    words = ", and the words of uploads" if arguments.uploads else ""
    print(f"{arguments.out}: the log, manifests, sums and models{words}")
    print(f"check it: riskweave audit verify {arguments.out} --manifest {digest}")
    return 0


def _count_facts(row: InquiryCount) -> dict[str, object]:
    day = (_EPOCH_DAY + timedelta(days=row.day)).isoformat()
    share = row.retries / row.requests
    return asdict(row) | {"day": day, "retry_share": round(share, 6)}


# --- models -----------------------------------------------------------------------------------


def _models_list(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    rows = desk.store.models.all()
    if arguments.json:
        facts = [
            _model_facts(row) | {"base": desk.store.models.base_of(row.version)} for row in rows
        ]
        print(json.dumps(facts))
        return 0
    for row in rows:
        votes = ""
        if manifest := desk.membership.current():
            count = registry.tally(desk.store, manifest, row.version)
            votes = f"votes {len(count.accepted)} of {count.quorum}"
        base = desk.store.models.base_of(row.version)
        head = f"  head of {base[:12]}" if base else ""
        print(f"{row.version}  {row.status:<9}  run {row.run}  {votes}{head}")
    return 0


def _models_show(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    row = registry.find(desk.store, arguments.version)
    document = parse_canonical(row.document)
    votes = [
        {"member": vote.member, "accept": vote.accept, "reason": vote.reason}
        for vote in desk.store.models.votes(row.version)
    ]
    epsilon = statement_page.headline(document)
    kept = desk.store.models.gate(row.version)
    gate = None if kept is None else plain_of(gating.body_of(kept))
    shown = _model_facts(row) | {
        "epsilon": epsilon,
        "gate": gate,
        "votes": votes,
        "document": document,
    }
    print(json.dumps(shown, indent=None if arguments.json else 2, ensure_ascii=False))
    return 0


def _models_statement(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    row = registry.find(desk.store, arguments.version)
    statement = statement_page.statement_of(row.document)
    kept = desk.store.models.gate(row.version)
    gate = None if kept is None else gating.body_of(kept)
    if arguments.html is not None:
        page = statement_page.page(row.version, statement, gate)
        wiring.write_text(arguments.html, page)
    if arguments.json:
        print(json.dumps({"version": row.version, "statement": statement}))
        return 0
    for line in statement_page.lines(statement):
        print(line)
    if arguments.html is not None:
        print(f"page: {arguments.html}")
    return 0


def _models_gate(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    row = registry.find(desk.store, arguments.version)
    if arguments.audit is not None:
        made = commands.gate_again(desk, row.version, arguments.audit)
    elif (kept := desk.store.models.gate(row.version)) is not None:
        made = gating.body_of(kept)
    else:
        raise ConfigurationError(f"model {row.version[:12]} has no release gate")
    if arguments.json:
        print(json.dumps(plain_of(made), ensure_ascii=False))
    else:
        for line in map(gating.shown, made.checks):
            print(line)
        print(f"gate: {'passed' if made.passed else 'REFUSED'}")
    return 0 if made.passed else REFUSED


def _models_activate(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    manifest = desk.membership.current()
    if manifest is None:
        raise ManifestError("no manifest is in force")
    row = registry.activate(desk.store, manifest, arguments.version, wiring.now(), log=desk.log)
    return _changed(row, as_json=arguments.json)


def _models_rollback(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    row = registry.rollback(desk.store, wiring.now(), log=desk.log)
    return _changed(row, as_json=arguments.json)


def _changed(row: ModelRow, *, as_json: bool) -> int:
    print(json.dumps(_model_facts(row)) if as_json else f"{row.version} is {row.status}")
    return 0


def _model_facts(row: ModelRow) -> dict[str, object]:
    return {
        "version": row.version,
        "status": row.status,
        "run": row.run,
        "created_at": row.created_at,
        "changed_at": row.changed_at,
    }
