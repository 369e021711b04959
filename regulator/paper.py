"""The report as PDF in English or Chinese, by reportlab alone: no font of the machine is used.

Latin text stands in Helvetica, everything else in STSong-Light, one of the CID fonts that every
PDF reader knows by name. The same audit makes the same bytes.
"""

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from html import escape

from reportlab.graphics.shapes import Circle, Group, PolyLine, Rect, String
from reportlab.graphics.shapes import Drawing as Canvas
from reportlab.graphics.shapes import Line as Stroke
from reportlab.lib.colors import Color, HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas as Sheet
from reportlab.platypus import (
    BaseDocTemplate,
    CondPageBreak,
    Flowable,
    Frame,
    KeepTogether,
    LongTable,
    PageTemplate,
    Paragraph,
    Spacer,
    TableStyle,
)

from consortium.ledger.findings import Check
from consortium.ledger.verify import Audit
from regulator.checklist import checklist_of
from regulator.checklist_words import QUESTIONS
from regulator.drawing import FAINT, INK, PALE, Box, Curve, Dots, Drawing, Line, Shape, Words
from regulator.figure_words import FIGURES
from regulator.figures import At, Figure, figures_of, moment
from regulator.history import History
from regulator.page import VERDICT_COLOURS
from regulator.report import MOST_INDICES, attempts_of, result_of, verdict, where
from regulator.words import ANSWERS, CHECKS, GRADES, TEXTS

LATIN, BOLD, GREEK, WIDE = "Helvetica", "Helvetica-Bold", "Symbol", "STSong-Light"

_GREEK = frozenset("εδσ")
_CJK, _LAST = 0x2E80, 0xFFFF
"""First character that is Chinese, last that the font's encoding can say."""

_MOST_ROWS, _MOST_ALIKE = 120, 6
"""Rows of a table, and findings of one name, that are printed."""
_MARGIN = 18 * mm
_SIDE = A4[0] - 2 * _MARGIN
_TALLEST = A4[1] - 2 * _MARGIN - 90
"""A picture shares its page with its title."""


def paper(audit: Audit, history: History, language: str) -> bytes:
    """The whole report; tables are cut where they are longer than anybody reads on paper."""
    pdfmetrics.registerFont(UnicodeCIDFont(WIDE))
    words = TEXTS[language]
    out = io.BytesIO()
    document = BaseDocTemplate(
        out,
        pagesize=A4,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=_MARGIN,
        bottomMargin=_MARGIN,
        title=words["title"],
        author="riskweave audit",
        invariant=1,
    )
    frame = Frame(_MARGIN, _MARGIN, _SIDE, A4[1] - 2 * _MARGIN, 0, 0, 0, 0)

    def foot(sheet: Sheet, _: object) -> None:
        sheet.setFillColor(HexColor(PALE))
        sheet.setFont(LATIN, 8)
        sheet.drawString(_MARGIN, 10 * mm, f"manifest {audit.pinned}")
        sheet.drawRightString(A4[0] - _MARGIN, 10 * mm, str(sheet.getPageNumber()))

    document.addPageTemplates([PageTemplate(id="report", frames=[frame], onPage=foot)])
    document.build(list(_story(audit, history, language)))
    return out.getvalue()


def _story(audit: Audit, history: History, language: str) -> Iterator[Flowable]:
    words, made = TEXTS[language], verdict(audit)
    yield _text(words["title"], _TITLE)
    yield _text(
        f"{audit.federation or '-'} · {words['made']} {moment(audit.head_time)}", _SMALL
    )
    yield Spacer(1, 6)
    banner = ParagraphStyle(
        "banner",
        parent=_BODY,
        backColor=HexColor(VERDICT_COLOURS[made]),
        textColor=Color(1, 1, 1),
        fontSize=11,
        leading=15,
        borderPadding=(5, 7, 6, 7),
        leftIndent=7,
        rightIndent=7,
    )
    yield _text(words[made], banner)
    yield Spacer(1, 12)
    yield _text(words["about"], _BODY)
    yield from _front(audit, language)
    yield from _headed(words["h_figures"], 400)
    for figure in figures_of(audit, history, language):
        yield from _figure(figure, language)
    yield from _back(audit, language)


def _front(audit: Audit, language: str) -> Iterator[Flowable]:
    words = TEXTS[language]
    facts = [
        (words["federation"], audit.federation or "-"),
        (words["manifest"], audit.pinned),
        (words["entries"], audit.entries),
        (words["cosigned"], ", ".join(audit.cosigned_by) or "-"),
        (words["head_time"], moment(audit.head_time)),
    ]
    yield from _headed(words["h_facts"])
    yield _table((words["fact"], words["value"]), facts, (0.3, 0.7))
    yield from _headed(words["h_findings"])
    found = list(_findings(audit, language))
    heads = [words[name] for name in ("grade", "number", "name", "text", "where")]
    yield (
        _table(heads, found, (0.1, 0.1, 0.19, 0.38, 0.23))
        if found
        else _text(words["none"], _BODY)
    )
    yield from _headed(words["h_checks"])
    rows = []
    for check in Check:
        listed = [one for one in audit.findings if one.check is check]
        result = words[f"r_{result_of(listed)}"]
        rows.append((check.value, CHECKS[language][check], result, len(listed)))
    heads = [words[name] for name in ("number", "check", "result", "findings")]
    yield _table(heads, rows, (0.13, 0.57, 0.15, 0.15))


