"""``riskweave node``: arguments in, lines of text out."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from consortium import diagnosis
from consortium.errors import ConfigurationError, RiskWeaveError
from consortium.ids import Digest, parse_digest, parse_run_id
from consortium.inquiries import Purpose
from consortium.messages import ModelEntry
from consortium.secagg.replay_report import replay_lines, report_digest
from partner_node import (
    budget,
    candidates,
    cli_joining,
    cli_keys,
    cli_upkeep,
    doctor,
    serving,
    training_parts,
    wiring,
)
from partner_node.keystore import read_file

SHOWN_ONLY = 3
"""Exit status of `trust` without a digest, and of `validate` if the model falls short."""

DIFFERS = 4
"""Exit status of `replay` if an upload is not what its parts make."""
_FROM_MIRROR = Path("-")
"""No file: the challenge comes from this node's own mirror of the log."""

_DAY_S = 86_400
ACCEPTED = "validated"
REFUSALS = ("quality", "calibration", "policy", "other", "gate", "unstable_reasons")
"""What a vote may say; figures stay here. All are of ``acceptance.REASONS``."""

PURPOSES = tuple(purpose.value for purpose in Purpose)

if TYPE_CHECKING:
    from partner_node.log_store import LogStore

    Verbs: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001


def main(argv: Sequence[str]) -> int:
    """Run ``riskweave node ARGV``; returns the exit status."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    return command(arguments)


def doctor_main(argv: Sequence[str]) -> int:
    """Run ``riskweave doctor ARGV`` for a node; returns the exit status: 0, 3 or 4."""
    parser = argparse.ArgumentParser(
        prog="riskweave doctor",
        description="Look for what keeps a node from working. Exit status: 0 all is well, "
        "3 something needs attention, 4 something is broken.",
    )
    parser.add_argument("directory", metavar="DIR", type=Path, help="node directory")
    parser.add_argument("--json", action="store_true", help="print JSON for scripts")
    arguments = parser.parse_args(argv)
    found = doctor.diagnose(arguments.directory)
    print(diagnosis.as_json(found) if arguments.json else "\n".join(diagnosis.lines(found)))
    return diagnosis.exit_status(found)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="riskweave node",
        description="A partner's side: keys, data and budget stay here. "
        "Order: init, join, trust, check-data, serve.",
    )
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    cli_joining.add_verbs(verbs)
    _add_daily(verbs)
    _add_models(verbs)
    _add_scoring(verbs)
    _add_desk(verbs)
    _add_audits(verbs)
    cli_keys.add_verbs(verbs)
    cli_upkeep.add_verbs(verbs)
    return parser


def _add_daily(verbs: "Verbs") -> None:
    _verb(verbs, "serve", _serve, "dial the coordinator and answer until SIGTERM or Ctrl-C")
    _verb(verbs, "check-data", _check_data, "what of the table fits, what not, and why")
    verb = _json(_verb(verbs, "budget", _budget, "what was spent, is reserved and is left"))
    verb.add_argument(
        "--accept-log",
        action="store_true",
        help="after a backup was restored: book what the log says was charged since",
    )
    _json(_verb(verbs, "status", _status, "keys, manifest, coordinator, runs, log, incident"))
    text = "show the charter that the log proposes; with --agree agree to it"
    verb = _json(_verb(verbs, "charter", _charter, text))
    verb.add_argument("--agree", metavar="DIGEST", default="", help="of the text that you read")
    text = "show incidents of the log; with --settle answer again after one"
    verb = _json(_verb(verbs, "incident", _incident, text))
    verb.add_argument(
        "--settle",
        type=int,
        metavar="NUMBER",
        help="the members agree on what is true; the mirror is fetched anew",
    )


def _add_models(verbs: "Verbs") -> None:
    verb = _verb(verbs, "models", _models, "model versions, and this node's votes")
    verb.add_argument(
        "--wait", action="store_true", help="until there is a candidate without a vote"
    )
    _json(verb)
    for name, command, text in (
        ("validate", _validate, "test a model version on the own hold-out; nothing leaves"),
        ("accept", _accept, "vote for a model version"),
        ("refuse", _refuse, "vote against a model version"),
    ):
        verb = _verb(verbs, name, command, text)
        verb.add_argument("version", metavar="VERSION", help="digest of the model, 64 hex")
        if name == "refuse":
            verb.add_argument("--reason", required=True, choices=REFUSALS, help="a class only")
        if name == "validate":
            verb.add_argument(
                "--opacus", action="store_true", help="ask Opacus about the statement, too"
            )
        _json(verb)


def _add_scoring(verbs: "Verbs") -> None:
    text = "get a pseudonym for every customer; goes on where it stopped; the node must serve"
    _json(_verb(verbs, "tokenize", _tokenize, text))
    text = "ask whether lines of own customers were closed elsewhere; the node must serve"
    _json(_verb(verbs, "elsewhere", _elsewhere, text))
    text = "end a person's consent here; it counts from the next inquiry on"
    verb = _verb(verbs, "withdraw", _withdraw, text)
    verb.add_argument("--person", required=True, help="the identifier; - reads it from stdin")
    verb.add_argument(
        "--purpose", action="append", choices=PURPOSES, help="only this one; may be repeated"
    )
    verb.add_argument("--restore", action="store_true", help="the person has consented anew")


def _add_desk(verbs: "Verbs") -> None:
    text = "ask the serving node for joint scores: of one person, or of a file"
    verb = _json(_verb(verbs, "score", _score, text))
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
    verb = _verb(verbs, "desk-client", _desk_client, text)
    verb.add_argument("name", metavar="NAME", help="1 to 32 of a-z, 0-9, hyphen, underscore")
    verb.add_argument("--out", required=True, type=Path, help="directory for key, certificate")


def _add_audits(verbs: "Verbs") -> None:
    text = "make uploads of a run again from the rows, and compare them with what was signed"
    verb = _json(_verb(verbs, "replay", _replay, text))
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


def _verb(
    verbs: "Verbs", name: str, command: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    verb = verbs.add_parser(name, help=text, description=text)
    verb.set_defaults(command=command)
    verb.add_argument("directory", metavar="DIR", type=Path, help="node directory")
    return verb


def _json(verb: argparse.ArgumentParser) -> argparse.ArgumentParser:
    verb.add_argument("--json", action="store_true", help="print JSON for scripts")
    return verb


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).date().isoformat()


# --- every day --------------------------------------------------------------------------------


def _serve(arguments: argparse.Namespace) -> int:
    wiring.set_up_logging()
    serving.serve(arguments.directory)
    return 0


def _check_data(arguments: argparse.Namespace) -> int:
    from partner_node import ingest  # noqa: PLC0415 - loads DuckDB

    desk = wiring.open_desk(arguments.directory)
    pin = desk.known_pin()
    families = desk.families(pin)
    print(f"families {', '.join(families)} of schema {pin.schema.name}")
    for line in ingest.check(desk.data_source(), pin.schema, families).lines():
        print(line)
    return 0


def _budget(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    policy = desk.known_pin().manifest.policy
    if arguments.accept_log:
        from partner_node import log_commands  # noqa: PLC0415 - few commands need it

        booked = log_commands.accept_log(desk)
        sys.stderr.write(f"booked from the log: {len(booked)} debits\n")
    found = budget.report(desk.store(), policy, wiring.own_caps(desk))
    if arguments.json:
        print(json.dumps({"delta": policy.delta, "scopes": [asdict(one) for one in found]}))
        return 0
    for line in budget.lines(found, policy.delta):
        print(line)
    return 0


def _status(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    partner = desk.config.partner
    until = desk.keys.certificate_until(partner)
    pin = desk.keys.pinned()
    found: dict[str, object] = {
        "partner": partner,
        "certificate_until": _day(until) if until else None,
        "certificate_days": (until - wiring.now()) // _DAY_S if until else None,
        "kill_switch": desk.switch.why() or "off",
        "manifest": pin.digest if pin else None,
        "manifest_state": _state(desk),
        "data": desk.config.data is not None,
        "coordinator": _reach(desk),
        "serving": wiring.is_served(arguments.directory),
    }
    found |= _scoring_state(arguments.directory)
    if desk.config.database.exists():
        store = desk.store()
        found["runs"] = [plan.run for plan in store.commitments()]
        found |= _log_state(store.log)
    return _show(found, as_json=arguments.json)


def _log_state(log: "LogStore") -> dict[str, object]:
    """The mirror of the log, and what is wrong with the log."""
    incident = log.incident()
    size, _, at = log.seen()
    return {
        "log_entries": log.size(),
        "log_cosigned": size,
        "log_cosigned_at": at or None,
        "revoked": [one.member for one in log.revoked()],
        "incident": None if incident is None else f"{incident.number}: {incident.kind}",
        "incident_text": None if incident is None else incident.text,
    }


def _charter(arguments: argparse.Namespace) -> int:
    from consortium.documents import plain_of  # noqa: PLC0415 - few commands need them
    from partner_node import charter  # noqa: PLC0415

    desk = wiring.open_desk(arguments.directory)
    mirror, manifest = wiring.mirror_of(desk), desk.pinned().manifest
    if arguments.agree:
        made = charter.agree(mirror, manifest, parse_digest(arguments.agree))
        print(f"charter {made.version} is agreed to; the witness brings it to the log")
        return 0
    found = charter.charters_in(mirror, manifest)
    if arguments.json:
        plain = {"digest": found.newest.digest, "agreed": list(found.agreed)}
        print(json.dumps(plain | {"charter": plain_of(found.newest)}, ensure_ascii=False))
        return 0
    print(f"charter {found.newest.version}: {found.newest.digest}")
    for clause in found.newest.clauses:
        print(f"  {clause.code}: {clause.zh}\n    {clause.en}")
    print(f"agreed: {', '.join(found.agreed) or 'nobody'}")
    return 0


def _incident(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    if arguments.settle is not None:
        from partner_node import log_commands  # noqa: PLC0415 - few commands need it

        kind = log_commands.settle(desk, arguments.settle)
        print(f"incident {arguments.settle} ({kind}) is settled")
        return 0
    rows = [
        asdict(one) | {"held": one.held.decode(), "shown": one.shown.decode()}
        for one in desk.store().log.incidents()
    ]
    if arguments.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        state = "settled" if row["settled_at"] else "open"
        print(f"{row['number']}  {_day(row['at'])}  {state:<8} {row['kind']}: {row['text']}")
    return 0


def _scoring_state(directory: Path) -> dict[str, object]:
    """What the serving process says of joint scores; nothing if none serves."""
    from partner_node import node_control  # noqa: PLC0415 - loads DuckDB and models

    if not wiring.is_served(directory):
        return {}
    try:
        (state,) = node_control.ask(directory, "scoring")
    except (RiskWeaveError, ValueError) as error:
        return {"scoring": str(error)}
    return {
        "served_version": state["served"],
        "not_served_because": state["refusal"],
        "served_head": state["head"],
        "persons": state["persons"],
        "tokens": state["tokens"],
        "epoch": state["epoch"],
        "epoch_installed": state["epoch_installed"],
        "scores_are": state["fallback"] or "joint",
    }


def _state(desk: wiring.Desk) -> str:
    try:
        desk.pinned()
    except RiskWeaveError as error:
        return str(error)
    return "signed by all"


def _reach(desk: wiring.Desk) -> str:
    try:
        with desk.door() as coordinator:
            coordinator.check_health()
    except RiskWeaveError as error:
        return str(error)
    return "serving"


# --- models -----------------------------------------------------------------------------------


def _models(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    if arguments.wait:
        candidates.wait(lambda: _open_votes(desk), wiring.pause)
    entries = _entries(desk)
    votes = {vote.version: vote for vote in desk.store().votes()}
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
    voted = [vote.version for vote in desk.store().votes()]
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
    return SHOWN_ONLY if verdict.shortcomings else 0


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
    return _show(found, as_json=arguments.json)


def _show(found: dict[str, object], *, as_json: bool) -> int:
    if as_json:
        print(json.dumps(found))
        return 0
    width = max(len(name) for name in found)
    for name, value in found.items():
        shown = ", ".join(str(item) for item in value) if isinstance(value, list) else value
        print(f"{name:<{width}}  {'-' if shown in (None, '') else shown}")
    return 0


# --- joint scores -----------------------------------------------------------------------------


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


# --- the desk ---------------------------------------------------------------------------------


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


# --- audits -----------------------------------------------------------------------------------


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
    return {"passed": 0, "incomplete": SHOWN_ONLY}.get(str(report["judgement"]), DIFFERS)
