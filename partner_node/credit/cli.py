"""``riskweave desk``: arguments in, lines of text out.

What needs a score is asked of the serving node; the rest works on the node's own database,
whether it serves or not.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from consortium.credit.admission import Event
from consortium.credit.verdict import OverrideCode
from consortium.errors import ConfigurationError, DigestMismatchError
from partner_node import wiring
from partner_node.credit import rules
from partner_node.credit.forms import override_of, parse_json, with_attestation
from partner_node.credit.opening import open_service
from partner_node.credit.papers import promises_kept
from partner_node.credit.ramp import Ramp
from partner_node.keystore import read_file

if TYPE_CHECKING:
    Verbs: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

DIFFERS = 3
"""Exit status of `replay` if a decision comes out otherwise."""
ORDERS = {"resume": Event.RESUME, "end": Event.END, "reviewed": Event.REVIEWED}
_PAYMENTS = 16 << 20
_MORE = (
    "partner_node.credit.cli_path",
    "partner_node.credit.cli_watch",
    "partner_node.credit.cli_audit",
    "partner_node.credit.cli_closures",
    "partner_node.credit.cli_campaign",
    "partner_node.credit.cli_attest",
)
"""Files that add verbs of their own."""


def main(argv: Sequence[str]) -> int:
    """Run ``riskweave desk ARGV``; returns the exit status."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    return command(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="riskweave desk",
        description="A partner's credit desk: decisions, their reasons and their replay. "
        "Rules stand in the node's directory, credit/*.toml.",
    )
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_decisions(verbs)
    for name in _MORE:
        importlib.import_module(name).add_verbs(verbs)
    return parser


def add_verb(
    verbs: "Verbs", name: str, command: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    """A verb on a node's directory, with ``--json``."""
    verb = verbs.add_parser(name, help=text, description=text)
    verb.set_defaults(command=command)
    verb.add_argument("directory", metavar="DIR", type=Path, help="node directory")
    verb.add_argument("--json", action="store_true", help="print JSON for scripts")
    return verb


def show(found: object, lines: Sequence[str], *, as_json: bool) -> int:
    """Print one or the other; returns 0."""
    print(json.dumps(found, ensure_ascii=False) if as_json else "\n".join(lines))
    return 0


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"seen {text[:20]!r}, expected 1 or more")
    return int(text)


def _add_decisions(verbs: "Verbs") -> None:
    verb = add_verb(verbs, "init", _init, "write rules, terms and an application to edit")
    packs = ", ".join(rules.shipped_packs())
    verb.add_argument("--pack", required=True, help=f"one of {packs}")
    verb.add_argument("--since", help="first day in force, YYYY-MM-DD; none: today")
    verb.add_argument(
        "--example", action="store_true", help="with the levers of the Taiwan example"
    )
    verb = add_verb(verbs, "decide", _decide, "ask the serving node for a decision")
    which = verb.add_mutually_exclusive_group(required=True)
    which.add_argument("--application", metavar="FILE", help="JSON; - reads it from stdin")
    which.add_argument(
        "--file", metavar="FILE", help="many, one JSON a line; - reads them from stdin"
    )
    verb.add_argument(
        "--attestation",
        metavar="PAPER",
        type=Path,
        help="with --application: the signed history that the applicant carries",
    )
    verb.add_argument(
        "--key",
        default="",
        help="a UUID: the same key, the same decision; of many, each line's follows from it",
    )
    verb = add_verb(verbs, "show", _show, "a stored decision, as the desk was told it")
    verb.add_argument("id", metavar="ID", help="of the decision, 64 hex")
    verb = add_verb(verbs, "replay", _replay, "decide stored decisions again, byte for byte")
    verb.add_argument("id", metavar="ID", nargs="?", help="of one decision, 64 hex")
    verb.add_argument("--last", type=_count, default=1_000, help="so many of the newest")
    text = "an officer's final decision on an automated one"
    verb = add_verb(verbs, "override", _override, text)
    verb.add_argument("id", metavar="ID", help="of the decision, 64 hex")
    verb.add_argument("--code", required=True, choices=tuple(OverrideCode))
    verb.add_argument("--role", required=True, help="of the officer; no name")
    verb.add_argument("--outcome", required=True, choices=("APPROVE", "DECLINE"))
    verb.add_argument("--limit", type=int, default=0, help="minor units, if approved")
    verb.add_argument("--reason", action="append", default=[], help="code, if declined")
    verb.add_argument("--note", default="", help="free text; stays in this node")
    text = "growth caps and ramp: how they stand, first payments, signed orders"
    verb = add_verb(verbs, "admission", _admission, text)
    verb.add_argument(
        "action", choices=("status", "observe", *ORDERS), nargs="?", default="status"
    )
    verb.add_argument("--role", default="", help="of who orders; no name")
    verb.add_argument("--reason", default="", help="a code of your own, for an order")
    verb.add_argument(
        "--payments",
        type=Path,
        help="for observe: JSON, decision id -> true if its first payment was 30 days late",
    )


# --- commands ---------------------------------------------------------------------------------


