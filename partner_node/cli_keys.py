"""``riskweave node``: the verbs about keys. Arguments in, lines of text out."""

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from consortium.errors import ConfigurationError
from consortium.ids import parse_partner_id
from consortium.ledger.revocations import REASONS
from partner_node import renewal, wiring
from partner_node.cli_verbs import add_verb

if TYPE_CHECKING:
    from partner_node.cli_verbs import Verbs


def add_verbs(verbs: "Verbs") -> None:
    """Add them."""
    text = "say that a member is to be let in no more; of this node itself that is enough"
    verb = add_verb(verbs, "revoke", _revoke, text)
    verb.add_argument("member", metavar="MEMBER", help="of the pinned manifest")
    verb.add_argument("--reason", choices=REASONS, required=True, help="a class only")

    text = "get a certificate of a new TLS key; a serving node loses nothing by it"
    add_verb(verbs, "rotate", _rotate, text)

    text = "leave the federation: revoke the own identity, erase shares and tokens; for good"
    verb = add_verb(verbs, "leave", _leave, text)
    verb.add_argument("--yes", action="store_true", help="this cannot be taken back")

    text = "let nothing leave this node: no stream, no answer, no vote; durable"
    verb = add_verb(verbs, "kill-switch", _kill_switch, text)
    verb.add_argument("state", choices=("on", "off", "status"))
    verb.add_argument("--reason", default="", help="a note for the own record; stays here")


def _rotate(arguments: argparse.Namespace) -> int:
    until = renewal.rotate(wiring.open_desk(arguments.directory))
    day = datetime.fromtimestamp(until, tz=UTC).date().isoformat()
    print(f"a new key, with a certificate until {day}; the key before counts for a day more")
    return 0


def _leave(arguments: argparse.Namespace) -> int:
    if not arguments.yes:
        raise ConfigurationError("this cannot be taken back; if it is meant, say --yes")
    from partner_node import leaving  # noqa: PLC0415 - loads DuckDB and models

    desk = wiring.open_desk(arguments.directory)
    leaving.leave(desk)
    print(f"{desk.config.partner} has left: its identity is revoked, its shares are erased")
    print("keep the directory until the audit's window of the last run has ended")
    return 0


def _kill_switch(arguments: argparse.Namespace) -> int:
    switch = wiring.open_desk(arguments.directory).switch
    if arguments.state == "on":
        since = datetime.fromtimestamp(wiring.now(), tz=UTC).isoformat()
        switch.turn_on(since, arguments.reason)
    elif arguments.state == "off":
        switch.turn_off()
    print(f"on, {switch.why()}: nothing leaves this node" if switch.on else "off")
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    from partner_node import log_commands  # noqa: PLC0415 - few commands need it

    desk = wiring.open_desk(arguments.directory)
    member = parse_partner_id(arguments.member)
    log_commands.revoke(desk, member, arguments.reason)
    if member == desk.config.partner:
        print(f"{member} is revoked: this identity is let in nowhere any more")
    else:
        print(f"said of {member}: {arguments.reason}; it counts with enough other voices")
    return 0
