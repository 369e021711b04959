"""What may follow what in one attempt, as two tables (protocol 3.3, 3.4, 3.6).

A machine lives for one attempt. An event that is not in the row of its state is refused, so
no order of messages leads to an upload that did not go through a checked set of JOINs.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from consortium.errors import OutOfOrderError


class PartnerState(StrEnum):
    """Where a partner is in one attempt."""

    IDLE = "idle"
    JOINED = "joined"
    """Its JOIN is made; store it, then send it."""
    AGREED = "agreed"
    """All JOINs are checked and the pair keys made."""
    UPLOADED = "uploaded"
    """Its words are made. Nothing follows: a second mask would undo the first."""
    REFUSED = "refused"


class PartnerEvent(StrEnum):
    """What happens to a partner."""

    PROPOSAL = "proposal"
    JOINS = "joins"
    MASK = "mask"
    REFUSAL = "refusal"


class AggregatorState(StrEnum):
    """Where the coordinator is in one attempt."""

    COLLECTING_JOINS = "collecting_joins"
    COLLECTING_UPLOADS = "collecting_uploads"
    SUMMED = "summed"
    """All uploads are in."""
    ABORTED = "aborted"


class AggregatorEvent(StrEnum):
    """What happens to the coordinator."""

    JOIN = "join"
    LAST_JOIN = "last_join"
    UPLOAD = "upload"
    LAST_UPLOAD = "last_upload"
    ABORT = "abort"


PARTNER: Mapping[PartnerState, Mapping[PartnerEvent, PartnerState]] = {
    PartnerState.IDLE: {
        PartnerEvent.PROPOSAL: PartnerState.JOINED,
        PartnerEvent.REFUSAL: PartnerState.REFUSED,
    },
    PartnerState.JOINED: {
        PartnerEvent.JOINS: PartnerState.AGREED,
        PartnerEvent.REFUSAL: PartnerState.REFUSED,
    },
    PartnerState.AGREED: {
        PartnerEvent.MASK: PartnerState.UPLOADED,
        PartnerEvent.REFUSAL: PartnerState.REFUSED,
    },
    PartnerState.UPLOADED: {},
    PartnerState.REFUSED: {},
}

AGGREGATOR: Mapping[AggregatorState, Mapping[AggregatorEvent, AggregatorState]] = {
    AggregatorState.COLLECTING_JOINS: {
        AggregatorEvent.JOIN: AggregatorState.COLLECTING_JOINS,
        AggregatorEvent.LAST_JOIN: AggregatorState.COLLECTING_UPLOADS,
        AggregatorEvent.ABORT: AggregatorState.ABORTED,
    },
    AggregatorState.COLLECTING_UPLOADS: {
        AggregatorEvent.UPLOAD: AggregatorState.COLLECTING_UPLOADS,
        AggregatorEvent.LAST_UPLOAD: AggregatorState.SUMMED,
        AggregatorEvent.ABORT: AggregatorState.ABORTED,
    },
    AggregatorState.SUMMED: {},
    AggregatorState.ABORTED: {},
}

_State = TypeVar("_State", bound=StrEnum)
_Event = TypeVar("_Event", bound=StrEnum)


def after(
    table: Mapping[_State, Mapping[_Event, _State]], state: _State, event: _Event
) -> _State:
    """The state after ``event``, or OutOfOrderError if it may not follow in ``state``."""
    row = table[state]
    if event not in row:
        raise OutOfOrderError(f"{event.value} in state {state.value}")
    return row[event]
