"""An empirical audit at the size of a release: how long, and what it bounds (protocol 9.3).

Real shadow runs of four partners: canaries, then no data. The anchor is what the bound (a)
would be with as many canaries as anybody likes, which is the claim itself. Below the runs,
the share of simulated audits that refute the claim by true noise, 300 for each point.
"""

import time
from pathlib import Path

import matplotlib as mpl
import numpy as np

from bench.result import Result
from consortium.audit.bounds import gdp_bound
from consortium.audit.result import canaries_for
from consortium.crypto.keys import Secret
from consortium.ids import digest_of
from consortium.privacy.accountant import mu_of
from rehearsal.shadow.setting import Settings
from rehearsal.shadow.trial import Measured, audited

mpl.use("Agg")
from matplotlib import pyplot as plt

CLAIMS = ("1", "3", "8")
NOISE = (1.0, 0.9, 0.75, 0.5)
TABLE = ((1.0, 1_000), (1.0, 4_000), (1.0, 10_000), (3.0, 1_000), (3.0, 10_000), (8.0, 1_000))
AUDITS = 300
DELTA = 1e-6


def run(out: Path) -> Result:
    """Seconds, bound and claim of each audit; shares of refuted claims by noise."""
    figures: dict[str, object] = {}
    ratios: dict[str, float] = {}
    measured: dict[str, Measured] = {}
    for claim in CLAIMS:
        settings = Settings(
            code=digest_of(b"bench"), epsilon=claim, canaries=canaries_for(claim)
        )
        numbers = iter(range(1, 3))
        began = time.perf_counter()
        audit, trials = audited(settings, lambda n=numbers: Secret(bytes([next(n)]) * 32))
        seconds = time.perf_counter() - began
        last = measured[claim] = trials[-1]
        figures[f"epsilon_{claim}"] = {
            "seconds": round(seconds, 2),
            "bound": last.trial.gdp,
            "claim": claim,
            "canaries": settings.canaries,
            "trials": len(trials),
            "verdict": audit.verdict.value,
            "null_deviation": last.trial.null_deviation,
            "one_run": last.trial.one_run,
            "threshold": last.trial.threshold,
            "record_rate": last.trial.record_rate,
        }
        ratios[f"bound_over_claim_{claim}"] = round(float(last.trial.gdp) / float(claim), 3)
    shares = {f"{claim:g} with {count}": _shares(claim, count) for claim, count in TABLE}
    figures["share_refuted_by_noise"] = shares
    _plot(out / "canary.svg", measured, shares)
    anchors = {"claims": list(CLAIMS), "noise": list(NOISE), "simulated_audits": AUDITS}
    return Result(name="canary", figures=figures, anchors=anchors, ratios=ratios)


def _shares(claim: float, count: int) -> list[float]:
    """Share of simulated audits whose bound (a) is above the claim, for each noise."""
    mu = mu_of(claim, DELTA)
    shares = []
    for noise in NOISE:
        rng = np.random.default_rng(1)
        above = 0
        for _ in range(AUDITS):
            present = rng.random(count) < 1 / 2
            scores = rng.normal(0.0, noise, count) + mu * present
            above += gdp_bound(scores, present, DELTA).epsilon > claim
        shares.append(round(above / AUDITS, 3))
    return shares


def _plot(path: Path, measured: dict[str, Measured], shares: dict[str, list[float]]) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.6), layout="constrained")
    claims = [float(claim) for claim in measured]
    left.plot(claims, claims, color="#d1751f", label="claim")
    for name, mark in (("gdp", "o"), ("threshold", "s"), ("one_run", "^")):
        bounds = [float(getattr(one.trial, name)) for one in measured.values()]
        left.plot(claims, bounds, mark, label=name.replace("_", " "))
    left.set_xlabel("claimed epsilon")
    left.set_ylabel("lower bound of epsilon")
    left.legend()
    for name, values in shares.items():
        right.plot(NOISE, values, "o-", markersize=3, label=f"epsilon {name} canaries")
    right.invert_xaxis()
    right.set_xlabel("true noise over claimed noise")
    right.set_ylabel(f"share of {AUDITS} audits that refute the claim")
    right.legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)
