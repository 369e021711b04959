"""``riskweave node``: the verbs about model versions. Arguments in, lines of text out."""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from consortium.ids import Digest, parse_digest
from consortium.messages import ModelEntry
from partner_node import candidates, wiring
from partner_node.cli_verbs import add_json, add_verb, show

if TYPE_CHECKING:
    from partner_node.cli_verbs import Verbs

FALLS_SHORT = 3
"""Exit status of `validate` if the model falls short."""

ACCEPTED = "validated"
REFUSALS = ("quality", "calibration", "policy", "other", "gate", "unstable_reasons")
"""What a vote may say; figures stay here. All are of ``acceptance.REASONS``."""


def add_verbs(verbs: "Verbs") -> None:
    """Add them."""
    verb = add_verb(verbs, "models", _models, "model versions, and this node's votes")
    verb.add_argument(
        "--wait", action="store_true", help="until there is a candidate without a vote"
    )
    add_json(verb)
    for name, command, text in (
        ("validate", _validate, "test a model version on the own hold-out; nothing leaves"),
        ("accept", _accept, "vote for a model version"),
        ("refuse", _refuse, "vote against a model version"),
    ):
        verb = add_verb(verbs, name, command, text)
        verb.add_argument("version", metavar="VERSION", help="digest of the model, 64 hex")
        if name == "refuse":
            verb.add_argument("--reason", required=True, choices=REFUSALS, help="a class only")
        if name == "validate":
            verb.add_argument(
                "--opacus", action="store_true", help="ask Opacus about the statement, too"
            )
        add_json(verb)


def _models(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    if arguments.wait:
        candidates.wait(lambda: _open_votes(desk), wiring.pause)
    entries = _entries(desk)
    votes = {vote.version: vote for vote in desk.store().versions.votes()}
    rows = [
        {
            "version": entry.version,
            "status": entry.status,
            "run": entry.run,
            "created_at": entry.created_at,
            "vote": _word(votes[entry.version].accept) if entry.version in votes else None,
        }
        for entry in entries
    ]
    if arguments.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        print(f"{row['version']}  {row['status']:<9}  {row['vote'] or 'no vote'}")
    return 0


def _entries(desk: wiring.Desk) -> tuple[ModelEntry, ...]:
    with desk.door() as coordinator:
        return coordinator.list_models()


def _open_votes(desk: wiring.Desk) -> tuple[Digest, ...]:
    voted = [vote.version for vote in desk.store().versions.votes()]
    return candidates.open_votes(_entries(desk), voted)


def _word(accept: bool) -> str:  # noqa: FBT001 - it is the vote
    return "accepted" if accept else "refused"


def _validate(arguments: argparse.Namespace) -> int:
    from partner_node import acceptance, voting  # noqa: PLC0415 - loads DuckDB and models

    desk = wiring.open_desk(arguments.directory)
    version = parse_digest(arguments.version)
    verdict = voting.validate(desk, version)
    witnesses = voting.witnesses(desk, version) if arguments.opacus else {}
    if arguments.json:
        results = [asdict(one) for one in verdict.results]
        found = {
            "blocks": results,
            "stability": asdict(verdict.stability),
            "shortcomings": verdict.shortcomings,
            "reason": verdict.reason,
        }
        print(json.dumps(found | ({"accountants": witnesses} if arguments.opacus else {})))
    else:
        shown = (*acceptance.lines(verdict.results), verdict.stability.line())
        for line in (*shown, *verdict.shortcomings):
            print(line)
        for name, figure in witnesses.items():
            print(f"accountant {name}: {figure}")
    return FALLS_SHORT if verdict.shortcomings else 0


def _accept(arguments: argparse.Namespace) -> int:
    return _cast(arguments, accept=True, reason=ACCEPTED)


def _refuse(arguments: argparse.Namespace) -> int:
    return _cast(arguments, accept=False, reason=arguments.reason)


def _cast(arguments: argparse.Namespace, *, accept: bool, reason: str) -> int:
    from partner_node import voting  # noqa: PLC0415 - loads DuckDB and models

    desk = wiring.open_desk(arguments.directory)
    version = parse_digest(arguments.version)
    status = voting.cast(desk, version, accept=accept, reason=reason)
    found: dict[str, object] = {"version": version, "vote": _word(accept), "status": status}
    return show(found, as_json=arguments.json)
