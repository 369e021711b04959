"""Whether a person's line elsewhere was closed lately, asked as sums over all others (7.17).

Each holder says three bits of a person, 0 or 1: whether a lender's closure fell into the last
90 days, whether one of an active line did for no fault of the person, and whether a line is
active. An asker learns their sums over all partners and keeps two facts of them: the bit of
CLOSURE_SIGNAL and, with IMPACT_STUDY, the arm that the person has in the measuring of
elasticities (credit 4.15). The sums travel as those of a joint score do: same masks, receipts,
quotas and rule against differencing, with a layout of their own in place of a model's.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from consortium.canonical import Label, canonical_json, hash_with
from consortium.errors import ShapeError
from consortium.ids import Digest
from consortium.inquiries import Purpose
from consortium.scoring.consent import Receipts
from consortium.scoring.layout import Flags, Integers, JointSums, Layout, Words, encode_holding

CLOSED, WITHDRAWN, ACTIVE = "closed", "withdrawn", "active"
COLUMNS = (CLOSED, WITHDRAWN, ACTIVE)
LAYOUT = Layout(COLUMNS)
"""Eight words a person: of each column a logit, which is 0, and a number of holders."""
VERSION: Digest = hash_with(
    Label.CLOSURE_LAYOUT, canonical_json({"columns": list(COLUMNS), "days": 90})
)
"""What an inquiry names in place of a model."""
WITHDRAWN_ELSEWHERE, OPEN_ELSEWHERE, NO_ARM = 1, 0, -1


def encode_bits(bits: Flags, held: Flags, *, allowed: Flags) -> Words:
    """One partner's words for n persons, before masks (protocol 7.1, 7.17).

    Args:
        bits: Shape (n, 3), in the order of COLUMNS; of strangers any. Private.
        held: Who is a customer here and has not withdrawn, shape (n,). Private.
        allowed: What each person's receipt allows, shape (n, 3).

    Raises:
        ShapeError: arrays that do not belong together.
    """
    if bits.shape != (len(held), len(COLUMNS)):
        raise ShapeError(f"bits of shape {bits.shape} for {len(held)} persons")
    nothing = np.zeros(len(held), dtype=np.int64)
    return encode_holding(LAYOUT, dict.fromkeys(COLUMNS, nothing), held, allowed=allowed & bits)


def columns_of(purposes: Collection[Purpose]) -> int:
    """Bits of a receipt's columns: the first, and with IMPACT_STUDY all of them."""
    return (1 << len(COLUMNS)) - 1 if Purpose.IMPACT_STUDY in purposes else 1


def allowed_columns(receipts: Receipts) -> Flags:
    """Columns that each receipt allows, shape (n, 3): the last two with IMPACT_STUDY only."""
    allowed = receipts.allowed(len(COLUMNS))
    signal = receipts.granted(Purpose.CLOSURE_SIGNAL)
    study = signal & receipts.granted(Purpose.IMPACT_STUDY)
    columns: Flags = allowed & np.column_stack([signal, study, study])
    return columns


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What an asker keeps of n persons; the sums are dropped. Private."""

    closed: Flags = field(repr=False)
    """The bit of CLOSURE_SIGNAL, shape (n,)."""
    arms: Integers = field(repr=False)
    """1: an active line was withdrawn elsewhere. 0: no line was closed, and one is active.
    -1: neither, or no consent to the study. Shape (n,)."""


def elsewhere(sums: JointSums, *, study: Flags) -> Elsewhere:
    """The bit and the arm of each person, from the sums over all other partners.

    Args:
        sums: Of ``LAYOUT``; the asker itself added zeros. Private.
        study: Who consented to IMPACT_STUDY, shape (n,).

    Raises:
        ShapeError: sums of another layout.
    """
    if sums.columns != COLUMNS or study.shape != sums.partners.shape:
        raise ShapeError(f"sums of {sums.columns} are not about closures")
    closed, withdrawn, active = (sums.counts[:, place] > 0 for place in range(len(COLUMNS)))
    arms = np.full(len(closed), NO_ARM, dtype=np.int64)
    arms[study & ~closed & active] = OPEN_ELSEWHERE
    arms[study & withdrawn] = WITHDRAWN_ELSEWHERE
    return Elsewhere(closed=closed, arms=arms)
