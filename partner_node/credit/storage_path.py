"""Tables of papers and of the way back, in the desk's database (``credit.db``).

What would help with a decision; cost sheets, when they were shown, confirmed, chosen from and
signed under; restarts, ladders with every step, counselling cases with their follow-ups. A
ladder's state and the step that led to it are written together, and a step once.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date

import sqlalchemy as sa

from consortium.ids import Digest
from partner_node.credit.storage import META, Connection

HELPS = sa.Table(
    "helps",
    META,
    sa.Column("decision", sa.String(64), primary_key=True),
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
SHEETS = sa.Table(
    "cost_sheets",
    META,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("decision", sa.String(64), nullable=False, index=True),
    sa.Column("product", sa.String(64), nullable=False),
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
SHOWINGS = sa.Table(
    "sheet_showings",
    META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("sheet", sa.String(64), nullable=False, index=True),
    sa.Column("channel", sa.String(16), nullable=False),
    sa.Column("shown_at", sa.BigInteger, nullable=False),
    sa.Column("confirmed_at", sa.BigInteger, nullable=True),
)
CHOICES = sa.Table(
    "addon_choices",
    META,
    sa.Column("sheet", sa.String(64), primary_key=True),
    sa.Column("addon", sa.String(64), primary_key=True),
    sa.Column("taken", sa.Boolean, nullable=False),
    sa.Column("on", sa.String(10), nullable=False),
)
CONTRACTS = sa.Table(
    "contracts",
    META,
    sa.Column("decision", sa.String(64), primary_key=True),
    sa.Column("sheet", sa.String(64), nullable=False),
    sa.Column("addons", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
RESTARTS = sa.Table(
    "restarts",
    META,
    sa.Column("line", sa.String(64), primary_key=True),
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Column("tier", sa.String(1), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
LADDERS = sa.Table(
    "ladders",
    META,
    sa.Column("line", sa.String(64), primary_key=True),
    sa.Column("old_limit", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("state", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
STEPS = sa.Table(
    "ladder_steps",
    META,
    sa.Column("line", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("step", sa.String(16), nullable=False),
    sa.Column("on", sa.String(10), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("line", "step", "on"),
)
COUNSELLING = sa.Table(
    "counselling_cases",
    META,
    sa.Column("case", sa.String(64), primary_key=True),
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
FOLLOW_UPS = sa.Table(
    "counselling_follow_ups",
    META,
    sa.Column("case", sa.String(64), primary_key=True),
    sa.Column("due_on", sa.String(10), primary_key=True),
    sa.Column("done_on", sa.String(10), nullable=True),
)


# --- what helps -------------------------------------------------------------------------------


def keep_help(connection: Connection, decision: str, document: bytes, at: int) -> None:
    """Keep what would change a decision; the first finding stays."""
    row = {"decision": decision, "document": document, "at": at}
    connection.execute(HELPS.insert().prefix_with("OR IGNORE"), row)


def help_for(connection: Connection, decision: str) -> bytes | None:
    """What would change a decision, if it was worked out."""
    query = sa.select(HELPS.c.document).where(HELPS.c.decision == decision)
    found: bytes | None = connection.scalar(query)
    return found


def newest_helps(connection: Connection, count: int) -> Iterator[tuple[str, bytes]]:
    """The newest findings, each with the decision that it helps with."""
    query = sa.select(HELPS.c.decision, HELPS.c.document).order_by(HELPS.c.at.desc())
    for name, document in connection.execute(query.limit(count)):
        yield name, bytes(document)


# --- sheets -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSheet:
    """A cost sheet, and the decision under which it was made."""

    digest: Digest
    decision: str
    product: str
    document: bytes = field(repr=False)
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Showing:
    """That a sheet was before a borrower."""

    number: int
    channel: str
    shown_at: int
    confirmed_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What was signed: it names the sheet."""

    decision: str
    sheet: Digest
    addons: str
    """Codes of what was taken beside it, with blanks between."""
    at: int


_SHEET = tuple(SHEETS.c[name] for name in StoredSheet.__dataclass_fields__)
_SHOWING = tuple(SHOWINGS.c[name] for name in Showing.__dataclass_fields__)
_CONTRACT = tuple(CONTRACTS.c[name] for name in Contract.__dataclass_fields__)


