"""``riskweave trends`` over a directory: what is there is shown, not made anew."""

import json
from pathlib import Path

import numpy as np
import pytest

from consortium.credit.figure_specs import Wanted, figure
from consortium.crypto.keys import Secret
from consortium.errors import ConfigurationError, TransportError
from consortium.figure import FigureKind
from consortium.ids import Digest, RunId
from consortium.privacy.noise import noise_share
from coordinator import wiring
from coordinator.config import DATABASE
from coordinator.credit.trends_cli import main
from coordinator.figure_plans import FigureTerms, table_plan_text
from coordinator.plans import PlanContext, parse_plan
from coordinator.table_releases import table_row
from coordinator.table_storage import TableStore
from models.run import ClosedSum, RunSession
from tests.simulator import SCHEMA, Consortium

ROLL = ["roll_rates", "--first", "2026-01", "--last", "2026-02", "--synthetic"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A coordinator with one published table."""
    home = tmp_path_factory.mktemp("trends")
    (home / "schema.toml").write_text(SCHEMA, encoding="utf-8")
    birth = wiring.Birth(
        name="test",
        schema=home / "schema.toml",
        address="127.0.0.1:7443",
        enrolment="127.0.0.1:7444",
        storage=DATABASE,
    )
    wiring.initialise(home / "c", birth)
    house = Consortium()
    spec = figure(FigureKind.ROLL_RATES, "2026-01", "2026-02", Wanted(synthetic=True))
    context = PlanContext(
        run=RunId("ab" * 16),
        manifest=house.manifest,
        schema=house.schema,
        code=Digest("c0" * 32),
    )
    plan = parse_plan(table_plan_text(spec, FigureTerms()), context)
    session = RunSession(plan, house.schema)
    request, _ = session.request(plan.blocks[0].holders)
    total = noise_share(
        Secret(b"n" * 32), Digest("0" * 64), variance=10**14, count=request.dimension
    )
    total += np.full(request.dimension, 500 << 20)
    session.on_sum(ClosedSum(request=request, joined=Digest("7" * 64), total=total))
    store = wiring.open_desk(home / "c").store
    TableStore(store).add(table_row(session, 5))
    store.close()
    return home / "c"


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(words) == 0
    return capsys.readouterr().out


def test_a_figure_that_is_there_is_shown_and_nothing_is_asked_of_anybody(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = said(capsys, "run", str(directory), *ROLL)
    assert first == said(capsys, "run", str(directory), *ROLL)
    assert "SYNTHETIC" in first
    (listed,) = json.loads(said(capsys, "list", str(directory), "--json"))
    assert first.startswith(listed["release"])
    # Another figure, or this one anew, would be a run: and nobody serves here.
    for words in ([*ROLL, "--again"], [*ROLL[:-2], "2026-03"]):
        with pytest.raises(TransportError):
            main(["run", str(directory), *words])


def test_the_plan_is_printed_and_nothing_is_started(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, "run", str(directory), *ROLL, "--print")
    assert 'model = "table"' in text
    with pytest.raises(ConfigurationError, match="has no axes"):
        main(["run", str(directory), *ROLL, "--by", "person"])


def test_a_report_has_the_same_bytes_whenever_it_is_asked_for(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    names = said(capsys, "show", str(directory), "--out", str(out)).split()
    assert sorted(Path(name).suffix for name in names) == [".csv", ".html", ".json"]
    assert all(Path(name).name.startswith("SYNTHETIC-trends-") for name in names)
    before = {name: Path(name).read_bytes() for name in names}
    said(capsys, "show", str(directory), "--out", str(out))
    assert {name: Path(name).read_bytes() for name in names} == before
    page = said(capsys, "show", str(directory), "--html")
    assert page.encode() == next(data for name, data in before.items() if "html" in name)
    found = json.loads(said(capsys, "show", str(directory), "--json"))
    assert 0 < float(found["sections"][0]["epsilon"]) <= 1
    with pytest.raises(ConfigurationError, match="0 tables begin"):
        main(["show", str(directory), "ffff"])
