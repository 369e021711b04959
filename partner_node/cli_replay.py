"""``riskweave node replay``: uploads are made again, for the owner or for an audit."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from consortium.errors import ConfigurationError
from consortium.ids import parse_run_id
from consortium.secagg.replay_report import replay_lines, report_digest
from partner_node import training_parts, wiring
from partner_node.cli_verbs import add_json, add_verb
from partner_node.keystore import read_file

if TYPE_CHECKING:
    from partner_node.cli_verbs import Verbs

INCOMPLETE = 3
"""Exit status of `replay` if something could not be made again."""
DIFFERS = 4
"""Exit status of `replay` if an upload is not what its parts make."""
_FROM_MIRROR = Path("-")
"""No file: the challenge comes from this node's own mirror of the log."""


def add_verbs(verbs: "Verbs") -> None:
    """Add it."""
    text = "make uploads of a run again from the rows, and compare them with what was signed"
    verb = add_json(add_verb(verbs, "replay", _replay, text))
    verb.description = (
        f"{text}. Runs beside the serving node and changes nothing, but --sign. Exit code 0: "
        "all equal, 3: something could not be made again, 4: something differs."
    )
    what = verb.add_mutually_exclusive_group(required=True)
    what.add_argument("--run", metavar="ID", help="of an own run; all its uploads by default")
    what.add_argument(
        "--challenge",
        nargs="?",
        type=Path,
        const=_FROM_MIRROR,
        metavar="FILE",
        help="what the regulator drew: its entry, or the oldest in the mirror that waits",
    )
    some = verb.add_mutually_exclusive_group()
    some.add_argument(
        "--all", action="store_true", help="every upload of the run (the default)"
    )
    some.add_argument("--round", type=int, nargs="+", default=[], help="rounds of gradients")
    some.add_argument("--sum", type=int, nargs="+", default=[], help="numbers of closed sums")
    verb.add_argument(
        "--joint-rows",
        action="store_true",
        help="of a head, or of a table of premiums: ask the serving node, which may ask others",
    )
    verb.add_argument(
        "--opened",
        type=Path,
        metavar="FILE",
        help="also write seed, sums and mask keys for `riskweave audit replay`; SECRET",
    )
    verb.add_argument(
        "--sign", action="store_true", help="sign the answer to --challenge, for the log"
    )


def _replay(arguments: argparse.Namespace) -> int:
    from partner_node import replaying  # noqa: PLC0415 - loads numpy and models

    if arguments.sign and arguments.challenge is None:
        raise ConfigurationError("--sign: there is nothing to answer without --challenge")
    desk = wiring.open_desk(arguments.directory)
    asked = None
    chosen = replaying.Chosen(rounds=tuple(arguments.round), sums=tuple(arguments.sum))
    if arguments.challenge is not None:
        manifest = desk.known_pin().manifest
        data = (
            replaying.waiting_challenge(desk.store(), manifest)
            if arguments.challenge == _FROM_MIRROR
            else read_file(arguments.challenge)
        )
        asked, drawn = replaying.challenge_of(data, manifest)
        chosen = replaying.Chosen(sums=drawn.sums)
    run = parse_run_id(arguments.run) if asked is None else asked.run
    premises = training_parts.premises(desk, joint_rows=arguments.joint_rows)
    replay = replaying.Replay(premises, run)
    report = replaying.replay_all(replay, chosen, opened=arguments.opened)
    if asked is not None and arguments.sign:
        replaying.sign_answer(premises.store, desk.book(), asked, report)
    if arguments.json:
        print(json.dumps(report | {"report": report_digest(report)}))
    else:
        for line in replay_lines(report):
            print(line)
    return {"passed": 0, "incomplete": INCOMPLETE}.get(str(report["judgement"]), DIFFERS)
