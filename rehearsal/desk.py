"""Decisions of a rehearsal: asked at the askers' own credit desks, as a bank's system would.

Every hold-out person applies for the same credit. Then the desk is put under strain:
many clients at once against a cap that is nearly used up, and a wave of borrowers who do not
pay their first due.
"""

import asyncio
import contextlib
import json
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from consortium.plan import TrainingPlan
from partner_node.credit.rules import FOLDER
from partner_node.table import open_table, quoted
from rehearsal.config import CreditTest
from rehearsal.desk_forms import TIMEOUT_S, CreditDoor, Forms, command, incomes_of
from rehearsal.desk_strain import growth, wave
from rehearsal.joint import CONSENT, Persons, held_out
from rehearsal.processes import RehearsalError
from rehearsal.results_desk import ChangeTest, Declined, DeskAnswers, DeskRecord
from riskweave_client import (
    AskedDecision,
    AsyncClient,
    Change,
    Client,
    CreditDecision,
    DeskError,
    Failure,
)

REPLAYED = 1_000
CHANGED = 20
"""Declined persons whose best change is applied."""
_NUMBER = re.compile(r"-?[0-9][0-9,]*(?:\.[0-9]+)?")


def furnish_desk(node: Path, rules: Path) -> None:
    """Put a partner's own rules where its node reads them."""
    folder = node / FOLDER
    folder.mkdir(exist_ok=True)
    for path in sorted(rules.glob("*.toml")):
        (folder / path.name).write_bytes(path.read_bytes())


def decide_all(
    doors: Mapping[str, CreditDoor], plan: TrainingPlan, test: CreditTest, report: Path
) -> DeskRecord:
    """Have everybody decided, replay, change, and strain the last asker's desk.

    Raises:
        RehearsalError: a person got no decision, or a decision does not replay.
    """
    applicants = {name: held_out(door.desk.source, plan) for name, door in doors.items()}
    forms = Forms(test, incomes_of(doors, test.income))
    began = time.monotonic()
    found = asyncio.run(_everybody(doors, applicants, forms))
    seconds = time.monotonic() - began
    first, last = next(iter(doors)), list(doors)[-1]
    answers = [_answers(name, applicants[name], found[name]) for name in doors]
    count = sum(len(one.persons) for one in answers)
    replayed, promises = _replayed(doors[first].node)
    people = dict(zip(applicants[first].ids, found[first], strict=True))
    changes, example = _changes(doors[first], people, forms)
    granted = dict(zip(applicants[last].ids, found[last], strict=True))
    return DeskRecord(
        answers=tuple(answers),
        per_second=count / seconds,
        seconds=seconds,
        replayed=replayed,
        promises=promises,
        changes=changes,
        declined=_declined(doors[first], example, report),
        growth=growth(doors[last], granted, forms),
        wave=wave(doors[last], granted, forms, report),
        assumed=test.assumed,
    )


# --- everybody --------------------------------------------------------------------------------


async def _everybody(
    doors: Mapping[str, CreditDoor], applicants: Mapping[str, Persons], forms: Forms
) -> dict[str, list[CreditDecision]]:
    parts = [_asker(name, door, applicants[name].ids, forms) for name, door in doors.items()]
    return dict(zip(doors, await asyncio.gather(*parts), strict=True))


async def _asker(
    name: str, door: CreditDoor, ids: Sequence[str], forms: Forms
) -> list[CreditDecision]:
    """Decisions of one asker's persons, as a portfolio is run, in order."""
    asked = (
        AskedDecision(forms.of(f"{name}-{place}", person)) for place, person in enumerate(ids)
    )
    found = []
    try:
        async with AsyncClient(f"unix:{door.desk.socket}") as desk:
            async for one in desk.decide_many(asked):
                if isinstance(one, Failure):
                    raise RehearsalError(f"{name}: a person got no decision: {one.text}")
                found.append(one)
    except DeskError as error:
        raise RehearsalError(f"{name}: a person got no decision: {error}") from error
    return found


def _answers(asker: str, persons: Persons, found: Sequence[CreditDecision]) -> DeskAnswers:
    return DeskAnswers(
        asker=asker,
        persons=persons.heads,
        outcomes=np.array([one.outcome for one in found]),
        grades=np.array([one.grade for one in found]),
        codes=Counter(one.code or one.outcome for one in found),
        joint=sum(not one.fallback for one in found),
        reasons=np.array([_reasons(one) for one in found]),
    )


def _reasons(one: CreditDecision) -> int:
    """How many reasons a decision tells; 0 if one of them is neither a rule's nor scored."""
    whole = all(reason.code and reason.zh and reason.en for reason in one.reasons)
    return len(one.reasons) if whole else 0


# --- replay and changes -----------------------------------------------------------------------


def _replayed(node: Path) -> tuple[int, tuple[int, int]]:
    """Decisions made again, and promises of what would help, each applied and kept."""
    found = command("replay", str(node), "--last", str(REPLAYED))
    helps, kept = (int(str(found[name])) for name in ("helps", "promises_kept"))
    return int(str(found["identical"])), (helps, kept)


