"""Curves of shares: what noise puts outside 0 to 1 is drawn at the end of the axis."""

import re

from coordinator.credit.curves import Curve, Point, curves

NOISY = Curve(
    "one",
    (Point("0", 0.02, -2.4, 2.2), Point("1", 0.3, -0.2, 0.8), Point("2", None, 0.0, 0.0)),
)


def test_axis_of_shares_ends_at_0_and_100_percent_and_holds_every_point() -> None:
    drawn = str(curves("shares", [NOISY], percent=True))
    ticks = [float(text) for text in re.findall(r">(-?[0-9.]+) %<", drawn)]
    assert (min(ticks), max(ticks)) == (0.0, 100.0)
    heights = [float(y) for y in re.findall(r"[ML][0-9.]+ (-?[0-9.]+)", drawn)]
    assert min(heights) >= 16.0
    assert max(heights) <= 226.0


def test_curve_without_a_single_figure_has_no_place_in_the_legend() -> None:
    empty = Curve("nobody", (Point("0", None, 0.0, 0.0), Point("1", None, 0.0, 0.0)))
    drawn = str(curves("shares", [empty, NOISY], percent=True))
    assert ">one<" in drawn
    assert "nobody" not in drawn
