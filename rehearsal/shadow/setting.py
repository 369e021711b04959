"""What a shadow federation is made of: schema, members, plan and rows (protocol 9.2).

All follows from the settings and one seed, and nothing from anybody's data: a shadow run
cannot name a real person, and its budget is a database that is deleted with it. The schema is
made here and not read from a file: the canaries' feature has more bins than a file may.
"""

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from consortium.canonical import lp
from consortium.crypto.keys import AgreementKey, IdentityKey, Secret, hkdf
from consortium.crypto.stream import WordStream
from consortium.errors import ConfigurationError
from consortium.features.columns import Direction, Disclosure, Feature, Kind
from consortium.features.concepts import Concept
from consortium.features.grids import Scale
from consortium.features.schema import LabelDefinition, Schema
from consortium.ids import Digest, PartnerId, RunId
from consortium.manifest import Manifest, Member, Policy, Role
from consortium.plan import (
    Algorithm,
    BinSource,
    Block,
    BudgetShares,
    ModelKind,
    OptimizerSettings,
    TrainingPlan,
    decimal,
)
from partner_node.ingest import DataReport, EncodedTable

Codes = NDArray[np.uint8]
Flags = NDArray[np.bool_]
Float = NDArray[np.float64]

MODEL, CANARIES = "model", "canaries"
"""Families, and the blocks of the same names."""

FEATURES, BINS = 15, 13
"""Of the model block: 195 coordinates, as many as the scorecard of the examples."""
ROWS = 400
"""Of each holder of the model block."""
RECORDS = 200
"""Mislabelled rows, each in the run by a coin of its own."""

