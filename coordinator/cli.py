"""``riskweave coordinator``: arguments in, lines of text out."""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path

from consortium import diagnosis
from consortium.errors import ConfigurationError
from consortium.plan import decimal
from coordinator import (
    cli_founding,
    cli_keys,
    cli_training,
    cli_upkeep,
    commands,
    control,
    doctor,
    serving,
    wiring,
)
from coordinator.config import load_config
from coordinator.pseudonym_epochs import EpochStatus
from coordinator.scoring_storage import InquiryCount, ScoringStore
from coordinator.verbs import add_verb, with_json

_EPOCH_DAY = date(1970, 1, 1)


def main(argv: Sequence[str]) -> int:
    """Run ``riskweave coordinator ARGV``; returns the exit status."""
    arguments = _parser().parse_args(argv)
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

    cli_training.add_verbs(verbs)
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


# --- coordinator ------------------------------------------------------------------------------


def _serve(arguments: argparse.Namespace) -> int:
    wiring.set_up_logging()

    def ready() -> None:
        print(f"serving {arguments.directory}", flush=True)

    serving.serve(arguments.directory, ready)
    return 0


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
