"""Verbs of ``riskweave coordinator``: the charter, how partners stand, their contribution."""

import argparse
import json

from consortium.documents import plain_of
from consortium.errors import ConfigurationError, ManifestError
from consortium.ids import parse_partner_id
from consortium.ledger.governing import CharterProposed
from consortium.manifest import Manifest
from coordinator import control, wiring
from coordinator.cli_training import show_run
from coordinator.credit.charter_file import parse_charter
from coordinator.credit.contribution import (
    as_csv,
    as_json,
    contribution_page,
    retraining_plan,
    state,
    statement_of_releases,
)
from coordinator.credit.governance import Governance, governance_of
from coordinator.credit.governing import Governing
from coordinator.wiring import Desk


def _manifest(desk: Desk) -> Manifest:
    manifest = desk.membership.current()
    if manifest is None:
        raise ManifestError("no manifest is in force")
    return manifest


def charter(arguments: argparse.Namespace) -> int:
    """Propose a charter, or show the newest and who has agreed."""
    desk = wiring.open_desk(arguments.directory)
    governing = Governing(desk.store, desk.log)
    if arguments.file is not None:
        known = governing.state().charters
        made = parse_charter(
            wiring.read_text(arguments.file),
            federation=desk.config.federation,
            before=known[-1] if known else None,
            source=str(arguments.file),
        )
        governing.say(CharterProposed(charter=made))
    found = governance_of(desk.store, governing, _manifest(desk))
    if found.charter is None:
        raise ConfigurationError("no charter was proposed; name a FILE.toml")
    newest = found.charter
    if arguments.json:
        plain = {"digest": newest.digest, "lacking": list(found.lacking)}
        print(json.dumps(plain | {"charter": plain_of(newest)}, ensure_ascii=False))
        return 0
    state = f"waits for {', '.join(found.lacking)}" if found.lacking else "all have agreed"
    print(f"charter {newest.version}, from {newest.in_force}: {newest.digest}")
    print(f"  {len(newest.clauses)} clauses; {state}")
    return 0


def governance(arguments: argparse.Namespace) -> int:
    """Onboarding of each partner, exits and what is owed, contribution statements."""
    desk = wiring.open_desk(arguments.directory)
    governing = Governing(desk.store, desk.log)
    found = governance_of(desk.store, governing, _manifest(desk))
    late = [one for one in found.exits if one.overdue(governing.today())]
    if arguments.json:
        print(json.dumps(_plain(found), ensure_ascii=False))
    else:
        for line in _lines(found):
            print(line)
    return 2 if late else 0


def _plain(found: Governance) -> dict[str, object]:
    return {
        "charter": "" if found.charter is None else found.charter.digest,
        "lacking": list(found.lacking),
        "onboarding": [plain_of(one) for one in found.onboarding],
        "exits": [{"note": one.text, "partner": one.partner} for one in found.exits],
        "contributions": [plain_of(one) for one in found.statements],
    }


def _lines(found: Governance) -> list[str]:
    lines = []
    for one in found.onboarding:
        state = f"waits for {one.waits_for}" if one.waits_for else f"live in {one.days} days"
        reached = ", ".join(f"{name} {on}" for name, on in one.reached)
        lines.append(f"{one.partner}: {state}; {reached or 'nothing yet'}")
    lines += [f"{one.partner} has left: {one.text}" for one in found.exits]
    lines += [
        f"contribution to {one.version[:12]}: statement {one.statement}"
        for one in found.statements
    ]
    return lines


def contribution(arguments: argparse.Namespace) -> int:
    """State what released tables say of each partner, in the log and in three forms."""
    desk = wiring.open_desk(arguments.directory)
    governing = Governing(desk.store, desk.log)
    made = statement_of_releases(
        desk.store, _manifest(desk), arguments.tables, arguments.hanging
    )
    state(governing, made)
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        for form, text in (
            ("html", contribution_page(made)),
            ("csv", as_csv(made)),
            ("json", as_json(made)),
        ):
            wiring.write_text(arguments.out / f"contribution-{made.digest[:12]}.{form}", text)
    if arguments.json:
        print(as_json(made))
        return 0
    print(f"contribution statement {made.digest}: in the log; epsilon {made.epsilon}")
    for one in made.lines:
        gain = f"{one.gain} [{one.at_least}, {one.at_most}]" if one.gain else "n/a"
        print(f"  {one.partner}: {one.worth}, {gain}, {one.settlement / 10_000:.2f} %")
    return 0


def retrain(arguments: argparse.Namespace) -> int:
    """Train as a version was trained, less one partner; a charged run like any other."""
    desk = wiring.open_desk(arguments.directory)
    plan = retraining_plan(desk.store, arguments.version, parse_partner_id(arguments.without))
    if arguments.print:
        print(plan, end="")
        return 0
    return show_run(control.start_run(desk.config.control_socket, plan), as_json=arguments.json)
