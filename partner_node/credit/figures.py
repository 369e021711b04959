"""Where a node's tables are counted from: its decisions, its lines, its groups."""

from collections.abc import Iterable
from contextlib import closing
from datetime import timedelta

from consortium.credit.figure_forms import day_after
from consortium.credit.figures import Entry
from consortium.errors import ConfigurationError
from consortium.figure import FigureKind, FigureSpec
from partner_node import wiring
from partner_node.credit.campaign_opening import campaign_entries
from partner_node.credit.figure_contribution import contribution_entries
from partner_node.credit.figure_decisions import (
    KINDS,
    decided,
    decision_entries,
    fairness_entries,
    groups_of,
    groups_source,
    outcomes_of,
    span_of,
)
from partner_node.credit.figure_dependence import hanging_entries
from partner_node.credit.figure_elasticity import elasticity_entries
from partner_node.credit.figure_lines import COUNTERS, line_entries
from partner_node.credit.figure_premium import lost_entries
from partner_node.credit.figure_scenario import scenario_entries
from partner_node.credit.lines import histories, lines_source
from partner_node.credit.opening import subjects_of
from partner_node.credit.rules import FOLDER, RulesBook
from partner_node.credit.storage import CreditStore
from partner_node.credit.storage_elsewhere import arms
from partner_node.study import Studies


def entries_of(desk: wiring.Desk, spec: FigureSpec, studies: Studies) -> Iterable[Entry]:
    """The entries of a table from this node's own files. Private.

    Args:
        desk: The node's.
        spec: What is counted.
        studies: Where joint sums come from, which are in no file: a premium is made of them.

    Raises:
        RefusalError: a look at a campaign, or a head, is not the one that is due, or in force.
        TransportError: joint sums are needed and cannot be had now.
        ConfigurationError: a file is missing, or no rules were in force.
        DataError, DomainError: a row that cannot be.
        StorageError: the desk's database cannot be read.
    """
    if spec.kind in _OF_STUDIES:
        return _OF_STUDIES[spec.kind](desk, spec, studies)
    if spec.kind is FigureKind.CONTRIBUTION:
        return contribution_entries(desk, spec)
    if spec.kind is FigureKind.CAMPAIGN:
        return campaign_entries(desk, spec)
    if spec.kind in _OF_LINES:
        return _of_lines(desk, spec)
    return _of_decisions(desk, spec)


_OF_STUDIES = {
    FigureKind.PREMIUM: lost_entries,
    FigureKind.PREMIUM_FIT: lost_entries,
    FigureKind.DEPENDENCE: hanging_entries,
}


def _of_decisions(desk: wiring.Desk, spec: FigureSpec) -> Iterable[Entry]:
    """From the desk's own decisions, and of fairness from groups and outcomes beside them."""
    folder = desk.config.directory / FOLDER
    if spec.kind not in KINDS or not desk.config.credit_database.exists():
        raise ConfigurationError(f"no source of {spec.kind} here")
    with closing(CreditStore(desk.config.credit_database)) as store:
        first, after = span_of(spec)
        decisions = decided(store, first, after)
    if spec.kind is not FigureKind.FAIRNESS:
        return decision_entries(spec, decisions)
    subject = subjects_of(desk)
    groups = groups_of(groups_source(folder), subject)
    outcomes = outcomes_of(histories(lines_source(folder)), subject, after)
    return fairness_entries(spec, decisions, groups, outcomes)


_OF_LINES = {*COUNTERS, FigureKind.ELASTICITY, FigureKind.SCENARIO}


def _of_lines(desk: wiring.Desk, spec: FigureSpec) -> Iterable[Entry]:
    """From the monthly lines, and of some kinds from rules or inquiries beside them."""
    if spec.kind is FigureKind.ELASTICITY:
        return _elasticities(desk, spec)
    lines = histories(lines_source(desk.config.directory / FOLDER))
    if spec.kind is not FigureKind.SCENARIO:
        return line_entries(spec, lines, desk.config.partner)
    month_end = day_after(spec.last) - timedelta(days=1)
    return scenario_entries(spec, lines, RulesBook(desk.config.directory).at(month_end).rules)


def _elasticities(desk: wiring.Desk, spec: FigureSpec) -> Iterable[Entry]:
    """From the arms that closure inquiries left, and the lines of their persons."""
    if not desk.config.credit_database.exists():
        raise ConfigurationError("no closure inquiry was made here")
    with closing(CreditStore(desk.config.credit_database)) as store, store.reading() as rows:
        kept = arms(rows)
    return elasticity_entries(
        spec,
        kept,
        histories(lines_source(desk.config.directory / FOLDER)),
        subject=subjects_of(desk),
        span=span_of(spec),
    )
