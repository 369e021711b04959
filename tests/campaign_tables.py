"""Released tables of campaigns in a coordinator's database, with the product's own noise."""

from collections.abc import Mapping
from hashlib import sha256

import numpy as np

from consortium.canonical import canonical_json
from consortium.credit.figures import Terms, figure_plan, published
from consortium.credit.table_document import TYPE, table_digest
from consortium.credit.waves import Arm, Fate
from consortium.crypto.keys import Secret
from consortium.documents import plain_of
from consortium.figure import FigureSpec
from consortium.ids import Digest, PartnerId, RunId
from consortium.plan import ReleaseKind
from consortium.privacy.mechanism import mechanism_for
from consortium.privacy.noise import noise_share
from consortium.release import Attempt, Outcome
from coordinator.storage import Store
from coordinator.table_releases import figure_digest
from coordinator.table_storage import TableRow, TableStore

HOLDERS = tuple(PartnerId(name) for name in ("bank_a", "bank_b", "shop"))
_NONE = Digest("00" * 32)

Wave = Mapping[tuple[Arm, Fate], int]


def vector(spec: FigureSpec, wave: int, counts: Wave) -> np.ndarray:
    """One partner's exact part of a campaign's table."""
    found = np.zeros(spec.shape, dtype=np.int64)
    for (arm, fate), count in counts.items():
        found[wave, list(Arm).index(arm), list(Fate).index(fate)] = count
    return found.reshape(-1) << 20


def add_table(
    store: Store, spec: FigureSpec, exact: np.ndarray, *, epsilon: str = "8"
) -> Digest:
    """Release a table of these counts, and keep it; its release id."""
    run = RunId(
        sha256(spec.filter("look").encode() + spec.filter("turn").encode()).hexdigest()[:32]
    )
    plan = figure_plan(
        spec, Terms(epsilon=epsilon), run=run, holders=HOLDERS, under=(_NONE, _NONE, _NONE)
    )
    made = mechanism_for(plan, ReleaseKind.TABLE, width=1, partners=len(HOLDERS))
    total = exact.copy()
    for name in HOLDERS:
        seed = Secret(sha256(name.encode() + run.encode()).digest())
        total += noise_share(seed, _NONE, variance=made.variance, count=spec.size)
    attempt = Attempt(
        kind=ReleaseKind.TABLE,
        round=1,
        attempt=1,
        roster=HOLDERS,
        outcome=Outcome.SUMMED,
        missing=(),
        reasons=(),
        charged=True,
    )
    table = published(plan, total, attempts=(attempt,))
    # Without its privacy statement, which takes long and is the audit's to check.
    parts = {"plan": plain_of(plan), "table": plain_of(table), "statement": {}}
    document = canonical_json({"type": TYPE, **parts})
    row = TableRow(
        release=table.release,
        digest=table_digest(document),
        figure=figure_digest(spec),
        kind=spec.kind.value,
        first=spec.first,
        last=spec.last,
        run=run,
        document=document,
        at=0,
    )
    TableStore(store).add(row)
    return table.release
