"""The report's figures: each a picture, its table, and the entries that both are of."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from consortium.ids import PartnerId
from consortium.ledger.claims import ReleaseFacts
from consortium.ledger.verify import Audit
from consortium.release import Level
from regulator.charts import Series, Stack, Track, bars, columns, curves, tracks
from regulator.drawing import BLUE, GREEN, GREY, ORANGE, RED, Drawing
from regulator.figure_words import FIGURES, ROLES
from regulator.history import UNITS, History, Point, Rounds
from regulator.words import LEVELS

LEVEL_COLOURS = {
    Level.HALF: GREY,
    Level.CLAIMED: BLUE,
    Level.ALL: GREEN,
    Level.LARGEST: RED,
    Level.ALONE: ORANGE,
}

_MOST_COLUMNS = 40
_SHORT = 12


@dataclass(frozen=True, slots=True)
class At:
    """A cell that is an entry of the log, or several: the page makes links of it."""

    entries: tuple[int, ...]


Cell = str | int | At


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One part of the report."""

    id: str
    title: str
    about: str
    drawings: tuple[tuple[str, Drawing], ...]
    """Each with a title of its own, which may be empty."""
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    remark: str = ""

    @property
    def entries(self) -> tuple[int, ...]:
        """Entries that the table names."""
        cells = [cell for row in self.rows for cell in row if isinstance(cell, At)]
        return tuple(sorted({entry for cell in cells for entry in cell.entries}))


Words = Mapping[str, str]


def figures_of(audit: Audit, history: History, language: str) -> tuple[Figure, ...]:
    """All figures, in the order of the report."""
    words = FIGURES[language]
    return (
        _epsilon(history, words, language),
        _units(audit, words, language),
        _rounds(history, words),
        _releases(audit, history, words),
        _votes(history, words),
        _inquiries(history, words),
        _budget(history, words),
        _witnesses(audit, history, words, language),
        _of_words(history, words),
    )


def moment(seconds: int) -> str:
    """A time of the log as text."""
    if not seconds:
        return "–"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


# --- privacy ----------------------------------------------------------------------------------


def _epsilon(history: History, words: Words, language: str) -> Figure:
    pictures = tuple(
        (
            words[f"p_{unit}"],
            curves(
                [
                    Series(
                        LEVELS[language][level], colour, _pieces(history.points, unit, level)
                    )
                    for level, colour in LEVEL_COLOURS.items()
                ],
                across=words["across_attempts"],
                upwards=words["epsilon"],
            ),
        )
        for unit in UNITS
    )
    steps = _thinned(history.points)
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            point.number,
            At((point.entry,)),
            moment(point.at),
            point.epoch,
            words[unit],
            *(f"{point.epsilon[unit, level]:.4f}" for level in LEVEL_COLOURS),
        )
        for point in steps
        for unit in UNITS
    )
    levels = (LEVELS[language][level] for level in LEVEL_COLOURS)
    left = ", ".join(str(entry) for entry in history.unpriced[:20])
    return Figure(
        id="epsilon",
        title=words["t_epsilon"],
        about=words["a_epsilon"],
        drawings=pictures if history.points else (),
        heads=(
            *(words["attempts"], words["entry"], words["start"], words["epoch"]),
            *(words["unit"], *levels),
        ),
        rows=rows,
        remark=f"{words['unpriced']} {left}" if left else "",
    )


