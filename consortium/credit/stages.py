"""Stages of deterioration and expected loss (credit 3.2 row 7, 4.8).

The two backstops, 30 and 90 days past due, are no setting. A line climbs at once and comes down
only after its months of cure, one stage at a time. PDs are millionths, so that every machine
replays the same stage. This is monitoring, not accounting.
"""

import decimal
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum, StrEnum

from consortium.credit.outcomes import INDETERMINATE_FROM, M3_PLUS_FROM
from consortium.credit.policy import StageRules
from consortium.credit.terms import MILLION, Ppm, half_up
from consortium.errors import DomainError
from consortium.scoring.scorecard import ETA_LIMIT, UNIT_BITS

_FIRST_YEAR = 12
_LIMIT = int(ETA_LIMIT) << UNIT_BITS
_CONTEXT = decimal.Context(prec=40)


class Stage(IntEnum):
    """From sound to impaired."""

    ONE = 1
    TWO = 2
    THREE = 3


class Trigger(StrEnum):
    """What put a line where it is."""

    DPD90 = "DPD90"
    CHARGE_OFF = "CHARGE_OFF"
    LOSS_FORBEARANCE = "LOSS_FORBEARANCE"
    DPD30 = "DPD30"
    PD_RATIO = "PD_RATIO"
    PD_STEP = "PD_STEP"
    WATCH = "WATCH"
    PD_UNKNOWN = "PD_UNKNOWN"


STAGE_THREE = frozenset({Trigger.DPD90, Trigger.CHARGE_OFF, Trigger.LOSS_FORBEARANCE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What a stage is judged by. Private."""

    dpd: int | None
    charged_off: bool
    loss_forbearance: bool
    pd_origination: Ppm | None
    pd_now: Ppm | None
    watch: bool
    """A listed watch flag."""
    months_on_book: int


@dataclass(frozen=True, slots=True)
class Staging:
    """A line's stage, and how far its cure has come."""

    stage: Stage
    clean_months: int
    """Month ends in a row without any trigger, while in stage 2."""
    paid_months: int
    """Paid months in a row without a trigger of stage 3, while in stage 3."""


def pd_ppm(eta: int) -> Ppm:
    """The PD of log-odds in units of 2**-32, in millionths, half up: the same everywhere."""
    clamped = Decimal(min(max(eta, -_LIMIT), _LIMIT))
    odds = _CONTEXT.exp(_CONTEXT.divide(clamped, Decimal(1 << UNIT_BITS)))
    pd = _CONTEXT.divide(odds, _CONTEXT.add(odds, Decimal(1)))
    scaled = _CONTEXT.multiply(pd, Decimal(MILLION))
    return Ppm(int(scaled.to_integral_value(rounding=decimal.ROUND_HALF_UP)))


def triggers_of(condition: Condition, rules: StageRules) -> tuple[Trigger, ...]:
    """All that fires, those of stage 3 first.

    Raises:
        DomainError: the days past due are missing.
    """
    dpd = condition.dpd
    if dpd is None or dpd < 0:
        raise DomainError("days past due are missing, or negative: this is not stage 1")
    fired = {
        Trigger.DPD90: dpd >= M3_PLUS_FROM,
        Trigger.CHARGE_OFF: condition.charged_off,
        Trigger.LOSS_FORBEARANCE: condition.loss_forbearance,
        Trigger.DPD30: dpd >= INDETERMINATE_FROM,
        **_pd_triggers(condition, rules),
        Trigger.WATCH: condition.watch,
    }
    return tuple(trigger for trigger, is_on in fired.items() if is_on)


def stage_of(triggers: Sequence[Trigger]) -> Stage:
    """The stage that triggers ask for, without any cure to be waited for."""
    if STAGE_THREE & set(triggers):
        return Stage.THREE
    return Stage.TWO if triggers else Stage.ONE


def begin(condition: Condition, rules: StageRules) -> Staging:
    """Where a line stands when it is first judged."""
    return Staging(stage_of(triggers_of(condition, rules)), 0, 0)


def follow(before: Staging, condition: Condition, *, paid: bool, rules: StageRules) -> Staging:
    """Where a line stands a month end later.

    Args:
        before: Its standing at the month end before.
        condition: Now.
        paid: Whether all dues of the month were paid.
        rules: The policy's thresholds and months of cure.
    """
    asked = stage_of(triggers_of(condition, rules))
    if asked > before.stage:
        return Staging(asked, 0, 0)
    if before.stage is Stage.THREE:
        months = before.paid_months + 1 if paid and asked < Stage.THREE else 0
        if months >= rules.paid_months:
            return Staging(Stage.TWO, 0, 0)
        return Staging(Stage.THREE, 0, months)
    months = before.clean_months + 1 if asked is Stage.ONE else 0
    if before.stage is Stage.ONE or months >= rules.cure_months:
        return Staging(Stage.ONE, 0, 0)
    return Staging(Stage.TWO, months, 0)


def _pd_triggers(condition: Condition, rules: StageRules) -> dict[Trigger, bool]:
    origin, now = condition.pd_origination, condition.pd_now
    if now is None:
        return {Trigger.PD_UNKNOWN: True}
    if origin is None:
        return {Trigger.PD_UNKNOWN: condition.months_on_book < _FIRST_YEAR}
    doubled = now * MILLION >= rules.pd_ratio * origin and now >= rules.pd_floor
    return {Trigger.PD_RATIO: doubled, Trigger.PD_STEP: now - origin >= rules.pd_step}


# --- expected loss ----------------------------------------------------------------------------


def exposure_at_default(balance: int, limit: int, ccf: Ppm) -> int:
    """``balance + ccf·(limit − balance)``, in minor units; an overdrawn line is its balance."""
    owed = max(balance, 0)
    return owed + half_up(max(limit - owed, 0) * ccf, MILLION)


def loss_12(pd: Ppm, lgd: Ppm, exposure: int) -> int:
    """``EL12 = PD·LGD·EAD``, in minor units: the loss of stage 1."""
    return half_up(pd * lgd * exposure, MILLION * MILLION)


def loss_of_life(
    marginal: Sequence[Ppm], exposures: Sequence[int], *, lgd: Ppm, price: Ppm
) -> int:
    """The loss of stages 2 and 3: month by month, discounted at the line's price.

    Args:
        marginal: PD of each remaining month.
        exposures: At default in that month, minor units.
        lgd: Loss given default.
        price: Yearly; a twelfth of it a month.

    Raises:
        DomainError: not as many exposures as months.
    """
    if len(marginal) != len(exposures):
        raise DomainError("as many exposures as months are needed")
    year = Decimal(12 * MILLION)
    factor = _CONTEXT.divide(year, _CONTEXT.add(year, Decimal(price)))
    total, discount = Decimal(0), Decimal(1)
    for pd, exposure in zip(marginal, exposures, strict=True):
        discount = _CONTEXT.multiply(discount, factor)
        loss = _CONTEXT.multiply(Decimal(pd * lgd * exposure), discount)
        total = _CONTEXT.add(total, loss)
    return half_up(int(total), MILLION * MILLION)
