"""``riskweave node``: arguments in, lines of text out."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from consortium import diagnosis
from consortium.errors import RiskWeaveError
from consortium.ids import parse_digest
from partner_node import (
    budget,
    cli_joining,
    cli_keys,
    cli_models,
    cli_replay,
    cli_scores,
    cli_upkeep,
    doctor,
    serving,
    wiring,
)
from partner_node.cli_verbs import add_json, add_verb, day, show

_DAY_S = 86_400

if TYPE_CHECKING:
    from partner_node.cli_verbs import Verbs
    from partner_node.log_store import LogStore


def main(argv: Sequence[str]) -> int:
    """Run ``riskweave node ARGV``; returns the exit status."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    return command(arguments)


def doctor_main(argv: Sequence[str]) -> int:
    """Run ``riskweave doctor ARGV`` for a node; returns the exit status: 0, 3 or 4."""
    parser = argparse.ArgumentParser(
        prog="riskweave doctor",
        description="Look for what keeps a node from working. Exit status: 0 all is well, "
        "3 something needs attention, 4 something is broken.",
    )
    parser.add_argument("directory", metavar="DIR", type=Path, help="node directory")
    parser.add_argument("--json", action="store_true", help="print JSON for scripts")
    arguments = parser.parse_args(argv)
    found = doctor.diagnose(arguments.directory)
    print(diagnosis.as_json(found) if arguments.json else "\n".join(diagnosis.lines(found)))
    return diagnosis.exit_status(found)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="riskweave node",
        description="A partner's side: keys, data and budget stay here. "
        "Order: init, join, trust, check-data, serve.",
    )
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    cli_joining.add_verbs(verbs)
    _add_daily(verbs)
    cli_models.add_verbs(verbs)
    cli_scores.add_verbs(verbs)
    cli_replay.add_verbs(verbs)
    cli_keys.add_verbs(verbs)
    cli_upkeep.add_verbs(verbs)
    return parser


def _add_daily(verbs: "Verbs") -> None:
    add_verb(verbs, "serve", _serve, "dial the coordinator and answer until SIGTERM or Ctrl-C")
    add_verb(verbs, "check-data", _check_data, "what of the table fits, what not, and why")
    verb = add_json(
        add_verb(verbs, "budget", _budget, "what was spent, is reserved and is left")
    )
    verb.add_argument(
        "--accept-log",
        action="store_true",
        help="after a backup was restored: book what the log says was charged since",
    )
    add_json(
        add_verb(verbs, "status", _status, "keys, manifest, coordinator, runs, log, incident")
    )
    text = "show the charter that the log proposes; with --agree agree to it"
    verb = add_json(add_verb(verbs, "charter", _charter, text))
    verb.add_argument("--agree", metavar="DIGEST", default="", help="of the text that you read")
    text = "show incidents of the log; with --settle answer again after one"
    verb = add_json(add_verb(verbs, "incident", _incident, text))
    verb.add_argument(
        "--settle",
        type=int,
        metavar="NUMBER",
        help="the members agree on what is true; the mirror is fetched anew",
    )


# --- every day --------------------------------------------------------------------------------


def _serve(arguments: argparse.Namespace) -> int:
    wiring.set_up_logging()
    serving.serve(arguments.directory)
    return 0


def _check_data(arguments: argparse.Namespace) -> int:
    from partner_node import ingest  # noqa: PLC0415 - loads DuckDB

    desk = wiring.open_desk(arguments.directory)
    pin = desk.known_pin()
    families = desk.families(pin)
    print(f"families {', '.join(families)} of schema {pin.schema.name}")
    for line in ingest.check(desk.data_source(), pin.schema, families).lines():
        print(line)
    return 0


