"""``riskweave node``: the verbs that make a node a member. Arguments in, lines of text out.

``join`` and ``trust --serve`` are two commands and not one, on purpose: between them a person
compares a digest with the other members. Nothing here signs what nobody has named (2.4).
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from consortium import diagnosis
from consortium.errors import ConfigurationError, TransportError
from consortium.ids import parse_digest, parse_partner_id
from partner_node import doctor, joining, serving, wiring
from partner_node.cli_verbs import add_verb, day
from partner_node.config import FILE
from partner_node.keystore import Pin
from partner_node.trust import manifest_lines

if TYPE_CHECKING:
    from partner_node.cli_verbs import Verbs

SHOWN_ONLY = 3
"""Exit status of ``trust`` without a digest."""
_LOOK_S = 2.0
_DAY_S = 86_400


def add_verbs(verbs: "Verbs") -> None:
    """Add them."""
    verb = add_verb(verbs, "init", _init, "make a new node directory with its own keys")
    verb.add_argument("--id", required=True, help="partner id: a-z, 0-9, hyphen, underscore")
    settings = "file with the tables of node.toml from [data] on"
    verb.add_argument("--settings", type=Path, help=settings)

    text = "trade the operator's one-time token for a certificate"
    verb = add_verb(verbs, "join", _join, text)
    verb.description = (
        "Trade the operator's one-time token for a certificate, then look for what would keep "
        "the node from working. A directory that is not there yet is made, with new keys, for "
        "the partner that the token names. Signs nothing."
    )
    verb.add_argument("--token", required=True, type=Path, help="the join token's file")
    verb.add_argument("--settings", type=Path, help=f"for a new directory: {settings}")
    verb.add_argument(
        "--renew", action="store_true", help="even though the certificate is still valid"
    )
    verb.add_argument(
        "--wait", action="store_true", help="until a manifest is proposed, and show it"
    )

    text = "show the newest manifest; with its digest, sign it and work under it from now on"
    verb = add_verb(verbs, "trust", _trust, text)
    verb.add_argument(
        "digest", metavar="DIGEST", nargs="?", help="compare it with the other members' first"
    )
    verb.add_argument(
        "--replace", action="store_true", help="even if it does not follow the pinned manifest"
    )
    verb.add_argument(
        "--serve",
        action="store_true",
        help="then check the table and the installation, and serve if nothing is broken",
    )


def _init(arguments: argparse.Namespace) -> int:
    partner = parse_partner_id(arguments.id)
    config = joining.initialise(arguments.directory, partner, arguments.settings)
    print(f"{arguments.directory}: keys and node.toml of {config.partner} written")
    if config.data is None:
        print(f"next: name the table in {config.path}, [data]")
    print(f"then: riskweave node join {arguments.directory} --token FILE")
    return 0


def _join(arguments: argparse.Namespace) -> int:
    directory: Path = arguments.directory
    if not (directory / FILE).exists():
        partner = joining.named_in(arguments.token)
        joining.initialise(directory, partner, arguments.settings)
        print(f"{directory}: keys and node.toml of {partner} written")
    elif arguments.settings is not None:
        raise ConfigurationError(f"{directory} has its settings already; --settings is for new")
    desk = wiring.open_desk(directory)
    partner = desk.config.partner
    until = desk.keys.certificate_until(partner)
    joined = desk.config.addresses
    if until and joined and wiring.now() < until and not arguments.renew:
        print(f"{partner} has joined already; its certificate is valid until {day(until)}")
    else:
        addresses = joining.join(desk, arguments.token)
        until = desk.keys.certificate_until(partner) or 0
        print(f"{partner} has joined; its certificate is valid until {day(until)}")
        print(f"coordinator: {addresses.federation}")
        _examine(directory, "manifest", "serving")
    desk = wiring.open_desk(directory)  # with the addresses
    if arguments.wait:
        _show(desk, _proposal(desk))
    elif desk.keys.pinned() is None:
        print(f"next: riskweave node trust {directory}")
    return 0


def _proposal(desk: wiring.Desk) -> Pin:
    """The newest manifest that lists this node, once there is one.

    Raises:
        ManifestError: it lists other keys for this node.
        TransportError: there is none after a day, or the coordinator is not reachable.
    """
    print("waiting until the operator proposes a manifest with this node", flush=True)
    for _ in range(int(_DAY_S / _LOOK_S)):
        if (pin := joining.proposal(desk)) is not None:
            return pin
        wiring.pause(_LOOK_S)
    raise TransportError("no manifest with this node was proposed within a day")


def _show(desk: wiring.Desk, pin: Pin) -> None:
    for line in manifest_lines(pin, desk.keys.pinned()):
        print(line)
    print("Compare the digest with the other members, not by way of the coordinator; then:")
    print(f"riskweave node trust {desk.config.directory} {pin.digest} --serve")


def _trust(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    digest = parse_digest(arguments.digest) if arguments.digest else None
    pin = joining.proposed(desk, digest)
    if digest is None:
        _show(desk, pin)
        return SHOWN_ONLY
    for line in manifest_lines(pin, desk.keys.pinned()):
        print(line)
    pin = joining.trust(desk, pin, replace_pinned=arguments.replace)
    signed = {signature.member for signature in pin.bundle.signatures}
    waiting = [member.id for member in pin.manifest.signers() if member.id not in signed]
    print(f"signed and pinned; still to sign: {', '.join(waiting) or 'nobody'}")
    return _checked_and_served(desk, pin) if arguments.serve else 0


def _checked_and_served(desk: wiring.Desk, pin: Pin) -> int:
    """Serve, unless a check has failed: then its exit status."""
    from partner_node import ingest  # noqa: PLC0415 - loads DuckDB

    directory = desk.config.directory
    for line in ingest.check(desk.data_source(), pin.schema, desk.families(pin)).lines():
        print(line)
    if _examine(directory, "serving") == diagnosis.FAILED:
        print(f"not served; when it is mended: riskweave node serve {directory}")
        return diagnosis.FAILED
    print(f"serving {directory}", flush=True)
    wiring.set_up_logging()
    serving.serve(directory)
    return 0


def _examine(directory: Path, *but: str) -> int:
    """Print what the doctor finds wrong; returns its exit status."""
    found = [one for one in doctor.diagnose(directory) if one.check not in but]
    wrong = [
        one for one in found if one.state in {diagnosis.State.WARNING, diagnosis.State.FAILED}
    ]
    for line in diagnosis.lines(wrong):
        print(line)
    print(f"checked: {len(found) - len(wrong)} of {len(found)} without a remark")
    return diagnosis.exit_status(found)
