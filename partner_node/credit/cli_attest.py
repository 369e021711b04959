"""Verbs of ``riskweave desk`` for attestations: issue, revoke, list, verify (path 12)."""

import argparse
import contextlib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from consortium.credit.attestation import LONGEST_DAYS, Checked, attestation_bytes
from consortium.errors import (
    AttestationError,
    ConfigurationError,
    DecodeError,
    NotFoundError,
    SignatureError,
)
from consortium.ids import PersonToken
from partner_node import wiring
from partner_node.credit import attesting, listing, storage_attested
from partner_node.credit.attesting import AttestPorts
from partner_node.credit.cli import add_verb, show
from partner_node.credit.lines import histories, lines_source
from partner_node.credit.listing import TakePorts
from partner_node.credit.opening import list_ports, open_service, subjects_of
from partner_node.credit.rules import FOLDER
from partner_node.keystore import read_file, read_pin, write_file

if TYPE_CHECKING:
    from typing import TypeAlias

    Verbs: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

REFUSED = 3
"""Exit status of `verify-attestation` if the paper is refused."""


def add_verbs(verbs: "Verbs") -> None:
    """Add ``attest``, ``revoke-attestation`` and ``verify-attestation``."""
    text = "a customer's history in bands, signed, for the customer to carry"
    verb = add_verb(verbs, "attest", _attest, text)
    verb.add_argument("person", metavar="PERSON", help="identifier, as applications name it")
    verb.add_argument(
        "--consent", required=True, metavar="REF", help="your reference of the consent"
    )
    verb.add_argument("--days", type=int, default=LONGEST_DAYS, help="of validity, at most 90")
    verb.add_argument("--out", required=True, type=Path, help="file to write")
    text = "take an attestation back; or write the signed list of all that are"
    verb = add_verb(verbs, "revoke-attestation", _revoke, text)
    which = verb.add_mutually_exclusive_group(required=True)
    which.add_argument("id", metavar="ID", nargs="?", help="of the attestation, 64 hex")
    which.add_argument("--list", action="store_true", help="write the list")
    verb.add_argument("--out", type=Path, help="file of the list")
    text = "take signed lists of other partners: files, or none to show what is here"
    verb = add_verb(verbs, "take-revocations", _take, text)
    verb.add_argument("files", metavar="FILE", nargs="*", type=Path, help="signed list")
    text = "verify an attestation by files alone"
    verb = verbs.add_parser("verify-attestation", help=text, description=text)
    verb.set_defaults(command=_verify)
    verb.add_argument("file", metavar="FILE", type=Path, help="what the borrower shows")
    verb.add_argument("--manifest", required=True, type=Path, help="trust.json of a node")
    verb.add_argument("--revocations", type=Path, help="the issuer's signed list")
    verb.add_argument("--node", type=Path, metavar="DIR", help="with --person: compare whose")
    verb.add_argument("--person", default="", help="identifier of who shows it")
    verb.add_argument("--json", action="store_true", help="print JSON for scripts")