def _budget(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    policy = desk.known_pin().manifest.policy
    if arguments.accept_log:
        from partner_node import log_commands  # noqa: PLC0415 - few commands need it

        booked = log_commands.accept_log(desk)
        sys.stderr.write(f"booked from the log: {len(booked)} debits\n")
    found = budget.report(desk.store(), policy, wiring.own_caps(desk))
    if arguments.json:
        print(json.dumps({"delta": policy.delta, "scopes": [asdict(one) for one in found]}))
        return 0
    for line in budget.lines(found, policy.delta):
        print(line)
    return 0


def _status(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    partner = desk.config.partner
    until = desk.keys.certificate_until(partner)
    pin = desk.keys.pinned()
    found: dict[str, object] = {
        "partner": partner,
        "certificate_until": day(until) if until else None,
        "certificate_days": (until - wiring.now()) // _DAY_S if until else None,
        "kill_switch": desk.switch.why() or "off",
        "manifest": pin.digest if pin else None,
        "manifest_state": _state(desk),
        "data": desk.config.data is not None,
        "coordinator": _reach(desk),
        "serving": wiring.is_served(arguments.directory),
    }
    found |= _scoring_state(arguments.directory)
    if desk.config.database.exists():
        store = desk.store()
        found["runs"] = [plan.run for plan in store.commitments()]
        found |= _log_state(store.log)
    return show(found, as_json=arguments.json)


def _log_state(log: "LogStore") -> dict[str, object]:
    """The mirror of the log, and what is wrong with the log."""
    incident = log.incident()
    size, _, at = log.seen()
    return {
        "log_entries": log.size(),
        "log_cosigned": size,
        "log_cosigned_at": at or None,
        "revoked": [one.member for one in log.revoked()],
        "incident": None if incident is None else f"{incident.number}: {incident.kind}",
        "incident_text": None if incident is None else incident.text,
    }


def _charter(arguments: argparse.Namespace) -> int:
    from consortium.documents import plain_of  # noqa: PLC0415 - few commands need them
    from partner_node import charter  # noqa: PLC0415

    desk = wiring.open_desk(arguments.directory)
    mirror, manifest = wiring.mirror_of(desk), desk.pinned().manifest
    if arguments.agree:
        made = charter.agree(mirror, manifest, parse_digest(arguments.agree))
        print(f"charter {made.version} is agreed to; the witness brings it to the log")
        return 0
    found = charter.charters_in(mirror, manifest)
    if arguments.json:
        plain = {"digest": found.newest.digest, "agreed": list(found.agreed)}
        print(json.dumps(plain | {"charter": plain_of(found.newest)}, ensure_ascii=False))
        return 0
    print(f"charter {found.newest.version}: {found.newest.digest}")
    for clause in found.newest.clauses:
        print(f"  {clause.code}: {clause.zh}\n    {clause.en}")
    print(f"agreed: {', '.join(found.agreed) or 'nobody'}")
    return 0


def _incident(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    if arguments.settle is not None:
        from partner_node import log_commands  # noqa: PLC0415 - few commands need it

        kind = log_commands.settle(desk, arguments.settle)
        print(f"incident {arguments.settle} ({kind}) is settled")
        return 0
    rows = [
        asdict(one) | {"held": one.held.decode(), "shown": one.shown.decode()}
        for one in desk.store().log.incidents()
    ]
    if arguments.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        state = "settled" if row["settled_at"] else "open"
        print(f"{row['number']}  {day(row['at'])}  {state:<8} {row['kind']}: {row['text']}")
    return 0


def _scoring_state(directory: Path) -> dict[str, object]:
    """What the serving process says of joint scores; nothing if none serves."""
    from partner_node import node_control  # noqa: PLC0415 - loads DuckDB and models

    if not wiring.is_served(directory):
        return {}
    try:
        (state,) = node_control.ask(directory, "scoring")
    except (RiskWeaveError, ValueError) as error:
        return {"scoring": str(error)}
    return {
        "served_version": state["served"],
        "not_served_because": state["refusal"],
        "served_head": state["head"],
        "persons": state["persons"],
        "tokens": state["tokens"],
        "epoch": state["epoch"],
        "epoch_installed": state["epoch_installed"],
        "scores_are": state["fallback"] or "joint",
    }


def _state(desk: wiring.Desk) -> str:
    try:
        desk.pinned()
    except RiskWeaveError as error:
        return str(error)
    return "signed by all"


def _reach(desk: wiring.Desk) -> str:
    try:
        with desk.door() as coordinator:
            coordinator.check_health()
    except RiskWeaveError as error:
        return str(error)
    return "serving"
