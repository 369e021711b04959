"""What is refused before anybody is asked for a score: who withdrew here, what is malformed.

What a person has withdrawn at this node counts before the federation is asked, whatever the
desk believes (credit 6.3), and an application that no decision could be made of costs nobody
an answer. The transaction looks at all of it again, for what came meanwhile.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

from consortium.credit.policy import AttestationRules
from consortium.credit.terms import ConsentPurpose
from partner_node.credit import storage_people, storage_watch
from partner_node.credit.deciding import Moment, vetted
from partner_node.credit.forms import Application
from partner_node.credit.looking import SharedLook
from partner_node.credit.ports import DeskServicePorts


@dataclass(frozen=True, slots=True, kw_only=True)
class Vetted:
    """An application that may be scored. Private."""

    asked: Application = field(repr=False)
    """Its consents as this node knows them."""
    subject: bytes = field(repr=False)
    """Of the person; empty if none is named."""
    today: date
    """On which it was looked at."""
    late: bool = field(repr=False)
    """Whether this partner sees arrears of the person itself."""
    attestations: AttestationRules | None
    """How the policy in force takes a history that is shown; None: not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What counts for one person: the rules of the moment, and what was withdrawn. Private."""

    moment: Moment
    gone: frozenset[ConsentPurpose] = field(repr=False)
    stage: int = field(repr=False)
    """Worst of the person's lines that are followed up; 1 without any."""


class Vetting:
    """Vets applications; one event loop, what it reads is read in a thread."""

    def __init__(self, ports: DeskServicePorts) -> None:
        self._ports = ports
        self._look = SharedLook(self._see)

    async def vetted(self, asked: Application) -> Vetted:
        """The application as it may be scored.

        Raises:
            PersonError: the identifier is not of the federation's form.
            DomainError: a value outside its bounds, a date to come, or another currency.
            ConsentMissingError: to CREDIT_DECISION, or it was withdrawn at this node.
            PolicyError: the rules of today are refused.
        """
        subject = self._ports.subject(asked.person) if asked.person else b""
        seen = await self._look.find(subject)
        standing = asked.standing
        return Vetted(
            asked=vetted(asked, seen.moment, seen.gone),
            subject=subject,
            today=seen.moment.today,
            late=standing.dpd_now > 0 or max(standing.stage, seen.stage) > 1,
            attestations=seen.moment.found.rules.policy.attestation,
        )

    def _see(self, subjects: Sequence[bytes]) -> list[_Seen]:
        moment = Moment.of(self._ports)
        with self._ports.store.reading() as connection:
            gone = storage_people.withdrawn_of(connection, subjects)
            stages = storage_watch.stages_of(connection, subjects)
        return [
            _Seen(moment=moment, gone=gone.get(one, frozenset()), stage=stages.get(one, 1))
            for one in subjects
        ]
