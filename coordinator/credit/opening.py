"""Puts the register of a coordinator's directory together."""

from consortium.credit.triggers import Block
from consortium.figure import FigureKind
from consortium.plan import ModelKind, TrainingPlan
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


def refusal_of(registers: Registers, plan: TrainingPlan) -> str:
    """Why the register lets no such run begin; empty if it does.

    A campaign's looks are no optional reports: without them nothing would halt a bad wave.
    """
    if plan.model is not ModelKind.TABLE:
        return registers.refusal(Block.TRAINING)
    if plan.figure is not None and plan.figure.kind is FigureKind.CAMPAIGN:
        return ""
    return registers.refusal(Block.REPORTS)
