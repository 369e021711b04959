"""Tables of following up, in the desk's database.

A line stands under the partner's own reference, as an application does; whose it is stands
as a keyed hash, so that all rows of a person are found when consent ends or a person is to
be deleted, and nobody is found from the rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

import sqlalchemy as sa

from consortium.credit.early_warning import Event, Sign
from consortium.credit.stages import Stage, Staging
from partner_node.credit.storage import META, Connection, execute, marks_of
from partner_node.credit.watch import Known, Watched

MODELS = sa.Table(
    "behaviour_models",
    META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
MONTHS = sa.Table(
    "watched_months",
    META,
    sa.Column("line", sa.String(128), primary_key=True),
    sa.Column("on", sa.String(10), primary_key=True),
    sa.Column("subject", sa.LargeBinary, nullable=False, index=True),
    sa.Column("pd3", sa.Integer, nullable=True),
    sa.Column("use", sa.String(12), nullable=False),
    sa.Column("stage", sa.Integer, nullable=False),
    sa.Column("clean_months", sa.Integer, nullable=False),
    sa.Column("paid_months", sa.Integer, nullable=False),
    sa.Column("triggers", sa.String(128), nullable=False),
    sa.Column("level", sa.Integer, nullable=False),
    sa.Column("signs", sa.String(32), nullable=False),
    sa.Column("since", sa.String(10), nullable=True),
    sa.Column("expires", sa.String(10), nullable=True),
    sa.Column("utilisation", sa.Integer, nullable=True),
    sa.Column("dsr", sa.BigInteger, nullable=True),
    sa.Column("income", sa.String(12), nullable=False),
    sa.Column("codes", sa.String(32), nullable=False),
    sa.Column("loss", sa.BigInteger, nullable=False),
)
EVENTS = sa.Table(
    "watch_events",
    META,
    sa.Column("line", sa.String(128), primary_key=True),
    sa.Column("sign", sa.String(2), primary_key=True),
    sa.Column("on", sa.String(10), primary_key=True),
    sa.Column("subject", sa.LargeBinary, nullable=False, index=True),
)
# --- models -----------------------------------------------------------------------------------


def keep_model(connection: Connection, document: bytes, at: int) -> None:
    """Keep a behaviour model; the newest counts."""
    connection.execute(MODELS.insert(), {"document": document, "at": at})


def newest_model(connection: Connection) -> bytes | None:
    """The behaviour model that counts; None before the first fit."""
    query = sa.select(MODELS.c.document).order_by(MODELS.c.number.desc()).limit(1)
    found: bytes | None = connection.scalar(query)
    return found


# --- months -----------------------------------------------------------------------------------


def known_of(connection: Connection, line: str) -> Known:
    """Where the last run left a line."""
    query = (
        sa.select(MONTHS.c.on, MONTHS.c.stage, MONTHS.c.clean_months, MONTHS.c.paid_months)
        .where(MONTHS.c.line == line)
        .order_by(MONTHS.c.on.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    if row is None:
        return Known()
    query_events = sa.select(EVENTS.c.sign, EVENTS.c.on).where(EVENTS.c.line == line)
    events = tuple(
        Event(Sign(sign), date.fromisoformat(on))
        for sign, on in connection.execute(query_events)
    )
    staging = Staging(Stage(row.stage), row.clean_months, row.paid_months)
    return Known(on=date.fromisoformat(row.on), staging=staging, events=events)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRows:
    """What a run found of one line. Private."""

    line: str
    subject: bytes = field(repr=False)
    months: tuple[Watched, ...]
    events: tuple[Event, ...]


def keep_rows(connection: Connection, found: Sequence[NewRows]) -> None:
    """Keep new months and events; a month that is there stays as it is."""
    months = [_month_row(one, month) for one in found for month in one.months]
    events = [
        {
            "line": one.line,
            "sign": event.sign.value,
            "on": event.on.isoformat(),
            "subject": one.subject,
        }
        for one in found
        for event in one.events
    ]
    if months:
        connection.execute(MONTHS.insert().prefix_with("OR IGNORE"), months)
    if events:
        connection.execute(EVENTS.insert().prefix_with("OR IGNORE"), events)


def _month_row(one: NewRows, month: Watched) -> dict[str, object]:
    flag, capacity = month.flag, month.capacity
    return {
        "line": one.line,
        "on": month.on.isoformat(),
        "subject": one.subject,
        "pd3": month.pd3,
        "use": month.use.value,
        "stage": int(month.staging.stage),
        "clean_months": month.staging.clean_months,
        "paid_months": month.staging.paid_months,
        "triggers": " ".join(month.triggers),
        "level": int(flag.level),
        "signs": " ".join(flag.signs),
        "since": flag.since.isoformat() if flag.since else None,
        "expires": flag.expires_on.isoformat() if flag.expires_on else None,
        "utilisation": capacity.utilisation,
        "dsr": capacity.dsr,
        "income": capacity.income.value,
        "codes": " ".join(capacity.codes),
        "loss": month.loss,
    }


def newest_months(
    connection: Connection, *, level: int = 0, stage: int = 1
) -> list[dict[str, object]]:
    """The newest month of each line of at least so high a level or stage, worst first."""
    newest = (
        sa.select(MONTHS.c.line, sa.func.max(MONTHS.c.on).label("newest"))
        .group_by(MONTHS.c.line)
        .subquery()
    )
    shown = [column for column in MONTHS.c if column is not MONTHS.c.subject]
    query = (
        sa.select(*shown)
        .join(newest, sa.and_(MONTHS.c.line == newest.c.line, MONTHS.c.on == newest.c.newest))
        .where(MONTHS.c.level >= level, MONTHS.c.stage >= stage)
        .order_by(MONTHS.c.level.desc(), MONTHS.c.stage.desc(), MONTHS.c.line)
    )
    return [dict(row._mapping) for row in connection.execute(query)]  # noqa: SLF001 - a row


def counts(connection: Connection) -> list[tuple[str, int, int]]:
    """Lines by month and stage. Private to the partner."""
    query = sa.select(MONTHS.c.on, MONTHS.c.stage, sa.func.count()).group_by(
        MONTHS.c.on, MONTHS.c.stage
    )
    return [(row[0], row[1], row[2]) for row in connection.execute(query)]


def stages_of(connection: Connection, subjects: Sequence[bytes]) -> dict[bytes, int]:
    """The worst stage of persons' lines in their newest month; without whom has no line."""
    if not subjects:
        return {}
    query = (
        "SELECT m.subject, max(m.stage) FROM watched_months m "  # noqa: S608 - marks
        'JOIN (SELECT subject, line, max("on") AS newest FROM watched_months '
        f"WHERE subject IN ({marks_of(subjects)}) GROUP BY subject, line) n "
        'ON m.line = n.line AND m."on" = n.newest GROUP BY m.subject'
    )
    return {subject: int(stage) for subject, stage in execute(connection, query, subjects)}


