"""May this be spent? Pure arithmetic over one account (protocol 4.6).

Nothing here touches a disk: the node's storage loads an account inside a transaction, asks,
and writes what was allowed before anything leaves. A debit is never taken back; a reserve
frees its unused part only when its run is closed.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from consortium.errors import BudgetExceededError, DomainError, RefusalCode, RefusalError
from consortium.ids import RunId
from consortium.plan import ReleaseKind
from consortium.privacy.accountant import epsilon_of_units


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """What a run may charge at most, held from its start to its end."""

    run: RunId
    units: int
    is_open: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Debit:
    """One attempt that left the node, or was about to when it crashed."""

    run: RunId
    kind: ReleaseKind
    round: int
    attempt: int
    units: int

    @property
    def key(self) -> tuple[RunId, ReleaseKind, int, int]:
        """What it is unique by (protocol 4.6 (1))."""
        return self.run, self.kind, self.round, self.attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """An account as epsilons, each of its own units. Epsilons do not add up; units do."""

    cap: float
    spent: float
    reserved: float
    left: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One scope (training or hold-out persons) of one data epoch at one owner."""

    scope: str
    cap_units: int
    delta: float
    """The policy's; used to print and for nothing else."""
    reserves: tuple[Reserve, ...] = ()
    debits: tuple[Debit, ...] = ()

    def __post_init__(self) -> None:
        """Raise DomainError for negative units or an entry that is there twice."""
        amounts = (self.cap_units, *_units(self.reserves), *_units(self.debits))
        if min(amounts) < 0:
            raise DomainError(f"{self.scope}: negative units in the account")
        runs = [reserve.run for reserve in self.reserves]
        keys = [debit.key for debit in self.debits]
        if len(set(runs)) != len(runs) or len(set(keys)) != len(keys):
            raise DomainError(f"{self.scope}: an entry is in the account twice")

    @property
    def spent(self) -> int:
        """Units debited, whatever became of their runs."""
        return sum(_units(self.debits))

    @property
    def reserved(self) -> int:
        """Units that open runs may still charge."""
        return sum(
            max(0, reserve.units - self.charged_by(reserve.run))
            for reserve in self.reserves
            if reserve.is_open
        )

    @property
    def left(self) -> int:
        """Units that a new run may reserve: never below 0."""
        return max(0, self.cap_units - self.spent - self.reserved)

    def charged_by(self, run: RunId) -> int:
        """Units debited by one run."""
        return sum(debit.units for debit in self.debits if debit.run == run)

    def figures(self) -> Figures:
        """The account as epsilons at its delta."""
        cap, spent, reserved, left = (
            epsilon_of_units(units, self.delta)
            for units in (self.cap_units, self.spent, self.reserved, self.left)
        )
        return Figures(cap=cap, spent=spent, reserved=reserved, left=left)


def may_reserve(account: Account, run: RunId, units: int) -> None:
    """Raise unless the run may hold ``units`` more from now on (protocol 4.6 (2)).

    Raises:
        BudgetExceededError: spent + reserved + new is above the cap (R12). The text names
            all four figures as epsilons; it stays at the owner.
        RefusalError: the run holds a reserve already (R06).
        DomainError: the units are not positive.
    """
    if units < 1:
        raise DomainError(f"run {run} asks for {units} units")
    if any(reserve.run == run for reserve in account.reserves):
        raise RefusalError(RefusalCode.REPEATED, f"run {run} has a reserve already")
    if account.spent + account.reserved + units > account.cap_units:
        raise BudgetExceededError(_shortage(account, units))


def may_debit(account: Account, debit: Debit) -> None:
    """Raise unless this attempt may leave the node (protocol 4.6 (3)).

    Raises:
        RefusalError: the run holds no open reserve (R05), or this attempt was charged
            before and may not be sent again (R06).
        BudgetExceededError: the run's reserve does not cover it (R12).
        DomainError: the units are not positive.
    """
    if debit.units < 1:
        raise DomainError(f"run {debit.run} charges {debit.units} units")
    reserve = next((r for r in account.reserves if r.run == debit.run and r.is_open), None)
    if reserve is None:
        raise RefusalError(RefusalCode.PLAN, f"run {debit.run} holds no open reserve")
    if any(known.key == debit.key for known in account.debits):
        raise RefusalError(
            RefusalCode.REPEATED,
            f"{debit.kind.value} {debit.round}.{debit.attempt} was charged before",
        )
    if account.charged_by(debit.run) + debit.units > reserve.units:
        raise BudgetExceededError(
            f"run {debit.run}: its reserve does not cover one more {debit.kind.value}"
        )


def _shortage(account: Account, units: int) -> str:
    figures = account.figures()
    asked = epsilon_of_units(units, account.delta)
    return (
        f"{account.scope}: epsilon {asked} asked, {figures.left} left"
        f" (cap {figures.cap}, spent {figures.spent}, reserved {figures.reserved})"
    )


def _units(entries: Iterable[Reserve | Debit]) -> Iterable[int]:
    return (entry.units for entry in entries)