def _pieces(
    points: Sequence[Point], unit: str, level: Level
) -> tuple[tuple[tuple[float, float], ...], ...]:
    """The points of one curve, cut where the epoch changes."""
    by_epoch: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for point in points:
        value = point.epsilon[unit, level]
        if value == value:  # noqa: PLR0124 - not a number is not drawn
            by_epoch[point.epoch].append((float(point.number), value))
    return tuple(tuple(piece) for piece in by_epoch.values())


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    """About twelve of them for the table, the last one included."""
    every = max(1, len(points) // _SHORT)
    kept = list(points[::every])
    return kept if not points or kept[-1] is points[-1] else [*kept, points[-1]]


def _units(audit: Audit, words: Words, language: str) -> Figure:
    rows = []
    for release in audit.releases:
        epsilon = (release.statement or {}).get("epsilon")
        for scope in ("training", "holdout") if isinstance(epsilon, dict) else ():
            by_honest = epsilon[scope]["by_honest"] if isinstance(epsilon, dict) else {}
            rows += [
                (
                    release.version[:16],
                    At((release.candidate,)),
                    words[scope],
                    words.get(unit, unit),
                    *(figures[level.value] for level in Level),
                )
                for unit, figures in by_honest.items()
            ]
    one = len(audit.releases) == 1
    pictures = [
        (
            "",
            bars(
                [
                    Stack(
                        ("" if one else f"{release.version[:6]} ")
                        + LEVELS[language][Level(level)],
                        (float(value),),
                        value,
                    )
                    for release in audit.releases
                    for level, value in headline(release).items()
                ],
                [(words["person"], BLUE)],
            ),
        )
    ]
    return Figure(
        id="units",
        title=words["t_units"],
        about=words["a_units"],
        drawings=tuple(pictures) if rows and len(rows) < _MOST_COLUMNS else (),
        heads=(
            *(words["version"], words["entry"], words["whose"], words["unit"]),
            *(LEVELS[language][level] for level in Level),
        ),
        rows=tuple(rows),
    )


def headline(release: ReleaseFacts) -> dict[str, str]:
    """Person-level epsilon by who colludes, as recomputed; empty where it could not be."""
    found = (release.statement or {}).get("headline")
    levels = found.get("person_by_honest") if isinstance(found, dict) else None
    if not isinstance(levels, dict):
        return {}
    return {level.value: str(levels[level.value]) for level in Level if level.value in levels}


def _budget(history: History, words: Words) -> Figure:
    worst: dict[str, float] = {}
    for one in history.accounts:
        worst[one.partner] = max(one.spent, worst.get(one.partner, 0.0))
    cap = max((one.cap for one in history.accounts), default=0.0)
    stacks = [Stack(name, (spent,), f"{spent:.4f}") for name, spent in worst.items()]
    rows = tuple(
        (
            one.partner,
            one.account,
            one.epoch,
            f"{one.spent:.4f}",
            f"{one.cap:g}",
            f"{one.left:.1%}",
            At((one.last,)),
        )
        for one in history.accounts
    )
    heads = ("partner", "account", "epoch", "spent", "cap", "left", "last")
    return Figure(
        id="budget",
        title=words["t_budget"],
        about=words["a_budget"],
        drawings=(("", bars(stacks, [(words["spent"], BLUE)], limit=cap)),) if stacks else (),
        heads=tuple(words[name] for name in heads),
        rows=rows,
    )


# --- runs and releases ------------------------------------------------------------------------


def _rounds(history: History, words: Words) -> Figure:
    by_day = len(history.days) > 1 or len(history.runs) > _MOST_COLUMNS
    shown = (history.days[-_MOST_COLUMNS:] if by_day else history.runs) or ()
    legend = ((words["summed"], BLUE), (words["charged"], ORANGE), (words["free"], GREY))
    name: Callable[[Rounds], str] = _day if by_day else lambda one: one.name[:8]
    stacks = [Stack(name(one), (one.summed, one.charged, one.free)) for one in shown]
    across = words["day" if by_day else "run"]
    picture = columns(stacks, legend, across=across, upwards=words["many"])
    return Figure(
        id="rounds",
        title=words["t_rounds"],
        about=words["a_rounds"],
        drawings=(("", picture),) if stacks else (),
        heads=(
            *(f"{words['run']} / {words['day']}", words["entry"]),
            *(words["summed"], words["charged"], words["free"]),
        ),
        rows=tuple(
            (label, At((one.entry,)), one.summed, one.charged, one.free)
            for listed, text in ((history.runs, _run), (history.days, _day))
            for one in listed
            for label in (text(one),)
        ),
    )


def _run(one: Rounds) -> str:
    return one.name


def _day(one: Rounds) -> str:
    return moment(int(one.name) * 86_400 or 1)[:10]


def _releases(audit: Audit, history: History, words: Words) -> Figure:
    cast: dict[str, list[int]] = defaultdict(list)
    for vote in history.votes:
        cast[vote.version].append(vote.entry)
    kinds = ("candidate", "published", "votes", "served")
    legend = list(
        zip((words[kind] for kind in kinds), (GREY, BLUE, ORANGE, GREEN), strict=True)
    )
    rows, marks = list[tuple[Cell, ...]](), list[Track]()
    for one in audit.releases:
        published = history.published.get(one.version)
        served = () if one.served is None else (one.served,)
        places: tuple[tuple[int, ...], ...] = (
            (one.candidate,),
            () if published is None else (published,),
            tuple(cast[one.version]),
            served,
        )
        status = words[f"s_{_status(audit, one)}"]
        marks.append(
            Track(one.version[:16], tuple(tuple(map(float, found)) for found in places), status)
        )
        rows.append(
            (
                one.version[:16],
                status,
                *(At(found) for found in (*places[:2], served)),
                ", ".join(one.accepted) or "–",
                ", ".join(one.refused) or "–",
            )
        )
    picture = tracks(marks, legend, size=audit.entries, across=words["across_log"])
    return Figure(
        id="releases",
        title=words["t_releases"],
        about=words["a_releases"],
        drawings=(("", picture),) if 0 < len(marks) < _MOST_COLUMNS else (),
        heads=tuple(
            words[name]
            for name in (
                *("version", "status", "candidate", "published", "served"),
                *("accepts", "refuses"),
            )
        ),
        rows=tuple(rows),
    )


def _status(audit: Audit, one: ReleaseFacts) -> str:
    if one.served is not None:
        return "served"
    timeline = audit.timeline
    quorum = timeline.force[one.candidate].policy.vote_quorum if timeline else 0
    return "accepted" if len(one.accepted) >= quorum else "refused"


def _votes(history: History, words: Words) -> Figure:
    counted: dict[PartnerId, Counter[bool]] = defaultdict(Counter)
    classes: dict[tuple[PartnerId, bool, str], list[int]] = defaultdict(list)
    for vote in history.votes:
        counted[vote.partner][vote.accept] += 1
        classes[vote.partner, vote.accept, vote.reason].append(vote.entry)
    stacks = [
        Stack(name, (found[True], found[False]), f"{found[True]} / {found[False]}")
        for name, found in sorted(counted.items())
    ]
    legend = [(words["accepts"], GREEN), (words["refuses"], RED)]
    return Figure(
        id="votes",
        title=words["t_votes"],
        about=words["a_votes"],
        drawings=(("", bars(stacks, legend)),) if stacks else (),
        heads=tuple(words[one] for one in ("partner", "votes", "reason", "count", "entry")),
        rows=tuple(
            (
                name,
                words["accepts" if accept else "refuses"],
                reason,
                len(found),
                At(tuple(found)),
            )
            for (name, accept, reason), found in sorted(classes.items())
        ),
    )


# --- scores, witnesses, words -----------------------------------------------------------------


def _inquiries(history: History, words: Words) -> Figure:
    shown = history.inquiries[-_MOST_COLUMNS * 3 :]
    clock = slice(0, 10) if history.span == _SPAN_OF_A_DAY else slice(11, 19)
    stacks = [Stack(moment(one.start)[clock], (one.count,)) for one in shown]
    across = words.get(f"span_{history.span}", "")
    picture = columns(
        stacks, [(words["inquiries"], BLUE)], across=across, upwards=words["inquiries"]
    )
    return Figure(
        id="inquiries",
        title=words["t_inquiries"],
        about=words["a_inquiries"],
        drawings=(("", picture),) if stacks else (),
        heads=tuple(words[n] for n in ("start", "inquiries", "batches", "peak", "entry")),
        rows=tuple(
            (moment(one.start), one.count, one.batches, one.peak, At(one.entries))
            for one in history.inquiries
        ),
    )


_SPAN_OF_A_DAY = 86_400


def _witnesses(audit: Audit, history: History, words: Words, language: str) -> Figure:
    total = len(audit.heads)
    marks = [
        Track(one.member, (tuple(map(float, one.sizes)),), f"{len(one.sizes)} / {total}")
        for one in history.witnesses
    ]
    legend = [(words["cosigned"], BLUE)]
    picture = tracks(marks, legend, size=audit.entries, across=words["across_log"])
    return Figure(
        id="witnesses",
        title=words["t_witnesses"],
        about=words["a_witnesses"],
        drawings=(("", picture),) if marks and total else (),
        heads=tuple(words[name] for name in ("witness", "role", "heads", "newest")),
        rows=tuple(
            (
                one.member,
                ROLES[language][one.role],
                f"{len(one.sizes)} / {total}",
                moment(one.last),
            )
            for one in history.witnesses
        ),
    )


def _of_words(history: History, words: Words) -> Figure:
    return Figure(
        id="words",
        title=words["t_words"],
        about=words["a_words"],
        drawings=(),
        heads=tuple(words[name] for name in ("entry", "actor", "type", "what")),
        rows=tuple((At((one.entry,)), one.actor, one.kind, one.text) for one in history.words),
    )


def cited(audit: Audit, figures: Iterable[Figure], most: int) -> tuple[int, ...]:
    """Every entry that findings and tables name, a few of each where there are many."""
    found = {index for one in audit.findings for index in one.entries[:most]}
    for figure in figures:
        for row in figure.rows:
            for cell in row:
                if isinstance(cell, At):
                    found.update(cell.entries[:most])
    return tuple(sorted(found))
