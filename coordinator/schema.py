"""The tables of the coordinator's database as a whole, and how its versions follow each other.

The storage files define their tables on ``META``. A change of any of them is a new entry of
``HISTORY``, in SQL that SQLite and PostgreSQL both take; the test of the stores' versions fails
without it.
"""

from importlib import import_module

import sqlalchemy as sa

from consortium.versions import History
from upkeep.migrations import Statements

META = sa.MetaData()
LEADERSHIP = sa.Table(
    "leadership",
    META,
    sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("identity", sa.String(64), nullable=False),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("since", sa.BigInteger, nullable=False),
)
"""Which of several replicas leads (``coordinator.leadership``); at most one row."""

_LEADERSHIP = """
CREATE TABLE leadership (
    one INTEGER NOT NULL PRIMARY KEY, epoch BIGINT NOT NULL, identity VARCHAR(64) NOT NULL,
    holder TEXT NOT NULL, since BIGINT NOT NULL)
"""

_FILES = (
    "governing_storage",
    "log_storage",
    "manifest_storage",
    "member_storage",
    "model_storage",
    "run_storage",
    "scoring_storage",
    "table_storage",
)
"""What defines tables on ``META``; they import this file, so it loads them late."""

HISTORY: History[Statements] = History(((_LEADERSHIP,),))


def create_all(connection: sa.Connection) -> None:
    """Make every table of the current version."""
    for name in _FILES:
        import_module(f"coordinator.{name}")
    META.create_all(connection)
