"""A borrower's paper as PDF, by reportlab alone: no font of the machine is used.

Latin text stands in Helvetica, everything else in STSong-Light, one of the CID fonts that
every PDF reader knows by name. The same paper makes the same bytes.
"""

import io
from collections.abc import Iterator, Sequence
from functools import lru_cache
from html import escape

from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    CondPageBreak,
    Flowable,
    Frame,
    LongTable,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)

from consortium.credit.pack import Language
from partner_node.credit.document import (
    Block,
    Boxes,
    Facts,
    Grid,
    Items,
    Paper,
    Text,
    Tone,
)

LATIN, BOLD, NARROW, WIDE = "Helvetica", "Helvetica-Bold", "Courier", "STSong-Light"
_INK, _SOFT, _LINE, _TINT = "#27313b", "#5a6672", "#dfe4e9", "#f5f7f9"
_TONES = {Tone.GOOD: "#2f7d5b", Tone.LOOK: "#9a5b0e", Tone.BAD: "#a3392e", Tone.CALM: "#1f5fa8"}
_LAST = 0xFFFF
"""Last character that the wide font's encoding can say."""

_MARGIN = 20 * mm
_SIDE = A4[0] - 2 * _MARGIN
_BOX = 9.0


def pdf_of(paper: Paper) -> bytes:
    """The paper's bytes."""
    pdfmetrics.registerFont(UnicodeCIDFont(WIDE))
    out = io.BytesIO()
    document = BaseDocTemplate(
        out,
        pagesize=A4,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=_MARGIN,
        bottomMargin=_MARGIN,
        title=paper.title,
        author="",
        lang="zh-Hans" if paper.language is Language.ZH else "en",
        invariant=1,
    )
    frame = Frame(_MARGIN, _MARGIN, _SIDE, A4[1] - 2 * _MARGIN, 0, 0, 0, 0)
    document.addPageTemplates([PageTemplate(id="paper", frames=[frame], onPage=_foot)])
    document.build(list(_story(paper)))
    return out.getvalue()


def _foot(canvas: Canvas, _: object) -> None:
    canvas.setFillColor(HexColor(_SOFT))
    canvas.setFont(LATIN, 8)
    canvas.drawRightString(A4[0] - _MARGIN, 11 * mm, str(canvas.getPageNumber()))


def _story(paper: Paper) -> Iterator[Flowable]:
    yield _text(paper.kind, _SMALL)
    yield _text(paper.title, _TITLE)
    yield _text(paper.about, _SMALL)
    yield Spacer(1, 8)
    yield _banner(paper)
    for section in paper.sections:
        yield CondPageBreak(80)
        yield Spacer(1, 12)
        yield _text(section.title, _SECOND)
        yield Spacer(1, 3)
        for block in section.blocks:
            yield from _block(block)
    yield Spacer(1, 14)
    yield _text(paper.foot, _SMALL)


def _banner(paper: Paper) -> Flowable:
    colour = HexColor(_TONES[paper.tone])
    style = ParagraphStyle("banner", parent=_BODY, fontName=BOLD, fontSize=12, leading=16)
    style.textColor = colour
    cells = [[_text(paper.banner, style)]]
    cells += [[_text(paper.more, _BODY)]] if paper.more else []
    return Table(
        cells,
        colWidths=[_SIDE],
        style=TableStyle(
            [
                ("BACKGROUND", (0, 0), (-1, -1), HexColor(_TINT)),
                ("LINEBEFORE", (0, 0), (0, -1), 4, colour),
                ("LEFTPADDING", (0, 0), (-1, -1), 12),
                ("TOPPADDING", (0, 0), (-1, -1), 5),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 5),
            ]
        ),
    )


def _block(block: Block) -> Iterator[Flowable]:
    match block:
        case Text():
            yield _text(block.text, _SMALL if block.quiet else _BODY)
            yield Spacer(1, 3)
        case Items():
            marked = any(item.mark for item in block.items)
            shares = (0.09, 0.91) if marked else (0.0, 1.0)
            rows = [
                [_text(item.mark, _MARK), _both(item.text, item.more)] for item in block.items
            ]
            yield _table(rows if marked else [row[1:] for row in rows], shares[not marked :])
        case Facts():
            yield _table(
                [
                    [_text(one.name, _SOFTLY), _text(one.value, _CODE if one.code else _BODY)]
                    for one in block.facts
                ],
                (0.3, 0.7),
            )
        case Boxes():
            yield _table(
                [[_Square(), _both(one.text, one.more)] for one in block.boxes], (0.05, 0.95)
            )
        case Grid():
            yield _grid(block)