def _findings(audit: Audit, language: str) -> Iterator[tuple[str, ...]]:
    """The first findings of each name, and how many more there are of it."""
    total = Counter(one.name for one in audit.findings)
    seen: Counter[str] = Counter()
    for one in audit.findings:
        seen[one.name] += 1
        if seen[one.name] <= _MOST_ALIKE:
            place = where(one).strip(" []") or "-"
            grade = GRADES[language][one.grade]
            yield grade, one.check.value, one.name, one.text, place
        elif seen[one.name] == total[one.name]:
            more = f"{TEXTS[language]['more']} {total[one.name] - _MOST_ALIKE}"
            yield GRADES[language][one.grade], one.check.value, one.name, more, "-"


def _back(audit: Audit, language: str) -> Iterator[Flowable]:
    words = TEXTS[language]
    yield from _headed(words["h_runs"])
    heads = [words[name] for name in ("run", "partners", "attempts", "replayed")]
    runs = [
        (run.run, len(run.commits), attempts_of(run), run.replayed)
        for run in audit.runs[:_MOST_ROWS]
    ]
    yield _table(heads, runs, (0.4, 0.15, 0.3, 0.15)) if runs else _text(words["none"], _BODY)
    yield from _headed(words["h_checklist"])
    yield _text(words["checklist_about"], _BODY)
    rows = [
        (
            QUESTIONS[item.id].question.of(language),
            ANSWERS[language][item.answer],
            item.text(language),
            ", ".join(
                [one.value for one in item.evidence.checks] + list(_few(item.evidence.entries))
            )
            or "-",
        )
        for item in checklist_of(audit)
    ]
    heads = [words[name] for name in ("question", "answer", "text", "evidence")]
    yield _table(heads, rows, (0.26, 0.12, 0.4, 0.22))
    yield from _headed(words["h_log"])
    yield _table((words["type"], words["entries"]), list(audit.counts.items()), (0.7, 0.3))


def _figure(one: Figure, language: str) -> Iterator[Flowable]:
    words = FIGURES[language]
    head = [_text(one.title, _THIRD), _text(one.about, _BODY)]
    if not one.rows:
        yield KeepTogether([*head, _text(words["none"], _BODY)])
        return
    pictures: list[Flowable] = []
    for title, drawing in one.drawings:
        pictures += [_text(title, _SMALL)] if title else []
        pictures.append(_canvas(drawing))
    yield KeepTogether([*head, *pictures[:2]])
    yield from pictures[2:]
    rows = [[_cell(cell) for cell in row] for row in one.rows[:_MOST_ROWS]]
    yield _table(one.heads, rows, _widths(one.heads, rows))
    if len(one.rows) > len(rows):
        yield _text(f"{words['first']} {len(one.rows)}", _SMALL)
    if one.remark:
        yield _text(one.remark, _SMALL)


def _cell(cell: object) -> object:
    return ", ".join(_few(cell.entries)) or "-" if isinstance(cell, At) else cell


def _few(entries: Sequence[int]) -> Iterator[str]:
    yield from (str(one) for one in entries[:MOST_INDICES])
    if len(entries) > MOST_INDICES:
        yield f"+{len(entries) - MOST_INDICES}"


