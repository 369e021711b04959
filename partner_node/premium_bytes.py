"""A premium as the serving process hands it to the training process: flat bytes (7.18)."""

import struct

import numpy as np
from numpy.typing import NDArray

from consortium.errors import DecodeError
from consortium.ids import Digest
from consortium.scoring.head import STRATA
from consortium.scoring.premium import Premium

MOST_PERSONS = 1 << 24

_MAGIC = b"RWPM0001"
_HEAD = struct.Struct("<8s32sI")
_COLUMNS = 3


def pack_premium(head: Digest, lost: Premium) -> bytes:
    """``magic ‖ head ‖ u32 persons ‖ before ‖ after ‖ strata``, all little-endian."""
    return b"".join(
        (
            _HEAD.pack(_MAGIC, bytes.fromhex(head), len(lost.before)),
            *(part.astype("<i8").tobytes() for part in (lost.before, lost.after, lost.strata)),
        )
    )


def unpack_premium(data: bytes, head: Digest) -> Premium:
    """The premium of ``pack_premium``; DecodeError for other bytes, or another head's."""
    try:
        magic, digest, persons = _HEAD.unpack_from(data)
    except struct.error as error:
        raise DecodeError("premium: too short") from error
    if magic != _MAGIC or persons > MOST_PERSONS:
        raise DecodeError("premium: not of this form")
    if digest.hex() != head:
        raise DecodeError("premium of another head")
    if len(data) != _HEAD.size + 8 * _COLUMNS * persons:
        raise DecodeError(f"premium: {len(data)} bytes for {persons} persons")
    numbers: NDArray[np.int64] = np.frombuffer(data, "<i8", offset=_HEAD.size).astype(np.int64)
    before, after, strata = numbers.reshape(_COLUMNS, persons)
    if persons and not 0 <= int(strata.min()) <= int(strata.max()) <= STRATA:
        raise DecodeError("premium: a stratum outside its range")
    return Premium(before=before, after=after, strata=strata)
