"""A restart campaign at this partner: who is in it, who is offered what, what became of them.

The operator's orders come from the log, are checked there, and say only which wave runs. Tiers
are placed, lines reinstated, ladders offered and cases opened by what is here already
(``path``); this file draws waves and hold-out, and counts. Nothing of it leaves but the cells
of a table, with noise.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from types import MappingProxyType

from consortium.credit.figures import Entry
from consortium.credit.restart import Tier, in_holdout, wave_of
from consortium.credit.waves import HELD, Arm, Campaign, CampaignPlan, Fate
from consortium.documents import value_of
from consortium.errors import (
    DecodeError,
    DomainError,
    NotFoundError,
    OutOfOrderError,
)
from consortium.ids import PartnerId, PersonToken
from consortium.ledger.governing import Running
from partner_node.credit import storage_campaign
from partner_node.credit.application import DeskService
from partner_node.credit.path import PathDesk, Restart
from partner_node.credit.storage_campaign import Member

MOST = 1_000_000
"""Lines that one call may enrol."""

_AT_ONCE = 500
"""Members that are offered to in one transaction."""
_DONE = ""
_ARMS = tuple(Arm)
_FATES = tuple(Fate)
_NEXT: Mapping[Fate | None, frozenset[Fate]] = MappingProxyType(
    {
        Fate.OFFERED: frozenset({Fate.ACCEPTED, Fate.DRAWN, Fate.PAID, Fate.FPD30}),
        Fate.ACCEPTED: frozenset({Fate.DRAWN, Fate.PAID, Fate.FPD30}),
        Fate.DRAWN: frozenset({Fate.PAID, Fate.FPD30}),
        Fate.PAID: frozenset({Fate.LATER30}),
        None: frozenset({Fate.PAID, Fate.LATER30}),
    }
)
"""What may become of a member; what is not here is refused. None: watched, not offered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """One closed line of the cohort, as this partner knows it. Private."""

    line: str
    """Placed before (``desk restart``)."""
    person: str = field(repr=False)
    closed_on: date


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignPorts:
    """The surroundings of a campaign at a desk."""

    service: DeskService
    partner: PartnerId
    campaigns: Callable[[], Mapping[str, Running]]
    """What the log's cosigned orders come to; raises RefusalError without a fresh head."""
    token: Callable[[str], PersonToken | None]
    """Of a person's identifier, if this node has one; PersonError."""


def enrolled_of(plain: object) -> tuple[Enrolled, ...]:
    """The lines of parsed JSON; DecodeError names the field."""
    if not isinstance(plain, list) or len(plain) > MOST:
        raise DecodeError(f"a cohort is a list of at most {MOST} lines")
    return tuple(value_of(Enrolled, one) for one in plain)


def fates_of(plain: object) -> dict[str, Fate]:
    """Outcomes of parsed JSON, line -> fate; DecodeError."""
    if not isinstance(plain, dict) or len(plain) > MOST:
        raise DecodeError("outcomes are an object, line -> what became of it")
    return {str(line): value_of(Fate, fate) for line, fate in plain.items()}


