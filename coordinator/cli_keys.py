"""``riskweave coordinator``: the verbs about keys. Arguments in, lines of text out."""

import argparse
import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from consortium.errors import ConfigurationError
from consortium.ids import PartnerId, parse_partner_id
from consortium.ledger.revocations import REASONS
from coordinator import commands, wiring

if TYPE_CHECKING:
    Verbs: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001


def add_verbs(verbs: "Verbs") -> None:
    """Add them."""
    text = "let a member in no more, at once and for good; without PARTNER: who was revoked"
    verb = verbs.add_parser("revoke", help=text, description=text)
    verb.set_defaults(command=_revoke)
    verb.add_argument("directory", metavar="DIR", type=Path, help="coordinator directory")
    verb.add_argument("partner", metavar="PARTNER", nargs="?", help="of the manifest in force")
    verb.add_argument("--reason", choices=REASONS, help="a class only: it is logged")
    verb.add_argument("--since", metavar="TIME", help="when the key was lost, ISO 8601")
    verb.add_argument("--json", action="store_true", help="print JSON for scripts")

    text = "make a new TLS key and certificate; a serving coordinator takes it up at once"
    verb = verbs.add_parser("rotate", help=text, description=text)
    verb.set_defaults(command=_rotate)
    verb.add_argument("directory", metavar="DIR", type=Path, help="coordinator directory")

    text = "let a member leave in order: revoke it, and propose the next manifest without it"
    verb = verbs.add_parser("exit", help=text, description=text)
    verb.set_defaults(command=_exit)
    verb.add_argument("directory", metavar="DIR", type=Path, help="coordinator directory")
    verb.add_argument("partner", metavar="PARTNER")
    verb.add_argument("--min-partners", type=int, help="instead of the configuration's")
    verb.add_argument("--vote-quorum", type=int, help="instead of the configuration's")


def _exit(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    partner = parse_partner_id(arguments.partner)
    policy = desk.config.policy
    policy = replace(
        policy,
        min_partners=arguments.min_partners or policy.min_partners,
        vote_quorum=arguments.vote_quorum or policy.vote_quorum,
    )
    fresh, manifest = commands.exit_member(desk, partner, policy)
    if fresh:
        print(f"{partner} is out: in no roster, no score and no vote from now on")
    if manifest is None:
        print("a run is under way and goes on without it; when it has ended, say this again")
        return 0
    print(f"proposed: manifest {manifest.version}, {manifest.digest}")
    print(f"next, at every other member: riskweave node trust DIR {manifest.digest}")
    print("then the key of the pseudonyms is reshared among those who stay, by itself")
    return 0


def _rotate(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    until = desk.certificate.rotate(now=wiring.now())
    day = datetime.fromtimestamp(until, tz=UTC).date().isoformat()
    print(f"a new key, with a certificate until {day}; partners notice nothing")
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    if arguments.partner is None:
        return _revoked(desk, as_json=arguments.json)
    if arguments.reason is None:
        raise ConfigurationError(f"give --reason, one of {', '.join(REASONS)}")
    partner = parse_partner_id(arguments.partner)
    fresh = commands.revoke(desk, partner, arguments.reason, since=_seconds(arguments.since))
    if arguments.json:
        print(json.dumps({"member": partner, "revoked": True, "new": fresh}))
        return 0
    _tell(arguments.directory, partner, fresh=fresh)
    return 0


def _tell(directory: Path, partner: PartnerId, *, fresh: bool) -> None:
    if not fresh:
        print(f"{partner} was revoked before; nothing was changed")
        return
    print(f"{partner} is revoked: its calls are refused from now on, its streams end at once")
    print(f"next: riskweave coordinator manifest propose {directory}, for all others to sign")
    print(
        f"to let it in again, with new keys: riskweave coordinator token {directory} {partner}"
    )


def _revoked(desk: wiring.Desk, *, as_json: bool) -> int:
    found = desk.log.standing.all()
    if as_json:
        print(json.dumps([asdict(one) for one in found]))
        return 0
    for one in found:
        day = datetime.fromtimestamp(one.at, tz=UTC).isoformat()
        key = one.identity[:12]
        print(f"{one.member:<32} {one.reason:<10} {day}  key {key}  by {', '.join(one.by)}")
    if not found:
        print("nobody was revoked")
    return 0


def _seconds(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(f"--since {text!r} is no time of ISO 8601") from error
    return int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp())
