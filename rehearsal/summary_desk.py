"""What a rehearsal says of the credit desks in words: on the console and on the page."""

from collections.abc import Iterator, Mapping

from rehearsal.results import Result
from rehearsal.results_desk import GrowthTest, WaveTest


def desk_lines(result: Result) -> Iterator[str]:
    """Tiers and strain in four lines, then what one declined applicant is told."""
    record, evidence = result.record.desk, result.evidence.desk
    if record is None or evidence is None:
        return
    rates = ", ".join(f"{'+'.join(one.grades)} {one.bad_rate:.1%}" for one in evidence.tiers)
    outcomes = ", ".join(
        f"{persons:,} {name}" for name, (persons, _) in evidence.by_outcome.items()
    )
    yield f"{evidence.persons:,} decisions: {outcomes}; bad rate by tier {rates}"
    yield (
        f"  declines with reasons {evidence.declines_with_reasons:,} of "
        f"{evidence.declines:,}; {record.replayed:,} replayed to the same bytes; changes "
        f"applied {record.changes.kept} of {record.changes.asked} as told"
    )
    searched, kept = record.promises
    yield (
        f"  of {searched:,} who were not approved {kept:,} are told what would lead further; "
        "each, applied, gives the stated decision"
    )
    yield f"  growth cap {growth_text(record.growth)}"
    yield f"  bad wave: {wave_text(record.wave)}"
    one = record.declined
    if one is None:
        return
    yield f"one declined applicant: {one.points} points, PD {one.pd}, band {one.band}"
    for code, zh, en, points in one.reasons:
        yield f"  {code} {en} / {zh}" + (f" ({points} points)" if points else "")
    for found in one.helps:
        yield f"  what would help: {help_text(*found)}"
    yield f"  the offer that suits: {offers_text(one.offers)}"
    yield f"  a person looks at it again: {one.review}"
    for path in one.notices:
        yield f"  notice: {path}"


def growth_text(found: GrowthTest | None) -> str:
    """What many clients at once got out of a cap."""
    if found is None:
        return "n/a: too few were approved"
    held = "held" if found.within else "BROKEN"
    return (
        f"{held}: {found.clients} clients at once, room for {found.room:,} in {found.grade}; "
        f"{found.approved} got {found.granted:,}, {found.referred} were referred"
    )


def wave_text(found: WaveTest | None) -> str:
    """What an injected wave did to the ramp."""
    if found is None:
        return "n/a: too few were approved"
    return (
        f"{found.late} of {found.accounts} first payments late: the ramp went from "
        f"{found.before} to {found.after}; the next applicant: {found.next_outcome} "
        f"{found.next_code}".rstrip()
    )


def help_text(feature: str, now: str, then: str, points: int) -> str:
    """One change of an own item, and what it would lead to."""
    return f"{feature}: {then} instead of {now} would give {points} points"


def offers_text(found: Mapping[str, object]) -> str:
    """The offer that suits, or why none does."""
    if not found:
        return "this node makes no offers"
    offers = found.get("offers")
    if isinstance(offers, list) and offers:
        first = offers[0]
        return (
            f"{first['product']}, {first['amount'] / 100:,.0f} {first['currency']} over "
            f"{first['months']} months at {first['price_apr'] / 1e6:.2%} a year, "
            f"{first['monthly_due'] / 100:,.0f} a month, "
            f"{first['total_cost'] / 100:,.0f} in all"
        )
    why = found.get("why")
    reasons = ", ".join(why) if isinstance(why, list) and why else "no reason given"
    more = "; counselling is offered" if found.get("counselling") else ""
    return f"none suits ({reasons}){more}"
