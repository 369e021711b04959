"""What an audit found: named, graded, and traceable to entries (protocol 8.7).

A check that fails is a finding and never the end of the audit: the rest still runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from consortium.errors import RiskWeaveError


class Grade(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """A claim is false, or what it rests on is missing."""
    WARNING = "warning"
    """Nothing is false, but somebody should look."""
    NOTE = "note"
    """What this bundle does not prove."""


class Check(StrEnum):
    """The checks by their numbers in protocol 8.7."""

    BUNDLE = "8.7(1)"
    PINNED = "8.7(2)"
    MANIFESTS = "8.7(3)"
    LOG_SIGNATURE = "8.7(4)"
    COSIGNATURES = "8.7(5)"
    ROOT = "8.7(6)"
    INCLUSION = "8.7(7)"
    ENTRIES = "8.7(8)"
    ORDER = "8.7(9)"
    CONTEXTS = "8.7(10)"
    SUMS = "8.7(11)"
    REPLAY = "8.7(12)"
    BUDGET = "8.7(13)"
    EPSILON = "8.7(14)"
    RELEASE = "8.7(15)"
    CALIBRATION = "8.7(16)"
    SCORES = "8.7(17)"
    AUDITS = "8.7(18)"
    REVOKED = "8.7(19)"
    EPOCHS = "8.7(20)"
    CONSENTS = "8.7(21)"
    DECISIONS = "8.7(22)"
    TABLES = "8.7(23)"
    GOVERNING = "8.7(24)"
    ATTESTATIONS = "8.7(25)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be, or not proven."""

    check: Check
    grade: Grade
    name: str
    """Short and stable, for instance ``entry.signature``."""
    text: str
    entries: tuple[int, ...] = ()
    """Indices in the log of what it is about."""
    place: str = ""
    """The file of the bundle, where there is one."""


@dataclass(slots=True)
class Findings:
    """The audit's list; in order of the checks once it is sorted."""

    found: list[Finding] = field(default_factory=list)

    def error(self, check: Check, name: str, text: str, *entries: int, place: str = "") -> None:
        """Record that a claim is false, or that what it rests on is missing."""
        self._add(check, Grade.ERROR, name, text, entries, place)

    def warn(self, check: Check, name: str, text: str, *entries: int, place: str = "") -> None:
        """Record something to look at."""
        self._add(check, Grade.WARNING, name, text, entries, place)

    def note(self, check: Check, name: str, text: str, *entries: int, place: str = "") -> None:
        """Record what is not proven."""
        self._add(check, Grade.NOTE, name, text, entries, place)

    @contextmanager
    def catch(self, check: Check, name: str, *entries: int, place: str = "") -> Iterator[None]:
        """Turn an error of ours in the block into a finding; the audit goes on."""
        try:
            yield
        except RiskWeaveError as error:
            self.error(check, name, str(error), *entries, place=place)

    def sorted(self) -> tuple[Finding, ...]:
        """By check, the worst first, then by the first entry."""
        checks, grades = list(Check), list(Grade)
        return tuple(
            sorted(
                self.found,
                key=lambda one: (
                    checks.index(one.check),
                    grades.index(one.grade),
                    one.entries[:1],
                ),
            )
        )

    def _add(  # noqa: PLR0917 - the fields of a finding, private to this class
        self,
        check: Check,
        grade: Grade,
        name: str,
        text: str,
        entries: tuple[int, ...],
        place: str,
    ) -> None:
        one = Finding(
            check=check, grade=grade, name=name, text=text, entries=entries, place=place
        )
        if one not in self.found[-50:]:
            self.found.append(one)
