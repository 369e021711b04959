"""All that a privacy claim rests on, in one object with one digest (protocol 3.1).

The plan fixes what every node computes and how much noise it adds. What may change no
released number (threads, chunk sizes) is not here but in the node's own configuration.
Reading a plan file for people is the coordinator's; checking one is every node's.
"""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from fractions import Fraction

from consortium.errors import ConfigurationError
from consortium.figure import FigureSpec
from consortium.ids import Digest, PartnerId, RunId


class ModelKind(StrEnum):
    """Which family of models the run trains."""

    SCORECARD = "scorecard"
    MLP = "mlp"
    HEAD = "head"
    """Recalibration of a released model by coverage, on joint rows (protocol 7.11)."""
    TABLE = "table"
    """No model: one noisy table of a figure (protocol 13.11)."""
    HAZARD = "hazard"
    """Closure risk by cause, on line-months (protocol 3.4.10)."""


CLOSURE = "closure"
"""The one family of a hazard's one block: what partners know of their lines."""


class Algorithm(StrEnum):
    """How a round is computed."""

    SUM = "sum"
    """One exact clipped gradient sum over all rows a round (protocol 3.4)."""
    LOCAL_STEPS = "local_steps"
    """Several private steps at each node, then an average of the models (protocol 4.8)."""


class BinSource(StrEnum):
    """Where bin edges come from."""

    PUBLIC = "public"
    """All of them are in the schema; they cost nothing (protocol 5.2)."""
    PRIVATE = "private"
    """Features without edges get them from one noisy histogram (protocol 5.3)."""


class ReleaseKind(StrEnum):
    """What one noisy sum is for. Every aggregate of the product is one of these."""

    BINS = "bins"
    GRADIENT = "gradient"
    RECALIBRATION = "recalibration"
    OVERLAP = "overlap"
    """Persons by number of covered families and of partners (protocol 7.11)."""
    EVALUATION = "evaluation"
    TABLE = "table"
    """The one sum of a table release (protocol 13.11)."""


_LONGEST = 40
"""Characters of a decimal setting, and digits before or behind its point."""


def decimal(text: str, field: str, *, low: str, high: str) -> Fraction:
    """Parse a decimal string exactly; raise ConfigurationError outside [low, high]."""
    if len(text) > _LONGEST:
        raise ConfigurationError(f"{field}: more than {_LONGEST} characters")
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise ConfigurationError(f"{field}: {text!r} is not a decimal number") from error
    # Before it is a fraction: of 1e-100000000 the denominator would fill the memory.
    if value.is_finite() and value and abs(value.adjusted()) > _LONGEST:
        raise ConfigurationError(f"{field}: {text} has more than {_LONGEST} digits")
    if not value.is_finite() or not Decimal(low) <= value <= Decimal(high):
        raise ConfigurationError(f"{field}: {text} is outside {low} to {high}")
    return Fraction(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Feature families trained together on the rows of the partners that hold all of them.

    In a head's plan the families are those of the base model, and the holders are the askers,
    who need not hold them: their rows are joint sums (protocol 7.11).
    """

    name: str
    families: tuple[str, ...]
    holders: tuple[PartnerId, ...]
    normaliser: int
    """N0: a public constant near the number of training rows of the block; never measured."""
    holders_per_person: int | None = None
    """m_b: most holders of this block that may hold one person; None: the plan's m (4.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSettings:
    """Post-processing of the noisy sums (protocol 3.4.9). All decimals are strings."""

    kind: str = "adam"
    learning_rate: str = "0.05"
    beta1: str = "0.9"
    beta2: str = "0.99"
    tail: str = "0.5"
    """Share of the last iterates that are averaged into the released weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetShares:
    """Shares of mu squared of the training persons (protocol 5.6); they add up to 1."""

    bins: str = "0"
    training: str = "0.9"
    recalibration: str = "0.1"
    overlap: str = "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSteps:
    """The multi-step variant (protocol 4.8): Poisson batches at each node."""

    sample_rate: str
    """q of the Poisson sampler, from the plan and never from a data set's length."""
    steps: int
    """Private steps a round at each node."""
    noise_multiplier: str
    """Deviation of one step's noise in units of clip."""
    expected_batch: int
    """Public constant that a step's sum is divided by."""
    learning_rate: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """One run, from the first histogram to the evaluation."""

    run: RunId
    manifest: Digest
    schema: Digest
    code: Digest
    model: ModelKind
    hidden: tuple[int, ...] = ()
    """Widths of the hidden layers of the MLP; empty for the scorecard."""
    algorithm: Algorithm
    bin_source: BinSource
    blocks: tuple[Block, ...]
    clip: str
    """C, bound on the L2 norm of one row's gradient."""
    rounds: int
    spare_attempts: int
    """R: attempts that may fail without exceeding the claim."""
    histogram_attempts: int = 2
    """Attempts that the noise of each histogram is made for."""
    epsilon: str
    """Target for a person in training, and for a person in the hold-out."""
    delta: str
    max_partners_per_person: int
    """m: most partners that may hold one person (protocol 4.2)."""
    noise_mode: str = "shared"
    """"shared": the honest partners' noise suffices together (protocol 4.3); "own": each
    partner's noise suffices alone (protocol 4.8)."""
    honest_fraction: str = "0.5"
    """Share of a roster that is assumed not to collude; no more than the manifest's."""
    min_partners: int
    shares: BudgetShares
    optimizer: OptimizerSettings
    local: LocalSteps | None = None
    holdout_fraction: str
    holdout_salt: str
    """Person p is held out iff SHA-256(salt "|" p)[:8] / 2**64 < fraction (protocol 5.8)."""
    base: Digest | None = None
    """The released model that a head is for; None for every other plan."""
    start: str = ""
    """Log-odds that a head starts from, the base model's own, as a decimal; else empty."""
    figure: FigureSpec | None = None
    """What a table release counts; None for every other plan."""