def keep_sheet(connection: Connection, sheet: StoredSheet) -> None:
    """Keep a sheet; the same sheet again is the same row."""
    row = {name: getattr(sheet, name) for name in StoredSheet.__dataclass_fields__}
    connection.execute(SHEETS.insert().prefix_with("OR IGNORE"), row)


def sheet_by(connection: Connection, digest: str) -> StoredSheet | None:
    """The sheet of that digest."""
    row = connection.execute(sa.select(*_SHEET).where(SHEETS.c.digest == digest)).first()
    return None if row is None else StoredSheet(**row._mapping)  # noqa: SLF001 - a row's own way


def newest_sheet(connection: Connection, decision: str) -> StoredSheet | None:
    """The sheet that was made last under a decision."""
    query = sa.select(*_SHEET).where(SHEETS.c.decision == decision)
    row = connection.execute(query.order_by(SHEETS.c.at.desc(), SHEETS.c.digest)).first()
    return None if row is None else StoredSheet(**row._mapping)  # noqa: SLF001 - a row's own way


def keep_showing(connection: Connection, sheet: str, channel: str, at: int) -> None:
    """Keep that a sheet was shown."""
    row = {"sheet": sheet, "channel": channel, "shown_at": at, "confirmed_at": None}
    connection.execute(SHOWINGS.insert(), row)


def last_showing(connection: Connection, sheet: str) -> Showing | None:
    """When and where a sheet was shown last."""
    query = sa.select(*_SHOWING).where(SHOWINGS.c.sheet == sheet)
    row = connection.execute(query.order_by(SHOWINGS.c.number.desc())).first()
    return None if row is None else Showing(**row._mapping)  # noqa: SLF001 - a row's own way


def confirm_showing(connection: Connection, number: int, at: int) -> None:
    """Keep that it was confirmed; the first confirmation stays."""
    open_ = SHOWINGS.c.confirmed_at.is_(None)
    query = SHOWINGS.update().where(SHOWINGS.c.number == number, open_)
    connection.execute(query.values(confirmed_at=at))


def keep_choice(
    connection: Connection, sheet: str, addon: str, *, taken: bool, on: date
) -> None:
    """Keep what a borrower said to an add-on; the last word counts."""
    row = {"sheet": sheet, "addon": addon, "taken": taken, "on": on.isoformat()}
    connection.execute(CHOICES.insert().prefix_with("OR REPLACE"), row)


def choices_of(connection: Connection, sheet: str) -> list[tuple[str, bool, date]]:
    """What was said to each add-on of a sheet."""
    query = sa.select(CHOICES.c.addon, CHOICES.c.taken, CHOICES.c.on)
    rows = connection.execute(query.where(CHOICES.c.sheet == sheet).order_by(CHOICES.c.addon))
    return [(row[0], row[1], date.fromisoformat(row[2])) for row in rows]


def keep_contract(connection: Connection, contract: Contract) -> None:
    """Keep a contract."""
    row = {name: getattr(contract, name) for name in Contract.__dataclass_fields__}
    connection.execute(CONTRACTS.insert(), row)


def contract_of(connection: Connection, decision: str) -> Contract | None:
    """The contract under a decision."""
    query = sa.select(*_CONTRACT).where(CONTRACTS.c.decision == decision)
    row = connection.execute(query).first()
    return None if row is None else Contract(**row._mapping)  # noqa: SLF001 - a row's own way


# --- the way back -----------------------------------------------------------------------------


def keep_restart(
    connection: Connection, line: str, document: bytes, *, tier: str, at: int
) -> None:
    """Keep where a closed line's borrower stands; a later test takes the place."""
    row = {"line": line, "document": document, "tier": tier, "at": at}
    connection.execute(RESTARTS.insert().prefix_with("OR REPLACE"), row)


def restart_of(connection: Connection, line: str) -> bytes | None:
    """Where a closed line's borrower stands."""
    found: bytes | None = connection.scalar(
        sa.select(RESTARTS.c.document).where(RESTARTS.c.line == line)
    )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLadder:
    """A ladder as it stands. Private."""

    line: str
    old_limit: int
    currency: str
    state: bytes = field(repr=False)
    at: int


