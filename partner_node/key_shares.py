"""This node's shares of the keys of pseudonyms, and the secrets they are made of (6.3, 6.8).

A share is flushed before anybody is told of it; one that is replaced, or of an earlier epoch,
is overwritten in every file.
"""

from collections.abc import Callable
from dataclasses import dataclass

from consortium.crypto.keys import Secret
from consortium.errors import StorageError
from partner_node.scoring_database import ScoringDatabase


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredShare:
    """This node's share of one epoch's key."""

    epoch: int
    attempt: int
    """The ceremony that made it."""
    position: int
    """Its index among the key holders."""
    share: Secret
    record: bytes | None
    """The epoch's public keys, signed by all; None before that."""


class ShareStore:
    """A part of the scoring stream's database; every method raises StorageError as it."""

    def __init__(self, database: ScoringDatabase, *, now: Callable[[], int]) -> None:
        self._database, self._now = database, now

    def seed(self, epoch: int, attempt: int, draw: Callable[[], Secret]) -> Secret:
        """The secret of one ceremony: drawn and on disk before its first step leaves."""
        query = "SELECT seed FROM epoch_seeds WHERE epoch = ? AND attempt = ?"
        with self._database.transaction(flushed=True) as connection:
            row = connection.execute(query, (epoch, attempt)).fetchone()
            if row is not None:
                return Secret(row[0])
            drawn = draw()
            connection.execute(
                "INSERT INTO epoch_seeds VALUES (?, ?, ?)", (epoch, attempt, drawn.expose())
            )
        return drawn

    def keep(self, share: StoredShare) -> None:
        """Keep this node's share, on disk before it is confirmed to anybody."""
        with self._database.transaction(flushed=True) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO epoch_shares VALUES (?, ?, ?, ?, ?, ?)",
                (
                    share.epoch,
                    share.attempt,
                    share.position,
                    share.share.expose(),
                    share.record,
                    self._now(),
                ),
            )

    def install(self, epoch: int, attempt: int, record: bytes) -> None:
        """The keys are signed by all: serve with this share, erase every other until now.

        Those of earlier epochs, too: what they make is asked for no more (protocol 6.9).

        Raises:
            StorageError: there is no such share.
        """
        with self._database.transaction(flushed=True) as connection:
            done = connection.execute(
                "UPDATE epoch_shares SET record = ? WHERE epoch = ? AND attempt = ?",
                (record, epoch, attempt),
            )
            if done.rowcount != 1:
                raise StorageError(f"no share of epoch {epoch}, attempt {attempt}")
            connection.execute(
                "DELETE FROM epoch_shares WHERE epoch < ?1 OR epoch = ?1 AND attempt != ?2",
                (epoch, attempt),
            )
            # With the seed the share could be made again, and so could those it dealt.
            connection.execute(
                "DELETE FROM epoch_seeds WHERE epoch < ?1 OR epoch = ?1 AND attempt <= ?2",
                (epoch, attempt),
            )
        self._database.truncate_log()

    def of(self, epoch: int) -> tuple[StoredShare, ...]:
        """All that is kept of this epoch, in the order of attempts."""
        query = (
            "SELECT epoch, attempt, position, share, record FROM epoch_shares "
            "WHERE epoch = ? ORDER BY attempt"
        )
        with self._database.transaction() as connection:
            return tuple(
                StoredShare(
                    epoch=row[0],
                    attempt=row[1],
                    position=row[2],
                    share=Secret(row[3]),
                    record=row[4],
                )
                for row in connection.execute(query, (epoch,))
            )

    def installed(self, epoch: int) -> StoredShare | None:
        """The share that this node serves the epoch with."""
        return next((one for one in self.of(epoch) if one.record is not None), None)
