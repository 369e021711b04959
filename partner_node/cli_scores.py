"""``riskweave node``: the verbs of joint scores, of persons and of the desk."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from consortium.errors import ConfigurationError
from consortium.inquiries import Purpose
from partner_node import wiring
from partner_node.cli_verbs import add_json, add_verb

if TYPE_CHECKING:
    from partner_node.cli_verbs import Verbs

PURPOSES = tuple(purpose.value for purpose in Purpose)


def add_verbs(verbs: "Verbs") -> None:
    """Add them."""
    _add_persons(verbs)
    _add_desk(verbs)


def _add_persons(verbs: "Verbs") -> None:
    text = "get a pseudonym for every customer; goes on where it stopped; the node must serve"
    add_json(add_verb(verbs, "tokenize", _tokenize, text))
    text = "ask whether lines of own customers were closed elsewhere; the node must serve"
    add_json(add_verb(verbs, "elsewhere", _elsewhere, text))
    text = "end a person's consent here; it counts from the next inquiry on"
    verb = add_verb(verbs, "withdraw", _withdraw, text)
    verb.add_argument("--person", required=True, help="the identifier; - reads it from stdin")
    verb.add_argument(
        "--purpose", action="append", choices=PURPOSES, help="only this one; may be repeated"
    )
    verb.add_argument("--restore", action="store_true", help="the person has consented anew")


def _add_desk(verbs: "Verbs") -> None:
    text = "ask the serving node for joint scores: of one person, or of a file"
    verb = add_json(add_verb(verbs, "score", _score, text))
    verb.add_argument("--person", help="the identifier; - reads it from stdin")
    verb.add_argument("--consent", metavar="REF", help="own record of the person's consent")
    verb.add_argument(
        "--expires", metavar="DATE", default="", help="of the consent; none: this inquiry only"
    )
    verb.add_argument(
        "--attributes", metavar="JSON", help="own features of an applicant, as an object"
    )
    verb.add_argument("--key", metavar="KEY", default="", help="the same key: the same answer")
    verb.add_argument(
        "--file",
        type=Path,
        help="Parquet or CSV: person, consent; if wanted expires, key, own features by name",
    )
    verb.add_argument("--out", type=Path, help="Parquet or CSV for the scores of --file")

    text = "issue a certificate to one of the own systems, for the ports of [desk]"
    verb = add_verb(verbs, "desk-client", _desk_client, text)
    verb.add_argument("name", metavar="NAME", help="1 to 32 of a-z, 0-9, hyphen, underscore")
    verb.add_argument("--out", required=True, type=Path, help="directory for key, certificate")


def _expires(text: str) -> int:
    from partner_node.score_dates import UNREADABLE, expires_of  # noqa: PLC0415

    seconds = expires_of(text)
    if seconds == UNREADABLE:
        raise ConfigurationError(
            f"--expires {text[:40]!r}: expected a date such as 2027-01-31, or seconds since "
            "1970"
        )
    return seconds


def _tokenize(arguments: argparse.Namespace) -> int:
    from partner_node import node_control  # noqa: PLC0415 - loads DuckDB and models
    from partner_node.progress import shown  # noqa: PLC0415 - loads rich

    last: dict[str, object] = {}
    lines = node_control.ask(arguments.directory, "tokenize")
    for last in lines if arguments.json else shown(lines):
        if arguments.json:
            print(json.dumps(last), flush=True)
    faults = last.get("faults")
    if not arguments.json and isinstance(faults, dict):
        for why, count in faults.items():
            print(f"left out  {count:>12,}   {why}")
    return 0


def _elsewhere(arguments: argparse.Namespace) -> int:
    from partner_node import node_control  # noqa: PLC0415 - loads DuckDB and models

    (found,) = node_control.ask(arguments.directory, "elsewhere")
    if arguments.json:
        print(json.dumps(found))
    else:
        print(f"asked for {found.get('persons', 0):,} customers; kept for 90 days")
    return 0


def _withdraw(arguments: argparse.Namespace) -> int:
    from partner_node import scoring_parts  # noqa: PLC0415 - loads DuckDB and models

    person = sys.stdin.readline().strip() if arguments.person == "-" else arguments.person
    purposes = [Purpose(name) for name in arguments.purpose or PURPOSES]
    desk = wiring.open_desk(arguments.directory)
    scoring_parts.withdraw(
        desk,
        person,
        purposes,
        restore=arguments.restore,
        now=wiring.now,
        entropy=wiring.entropy,
    )
    word = "restored" if arguments.restore else "withdrawn"
    print(f"{word}: {', '.join(purposes)}")
    return 0


def _score(arguments: argparse.Namespace) -> int:
    if arguments.file is not None:
        return _score_file(arguments)
    if arguments.person is None or arguments.out is not None:
        raise ConfigurationError("give --person and --consent, or --file and --out")
    from partner_node import desk_caller, score_page  # noqa: PLC0415 - loads gRPC and rich
    from partner_node.loan_desk import Consent, Question  # noqa: PLC0415

    person = sys.stdin.readline().strip() if arguments.person == "-" else arguments.person
    question = Question(
        person=person,
        consent=Consent(reference=arguments.consent or "", expires=_expires(arguments.expires)),
        attributes=_attributes(arguments.attributes),
        key=arguments.key,
    )
    with desk_caller.DeskCaller(_socket(arguments)) as desk:
        found = desk.score(question)
    if arguments.json:
        print(found.to_bytes().decode())
        return 0
    for line in score_page.lines(found):
        print(line)
    return 0


def _socket(arguments: argparse.Namespace) -> Path:
    return wiring.open_desk(arguments.directory).config.desk_socket


def _attributes(text: str | None) -> dict[str, float | str | None] | None:
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigurationError("--attributes is not JSON") from error
    if not isinstance(found, dict):
        raise ConfigurationError("--attributes is not an object")
    return {name: _attribute(name, value) for name, value in found.items()}


def _attribute(name: str, value: object) -> float | str | None:
    """As REST reads it: no truth value is a number, and no list or object is a value."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigurationError(f"--attributes: {name!r} is no number, text or null")
    try:
        return float(value)
    except OverflowError as error:
        raise ConfigurationError(f"--attributes: {name!r} is too large") from error


