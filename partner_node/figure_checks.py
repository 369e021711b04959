"""What a node checks of a plan for a table before anything is reserved (protocol 13.11)."""

from consortium.credit.figure_forms import check_cells
from consortium.credit.figures import BLOCK
from consortium.errors import (
    BudgetExceededError,
    ConfigurationError,
    RefusalCode,
    RefusalError,
)
from consortium.manifest import Manifest
from consortium.plan import Algorithm, BinSource, TrainingPlan, decimal


def check_figure(manifest: Manifest, plan: TrainingPlan) -> None:
    """A table: its kind, cost, cells and block are such as everybody signed.

    Raises:
        RefusalError: the manifest does not allow the figure, a cell is not of the public form
            of its kind (R05), a holder is no partner (R02), or m_b is too low (R10).
        BudgetExceededError: above what the manifest lets one table cost.
    """
    policy, figure = manifest.policy.figures, plan.figure
    if figure is None or figure.kind not in policy.kinds:
        raise RefusalError(RefusalCode.PLAN, "the manifest allows no such figure")
    asked = decimal(plan.epsilon, "plan.epsilon", low="0", high="100")
    if asked > decimal(policy.run_epsilon, "figures.run_epsilon", low="0", high="100"):
        raise BudgetExceededError(
            f"a table asks epsilon {plan.epsilon}, the cap is {policy.run_epsilon}"
        )
    _check_block(manifest, plan)
    try:
        check_cells(figure)
    except ConfigurationError as error:
        raise RefusalError(RefusalCode.PLAN, str(error)) from error


def _check_block(manifest: Manifest, plan: TrainingPlan) -> None:
    """One block without families, of partners, and nothing that only training has."""
    simple = (plan.algorithm, plan.bin_source) == (Algorithm.SUM, BinSource.PUBLIC)
    trained = plan.base is not None or plan.start or plan.hidden or plan.local is not None
    if not simple or trained or len(plan.blocks) != 1:
        raise RefusalError(RefusalCode.PLAN, "a table has one block and trains nothing")
    block = plan.blocks[0]
    if block.families or block.name != BLOCK or not block.holders:
        raise RefusalError(RefusalCode.PLAN, "a table's block has holders and no families")
    if stranger := sorted(set(block.holders) - {one.id for one in manifest.partners}):
        raise RefusalError(RefusalCode.MEMBER, f"{stranger[0]} is no active partner")
    if tuple(sorted(set(block.holders))) != block.holders:
        raise RefusalError(RefusalCode.PLAN, "holders are not sorted and unique")
    least, stated = manifest.policy.max_partners_per_person, block.holders_per_person
    if stated is not None and stated < least:
        raise RefusalError(RefusalCode.NOISE, "fewer holders a person than the manifest says")
