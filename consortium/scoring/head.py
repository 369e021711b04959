"""The head: one offset per stratum and one slope per stratum and family (protocol 7.11).

Integers decide, so any machine comes to the same log-odds. How a head is trained is the
models'; this is what is released, hashed and applied.
"""

from dataclasses import dataclass

from consortium.documents import document_of, parse_document
from consortium.errors import DecodeError, DomainError
from consortium.scoring.scorecard import UNIT_BITS

STRATA = 3
"""1, 2, and 3 or more covered families."""

ONE = 1 << UNIT_BITS
"""A slope of one."""

ALPHA_LIMIT = 1 << 42
"""Most of an offset, 1,024 in log-odds; larger ones are refused."""

BETA_LIMIT = 1 << 41
"""Most of a slope, 512; with it no product leaves its bounds (``combine.joint_eta``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """``eta = alpha_s + Σ_f ((beta_sf · z_f) >> 32)``. Public.

    Raises:
        DomainError: sizes that do not fit, or a number outside its bounds.
    """

    families: tuple[str, ...]
    """Columns of the layout, in its order."""
    base: int
    """b of the released model, units: the log-odds of a person nobody knows."""
    alpha: tuple[int, ...]
    """Offsets of strata 1, 2, 3+, units."""
    beta: tuple[tuple[int, ...], ...]
    """Slopes of strata 1, 2, 3+ by family, in units of 2**-32."""

    def __post_init__(self) -> None:
        sizes = {len(row) for row in self.beta}
        if len(self.alpha) != STRATA or len(self.beta) != STRATA:
            raise DomainError(f"head of {len(self.alpha)}, {len(self.beta)} strata")
        if sizes != {len(self.families)} or not self.families:
            raise DomainError(f"slopes for {sizes} of {len(self.families)} families")
        if any(abs(value) > ALPHA_LIMIT for value in (self.base, *self.alpha)):
            raise DomainError("an offset of the head is outside its bounds")
        if any(abs(value) > BETA_LIMIT for row in self.beta for value in row):
            raise DomainError("a slope of the head is outside its bounds")


def plain_head(families: tuple[str, ...], base: int) -> Head:
    """The head of a model that was not calibrated yet: its base, and all slopes one."""
    slopes = (ONE,) * len(families)
    return Head(families=families, base=base, alpha=(base,) * STRATA, beta=(slopes,) * STRATA)


def head_bytes(head: Head) -> bytes:
    """Canonical JSON of the head."""
    return document_of(head)


def parse_head(data: bytes) -> Head:
    """Return the head, or raise DecodeError."""
    try:
        return parse_document(Head, data)
    except DomainError as error:
        raise DecodeError(f"head: {error}") from error