def _init(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    with open_service(desk) as service:
        since = _day(arguments.since) if arguments.since else service.today()
    written = rules.write_starters(
        arguments.directory,
        partner=desk.config.partner,
        pack=arguments.pack,
        since=since,
        example=arguments.example,
    )
    names = [str(path) for path in written]
    lines = [f"{name}: written; edit it before the first decision" for name in names]
    lines.append(f"then: riskweave desk decide {arguments.directory} --application {names[-1]}")
    return show({"written": names}, lines, as_json=arguments.json)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(f"--since {text[:20]!r}: expected YYYY-MM-DD") from error


def _decide(arguments: argparse.Namespace) -> int:
    from partner_node.credit.cli_many import decide_lines  # noqa: PLC0415 - with it
    from partner_node.desk_caller import DeskCaller  # noqa: PLC0415 - loads gRPC

    socket, key = wiring.open_desk(arguments.directory).config.desk_socket, arguments.key
    if arguments.file is not None:
        if arguments.attestation is not None:
            raise ConfigurationError("of many, each line has its own attestation, in base64")
        with DeskCaller(socket) as desk:
            return decide_lines(arguments.file, key, desk.decide_many, as_json=arguments.json)
    data = _bytes(arguments.application)
    if arguments.attestation is not None:
        data = with_attestation(data, read_file(arguments.attestation))
    with DeskCaller(socket) as desk:
        answer = json.loads(desk.decide(data, key))
    return show(answer, answer_lines(answer), as_json=arguments.json)


def answer_lines(answer: Mapping[str, Any]) -> list[str]:
    """A decision for who stands at the desk."""
    decision = answer["decision"]
    why = answer["why"]
    return [
        f"{decision['application']}: {decision['outcome']} on {decision['decided_on']}",
        f"limit {decision['limit']:,} minor units, grade {''.join(decision['grade']) or '-'}",
        *([f"{decision['code']}  {why['en']}  {why['zh']}"] if why else []),
        *(f"{one['code']}  {one['en']}  {one['zh']}" for one in answer["reasons"]),
        f"decision {answer['id']}",
    ]


def _show(arguments: argparse.Namespace) -> int:
    with open_service(wiring.open_desk(arguments.directory)) as service:
        answer = json.loads(service.decision(arguments.id).answer)
        overrides = service.overrides(arguments.id)
    lines = [
        *answer_lines(answer),
        *(f"overridden on {one.on}: {one.after} ({one.code})" for one in overrides),
    ]
    return show(answer, lines, as_json=arguments.json)


def _replay(arguments: argparse.Namespace) -> int:
    with open_service(wiring.open_desk(arguments.directory)) as service:
        try:
            if arguments.id:
                service.replay(arguments.id)
                count = 1
            else:
                count = sum(1 for _ in service.replay_last(arguments.last))
            found, kept = promises_kept(service, arguments.last) if not arguments.id else (0, 0)
        except DigestMismatchError as error:
            sys.stderr.write(f"differs: {error}\n")
            return DIFFERS
    lines = [f"{count} decisions made again: identical bytes"]
    if found:
        lines.append(f"{kept} of {found} could be told what would help: applied, each keeps it")
    facts = {"identical": count, "helps": found, "promises_kept": kept}
    return show(facts, lines, as_json=arguments.json)


def _override(arguments: argparse.Namespace) -> int:
    wish = override_of(
        {
            "code": arguments.code,
            "role": arguments.role,
            "outcome": arguments.outcome,
            "limit": arguments.limit,
            "reasons": arguments.reason,
            "note": arguments.note,
        }
    )
    with open_service(wiring.open_desk(arguments.directory)) as service:
        made = json.loads(service.override(arguments.id, wish, by="operator"))
    lines = [f"{made['application']}: {made['before']} -> {made['after']} ({made['code']})"]
    return show(made, lines, as_json=arguments.json)


def _admission(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    with open_service(desk) as service:
        ramp = Ramp(service)
        if arguments.action == "observe":
            ramp.first_payments(_payments(arguments.payments))
        elif arguments.action in ORDERS:
            if not arguments.role or not arguments.reason:
                raise ConfigurationError("an order needs --role and --reason")
            ramp.order(
                ORDERS[arguments.action],
                role=arguments.role,
                reason=arguments.reason,
                key=desk.keys.identity(),
            )
        found = ramp.status()
    lines = [
        f"week of {found.week}: {found.phase}, {found.stage_percent} % of the caps",
        f"first payments of this stage: {found.good} on time, {found.bad} late",
        *(
            f"{grade}  used {found.used[grade]:>16,}  left {found.left[grade]:>16,}"
            for grade in found.used
        ),
    ]
    return show(asdict(found), lines, as_json=arguments.json)


def _payments(path: Path | None) -> dict[str, bool]:
    if path is None:
        raise ConfigurationError("observe needs --payments")
    found = parse_json(read_file(path), most=_PAYMENTS)
    if not isinstance(found, dict) or any(type(one) is not bool for one in found.values()):
        raise ConfigurationError(f"{path}: not an object of true and false")
    return found


def _bytes(path: str) -> bytes:
    return sys.stdin.buffer.read() if path == "-" else read_file(Path(path))
