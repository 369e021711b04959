"""``riskweave risk``: list the register, fail for what is late, act on it or waive it."""

import argparse
import json
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path

from consortium.credit.triggers import (
    RULES,
    WAIVER_DAYS,
    Acted,
    Item,
    Reading,
    Register,
    Trigger,
    Waiver,
)
from consortium.errors import ConfigurationError
from consortium.ids import digest_of, parse_digest
from coordinator import wiring
from coordinator.credit.opening import registers_of
from coordinator.credit.readings import shock_readings
from coordinator.credit.register import Registers
from coordinator.verbs import add_verb, with_json

LATE = 2
"""Exit status of ``check`` for an overdue item or an expired waiver."""


def main(argv: Sequence[str]) -> int:
    """Run ``riskweave risk ARGV``; returns the exit status."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    return command(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="riskweave risk",
        description="The risk register: it follows from releases, gates, the log and the "
        "clock, and costs no privacy budget.",
    )
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, text in (
        ("list", _list, "everything that is not green, the worst first"),
        ("check", _check, "the same; exit status 2 for what is overdue or no longer waived"),
    ):
        verb = with_json(add_verb(verbs, name, command, text))
        verb.add_argument(
            "--stress",
            metavar="REPORT.json",
            type=Path,
            action="append",
            default=[],
            help="a stored report of riskweave stress; its date is today",
        )
    verb = with_json(add_verb(verbs, "waive", _waive, "live with a red trigger for a while"))
    _subject(verb)
    verb.add_argument("--reason", required=True, help="a code of your own")
    verb.add_argument("--days", type=int, default=30, help=f"1 to {WAIVER_DAYS} (%(default)s)")
    verb = with_json(add_verb(verbs, "act", _act, "say what was done about a red trigger"))
    _subject(verb)
    verb.add_argument("--action", required=True, help="a code of your own")
    verb.add_argument("--days", type=int, default=30, help="within which it must show")
    verb.add_argument("--evidence", default="", help="digest of what shows it")
    return parser


def _subject(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("trigger", choices=[one.value for one in Trigger])
    verb.add_argument("subject", metavar="SUBJECT", help="as the list names it")


def _opened(arguments: argparse.Namespace) -> Registers:
    return registers_of(wiring.open_desk(arguments.directory))


def _list(arguments: argparse.Namespace) -> int:
    _show(_register(arguments), arguments)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    register = _register(arguments)
    _show(register, arguments)
    return LATE if register.alarms else 0


def _register(arguments: argparse.Namespace) -> Register:
    registers = _opened(arguments)
    today = registers.day()
    more = [one for path in arguments.stress for one in _of_stress(path, today)]
    return registers.today(more)


def _of_stress(path: Path, today: date) -> list[Reading]:
    data = wiring.read_text(path).rstrip("\n").encode("utf-8")
    try:
        found = json.loads(data)
    except ValueError as error:
        raise ConfigurationError(f"{path}: no JSON") from error
    if not isinstance(found, dict) or found.get("kind") != "closure stress":
        raise ConfigurationError(f"{path}: no report of a closure")
    return shock_readings(found, today, digest_of(data))


def _show(register: Register, arguments: argparse.Namespace) -> None:
    if arguments.json:
        unknown = [f"{one.trigger}:{one.subject}" for one in register.unknown]
        items = [_plain(one) for one in register.items]
        print(json.dumps({"on": register.on.isoformat(), "items": items, "unknown": unknown}))
        return
    for item in register.items:
        print("\n".join(_lines(item)))
    for one in register.unknown:
        print(f"unknown   {one.trigger} of {one.subject}: no reading")
    if not register.items:
        print(f"{register.on}: nothing is amber or red")


def _lines(item: Item) -> list[str]:
    one, rule = item.reading, item.rule
    level = f"{one.level} {one.trigger} of {one.subject}"
    value = f"{one.value:.4g} {rule.unit}" if one.value is not None else ""
    lines = [f"{item.standing:<9} {level}: {value}, since {item.since}"]
    if item.due is not None:
        lines.append(f"          {rule.owner} must act by {item.due}: {rule.action}")
    if item.blocks:
        lines.append(f"          it stops {', '.join(item.blocks)}")
    if item.waiver is not None:
        reason = f"{item.waiver.reason}, by {item.waiver.role}"
        lines.append(f"          waived until {item.waiver.expires} ({reason})")
    if item.acted is not None:
        lines.append(f"          {item.acted.action} on {item.acted.on}, due {item.acted.due}")
    return lines


def _plain(item: Item) -> dict[str, object]:
    one, rule = item.reading, item.rule
    return {
        "trigger": one.trigger.value,
        "subject": one.subject,
        "level": one.level.value,
        "standing": item.standing.value,
        "value": one.value,
        "unit": rule.unit,
        "since": item.since.isoformat(),
        "due": "" if item.due is None else item.due.isoformat(),
        "owner": rule.owner.value,
        "action": rule.action,
        "blocks": [block.value for block in item.blocks],
        "waived_until": "" if item.waiver is None else item.waiver.expires.isoformat(),
        "acted": "" if item.acted is None else item.acted.action,
        "evidence": one.evidence or "",
    }


def _waive(arguments: argparse.Namespace) -> int:
    registers, trigger = _opened(arguments), Trigger(arguments.trigger)
    today = registers.day()
    waiver = Waiver(
        trigger=trigger,
        subject=arguments.subject,
        reason=arguments.reason,
        role=RULES[trigger].owner,
        on=today,
        expires=today + timedelta(days=arguments.days),
    )
    registers.waive(waiver)
    print(f"{trigger} of {waiver.subject}: waived until {waiver.expires}, in the log")
    return 0


def _act(arguments: argparse.Namespace) -> int:
    registers, trigger = _opened(arguments), Trigger(arguments.trigger)
    today = registers.day()
    evidence = parse_digest(arguments.evidence) if arguments.evidence else None
    act = Acted(
        trigger=trigger,
        subject=arguments.subject,
        action=arguments.action,
        role=RULES[trigger].owner,
        on=today,
        due=today + timedelta(days=arguments.days),
        evidence=evidence,
    )
    registers.act(act)
    print(f"{trigger} of {act.subject}: {act.action}, to show by {act.due}; in the log")
    return 0
