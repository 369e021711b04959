"""The page's part on decisions: tiers, what declined applicants are told, the desk's strain."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from markupsafe import Markup

from rehearsal import figures_desk
from rehearsal.results import Result, figure_of
from rehearsal.results_desk import Declined, DeskEvidence, DeskRecord
from rehearsal.summary_desk import growth_text, help_text, offers_text, wave_text

Row = Mapping[str, object]


def desk_part(result: Result) -> Row:
    """Values of the section; ``desk`` is None where nobody decided."""
    record, evidence = result.record.desk, result.evidence.desk
    if record is None or evidence is None:
        return {"desk": None}
    return {
        "desk": {
            "text": _text(record, evidence),
            "tiers": [
                {
                    "grades": " + ".join(tier.grades),
                    "persons": f"{tier.persons:,}",
                    "bad": f"{tier.bad_rate:.1%}",
                    "approved": f"{tier.outcomes.get('APPROVE', 0):,}",
                    "referred": f"{tier.outcomes.get('REFER', 0):,}",
                    "declined": f"{tier.outcomes.get('DECLINE', 0):,}",
                }
                for tier in evidence.tiers
            ],
            "plot": Markup(figures_desk.tiers(evidence)),  # noqa: S704 - our own SVG
            "checks": list(_checks(record, evidence)),
            "declined": None if record.declined is None else _declined(record.declined),
        }
    }


def _text(record: DeskRecord, evidence: DeskEvidence) -> str:
    joint = sum(one.joint for one in record.answers)
    falls = "falls strictly from tier to tier" if evidence.falls else "does not fall strictly"
    return (
        f"Each asker's credit desk decided on its hold-out persons: {evidence.persons:,} "
        f"decisions, {joint:,} of them on a joint score. {record.assumed} The bad rate "
        f"{falls} of the grades; grades with fewer than 200 persons stand together with the "
        f"next weaker one."
    )


def _checks(record: DeskRecord, evidence: DeskEvidence) -> Iterator[Row]:
    """One line for each promise, and what was seen."""
    changes = record.changes
    yield {
        "name": "declines that tell one to four reasons",
        "seen": f"{evidence.declines_with_reasons:,} of {evidence.declines:,}",
    }
    yield {
        "name": "stored decisions made again, byte for byte",
        "seen": f"{record.replayed:,} identical",
    }
    found, kept = record.promises
    yield {
        "name": "what would lead further, applied and decided again",
        "seen": f"{kept:,} of {found:,} not approved are told changes; each gives what is "
        "stated",
    }
    yield {
        "name": "changes that were told to declined persons, applied at the door",
        "seen": f"{changes.kept} of {changes.asked} gave at least the points that were told; "
        f"{changes.approved} were declined no longer by that one change",
    }
    yield {"name": "growth cap", "seen": growth_text(record.growth)}
    yield {"name": "a wave that does not pay", "seen": wave_text(record.wave)}
    yield {
        "name": "speed",
        "seen": f"{record.per_second:,.0f} decisions a second, the joint leg included; all "
        "processes share this machine",
    }


def _declined(one: Declined) -> Row:
    return {
        "score": f"{one.points} points, PD {one.pd}, coverage band {one.band}, "
        f"grade {one.grade or figure_of(None, 0)}",
        "reasons": [
            {"code": code, "zh": zh, "en": en, "points": points}
            for code, zh, en, points in one.reasons
        ],
        "helps": [help_text(*found) for found in one.helps],
        "review": one.review,
        "notices": [Path(path).name for path in one.notices],
        "offers": offers_text(one.offers),
    }
