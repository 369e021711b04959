"""A node's own budget report, as the rehearsal reads it: what was spent, is held, is left.

Each is the output of ``riskweave node budget DIR --json``. In life it stays with the owner.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from consortium.errors import DecodeError


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """One run at one node in one scope; units of 2**-40 mu squared add up."""

    run: str
    epsilon: float
    units: int
    reserved_units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeBudget:
    """One account of one node; the first four are epsilons, which do not add up."""

    scope: str
    """training or holdout."""
    cap: float
    spent: float
    reserved: float
    left: float
    cap_units: int
    left_units: int
    runs: tuple[Spending, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeBudget:
    """Both accounts of one partner."""

    partner: str
    scopes: tuple[ScopeBudget, ...]
    report: Mapping[str, object]
    """As the node printed it."""
    person: Mapping[str, float]
    """Epsilon of all runs together for a person in training, by who colludes."""


def parse_budget(partner: str, text: str) -> NodeBudget:
    """Read a node's report; raise DecodeError if it is none."""
    try:
        report = json.loads(text)
        scopes = tuple(_scope(one) for one in report["scopes"])
        training = next(one for one in report["scopes"] if one["scope"] == "training")
        person = {name: float(found) for name, found in training["by_honest"]["person"].items()}
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise DecodeError(f"budget of {partner}: {type(error).__name__}: {error}") from error
    return NodeBudget(partner=partner, scopes=scopes, report=report, person=person)


def parse_reason(partner: str, text: str) -> str:
    """The reason class that a node's own test of a model leads to; DecodeError if none."""
    try:
        return str(json.loads(text)["reason"])
    except (ValueError, KeyError, TypeError) as error:
        raise DecodeError(f"test by {partner}: {type(error).__name__}: {error}") from error


def _scope(one: Mapping[str, Mapping[str, float]]) -> ScopeBudget:
    figures, units = one["figures"], one["units"]
    return ScopeBudget(
        scope=str(one["scope"]),
        cap=float(figures["cap"]),
        spent=float(figures["spent"]),
        reserved=float(figures["reserved"]),
        left=float(figures["left"]),
        cap_units=int(units["cap"]),
        left_units=int(units["left"]),
        runs=tuple(_run(run) for run in one["runs"]),  # type: ignore[arg-type]
    )


def _run(run: Mapping[str, float]) -> Spending:
    return Spending(
        run=str(run["run"]),
        epsilon=float(run["epsilon"]),
        units=int(run["units"]),
        reserved_units=int(run["reserved_units"]),
    )


def all_runs(budgets: Sequence[NodeBudget]) -> Mapping[str, float]:
    """Of all partners the one that was charged most: what the rehearsal cost a person."""
    return max((one.person for one in budgets), key=lambda one: one["claimed"])