def _changes(
    door: CreditDoor, people: Mapping[str, CreditDecision], forms: Forms
) -> tuple[ChangeTest, tuple[str, CreditDecision] | None]:
    """Apply the best change of own items that the score names, and decide again.

    Returns:
        The count, and the declined person with most to tell.
    """
    declined = {person: one for person, one in people.items() if one.outcome == "DECLINE"}
    if not declined:
        return ChangeTest(asked=0, kept=0, approved=0), None
    asked = list(declined)[:CHANGED]
    kept = applied = approved = 0
    told: dict[str, int] = {}
    rows = _rows(door, asked, forms.test.features[door.node.name])
    with Client(f"unix:{door.desk.socket}") as desk:
        for person in asked:
            score = desk.score(person, CONSENT, timeout=TIMEOUT_S)
            told[person] = len(score.what_if)
            change = max(score.what_if, key=lambda one: one.gain, default=None)
            if change is None:
                continue
            row = {**rows[person], change.feature: value_in(change.then)}
            again = desk.decide(forms.of(f"change-{applied}", person, row), timeout=TIMEOUT_S)
            applied += 1
            kept += (again.points or 0) >= change.points
            approved += again.outcome != "DECLINE"
    best = max(asked, key=lambda one: (len(declined[one].reasons), told[one]))
    return (
        ChangeTest(asked=applied, kept=kept, approved=approved),
        (best, declined[best]),
    )


def _rows(
    door: CreditDoor, persons: Sequence[str], features: Sequence[str]
) -> dict[str, dict[str, float | str | None]]:
    """Own rows of persons, as applicants would be entered."""
    source, wanted = door.desk.source, frozenset(persons)
    columns = {"id": f"{quoted(source.person)}::VARCHAR"}
    columns |= {f"x_{name}": quoted(name) for name in features}
    found: dict[str, dict[str, float | str | None]] = {}
    with open_table(source) as table, contextlib.closing(table.batches(columns)) as batches:
        for batch in batches:
            ids = batch.column(0).to_pylist()
            for place, one in enumerate(ids):
                if one in wanted:
                    row = batch.slice(place, 1).to_pylist()[0]
                    found[one] = {name: row[f"x_{name}"] for name in features}
    return found


def value_in(label: str) -> float | str | None:
    """A value of the bin with that label (``features.bins.bin_label``)."""
    if label == "missing":
        return None
    numbers = [float(one.replace(",", "")) for one in _NUMBER.findall(label)]
    if not numbers:
        return label
    if label.startswith("below "):
        return numbers[0] - 1
    return numbers[0]


# --- one who is declined ----------------------------------------------------------------------


def _declined(
    door: CreditDoor, example: tuple[str, CreditDecision] | None, report: Path
) -> Declined | None:
    """What one declined applicant is told: reasons, what would help, notice, offers."""
    if example is None:
        return None
    person, decision = example
    with Client(f"unix:{door.desk.socket}") as desk:
        score = desk.score(person, CONSENT, timeout=TIMEOUT_S)
        notices = tuple(_notices(desk, decision.id, report))
        offers = _offers(desk, decision.id)
    return Declined(
        decision=decision.id,
        points=score.points,
        pd=str(score.pd),
        band=score.band,
        grade=decision.grade,
        reasons=tuple((one.code, one.zh, one.en, one.points) for one in decision.reasons),
        review=f"{decision.review.route}, until {decision.review.by}",
        helps=tuple(
            (one.feature, one.now, one.then, one.points) for one in best_changes(score.what_if)
        ),
        notices=notices,
        offers=offers,
    )


def best_changes(changes: Sequence[Change]) -> list[Change]:
    """The best change of each feature, at most three of them, largest gain first."""
    by_feature: dict[str, Change] = {}
    for one in changes:
        known = by_feature.get(one.feature)
        if known is None or one.gain >= known.gain:
            by_feature[one.feature] = one
    return sorted(by_feature.values(), key=lambda one: -one.gain)[:3]


def _notices(desk: Client, name: str, report: Path) -> list[str]:
    """Files of the notice; none where the node makes none."""
    written = []
    for lang in ("zh", "en"):
        for form in ("html", "pdf"):
            try:
                data = desk.notice(name, form=form, lang=lang, timeout=TIMEOUT_S)
            except DeskError:
                return []
            path = report / f"notice.{lang}.{form}"
            path.write_bytes(data)
            written.append(str(path))
    return written


def _offers(desk: Client, name: str) -> Mapping[str, object]:
    """What suits the applicant, as the desk tells it; empty where the node makes no offers."""
    try:
        document = desk.offer(json.dumps({"decision": name}).encode(), timeout=TIMEOUT_S)
    except DeskError:
        return {}
    found: dict[str, object] = json.loads(document)
    return found