def _widths(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> tuple[float, ...]:
    """Shares of the page's width, by the longest text of each column within bounds."""
    longest = [
        max(
            [
                *(_length(word) * 1.1 for word in head.split()),
                *(_length(str(row[number])) + 1.5 for row in rows[:40]),
            ]
        )
        for number, head in enumerate(heads)
    ]
    bounded = [min(max(one, 7.0), 30.0) for one in longest]
    return tuple(one / sum(bounded) for one in bounded)


def _length(text: str) -> float:
    return sum(2.0 if ord(char) >= _CJK else 1.0 for char in text)


# --- parts of a page --------------------------------------------------------------------------

_BODY = ParagraphStyle(
    "body", fontName=LATIN, fontSize=9, leading=12.5, textColor=HexColor(INK)
)
_SMALL = ParagraphStyle("small", parent=_BODY, fontSize=8, leading=11, textColor=HexColor(PALE))
_TITLE = ParagraphStyle("title", parent=_BODY, fontName=BOLD, fontSize=18, leading=24)
_SECOND = ParagraphStyle("second", parent=_BODY, fontName=BOLD, fontSize=13, leading=18)
_THIRD = ParagraphStyle(
    "third", parent=_BODY, fontName=BOLD, fontSize=10.5, leading=15, spaceBefore=12
)
_CELL = ParagraphStyle("cell", parent=_BODY, fontSize=7.5, leading=9.5)
_HEAD = ParagraphStyle("head", parent=_CELL, textColor=HexColor(PALE), fontName=BOLD)


def _headed(title: str, needs: float = 90) -> Iterator[Flowable]:
    yield CondPageBreak(needs)
    yield Spacer(1, 14)
    yield _text(title, _SECOND)
    yield Spacer(1, 4)


def _text(text: str, style: ParagraphStyle) -> Paragraph:
    """A paragraph; Chinese breaks between any two characters, everything else at spaces."""
    wide = any(ord(char) >= _CJK for char in text)
    return Paragraph(_marked(text), _cjk(style) if wide else style)


@lru_cache(maxsize=16)
def _cjk(style: ParagraphStyle) -> ParagraphStyle:
    return ParagraphStyle(f"{style.name} cjk", parent=style, wordWrap="CJK")


def _marked(text: str) -> str:
    """Escaped, each run of other than Latin characters in the font that has them."""
    return "".join(
        escape(run) if font == LATIN else f'<font name="{font}">{escape(run)}</font>'
        for font, run in _runs(text)
    )


def _runs(text: str) -> Iterator[tuple[str, str]]:
    """The text in runs of one font each; a character that none of them has is a ?."""
    run, last = "", LATIN
    for char in text:
        shown = char if char.isprintable() and ord(char) <= _LAST else "?"
        font = GREEK if shown in _GREEK else LATIN if _is_latin(shown) else WIDE
        if font != last and run:
            yield last, run
            run = ""
        run, last = run + shown, font
    if run:
        yield last, run


def _is_latin(char: str) -> bool:
    try:
        char.encode("cp1252")
    except UnicodeEncodeError:
        return False
    return True


def _table(
    heads: Sequence[str], rows: Iterable[Sequence[object]], shares: Sequence[float]
) -> LongTable:
    cells = [[_text(str(head), _HEAD) for head in heads]]
    cells += [[_text(str(cell), _CELL) for cell in row] for row in rows]
    style = TableStyle(
        [
            ("LINEBELOW", (0, 0), (-1, -1), 0.5, HexColor(FAINT)),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LEFTPADDING", (0, 0), (-1, -1), 0),
            ("RIGHTPADDING", (0, 0), (-1, -1), 6),
            ("TOPPADDING", (0, 0), (-1, -1), 2),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
        ]
    )
    return LongTable(
        cells,
        colWidths=[share * _SIDE for share in shares],
        style=style,
        repeatRows=1,
        hAlign="LEFT",
        spaceBefore=4,
        spaceAfter=6,
    )


# --- pictures ---------------------------------------------------------------------------------


def _canvas(drawing: Drawing) -> Canvas:
    scale = min(_SIDE / drawing.width, _TALLEST / drawing.height)
    group = Group(*(mark for one in drawing.shapes for mark in _marks(one, drawing.height)))
    group.scale(scale, scale)
    canvas = Canvas(drawing.width * scale, drawing.height * scale)
    canvas.add(group)
    return canvas


def _marks(shape: Shape, height: float) -> Iterator[object]:
    """The shape on paper, where upwards is up."""
    match shape:
        case Line():
            (x, y), (to_x, to_y) = shape.start, shape.end
            mark = Stroke(x, height - y, to_x, height - to_y)
            mark.strokeColor, mark.strokeWidth = HexColor(shape.colour), shape.width
            yield mark
        case Curve():
            flat = [value for x, y in shape.points for value in (x, height - y)]
            yield PolyLine(
                flat,
                strokeColor=HexColor(shape.colour),
                strokeWidth=shape.width,
                fillColor=None,
            )
        case Dots():
            colour = HexColor(shape.colour)
            for x, y in shape.points:
                yield Circle(x, height - y, shape.radius, fillColor=colour, strokeColor=None)
        case Box():
            x, y, wide, tall = shape.place
            colour = HexColor(shape.colour)
            yield Rect(x, height - y - tall, wide, tall, fillColor=colour, strokeColor=None)
        case Words():
            yield from _strings(shape, height)


def _strings(words: Words, height: float) -> Iterator[String]:
    """One line of text, its runs beside one another."""
    runs = list(_runs(words.text))
    widths = [pdfmetrics.stringWidth(run, font, words.size) for font, run in runs]
    x, y = words.place
    x -= sum(widths) * {"start": 0.0, "middle": 0.5, "end": 1.0}[words.anchor]
    for (font, run), width in zip(runs, widths, strict=True):
        yield String(
            x,
            height - y,
            run,
            fontName=font,
            fontSize=words.size,
            fillColor=HexColor(words.colour),
        )
        x += width
