"""What a node refuses of a plan before anything is reserved or read."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from consortium.errors import BudgetExceededError, ConfigurationError, RefusalCode, RefusalError
from consortium.ids import digest_of
from consortium.plan import Algorithm, LocalSteps, ModelKind, TrainingPlan
from partner_node.plan_checks import BOUNDS, SessionFacts, check_plan
from tests.simulator import Consortium

LOCAL = LocalSteps(
    sample_rate="0.01",
    steps=1,
    noise_multiplier="4",
    expected_batch=100,
    learning_rate="0.1",
)
OURS, OTHER = digest_of(b"code"), digest_of(b"other code")


@pytest.fixture(scope="module")
def house() -> Consortium:
    return Consortium()


def facts(house: Consortium, *code: str) -> SessionFacts:
    policy = replace(house.manifest.policy, code=code)  # type: ignore[arg-type]
    return SessionFacts(
        member=next(iter(house.nodes)),
        manifest=replace(house.manifest, policy=policy),
        schema=house.schema,
        code=OURS,
        caps={"training": 1, "holdout": 1},
        run_epsilon="8",
    )


def test_networks_are_refused_where_their_libraries_are_missing(
    house: Consortium,
) -> None:
    here = replace(facts(house), networks=False)
    check_plan(here, house.plan)
    for plan in (
        replace(house.plan, model=ModelKind.MLP, hidden=(4,)),
        replace(house.plan, algorithm=Algorithm.LOCAL_STEPS, local=LOCAL),
    ):
        with pytest.raises(RefusalError, match=r"networks are not installed: riskweave\[net"):
            check_plan(here, plan)


def _block(field: str, make: Callable[[int], object]) -> Callable[..., TrainingPlan]:
    return lambda plan, n: replace(
        plan, blocks=(plan.blocks[0], replace(plan.blocks[1], **{field: make(n)}))
    )


def _local(**fixed: object) -> Callable[..., TrainingPlan]:
    def made(plan: TrainingPlan, n: int, field: str = "steps") -> TrainingPlan:
        local = replace(LOCAL, **{field: n})  # type: ignore[arg-type]
        return replace(plan, local=local, algorithm=Algorithm.LOCAL_STEPS, **fixed)  # type: ignore[arg-type]

    return made


SETTERS: dict[str, Callable[..., TrainingPlan]] = {
    "rounds": lambda plan, n: replace(plan, rounds=n),
    "spare_attempts": lambda plan, n: replace(plan, spare_attempts=n),
    "histogram_attempts": lambda plan, n: replace(plan, histogram_attempts=n),
    "max_partners_per_person": lambda plan, n: replace(plan, max_partners_per_person=n),
    "hidden, layers": lambda plan, n: replace(plan, hidden=(4,) * n),
    "hidden, widths": lambda plan, n: replace(plan, hidden=(4, n)),
    "holdout_salt, characters": lambda plan, n: replace(plan, holdout_salt="x" * n),
    "start, characters": lambda plan, n: replace(plan, start="1" * n),
    "blocks": lambda plan, n: replace(plan, blocks=plan.blocks[:1] * n),
    "block.name, characters": _block("name", lambda n: "x" * n),
    "block.families": _block("families", lambda n: ("billing",) * n),
    "block.holders": _block("holders", lambda n: ("shop_c",) * n),
    "block.normaliser": _block("normaliser", lambda n: n),
    "local.steps": _local(rounds=1, spare_attempts=0),
    "local.expected_batch": lambda plan, n: _local()(plan, n, "expected_batch"),
    "local.steps of the run": lambda plan, n: _local(
        rounds=n // 200, spare_attempts=0, max_partners_per_person=2
    )(plan, 100),
}


def _outside() -> Iterable[tuple[str, int]]:
    for field, _, low, high in BOUNDS:
        yield field, high + (200 if field == "local.steps of the run" else 1)
        if low > 0 and field != "local.steps of the run":
            yield field, low - 1


@pytest.mark.parametrize(("field", "value"), list(_outside()))
def test_plan_that_would_cost_memory_or_time_is_refused(
    house: Consortium, field: str, value: int
) -> None:
    plan = SETTERS[field](house.plan, value)
    with pytest.raises(RefusalError, match=rf"plan\.{field}: ") as caught:
        check_plan(facts(house), plan)
    assert caught.value.reason is RefusalCode.PLAN


@pytest.mark.parametrize(
    ("field", "low", "high"), [(f, low, high) for f, _, low, high in BOUNDS]
)
def test_plan_at_a_bound_is_not_refused_for_it(
    house: Consortium, field: str, low: int, high: int
) -> None:
    for value in (max(low, 200) if field == "local.steps of the run" else low, high):
        plan = SETTERS[field](house.plan, value)
        try:
            check_plan(facts(house), replace(plan, manifest=facts(house).manifest.digest))
        except RefusalError as error:
            assert f"plan.{field}:" not in str(error)  # noqa: PT017 - others may not fit it


def test_two_blocks_of_one_name_are_refused_before_anything_is_charged(
    house: Consortium,
) -> None:
    """Their sums would be told apart by the name: the run failed when its budget was spent."""
    check_plan(facts(house), house.plan)
    first, second = house.plan.blocks
    twins = replace(house.plan, blocks=(first, replace(second, name=first.name)))
    with pytest.raises(RefusalError, match="two blocks have one name"):
        check_plan(facts(house), twins)


def test_local_steps_of_an_absurd_epsilon_are_refused_before_the_exact_accountant(
    house: Consortium,
) -> None:
    plan = _local()(house.plan, 1000)
    assert plan.local is not None
    loud = replace(plan, local=replace(plan.local, sample_rate="0.5", noise_multiplier="0.5"))
    with pytest.raises(BudgetExceededError, match="local steps cost about"):
        check_plan(facts(house), loud)
    louder = replace(plan, local=replace(plan.local, noise_multiplier="0.2"))
    with pytest.raises(ConfigurationError, match="noise_multiplier"):
        check_plan(facts(house), louder)


@pytest.mark.parametrize(
    ("allowed", "planned", "accepted"),
    [
        ((), OTHER, True),
        ((OURS,), OURS, True),
        ((OURS, OTHER), OTHER, True),
        ((OURS,), OTHER, False),
        ((OTHER,), OTHER, False),
    ],
)
def test_plan_of_software_that_the_manifest_does_not_name_is_refused(
    house: Consortium, allowed: tuple[str, ...], planned: str, *, accepted: bool
) -> None:
    known = facts(house, *allowed)
    plan = replace(house.plan, code=planned, manifest=known.manifest.digest)  # type: ignore[arg-type]
    if accepted:
        check_plan(known, plan)
        return
    with pytest.raises(RefusalError, match="code") as caught:
        check_plan(known, plan)
    assert caught.value.reason is RefusalCode.PLAN
