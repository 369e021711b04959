"""The document of one published table: figure, plan, privacy statement, noisy integers.

A pure function of the plan, the closed sum and the attempts on record. The coordinator keeps
it under its release id, a run of the log is closed with its digest, and an audit makes the
same bytes again (protocol 13.11).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consortium.canonical import Label, canonical_json, hash_with, parse_canonical
from consortium.credit.figures import NoisyTable, published
from consortium.documents import plain_of, value_of
from consortium.errors import DecodeError
from consortium.ids import Digest
from consortium.plan import TrainingPlan
from consortium.privacy.statement import statement
from consortium.release import Attempt

Integers = NDArray[np.int64]

TYPE = "riskweave/table/v1"
_FIELDS = {"type", "plan", "table", "statement"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDocument:
    """A table with the plan that it was made by."""

    plan: TrainingPlan
    table: NoisyTable
    statement: Mapping[str, object]


def table_bytes(plan: TrainingPlan, total: Integers, attempts: Sequence[Attempt]) -> bytes:
    """The canonical document of a finished table run.

    Args:
        plan: Of the kind ``table``.
        total: The published sum, shape (d,), int64.
        attempts: All of the run, in order; the last one made the sum.

    Raises:
        DomainError: no attempt made a sum, or the plan has no figure.
        ShapeError: the sum is of another figure.
        TrustError: the accountants disagree (protocol 4.7).
    """
    table = published(plan, total, attempts=attempts)
    return canonical_json(
        {
            "type": TYPE,
            "plan": plain_of(plan),
            "table": plain_of(table),
            "statement": statement(plan, attempts, width=1, grid=0),
        }
    )


def table_digest(document: bytes) -> Digest:
    """What a run of the log is closed with, and the bundle's file is named by."""
    return hash_with(Label.TABLE, document)


def parse_table_document(document: bytes) -> TableDocument:
    """Read a document; DecodeError naming what is wrong with it."""
    plain = parse_canonical(document)
    if not isinstance(plain, dict) or set(plain) != _FIELDS or plain["type"] != TYPE:
        raise DecodeError(f"no document of type {TYPE}")
    if not isinstance(plain["statement"], dict):
        raise DecodeError("a table without a privacy statement")
    return TableDocument(
        plan=value_of(TrainingPlan, plain["plan"]),
        table=value_of(NoisyTable, plain["table"]),
        statement=plain["statement"],
    )
