"""Puts the register of a coordinator's directory together."""

from coordinator import wiring
from coordinator.credit.governing import Governing
from coordinator.credit.register import Registers
from coordinator.wiring import Desk


def registers_of(desk: Desk, governing: Governing | None = None) -> Registers:
    """The risk register over a coordinator's records."""
    return Registers(
        desk.store,
        governing or Governing(desk.store, desk.log),
        manifest=desk.membership.current,
        now=wiring.now,
    )
