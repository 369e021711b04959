"""``riskweave node``: the verbs about keys. Arguments in, lines of text out."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from consortium.ids import parse_partner_id
from consortium.ledger.revocations import REASONS
from partner_node import wiring

if TYPE_CHECKING:
    Verbs: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001


def add_verbs(verbs: "Verbs") -> None:
    """Add them."""
    text = "say that a member is to be let in no more; of this node itself that is enough"
    verb = verbs.add_parser("revoke", help=text, description=text)
    verb.set_defaults(command=_revoke)
    verb.add_argument("directory", metavar="DIR", type=Path, help="node directory")
    verb.add_argument("member", metavar="MEMBER", help="of the pinned manifest")
    verb.add_argument("--reason", choices=REASONS, required=True, help="a class only")


def _revoke(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    member = parse_partner_id(arguments.member)
    wiring.revoke(desk, member, arguments.reason)
    if member == desk.config.partner:
        print(f"{member} is revoked: this identity is let in nowhere any more")
    else:
        print(f"said of {member}: {arguments.reason}; it counts with enough other voices")
    return 0
