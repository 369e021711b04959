"""A closure from end to end: real processes, real sockets and databases, commands alone.

The story is ``examples.ecosystem.journey``, as a newcomer runs it; here its papers are compared
with what the generator planted. Noise is fresh in each run: what is compared with a noisy total
allows for six of its deviations. Persons are SYNTHETIC.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from examples.ecosystem.journey import CLOSES, Journey, travel
from examples.ecosystem.market import consents
from examples.ecosystem.study import active
from examples.ecosystem.town import LENDERS, Town

# Four nodes, a key ceremony and two dozen releases: minutes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

PERSONS = 12_000
SIX_OVER_TWO = 3.1
"""Six deviations in units of half of a 95 % interval."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    return travel(tmp_path_factory.mktemp("closure") / "town", persons=PERSONS)


def paper(told: Journey, folder: str, pattern: str) -> Mapping[str, Any]:
    (path,) = (told.out / "reports" / folder).glob(pattern)
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def common(town: Town, one: str, other: str) -> int:
    """Consenting persons with an active line at both lenders at the last month end."""
    month, held = town.profile.months - 1, []
    for lender in (one, other):
        _, partner = town.partner(lender)
        held.append(set(partner.lines.person[active(partner, month)].tolist()))
    agreed = consents(town.observed)["IMPACT_STUDY"]
    return sum(bool(agreed[person]) for person in held[0] & held[1])


def overlap(told: Journey, other: str) -> Mapping[str, tuple[int, float]]:
    """Common persons by tier with half their interval, as the operator was told them."""
    lines = (told.out / "transcript.txt").read_text(encoding="utf-8").splitlines()
    at = next(
        place
        for place, line in enumerate(lines)
        if " overlap " in line and f" {CLOSES} {other} " in line
    )
    found = {}
    for line in lines[at + 1 : at + 4]:
        tier, count, _, _, low, _, high = line.split()
        found[tier] = (int(count), (int(high) - int(low)) / 2)
    return found


def test_every_paper_is_marked_synthetic_in_its_name_and_title(told: Journey) -> None:
    pages = sorted((told.out / "reports").rglob("*.html"))
    assert len(pages) >= 5  # a closure, scenarios, two campaigns, the market
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert page.name.startswith("SYNTHETIC-")
        title = text[text.index("<h1>") : text.index("</h1>")]
        assert "SYNTHETIC" in title or "合成数据" in title
        for word in ("<script", "http://", "https://"):
            assert word not in text


def test_common_borrowers_of_the_closure_are_those_of_the_market(told: Journey) -> None:
    report = paper(told, "stress", "SYNTHETIC-closure-stress-*.json")
    behind = Counter(one["figure"] for one in report["releases"])
    assert behind == {"TIERS": 1, "ELASTICITY": 1, "OVERLAP": len(LENDERS) - 1}
    first = {(one["partner"], one["tier"]): one["hit"] for one in report["rounds"][0]}
    for other in ("lender_3", "lender_4"):
        counts = overlap(told, other)
        truth = common(told.town, CLOSES, other)
        noise = math.hypot(*(half for _, half in counts.values()))
        assert abs(sum(count for count, _ in counts.values()) - truth) <= SIX_OVER_TWO * noise
        closed = sum(counts[tier][0] for tier in ("NEAR", "LOW"))
        assert abs(first[other, "*"]["value"] - closed) < len(counts), other
    assert report["policy"]["currency"] == "TWD"


def test_every_node_reckons_the_winter_on_its_own_lines(told: Journey) -> None:
    report = paper(told, "stress", "SYNTHETIC-scenario-*.json")
    named = {one["name"] for one in report["scenarios"]}
    assert named == {"winter", "new_rules", "dry_funding"}
    assert [one["figure"] for one in report["releases"]] == ["SCENARIO"]


def test_bad_wave_is_halted_the_other_passes_and_its_tiers_are_in_order(told: Journey) -> None:
    halted = paper(told, "restart", "SYNTHETIC-restart-flash-return-*.json")
    assert halted["state"]["waves"][0]["state"] == "halted"
    assert halted["orders"][-1]["move"] == "bad"
    passed = paper(told, "restart", "SYNTHETIC-restart-card-return-*.json")
    assert passed["state"]["waves"][0]["state"] == "passed"
    rates = exact_rates(told, "card-return")
    assert rates["A"] < rates["B"] < rates["C"]
    for line in passed["rates"]:
        found = line["late30"]
        if found["value"] == "n/a":
            continue
        value, high = float(found["value"]), float(found["high"])
        assert abs(value - rates[line["tier"]]) <= SIX_OVER_TWO * (high - value)


def exact_rates(told: Journey, name: str) -> dict[str, float]:
    """Share that came thirty days late by tier, from what the lenders themselves recorded."""
    late, whole = Counter[str](), Counter[str]()
    for lender in LENDERS:
        became = json.loads(
            (told.out / f"{lender}_{name}_became.json").read_text(encoding="utf-8")
        )
        listed = json.loads(
            (told.out / f"{lender}_{name}_members.json").read_text(encoding="utf-8")
        )
        for one in listed:
            fate = became.get(one["line"])
            if fate is not None:
                whole[one["arm"]] += 1
                late[one["arm"]] += fate in ("fpd30", "later30")
    return {arm: late[arm] / whole[arm] for arm in whole}


def test_market_report_has_premium_and_fit_beside_its_months(told: Journey) -> None:
    report = paper(told, "trends", "SYNTHETIC-trends-*.json")
    sections = {one["name"]: one for one in report["sections"]}
    months = {"vintages", "roll_rates", "closures", "concentration"}
    assert set(sections) == {*months, "premium", "premium_fit"}
    for one in sections.values():
        assert one["synthetic"]
        assert float(one["epsilon"]) > 0
        assert one["n_band"]
    fit = {(one["name"], one["labels"][0]): one for one in sections["premium_fit"]["figures"]}
    for view in ("with", "without"):
        found = fit["mean_pd", view]
        assert found["low"] < found["value"] < found["high"]


def test_no_identifier_left_a_lender_and_the_audit_is_verified(told: Journey) -> None:
    assert "verified" in told.verdict  # exit code 0, too, or the story had ended there
    data = (told.out / "coordinator" / "coordinator.db").read_bytes()
    assert b"SYN-" not in data
    assert b"SYN-" not in (told.out / "audit.zip").read_bytes()
    transcript = (told.out / "transcript.txt").read_text(encoding="utf-8")
    assert "Traceback" not in transcript


def test_transcript_is_what_a_newcomer_can_type(told: Journey) -> None:
    words = {
        tuple(line.split()[2:4])
        for line in Path(told.out, "transcript.txt").read_text("utf-8").splitlines()
        if line.startswith("$ riskweave")
    }
    for pair in (
        *(("stress", verb) for verb in ("plan", "run", "show")),
        *(("restart", verb) for verb in ("plan", "run", "report")),
        *(("trends", verb) for verb in ("run", "list", "show")),
        *(("risk", verb) for verb in ("list", "check")),
        ("coordinator", "bundle"),
        ("audit", "verify"),
    ):
        assert pair in words, pair
