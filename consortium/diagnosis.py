"""What ``doctor`` says of a role's own installation: one finding a check, with the remedy."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from consortium.errors import RiskWeaveError

WARNED, FAILED = 3, 4
"""Exit statuses, beside 0."""


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    """It works, and will not for long, or not well."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """It rests on something that is not there yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One check: what was seen, and what to do about it."""

    check: str
    state: State
    seen: str
    remedy: str = ""


class Skip(Exception):  # noqa: N818 - no error: the check has nothing to look at yet
    """Raised by a check that rests on something missing; the text says on what."""


Check = Callable[[], Found | None]
"""None: all is well and there is nothing to say."""


def examine(checks: Iterable[tuple[str, Check, str]]) -> tuple[Found, ...]:
    """Run checks in order; one that raises has failed, and the rest still run.

    Args:
        checks: Name, check, and the remedy if it raises an error of ours.
    """
    return tuple(_examined(name, check, remedy) for name, check, remedy in checks)


def _examined(name: str, check: Check, remedy: str) -> Found:
    try:
        found = check()
    except Skip as reason:
        return Found(check=name, state=State.SKIPPED, seen=str(reason))
    except RiskWeaveError as error:
        seen = str(error) or error.public
        return Found(check=name, state=State.FAILED, seen=seen, remedy=remedy)
    return found or Found(check=name, state=State.OK, seen="")


def exit_status(found: Sequence[Found]) -> int:
    """0 if nothing failed and nothing warns."""
    states = {one.state for one in found}
    if State.FAILED in states:
        return FAILED
    return WARNED if State.WARNING in states else 0


def lines(found: Sequence[Found]) -> list[str]:
    """For people: a line a check, and one for what to do."""
    width = max((len(one.check) for one in found), default=0)
    text = []
    for one in found:
        text.append(f"{one.state:<8} {one.check:<{width}}  {one.seen}".rstrip())
        if one.remedy and one.state in {State.FAILED, State.WARNING}:
            text.append(f"{'':<8} {'':<{width}}  -> {one.remedy}")
    return text


def as_json(found: Sequence[Found]) -> str:
    """For scripts."""
    return json.dumps([asdict(one) for one in found])
