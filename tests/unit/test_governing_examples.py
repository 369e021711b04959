"""The example campaign and charter are what the documents say."""

from pathlib import Path

from coordinator.credit.charter_file import parse_charter
from coordinator.credit.restart_plan import parse_campaign

FOLDER = Path(__file__).parents[2] / "examples" / "policy"


def test_example_campaign_and_charter_are_read() -> None:
    text = (FOLDER / "campaign.toml").read_text(encoding="utf-8")
    plan = parse_campaign(text, delta="1e-6")
    assert (plan.percents, plan.releases) == ((10, 55, 100), 9)
    charter = (FOLDER / "charter.toml").read_text(encoding="utf-8")
    assert len(parse_charter(charter, federation="north", before=None).clauses) == 3