def _attest(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    if arguments.out.exists():
        raise ConfigurationError(f"{arguments.out} is there already")
    with open_service(desk) as service:
        ports = AttestPorts(
            store=service.ports.store,
            key=desk.keys.identity(),
            issuer=desk.config.partner,
            subject=service.ports.subject,
            token=lambda subject: _token(desk, subject),
            lines=lambda: histories(lines_source(arguments.directory / FOLDER)),
            keyed=service.ports.keyed,
            today=service.today(),
        )
        signed = attesting.issue(
            ports, arguments.person, consent=arguments.consent, days=arguments.days
        )
    write_file(arguments.out, attestation_bytes(signed))
    one = signed.attestation
    found = {
        "attestation": one.digest,
        "expires_on": one.expires_on.isoformat(),
        "written": str(arguments.out),
    }
    lines = [
        f"{arguments.out}: written; its owner alone shows it",
        f"attestation {one.digest}, until {one.expires_on}",
    ]
    return show(found, lines, as_json=arguments.json)


def _token(desk: wiring.Desk, subject: bytes) -> tuple[int, PersonToken] | None:
    """The person's pseudonym of the present epoch, if this node keeps one."""
    from partner_node import scoring_parts  # noqa: PLC0415 - loads DuckDB and models

    epoch = desk.known_pin().manifest.policy.scoring.epoch
    with contextlib.closing(scoring_parts.scoring_store(desk, wiring.now)) as store:
        found = store.tokens(epoch, [subject]).get(subject)
    return None if found is None else (epoch, PersonToken(found))


def _revoke(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    if arguments.list != (arguments.out is not None):
        raise ConfigurationError("--list and --out FILE belong together")
    with open_service(desk) as service:
        store, today = service.ports.store, service.today()
        if not arguments.list:
            gone = attesting.revoke(store, arguments.id, today)
            on = str(gone.revoked_on)
            lines = [
                f"{gone.id}: revoked on {on}",
                "then: revoke-attestation --list --out FILE",
            ]
            return show({"attestation": gone.id, "on": on}, lines, as_json=arguments.json)
        ports = list_ports(desk, wiring.mirror_of(desk), store)
        made, listed = listing.publish(ports)
    write_file(arguments.out, made.document)
    count, as_of = len(listed.revoked), listed.as_of.isoformat()
    found = {
        "written": str(arguments.out),
        "number": made.number,
        "as_of": as_of,
        "revoked": count,
        "listing": made.digest,
    }
    lines = [
        f"{arguments.out}: list {made.number}, {count} revoked up to {as_of}",
        f"the log says {made.digest}, as soon as this node is served",
    ]
    return show(found, lines, as_json=arguments.json)


def _take(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    manifest, mirror = desk.pinned().manifest, wiring.mirror_of(desk)
    with open_service(desk) as service:
        store, today = service.ports.store, service.today()
        ports = TakePorts(
            store=store, log=mirror.store, manifest=manifest, counted=mirror.counted()
        )
        for path in arguments.files:
            listing.take(ports, read_file(path))
        with store.reading() as connection:
            found = [
                one
                for member in manifest.members
                if (one := storage_attested.newest_list(connection, member.id)) is not None
            ]
    facts = [
        {
            "issuer": one.issuer,
            "number": one.number,
            "listed_on": one.listed_on.isoformat(),
            "days": (today - one.listed_on).days,
            "listing": one.digest,
        }
        for one in found
    ]
    lines = [
        f"{one['issuer']}: list {one['number']} of {one['listed_on']}, {one['days']} days old"
        for one in facts
    ]
    return show(facts, lines or ["no list was taken"], as_json=arguments.json)


# --- the verifier -----------------------------------------------------------------------------


def _verify(arguments: argparse.Namespace) -> int:
    if bool(arguments.person) != (arguments.node is not None):
        raise ConfigurationError("--node DIR and --person belong together")
    pin = read_pin(arguments.manifest)
    pin.verify(now=wiring.now())
    listed = None if arguments.revocations is None else read_file(arguments.revocations)
    subject, today = _shown_by(arguments), _today()
    try:
        checked = attesting.verify(
            read_file(arguments.file),
            pin.manifest,
            revocations=listed,
            subject=subject,
            today=today,
        )
    except (AttestationError, SignatureError, DecodeError) as error:
        rule = error.rule if isinstance(error, AttestationError) else "altered"
        facts = {"result": "REFUSED", "rule": rule, "manifest": pin.digest}
        show(facts, [f"REFUSED ({rule}): {error}"], as_json=arguments.json)
        return REFUSED
    found = _plain(checked) | {"manifest": pin.digest, "compared": subject is not None}
    return show(found, _lines(checked, found), as_json=arguments.json)


def _today() -> date:
    return datetime.fromtimestamp(wiring.now(), UTC).date()


def _shown_by(arguments: argparse.Namespace) -> tuple[int, PersonToken] | None:
    """Epoch and pseudonym of who shows it; NotFoundError if this node knows none."""
    if arguments.node is None:
        return None
    desk = wiring.open_desk(arguments.node)
    found = _token(desk, subjects_of(desk)(arguments.person))
    if found is None:
        raise NotFoundError("no token of this person at this node; ask for a score first")
    return found


def _plain(checked: Checked) -> dict[str, object]:
    one = checked.attestation
    return {
        "result": checked.validity.value,
        "as_of": checked.as_of.isoformat(),
        "issuer": one.issuer,
        "attestation": one.digest,
        "expires_on": one.expires_on.isoformat(),
        "bands": {
            "months": one.months.value,
            "worst_dpd": one.worst_dpd.value,
            "utilisation": one.utilisation.value,
            "cause": one.cause.value,
        },
    }


def _lines(checked: Checked, found: dict[str, object]) -> list[str]:
    one = checked.attestation
    whose = "the token is this person's" if found["compared"] else "whose it is: not compared"
    return [
        f"{checked.validity} {checked.as_of}, by {one.issuer}, until {one.expires_on}",
        f"months on book {one.months}, worst days past due {one.worst_dpd}",
        f"utilisation {one.utilisation}, cause of closure {one.cause}",
        f"{whose}; manifest {found['manifest']}",
    ]
