"""A score as lines for the console, zh and en; and how far a file of applicants is."""

import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from partner_node.answers import BANDS
from partner_node.desk import Score

_EVERY = 25_600
"""Persons between two plain lines."""

_WHY = {
    "partner_local": "the federation scores with each partner's own data only",
    "bureau_only": "only the licensed bureau may ask the partners",
    "no_roster": "the coordinator has not said who is connected",
    "too_few_partners": "too few partners are connected",
    "unreachable": "the coordinator or the partners cannot be reached",
    "incomplete": "a partner did not answer in time",
    "no_model": "the model in force is not served here yet",
    "quota": "the quota of questions is used up",
    "no_consent": "the person allows no joint score, so nobody was asked",
}


def lines(score: Score) -> list[str]:
    """What an officer reads. Private."""
    shown = [
        f"points   {score.points}   PD {score.pd}",
        f"covered  {_covered(score.band)}",
    ]
    if score.fallback:
        shown.append(f"own score only: {_WHY.get(score.fallback, score.fallback)}")
    if score.interval:
        shown.append(f"interval {score.interval}")
    shown += ["", f"best possible with these families {score.best:>6}"]
    width = max((_width(_place(one.family, one.feature)) for one in score.losses), default=0)
    for one in score.losses:
        place = _padded(_place(one.family, one.feature), width)
        text = one.bin or ("others, rounded" if one.source == "others" else "own, together")
        shown.append(f"  {-one.points:>+5}  {place}  {text}")
    shown.append(f"  {-score.unattributed:>+5}  unattributed")
    if score.no_data:
        shown.append(f"no data  {', '.join(score.no_data)}")
    if score.reasons:
        shown += ["", "reasons"]
        shown += [f"  {one.code}  {one.points:>4}  {one.zh}  {one.en}" for one in score.reasons]
    if score.what_if:
        shown += ["", "what would change it, on today's other data"]
        shown += [
            f"  {one.gain:>+5}  {one.feature}: {one.then} (now {one.now})"
            for one in score.what_if
        ]
    shown += ["", f"model    {score.model or '-'}", f"head     {score.head or '-'}"]
    return [*shown, f"policy   {score.policy}", f"request  {score.request or '-'}"]


def _covered(band: str) -> str:
    if band == BANDS[0]:
        return "band 0: no partner's knowledge is in a joint score"
    return f"band {band}: partners that know the person, this one included"


def _place(family: str, feature: str) -> str:
    return f"{family} {feature}".strip()


def _width(text: str) -> int:
    """Columns on a terminal: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


@contextmanager
def progress(console: Console | None = None) -> Iterator[Callable[[int], None]]:
    """A function to tell how many are done: a bar on a terminal, plain lines without one."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        told = 0

        def tell(done: int) -> None:
            nonlocal told
            if done // _EVERY > told:
                told = done // _EVERY
                console.print(f"{done:,} persons")

        yield tell
        return
    columns = (TextColumn("persons"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        task = bars.add_task("persons", total=None)
        yield lambda done: bars.update(task, completed=done)
