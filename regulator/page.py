"""The report as one page in English or Chinese: no script, nothing fetched."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from string import Template

from consortium.ledger.findings import Check, Finding, Grade
from consortium.ledger.merkle import leaf_hash
from consortium.ledger.verify import Audit
from regulator.checklist import Answer, Item, checklist_of
from regulator.checklist_words import QUESTIONS
from regulator.drawing import BLUE, FAINT, GREEN, INK, ORANGE, PALE, RED, svg
from regulator.figure_words import FIGURES
from regulator.figures import At, Cell, Figure, cited, figures_of, moment
from regulator.history import History
from regulator.report import MOST_INDICES, attempts_of, result_of, verdict
from regulator.words import ANSWERS, CHECKS, GRADES, TEXTS

_OPEN_ROWS = 12
_MOST_ROWS = 500
_NAME = 24
"""What is no longer is not broken over lines."""
_FEW_COLUMNS = 4
"""A table of more is wider than a telephone, and scrolls."""

VERDICT_COLOURS = {"failed": RED, "warnings": ORANGE, "verified": GREEN}
"""What a verdict is shown in."""

_TONES: Mapping[object, str] = {
    Grade.ERROR: "bad",
    Grade.WARNING: "look",
    Grade.NOTE: "calm",
    "failed": "bad",
    "warnings": "look",
    "passed": "good",
    Answer.PROVEN: "good",
    Answer.CONTRADICTED: "bad",
    Answer.STATED: "calm",
    Answer.NOT_PROVEN: "look",
}


def page(audit: Audit, history: History, language: str) -> str:
    """The whole page; everything that is not ours is escaped."""
    words, made = TEXTS[language], verdict(audit)
    figures = figures_of(audit, history, language)
    named = cited(audit, figures, MOST_INDICES)
    links = _Links(frozenset(named), words["more"])
    parts = {
        "h_facts": _facts(audit, language),
        "h_findings": _findings(audit, language, links),
        "h_checks": _checks(audit, language),
        "h_figures": "".join(_figure(one, language, links) for one in figures),
        "h_runs": f"<p>{escape(words['runs_about'])}</p>{_runs(audit, language)}",
        "h_checklist": _checklist(audit, language, links),
        "h_log": _table((words["type"], words["entries"]), _pairs(audit)),
        "h_entries": _entries(audit, named, language),
    }
    body = "".join(
        f'<section id="{key[2:]}"><h2>{escape(words[key])}</h2>{text}</section>'
        for key, text in parts.items()
    )
    contents = "".join(f'<a href="#{key[2:]}">{escape(words[key])}</a>' for key in parts)
    return Template(_PAGE).substitute(
        language="zh-Hans" if language == "zh" else "en",
        title=escape(words["title"]),
        about=escape(words["about"]),
        federation=escape(audit.federation or "–"),
        made=f"{escape(words['made'])} {moment(audit.head_time)}",
        colour=VERDICT_COLOURS[made],
        verdict=escape(words[made]),
        contents=contents,
        body=body,
        ink=INK,
        pale=PALE,
        faint=FAINT,
        blue=BLUE,
        red=RED,
        orange=ORANGE,
        green=GREEN,
    )


class _Links:
    """Makes links to those entries that the page lists."""

    def __init__(self, known: frozenset[int], more: str) -> None:
        self._known, self._more = known, more

    def __call__(self, entries: Sequence[int]) -> str:
        shown = [
            f'<a href="#entry-{one}">{one}</a>' if one in self._known else str(one)
            for one in entries[:MOST_INDICES]
        ]
        left = len(entries) - len(shown)
        shown += [f"{escape(self._more)} {left}"] if left else []
        return ", ".join(shown) or "–"


class _Html(str):
    """Text that is markup already, ours."""

    __slots__ = ()


def _facts(audit: Audit, language: str) -> str:
    words = TEXTS[language]
    return _table(
        (words["fact"], words["value"]),
        [
            (words["federation"], audit.federation or "–"),
            (words["manifest"], _code(audit.pinned)),
            (words["entries"], audit.entries),
            (words["cosigned"], ", ".join(audit.cosigned_by) or "–"),
            (words["head_time"], moment(audit.head_time)),
        ],
    )


def _findings(audit: Audit, language: str, links: _Links) -> str:
    words = TEXTS[language]
    if not audit.findings:
        return f"<p>{escape(words['none'])}</p>"
    rows = [_finding(one, language, links) for one in audit.findings[:_MOST_ROWS]]
    left = len(audit.findings) - len(rows)
    more = f"<p>{escape(words['more'])} {left}</p>" if left else ""
    heads = ("grade", "number", "name", "text", "where")
    return _table([words[name] for name in heads], rows) + more


def _finding(one: Finding, language: str, links: _Links) -> tuple[object, ...]:
    where = links(one.entries) if one.entries else ""
    where += f"{'<br>' if where else ''}{_code(one.place)}" if one.place else ""
    return (
        _tag(GRADES[language][one.grade], one.grade),
        one.check.value,
        _code(one.name),
        one.text,
        _Html(where or "–"),
    )


def _checks(audit: Audit, language: str) -> str:
    words = TEXTS[language]
    rows = []
    for check in Check:
        found = [one for one in audit.findings if one.check is check]
        result = result_of(found)
        title = CHECKS[language][check]
        rows.append((check.value, title, _tag(words[f"r_{result}"], result), len(found)))
    heads = ("number", "check", "result", "findings")
    return _table([words[name] for name in heads], rows)


def _figure(one: Figure, language: str, links: _Links) -> str:
    words = FIGURES[language]
    head = f'<figure id="{one.id}"><h3>{escape(one.title)}</h3><p>{escape(one.about)}</p>'
    if not one.rows:
        return f"{head}<p>{escape(words['none'])}</p></figure>"
    pictures = "".join(
        (f"<h4>{escape(title)}</h4>" if title else "")
        + f'<div class="wide">{svg(drawing, title or one.title)}</div>'
        for title, drawing in one.drawings
    )
    rows = [[_cell_of(cell, links) for cell in row] for row in one.rows[:_MOST_ROWS]]
    cut = len(one.rows) - len(rows)
    note = f"<p>{escape(words['first'])} {len(one.rows)}</p>" if cut else ""
    note += f"<p>{escape(one.remark)}</p>" if one.remark else ""
    is_open = " open" if len(rows) <= _OPEN_ROWS or not one.drawings else ""
    return (
        f"{head}{pictures}<details{is_open}><summary>{escape(words['table'])} "
        f"({len(one.rows)})</summary>{_table(one.heads, rows)}</details>{note}</figure>"
    )


def _cell_of(cell: Cell, links: _Links) -> object:
    return _Html(links(cell.entries)) if isinstance(cell, At) else cell


def _runs(audit: Audit, language: str) -> str:
    words = TEXTS[language]
    return _table(
        [words[name] for name in ("run", "partners", "attempts", "replayed")],
        [
            (_code(run.run), len(run.commits), attempts_of(run), run.replayed)
            for run in audit.runs
        ],
    )


def _checklist(audit: Audit, language: str, links: _Links) -> str:
    words = TEXTS[language]
    rows = [
        (
            QUESTIONS[item.id].heading.of(language),
            QUESTIONS[item.id].question.of(language),
            _tag(ANSWERS[language][item.answer], item.answer),
            item.text(language),
            _Html(_evidence(item, links)),
        )
        for item in checklist_of(audit)
    ]
    heads = [words["check"], *(words[name] for name in ("question", "answer", "text"))]
    table = _table([*heads, words["evidence"]], rows)
    return f"<p>{escape(words['checklist_about'])}</p>{table}"


def _evidence(item: Item, links: _Links) -> str:
    parts = [", ".join(check.value for check in item.evidence.checks)]
    parts.append(links(item.evidence.entries) if item.evidence.entries else "")
    files = [name.replace("/", "/\u200b") for name in item.evidence.files[:_FEW]]
    left = len(item.evidence.files) - len(files)
    parts += [f"<code>{escape(_cut(name))}</code>" for name in files]
    parts += [f"+ {left}"] if left else []
    return "<br>".join(one for one in parts if one) or "–"


_FEW = 3
_LONGEST = 30


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[:22]}…{name[-5:]}"


def _pairs(audit: Audit) -> list[tuple[object, ...]]:
    return [(_code(name), count) for name, count in audit.counts.items()]


def _entries(audit: Audit, named: Sequence[int], language: str) -> str:
    words = TEXTS[language]
    heads = [words[name] for name in ("number", "type", "actor", "time", "leaf")]
    heads[0] = words["entries"]
    rows = "".join(f'<tr id="entry-{index}">{_entry(audit, index)}</tr>' for index in named)
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    return (
        f"<p>{escape(words['entries_about'])}</p>"
        f'<div class="wide"><table class="many"><thead><tr>{head}'
        f"</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _entry(audit: Audit, index: int) -> str:
    timeline = audit.timeline
    entry = timeline.entries.get(index) if timeline else None
    raw = timeline.evidence.entries[index : index + 1] if timeline else []
    leaf = leaf_hash(raw[0]).hex()[:24] if raw else "–"
    cells: tuple[object, ...] = (index, "–", "–", "–", _code(leaf))
    if entry is not None:
        cells = (index, _code(entry.type), entry.actor, moment(entry.at), _code(leaf))
    return "".join(f"<td>{_written(cell)}</td>" for cell in cells)


def _tag(text: str, tone: object) -> _Html:
    return _Html(f'<span class="{_TONES[tone]}">{escape(text)}</span>')


def _code(text: str) -> _Html:
    name = ' class="name"' if len(text) <= _NAME else ""
    return _Html(f"<code{name}>{escape(text)}</code>")


def _written(cell: object) -> str:
    return cell if isinstance(cell, _Html) else escape(str(cell))


def _table(heads: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{_written(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    many = ' class="many"' if len(heads) > _FEW_COLUMNS else ""
    return (
        f'<div class="wide"><table{many}><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


_PAGE = """<!DOCTYPE html>
<html lang="$language"><head><meta charset="utf-8"><title>$title</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body{font:16px/1.5 system-ui,"Segoe UI",Roboto,"Noto Sans CJK SC","Microsoft YaHei",sans-serif;
margin:2rem auto;max-width:1040px;padding:0 1.25rem;color:$ink;background:#fff}
h1{font-size:1.6rem;margin:0 0 .2rem}h2{font-size:1.25rem;margin:2.4rem 0 .6rem;
border-bottom:2px solid $faint;padding-bottom:.2rem}
h3{font-size:1.05rem;margin:1.8rem 0 .2rem}h4{font-size:.9rem;margin:.8rem 0 .2rem;color:$pale}
figure{margin:0}p{margin:.3rem 0 .8rem}.sub{color:$pale}
nav{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;margin:1rem 0;font-size:.92rem}
a{color:$blue}.wide{overflow-x:auto;margin:.4rem 0}
table{border-collapse:collapse;width:100%;font-size:.86rem}
th,td{border-bottom:1px solid $faint;padding:.3rem .6rem .3rem 0;text-align:left;
vertical-align:top;min-width:3rem}th{color:$pale;font-weight:600}
td{overflow-wrap:break-word}td:has(span){white-space:nowrap}
code{font-size:.92em;overflow-wrap:anywhere}.name{white-space:nowrap}
tr:target{background:#fff4cf}summary{cursor:pointer;color:$blue;font-size:.9rem}
.verdict{color:#fff;background:$colour;padding:.6rem 1rem;border-radius:.4rem;font-size:1.15rem}
.bad,.look,.good,.calm{font-weight:600}.bad{color:$red}.look{color:$orange}
.good{color:$green}.calm{color:$pale}
svg{width:100%;min-width:34rem;max-width:680px;display:block}
svg text{font-family:inherit}
@media(max-width:600px){body{margin:1rem auto;padding:0 .8rem}.many{min-width:46rem}}
@media print{body{margin:0}nav{display:none}}
</style></head><body>
<h1>$title</h1><p class="sub">$federation · $made</p>
<p class="verdict">$verdict</p><p>$about</p><nav>$contents</nav>
$body
</body></html>
"""
