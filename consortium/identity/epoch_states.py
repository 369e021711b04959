"""What may follow what in a key ceremony, as one table (protocol 6.3).

A machine lives for one attempt. An event that is not in the row of its state is refused, so
no order of messages leads to a signed key whose polynomials were not committed to first.
"""

from collections.abc import Mapping
from enum import StrEnum


class EpochState(StrEnum):
    """Where a member is in one ceremony."""

    IDLE = "idle"
    COMMITTED = "committed"
    REVEALED = "revealed"
    CONFIRMED = "confirmed"
    """It signed the keys; its share waits for the others' signatures."""
    INSTALLED = "installed"
    ABORTED = "aborted"


class EpochEvent(StrEnum):
    """What happens to a member."""

    OFFER = "offer"
    COMMITS = "commits"
    REVEALS = "reveals"
    RECORD = "record"
    REFUSAL = "refusal"


EPOCH: Mapping[EpochState, Mapping[EpochEvent, EpochState]] = {
    EpochState.IDLE: {
        EpochEvent.OFFER: EpochState.COMMITTED,
        EpochEvent.REFUSAL: EpochState.ABORTED,
    },
    EpochState.COMMITTED: {
        EpochEvent.COMMITS: EpochState.REVEALED,
        EpochEvent.REFUSAL: EpochState.ABORTED,
    },
    EpochState.REVEALED: {
        EpochEvent.REVEALS: EpochState.CONFIRMED,
        EpochEvent.REFUSAL: EpochState.ABORTED,
    },
    EpochState.CONFIRMED: {
        EpochEvent.RECORD: EpochState.INSTALLED,
        EpochEvent.REFUSAL: EpochState.ABORTED,
    },
    EpochState.INSTALLED: {},
    EpochState.ABORTED: {},
}
