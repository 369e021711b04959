"""What a release must pass before it is served, as the manifest says it (protocol 13.9).

The ranges are part of what all members sign: a coordinator cannot loosen them for one model.
The figures that they are applied to are computed in ``consortium/credit/gate.py``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from fractions import Fraction
from typing import Any

from consortium.errors import ConfigurationError
from consortium.plan import decimal


class AuditRule(StrEnum):
    """Whether a release needs an empirical audit of its software (protocol 9.3)."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    IF_CODE_IS_NAMED = "if_code_is_named"
    """Required where the manifest names the software that may train, which is what a
    federation in production does; a rehearsal from a source tree names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePolicy:
    """Ranges of the release gate. Decimals are strings."""

    least_in_the_large: str = "0.9"
    """Expected over observed bads, from this."""
    most_in_the_large: str = "1.1"
    least_slope: str = "0.8"
    most_slope: str = "1.2"
    least_rows: int = 1000
    """Persons of a noisy table or stratum from which on it is assessed."""
    most_partner: str = "0.5"
    """Largest share of the joint score's variance that one partner may carry."""
    most_family: str = "0.7"
    tolerance: str = "0.05"
    """Half width of a share's interval up to which its value alone decides."""
    decline_pd: str = "0.2"
    """PD from which on a person counts as declined where reasons are compared."""
    least_declined: int = 50
    """Declined persons of a node from which on it compares their reasons."""
    least_agreement: str = "0.8"
    """Declined persons whose first reason must be the same after another training."""
    most_changes: str = "0.03"
    """Decisions that may change with another training."""
    retrainings: int = 5
    """Other trainings that each node compares with."""
    unstable_votes: int = 1
    """Refusing votes for unstable reasons that stop a release."""
    empirical_audit: AuditRule = AuditRule.IF_CODE_IS_NAMED

    def needs_audit(self, *, code_is_named: bool) -> bool:
        """Whether a release without an empirical audit is refused."""
        if self.empirical_audit is AuditRule.IF_CODE_IS_NAMED:
            return code_is_named
        return self.empirical_audit is AuditRule.REQUIRED

    def number(self, name: str) -> Fraction:
        """A field's value, exactly."""
        low, high = DECIMALS[name]
        return decimal(getattr(self, name), f"gate.{name}", low=low, high=high)


DECIMALS: Mapping[str, tuple[str, str]] = {
    "least_in_the_large": ("0.01", "1"),
    "most_in_the_large": ("1", "10"),
    "least_slope": ("0.01", "1"),
    "most_slope": ("1", "10"),
    "most_partner": ("0.01", "1"),
    "most_family": ("0.01", "1"),
    "tolerance": ("0.001", "1"),
    "decline_pd": ("0.001", "0.999"),
    "least_agreement": ("0", "1"),
    "most_changes": ("0", "1"),
}
"""Bounds of the decimal fields."""

WHOLE: Mapping[str, tuple[int, int]] = {
    "least_rows": (1, 10**9),
    "least_declined": (1, 10**9),
    "retrainings": (1, 20),
    "unstable_votes": (1, 1024),
}
"""Bounds of the whole numbers."""


def check_gate(policy: GatePolicy) -> None:
    """Raise ConfigurationError naming the first field that is outside its bounds."""
    for name in DECIMALS:
        policy.number(name)
    for name, (low, high) in WHOLE.items():
        value = getattr(policy, name)
        if type(value) is not int or not low <= value <= high:
            raise ConfigurationError(f"gate.{name}: {value!r} is not from {low} to {high}")


def gate_document(policy: GatePolicy) -> dict[str, object]:
    """The plain form that the manifest holds."""
    plain: dict[str, object] = {}
    for field in fields(policy):
        value = getattr(policy, field.name)
        plain[field.name] = value.value if isinstance(value, AuditRule) else value
    return plain


def gate_of(plain: Mapping[str, Any]) -> GatePolicy:
    """Read the table; fields that are missing have their defaults.

    Raises:
        ConfigurationError: an unknown field, or a value of another type or outside its
            bounds; naming it.
    """
    known = {field.name for field in fields(GatePolicy)}
    if unknown := sorted(set(plain) - known):
        raise ConfigurationError(f"gate.{unknown[0]}: no such setting; known: {sorted(known)}")
    values: dict[str, Any] = dict(plain)
    for name in DECIMALS:
        if not isinstance(values.get(name, ""), str):
            raise ConfigurationError(
                f"gate.{name}: {values[name]!r} is not a decimal in quotes"
            )
    if "empirical_audit" in values:
        try:
            values["empirical_audit"] = AuditRule(values["empirical_audit"])
        except ValueError as error:
            rules = ", ".join(rule.value for rule in AuditRule)
            text = f"gate.empirical_audit: {values['empirical_audit']!r} is none of {rules}"
            raise ConfigurationError(text) from error
    policy = GatePolicy(**values)
    check_gate(policy)
    return policy
