"""``riskweave audit``: the regulator's commands."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from consortium.errors import ConfigurationError
from consortium.ids import parse_digest
from consortium.ledger.findings import Grade
from consortium.ledger.verify import Audit
from regulator.report import LANGUAGES, document_of_audit, lines, page
from regulator.wiring import audit_file

WARNED, FAILED = 3, 4
"""Exit codes, beside 0: verified, 1: no audit was made, 2: wrong usage."""

_CODES = {Grade.ERROR: FAILED, Grade.WARNING: WARNED, Grade.NOTE: 0, None: 0}


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
    verify = verbs.add_parser(
        "verify",
        help="every signature, head, model and epsilon of a bundle",
        description=(
            "Check a bundle of log, manifests and models. Exit code 0: verified, 3: warnings, "
            "4: a claim is false or not backed."
        ),
    )
    verify.add_argument("bundle", type=Path, help="the archive, for instance bundle.zip")
    verify.add_argument(
        "--manifest", required=True, metavar="HASH", help="digest of the manifest you trust"
    )
    verify.add_argument("--json", action="store_true", help="print the report as JSON")
    verify.add_argument(
        "--html", type=Path, metavar="DIR", help="write report.en.html and report.zh.html there"
    )
    verify.set_defaults(run=_verify)
    return parser


def _verify(words: argparse.Namespace) -> int:
    audit = audit_file(words.bundle, parse_digest(words.manifest))
    if words.html is not None:
        _write_pages(audit, words.html)
    if words.json:
        print(json.dumps(document_of_audit(audit), indent=1, ensure_ascii=False))
    else:
        for line in lines(audit):
            print(line)
        if words.html is not None:
            sys.stderr.write(f"report: {words.html / 'report.en.html'}\n")
    return _CODES[audit.worst]


def _write_pages(audit: Audit, directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for language in LANGUAGES:
            path = directory / f"report.{language}.html"
            path.write_text(page(audit, language), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{directory}: {error.strerror}") from error
