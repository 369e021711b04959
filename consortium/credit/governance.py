"""What partners have agreed, how one joins, and what is owed when one leaves (row 24).

Everything here follows from signed facts: the charter and who agreed to it, manifests, models
and who was in their training. Nothing is kept beside them.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from consortium.canonical import Label, hash_with
from consortium.credit.terms import MILLION
from consortium.documents import document_of
from consortium.errors import DomainError
from consortium.ids import Digest, PartnerId

RETRAIN_DAYS = 30
"""Within which a model without a partner that has left must be in use."""

_CODE = re.compile(r"[a-z][a-z0-9_.-]{0,31}")
_LONGEST = 2_000
_MOST_CLAUSES = 64


# --- the charter ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One thing that is agreed, in both languages."""

    code: str
    zh: str
    en: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Charter:
    """What partners agree when they join. A document; each of them signs its digest.

    Raises:
        DomainError: no clause, one twice, an empty text, or numbers that cannot be.
    """

    federation: str
    version: int
    previous: Digest | None
    in_force: date
    clauses: tuple[Clause, ...]
    settlement_ppm: int
    """Share of the consortium's proceeds that is settled by contribution, millionths; the
    rest in equal parts."""
    exit_notice_days: int
    retrain_days: int = RETRAIN_DAYS

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        codes = [one.code for one in self.clauses]
        if not 1 <= len(codes) <= _MOST_CLAUSES or len(set(codes)) != len(codes):
            raise DomainError("charter: 1 to 64 clauses, each code once")
        for one in self.clauses:
            if not _CODE.fullmatch(one.code):
                raise DomainError(f"charter: {one.code[:40]!r} is no code of a clause")
            if not all(0 < len(text.strip()) <= _LONGEST for text in (one.zh, one.en)):
                raise DomainError(f"charter: clause {one.code} needs both languages")
        if self.version < 1 or (self.version == 1) != (self.previous is None):
            raise DomainError("charter: the first version names no earlier one, others do")
        if not 0 <= self.settlement_ppm <= MILLION or self.exit_notice_days < 0:
            raise DomainError("charter: a share or a time that cannot be")
        if not 1 <= self.retrain_days <= RETRAIN_DAYS:
            raise DomainError(f"charter: retraining within 1 to {RETRAIN_DAYS} days")

    @property
    def digest(self) -> Digest:
        """Which partners sign."""
        return hash_with(Label.CHARTER, document_of(self))


def lacking(
    charter: Charter, agreed: Mapping[Digest, Collection[PartnerId]], partners: Sequence[str]
) -> tuple[str, ...]:
    """Partners that have not agreed to this very charter; it is in force when there is none.

    Args:
        charter: The text.
        agreed: Who signed which digest.
        partners: Active partners of the manifest in force.
    """
    said = set(agreed.get(charter.digest, ()))
    return tuple(sorted(set(partners) - said))


# --- onboarding -------------------------------------------------------------------------------


class Milestone(StrEnum):
    """What a partner has behind it, in the order of the runbook."""

    ENROLLED = "enrolled"
    MANIFEST_SIGNED = "manifest_signed"
    CHARTER_AGREED = "charter_agreed"
    FIRST_RUN = "first_run"
    FIRST_VOTE = "first_vote"


@dataclass(frozen=True, slots=True, kw_only=True)
class Onboarding:
    """One partner's record: milestone by milestone, when."""

    partner: PartnerId
    reached: tuple[tuple[str, date], ...]
    waits_for: str
    """The first milestone that is not reached; empty: it is live."""

    @property
    def days(self) -> int | None:
        """From enrolment to the last milestone; None until it is live."""
        if self.waits_for or not self.reached:
            return None
        return (self.reached[-1][1] - self.reached[0][1]).days


def onboarding(partner: PartnerId, facts: Mapping[Milestone, date]) -> Onboarding:
    """The record of one partner from what is known of it."""
    waits = next((one.value for one in Milestone if one not in facts), "")
    reached = sorted((facts[one], list(Milestone).index(one), one.value) for one in facts)
    return Onboarding(
        partner=partner,
        reached=tuple((name, on) for on, _, name in reached),
        waits_for=waits,
    )


# --- exit -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """Active partners from a day on: what one manifest says, or a revocation."""

    since: date
    partners: tuple[PartnerId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A model version, and whose rows were in its training."""

    version: Digest
    on: date
    partners: tuple[PartnerId, ...]
    active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitNote:
    """What the card of a version says of one partner that has left."""

    partner: PartnerId
    left_on: date
    before: int
    """Partners before and after."""
    after: int
    retrained: bool
    """Whether what is in use was trained without it, all of it."""
    retrained_on: date | None
    owed: bool
    """Whether a version with its rows is still in use."""
    due: date
    """Last day for a model without it to be in use."""

    def overdue(self, today: date) -> bool:
        """Whether retraining is late."""
        return self.owed and today > self.due

    @property
    def text(self) -> str:
        """The card's line."""
        done = (
            f"retrained since exit: yes, on {self.retrained_on}"
            if self.retrained
            else f"retrained since exit: no, due by {self.due}"
        )
        return f"partner count {self.before} -> {self.after} on {self.left_on}; {done}"


def exits(
    members: Sequence[Members], models: Sequence[Trained], *, days: int = RETRAIN_DAYS
) -> tuple[ExitNote, ...]:
    """A note for each partner that has left and is not back, by day and name.

    Args:
        members: In order of time.
        models: All versions.
        days: Within which a model without it must be in use.
    """
    notes: list[ExitNote] = []
    for index in range(1, len(members)):
        before, after = members[index - 1], members[index]
        later = {name for one in members[index:] for name in one.partners}
        for name in sorted(set(before.partners) - later):
            clean = _retrained(name, models)
            notes.append(
                ExitNote(
                    partner=name,
                    left_on=after.since,
                    before=len(before.partners),
                    after=len(after.partners),
                    retrained=clean is not None,
                    retrained_on=clean,
                    owed=any(one.active and name in one.partners for one in models),
                    due=after.since + timedelta(days=days),
                )
            )
    return tuple(notes)


def _retrained(name: PartnerId, models: Sequence[Trained]) -> date | None:
    """Since when what is in use is without a partner; None while any of it is not."""
    active = [one for one in models if one.active]
    if not active or any(name in one.partners for one in active):
        return None
    return min(one.on for one in active)
