"""``riskweave coordinator``: the verbs that found a federation: arguments in, text out."""

import argparse
import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from consortium.canonical import parse_canonical
from consortium.crypto.keys import Secret
from consortium.errors import ConfigurationError
from consortium.ids import PartnerId
from consortium.manifest import Manifest, Role, parse_manifest
from coordinator import commands, waiting, wiring
from coordinator.config import DATABASE, address
from coordinator.membership import partner_for_token
from coordinator.verbs import add_verb, with_json

if TYPE_CHECKING:
    Verbs: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

HOURS = 24
"""How long a join token is good."""
TOKENS = "tokens"
"""Where ``init --invite`` leaves the tokens, in the coordinator's directory."""
_DAY_S = 86_400.0

Invitation = tuple[PartnerId, tuple[str, ...]]


def add_verbs(verbs: "Verbs") -> None:
    """Add them."""
    _add_init(verbs)
    _add_token(verbs)
    text = "propose the next manifest, or show the newest"
    verb = add_verb(verbs, "manifest", _manifest, text)
    verb.add_argument("action", choices=("propose", "show"))
    verb.add_argument("--min-partners", type=int, help="instead of the configuration's")
    verb.add_argument("--vote-quorum", type=int, help="instead of the configuration's")
    verb.add_argument(
        "--wait", action="store_true", help="propose it once everybody who was invited is in"
    )
    with_json(verb)


def _add_init(verbs: "Verbs") -> None:
    verb = add_verb(verbs, "init", _init, "make a new coordinator directory with its own keys")
    verb.add_argument("--name", required=True, help="name of the federation")
    verb.add_argument("--schema", required=True, type=Path, help="feature schema (TOML)")
    verb.add_argument(
        "--address", default="127.0.0.1:7443", help="host:port for partners (%(default)s)"
    )
    verb.add_argument(
        "--enrolment", default="127.0.0.1:7444", help="host:port to enrol at (%(default)s)"
    )
    verb.add_argument("--policy", type=Path, help="TOML file with one table, [policy]")
    verb.add_argument(
        "--public",
        metavar="HOST:PORT,HOST:PORT",
        help="what partners dial to work and to enrol, if not the addresses (NAT, container)",
    )
    verb.add_argument(
        "--storage",
        metavar="URL",
        default=DATABASE,
        help="database: %(default)s, or postgresql://user@host/name?passfile=FILE",
    )
    verb.add_argument(
        "--invite",
        metavar="PARTNER=FAMILIES",
        action="append",
        default=[],
        help=f"write a join token for it, too, into {TOKENS}/ of DIR; may be repeated",
    )


def _add_token(verbs: "Verbs") -> None:
    verb = add_verb(verbs, "token", _token, "issue a one-time join token")
    verb.add_argument("partner", metavar="PARTNER", help="id: a-z, 0-9, hyphen, underscore")
    whom = verb.add_mutually_exclusive_group(required=True)
    whom.add_argument("--families", default="", help="feature families it holds: a,b")
    whom.add_argument(
        "--regulator", action="store_true", help="for a regulator: it witnesses and audits"
    )
    verb.add_argument("--hours", type=int, default=HOURS, help="validity (%(default)s)")
    verb.add_argument("--out", type=Path, help="write to this new file, mode 0600")


def _init(arguments: argparse.Namespace) -> int:
    invited = [_invitation(text) for text in arguments.invite]
    birth = wiring.Birth(
        name=arguments.name,
        schema=arguments.schema,
        address=address(arguments.address),
        enrolment=address(arguments.enrolment),
        policy=arguments.policy,
        storage=arguments.storage,
        public=_public(arguments.public),
    )
    wiring.initialise(arguments.directory, birth)
    print(f"{arguments.directory}: keys, schema and coordinator.toml written")
    if not invited:
        print(f"next: riskweave coordinator token {arguments.directory} PARTNER --families ...")
        return 0
    _invite(arguments.directory, invited)
    print(f"next: riskweave coordinator serve {arguments.directory}")
    return 0


def _invite(directory: Path, invited: Iterable[Invitation]) -> None:
    """Leave a token for each in a directory that only the operator may read."""
    desk = wiring.open_desk(directory)
    place = wiring.private_directory(directory / TOKENS)
    for partner, families in invited:
        token = commands.issue_token(desk, partner, families, hours=HOURS)
        path = place / f"{partner}.token"
        wiring.write_secret(path, Secret(token.encode().encode() + b"\n"))
        print(f"{path}: hand it to {partner} out of band; once, within {HOURS} hours")


def _invitation(text: str) -> Invitation:
    name, equals, families = text.partition("=")
    if not equals:
        raise ConfigurationError(f"--invite {text!r} is not PARTNER=FAMILY,FAMILY")
    return partner_for_token(name), _names(families)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _public(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    federation, comma, enrolment = text.partition(",")
    if not comma:
        raise ConfigurationError(f"--public {text!r} is not HOST:PORT,HOST:PORT")
    return address(federation), address(enrolment)


def _token(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    partner = partner_for_token(arguments.partner)
    families = _names(arguments.families)
    role = Role.REGULATOR if arguments.regulator else Role.PARTNER
    token = commands.issue_token(desk, partner, families, hours=arguments.hours, role=role)
    if arguments.out is None:
        print(token.encode())
        return 0
    wiring.write_secret(arguments.out, Secret(token.encode().encode() + b"\n"))
    print(f"{arguments.out}: for {partner}, once, within {arguments.hours} hours")
    return 0


def _manifest(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    if arguments.action == "propose":
        if arguments.wait:
            _wait_for_invited(desk)
        policy = desk.config.policy
        policy = replace(
            policy,
            min_partners=arguments.min_partners or policy.min_partners,
            vote_quorum=arguments.vote_quorum or policy.vote_quorum,
        )
        desk.membership.propose(desk.config.federation, desk.schema, policy)
    bundle = desk.membership.bundle(None)
    manifest = parse_manifest(bundle.body)
    signed = {signature.member for signature in bundle.signatures}
    if arguments.json:
        document = parse_canonical(bundle.body)
        print(
            json.dumps({"digest": manifest.digest, "signed": sorted(signed), "body": document})
        )
        return 0
    for line in _manifest_lines(manifest, signed):
        print(line)
    if arguments.action == "propose":
        print("each member compares the digest with the others, then signs:")
        print(f"riskweave node trust DIR {manifest.digest} --serve")
    return 0


def _wait_for_invited(desk: wiring.Desk) -> None:
    """Until no join token is open: each was used, or has expired."""
    invited = len(waiting.invited(desk))
    waiting.wait(
        lambda: invited - len(waiting.invited(desk)), invited, wiring.pause, seconds=_DAY_S
    )


def _manifest_lines(manifest: Manifest, signed: Collection[str]) -> Iterable[str]:
    yield f"manifest {manifest.version} of {manifest.federation}: {manifest.digest}"
    yield f"  schema {manifest.schema}"
    policy = asdict(manifest.policy)
    policy |= {f"scoring.{key}": value for key, value in policy.pop("scoring").items()}
    for key, value in policy.items():
        listed = isinstance(value, (tuple, list))
        shown = (", ".join(str(one) for one in value) or "any") if listed else value
        yield f"  {key} = {shown}"
    for member in manifest.members:
        state = "-" if member not in manifest.signers() else "to sign"
        state = "signed" if member.id in signed else state
        role, families = member.role.value, ", ".join(member.families)
        yield f"  {member.index:>5} {member.id:<32} {role:<11} {state:<8} {families}"
