"""One run of the product in this process: a session, every partner's sums, no wire.

``RunSession``, ``LocalSums``, ``mechanism_for`` and ``noise_share`` are the product's own.
What is left out changes no number: pairwise masks cancel exactly in the ring, so the words
are added unmasked (tests/property show that the sums are equal); signatures and budgets are
checks. Noise comes from fixed seeds, so that arms can be compared in pairs and a run can be
repeated to the bit. In life a seed is drawn and never shown.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from consortium.canonical import Label, hash_with, lp, u32
from consortium.credit.tables import Calibration
from consortium.crypto.keys import Secret
from consortium.features.bins import public_bins
from consortium.ids import Digest, PartnerId
from consortium.messages import SumRequest
from consortium.plan import ReleaseKind, TrainingPlan
from consortium.privacy.noise import noise_share
from consortium.secagg.ring import ring_sum, to_ring, to_signed
from models.calibration import calibrated
from models.evaluation import LocalFigures, evaluate
from models.inference import Model, block_logits
from models.run import ClosedSum, RunSession
from models.spec import BlockSpec, spec_of
from partner_node import ingest
from partner_node.ingest import DataSource, EncodedTable
from partner_node.local_sums import ExactSum, LocalSums, Sums
from rehearsal.baselines import Released, pooled_rows, trained
from rehearsal.config import Rehearsal
from rehearsal.config_reading import load_rehearsal


@dataclass(frozen=True, slots=True)
class Federation:
    """A rehearsal file and the tables of its partners, read by the partners' own rules."""

    rehearsal: Rehearsal
    tables: Mapping[PartnerId, EncodedTable]

    @classmethod
    def of(cls, path: Path, *, persons: bool = False) -> "Federation":
        """Read the file and all tables; ``persons``: so that they can be joined."""
        rehearsal = load_rehearsal(path)
        plan, bins = rehearsal.plan, public_bins(rehearsal.schema)
        tables = {
            party.id: ingest.load(
                DataSource(
                    query=party.query,
                    person=party.person,
                    label=party.label,
                    directory=rehearsal.directory,
                    memory_limit=party.memory_limit,
                    threads=party.threads,
                    origin=party.id,
                ),
                rehearsal.schema,
                bins,
                party.families,
                holdout=(plan.holdout_salt, plan.holdout_fraction),
                persons=persons,
            )
            for party in rehearsal.parties
        }
        return cls(rehearsal, tables)

    def under(self, path: Path, *, epsilon: str) -> "Federation":
        """The same tables under another file's policy and plan."""
        return replace(self, rehearsal=load_rehearsal(path, epsilon=epsilon))

    def release(self, *, seed: int | None) -> Released:
        """Train and recalibrate; None: without any noise."""
        plan, schema = self.rehearsal.plan, self.rehearsal.schema
        session = RunSession(plan, schema)
        nodes = {
            name: LocalSums(plan, schema, name, load=lambda _, table=table: table)
            for name, table in self.tables.items()
        }
        closed_sums(session, nodes, seed)
        numbers = [float(text) for text in session.state.calibration]
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        model = Model(
            spec=session.spec,
            bins=session.bins.digest,
            weights=tuple(session.released_weights[b.window] for b in session.spec.blocks),
            calibration=tuple(Calibration(alpha=a, beta=b) for a, b in pairs),
        )
        return Released(plan=plan, schema=schema, bins=session.bins, model=model)

    def pooled(self) -> Released:
        """The same blocks, every one trained on all its rows together, without privacy."""
        plan, schema = self.rehearsal.plan, self.rehearsal.schema
        bins = public_bins(schema)
        spec = spec_of(plan, schema, bins)
        model = Model(
            spec=spec,
            bins=bins.digest,
            weights=tuple(np.zeros(block.size) for block in spec.blocks),
            calibration=(Calibration(alpha=0.0, beta=1.0),) * len(spec.blocks),
        )
        released = Released(plan=plan, schema=schema, bins=bins, model=model)
        for block in spec.blocks:
            rows = pooled_rows(released, block, self.tables, held_out=False)
            released = replace(released, model=trained(released, block, rows))
        return released

    def figures(self, released: Released, block: BlockSpec) -> LocalFigures:
        """Exact figures of a block on its held-out rows, which only a benchmark can see."""
        rows = pooled_rows(released, block, self.tables, held_out=True)
        line = released.model.calibration[released.model.spec.blocks.index(block)]
        logit = block_logits(released.model, block.name, rows.codes)
        return evaluate(calibrated(logit, line), rows.labels)


def closed_sums(session: RunSession, nodes: Mapping[PartnerId, Sums], seed: int | None) -> None:
    """Close all sums of a run but its evaluation; None: without any noise."""
    while session.state.stage not in {None, ReleaseKind.EVALUATION}:
        session.on_sum(_closed(session, nodes, seed))


def _closed(
    session: RunSession, nodes: Mapping[PartnerId, Sums], seed: int | None
) -> ClosedSum:
    """The due sum over all nodes."""
    request, inputs = session.request(tuple(nodes))
    # Not rctx, which differs between plans: with it no two arms could share their noise.
    context = hash_with(Label.CONTEXT, lp(request.kind.value.encode()), u32(request.round))
    words = []
    for name, node in nodes.items():
        own = Secret(hashlib.sha256(f"bench|{seed}|{name}".encode()).digest())
        node.prepare(request, inputs)
        exact = node.compute(request, inputs, seed=own, context=context)
        if seed is not None:
            _add_noise(session.plan, request, exact, (own, context))
        words.append(to_ring(exact.values))
    return ClosedSum(request=request, joined=context, total=to_signed(ring_sum(words)))


def _add_noise(
    plan: TrainingPlan, request: SumRequest, exact: ExactSum, keys: tuple[Secret, Digest]
) -> None:
    """By the rule of ``partner_node.training_session``."""
    noisy = exact.held if plan.noise_mode == "own" else np.ones_like(exact.held)
    exact.values[noisy] += noise_share(
        *keys, variance=int(request.variance), count=int(noisy.sum())
    )
