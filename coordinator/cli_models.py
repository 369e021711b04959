"""``riskweave models``: the registry's verbs. Arguments in, lines of text out."""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from consortium.canonical import parse_canonical
from consortium.documents import plain_of
from consortium.errors import ConfigurationError, ManifestError
from coordinator import commands, gating, registry, statement_page, wiring
from coordinator.model_storage import ModelRow
from coordinator.verbs import with_json

REFUSED = 3
"""Exit status of ``models gate`` for a version that its gate refuses."""


def main(argv: Sequence[str]) -> int:
    """Run ``riskweave models ARGV``; returns the exit status."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    return command(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="riskweave models", description="The model registry of a coordinator."
    )
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, text in (
        ("list", _list, "all versions, newest first"),
        ("show", _show, "the document of a version"),
        ("statement", _statement, "the privacy statement of a version, recomputed"),
        ("gate", _gate, "what the release gate says of a version, line by line"),
        ("activate", _activate, "put a version with enough votes to use"),
        ("rollback", _rollback, "return to the version that was active before"),
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


def _list(arguments: argparse.Namespace) -> int:
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


def _show(arguments: argparse.Namespace) -> int:
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


def _statement(arguments: argparse.Namespace) -> int:
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


def _gate(arguments: argparse.Namespace) -> int:
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


def _activate(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    manifest = desk.membership.current()
    if manifest is None:
        raise ManifestError("no manifest is in force")
    row = registry.activate(desk.store, manifest, arguments.version, wiring.now(), log=desk.log)
    return _changed(row, as_json=arguments.json)


def _rollback(arguments: argparse.Namespace) -> int:
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
