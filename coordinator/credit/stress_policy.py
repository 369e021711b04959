"""What a stress run assumes: reaction, score bands, elasticities nobody has measured yet.

The shipped file holds assumptions and says so; a measured elasticity replaces an assumed one.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from consortium.credit.reading import Table, read_toml
from consortium.credit.shock import TIERS, Bands, Elasticity, Provenance, Reaction, Tier
from consortium.credit.terms import MILLION
from consortium.errors import ConfigurationError, DomainError, ShapeError

_SIGNED = re.compile(r"-?(0(\.[0-9]{1,6})?|1(\.0{1,6})?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class StressPolicy:
    """A file of assumptions. Public."""

    id: str
    version: str
    currency: str
    reaction: Reaction
    decline_pd: float
    bands: Mapping[Tier, Bands]
    elasticities: Mapping[Tier, Elasticity]

    @property
    def cut(self) -> float:
        """Log-odds of bad from which an application is declined."""
        return math.log(self.decline_pd / (1 - self.decline_pd))


def load_policy(path: Path | None) -> StressPolicy:
    """The policy in a file; the shipped one if there is none.

    Raises:
        PolicyError: file, line and field of what is not as it must be.
        ConfigurationError: the file is not to be read.
    """
    if path is None:
        shipped = files("coordinator.credit").joinpath("stress.toml")
        return parse_policy(shipped.read_bytes(), "stress.toml")
    try:
        return parse_policy(path.read_bytes(), path.name)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error


def parse_policy(data: bytes, source: str) -> StressPolicy:
    """Read a policy strictly."""
    top = read_toml(data, source)
    head, approvals = top.table("policy"), top.table("approvals")
    reaction = top.table("reaction")
    kappa = reaction.table("kappa")
    bands, elasticity = top.table("bands"), top.table("elasticity")
    found = StressPolicy(
        id=head.identifier("id"),
        version=head.identifier("version"),
        currency=head.currency("currency"),
        reaction=Reaction(
            kappa={tier: kappa.share(tier) / MILLION for tier in TIERS},
            theta=reaction.share("theta", "10") / MILLION,
            lgd=reaction.share("lgd") / MILLION,
        ),
        decline_pd=float(approvals.decimal("decline_pd")),
        bands={tier: _bands(bands.table(tier)) for tier in TIERS},
        elasticities={tier: _elasticity(elasticity.table(tier)) for tier in TIERS},
    )
    for table in (kappa, reaction, head, approvals, bands, elasticity, top):
        table.done()
    return found


def _bands(table: Table) -> Bands:
    pds = [float(one) for one in table.decimals("pd")]
    shares = tuple(one / MILLION for one in table.shares("share"))
    table.done()
    try:
        return Bands(eta=tuple(math.log(pd / (1 - pd)) for pd in pds), share=shares)
    except (DomainError, ShapeError) as error:
        raise table.refuse("share", list(shares), "a share of each band, 1 together") from error


def _elasticity(table: Table) -> Elasticity:
    value, low, high = (_signed(table, key) for key in ("value", "low", "high"))
    source = table.text("source")
    table.done()
    try:
        return Elasticity(
            value=value, low=low, high=high, provenance=Provenance.ASSUMED, source=source
        )
    except DomainError as error:
        raise table.refuse("value", value, "low <= value <= high") from error


def _signed(table: Table, key: str) -> float:
    text = table.text(key)
    if not _SIGNED.fullmatch(text):
        raise table.refuse(key, text, 'a decimal from -1 to 1 such as "-0.10"')
    return float(text)
