"""Public grids of 64 cells from a feature's public range (protocol 5.3).

Every node must derive the same edges from the same schema, so the arithmetic is decimal
with a context of its own: correctly rounded, alike on every machine. Edges are rounded to
six significant digits because people read them.
"""

from decimal import ROUND_HALF_EVEN, Context, Decimal
from enum import StrEnum

CELLS = 64

_EXACT = Context(prec=34, rounding=ROUND_HALF_EVEN)
_READABLE = Context(prec=6, rounding=ROUND_HALF_EVEN)


class Scale(StrEnum):
    """How the cells of a grid are spread over the range."""

    LINEAR = "linear"
    LOG = "log"
    """Equal ratios; the range must be above zero."""
    SIGNED_LOG = "signed_log"
    """Equal steps of sign(x) ln(1 + |x|); zero is an edge if the range has both signs."""


def grid_edges(low: str, high: str, scale: Scale) -> tuple[str, ...]:
    """The 63 inner edges of the 64 cells, as decimal strings, lowest first.

    The range must have been checked: ``low < high``, and above zero for ``log``. Edges of a
    range too narrow for six digits may coincide; the schema refuses those.
    """
    bottom, top = Decimal(low), Decimal(high)
    if scale is Scale.SIGNED_LOG and bottom < 0 < top:
        left = _cells_below_zero(bottom, top)
        points = [
            *_spread(bottom, Decimal(0), left, scale),
            Decimal(0),
            *_spread(Decimal(0), top, CELLS - left, scale),
        ]
    else:
        points = _spread(bottom, top, CELLS, scale)
    return tuple(_text(point) for point in points)


def _cells_below_zero(low: Decimal, high: Decimal) -> int:
    below, above = -_forward(low, Scale.SIGNED_LOG), _forward(high, Scale.SIGNED_LOG)
    share = _EXACT.divide(below * CELLS, _EXACT.add(below, above))
    return min(max(int(share.to_integral_value(ROUND_HALF_EVEN)), 1), CELLS - 1)


def _spread(low: Decimal, high: Decimal, cells: int, scale: Scale) -> list[Decimal]:
    start, end = _forward(low, scale), _forward(high, scale)
    step = _EXACT.divide(_EXACT.subtract(end, start), Decimal(cells))
    return [_backward(_EXACT.fma(step, Decimal(k), start), scale) for k in range(1, cells)]


def _forward(value: Decimal, scale: Scale) -> Decimal:
    if scale is Scale.LINEAR:
        return value
    if scale is Scale.LOG:
        return _EXACT.ln(value)
    return _EXACT.ln(_EXACT.add(abs(value), Decimal(1))).copy_sign(value)


def _backward(value: Decimal, scale: Scale) -> Decimal:
    if scale is Scale.LINEAR:
        return value
    if scale is Scale.LOG:
        return _EXACT.exp(value)
    return _EXACT.subtract(_EXACT.exp(abs(value)), Decimal(1)).copy_sign(value)


def _text(value: Decimal) -> str:
    readable = _READABLE.plus(value)
    return format(readable.normalize(), "f") if readable else "0"
