"""Rounds of a shadow federation, each through the code that real rounds go through.

A node here is the product's ``TrainingSession`` on the product's database: it checks the
plan, reserves and debits, joins, clips, rounds, adds noise, masks and signs. The sum is that
of the product's ``Aggregator``, and both sides run the product's ``RunSession``. Left out are
the wire, the processes and the log: they move bytes and change none of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from consortium.crypto.keys import Secret
from consortium.documents import document_of
from consortium.features.schema import Schema
from consortium.ids import PartnerId, RunId
from consortium.manifest import Manifest
from consortium.messages import PlanOffer
from consortium.plan import TrainingPlan
from consortium.secagg.aggregator import Aggregator
from consortium.secagg.chain import chain_length
from consortium.secagg.context import SumInputs
from consortium.secagg.joins import verify_acceptance
from models.run import ClosedSum, RunSession
from partner_node.local_sums import LocalSums
from partner_node.plan_checks import SessionFacts
from partner_node.storage import NodeStore
from partner_node.training_ports import SessionKeys
from partner_node.training_session import TrainingSession
from rehearsal.shadow.setting import (
    Population,
    Settings,
    derived,
    keys_of,
    manifest_of,
    plan_of,
    schema_of,
    table_of,
)

Float = NDArray[np.float64]
Integers = NDArray[np.int64]

_CAP = 1 << 52
"""Units of an account that is deleted with its database."""


@dataclass(frozen=True, slots=True, eq=False)
class ShadowRound:
    """What the coordinator of a shadow run knows of one round."""

    weights: Float
    """What the sum was asked at, shape (width,)."""
    total: Integers
    """The sum, shape (width,)."""


@dataclass(frozen=True, slots=True)
class _Setting:
    settings: Settings
    schema: Schema
    manifest: Manifest
    plan: TrainingPlan
    seed: Secret


def shadow_run(
    settings: Settings, seed: Secret, population: Population | None
) -> list[ShadowRound]:
    """All rounds of one run, with the rows of a population or on no data at all.

    Raises:
        RefusalError: a node refused; the audited build does not even follow the protocol.
        StorageError: the databases cannot be written.
    """
    purpose = "null" if population is None else "run"
    own = derived(seed, purpose)
    schema = schema_of(settings)
    manifest = manifest_of(settings, schema, own)
    plan = plan_of(settings, manifest, run_of(own))
    setting = _Setting(settings, schema, manifest, plan, own)
    with _nodes(setting, population) as nodes:
        return _rounds(setting, nodes)


def run_of(seed: Secret) -> RunId:
    """Name of the run of a seed; no two runs share one, nor their contexts."""
    return RunId(derived(seed, "id").expose()[:16].hex())


@contextmanager
def _nodes(
    setting: _Setting, population: Population | None
) -> Iterator[dict[PartnerId, TrainingSession]]:
    """A session for each partner, on a database of its own in a directory that goes away."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(TemporaryDirectory(prefix="riskweave-shadow-")))
        nodes = {}
        for name in setting.settings.names:
            store = NodeStore(place / f"{name}.sqlite", now=lambda: 0)
            stack.callback(store.close)
            nodes[name] = _node(setting, name, store, population)
        yield nodes


def _node(
    setting: _Setting, name: PartnerId, store: NodeStore, population: Population | None
) -> TrainingSession:
    keys = keys_of(setting.seed, name)
    table = table_of(setting.settings, setting.schema, name, population)
    return TrainingSession(
        SessionFacts(
            member=name,
            manifest=setting.manifest,
            schema=setting.schema,
            code=setting.settings.code,
            caps={"training": _CAP, "holdout": _CAP},
            run_epsilon="100",
        ),
        keys=SessionKeys(identity=keys.identity, agreement=keys.agreement),
        store=store,
        entropy=lambda: keys.run_seed,
        open_sums=lambda plan: LocalSums(plan, setting.schema, name, load=lambda _: table),
    )


def _rounds(setting: _Setting, nodes: dict[PartnerId, TrainingSession]) -> list[ShadowRound]:
    plan, manifest = setting.plan, setting.manifest
    accepted = [node.on_offer(PlanOffer(plan=plan)) for node in nodes.values()]
    session = RunSession(plan, setting.schema)
    links = {
        one.member: verify_acceptance(one, plan=one.plan, member=manifest.member(one.member))
        for one in accepted
    }
    documents = [document_of(one) for one in accepted]
    rounds: list[ShadowRound] = []
    closed: list[ClosedSum] = []
    for _ in range(plan.rounds):
        request, inputs = session.request(tuple(nodes))
        aggregator = Aggregator(manifest, request, links=links, length=chain_length(plan))
        for node in nodes.values():
            aggregator.on_join(node.on_proposal(request, closed, documents))
        _upload(aggregator, nodes, inputs, documents)
        closed = [
            ClosedSum(request=request, joined=aggregator.joined, total=aggregator.total())
        ]
        links = dict(aggregator.links)
        session.on_sum(closed[0])
        rounds.append(ShadowRound(inputs.arrays[0], closed[0].total))
    return rounds


def _upload(
    aggregator: Aggregator,
    nodes: Mapping[PartnerId, TrainingSession],
    inputs: SumInputs,
    documents: Sequence[bytes],
) -> None:
    """Every node sees all JOINs and sends its masked noisy words."""
    for node in nodes.values():
        words, upload = node.on_joins(
            aggregator.request, inputs, joins=aggregator.joins, acceptances=documents
        )
        aggregator.on_upload(upload, words)
