"""What a released model says of one partner's rows, in the units of a joint score.

A scorecard's partial logits are sums of integer tables (``models.partials``), so that what a
partner sends and what its desk explains are the same number. Integers in units of ``2**-32``
log-odds leave this file; how they are summed is ``consortium.scoring``'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consortium.errors import DataError, DomainError
from consortium.features.bins import MISSING
from consortium.ids import PartnerId
from consortium.plan import ModelKind
from consortium.scoring.layout import LOGIT_LIMIT
from consortium.scoring.scorecard import UNIT_BITS, to_units
from models.document import ModelDocument
from models.inference import block_logits
from models.partials import FamilyUnits, partial_units
from models.spec import BlockSpec

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Codes = NDArray[np.uint8]
Float = NDArray[np.float64]

_UNIT = float(1 << UNIT_BITS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Partial logits of n rows, by own family. Private."""

    logits: Mapping[str, Integers]
    """int64 of shape (n,), units."""
    covered: Mapping[str, Flags]
    """Whether the row has any value of the family, shape (n,)."""


class Serving:
    """One partner's blocks of a released model, over codes with known columns."""

    def __init__(
        self, document: ModelDocument, member: PartnerId, columns: Sequence[str]
    ) -> None:
        """Find the blocks that the partner holds, and their columns.

        Args:
            document: Public.
            member: Whose rows they are.
            columns: Feature of each column of the codes that will be given.

        Raises:
            DataError: a feature of a held block is not among the columns.
        """
        self._document = document
        self._model = document.model
        held = zip(document.plan.blocks, document.model.spec.blocks, strict=True)
        self.blocks = tuple(spec for block, spec in held if member in block.holders)
        """The blocks that the partner has the features of."""
        self._columns = {name: place for place, name in enumerate(columns)}
        for block in self.blocks:
            for name in block.features:
                if name not in self._columns:
                    raise DataError(f"block {block.name}: no column {name!r}")
        self._units: tuple[FamilyUnits, ...] = ()
        if self._model.spec.kind is ModelKind.SCORECARD:
            names = {block.name for block in self.blocks}
            units = partial_units(document.model, document.joint)
            self._units = tuple(one for one in units if one.block in names)

    @property
    def base(self) -> int:
        """Log-odds of a person nobody knows, units."""
        return to_units(float(self._document.joint.base))

    def parts(self, codes: Codes) -> Parts:
        """Centred partial logits of rows, shape (n, columns), by family."""
        if self._model.spec.kind is not ModelKind.SCORECARD:
            return self._block_parts(codes)
        logits: dict[str, Integers] = {}
        covered: dict[str, Flags] = {}
        try:
            for unit in self._units:
                own = codes[:, [self._columns[name] for name in unit.features]]
                total = np.full(len(codes), -unit.centre, dtype=np.int64)
                for place, table in enumerate(unit.tables):
                    total += table[own[:, place]]
                logits[unit.family] = np.clip(total, -LOGIT_LIMIT, LOGIT_LIMIT)
                covered[unit.family] = np.any(own != MISSING, axis=1)
        except IndexError as error:
            raise DomainError("a code is not below its feature's number of bins") from error
        return Parts(logits=logits, covered=covered)

    def local_eta(self, codes: Codes) -> Integers:
        """Log-odds of bad by the partner's own blocks alone, recalibrated, units.

        One block gives its own recalibrated log-odds. Several are added as in a joint score
        without a head: base and centred parts, of a family without any value nothing.
        """
        if len(self.blocks) == 1:
            block = self.blocks[0]
            line = self._model.calibration[self._model.spec.blocks.index(block)]
            return _units(line.alpha + line.beta * self._raw(block, codes))
        total = np.full(len(codes), self.base, dtype=np.int64)
        parts = self.parts(codes)
        for name, values in parts.logits.items():
            total += values * parts.covered[name]
        return total

    def _block_parts(self, codes: Codes) -> Parts:
        """An MLP does not split: each block is one family, under its own name."""
        logits: dict[str, Integers] = {}
        covered: dict[str, Flags] = {}
        for block in self.blocks:
            line = self._model.calibration[self._model.spec.blocks.index(block)]
            centre = self._document.joint.centre(block.name)
            logits[block.name] = _units(line.beta * (self._raw(block, codes) - centre))
            covered[block.name] = np.any(self._own(block, codes) != MISSING, axis=1)
        return Parts(logits=logits, covered=covered)

    def _raw(self, block: BlockSpec, codes: Codes) -> Float:
        return block_logits(self._model, block.name, self._own(block, codes))

    def _own(self, block: BlockSpec, codes: Codes) -> Codes:
        places = [self._columns[name] for name in block.features]
        return np.ascontiguousarray(codes[:, places])


def _units(logits: Float) -> Integers:
    limit = LOGIT_LIMIT / _UNIT
    units: Integers = np.rint(np.clip(np.nan_to_num(logits), -limit, limit) * _UNIT).astype(
        np.int64
    )
    return units
