"""What a node counts of the others' contributions, and which models it refuses to compare."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from bench.closure_federation import trained_document
from consortium.credit.figure_specs import Wanted, figure
from consortium.credit.figures import Entry
from consortium.documents import parse_document
from consortium.errors import DigestMismatchError, RefusalCode, RefusalError
from consortium.features.bins import Bins
from consortium.features.schema import parse_schema
from consortium.figure import FigureKind
from consortium.ids import Digest, PartnerId
from consortium.plan import TrainingPlan
from models.document import ModelDocument, version_of
from partner_node import ingest, wiring
from partner_node.credit.figures import entries_of
from partner_node.ingest import EncodedTable
from partner_node.study import NoStudies
from tests.partner_directories import FAMILIES, SCHEMA, Directories, build

pytestmark = pytest.mark.slow  # six trainings of four nodes: some seconds

NOBODY = NoStudies("no stream")
JUDGE = PartnerId("bank_a")


@dataclass(frozen=True)
class Scene:
    """One bank's directory, and models of everybody and without some."""

    desk: wiring.Desk
    documents: Mapping[str, ModelDocument]

    def version(self, name: str) -> Digest:
        return version_of(self.documents[name].to_bytes())

    def knows(self, *names: str) -> None:
        store = self.desk.store()
        for name in names:
            store.versions.keep_model(self.version(name), self.documents[name].to_bytes())

    def counted(self, *names: str) -> list[Entry]:
        wanted = Wanted(
            model=self.version("all"), without=tuple(self.version(name) for name in names)
        )
        spec = figure(FigureKind.CONTRIBUTION, "2026-11", "2026-11", wanted)
        return list(entries_of(self.desk, spec, NOBODY))


def less(plan: TrainingPlan, *names: str) -> TrainingPlan:
    blocks = (
        replace(block, holders=tuple(one for one in block.holders if one not in names))
        for block in plan.blocks
    )
    return replace(plan, blocks=tuple(blocks))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    directories: Directories = build(
        tmp_path_factory.mktemp("contribution") / "all",
        np.random.default_rng(1),  # noqa: TID251 - rows of a test
    )
    schema = parse_schema(SCHEMA, source="schema.toml")
    whole = parse_document(TrainingPlan, (directories.coordinator / "plan").read_bytes())

    def reading(name: PartnerId, path: Path) -> Callable[[Bins], EncodedTable]:
        source = wiring.open_desk(path).data_source()
        holdout = (whole.holdout_salt, whole.holdout_fraction)
        return lambda bins: ingest.load(source, schema, bins, FAMILIES[name], holdout=holdout)

    loads = {name: reading(name, path) for name, path in directories.nodes.items()}
    first, other, *_ = (name for name in FAMILIES if FAMILIES[name] == FAMILIES[JUDGE])
    plans = {
        "all": whole,
        "less judge": less(whole, first),
        "less other": less(whole, other),
        "less two": less(whole, other, "shop_c"),
        "other hold-out": replace(less(whole, other), holdout_salt="chosen"),
        "all again": replace(whole, epsilon="7"),
    }
    documents = {name: trained_document(plan, schema, loads, 1) for name, plan in plans.items()}
    found = Scene(wiring.open_desk(directories.nodes[JUDGE]), documents)
    found.knows("all", "less judge", "less other", "other hold-out", "all again")
    return found


def test_each_held_out_person_is_counted_for_every_model_but_that_without_its_own_bank(
    scene: Scene,
) -> None:
    entries = scene.counted("less judge", "less other")
    table = ingest.load(
        scene.desk.data_source(),
        scene.desk.pinned().schema,
        scene.documents["all"].bins,
        FAMILIES[JUDGE],
        holdout=("directories", scene.documents["all"].plan.holdout_fraction),
    )
    assert {one.cell for one in entries} == {(1,)}
    assert len(entries) == len({one.person for one in entries}) == int(table.holdout.sum())
    gains = np.array([one.values[1] for one in entries]) / 1e6
    squares = np.array([one.values[2] for one in entries]) / 1e6
    assert squares == pytest.approx(gains**2, abs=2e-6)
    assert np.ptp(gains) > 0


def test_model_that_was_not_validated_here_is_not_judged(scene: Scene) -> None:
    with pytest.raises(RefusalError, match="was not validated at this node") as caught:
        scene.counted("less two")
    assert caught.value.reason is RefusalCode.PLAN


@pytest.mark.parametrize(
    ("name", "told"), [("other hold-out", "another holdout_salt"), ("all again", "0 partners")]
)
def test_model_that_was_trained_on_other_persons_or_leaves_nobody_out_is_not_compared(
    scene: Scene, name: str, told: str
) -> None:
    with pytest.raises(RefusalError, match=told) as caught:
        scene.counted("less other", name)
    assert caught.value.reason is RefusalCode.PLAN


def test_document_that_is_not_the_model_of_its_name_is_found(scene: Scene) -> None:
    forged = Digest("ab" * 32)
    scene.desk.store().versions.keep_model(forged, scene.documents["less other"].to_bytes())
    wanted = Wanted(model=scene.version("all"), without=(forged,))
    spec = figure(FigureKind.CONTRIBUTION, "2026-11", "2026-11", wanted)
    with pytest.raises(DigestMismatchError):
        entries_of(scene.desk, spec, NOBODY)
