"""Versions of what is kept, and the way from each to the next (docs/adr/0045).

One rule for the databases and the files of all roles: what is kept carries the number of its
form, the first form is 1, and a history holds one change for each later form. What is older is
brought forward, change by change; what is newer than the program is refused, for the program
cannot know what it would destroy. Nothing goes back.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

from consortium.errors import StorageError

_Change = TypeVar("_Change")


@dataclass(frozen=True, slots=True)
class History(Generic[_Change]):
    """The changes of one store, the oldest first: the first leads from version 1 to 2.

    A change that was released is never edited, only followed by another.
    """

    changes: tuple[_Change, ...] = ()

    @property
    def current(self) -> int:
        """The version that this program writes."""
        return 1 + len(self.changes)

    def due(self, seen: int, name: str) -> tuple[tuple[int, _Change], ...]:
        """The changes that a store of version ``seen`` lacks, each with what it leads to.

        Args:
            seen: As it stands in the store.
            name: File or database, for the error.

        Raises:
            StorageError: a newer program wrote it, or it is no version at all.
        """
        if not 1 <= seen <= self.current:
            why = "a newer program wrote it" if seen > self.current else "it is damaged"
            raise StorageError(
                f"{name} has version {seen}, expected {self._span()}: {why}; "
                "nothing is migrated backwards"
            )
        return tuple(enumerate(self.changes[seen - 1 :], start=seen + 1))

    def _span(self) -> str:
        return "1" if self.current == 1 else f"1 to {self.current}"
