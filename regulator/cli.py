"""``riskweave audit``: the regulator's commands."""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from consortium.errors import ConfigurationError
from consortium.ids import parse_digest
from consortium.ledger.findings import Grade
from consortium.ledger.verify import Audit
from consortium.secagg.replay_report import replay_lines, report_digest
from regulator.artefacts.collection import artefacts_of
from regulator.checklist import document_of_checklist
from regulator.decisions import Checked
from regulator.history import history_of
from regulator.live_cli import add_live_verbs
from regulator.page import page
from regulator.paper import paper
from regulator.report import LANGUAGES, document_of_audit, lines
from regulator.wiring import (
    audit_file,
    check_decisions,
    replay_file,
    sign_decisions,
    sign_result,
)

WARNED, FAILED = 3, 4
"""Exit codes, beside 0: verified, 1: no audit was made, 2: wrong usage."""

_CODES = {Grade.ERROR: FAILED, Grade.WARNING: WARNED, Grade.NOTE: 0, None: 0}
_ENDINGS = (
    "Exit code 0: verified, 3: warnings, 4: a claim is false or not backed. "
    "Nothing is fetched and nothing leaves this machine."
)


def main(argv: Sequence[str]) -> int:
    """Run ``riskweave audit ARGV``."""
    words = _parser().parse_args(list(argv))
    return int(words.run(words))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="riskweave audit",
        description="Recompute what a consortium claims, without a network and without trust.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verify = _verb(verbs, "verify", "every signature, head, model and epsilon of a bundle")
    verify.add_argument("--json", action="store_true", help="print the audit as JSON")
    verify.set_defaults(run=_verify)
    report = _verb(verbs, "report", "verify, and write the report in English and Chinese")
    report.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to")
    report.add_argument("--pdf", action="store_true", help="report.en.pdf, report.zh.pdf, too")
    report.add_argument("--json", action="store_true", help="report.json, too")
    report.set_defaults(run=_report)
    artefacts = _verb(
        verbs, "artefacts", "verify, and write model cards, lineage and the like from the log"
    )
    artefacts.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to")
    artefacts.set_defaults(run=_artefacts)
    _add_replay(verbs)
    add_live_verbs(verbs)
    return parser


def _verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, about: str
) -> argparse.ArgumentParser:
    """A command on one bundle."""
    parser = verbs.add_parser(name, help=about, description=f"{about}. {_ENDINGS}")
    parser.add_argument("bundle", type=Path, help="the archive, for instance bundle.zip")
    parser.add_argument(
        "--manifest", required=True, metavar="HASH", help="digest of the manifest you trust"
    )
    return parser


def _add_replay(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    replay = verbs.add_parser(
        "replay",
        help="on a partner's premises: make its noise, masks and words again",
        description=(
            "Compare what a partner opened with the log. The sums of its rows are made by its "
            "own installation (`riskweave node replay --opened`); all else is made here. Exit "
            "code 0: all equal, 3: something could not be made again, 4: something differs."
        ),
    )
    replay.add_argument("bundle", type=Path, help="the archive, for instance bundle.zip")
    replay.add_argument(
        "--manifest", required=True, metavar="HASH", help="digest of the manifest you trust"
    )
    what = replay.add_mutually_exclusive_group(required=True)
    what.add_argument("--opened", type=Path, metavar="FILE", help="as the partner wrote it")
    what.add_argument(
        "--decisions", type=Path, metavar="FILE", help="reports of `riskweave desk answer`"
    )
    replay.add_argument(
        "--sum", type=int, nargs="+", default=[], help="closed sums that must be among them"
    )
    replay.add_argument(
        "--sign",
        type=Path,
        metavar="DIR",
        help=(
            "this regulator's directory: the sums that it drew must be among them, and the "
            "result is signed for the log; handed in by `riskweave audit watch DIR`"
        ),
    )
    replay.add_argument(
        "--waive", action="store_true", help="sign also what is incomplete, as waived"
    )
    replay.add_argument("--json", action="store_true", help="print the report as JSON")
    replay.set_defaults(run=_replay)


def _replay(words: argparse.Namespace) -> int:
    if words.decisions is not None:
        return _replay_decisions(words)
    try:
        with words.opened.open("rb") as lines:
            report = replay_file(
                words.bundle,
                parse_digest(words.manifest),
                lines,
                drawn=tuple(words.sum),
                challenged=words.sign is not None,
            )
    except OSError as error:
        raise ConfigurationError(f"{words.opened}: {error.strerror}") from error
    if words.sign is not None:
        sign_result(words.sign, report, waive=words.waive)
    if words.json:
        print(json.dumps(report | {"report": report_digest(report)}))
    else:
        for line in replay_lines(report):
            print(line)
    return {"passed": 0, "incomplete": WARNED}.get(str(report["judgement"]), FAILED)


def _replay_decisions(words: argparse.Namespace) -> int:
    try:
        with words.decisions.open("rb") as lines:
            found = check_decisions(words.bundle, parse_digest(words.manifest), lines)
    except OSError as error:
        raise ConfigurationError(f"{words.decisions}: {error.strerror}") from error
    if words.sign is not None:
        sign_decisions(words.sign, found, waive=words.waive)
    if words.json:
        print(json.dumps([_plain(one) for one in found]))
    else:
        for one in found:
            print("\n".join(one.lines()))
    codes = {"passed": 0, "incomplete": WARNED, "failed": FAILED}
    return max(codes[one.verdict] for one in found)


def _plain(one: Checked) -> dict[str, object]:
    report = one.report
    return {
        "member": report.member,
        "batch": one.batch.number,
        "verdict": one.verdict.value,
        "drawn": {str(made.place): made.outcome.value for made in report.drawn},
        "elsewhere": list(report.elsewhere),
        "added": report.added,
        "faults": list(one.faults),
        "report": report.digest,
    }


def _verify(words: argparse.Namespace) -> int:
    audit = _audited(words)
    if words.json:
        print(_text_of(document_of_audit(audit)))
    else:
        for line in lines(audit):
            print(line)
    return _CODES[audit.worst]


def _report(words: argparse.Namespace) -> int:
    audit = _audited(words)
    return _write(audit, words.out, dict(_files_of_report(audit, words)))


def _files_of_report(audit: Audit, words: argparse.Namespace) -> Iterator[tuple[str, bytes]]:
    history = history_of(audit)
    for language in LANGUAGES:
        yield f"report.{language}.html", page(audit, history, language).encode()
        if words.pdf:
            yield f"report.{language}.pdf", paper(audit, history, language)
    yield "sp800-226.json", _text_of(document_of_checklist(audit)).encode()
    if words.json:
        yield "report.json", _text_of(document_of_audit(audit)).encode()


def _artefacts(words: argparse.Namespace) -> int:
    audit = _audited(words)
    return _write(audit, words.out, artefacts_of(audit))


def _audited(words: argparse.Namespace) -> Audit:
    return audit_file(words.bundle, parse_digest(words.manifest))


def _write(audit: Audit, directory: Path, files: Mapping[str, bytes]) -> int:
    """Write the files, print their paths, and the verdict last."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (directory / name).write_bytes(data)
            print(directory / name)
    except OSError as error:
        raise ConfigurationError(f"{directory}: {error.strerror}") from error
    print(list(lines(audit))[-1])
    return _CODES[audit.worst]


def _text_of(document: object) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False)
