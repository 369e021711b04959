"""``riskweave desk closure-risk``: which of the own lines may be closed, and why. Local."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from consortium.errors import ConfigurationError
from consortium.ids import Digest
from consortium.plan import ModelKind
from models.document import ModelDocument, parse_any, verify_version
from partner_node import wiring
from partner_node.credit import storage_watch
from partner_node.credit.cli import add_verb, show
from partner_node.credit.closure_page import SYNTHETIC, page_of, stem_of, table_of, title_of
from partner_node.credit.closures import GroupRisk, foresee, groups_of
from partner_node.credit.line_months import read_lines
from partner_node.credit.lines import lines_source
from partner_node.credit.opening import open_service
from partner_node.credit.rules import FOLDER

if TYPE_CHECKING:
    from typing import TypeAlias

    Verbs: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001


def add_verbs(verbs: "Verbs") -> None:
    """Add ``closure-risk``."""
    text = "chances that own lines are closed within 90 days, by cause; stays at this node"
    verb = add_verb(verbs, "closure-risk", _closure_risk, text)
    verb.add_argument("--version", default="", help="model; else the one accepted last here")
    verb.add_argument("--report", type=Path, metavar="OUT", help="write page, table and JSON")


def _closure_risk(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    version, document = _accepted(desk, arguments.version)
    source = lines_source(arguments.directory / FOLDER)
    read = read_lines(source, salt=document.plan.holdout_salt)
    with open_service(desk) as service, service.ports.store.reading() as connection:
        rows = storage_watch.newest_months(connection)
    pds = {str(row["line"]): int(str(row["pd3"])) for row in rows if row["pd3"] is not None}
    risks = foresee(document, read, pds)
    groups, synthetic = groups_of(risks), SYNTHETIC in source.query
    lines = [
        f"{title_of(synthetic=synthetic)}: {len(risks):,} open lines, model {version[:12]}",
        *(_line(one) for one in groups),
    ]
    found = {
        "title": title_of(synthetic=synthetic),
        "version": version,
        "groups": [asdict(one) for one in groups],
        "lines": [asdict(one) | {"closure": one.closure} for one in risks],
    }
    if arguments.report is not None:
        page = page_of(risks, groups, version=version, synthetic=synthetic)
        texts = {
            ".html": page,
            ".csv": table_of(risks),
            ".json": json.dumps(found, ensure_ascii=False, indent=1) + "\n",
        }
        _write(arguments.report / stem_of(synthetic=synthetic), texts)
    return show(found, lines, as_json=arguments.json)


def _accepted(desk: wiring.Desk, prefix: str) -> tuple[Digest, ModelDocument]:
    """The closure model that this node's own vote accepted last.

    Raises:
        ConfigurationError: there is none.
    """
    store, schema = desk.store(), desk.pinned().schema
    for vote in reversed(store.versions.votes()):
        data = store.versions.model(vote.version) if vote.accept else None
        if data is None or not vote.version.startswith(prefix):
            continue
        verify_version(data, vote.version)
        document = parse_any(data, schema)
        if isinstance(document, ModelDocument) and document.plan.model is ModelKind.HAZARD:
            return vote.version, document
    raise ConfigurationError(
        "no closure model is accepted here: riskweave node validate, then accept"
    )


def _write(stem: Path, texts: Mapping[str, str]) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    for ending, text in texts.items():
        stem.with_suffix(ending).write_text(text, encoding="utf-8")


def _line(one: GroupRisk) -> str:
    closure, pd = (
        "n/a" if value is None else f"{value / 1e6:.3f}" for value in (one.closure, one.pd)
    )
    return f"{one.name}: {one.lines:,}, median closure risk {closure}, median PD {pd}"