class CampaignDesk:
    """Carries out campaigns; safe to use from any thread and process."""

    def __init__(self, ports: CampaignPorts) -> None:
        self._ports = ports
        self._store = ports.service.ports.store
        self._path = PathDesk(ports.service)

    # --- the cohort ---------------------------------------------------------------------------

    def enrol(self, name: str, lines: Sequence[Enrolled]) -> Counter[str]:
        """Draw wave and hold-out of each line; how many of each kind. Private.

        Of a person with several lines the one with the highest old limit counts. Once the
        first wave has opened nobody comes in any more: a cohort is closed.

        Raises:
            NotFoundError: no such campaign in the log.
            DomainError: this partner is none of its lenders.
            OutOfOrderError: the first wave has opened, or the campaign is over.
        """
        running = self._running(name)
        if running.now.turn or running.now.is_over:
            raise OutOfOrderError("the cohort is closed: its first wave has opened")
        found: Counter[str] = Counter()
        drawn = [self._drawn(running.plan, one, found) for one in lines]
        placed = [one for one in drawn if one is not None]
        placed.sort(key=lambda one: (-one[1], one[0].line))
        with self._store.transaction() as connection:
            for member, _ in placed:
                is_new = storage_campaign.keep_member(connection, member)
                found[f"tier_{member.tier}" if is_new else "known_already"] += 1
        return found

    def _drawn(
        self, plan: CampaignPlan, one: Enrolled, found: Counter[str]
    ) -> tuple[Member, int] | None:
        if not plan.closed_from <= one.closed_on <= plan.closed_to:
            found["closed_at_another_time"] += 1
            return None
        placed = self._placed(one.line)
        if placed is None:
            found["not_placed"] += 1
            return None
        token = self._ports.token(one.person)
        if token is None:
            found["without_token"] += 1
            return None
        ports = self._ports.service.ports
        member = Member(
            campaign=plan.name,
            line=one.line,
            subject=ports.subject(one.person),
            tier=placed.tier,
            wave=wave_of(plan.name, token, plan.percents),
            held=in_holdout(plan.name, token, plan.holdout_percent),
            turn=0,
            fate=None,
            at=ports.now(),
        )
        return member, placed.old_limit

    # --- a wave -------------------------------------------------------------------------------

    def offer(self, name: str) -> Counter[str]:
        """Offer to members of the wave that runs; how many of each kind. Again: the rest.

        Who is held out, and tier C, is watched from now on. Tier D is offered nothing.

        Raises:
            OutOfOrderError: no wave runs: it is planned, halted, in review, or all is over.
            RefusalError: there is no fresh cosigned head, so a halt might be missed.
        """
        running = self._running(name)
        now = running.now
        if not now.may_offer or self._ports.service.today() < running.plan.begins:
            raise OutOfOrderError(
                f"campaign {name}: the wave is {now.state}, nothing is offered"
            )
        with self._store.reading() as connection:
            due = storage_campaign.members(connection, name, now.at)
        found: Counter[str] = Counter()
        for start in range(0, len(due), _AT_ONCE):
            told = [self._told(one, now) for one in due[start : start + _AT_ONCE]]
            # A ladder that was offered before a crash is offered again, and is the same one.
            with self._store.transaction() as connection:
                for how, member in told:
                    found[how] += how != _DONE
                    if member is not None:
                        storage_campaign.change_member(connection, member)
        return +found

    def _told(self, member: Member, now: Campaign) -> tuple[str, Member | None]:
        """Offer to one member: how it went, and the member as it is then if that is new.

        Who is held out is watched only if it would have been offered: the two are compared.
        """
        if member.turn:
            return _DONE, None
        if member.tier is Tier.D:
            return "excluded", None
        if (lacks := self._lacks(member)) is not None:
            return lacks, None
        watched = replace(member, turn=now.turn, at=self._ports.service.ports.now())
        if member.held or member.tier is Tier.C:
            return "held_out" if member.held else "counselled", watched
        if member.tier is Tier.B:
            self._path.offer_ladder(member.line, applied=False)
        return "offered", replace(watched, fate=Fate.OFFERED)

    def _lacks(self, member: Member) -> str | None:
        """What keeps a member from being offered what its tier is; None: nothing."""
        placed = self._placed(member.line)
        if placed is None or placed.tier is not member.tier:
            return "placed_anew"
        if member.tier is Tier.C:
            return None
        if not placed.may_contact:
            return "not_to_be_contacted"
        if member.tier is Tier.A:
            return None if placed.limit else "no_limit_fits"
        counselled = self._path.is_counselled(member.line)
        return "counselling_first" if placed.counselling_first and not counselled else None

    # --- what became of them ------------------------------------------------------------------

    def record(self, name: str, became: Mapping[str, Fate]) -> int:
        """Write down how far members have come; how many of it was new. All or nothing.

        Raises:
            NotFoundError: a line that is in no such campaign, or not in a wave yet.
            OutOfOrderError: it does not follow what is known. The same again changes nothing.
        """
        at, fresh = self._ports.service.ports.now(), 0
        with self._store.transaction() as connection:
            for line, fate in became.items():
                member = storage_campaign.member_of(connection, name, line)
                if member is None or member.turn == 0:
                    raise NotFoundError("outcomes: a line that is in no wave of this campaign")
                if member.fate is fate:
                    continue
                if fate not in _NEXT.get(member.fate, frozenset()):
                    raise OutOfOrderError(f"outcomes: {fate} does not follow {member.fate}")
                changed = replace(member, fate=fate, at=at)
                storage_campaign.change_member(connection, changed)
                fresh += 1
        return fresh

    def entries(self, name: str) -> Iterator[Entry]:
        """The cells of the campaign's table, one a member, for ``figures.contribution``.

        Of the wave that is under way only what was offered in its present turn counts: after
        a halt the test starts again.
        """
        now = self._running(name).now
        with self._store.reading() as connection:
            found = storage_campaign.members(connection, name)
        for member in found:
            is_old = member.wave == now.at and member.turn != now.turn
            if member.turn and member.fate is not None and not is_old:
                cell = (member.wave, _ARMS.index(arm_of(member)), _FATES.index(member.fate))
                yield Entry(person=member.subject.hex(), cell=cell)

    def status(self, name: str) -> tuple[Running, Counter[str]]:
        """Where a campaign stands, and own members by tier, arm and fate. Private."""
        running = self._running(name)
        with self._store.reading() as connection:
            found = storage_campaign.members(connection, name)
        return running, Counter(
            f"{one.tier if one.tier is Tier.D else arm_of(one)}/{one.fate or 'none'}"
            for one in found
        )

    def listed(self, name: str) -> list[Member]:
        """Every member by line: whom the lender's own systems are to offer to. Private."""
        self._running(name)
        with self._store.reading() as connection:
            return storage_campaign.members(connection, name)

    # --- parts --------------------------------------------------------------------------------

    def running(self, name: str) -> Running | None:
        """Where a campaign of the log stands, whosever it is; None if there is none."""
        return self._ports.campaigns().get(name)

    def _running(self, name: str) -> Running:
        running = self.running(name)
        if running is None:
            raise NotFoundError(f"no campaign {name} in the log, or its orders do not follow")
        if self._ports.partner not in running.plan.lenders:
            raise DomainError(f"{self._ports.partner} is no lender of campaign {name}")
        return running

    def _placed(self, line: str) -> Restart | None:
        try:
            return self._path.restarted(line)
        except NotFoundError:
            return None


def arm_of(member: Member) -> Arm:
    """Where a member stands in the table; tier D in none."""
    return HELD[member.tier.value] if member.held else Arm(member.tier.value)
