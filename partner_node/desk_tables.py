"""What explains a served model: its weights in the units of a joint score (protocol 13.5).

The same integer tables that made the sum (``models.partials``). Made once for each pair of
model and head that a node serves; all of it is public.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from consortium.errors import OutOfOrderError
from consortium.features.schema import Schema
from consortium.ids import Digest, PartnerId
from consortium.manifest import ScoringPolicy
from consortium.plan import ModelKind
from consortium.scoring.head import ONE, Head, plain_head
from consortium.scoring.layout import TOTAL, Layout
from consortium.scoring.reasons import FamilyTable, Tables, remote_text, tables_of
from consortium.scoring.scorecard import to_units
from consortium.scoring.whatif import Labels
from models.document import ModelDocument
from models.partials import families_of, partial_units
from partner_node.answers import JointAnswer
from partner_node.desk import Line, Served


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What an answer was made with. Public."""

    document: ModelDocument
    head: Head | None
    """None: there is none yet, and slopes are one."""
    policy: ScoringPolicy


class Explainer:
    """Keeps what explains the newest pairs of model and head."""

    def __init__(
        self,
        basis: Callable[[JointAnswer], Basis | None],
        schema: Callable[[], Schema],
        member: PartnerId,
    ) -> None:
        """Remember where to look.

        Args:
            basis: What an answer was made with; None if this node serves no model.
            schema: Of the manifest in force. Blocks on a file; asked once for each pair.
            member: This partner: whose own blocks answer locally.
        """
        self._basis, self._schema, self._member = basis, schema, member
        self._made: dict[tuple[Digest, Digest | None, Digest], Served] = {}

    def __call__(self, answer: JointAnswer) -> Served:
        """What explains an answer.

        Raises:
            OutOfOrderError: no model is served here, so nothing can be said of anybody.
        """
        if answer.model is None:
            raise OutOfOrderError("no model is served here yet: nobody can be scored")
        key = (answer.model, answer.head, answer.policy)
        found = self._made.get(key)
        if found is None:
            basis = self._basis(answer)
            if basis is None:
                raise OutOfOrderError("the model that answered is not served any more")
            found = served_of(basis, schema=self._schema(), member=self._member)
            self._made = {**dict(list(self._made.items())[-3:]), key: found}
        return found


def served_of(basis: Basis, *, schema: Schema, member: PartnerId) -> Served:
    """Tables and lines of a model under a head."""
    document, policy = basis.document, basis.policy
    families = families_of(document.model.spec)
    columns = Layout(families, policy.disclosure).columns
    base = to_units(float(document.joint.base))
    head = basis.head or plain_head(columns, base)
    by_family, total = reason_tables(document, schema)
    slopes = (dict(zip(head.families, row, strict=True)) for row in head.beta)
    lines = (Line(alpha, row) for alpha, row in zip(head.alpha, slopes, strict=True))
    return Served(
        labels=Labels(schema, document.bins),
        tables=total if columns == (TOTAL,) else by_family,
        strata=(Line(head.base, {}), *lines),
        local=_local(document, member, base),
        local_tables={**by_family, **total},
        step=policy.reason_step,
    )


def reason_tables(document: ModelDocument, schema: Schema) -> tuple[Tables, Tables]:
    """By family, and of the total of all."""
    model = document.model
    families = families_of(model.spec)
    if model.spec.kind is not ModelKind.SCORECARD:
        features = {block.name: block.features for block in model.spec.blocks}
        by_block = {
            name: FamilyTable(
                name, (), {}, remote_text([schema.feature(one) for one in features[name]])
            )
            for name in families
        }
        return by_block, tables_of(schema, {}, families=(TOTAL,))
    units = partial_units(model, document.joint)
    weights = {
        name: tuple(table.tolist())
        for unit in units
        for name, table in zip(unit.features, unit.tables, strict=True)
    }
    centres = {unit.family: unit.centre for unit in units}
    return (
        tables_of(schema, weights, families=families, centres=centres),
        tables_of(schema, weights, families=(TOTAL,), centres=centres),
    )


def _local(document: ModelDocument, member: PartnerId, base: int) -> Line:
    """As ``models.serving`` scores locally: one block by its own line, several by the base."""
    model = document.model
    slopes: Mapping[str, int] = dict.fromkeys((*families_of(model.spec), TOTAL), ONE)
    held = [
        place for place, block in enumerate(document.plan.blocks) if member in block.holders
    ]
    if len(held) != 1:
        return Line(base, slopes)
    block, line = model.spec.blocks[held[0]], model.calibration[held[0]]
    scorecard = model.spec.kind is ModelKind.SCORECARD
    families = dict.fromkeys(block.families) if scorecard else (block.name,)
    centres = sum(document.joint.centre(family) for family in families)
    return Line(to_units(line.alpha + line.beta * centres), slopes)
