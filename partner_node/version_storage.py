"""What a node's database holds of model versions: documents, own votes, tests of reasons.

Every public method is one transaction.
"""

from collections.abc import Callable
from dataclasses import asdict

import sqlalchemy as sa

from consortium.ids import Digest, RunId
from consortium.messages import Vote
from partner_node.database import MODELS, STABILITY, VOTES, Database
from partner_node.records import CastVote, KeptStability


class VersionStore:
    """A part of the node's database; every method raises StorageError as ``NodeStore``."""

    def __init__(self, database: Database, *, now: Callable[[], int]) -> None:
        self._database = database
        self._now = now

    def keep_model(self, version: Digest, document: bytes) -> None:
        """Keep a document that was checked against its version."""
        with self._database.transaction() as connection:
            connection.execute(MODELS.delete().where(MODELS.c.version == version))
            connection.execute(
                MODELS.insert().values(version=version, document=document, at=self._now())
            )

    def models(self) -> tuple[Digest, ...]:
        """Versions that were fetched, oldest first."""
        with self._database.transaction() as connection:
            query = sa.select(MODELS.c.version).order_by(MODELS.c.at)
            return tuple(Digest(version) for version in connection.scalars(query))

    def model(self, version: Digest) -> bytes | None:
        """The document of that version, if it was kept."""
        with self._database.transaction() as connection:
            query = sa.select(MODELS.c.document).where(MODELS.c.version == version)
            found: bytes | None = connection.scalar(query)
        return found

    def next_vote(self, version: Digest) -> int:
        """The number of the next vote: the clock, but above the last vote's (12.5)."""
        with self._database.transaction() as connection:
            query = sa.select(VOTES.c.number).where(VOTES.c.version == version)
            last = connection.scalar(query)
        return self._now() if last is None else max(self._now(), int(last) + 1)

    def add_vote(self, vote: Vote) -> None:
        """Note this node's vote; a later one replaces it."""
        with self._database.transaction() as connection:
            connection.execute(VOTES.delete().where(VOTES.c.version == vote.version))
            connection.execute(
                VOTES.insert().values(
                    version=vote.version,
                    accept=vote.accept,
                    reason=vote.reason,
                    number=vote.number,
                    at=self._now(),
                )
            )

    def keep_stability(self, kept: KeptStability) -> None:
        """Keep what a test of reasons came to; a later one of the version replaces it."""
        with self._database.transaction() as connection:
            connection.execute(STABILITY.delete().where(STABILITY.c.version == kept.version))
            connection.execute(STABILITY.insert().values(**asdict(kept), at=self._now()))

    def stability(self, version: Digest, premises: Digest) -> KeptStability | None:
        """What the last test of the version came to, if it rested on the same."""
        query = sa.select(STABILITY).where(
            STABILITY.c.version == version, STABILITY.c.premises == premises
        )
        with self._database.transaction() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        return KeptStability(
            version=version,
            run=RunId(row.run),
            premises=premises,
            agreement=row.agreement,
            changes=row.changes,
        )

    def votes(self) -> tuple[CastVote, ...]:
        """This node's votes, oldest first."""
        with self._database.transaction() as connection:
            rows = connection.execute(sa.select(VOTES).order_by(VOTES.c.at)).mappings()
            return tuple(
                CastVote(
                    version=Digest(row["version"]),
                    accept=row["accept"],
                    reason=row["reason"],
                    at=row["at"],
                )
                for row in rows
            )
