"""The audit of campaigns, waivers and charters: each entry must follow from those before it."""

from datetime import UTC, date, datetime, timedelta

from consortium.errors import DomainError, OutOfOrderError
from consortium.ledger.facts import Timeline
from consortium.ledger.findings import Check, Findings
from consortium.ledger.governing import (
    GOVERNING_TYPES,
    CampaignOrdered,
    Governed,
    RegisterActed,
    RegisterWaived,
)

_KINDS = tuple(GOVERNING_TYPES.values())


def audit_governing(timeline: Timeline, findings: Findings) -> None:
    """Fold the entries of these types; what does not follow, or is misdated, is a finding."""
    state = Governed()
    for index, entry in sorted(timeline.entries.items()):
        body = entry.body
        if not isinstance(body, _KINDS):
            continue
        on = _day_of(body)
        # A calendar date of somebody's own time zone: a day to either side is none of it.
        said = datetime.fromtimestamp(entry.at, tz=UTC).date()
        if on is not None and not abs(on - said) <= timedelta(days=1):
            text = f"{entry.type} says {on} and was signed on {said}"
            findings.error(Check.GOVERNING, "governing.date", text, index)
        try:
            state.take(body, entry.actor)
        except (OutOfOrderError, DomainError) as error:
            findings.error(Check.GOVERNING, "governing.order", str(error), index)


def _day_of(body: object) -> date | None:
    match body:
        case CampaignOrdered():
            return body.order.on
        case RegisterActed():
            return body.act.on
        case RegisterWaived():
            return body.waiver.on
        case _:
            return None
