"""The privacy statement as the audit computed it again, with what is beside it (credit 6)."""

from collections.abc import Mapping

from consortium.ledger.entries import ReleaseVote, ScoreBatch, StatementPublished
from consortium.plan import ReleaseKind
from consortium.release import Level
from regulator.artefacts.fields import (
    NO_DOCUMENT,
    Artefact,
    Field,
    Known,
    NotRecorded,
    Subject,
)
from regulator.artefacts.model_card import gate_of
from regulator.checklist_words import Text
from regulator.history import UNITS, Point, history_of

_NO_RESET = Text(
    "the log names the epoch that is charged; no rule for a new one is signed",
    "日志列明计费周期, 但未签署启用新周期的规则",
)

_AS_THEY_ARE = (
    *("unit", "relation", "trust", "mechanism", "noise_mode", "honest_fraction", "delta"),
    *("delta_times_rows", "target_epsilon", "max_partners_per_person", "blocks", "clip"),
    *("batch", "rounds", "attempts", "rosters", "charges", "sampler", "code", "code_covers"),
    *("accountant", "accountants", "epsilon", "headline"),
)


def privacy_statement(subject: Subject) -> Artefact:
    """The statement of one version; nothing of it is read from what was published."""
    release, made = subject.release, subject.release.statement
    fields: list[tuple[str, Field]] = [
        (name, _of(subject, made, name)) for name in _AS_THEY_ARE
    ]
    fields += [
        ("cumulative", _cumulative(subject)),
        ("other_charges", _others(subject, made)),
        ("published", _published(subject)),
        ("reset_rule", NotRecorded(_NO_RESET)),
        ("side_channels", _of(subject, made, "not_protected")),
        ("votes_outside", _outside(subject, ReleaseVote)),
        ("inquiries_outside", _outside(subject, ScoreBatch)),
        ("empirical_lower_bound", gate_of(subject)),
    ]
    return Artefact("privacy_statement", release.version, tuple(fields))


def _of(subject: Subject, made: Mapping[str, object] | None, name: str) -> Field:
    if made is None or name not in made:
        return NotRecorded(NO_DOCUMENT)
    entries = [closing.index for closing in subject.run.closings] if subject.run else []
    return Known(made[name], (subject.release.candidate, *entries[-1:]), subject.place)


def _cumulative(subject: Subject) -> Field:
    """Epsilon of all runs of the epoch, up to the last attempt of this one."""
    run = subject.run
    mine = {closing.index for closing in run.closings} if run else set()
    points = [one for one in history_of(subject.audit).points if one.entry in mine]
    if not points:
        return NotRecorded(NO_DOCUMENT)
    return Known(_row(points[-1]), (points[-1].entry,))


def _row(point: Point) -> dict[str, object]:
    levels = {
        unit: {level.value: f"{point.epsilon[unit, level]:.4f}" for level in Level}
        for unit in UNITS
    }
    return {"epoch": point.epoch, "charged_attempts": point.number, **levels}


def _others(subject: Subject, made: Mapping[str, object] | None) -> Field:
    """Charges for anything but the gradient: bins, recalibration, evaluation, overlap."""
    charges = (made or {}).get("charges")
    if not isinstance(charges, list):
        return NotRecorded(NO_DOCUMENT)
    gradient = ReleaseKind.GRADIENT.value
    rows = [one for one in charges if isinstance(one, dict) and one["purpose"] != gradient]
    return subject.known(rows, subject.release.candidate)


def _published(subject: Subject) -> Field:
    for index, entry in sorted(subject.timeline.entries.items()):
        body = entry.body
        if isinstance(body, StatementPublished) and body.version == subject.release.version:
            value = {"person": body.person, "record": body.record, "digest": body.statement}
            return Known(value, (index,))
    return NotRecorded(Text("no statement was published", "未公布隐私声明"))


def _outside(subject: Subject, kind: type[ReleaseVote | ScoreBatch]) -> Field:
    """How many entries of a kind are on record that no epsilon counts."""
    found = [
        index
        for index, entry in sorted(subject.timeline.entries.items())
        if isinstance(entry.body, kind)
        and getattr(entry.body, "version", subject.release.version) == subject.release.version
    ]
    return Known(len(found), tuple(found[:20]))
