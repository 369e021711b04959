"""Which table releases the manifest allows, and what they may cost (protocol 13.11).

Part of what all members sign: no plan can ask for a kind of figure that is not named here, and
none is named unless the members say so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consortium.errors import ConfigurationError
from consortium.figure import FigureKind
from consortium.plan import decimal

_FIELDS = ("kinds", "run_epsilon", "lifetime_epsilon")


@dataclass(frozen=True, slots=True, kw_only=True)
class FigurePolicy:
    """``policy.figures`` of the manifest. Decimals are strings."""

    kinds: tuple[FigureKind, ...] = ()
    """Sorted; empty: no table is released."""
    run_epsilon: str = "1"
    """Most of one table."""
    lifetime_epsilon: str = "3"
    """Most of all tables of a data epoch: an account beside those of training (4.6)."""


def check_figures(policy: FigurePolicy) -> None:
    """Raise ConfigurationError naming the first field that is not of its form."""
    if list(policy.kinds) != sorted(set(policy.kinds)):
        raise ConfigurationError("figures.kinds: not sorted, or a kind stands twice")
    decimal(policy.run_epsilon, "figures.run_epsilon", low="0.01", high="100")
    decimal(policy.lifetime_epsilon, "figures.lifetime_epsilon", low="0.01", high="100")


def figures_document(policy: FigurePolicy) -> dict[str, object]:
    """The plain form that the manifest holds."""
    return {
        "kinds": [kind.value for kind in policy.kinds],
        "run_epsilon": policy.run_epsilon,
        "lifetime_epsilon": policy.lifetime_epsilon,
    }


def figures_of(plain: Mapping[str, Any]) -> FigurePolicy:
    """Read the table; fields that are missing have their defaults.

    Raises:
        ConfigurationError: an unknown field or kind, or a value of another type.
    """
    if unknown := sorted(set(plain) - set(_FIELDS)):
        raise ConfigurationError(f"figures.{unknown[0]}: no such setting; known: {_FIELDS}")
    default = FigurePolicy()
    names = plain.get("kinds", [])
    texts = {
        name: plain.get(name, getattr(default, name))
        for name in ("run_epsilon", "lifetime_epsilon")
    }
    for name, text in texts.items():
        if not isinstance(text, str):
            raise ConfigurationError(f"figures.{name}: {text!r} is not a decimal in quotes")
    if not isinstance(names, list):
        raise ConfigurationError("figures.kinds: not a list")
    try:
        kinds = tuple(sorted(FigureKind(name) for name in names))
    except ValueError as error:
        known = ", ".join(FigureKind)
        raise ConfigurationError(f"figures.kinds: {error}; known: {known}") from error
    policy = FigurePolicy(kinds=kinds, **texts)
    check_figures(policy)
    return policy
