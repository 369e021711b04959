"""What a rehearsal hands in at a credit desk, and where."""

import contextlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from partner_node import wiring
from partner_node.credit import cli as desk_cli
from partner_node.table import open_table, quoted
from rehearsal.config import CreditTest
from rehearsal.joint import Desk
from rehearsal.processes import RehearsalError
from riskweave_client import ConsentRecord, CreditApplication, Income, Standing, Wish

TIMEOUT_S = 30.0
_PURPOSES = ("CREDIT_DECISION", "JOINT_SCORE", "INCOME_DATA")


@dataclass(frozen=True, slots=True)
class CreditDoor:
    """One asker: its door, its own table, and its directory."""

    desk: Desk
    node: Path


class Forms:
    """Applications, all alike but for who applies."""

    def __init__(self, test: CreditTest, incomes: Mapping[str, int]) -> None:
        """``incomes``: by person, minor units; who is not in it has declared none."""
        # Two days ago in Greenwich is no day of the future anywhere.
        self._day = datetime.fromtimestamp(wiring.now(), UTC).date() - timedelta(days=2)
        self.test = test
        self._incomes = incomes

    def of(
        self, name: str, person: str, attributes: Mapping[str, float | str | None] | None = None
    ) -> CreditApplication:
        """The application of one person."""
        test = self.test
        return CreditApplication(
            application=name,
            person=person,
            attributes=attributes,
            wish=Wish(
                product=test.product,
                purpose=test.purpose,
                amount=test.amount,
                currency=test.currency,
                tenor_months=test.tenor_months,
            ),
            standing=Standing(adult=True, has_history=True, income=self._income(person)),
            consents=tuple(self._consent(purpose) for purpose in _PURPOSES),
        )

    def _income(self, person: str) -> Income | None:
        income = self._incomes.get(person)
        return None if income is None else Income(credits=(income,) * 3, latest_on=self._day)

    def _consent(self, purpose: str) -> ConsentRecord:
        given: date = self._day
        return ConsentRecord(purpose=purpose, id=f"rehearsal-{purpose.lower()}", given_on=given)


def command(*arguments: str) -> dict[str, object]:
    """What ``riskweave desk`` prints as JSON."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = desk_cli.main([*arguments, "--json"])
    if code != 0:
        raise RehearsalError(f"`riskweave desk {' '.join(arguments)}` ended with {code}")
    found: dict[str, object] = json.loads(out.getvalue())
    return found


def incomes_of(doors: Mapping[str, CreditDoor], column: str) -> dict[str, int]:
    """Monthly incomes of the askers' customers, minor units; without those not declared."""
    found: dict[str, int] = {}
    for door in doors.values():
        source = door.desk.source
        wanted = {"id": f"{quoted(source.person)}::VARCHAR", "income": quoted(column)}
        with open_table(source) as table, contextlib.closing(table.batches(wanted)) as batches:
            for batch in batches:
                pairs = zip(*(one.to_pylist() for one in batch.columns), strict=True)
                known = ((name, income) for name, income in pairs if income is not None)
                found |= {name: 100 * int(income) for name, income in known}
    return found
