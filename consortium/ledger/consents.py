"""The audit of what partners log of consents and of pseudonyms, day by day (8.7 (21))."""

from consortium.ids import PartnerId
from consortium.ledger.bodies import BANDS, ConsentBatch, OprfFault, OprfUsage
from consortium.ledger.facts import Timeline
from consortium.ledger.findings import Check, Findings
from consortium.ledger.merkle import EMPTY_ROOT

_DAY_S = 86_400


def audit_consents(timeline: Timeline, findings: Findings) -> None:
    """One entry of a partner for a day, of a day that is over, with a band and no count."""
    last: dict[tuple[PartnerId, type], tuple[int, int]] = {}
    for index, entry in sorted(timeline.entries.items()):
        body = entry.body
        if isinstance(body, OprfFault):
            text = f"{entry.actor} says that a share of {body.holder} has no valid proof"
            findings.warn(Check.CONSENTS, "oprf.fault", text, index)
        if not isinstance(body, ConsentBatch | OprfUsage):
            continue
        band = body.receipts if isinstance(body, ConsentBatch) else body.points
        if band not in BANDS:
            findings.error(Check.CONSENTS, "day.band", f"{band!r:.40} is no band", index)
        if isinstance(body, ConsentBatch) and (band == BANDS[0]) != (
            body.root == EMPTY_ROOT.hex()
        ):
            text = f"{entry.actor}: the root and the band of day {body.day} do not fit"
            findings.error(Check.CONSENTS, "consent.root", text, index)
        key = (entry.actor, type(body))
        before, at = last.get(key, (-1, index))
        if body.day <= before or (body.day + 1) * _DAY_S > entry.at:
            text = f"{entry.actor}: day {body.day} a second time, or before it was over"
            findings.error(Check.CONSENTS, "day.order", text, index, at)
        last[key] = (body.day, index)
