"""A campaign's plan as an operator writes it: TOML in, the signed document out."""

import tomllib
from collections.abc import Mapping
from datetime import date
from typing import Any

from consortium.credit.policy import StopRule
from consortium.credit.terms import MILLION, Ppm, parse_ppm
from consortium.credit.waves import WAVES, CampaignPlan
from consortium.errors import ConfigurationError, DomainError, IdentifierError
from consortium.ids import parse_partner_id

_CAMPAIGN = {
    "name",
    "lenders",
    "closed_from",
    "closed_to",
    "begins",
    "waves",
    "holdout_percent",
    "look_days",
    "epsilon",
    "synthetic",
}
_STOP = {
    "fpd30_plan",
    "ratio",
    "alpha",
    "beta",
    "least_accounts",
    "most_accounts",
    "looks",
    "holdout_margin",
}
_MANY = 10**9


def parse_campaign(text: str, *, delta: str, source: str = "campaign") -> CampaignPlan:
    """The plan of a file; what is missing has the defaults of credit 4.17.

    Args:
        text: TOML with [campaign] and [stop].
        delta: The manifest's.
        source: Named in errors.

    Raises:
        ConfigurationError: not TOML, an unknown or missing key, or a value that cannot be.
    """
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{source}: {error}") from error
    campaign, stop = found.pop("campaign", {}), found.pop("stop", {})
    for name, table, known in (("campaign", campaign, _CAMPAIGN), ("stop", stop, _STOP)):
        if not isinstance(table, dict) or (odd := sorted(set(table) - known)):
            raise ConfigurationError(f"{source}: [{name}]: unknown key {odd[0]!r}")
    if found:
        raise ConfigurationError(f"{source}: unknown table {min(found)!r}")
    try:
        return _plan(campaign, stop, delta)
    except (DomainError, IdentifierError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{source}: {error}") from error


def _plan(campaign: Mapping[str, Any], stop: Mapping[str, Any], delta: str) -> CampaignPlan:
    return CampaignPlan(
        name=_typed(campaign, "name", str),
        lenders=tuple(sorted(map(parse_partner_id, _typed(campaign, "lenders", list)))),
        closed_from=_typed(campaign, "closed_from", date),
        closed_to=_typed(campaign, "closed_to", date),
        begins=_typed(campaign, "begins", date),
        percents=tuple(campaign.get("waves", WAVES)),
        holdout_percent=_whole(campaign, "holdout_percent", 10),
        stop=StopRule(
            fpd30_plan=_share(stop, "fpd30_plan", None),
            ratio=_share(stop, "ratio", "2"),
            alpha=_share(stop, "alpha", "0.05"),
            beta=_share(stop, "beta", "0.10"),
            least_accounts=_whole(stop, "least_accounts", 50),
            most_accounts=_whole(stop, "most_accounts", 20_000),
            looks=_whole(stop, "looks", 3),
            holdout_margin=_share(stop, "holdout_margin", "0.01"),
        ),
        look_days=_whole(campaign, "look_days", 30),
        epsilon=_typed(campaign, "epsilon", str),
        delta=delta,
        synthetic=campaign.get("synthetic", False) is True,
    )


def _typed(table: Mapping[str, Any], name: str, kind: type) -> Any:  # noqa: ANN401 - as asked
    value = table.get(name)
    if type(value) is not kind:
        raise DomainError(f"{name}: expected a {kind.__name__}")
    return value


def _whole(table: Mapping[str, Any], name: str, default: int) -> int:
    value = table.get(name, default)
    if type(value) is not int or not 0 <= value <= _MANY:
        raise DomainError(f"{name}: expected a whole number")
    return value


def _share(table: Mapping[str, Any], name: str, default: str | None) -> Ppm:
    value = table.get(name, default)
    if not isinstance(value, str):
        raise DomainError(f"{name}: expected a decimal in quotes")
    found = parse_ppm(value)
    if found > 100 * MILLION:
        raise DomainError(f"{name}: too large")
    return found
