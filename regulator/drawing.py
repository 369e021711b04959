"""A picture as a few shapes, drawn once and written twice: SVG for the page, paper for the PDF.

Coordinates run to the right and downwards, in points. A shape carries no words but those of
``Words``, so escaping is the business of the writers.
"""

from dataclasses import dataclass
from html import escape

INK, PALE, FAINT = "#27313b", "#5a6672", "#dfe4e9"
BLUE, GREY, ORANGE, RED, GREEN = "#1f5fa8", "#8d99a6", "#d1751f", "#b4483c", "#2f7d5b"
"""One colour has one meaning throughout: blue the claim, green what is fine, red what failed,
orange what to look at, grey what is free or has not happened."""


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line."""

    start: tuple[float, float]
    end: tuple[float, float]
    colour: str = FAINT
    width: float = 1.0


@dataclass(frozen=True, slots=True)
class Box:
    """A filled rectangle: left, top, width, height."""

    place: tuple[float, float, float, float]
    colour: str


@dataclass(frozen=True, slots=True)
class Curve:
    """Points joined in order."""

    points: tuple[tuple[float, float], ...]
    colour: str
    width: float = 1.8


@dataclass(frozen=True, slots=True)
class Dots:
    """Round marks of one colour."""

    points: tuple[tuple[float, float], ...]
    colour: str
    radius: float = 2.0


@dataclass(frozen=True, slots=True)
class Words:
    """One line of text; ``anchor`` is start, middle or end."""

    place: tuple[float, float]
    text: str
    anchor: str = "start"
    colour: str = INK
    size: float = 12.0


Shape = Line | Box | Curve | Dots | Words


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture of a size."""

    width: float
    height: float
    shapes: tuple[Shape, ...]


def svg(drawing: Drawing, label: str) -> str:
    """The picture as inline SVG; whatever is text is escaped."""
    head = (
        f'<svg viewBox="0 0 {drawing.width:g} {drawing.height:g}" role="img" '
        f'aria-label="{escape(label)}">'
    )
    return head + "".join(_svg(shape) for shape in drawing.shapes) + "</svg>"


def _svg(shape: Shape) -> str:
    match shape:
        case Line():
            (x, y), (to_x, to_y) = shape.start, shape.end
            return _stroke(f"M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}", shape.colour, shape.width)
        case Curve():
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in shape.points)
            return _stroke(f"M{path}", shape.colour, shape.width)
        case Dots():
            path = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in shape.points)
            return _stroke(path, shape.colour, 2 * shape.radius)
        case Box():
            x, y, width, height = shape.place
            return (
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
                f'fill="{shape.colour}"/>'
            )
        case Words():
            x, y = shape.place
            return (
                f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{shape.anchor}" '
                f'font-size="{shape.size:g}" fill="{shape.colour}">{escape(shape.text)}</text>'
            )


def _stroke(path: str, colour: str, width: float) -> str:
    return (
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}" '
        'stroke-linecap="round" stroke-linejoin="round"/>'
    )
