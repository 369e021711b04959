"""How far a load is: a bar on a terminal, plain lines without one."""

from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

_STEP = 10
"""Plain lines come once for each tenth."""

Line = dict[str, object]


def shown(lines: Iterator[Line], console: Console | None = None) -> Iterator[Line]:
    """Show the lines of a load as they come, and hand them on."""
    console = console or Console()
    return _bar(lines, console) if console.is_terminal else _plain(lines, console)


def _bar(lines: Iterator[Line], console: Console) -> Iterator[Line]:
    columns = (
        TextColumn("persons"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[waiting]}"),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task("persons", total=None, waiting="")
        for line in lines:
            known, persons = _counts(line)
            waiting = f"waits: {line['waiting']}" if line.get("waiting") else ""
            bars.update(task, completed=known, total=persons or None, waiting=waiting)
            yield line


def _plain(lines: Iterator[Line], console: Console) -> Iterator[Line]:
    told: tuple[int, str] | None = None
    for line in lines:
        known, persons = _counts(line)
        waiting = str(line.get("waiting") or "")
        now = (known * _STEP // max(1, persons), waiting)
        if now != told or line.get("done"):
            note = f"   waits: {waiting}" if waiting else ""
            console.print(f"{known:,} of {persons:,} persons{note}", highlight=False)
            told = now
        yield line


def _counts(line: Line) -> tuple[int, int]:
    known, persons = line.get("known", 0), line.get("persons", 0)
    return (known, persons) if isinstance(known, int) and isinstance(persons, int) else (0, 0)
