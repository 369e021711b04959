"""A credit desk under strain: many clients against a cap, and a wave that does not pay."""

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from partner_node.credit.rules import FOLDER
from rehearsal.desk_forms import TIMEOUT_S, CreditDoor, Forms, command
from rehearsal.processes import RehearsalError
from rehearsal.results_desk import GrowthTest, WaveTest
from riskweave_client import Client, CreditDecision, DeskError

AT_ONCE = 64
"""Clients that ask at the same time."""
WAVE = 300
"""First payments of the injected wave; one in eleven is late, three times the plan."""
_LATE = 11
_LEAST_WAVE = 50
_SHORT = 3
"""The cap has room for so many credits fewer than a third of the clients."""
_SHARES = re.compile(r"^weekly_exposure = .*$", re.MULTILINE)


def growth(
    door: CreditDoor, people: Mapping[str, CreditDecision], forms: Forms
) -> GrowthTest | None:
    """Many clients at once, and a cap that has room for few of them."""
    approved = {p: one for p, one in people.items() if one.outcome == "APPROVE"}
    grade = max(["G1", "G2", "G3", "G4"], key=lambda name: _of_grade(approved, name))
    clients = [person for person, one in approved.items() if one.grade == grade][:AT_ONCE]
    if len(clients) < AT_ONCE:
        return None
    room = forms.test.amount * (AT_ONCE // 3 - _SHORT) + forms.test.amount // 2
    before = _status(door)
    cap = _used(before, grade) + room
    _write_cap(door, before, {grade: cap})
    made = _at_once(door, clients, forms)
    after = _used(_status(door), grade)
    return GrowthTest(
        clients=len(clients),
        grade=grade,
        room=room,
        granted=sum(one.limit for one in made),
        approved=sum(one.outcome == "APPROVE" for one in made),
        referred=sum(one.code == "R27" for one in made),
        within=after <= cap and after - _used(before, grade) == sum(one.limit for one in made),
    )


def _of_grade(approved: Mapping[str, CreditDecision], grade: str) -> int:
    return sum(one.grade == grade for one in approved.values())


def _status(door: CreditDoor) -> Mapping[str, object]:
    return command("admission", str(door.node), "status")


def _used(status: Mapping[str, object], grade: str) -> int:
    used = status["used"]
    return int(used[grade]) if isinstance(used, dict) else 0


def _write_cap(door: CreditDoor, status: Mapping[str, object], caps: Mapping[str, int]) -> None:
    """Write another weekly exposure into the desk's policy: it counts from the next decision.

    Grades that are not named keep what they have used, and get nothing more.
    """
    percent = int(str(status["stage_percent"]))
    wanted = {
        grade: caps.get(grade, _used(status, grade)) * 100 // percent
        for grade in ("G1", "G2", "G3", "G4", "G5")
    }
    listed = ", ".join(f"{grade} = {cap}" for grade, cap in wanted.items())
    path = next((door.node / FOLDER).glob("policy*.toml"))
    text, count = _SHARES.subn(
        f"weekly_exposure = {{ {listed} }}", path.read_text(encoding="utf-8")
    )
    if count != 1:
        raise RehearsalError(f"{path}: no line with weekly_exposure")
    path.write_text(text, encoding="utf-8")


def _at_once(door: CreditDoor, clients: Sequence[str], forms: Forms) -> list[CreditDecision]:
    """Each client has a connection of its own, and all begin together."""
    made: list[CreditDecision] = []
    failed: list[DeskError] = []
    start = threading.Barrier(len(clients))

    def ask(place: int, person: str) -> None:
        with Client(f"unix:{door.desk.socket}") as desk:
            desk.status(timeout=TIMEOUT_S)
            start.wait()
            try:
                made.append(desk.decide(forms.of(f"growth-{place}", person), timeout=TIMEOUT_S))
            except DeskError as error:
                failed.append(error)

    threads = [
        threading.Thread(target=ask, args=item, daemon=True) for item in enumerate(clients)
    ]
    _all(threads, lambda one: one.start())
    _all(threads, lambda one: one.join())
    if failed:
        raise RehearsalError(f"growth: a client got no decision: {failed[0]}")
    return made


def _all(threads: Sequence[threading.Thread], do: Callable[[threading.Thread], None]) -> None:
    for thread in threads:
        do(thread)


def wave(
    door: CreditDoor, people: Mapping[str, CreditDecision], forms: Forms, report: Path
) -> WaveTest | None:
    """Report first payments of which too many are late; the ramp must stop."""
    granted = [one for one in people.values() if one.outcome == "APPROVE"][:WAVE]
    if len(granted) < _LEAST_WAVE:
        return None
    payments = {one.id: place % _LATE == 0 for place, one in enumerate(granted)}
    path = report / "logs" / "first-payments.json"
    path.write_text(json.dumps(payments), encoding="utf-8")
    before = str(_status(door)["phase"])
    command("admission", str(door.node), "observe", "--payments", str(path))
    after = str(_status(door)["phase"])
    person = next(name for name, one in people.items() if one.outcome == "APPROVE")
    with Client(f"unix:{door.desk.socket}") as desk:
        next_one = desk.decide(forms.of("after-the-wave", person), timeout=TIMEOUT_S)
    return WaveTest(
        accounts=len(payments),
        late=sum(payments.values()),
        before=before,
        after=after,
        next_outcome=next_one.outcome,
        next_code=next_one.code,
    )
