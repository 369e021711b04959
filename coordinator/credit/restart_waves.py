"""A restart campaign at the operator: looks at noisy totals, and orders in the log (row 31).

The operator knows no borrower: what it sees of a wave is one table of a secure sum with noise,
and what it says is an order that everybody can check against that table. Nodes read the orders
in the log and act by themselves.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from consortium.credit.campaign_table import cells_of, deviation_of, is_look, look_of
from consortium.credit.figures import NoisyTable
from consortium.credit.table_document import parse_table_document
from consortium.credit.triggers import Block
from consortium.credit.waves import (
    BY_COUNTS,
    CampaignOrder,
    CampaignPlan,
    Move,
    judge,
    next_look,
)
from consortium.errors import ConfigurationError, DomainError, OutOfOrderError
from consortium.figure import FigureKind, FigureSpec
from consortium.ids import Digest
from consortium.ledger.governing import CampaignOrdered, CampaignPlanned, Running
from consortium.manifest import Manifest
from consortium.privacy.accountant import epsilon_of_units, units_of
from coordinator.credit.governing import Governing
from coordinator.credit.register import Registers
from coordinator.figure_plans import FigureTerms, table_plan_text
from coordinator.table_storage import TableStore

ATTEMPTS = 2
"""For which a look's noise is made: the second is paid for whether it is needed or not."""
_STEPS = 10_000
PERSONS = (Move.OPEN, Move.REVIEWED, Move.RESUME, Move.END)
"""Moves that a person orders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """The look that is due: what to count, and by which plan file."""

    spec: FigureSpec
    plan_text: str
    epsilon: str


@dataclass(frozen=True, slots=True)
class Decider:
    """Who orders a move, and why; no name."""

    role: str
    reason: str


class Campaigns:
    """Campaigns of one coordinator."""

    def __init__(self, governing: Governing, tables: TableStore, registers: Registers) -> None:
        self._governing, self._tables, self._registers = governing, tables, registers

    def plan(self, plan: CampaignPlan, manifest: Manifest) -> Running:
        """Lay a campaign before everybody.

        Raises:
            ConfigurationError: a lender is no active partner, the manifest allows no such
                tables, or one of them would cost more than it allows.
            OutOfOrderError: there is a campaign of that name.
        """
        strangers = set(plan.lenders) - {one.id for one in manifest.partners}
        if strangers:
            raise ConfigurationError(f"campaign: {min(strangers)} is no active partner")
        figures = manifest.policy.figures
        if FigureKind.CAMPAIGN not in figures.kinds:
            raise ConfigurationError("campaign: policy.figures.kinds does not name campaign")
        if plan.delta != manifest.policy.delta:
            raise ConfigurationError("campaign: another delta than the manifest's")
        each = epsilon_of_look(plan)
        if float(each) > float(figures.run_epsilon):
            raise ConfigurationError(
                f"campaign: a look costs epsilon {each}, the cap is {figures.run_epsilon}"
            )
        return self._governing.say(CampaignPlanned(plan=plan)).campaigns[plan.name]

    def running(self, name: str) -> Running:
        """A campaign as it stands; ConfigurationError if there is none."""
        found = self._governing.state().campaigns.get(name)
        if found is None:
            raise ConfigurationError(f"no campaign {name}")
        return found

    def due(self, name: str) -> Due | None:
        """The table to ask for now; None before the day of the next look.

        Raises:
            OutOfOrderError: no wave runs, or the looks of the whole campaign are spent.
        """
        running, today = self.running(name), self._governing.today()
        spec = look_of(running.plan, running.now, on=today)
        taken = sum(one.move in BY_COUNTS for one in running.orders)
        if taken >= running.plan.releases:
            raise OutOfOrderError("the campaign's privacy budget is spent; end it")
        if today < next_look(running.plan, running.now):
            return None
        epsilon = epsilon_of_look(running.plan)
        terms = FigureTerms(epsilon=epsilon, attempts=ATTEMPTS)
        return Due(spec=spec, plan_text=table_plan_text(spec, terms), epsilon=epsilon)

    def today(self) -> date:
        """The day of what is ordered now."""
        return self._governing.today()

    def is_counted(self, name: str) -> bool:
        """Whether the table of the look that is due is there: asking again costs nothing."""
        running = self.running(name)
        return any(is_look(one.spec, running.plan, running.now) for one in self._stored())

    def look(self, name: str) -> Running:
        """Judge the wave by the table of the look that is due, and order what follows.

        Raises:
            ConfigurationError: there is no such table yet.
            OutOfOrderError: no wave runs, or the look is not due.
        """
        running = self.running(name)
        table = self._table(running)
        cells = cells_of(table, running.now.at)
        move = judge(running.plan, running.now, cells, deviation_of(table))
        return self._order(running, move, release=table.release)

    def order(self, name: str, move: Move, by: Decider) -> Running:
        """Order what a person decides.

        Raises:
            OutOfOrderError: it does not follow, or a wave is to open while the register stops
                it.
            DomainError: counts decide it, or role and reason are no codes.
        """
        if move not in PERSONS:
            raise DomainError(f"{move}: counts decide it, no person")
        if move is Move.OPEN:
            self._check_register(name)
        return self._order(self.running(name), move, by=by)

    def tables(self, name: str) -> Iterator[tuple[date, NoisyTable]]:
        """Every look that was taken with its table, oldest first."""
        known = {one.release: one for one in self._stored()}
        for order in self.running(name).orders:
            if order.release is not None and order.release in known:
                yield order.on, known[order.release]

    # --- parts --------------------------------------------------------------------------------

    def _order(
        self,
        running: Running,
        move: Move,
        *,
        release: Digest | None = None,
        by: Decider | None = None,
    ) -> Running:
        order = CampaignOrder(
            campaign=running.plan.name,
            plan=running.plan.digest,
            move=move,
            wave=running.now.at,
            before=running.now.digest,
            release=release,
            role="" if by is None else by.role,
            reason="" if by is None else by.reason,
            on=self._governing.today(),
        )
        state = self._governing.say(CampaignOrdered(order=order))
        return state.campaigns[running.plan.name]

    def _check_register(self, name: str) -> None:
        """A wave opens when its due items are closed (credit 3.2)."""
        for item in self._registers.today().blocking(Block.WAVE):
            if item.reading.subject.split(":")[0] == name:
                raise OutOfOrderError(
                    f"the register stops campaign {name}: {item.reading.trigger} of "
                    f"{item.reading.subject} is {item.standing}; act on it or waive it"
                )

    def _table(self, running: Running) -> NoisyTable:
        for table in self._stored():
            if is_look(table.spec, running.plan, running.now):
                return table
        look_of(running.plan, running.now, on=self._governing.today())
        raise ConfigurationError("the table of this look is not there yet; it must be counted")

    def _stored(self) -> Iterator[NoisyTable]:
        for row in self._tables.tables():
            if row.kind == FigureKind.CAMPAIGN.value:
                yield parse_table_document(row.document).table


def epsilon_of_look(plan: CampaignPlan) -> str:
    """What one look may cost, so that all planned ones together cost the campaign's epsilon.

    In ten-thousandths, rounded down.
    """
    delta = float(plan.delta)
    share = units_of(float(plan.epsilon), delta) // plan.releases
    steps = int(epsilon_of_units(share, delta) * _STEPS)
    while steps > 1 and units_of(steps / _STEPS, delta) > share:
        steps -= 1
    return f"{steps / _STEPS:.4f}"