_LADDER = tuple(LADDERS.c[name] for name in StoredLadder.__dataclass_fields__)


def keep_ladder(connection: Connection, ladder: StoredLadder) -> None:
    """Keep where it stands now."""
    row = {name: getattr(ladder, name) for name in StoredLadder.__dataclass_fields__}
    connection.execute(LADDERS.insert().prefix_with("OR REPLACE"), row)


def ladder_of(connection: Connection, line: str) -> StoredLadder | None:
    """The ladder of a line."""
    row = connection.execute(sa.select(*_LADDER).where(LADDERS.c.line == line)).first()
    return None if row is None else StoredLadder(**row._mapping)  # noqa: SLF001 - a row's own way


def ladders(connection: Connection) -> list[StoredLadder]:
    """All ladders, by line."""
    rows = connection.execute(sa.select(*_LADDER).order_by(LADDERS.c.line))
    return [StoredLadder(**row._mapping) for row in rows]  # noqa: SLF001 - a row's own way


def steps_of(connection: Connection, line: str) -> list[tuple[str, date]]:
    """All steps of a ladder, oldest first."""
    query = sa.select(STEPS.c.step, STEPS.c.on).where(STEPS.c.line == line)
    rows = connection.execute(query.order_by(STEPS.c.number))
    return [(row[0], date.fromisoformat(row[1])) for row in rows]


def keep_step(
    connection: Connection, line: str, number: int, *, step: str, on: date, at: int
) -> None:
    """Keep one more step; the same step of the same day twice is refused by the table."""
    row = {"line": line, "number": number, "step": step, "on": on.isoformat(), "at": at}
    connection.execute(STEPS.insert(), row)


# --- counselling ------------------------------------------------------------------------------


def keep_case(
    connection: Connection, case: str, document: bytes, dates: tuple[date, ...], *, at: int
) -> None:
    """Keep a case and the days on which it is followed up."""
    connection.execute(COUNSELLING.insert(), {"case": case, "document": document, "at": at})
    rows = [{"case": case, "due_on": day.isoformat(), "done_on": None} for day in dates]
    connection.execute(FOLLOW_UPS.insert(), rows)


def case_by(connection: Connection, case: str) -> bytes | None:
    """The case of that reference."""
    found: bytes | None = connection.scalar(
        sa.select(COUNSELLING.c.document).where(COUNSELLING.c.case == case)
    )
    return found


def follow_ups(connection: Connection, case: str) -> list[tuple[date, date | None]]:
    """Days on which a case is due, and on which it was done."""
    query = sa.select(FOLLOW_UPS.c.due_on, FOLLOW_UPS.c.done_on)
    rows = connection.execute(
        query.where(FOLLOW_UPS.c.case == case).order_by(FOLLOW_UPS.c.due_on)
    )
    return [
        (date.fromisoformat(row[0]), None if row[1] is None else date.fromisoformat(row[1]))
        for row in rows
    ]


def follow_ups_due(connection: Connection, until: date) -> list[tuple[str, date]]:
    """Follow-ups that are due and not done, oldest first."""
    query = sa.select(FOLLOW_UPS.c.case, FOLLOW_UPS.c.due_on).where(
        FOLLOW_UPS.c.done_on.is_(None), FOLLOW_UPS.c.due_on <= until.isoformat()
    )
    rows = connection.execute(query.order_by(FOLLOW_UPS.c.due_on, FOLLOW_UPS.c.case))
    return [(row[0], date.fromisoformat(row[1])) for row in rows]


def follow_up_done(connection: Connection, case: str, due_on: date, done_on: date) -> bool:
    """Keep that one was done; whether there was such a one that was open."""
    query = FOLLOW_UPS.update().where(
        FOLLOW_UPS.c.case == case,
        FOLLOW_UPS.c.due_on == due_on.isoformat(),
        FOLLOW_UPS.c.done_on.is_(None),
    )
    return connection.execute(query.values(done_on=done_on.isoformat())).rowcount == 1
