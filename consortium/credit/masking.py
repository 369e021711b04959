"""Arrears that a rule orders not to be shown (credit 2.1; the pack's hook ``masked_arrears``).

Whether something was hidden must not show either: every history that reaches into the rule's
days is marked as masked, with arrears or without, and has bins of its own, for masking breaks
the series.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from consortium.credit.hooks import Params
from consortium.errors import DomainError, PolicyError


class DpdBasis(StrEnum):
    """What a history's worst arrears are the worst of."""

    ALL = "ALL"
    MASKED = "MASKED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrear:
    """One time that a line was late. Private."""

    began_on: date
    most: int
    """Largest amount past due, minor units."""
    worst_dpd: int
    repaid_on: date | None

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.most < 0 or self.worst_dpd < 1:
            raise DomainError("an arrear has an amount and at least one day")
        if self.repaid_on is not None and self.repaid_on < self.began_on:
            raise DomainError("an arrear was repaid before it began")


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRule:
    """Which arrears are not shown."""

    arrears_from: date
    arrears_to: date
    repaid_by: date
    most: int
    """Minor units each."""

    @classmethod
    def of(cls, params: Params) -> "MaskRule":
        """From the parameters of a pack's duty; PolicyError if its days do not follow."""
        first, last, repaid = (
            date.fromisoformat(params.text(name))
            for name in ("arrears_from", "arrears_to", "repaid_by")
        )
        if not first <= last <= repaid:
            raise PolicyError(
                f"masked_arrears: seen days {first}, {last}, {repaid}, expected in order"
            )
        most = params.whole("most")
        return cls(arrears_from=first, arrears_to=last, repaid_by=repaid, most=most)

    def hides(self, arrear: Arrear) -> bool:
        """Whether an arrear is small, of the rule's days, and was repaid in time."""
        repaid = arrear.repaid_on is not None and arrear.repaid_on <= self.repaid_by
        within = self.arrears_from <= arrear.began_on <= self.arrears_to
        return repaid and within and arrear.most <= self.most


@dataclass(frozen=True, slots=True)
class Shown:
    """What may be used of a history."""

    arrears: tuple[Arrear, ...]
    basis: DpdBasis

    @property
    def worst_dpd(self) -> int:
        """Of what is shown; 0 if nothing is."""
        return max((arrear.worst_dpd for arrear in self.arrears), default=0)


def shown_arrears(
    arrears: Sequence[Arrear], rule: MaskRule | None, *, since: date, until: date
) -> Shown:
    """The arrears of a history that may be shown, and its basis.

    Args:
        arrears: All of them. Private.
        rule: In force today (``Pack.demands``), or None.
        since: First day of the history.
        until: Its last day.
    """
    if rule is None or until < rule.arrears_from or rule.arrears_to < since:
        return Shown(tuple(arrears), DpdBasis.ALL)
    kept = tuple(arrear for arrear in arrears if not rule.hides(arrear))
    return Shown(kept, DpdBasis.MASKED)
