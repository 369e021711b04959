"""What this node counts of the dependence on it: its own customers, with and without it."""

from collections.abc import Sequence

from consortium.credit.dependence import dependence_entries
from consortium.credit.figures import Entry
from consortium.figure import FigureSpec
from partner_node import wiring
from partner_node.credit.figure_premium import accepted_head
from partner_node.study import Studies


def hanging_entries(desk: wiring.Desk, spec: FigureSpec, studies: Studies) -> Sequence[Entry]:
    """Two entries for each own customer with an outcome who consented to impact studies.

    The others are asked once in a month, for this table and one of premiums alike. A partner
    that the table does not name asks nobody, and adds its noise alone. Private.

    Raises:
        RefusalError: the figure names no head that this node accepted. The run is refused as
            R05, and nothing stays reserved.
        TransportError, DataError, DecodeError: as ``Studies.impact``.
        ConfigurationError: cuts that are none.
    """
    if desk.config.partner not in spec.axes[spec.axis("partner")].cells:
        return ()
    head = accepted_head(desk.store(), spec.filter("head"))
    return dependence_entries(spec, studies.impact(head, spec.first), desk.config.partner)
