"""A paper for a borrower as parts: the same for the page and for the PDF.

Whoever writes one says what stands in it, once and in one language; ``page_html`` and
``page_pdf`` only draw. So a page and its PDF can never say different things.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from consortium.credit.pack import Language
from consortium.credit.terms import MILLION, Money, half_up

_EXPONENTS = {
    code: places
    for places, codes in (
        (0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"),
        (3, "BHD IQD JOD KWD LYD OMR TND"),
        (4, "CLF UYW"),
    )
    for code in codes.split()
}
"""Decimals of a currency by ISO 4217, where they are not two."""


class Tone(StrEnum):
    """How a banner looks; it says nothing that its words do not say."""

    GOOD = "good"
    LOOK = "look"
    BAD = "bad"
    CALM = "calm"


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph; ``quiet``: small print."""

    text: str
    quiet: bool = False

    def texts(self) -> Iterator[str]:
        """Every text of it."""
        yield self.text


@dataclass(frozen=True, slots=True)
class Item:
    """A line with a mark before it (a code, a number), and what is said more quietly."""

    text: str
    mark: str = ""
    more: str = ""


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: tuple[Item, ...]

    def texts(self) -> Iterator[str]:
        """Every text of it."""
        for item in self.items:
            yield from (item.mark, item.text, item.more)


@dataclass(frozen=True, slots=True)
class Fact:
    """A name and its value; ``code``: a digest, set in narrow type."""

    name: str
    value: str
    code: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values."""

    facts: tuple[Fact, ...]

    def texts(self) -> Iterator[str]:
        """Every text of it."""
        for fact in self.facts:
            yield from (fact.name, fact.value)


@dataclass(frozen=True, slots=True)
class Grid:
    """A table; the first ``words`` columns are text, the others numbers."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1

    def texts(self) -> Iterator[str]:
        """Every text of it."""
        yield from self.heads
        for row in self.rows:
            yield from row


@dataclass(frozen=True, slots=True)
class Box:
    """Something that the reader may take. It is empty: it has no field that could fill it."""

    text: str
    more: str


@dataclass(frozen=True, slots=True)
class Boxes:
    """Things that may be taken, each with an empty box before it."""

    boxes: tuple[Box, ...]

    def texts(self) -> Iterator[str]:
        """Every text of it."""
        for box in self.boxes:
            yield from (box.text, box.more)


Block = Text | Items | Facts | Grid | Boxes


@dataclass(frozen=True, slots=True)
class Section:
    """Parts under one heading."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """The whole paper in one language. Private if what it was made of is."""

    language: Language
    kind: str
    """What it is, above the title."""
    title: str
    about: str
    tone: Tone
    banner: str
    """The one sentence that matters."""
    more: str
    """Beside the banner; may be empty."""
    sections: tuple[Section, ...]
    foot: str

    def texts(self) -> Iterator[str]:
        """Every text that is printed."""
        yield from (self.kind, self.title, self.about, self.banner, self.more, self.foot)
        for section in self.sections:
            yield section.title
            for block in section.blocks:
                yield from block.texts()


# --- numbers ----------------------------------------------------------------------------------


def money(amount: Money) -> str:
    """``TWD 60,000.00``."""
    return f"{amount.currency} {plain_money(amount)}"


def plain_money(amount: Money) -> str:
    """``60,000.00``, where the currency is said elsewhere."""
    places = _EXPONENTS.get(amount.currency, 2)
    sign, units = ("-" if amount.minor < 0 else ""), 10**places
    whole, rest = divmod(abs(amount.minor), units)
    return f"{sign}{whole:,}" + (f".{rest:0{places}d}" if places else "")


def percent(ppm: int) -> str:
    """A share or yearly rate in percent, two decimals: ``15.45 %``."""
    hundredths = half_up(abs(ppm) * 10_000, MILLION)
    sign = "-" if ppm < 0 and hundredths else ""
    return f"{sign}{hundredths // 100}.{hundredths % 100:02d} %"
