"""What this node counts into a table of premiums: its own customers, if it is who closes."""

from collections.abc import Sequence
from datetime import timedelta

from consortium.credit.figure_forms import VERSION_DIGITS, day_after
from consortium.credit.figures import Entry
from consortium.credit.premium_figure import premium_entries
from consortium.credit.premium_fit import fit_entries
from consortium.errors import DomainError, RefusalCode, RefusalError
from consortium.figure import FigureKind, FigureSpec
from consortium.ids import Digest
from consortium.scoring.premium import Impact
from models.document import base_of
from partner_node import wiring
from partner_node.credit.rules import RulesBook
from partner_node.storage import NodeStore
from partner_node.study import Studies


def lost_entries(desk: wiring.Desk, spec: FigureSpec, studies: Studies) -> Sequence[Entry]:
    """Entries of each own customer who consented to impact studies. Private.

    One a person of a premium, one a person and view of its fit. None at a partner that is not
    the one that closes: it adds its noise alone. Grades are those of the rules on the last day
    of the month, so that a replay comes to the same.

    Raises:
        RefusalError: the figure names no head that this node accepted, or attestations where
            the head has none. The run is refused as R05, and nothing stays reserved.
        TransportError, DataError, DecodeError: as ``Studies.impact``.
        ConfigurationError, PolicyError: there are no rules of that day.
    """
    if spec.filter("closing") != desk.config.partner:
        return ()
    head = accepted_head(desk.store(), spec.filter("head"))
    if spec.kind is FigureKind.PREMIUM_FIT:
        return _fit(spec, studies.impact(head, spec.first))
    rules = RulesBook(desk.config.directory).at(day_after(spec.last) - timedelta(days=1)).rules
    lost = studies.impact(head, spec.first).premium
    names = [str(place) for place in range(len(lost.before))]
    return premium_entries(lost, names, rules.policy.pd_cuts)


def _fit(spec: FigureSpec, impact: Impact) -> Sequence[Entry]:
    try:
        return tuple(fit_entries(spec, impact))
    except DomainError as error:
        raise RefusalError(RefusalCode.PLAN, str(error)) from error


def accepted_head(store: NodeStore, digits: str) -> Digest:
    """The head that this node voted for and that begins with these digits; RefusalError."""
    accepted = {vote.version for vote in store.versions.votes() if vote.accept}
    for version in accepted:
        data = store.versions.model(version) if version[:VERSION_DIGITS] == digits else None
        if data is not None and base_of(data) is not None:
            return version
    raise RefusalError(RefusalCode.PLAN, "the table names no head that this node accepted")
