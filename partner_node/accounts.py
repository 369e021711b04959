"""The rows of the privacy budget, inside a transaction of the node's database (4.6).

What may be spent is decided in ``consortium.privacy.budget``; here rows are read, the question
is put, and the answer is written.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from consortium.documents import parse_document
from consortium.errors import RefusalCode, RefusalError
from consortium.ids import RunId
from consortium.ledger.run_bodies import BudgetDebit
from consortium.messages import SumRequest
from consortium.plan import ReleaseKind, TrainingPlan
from consortium.privacy.budget import Account, Debit, Reserve, may_debit, may_reserve
from partner_node.database import ACCOUNTS, COMMITMENTS, ENTRIES, RESERVES
from partner_node.log_store import lost_plans
from partner_node.records import ChargedSums

# Statements of every attempt, made once: to make one costs more than to run it.
_THIS_RUN: sa.BindParameter[str] = sa.bindparam("run")
_RESERVE_OF = sa.select(RESERVES.c.epoch, RESERVES.c.units, RESERVES.c.state).where(
    RESERVES.c.run == _THIS_RUN, RESERVES.c.scope == sa.bindparam("scope")
)
_ENTRIES_OF = sa.select(
    ENTRIES.c.kind, ENTRIES.c.round, ENTRIES.c.attempt, ENTRIES.c.units
).where(ENTRIES.c.run == _THIS_RUN, ENTRIES.c.scope == sa.bindparam("scope"))
_NEW_ENTRY = ENTRIES.insert()
_DEBIT_KEY = ("run", "round", "attempt")
_UNITS_OF = sa.select(ENTRIES.c.units).where(
    *(ENTRIES.c[name] == sa.bindparam(name) for name in (*_DEBIT_KEY, "kind"))
)


@dataclass(frozen=True, slots=True)
class Hold:
    """What a run asks to reserve in one account."""

    run: RunId
    scope: str
    epoch: str
    units: int


def account_of(
    connection: sa.Connection, account: tuple[str, str], terms: tuple[int, str]
) -> Account:
    """The account as it stands.

    Args:
        connection: Of the transaction.
        account: Scope and epoch.
        terms: Its cap in units, and the policy's delta.
    """
    scope, epoch = account
    reserves = connection.execute(
        sa.select(RESERVES).where(RESERVES.c.scope == scope, RESERVES.c.epoch == epoch)
    )
    entries = connection.execute(
        sa.select(ENTRIES).where(ENTRIES.c.scope == scope, ENTRIES.c.epoch == epoch)
    )
    return Account(
        scope=scope,
        cap_units=terms[0],
        delta=float(terms[1]),
        reserves=tuple(
            Reserve(run=row.run, units=row.units, is_open=row.state == "open")
            for row in reserves
        ),
        debits=tuple(_debit(row.run, row) for row in entries),
    )


def reserve_in(
    connection: sa.Connection, hold: Hold, terms: tuple[int, str], *, at: int
) -> None:
    """Reserve under a cap, or raise as ``may_reserve``; ``terms`` as of ``account_of``."""
    account = account_of(connection, (hold.scope, hold.epoch), terms)
    may_reserve(account, hold.run, hold.units)
    key = (ACCOUNTS.c.scope == hold.scope, ACCOUNTS.c.epoch == hold.epoch)
    connection.execute(ACCOUNTS.delete().where(*key))
    connection.execute(
        ACCOUNTS.insert().values(
            scope=hold.scope, epoch=hold.epoch, cap_units=account.cap_units, delta=terms[1]
        )
    )
    connection.execute(
        RESERVES.insert().values(
            run=hold.run,
            scope=hold.scope,
            epoch=hold.epoch,
            units=hold.units,
            state="open",
            at=at,
        )
    )


def may_debit_of(connection: sa.Connection, debit: Debit, scope: str) -> str:
    """Ask ``may_debit`` over the run's own entries; the epoch that the debit belongs to.

    That is the epoch in which the run was committed, whatever the owner has named since.
    """
    key = {"run": debit.run, "scope": scope}
    held = connection.execute(_RESERVE_OF, key).first()
    if held is None:
        raise RefusalError(RefusalCode.PLAN, f"run {debit.run} holds no open reserve")
    account = Account(
        scope=scope,
        cap_units=0,  # the cap was asked when the run reserved
        delta=0.0,
        reserves=(Reserve(run=debit.run, units=held.units, is_open=held.state == "open"),),
        debits=tuple(_debit(debit.run, row) for row in connection.execute(_ENTRIES_OF, key)),
    )
    may_debit(account, debit)
    return str(held.epoch)


def charge_in(
    connection: sa.Connection, request: SumRequest, charge: tuple[str, int], *, at: int
) -> str:
    """Charge one upload if ``may_debit_of`` lets it; the epoch that the debit belongs to.

    Args:
        connection: Of the transaction.
        request: What is answered. Public.
        charge: Scope and units.
        at: Seconds since 1970, UTC.
    """
    scope, units = charge
    debit = Debit(
        run=request.run,
        kind=request.kind,
        round=request.round,
        attempt=request.attempt,
        units=units,
    )
    epoch = may_debit_of(connection, debit, scope)
    connection.execute(
        _NEW_ENTRY,
        {
            "run": request.run,
            "round": request.round,
            "attempt": request.attempt,
            "kind": request.kind.value,
            "scope": scope,
            "epoch": epoch,
            "units": units,
            "partners": len(request.roster),
            "dimension": request.dimension,
            "at": at,
        },
    )
    return epoch


def is_booked(connection: sa.Connection, debit: BudgetDebit) -> bool:
    """Whether a debit of the log stands here, with its units."""
    key: dict[str, object] = {name: getattr(debit, name) for name in _DEBIT_KEY}
    units = connection.scalar(_UNITS_OF, key | {"kind": debit.kind.value})
    return bool(units == debit.units)


def book_in(connection: sa.Connection, debit: BudgetDebit, dimension: int, *, at: int) -> None:
    """Book one debit of the log, in place of what stands here of it (4.6 (5))."""
    key = {"run": debit.run, "scope": debit.account}
    if connection.execute(_RESERVE_OF, key).first() is None:
        reserve = {"epoch": debit.epoch, "units": 0, "state": "closed"}
        connection.execute(RESERVES.insert().values(**key, **reserve, at=at))
    same = [ENTRIES.c[name] == getattr(debit, name) for name in _DEBIT_KEY]
    connection.execute(ENTRIES.delete().where(*same, ENTRIES.c.kind == debit.kind.value))
    connection.execute(
        _NEW_ENTRY,
        {name: getattr(debit, name) for name in _DEBIT_KEY}
        | {
            "kind": debit.kind.value,
            "scope": debit.account,
            "epoch": debit.epoch,
            "units": debit.units,
            "partners": debit.partners,
            "dimension": dimension,
            "at": at,
        },
    )


def charged_sums_of(
    connection: sa.Connection, run: RunId, scope: str
) -> tuple[ChargedSums, ...]:
    """What one run was charged for in one scope, by kind, roster size and dimension."""
    key = (ENTRIES.c.kind, ENTRIES.c.partners, ENTRIES.c.dimension)
    query = (
        sa.select(*key, sa.func.count().label("attempts"))
        .where(ENTRIES.c.run == run, ENTRIES.c.scope == scope)
        .group_by(*key)
        .order_by(*key)
    )
    return tuple(
        ChargedSums(
            kind=ReleaseKind(row["kind"]),
            partners=row["partners"],
            dimension=row["dimension"],
            attempts=row["attempts"],
        )
        for row in connection.execute(query).mappings()
    )


def check_split(connection: sa.Connection, plan: TrainingPlan, epoch: str) -> None:
    """Raise RefusalError (R05) if a run charged in the epoch held out other persons (5.8)."""
    if plan.figure is not None:
        return  # a table counts everybody: it has an account of its own
    charged = sa.select(ENTRIES.c.run).where(ENTRIES.c.epoch == epoch)
    query = sa.select(COMMITMENTS.c.plan).where(COMMITMENTS.c.run.in_(charged))
    known = [parse_document(TrainingPlan, row) for row in connection.scalars(query)]
    runs = {str(run) for run in connection.scalars(charged)} - {one.run for one in known}
    # Of a run that this database lost, the plan is in the log (4.6 (5)).
    for earlier in (*known, *lost_plans(connection, runs)):
        if earlier.figure is None and (earlier.holdout_salt, earlier.holdout_fraction) != (
            plan.holdout_salt,
            plan.holdout_fraction,
        ):
            raise RefusalError(
                RefusalCode.PLAN,
                f"run {earlier.run} of this epoch held out other persons; the same "
                "holdout_salt and holdout_fraction, or a new epoch",
            )


def _debit(run: RunId, row: Any) -> Debit:  # noqa: ANN401 - a row of entries
    return Debit(
        run=run,
        kind=ReleaseKind(row.kind),
        round=row.round,
        attempt=row.attempt,
        units=row.units,
    )