def _score_file(arguments: argparse.Namespace) -> int:
    from partner_node import applicants, desk_caller, score_page  # noqa: PLC0415 - DuckDB

    if arguments.out is None or arguments.person is not None:
        raise ConfigurationError("give --person and --consent, or --file and --out")
    desk = wiring.open_desk(arguments.directory)
    pin = desk.known_pin()
    features = pin.schema.of_families(desk.families(pin))
    source = applicants.ApplicantFile(arguments.file, features)
    columns = source.columns()
    if columns.ignored:
        sys.stderr.write(f"not read: {', '.join(columns.ignored)}\n")
    with (
        desk_caller.DeskCaller(desk.config.desk_socket) as caller,
        applicants.ScoreFile(arguments.out) as target,
        score_page.progress() as tell,
    ):
        tally = applicants.score(source.batches(columns), caller.score_batch, target, tell)
    if arguments.json:
        print(json.dumps(tally.to_json()))
        return 0
    for line in tally.lines():
        print(line)
    return 0


def _desk_client(arguments: argparse.Namespace) -> int:
    from partner_node import desk_certificates  # noqa: PLC0415 - few commands need it

    desk = wiring.open_desk(arguments.directory)
    authority = desk_certificates.DeskAuthority(desk.config.directory)
    desk_certificates.issue_to(
        authority, desk.config.partner, arguments.name, arguments.out, now=wiring.now()
    )
    print(f"{arguments.out}: client.key, client.pem and ca.pem of {arguments.name} written")
    print("hand them over by a safe way; another one of that name is shut out from now on")
    if desk.config.desk.listen is None and not desk.config.desk.rest_tls:
        print(f"next: name a port in {desk.config.path}, [desk] listen")
    return 0
