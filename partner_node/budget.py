"""What this node may still spend, for its owner's screen (protocol 4.6).

The owner's caps come from ``node.toml``, the consortium's from the manifest; the smaller
one counts, and nothing that a coordinator sends can raise either.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from consortium.manifest import Policy
from consortium.plan import decimal
from consortium.privacy.accountant import epsilon_of_units, units_of
from consortium.privacy.budget import Account, Figures

SCOPES = ("training", "holdout")
"""Whose rows are spent on: persons in training, and persons held out."""


class Accounts(Protocol):
    """What the report needs of the node's database."""

    def account(self, scope: str, *, cap_units: int, delta: str) -> Account:
        """One scope of the present epoch under the cap given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCharge:
    """What one run was charged in one scope, as an epsilon of its own."""

    run: str
    uploads: int
    epsilon: float
    open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeReport:
    """One account: its figures at person level, and its runs."""

    scope: str
    figures: Figures
    runs: tuple[RunCharge, ...]


def caps(policy: Policy, lifetime_epsilon: str) -> Mapping[str, int]:
    """Units by scope that all runs of an epoch may charge together."""
    own = decimal(lifetime_epsilon, "lifetime_epsilon", low="0", high="100")
    shared = decimal(policy.max_epsilon_lifetime, "lifetime_epsilon", low="0", high="100")
    units = units_of(float(min(own, shared)), float(policy.delta))
    return dict.fromkeys(SCOPES, units)


def report(store: Accounts, policy: Policy, lifetime_epsilon: str) -> tuple[ScopeReport, ...]:
    """Both accounts of the present epoch."""
    reports = []
    for scope, cap in caps(policy, lifetime_epsilon).items():
        account = store.account(scope, cap_units=cap, delta=policy.delta)
        runs = tuple(
            RunCharge(
                run=reserve.run,
                uploads=sum(debit.run == reserve.run for debit in account.debits),
                epsilon=epsilon_of_units(account.charged_by(reserve.run), account.delta),
                open=reserve.is_open,
            )
            for reserve in account.reserves
        )
        reports.append(ScopeReport(scope=scope, figures=account.figures(), runs=runs))
    return tuple(reports)


def lines(reports: tuple[ScopeReport, ...], delta: str) -> list[str]:
    """The report as text; every epsilon is a person's, at the delta named."""
    found = [f"epsilon of one person at delta {delta}; epsilons do not add up, mu squared does"]
    for one in reports:
        figures = one.figures
        found.append(
            f"{one.scope}: spent {figures.spent}, reserved {figures.reserved}, "
            f"left {figures.left} of {figures.cap}"
        )
        found += [
            f"  run {run.run}: {run.uploads} uploads, epsilon {run.epsilon}"
            + (", still open" if run.open else "")
            for run in one.runs
        ]
    return found
