"""The rows of the privacy budget, inside a transaction of the node's database (4.6).

What may be spent is decided in ``consortium.privacy.budget``; here rows are read, the question
is put, and the answer is written.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from consortium.errors import RefusalCode, RefusalError
from consortium.ids import RunId
from consortium.plan import ReleaseKind
from consortium.privacy.budget import Account, Debit, Reserve, may_debit, may_reserve
from partner_node.database import ACCOUNTS, ENTRIES, RESERVES

# Statements of every attempt, made once: to make one costs more than to run it.
_THIS_RUN: sa.BindParameter[str] = sa.bindparam("run")
RESERVE_OF = sa.select(RESERVES.c.epoch, RESERVES.c.units, RESERVES.c.state).where(
    RESERVES.c.run == _THIS_RUN, RESERVES.c.scope == sa.bindparam("scope")
)
"""Of ``run`` and ``scope``."""
_ENTRIES_OF = sa.select(
    ENTRIES.c.kind, ENTRIES.c.round, ENTRIES.c.attempt, ENTRIES.c.units
).where(ENTRIES.c.run == _THIS_RUN, ENTRIES.c.scope == sa.bindparam("scope"))


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
    held = connection.execute(RESERVE_OF, key).first()
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


def _debit(run: RunId, row: Any) -> Debit:  # noqa: ANN401 - a row of entries
    return Debit(
        run=run,
        kind=ReleaseKind(row.kind),
        round=row.round,
        attempt=row.attempt,
        units=row.units,
    )
