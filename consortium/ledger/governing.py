"""Bodies of entries about campaigns, the risk register, the charter and contributions.

As ``bodies``: what is not in a class is in no entry. What they lead to is folded from the
entries in the log's order, by whoever has them: operator, node or auditor.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

from consortium.credit.governance import Charter
from consortium.credit.triggers import Acted, Waiver
from consortium.credit.waves import Campaign, CampaignOrder, CampaignPlan, start, step
from consortium.errors import OutOfOrderError
from consortium.ids import Digest, PartnerId
from consortium.manifest import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignPlanned:
    """The operator lays a restart campaign before everybody; nothing is offered yet."""

    plan: CampaignPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignOrdered:
    """A campaign moves: by a released table, or by a person of a role."""

    order: CampaignOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterActed:
    """The owner of a red trigger has done something about it."""

    act: Acted


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterWaived:
    """A red trigger is lived with until a day."""

    waiver: Waiver


@dataclass(frozen=True, slots=True, kw_only=True)
class CharterProposed:
    """The text that partners are asked to agree to."""

    charter: Charter


@dataclass(frozen=True, slots=True, kw_only=True)
class CharterAgreed:
    """A partner agrees to a charter of this digest, in its own name."""

    charter: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ContributionStated:
    """What each partner's part in a version was worth.

    The statement is elsewhere, and need not be anywhere: it follows from the tables, their
    plans and the day, so whoever has the log computes it again (governance 3.5).
    """

    version: Digest
    statement: Digest
    tables: tuple[Digest, ...]
    """Release ids of the tables of contributions, in the order of the looks."""
    hanging: Digest | None
    """Release id of a table of dependence."""
    on: date
    """The day on which the last of the tables was released."""


GoverningBody = (
    CampaignPlanned
    | CampaignOrdered
    | RegisterActed
    | RegisterWaived
    | CharterProposed
    | CharterAgreed
    | ContributionStated
)

_OPERATOR = frozenset({Role.COORDINATOR})

GOVERNING_TYPES: Mapping[str, type[GoverningBody]] = {
    "campaign.planned": CampaignPlanned,
    "campaign.ordered": CampaignOrdered,
    "register.acted": RegisterActed,
    "register.waived": RegisterWaived,
    "charter.proposed": CharterProposed,
    "charter.agreed": CharterAgreed,
    "contribution.stated": ContributionStated,
}

GOVERNING_ACTORS: Mapping[type[object], frozenset[Role]] = {
    CampaignPlanned: _OPERATOR,
    CampaignOrdered: _OPERATOR,
    RegisterActed: _OPERATOR,
    RegisterWaived: _OPERATOR,
    CharterProposed: _OPERATOR,
    CharterAgreed: frozenset({Role.PARTNER}),
    ContributionStated: _OPERATOR,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A campaign with all that was ordered."""

    plan: CampaignPlan
    orders: tuple[CampaignOrder, ...]
    now: Campaign


@dataclass(slots=True)
class Governed:
    """What a log's entries of these types come to, one after the other."""

    campaigns: dict[str, Running] = field(default_factory=dict)
    acts: list[Acted] = field(default_factory=list)
    waivers: list[Waiver] = field(default_factory=list)
    charters: list[Charter] = field(default_factory=list)
    agreed: dict[Digest, set[PartnerId]] = field(default_factory=dict)
    statements: list[ContributionStated] = field(default_factory=list)

    def take(self, body: GoverningBody, actor: PartnerId) -> None:
        """Take up one more entry.

        Raises:
            OutOfOrderError: a campaign of a name twice, an order that does not follow, a
                charter that does not follow the one before, or an agreement to none that was
                proposed. Nothing is changed.
            DomainError: an order that nobody, or the wrong party, has decided.
        """
        match body:
            case CampaignPlanned():
                self._plan(body.plan)
            case CampaignOrdered():
                self._order(body.order)
            case RegisterActed():
                self.acts.append(body.act)
            case RegisterWaived():
                self.waivers.append(body.waiver)
            case CharterProposed():
                self._propose(body.charter)
            case CharterAgreed():
                self._agree(body.charter, actor)
            case ContributionStated():
                self.statements.append(body)

    def _plan(self, plan: CampaignPlan) -> None:
        if plan.name in self.campaigns:
            raise OutOfOrderError(f"there is a campaign {plan.name}")
        self.campaigns[plan.name] = Running(plan=plan, orders=(), now=start(plan))

    def _order(self, order: CampaignOrder) -> None:
        known = self.campaigns.get(order.campaign)
        if known is None:
            raise OutOfOrderError(f"no campaign {order.campaign}")
        now = step(known.plan, known.now, order)
        self.campaigns[order.campaign] = Running(
            plan=known.plan, orders=(*known.orders, order), now=now
        )

    def _propose(self, charter: Charter) -> None:
        last = self.charters[-1] if self.charters else None
        follows = (0, None) if last is None else (last.version, last.digest)
        if (charter.version - 1, charter.previous) != follows:
            raise OutOfOrderError("a charter names the version and digest of the one before")
        self.charters.append(charter)

    def _agree(self, charter: Digest, actor: PartnerId) -> None:
        if charter not in {one.digest for one in self.charters}:
            raise OutOfOrderError("an agreement to a charter that was not proposed")
        self.agreed.setdefault(charter, set()).add(actor)


def governed(said: Iterable[tuple[GoverningBody, PartnerId]]) -> Governed:
    """What entries come to, oldest first; raises as ``Governed.take``."""
    found = Governed()
    for body, actor in said:
        found.take(body, actor)
    return found