def _both(text: str, more: str) -> list[Flowable]:
    return [_text(text, _BODY), *([_text(more, _SMALL)] if more else [])]


class _Square(Flowable):  # type: ignore[misc]  # reportlab has no types
    """An empty box to tick by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.width = self.height = _BOX

    def draw(self) -> None:
        """On the page."""
        self.canv.setStrokeColor(HexColor(_INK))
        self.canv.setLineWidth(0.8)
        self.canv.rect(0, -1, _BOX, _BOX)


def _grid(grid: Grid) -> Flowable:
    rows = [[_text(head, _head(place >= grid.words)) for place, head in enumerate(grid.heads)]]
    rows += [
        [_text(cell, _cell(place >= grid.words)) for place, cell in enumerate(row)]
        for row in grid.rows
    ]
    lengths = [
        max(_length(text) for text in column)
        for column in zip(grid.heads, *grid.rows, strict=True)
    ]
    bounded = [min(max(one, 7.0), 34.0) for one in lengths]
    return _table(rows, [one / sum(bounded) for one in bounded], heads=1)


def _length(text: str) -> float:
    return sum(1.0 if _is_latin(char) else 2.0 for char in text)


def _table(
    rows: Sequence[Sequence[object]], shares: Sequence[float], *, heads: int = 0
) -> Flowable:
    return LongTable(
        rows,
        colWidths=[share * _SIDE for share in shares],
        repeatRows=heads,
        hAlign="LEFT",
        spaceBefore=3,
        spaceAfter=5,
        style=TableStyle(
            [
                ("LINEBELOW", (0, 0), (-1, -1), 0.5, HexColor(_LINE)),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("RIGHTPADDING", (0, 0), (-1, -1), 6),
                ("TOPPADDING", (0, 0), (-1, -1), 3),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 4),
            ]
        ),
    )


# --- text -------------------------------------------------------------------------------------

_BODY = ParagraphStyle(
    "body", fontName=LATIN, fontSize=10, leading=14.5, textColor=HexColor(_INK)
)
_SMALL = ParagraphStyle("small", parent=_BODY, fontSize=8.5, leading=12)
_SMALL.textColor = HexColor(_SOFT)
_SOFTLY = ParagraphStyle("softly", parent=_BODY, textColor=HexColor(_SOFT))
_MARK = ParagraphStyle("mark", parent=_BODY, fontName=BOLD, textColor=HexColor("#1f5fa8"))
_CODE = ParagraphStyle("code", parent=_BODY, fontName=NARROW, fontSize=7.6, leading=14.5)
_TITLE = ParagraphStyle("title", parent=_BODY, fontName=BOLD, fontSize=18, leading=25)
_SECOND = ParagraphStyle("second", parent=_BODY, fontName=BOLD, fontSize=12.5, leading=17)


@lru_cache(maxsize=2)
def _cell(number: bool) -> ParagraphStyle:  # noqa: FBT001 - which of two styles
    return ParagraphStyle(
        f"cell{number}", parent=_BODY, fontSize=8.5, leading=11.5, alignment=2 if number else 0
    )


@lru_cache(maxsize=2)
def _head(number: bool) -> ParagraphStyle:  # noqa: FBT001 - which of two styles
    parent = _cell(number)
    style = ParagraphStyle(f"head{number}", parent=parent, fontName=BOLD)
    style.textColor = HexColor(_SOFT)
    return style


def _text(text: str, style: ParagraphStyle) -> Paragraph:
    """A paragraph; Chinese breaks between any two characters, everything else at spaces."""
    wide = any(not _is_latin(char) for char in text)
    narrow = style is _CODE
    return Paragraph(_marked(text), _breaking(style) if wide or narrow else style)


@lru_cache(maxsize=32)
def _breaking(style: ParagraphStyle) -> ParagraphStyle:
    return ParagraphStyle(f"{style.name} cjk", parent=style, wordWrap="CJK")


def _marked(text: str) -> str:
    """Escaped, each run of other than Latin characters in the font that has them."""
    return "".join(
        escape(run) if latin else f'<font name="{WIDE}">{escape(run)}</font>'
        for latin, run in _runs(text)
    )


def _runs(text: str) -> Iterator[tuple[bool, str]]:
    """The text in runs of one font each; a character that none of them has is a ?."""
    run, last = "", True
    for char in text:
        shown = char if char.isprintable() and ord(char) <= _LAST else "?"
        latin = _is_latin(shown)
        if latin != last and run:
            yield last, run
            run = ""
        run, last = run + shown, latin
    if run:
        yield last, run


def _is_latin(char: str) -> bool:
    try:
        char.encode("cp1252")
    except UnicodeEncodeError:
        return False
    return True
