"""A node's program waits for what is to be voted on, and outlasts its coordinator."""

from consortium.errors import TransportError
from consortium.ids import Digest, RunId
from consortium.messages import ModelEntry
from partner_node.candidates import open_votes, wait


def entry(letter: str, status: str) -> ModelEntry:
    return ModelEntry(
        version=Digest(letter * 64), status=status, run=RunId("a" * 32), created_at=1
    )


def test_only_candidates_without_a_vote_are_open() -> None:
    entries = [entry("a", "active"), entry("b", "candidate"), entry("c", "candidate")]
    assert open_votes(entries, [Digest("b" * 64)]) == (Digest("c" * 64),)


def test_coordinator_that_is_away_is_waited_for() -> None:
    tries = iter((False, True))
    looks, pauses = iter(((), (Digest("c" * 64),))), list[float]()

    def look() -> tuple[Digest, ...]:
        if next(tries, True) is False:
            raise TransportError("away")
        return next(looks)

    assert wait(look, pauses.append) == (Digest("c" * 64),)
    assert pauses == [5.0, 5.0]
