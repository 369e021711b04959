"""Drawing what is to be replayed, from the regulator's mirror or from a bundle (9.4.1, 9.4.2).

The bytes that go into a choice are committed to in the log beforehand, are opened with the
challenge, and the head that goes into it is named by others. So nobody, the regulator among
them, can choose which sums, decisions and records of inquiries are looked at.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from consortium.crypto.keys import Secret
from consortium.errors import ConfigurationError, OutOfOrderError
from consortium.ids import Digest, PartnerId, RunId
from consortium.ledger.bodies import BANDS, AuditNonce, DecisionBatch, DecisionChallenge
from consortium.ledger.coins import Coin, Coins
from consortium.ledger.draws import choice_of, drawn_records, drawn_sums, nonce_commitment
from consortium.ledger.entries import AuditChallenge, ScoreBatch, from_jcs
from consortium.ledger.merkle import Tree, leaf_hash
from consortium.ledger.run_bodies import RoundSum, RunClosed
from regulator.files import read_file, write_file

_DRAW = b'"type":"decision.challenge"'


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
class Wish:
    """What is to be drawn."""

    run: RunId | None = None
    """None: the one that was closed last; but no run at all if decisions are drawn."""
    sums: int | None = None
    """How many; None: all."""
    decisions: int = 0
    """How many of each batch."""
    batches: int = 1
    """Of each partner: the newest that were not drawn from, without those of no decisions."""

    @property
    def of_run(self) -> bool:
        """Whether sums are drawn."""
        return self.run is not None or not self.decisions


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A challenge, what it rests on, and the records that its choice opens."""

    challenge: AuditChallenge | DecisionChallenge
    about: str
    """What is audited, for whoever looks on."""
    coin: Coin
    root: bytes
    """Of the coin's head."""
    records: tuple[tuple[int, int], ...]


def drawn_batches(entries: Iterable[bytes], regulator: PartnerId) -> frozenset[Digest]:
    """Batches that a regulator's challenges are of, by leaf hash."""
    parsed = [from_jcs(data) for data in entries if _DRAW in data]
    return frozenset(
        one.body.batch
        for one in parsed
        if isinstance(one.body, DecisionChallenge) and one.actor == regulator
    )


class LogToDraw:
    """A log under its newest head that counts, as it is drawn from."""

    def __init__(
        self,
        entries: Sequence[bytes],
        regulator: PartnerId,
        drawn: frozenset[Digest] = frozenset(),
    ) -> None:
        """Over the entries from the log's beginning; all of them under that head.

        Batches in ``drawn`` are not drawn from again, whether the log shows it yet or not.
        """
        self._drawn = drawn | drawn_batches(entries, regulator)
        self._leaves = [leaf_hash(data) for data in entries]
        self._entries = dict(enumerate(map(from_jcs, entries)))
        self._regulator = regulator
        self._tree = Tree(self._leaves)
        self._coins = Coins(self._entries)

    def draw(self, wish: Wish, nonces: Nonces) -> tuple[Drawn, ...]:
        """All challenges of a wish.

        Raises:
            OutOfOrderError: there is nothing to draw from, or its coin is not fixed yet.
            ConfigurationError: the bytes of this directory are not those committed to.
        """
        runs = [self._of_run(wish, nonces)] if wish.of_run else []
        return (*runs, *(self._of_decisions(wish, nonces) if wish.decisions else ()))

    def _of_run(self, wish: Wish, nonces: Nonces) -> Drawn:
        ends = [
            (index, entry.body.run)
            for index, entry in self._entries.items()
            if isinstance(entry.body, RunClosed) and wish.run in {None, entry.body.run}
        ]
        if not ends:
            raise OutOfOrderError(
                f"no run{'' if wish.run is None else f' {wish.run}'} is closed under a head "
                "that counts; wait until the witnesses have cosigned its end"
            )
        over, run = ends[-1]
        coin = self._coins.of(over, self._regulator)
        if coin is None:
            raise OutOfOrderError(
                f"the coin of run {run} is not fixed: nobody else has said anything yet that "
                f"rests on a head over entry {over}"
            )
        root, choice = self._choice(run, coin, nonces)
        closed = sum(
            isinstance(one.body, RoundSum) and one.body.request.run == run
            for one in self._entries.values()
        )
        sums = drawn_sums(choice, closed, closed if wish.sums is None else wish.sums)
        return Drawn(
            challenge=AuditChallenge(run=run, sums=sums, choice=choice),
            about=f"run {run}, closed at entry {over}, {closed} sums",
            coin=coin,
            root=root,
            records=drawn_records(choice, self._inquiries(coin.size)),
        )

    def _of_decisions(self, wish: Wish, nonces: Nonces) -> Iterator[Drawn]:
        waiting, found = 0, 0
        for index, batch, member in self._batches(wish.batches):
            coin = self._coins.of(index, self._regulator)
            if coin is None:
                waiting += 1
                continue
            found += 1
            leaf = Digest(self._leaves[index].hex())
            root, choice = self._choice(leaf, coin, nonces)
            yield Drawn(
                challenge=DecisionChallenge(batch=leaf, places=wish.decisions, choice=choice),
                about=f"{member}, batch {batch.number} at entry {index}: {batch.decisions}",
                coin=coin,
                root=root,
                records=drawn_records(choice, self._inquiries(coin.size)),
            )
        if not found:
            raise OutOfOrderError(
                f"the coin of {waiting} batches of decisions is not fixed: nobody else has "
                "said anything yet that rests on a head over them"
                if waiting
                else "no batch of decisions is in the log that was not drawn from"
            )

    def _batches(self, newest: int) -> Iterator[tuple[int, DecisionBatch, PartnerId]]:
        """The newest batches of each partner that hold decisions and were not drawn from."""
        by_member: dict[PartnerId, list[tuple[int, DecisionBatch]]] = {}
        for index, entry in self._entries.items():
            body = entry.body
            if isinstance(body, DecisionBatch) and body.decisions != BANDS[0]:
                by_member.setdefault(entry.actor, []).append((index, body))
        for member, batches in sorted(by_member.items()):
            for index, body in batches[-newest:]:
                if Digest(self._leaves[index].hex()) not in self._drawn:
                    yield index, body, member

    def _choice(
        self, audited: RunId | Digest, coin: Coin, nonces: Nonces
    ) -> tuple[bytes, Digest]:
        """Root of the coin's head, and the seed of the choice."""
        nonce = nonces.nonce(coin.number)
        if coin.number > nonces.number or nonce_commitment(nonce) != coin.commitment:
            raise ConfigurationError(
                f"commitment {coin.number} in the log is not of this directory: draws.json or "
                "the key was restored from elsewhere"
            )
        root = self._tree.root(coin.size)
        return root, choice_of(audited, root, nonce)

    def _inquiries(self, size: int) -> list[tuple[int, int]]:
        return [
            (entry.body.second, entry.body.count)
            for index, entry in self._entries.items()
            if index < size and isinstance(entry.body, ScoreBatch)
        ]