# --- dropping ---------------------------------------------------------------------------------


def drop_sign(connection: Connection, subject: bytes, sign: Sign) -> int:
    """Drop one kind of events of a person; rows that were dropped.

    Flags of months that had the sign are dropped with it: what they came to was partly its.
    """
    gone = connection.execute(
        EVENTS.delete().where(EVENTS.c.subject == subject, EVENTS.c.sign == sign.value)
    ).rowcount
    touched = sa.and_(MONTHS.c.subject == subject, MONTHS.c.signs.contains(sign.value))
    blank = {"level": 0, "signs": "", "since": None, "expires": None}
    connection.execute(MONTHS.update().where(touched).values(**blank))
    return int(gone)


def blank_income(connection: Connection, subject: bytes) -> int:
    """Forget what a person's income came to; months that were touched."""
    touched = sa.and_(MONTHS.c.subject == subject, MONTHS.c.dsr.is_not(None))
    codes = sa.case((MONTHS.c.codes.contains("F1"), "R20 F1"), else_="R20")
    found = connection.execute(
        MONTHS.update().where(touched).values(dsr=None, income="no_consent", codes=codes)
    )
    return int(found.rowcount)


def drop_watch(connection: Connection, subject: bytes) -> dict[str, int]:
    """Drop all months and events of a person; rows by table."""
    return {
        table.name: int(
            connection.execute(table.delete().where(table.c.subject == subject)).rowcount
        )
        for table in (MONTHS, EVENTS)
    }


def drop_old_watch(connection: Connection, before: date) -> dict[str, int]:
    """Drop months and events of earlier days; rows by table."""
    day = before.isoformat()
    return {
        table.name: int(connection.execute(table.delete().where(table.c.on < day)).rowcount)
        for table in (MONTHS, EVENTS)
    }
