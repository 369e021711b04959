"""How large a synthetic market is, and what is wrong with it."""

from dataclasses import dataclass

ANNOUNCED_MONTHS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Sizes, the months in which something happens, and the variant of the law.

    Months count from 0; an event of month t shows in the month end of t.
    """

    name: str
    persons: int
    partners: int
    months: int
    withdrawn_in: int
    """Partner 2 withdraws its product in this month; at or after ``months``: never."""
    drift_from: int
    masked_from: int
    overlap: float = 1.0
    """Factor of q (T3); 0: nobody is at two partners (T4)."""
    drift: bool = False
    """ln DSR of partner 3 rises by .6 deviations (T7)."""
    poison: bool = False
    """The last partner flips 20 % of its labels (T8)."""
    group_effect: bool = False
    """z is 1 higher in group 1 (T11)."""
    masked: bool = False
    """80 % of small arrears are hidden (T13)."""
    begins: tuple[int, int] = (2021, 1)
    """Year and month of month 0."""

    @property
    def announced_in(self) -> int:
        """Month whose end finds the withdrawal announced."""
        return self.withdrawn_in - ANNOUNCED_MONTHS


PROFILES = {
    "tiny": Profile(
        name="tiny",
        persons=2_000,
        partners=3,
        months=12,
        withdrawn_in=6,
        drift_from=8,
        masked_from=8,
    ),
    "town": Profile(
        name="town",
        persons=16_000,
        partners=4,
        months=18,
        withdrawn_in=14,
        drift_from=18,
        masked_from=18,
    ),
    "standard": Profile(
        name="standard",
        persons=100_000,
        partners=4,
        months=36,
        withdrawn_in=18,
        drift_from=24,
        masked_from=30,
    ),
}
