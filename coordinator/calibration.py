"""The plan of a head: what the operator decides, and what follows from the active model.

Written as the text of a plan file, so that it goes through the one door that every plan goes
through, and can be kept, read and changed by people (protocol 7.11).
"""

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from consortium.errors import ConfigurationError
from consortium.ids import Digest, PartnerId
from consortium.manifest import Disclosure, Manifest
from consortium.plan import ModelKind, decimal

if TYPE_CHECKING:
    from models.document import ModelDocument

BLOCK = "head"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSettings:
    """What the operator decides of a head's run."""

    epsilon: str = "0.29"
    """For a person, beside what the base model cost: units add up, epsilons do not (5.6)."""
    rounds: int = 40
    clip: str = "1.25"
    learning_rate: str = "0.1"
    tail: str = "0.6"
    overlap: str = "0.05"
    """Share of the training persons' mu squared for the count of the study."""
    askers: tuple[PartnerId, ...] = ()
    """Who studies its own labelled customers; empty: the holders of the first block."""
    normaliser: int = 0
    """N0; 0: the first block's, or what the studies may hold, whichever is less."""


def head_plan(
    base: Digest, document: "ModelDocument", manifest: Manifest, settings: HeadSettings
) -> str:
    """The plan file of a head for a released model.

    Raises:
        ConfigurationError: nobody may ask for joint scores under this manifest, or an asker
            is named that may not.
    """
    # The operator's other commands need neither numpy nor the models.
    from consortium.scoring.layout import TOTAL  # noqa: PLC0415
    from models.partials import families_of  # noqa: PLC0415

    plan, scoring = document.plan, manifest.policy.scoring
    first = plan.blocks[0]
    able = [member.id for member in manifest.partners if scoring.may_ask(member.id)]
    askers = settings.askers or tuple(name for name in first.holders if name in able)
    if not askers:
        raise ConfigurationError(
            f"delivery = {scoring.delivery.value}: nobody who could ask has the labels"
        )
    if strangers := set(askers) - set(able):
        raise ConfigurationError(f"{min(strangers)} may not ask for joint scores")
    families = families_of(document.model.spec)
    if scoring.disclosure is Disclosure.TOTAL_ONLY:
        families = (TOTAL,)
    most = scoring.studies_per_release * len(askers)
    tables: tuple[tuple[str, dict[str, str | int | list[str]]], ...] = (
        (
            "[plan]",
            {
                "model": ModelKind.HEAD.value,
                "base": base,
                "start": document.joint.base,
                "rounds": settings.rounds,
                "clip": settings.clip,
                "epsilon": settings.epsilon,
                "noise": plan.noise_mode,
                "honest_fraction": plan.honest_fraction,
                "holdout_fraction": plan.holdout_fraction,
                "holdout_salt": plan.holdout_salt,
            },
        ),
        ("[optimizer]", {"learning_rate": settings.learning_rate, "tail": settings.tail}),
        (
            "[shares]",
            {
                "training": _rest(settings.overlap),
                "recalibration": "0",
                "overlap": settings.overlap,
            },
        ),
        (
            "[[block]]",
            {
                "name": BLOCK,
                "families": list(families),
                "holders": sorted(askers),
                "normaliser": settings.normaliser or min(first.normaliser, most),
            },
        ),
    )
    lines: list[str] = []
    for head, values in tables:
        lines += [head, *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""]
    return "\n".join(lines)


def _rest(share: str) -> str:
    """``1 − share`` exactly."""
    decimal(share, "overlap", low="0.0001", high="0.9")
    return str(1 - Decimal(share))
