"""A premium as the serving process hands it to the training process: flat bytes (7.18)."""

import struct

import numpy as np
from numpy.typing import NDArray

from consortium.errors import DecodeError
from consortium.ids import Digest
from consortium.scoring.head import STRATA
from consortium.scoring.premium import Impact, Premium

MOST_PERSONS = 1 << 24

_MAGIC = b"RWPM0002"
_HEAD = struct.Struct("<8s32sI")
_COLUMNS = 3
_FLAGS = 2
_OUTCOMES = (0, 1, 255)


def pack_impact(head: Digest, found: Impact) -> bytes:
    """``magic ‖ head ‖ u32 persons ‖ before ‖ after ‖ strata ‖ labels ‖ holdout``.

    The first three are of 8 bytes a person, little-endian, the last two of one.
    """
    lost = found.premium
    return b"".join(
        (
            _HEAD.pack(_MAGIC, bytes.fromhex(head), len(lost.before)),
            *(part.astype("<i8").tobytes() for part in (lost.before, lost.after, lost.strata)),
            found.labels.astype(np.uint8).tobytes(),
            found.holdout.astype(np.uint8).tobytes(),
        )
    )


def unpack_impact(data: bytes, head: Digest) -> Impact:
    """What ``pack_impact`` packed; DecodeError for other bytes, or another head's."""
    try:
        magic, digest, persons = _HEAD.unpack_from(data)
    except struct.error as error:
        raise DecodeError("premium: too short") from error
    if magic != _MAGIC or persons > MOST_PERSONS:
        raise DecodeError("premium: not of this form")
    if digest.hex() != head:
        raise DecodeError("premium of another head")
    if len(data) != _HEAD.size + (8 * _COLUMNS + _FLAGS) * persons:
        raise DecodeError(f"premium: {len(data)} bytes for {persons} persons")
    numbers: NDArray[np.int64] = np.frombuffer(
        data, "<i8", _COLUMNS * persons, _HEAD.size
    ).astype(np.int64)
    before, after, strata = numbers.reshape(_COLUMNS, persons)
    if persons and not 0 <= int(strata.min()) <= int(strata.max()) <= STRATA:
        raise DecodeError("premium: a stratum outside its range")
    at = _HEAD.size + 8 * _COLUMNS * persons
    labels, held = np.frombuffer(data, np.uint8, _FLAGS * persons, at).reshape(_FLAGS, persons)
    if not np.isin(labels, _OUTCOMES).all() or (held > 1).any():
        raise DecodeError("premium: an outcome or a flag outside its range")
    lost = Premium(before=before, after=after, strata=strata)
    return Impact(premium=lost, labels=labels.copy(), holdout=held.astype(np.bool_))
