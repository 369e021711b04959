"""Drawing what is to be replayed, from the regulator's own mirror of the log (protocol 9.4.1).

The bytes that go into a choice are committed to in the log while runs are still open, and are
opened with the challenge. So nobody, the regulator among them, can choose which sums and which
records of inquiries are looked at.
"""

import hashlib
import hmac
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from consortium.crypto.keys import Secret
from consortium.errors import ConfigurationError, OutOfOrderError
from consortium.ids import Digest, RunId
from consortium.ledger.bodies import AuditNonce
from consortium.ledger.draws import choice_of, drawn_records, drawn_sums, nonce_commitment
from consortium.ledger.entries import (
    AuditChallenge,
    Entry,
    RoundSum,
    RunClosed,
    ScoreBatch,
    from_jcs,
)
from consortium.ledger.merkle import Tree, leaf_hash
from regulator.files import read_file, write_file


class Nonces:
    """The bytes of this regulator's draws, by number; only the number is kept.

    Each is derived from a secret that never leaves, so a copy of the log and the keys is
    enough to go on.
    """

    def __init__(self, directory: Path, root: Secret) -> None:
        self._file = directory / "draws.json"
        self._root = root

    @property
    def begun(self) -> bool:
        """Whether a commitment was ever made."""
        return self._file.exists()

    @property
    def number(self) -> int:
        """Of the draw that is committed to."""
        if not self.begun:
            return 0
        try:
            return int(json.loads(read_file(self._file))["number"])
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"{self._file} is damaged") from error

    def nonce(self, number: int) -> bytes:
        """The bytes of one draw. Secret until it is made."""
        text = b"riskweave/audit-nonce-bytes/v1\n" + number.to_bytes(8, "big")
        return hmac.new(self._root.expose(), text, hashlib.sha256).digest()

    def commit(self, number: int) -> AuditNonce:
        """What is logged before draw ``number``, with what opens the one before it."""
        opened = Digest(self.nonce(number - 1).hex()) if number else None
        return AuditNonce(commitment=nonce_commitment(self.nonce(number)), opened=opened)

    def keep(self, number: int) -> None:
        """This draw is committed to from now on."""
        write_file(self._file, json.dumps({"number": number}).encode() + b"\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """What a log says of one run and of the inquiries up to a head."""

    run: RunId
    size: int
    """Of the head that is the coin."""
    root: bytes
    closed: int
    """Index of the run's end."""
    sums: int
    """Closed sums of the run."""
    batches: tuple[tuple[int, int], ...]
    """Second and count of the batches of inquiries under the head."""
    committed: bool
    """Whether ``commitment`` was in the log before the run's end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A challenge, and the records that its choice opens."""

    challenge: AuditChallenge
    records: tuple[tuple[int, int], ...]


def read_log(
    entries: Sequence[bytes], size: int, run: RunId | None, commitment: Digest | None
) -> Drawing:
    """What is to be drawn from, under the head of ``size`` entries.

    Args:
        entries: The log from its beginning.
        size: Of a head that was cosigned after the end of the run.
        run: That is audited; None: the one that was closed last.
        commitment: Of the bytes that will be used.

    Raises:
        OutOfOrderError: no such run was closed under this head.
    """
    parsed = [from_jcs(data) for data in entries[:size]]
    ends = [
        (index, entry.body)
        for index, entry in enumerate(parsed)
        if isinstance(entry.body, RunClosed) and run in {None, entry.body.run}
    ]
    if not ends:
        raise OutOfOrderError(
            f"no run{'' if run is None else f' {run}'} is closed under the head of {size} "
            "entries; wait until the witnesses have cosigned its end"
        )
    over, end = ends[-1]
    tree = Tree(leaf_hash(data) for data in entries[:size])
    return Drawing(
        run=end.run,
        size=size,
        root=tree.root(),
        closed=over,
        sums=sum(
            isinstance(one.body, RoundSum) and one.body.request.run == end.run for one in parsed
        ),
        batches=tuple(_batches(parsed)),
        committed=_committed(parsed[:over], commitment),
    )


def _batches(entries: Sequence[Entry]) -> Iterator[tuple[int, int]]:
    for entry in entries:
        if isinstance(entry.body, ScoreBatch):
            yield entry.body.second, entry.body.count


def _committed(entries: Sequence[Entry], commitment: Digest | None) -> bool:
    return any(
        isinstance(entry.body, AuditNonce) and entry.body.commitment == commitment
        for entry in entries
    )


def draw(log: Drawing, nonce: bytes, count: int | None) -> Drawn:
    """Draw ``count`` sums of the run, or take all, and records of inquiries."""
    choice = choice_of(log.run, log.root, nonce)
    sums = drawn_sums(choice, log.sums, log.sums if count is None else count)
    return Drawn(
        challenge=AuditChallenge(run=log.run, sums=sums, choice=choice),
        records=drawn_records(choice, log.batches),
    )
