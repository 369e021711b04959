"""Opacus' accountant on the claim of a privacy statement: one more witness (protocol 4.7).

The statement carries the closed form and the two accountants of dp-accounting, which the
coordinator has. Opacus comes with torch, so it is asked where torch is: at the nodes and in a
rehearsal. Whoever has Opacus needs nothing but the statement.
"""

from collections.abc import Mapping

from opacus.accountants.analysis.rdp import compute_rdp, get_privacy_spent

from consortium.errors import DecodeError, TrustError
from consortium.privacy.accountant import mu_of
from consortium.privacy.witnesses import RDP_ORDERS

FIGURES = ("closed_form", "pld", "rdp")
_TOLERANCE = 0.01
"""Two accountants of the same kind agree to less than this, relative (protocol 4.7)."""


def opacus_epsilon(mu: float, delta: float) -> float:
    """Epsilon of a Gaussian release of total ``mu`` by Opacus' Renyi accountant."""
    orders = list(RDP_ORDERS)
    rdp = compute_rdp(q=1.0, noise_multiplier=1 / mu, steps=1, orders=orders)
    epsilon, _ = get_privacy_spent(orders=orders, rdp=rdp, delta=delta)
    return float(epsilon)


def witnesses_of(statement: Mapping[str, object]) -> dict[str, str]:
    """The statement's accountants with Opacus' figure; empty where nothing was claimed.

    Raises:
        TrustError: Opacus' figure is below the claim, or not that of the other Renyi
            accountant. The statement is then not to be believed.
        DecodeError: the statement has no such figures.
    """
    found = statement.get("accountants")
    if found == {}:
        return {}
    if not isinstance(found, Mapping):
        raise DecodeError("statement: no accountants")
    try:
        exact, _, rdp = (float(found[name]) for name in FIGURES)
        delta = float(str(statement["delta"]))
        seen = opacus_epsilon(mu_of(exact, delta), delta)
    except (KeyError, TypeError, ValueError) as error:
        raise DecodeError(f"statement: accountants: {type(error).__name__}") from error
    if seen < exact * (1 - _TOLERANCE) or abs(seen - rdp) > _TOLERANCE * rdp:
        raise TrustError(f"accountants disagree: exact {exact}, RDP {rdp}, Opacus {seen:.4f}")
    return {name: str(text) for name, text in found.items()} | {"opacus_rdp": f"{seen:.4f}"}