CLIP = "0.1"
"""Far below the residual of any canary, 1 / (1 + e^1.2): each is clipped to exactly C."""
_STEPS_IN_ALL = 1.2
"""The farthest that a weight can go, which keeps the residuals above C."""
_NEARLY_ALL, _REST = "0.999999", "0.000001"
"""Shares of training and of the recalibration, which a shadow run does not reach."""
_FEWEST_PARTNERS = 3
_CANARY_BOUNDS = (100, 20_000)
_ROUND_BOUNDS = (1, 1_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The claim to be tested, and how."""

    code: Digest
    """Hash of the installation that is audited."""
    epsilon: str
    delta: str = "0.000001"
    canaries: int
    """M."""
    rounds: int = 60
    """T, with canaries; and once more on no data."""
    partners: int = 4
    """K; the last one holds the canaries, the others the model's rows."""
    noise_mode: str = "shared"

    def __post_init__(self) -> None:
        """Raise ConfigurationError for what no audit can be made of."""
        decimal(self.epsilon, "--epsilon", low="0.05", high="20")
        decimal(self.delta, "--delta", low="1E-12", high="0.001")
        for name, value, (low, high) in (
            ("--canaries", self.canaries, _CANARY_BOUNDS),
            ("--rounds", self.rounds, _ROUND_BOUNDS),
            ("--partners", self.partners, (_FEWEST_PARTNERS, 20)),
        ):
            if not low <= value <= high:
                raise ConfigurationError(f"{name}: {value} is outside {low} to {high}")

    @property
    def width(self) -> int:
        """Coordinates of a sum: the model's, one for each canary, and the missing bin."""
        return FEATURES * BINS + self.canaries + 1

    @property
    def honest(self) -> int:
        """Partners whose noise the claim rests on: all of them, or the holder alone."""
        return self.partners if self.noise_mode == "shared" else 1

    @property
    def names(self) -> tuple[PartnerId, ...]:
        """The shadow partners, sorted; the last one holds the canaries."""
        return tuple(PartnerId(f"shadow_{number:02d}") for number in range(self.partners))


@dataclass(frozen=True, slots=True)
class Keys:
    """One shadow partner's."""

    identity: IdentityKey
    agreement: AgreementKey
    run_seed: Secret


def derived(seed: Secret, purpose: str) -> Secret:
    """A seed for one purpose; all chance of a shadow run comes from these."""
    return hkdf(seed, b"", b"riskweave/shadow/v1" + lp(purpose.encode()))


def keys_of(seed: Secret, name: str) -> Keys:
    """The keys of a shadow partner. They sign for nobody else."""
    return Keys(
        IdentityKey.from_secret(derived(seed, f"{name}/identity")),
        AgreementKey.from_secret(derived(seed, f"{name}/agreement")),
        derived(seed, f"{name}/run"),
    )


def schema_of(settings: Settings) -> Schema:
    """Features of few bins for the model, one of a bin for each canary."""
    model = [_feature(f"f{number:02d}", MODEL, BINS) for number in range(FEATURES)]
    canary = _feature("canary", CANARIES, settings.canaries + 1)
    return Schema(
        name="shadow",
        version=1,
        label=LabelDefinition(name="bad", definition="synthetic: nobody's default"),
        features=(*model, canary),
        groups=(),
    )


def _feature(name: str, family: str, bins: int) -> Feature:
    edges = tuple(str(edge) for edge in range(1, bins - 1))
    return Feature(
        name=name,
        family=family,
        kind=Kind.INTEGER,
        unit="count",
        concept=Concept.UTILISATION,
        range=("0", str(bins)),
        scale=Scale.LINEAR,
        edges=edges,
        categories=(),
        direction=Direction.NONE,
        disclosure=Disclosure.OWN,
        reason="R03",
        reason_zh="x",
        reason_en="x",
    )


def manifest_of(settings: Settings, schema: Schema, seed: Secret) -> Manifest:
    """The shadow partners under a policy that lets any claim be tested."""
    members = []
    for index, name in enumerate(settings.names, 1):
        keys = keys_of(seed, name)
        members.append(
            Member(
                id=name,
                index=index,
                role=Role.PARTNER,
                identity=keys.identity.public.hex(),
                agreement=keys.agreement.public.hex(),
                witness="",
                tls_spki=settings.code,
                families=(MODEL, CANARIES),
            )
        )
    policy = Policy(
        min_partners=settings.partners,
        max_partners_per_person=1,
        delta=settings.delta,
        max_epsilon_per_run="100",
        max_epsilon_lifetime="100",
        model_kinds=(ModelKind.SCORECARD.value,),
        code=(),
        vote_quorum=settings.partners,
        honest_fraction="1",
    )
    return Manifest(
        federation="shadow",
        version=1,
        previous=None,
        not_before=0,
        schema=schema.digest,
        members=tuple(members),
        policy=policy,
    )


def plan_of(settings: Settings, manifest: Manifest, run: RunId) -> TrainingPlan:
    """One row costs exactly the claim: all partners' noise counts, and no attempt is spare."""
    *model, canary = settings.names
    blocks = (
        Block(name=MODEL, families=(MODEL,), holders=tuple(model), normaliser=ROWS),
        Block(
            name=CANARIES,
            families=(CANARIES,),
            holders=(canary,),
            normaliser=settings.canaries,
        ),
    )
    return TrainingPlan(
        run=run,
        manifest=manifest.digest,
        schema=manifest.schema,
        code=settings.code,
        model=ModelKind.SCORECARD,
        algorithm=Algorithm.SUM,
        bin_source=BinSource.PUBLIC,
        blocks=blocks,
        clip=CLIP,
        rounds=settings.rounds,
        spare_attempts=0,
        epsilon=settings.epsilon,
        delta=settings.delta,
        max_partners_per_person=1,
        noise_mode=settings.noise_mode,
        honest_fraction="1",
        min_partners=settings.partners,
        shares=BudgetShares(training=_NEARLY_ALL, recalibration=_REST),
        optimizer=OptimizerSettings(
            learning_rate=f"{min(0.05, _STEPS_IN_ALL / settings.rounds):.6f}"
        ),
        holdout_fraction="0",
        holdout_salt="shadow",
    )


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """All rows that there might be, and the coins that say which are."""

    codes: Codes
    """Of the model's known rows, shape (rows, features)."""
    labels: Codes
    record_codes: Codes
    """Of the mislabelled rows, shape (200, features)."""
    record_labels: Codes
    records_in: Flags
    canaries_in: Flags
    """Shape (M,)."""


def population_of(settings: Settings, seed: Secret) -> Population:
    """Synthetic rows whose risk rises with their codes, from the seed alone."""
    stream = WordStream(derived(seed, "rows"))
    count = ROWS * (settings.partners - 1)
    codes, labels = _rows(stream, count)
    record_codes, plausible = _rows(stream, RECORDS)
    return Population(
        codes=codes,
        labels=labels,
        record_codes=record_codes,
        record_labels=1 - plausible,
        records_in=_coins(stream, RECORDS),
        canaries_in=_coins(stream, settings.canaries),
    )


def _rows(stream: WordStream, count: int) -> tuple[Codes, Codes]:
    words = stream.take(count * FEATURES).reshape(count, FEATURES)
    codes = (words % np.uint64(BINS - 1)).astype(np.uint8) + np.uint8(1)
    risk = codes.sum(axis=1) + _unit(stream, count) * BINS * math.sqrt(FEATURES)
    return codes, (risk > np.quantile(risk, 0.75)).astype(np.uint8)


def _unit(stream: WordStream, count: int) -> Float:
    numbers: Float = (stream.take(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return numbers


def _coins(stream: WordStream, count: int) -> Flags:
    return (stream.take(count) >> np.uint64(63)).astype(np.bool_)


def table_of(
    settings: Settings, schema: Schema, name: PartnerId, population: Population | None
) -> EncodedTable:
    """One partner's rows; none at all without a population."""
    *model, canary = settings.names
    features = schema.of_families((CANARIES,) if name == canary else (MODEL,))
    if population is None:
        return _table(features, np.zeros((0, len(features)), np.uint8), np.zeros(0, np.uint8))
    if name == canary:
        # Two bytes a code: the models take them, though no file may ask for so many bins.
        codes: NDArray[Any] = (np.flatnonzero(population.canaries_in) + 1).astype(np.uint16)
        return _table(features, codes[:, np.newaxis], np.ones(codes.size, np.uint8))
    mine = slice(ROWS * model.index(name), ROWS * (model.index(name) + 1))
    codes, labels = population.codes[mine], population.labels[mine]
    if name == model[0]:
        there = population.records_in
        codes = np.concatenate([codes, population.record_codes[there]])
        labels = np.concatenate([labels, population.record_labels[there]])
    return _table(features, codes, labels)


def _table(features: tuple[Feature, ...], codes: NDArray[Any], labels: Codes) -> EncodedTable:
    return EncodedTable(
        features=features,
        codes=cast("Codes", codes),
        labels=labels,
        holdout=np.zeros(labels.size, dtype=np.bool_),
        report=DataReport(
            rows=labels.size,
            accepted=labels.size,
            rejects=(),
            positives=int(labels.sum()),
            held_out=0,
            features=(),
        ),
    )
