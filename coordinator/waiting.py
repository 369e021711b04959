"""What ``riskweave coordinator wait`` waits for: one process that looks now and then."""

from collections.abc import Callable
from enum import StrEnum

from consortium.errors import TransportError
from consortium.ids import PartnerId
from coordinator import commands, control, wiring

LOOK_S = 2.0


class Goal(StrEnum):
    """What is counted."""

    JOINED = "joined"
    """Members that have enrolled, regulators too."""
    CONNECTED = "connected"
    """Partners with both streams up, once the manifest is in force."""
    ACTIVE = "active"
    """Models and heads in use."""
    COSIGNED = "cosigned"
    """Members that have cosigned all that is in the log now; what others act on is under it."""


def count(desk: wiring.Desk, goal: Goal) -> int:
    """How many there are now; 0 while no process serves."""
    match goal:
        case Goal.JOINED:
            return len(desk.store.members.all())
        case Goal.ACTIVE:
            return sum(row.status == "active" for row in desk.store.models.all())
        case Goal.COSIGNED:
            return len(commands.cosigners(desk))
        case Goal.CONNECTED:
            try:
                seen = control.fetch_status(desk.config.control_socket)
            except TransportError:
                return 0
            up = sum(one.training and one.scoring for one in seen.partners)
            return up if seen.manifest_complete else 0


def invited(desk: wiring.Desk) -> frozenset[PartnerId]:
    """Who has a join token that is still good."""
    now = wiring.now()
    return frozenset(
        one.partner
        for one in desk.store.members.tokens()
        if one.used_at is None and now < one.expires
    )


def wait(
    look: Callable[[], int], least: int, pause: Callable[[float], None], *, seconds: float
) -> int:
    """Look every 2 s until there are ``least``; returns how many there are.

    Raises:
        TransportError: there are fewer after ``seconds``.
    """
    waited = 0.0
    while (seen := look()) < least:
        if waited >= seconds:
            raise TransportError(f"{seen} of {least} after {seconds:g} s")
        pause(LOOK_S)
        waited += LOOK_S
    return seen
