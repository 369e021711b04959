"""The public coin of a draw: one head and one commitment, and no choice of either (9.4.1).

Heads come to count at any time, and which of them a regulator has seen nobody can say. So a
head is a coin once an entry of somebody else rests on it: where that entry stands in the log
is the same in every mirror and in every bundle. The first such entry after what is audited
names the coin; a regulator that waits for a head that it likes better is found.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from consortium.ids import Digest, PartnerId
from consortium.ledger.bodies import AuditNonce
from consortium.ledger.entries import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Coin:
    """What a draw is made with."""

    number: int
    """Of the commitment, among those of this regulator, from 0."""
    commitment: Digest
    nonce: bytes | None
    """The bytes that were committed to, if they are opened in the log."""
    size: int
    """Entries of the head whose root is the coin."""


@dataclass(slots=True)
class _Committed:
    index: int
    commitment: Digest
    opened: int | None = None
    nonce: bytes | None = field(default=None, repr=False)


class Coins:
    """Finds coins in one log."""

    def __init__(self, entries: Mapping[int, Entry]) -> None:
        """Over the entries of a log by their index; those that are missing name nothing."""
        self._indices: Sequence[int] = sorted(entries)
        self._entries = entries
        self._nonces: dict[PartnerId, list[_Committed]] = {}
        for index in self._indices:
            entry = entries[index]
            if isinstance(entry.body, AuditNonce):
                self._take(index, entry.actor, entry.body)

    def of(self, event: int, regulator: PartnerId) -> Coin | None:
        """The coin of what stands at index ``event``; None: it is not fixed yet.

        Bytes that were opened before their coin was fixed are passed over, for whoever makes
        heads knew them: the commitment after them counts, with a head that covers it.
        """
        made = self._nonces.get(regulator, [])
        newest = max((n for n, one in enumerate(made) if one.index < event), default=0)
        for number, one in enumerate(made[newest:], start=newest):
            named = self._named(max(event, one.index), regulator)
            if named is None:
                return None
            at, size = named
            if one.opened is None or one.opened > at:
                return Coin(
                    number=number, commitment=one.commitment, nonce=one.nonce, size=size
                )
        return None

    def _named(self, event: int, regulator: PartnerId) -> tuple[int, int] | None:
        """The first entry of another that rests on a head over ``event``, and that head."""
        for index in self._after(event):
            entry = self._entries[index]
            if entry.actor != regulator and event < entry.seq_hint <= index:
                return index, entry.seq_hint
        return None

    def _after(self, event: int) -> Iterable[int]:
        first = bisect_right(self._indices, event)
        return (self._indices[place] for place in range(first, len(self._indices)))

    def _take(self, index: int, regulator: PartnerId, body: AuditNonce) -> None:
        chain = self._nonces.setdefault(regulator, [])
        if body.opened is not None and chain:
            chain[-1].opened = index
            chain[-1].nonce = bytes.fromhex(body.opened)
        chain.append(_Committed(index, body.commitment))
