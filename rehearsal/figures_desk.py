"""Plots of the report's part on decisions."""

from matplotlib.figure import Figure

from rehearsal.figures import BETTER, FEDERATED, LOCAL, WORSE, svg_of
from rehearsal.results_desk import DeskEvidence

_OUTCOMES = (("APPROVE", BETTER), ("REFER", LOCAL), ("DECLINE", WORSE))


def tiers(evidence: DeskEvidence) -> str:
    """Bad rate of each tier, and what was decided in it."""

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        names = [" + ".join(tier.grades) for tier in evidence.tiers]
        rates = [tier.bad_rate for tier in evidence.tiers]
        bars = left.bar(names, rates, color=FEDERATED, width=0.62)
        left.bar_label(bars, [f"{rate:.1%}" for rate in rates], padding=2, fontsize=8)
        left.set_ylabel("observed share of bads")
        left.set_title("bad rate by tier, hold-out")
        below = [0] * len(names)
        for outcome, colour in _OUTCOMES:
            counts = [tier.outcomes.get(outcome, 0) for tier in evidence.tiers]
            right.bar(
                names, counts, bottom=below, color=colour, width=0.62, label=outcome.lower()
            )
            below = [one + other for one, other in zip(below, counts, strict=True)]
        right.set_ylabel("persons")
        right.set_title("decisions by tier")
        right.legend(loc="best")

    return svg_of("tiers", (8.4, 3.2), draw)
