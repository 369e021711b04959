"""Verb of ``riskweave desk`` for restart campaigns: who is in, who is offered, what became."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from consortium.credit.restart import Tier
from consortium.errors import ConfigurationError
from partner_node import wiring
from partner_node.credit.campaign import CampaignDesk, arm_of, enrolled_of, fates_of
from partner_node.credit.campaign_opening import open_campaigns
from partner_node.credit.cli import add_verb, show
from partner_node.credit.forms import LARGEST_FILE, parse_json
from partner_node.keystore import read_file

if TYPE_CHECKING:
    from typing import TypeAlias

    Verbs: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

_ACTIONS = ("status", "enrol", "offer", "list", "outcome")


def add_verbs(verbs: "Verbs") -> None:
    """Add ``campaign``."""
    text = "a restart campaign of the log at this node: status, enrol, offer, list, outcome"
    verb = add_verb(verbs, "campaign", _campaign, text)
    verb.add_argument("action", choices=_ACTIONS)
    verb.add_argument("name", metavar="NAME", help="of the campaign")
    verb.add_argument("--file", default="", help="JSON (enrol, outcome); - reads stdin")


def _campaign(arguments: argparse.Namespace) -> int:
    if (arguments.action in ("enrol", "outcome")) != bool(arguments.file):
        raise ConfigurationError("enrol and outcome read a --file, no other does")
    with open_campaigns(wiring.open_desk(arguments.directory)) as campaigns:
        if arguments.action == "status":
            return _status(campaigns, arguments)
        if arguments.action == "list":
            return _list(campaigns, arguments)
        if arguments.action == "outcome":
            fresh = campaigns.record(arguments.name, fates_of(_parsed(arguments.file)))
            lines = [f"{fresh} outcomes are new"]
            return show({"new": fresh}, lines, as_json=arguments.json)
        if arguments.action == "enrol":
            counted = campaigns.enrol(arguments.name, enrolled_of(_parsed(arguments.file)))
        else:
            counted = campaigns.offer(arguments.name)
    return show(dict(counted), _lines(counted), as_json=arguments.json)


def _status(campaigns: CampaignDesk, arguments: argparse.Namespace) -> int:
    running, counted = campaigns.status(arguments.name)
    now = running.now
    found = {
        "campaign": running.plan.name,
        "waves": [one.value for one in now.waves],
        "turn": now.turn,
        "looks": now.looks,
        "ended": now.ended,
        "members": dict(counted),
    }
    waves = " ".join(f"{number + 1}:{one}" for number, one in enumerate(now.waves))
    lines = [f"{running.plan.name}: {waves}{' ended' if now.ended else ''}", *_lines(counted)]
    return show(found, lines, as_json=arguments.json)


def _list(campaigns: CampaignDesk, arguments: argparse.Namespace) -> int:
    """The lender's own lines, for its own systems; nothing of it leaves."""
    found = [
        {
            "line": one.line,
            "arm": one.tier.value if one.tier is Tier.D else arm_of(one).value,
            "wave": one.wave + 1,
            "turn": one.turn,
            "fate": "" if one.fate is None else one.fate.value,
        }
        for one in campaigns.listed(arguments.name)
    ]
    lines = [
        f"{one['line']}  {one['arm']:<7} wave {one['wave']}  "
        f"{one['fate'] or ('watched' if one['turn'] else 'not yet')}"
        for one in found
    ]
    return show(found, lines or ["nobody"], as_json=arguments.json)


def _lines(counted: Mapping[str, int]) -> list[str]:
    return [f"{name}: {number}" for name, number in sorted(counted.items())] or ["nobody"]


def _parsed(path: str) -> object:
    data = sys.stdin.buffer.read() if path == "-" else read_file(Path(path))
    return parse_json(data, most=LARGEST_FILE)
