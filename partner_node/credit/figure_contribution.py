"""What this node counts of the others' contributions: its own held-out persons' losses.

It judges with the models' documents, which it has from its own tests of them (``riskweave node
validate``), and with nothing that the operator says of them: who is missing in a model, and
that its hold-out was the same, stands in the plan that the document was made under.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from consortium.credit.contribution_table import gain_entries, left_out
from consortium.credit.figure_forms import VERSION_DIGITS
from consortium.credit.figures import Entry
from consortium.errors import DataError, DomainError, RefusalCode, RefusalError
from consortium.figure import FigureSpec
from consortium.ids import PartnerId
from consortium.plan import ModelKind
from consortium.scoring.scorecard import UNIT_BITS
from models.contribution import differences
from models.document import ModelDocument, parse_any, verify_version
from models.serving import Serving
from partner_node import ingest, wiring
from partner_node.ingest import EncodedTable

Float = NDArray[np.float64]

_UNIT = float(1 << UNIT_BITS)
_KINDS = (ModelKind.SCORECARD, ModelKind.MLP)


def contribution_entries(desk: wiring.Desk, spec: FigureSpec) -> Sequence[Entry]:
    """An entry for each own held-out person and each model without another partner. Private.

    Scores are of this partner's own blocks, as when it scores alone: joint scores would need
    every model served by everybody. A partner without rows in the model of all counts nothing.

    Raises:
        RefusalError: a model that this node does not have, or that was not trained like the
            model of all but for one partner. The run is refused as R05.
        ConfigurationError, DataError: of the table of rows.
    """
    whole = _document(desk, spec.filter("model"))
    member = desk.config.partner
    judged = {
        cell: document
        for cell, document in enumerate(
            _document(desk, version) for version in spec.axes[0].cells
        )
        if _left_out(whole, document) != member
    }
    held = {name for block in whole.plan.blocks for name in block.holders}
    if member not in held:
        return ()
    labels, with_all = _scores(desk, whole)
    found = {}
    for cell, document in judged.items():
        again, without = _scores(desk, document)
        if not np.array_equal(again, labels):
            raise DataError("the table of rows changed while it was read")
        found[cell] = differences(without, with_all, labels)
    return gain_entries(spec, [str(row) for row in range(len(labels))], found)


def _document(desk: wiring.Desk, digits: str) -> ModelDocument:
    """The model that this node has tested and that begins with these digits; RefusalError."""
    store = desk.store()
    for version in store.versions.models():
        data = store.versions.model(version) if version[:VERSION_DIGITS] == digits else None
        if data is None:
            continue
        verify_version(data, version)
        document = parse_any(data, desk.pinned().schema)
        if isinstance(document, ModelDocument) and document.plan.model in _KINDS:
            return document
    raise RefusalError(
        RefusalCode.PLAN, "the table names a model that was not validated at this node"
    )


def _left_out(whole: ModelDocument, less: ModelDocument) -> PartnerId:
    try:
        return left_out(whole.plan, less.plan)
    except DomainError as error:
        raise RefusalError(RefusalCode.PLAN, str(error)) from error


def _scores(desk: wiring.Desk, document: ModelDocument) -> tuple[NDArray[np.uint8], Float]:
    """Labels and log-odds of the own held-out persons, in the table's order. Private."""
    pin, member, plan = desk.pinned(), desk.config.partner, document.plan
    table: EncodedTable = ingest.load(
        desk.data_source(),
        pin.schema,
        document.bins,
        pin.manifest.member(member).families,
        holdout=(plan.holdout_salt, plan.holdout_fraction),
    )
    out = table.holdout
    columns = [feature.name for feature in table.features]
    eta = Serving(document, member, columns).local_eta(np.ascontiguousarray(table.codes[out]))
    return table.labels[out], eta / _UNIT
