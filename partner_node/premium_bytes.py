"""An impact study as the serving process hands it to the training process: bytes (7.18)."""

import struct

import numpy as np
from numpy.typing import NDArray

from consortium.errors import DecodeError, DomainError
from consortium.ids import Digest
from consortium.scoring.head import STRATA
from consortium.scoring.premium import Impact, Premium

MOST_PERSONS = 1 << 24

_MAGIC = b"RWPM0003"
_HEAD = struct.Struct("<8s32sIB")
_COLUMNS = 3
_FLAGS = 2


def pack_impact(head: Digest, found: Impact) -> bytes:
    """``magic ‖ head ‖ u32 persons ‖ u8 attested ‖ columns ‖ labels ‖ holdout``.

    The columns are before, after and strata, and where the byte is 1 what an attestation comes
    to: of 8 bytes a person, little-endian. Labels and holdout are of one.
    """
    lost, attested = found.premium, found.attested
    columns = [lost.before, lost.after, lost.strata]
    columns += [] if attested is None else [attested]
    return b"".join(
        (
            _HEAD.pack(_MAGIC, bytes.fromhex(head), len(lost.before), attested is not None),
            *(part.astype("<i8").tobytes() for part in columns),
            found.labels.astype(np.uint8).tobytes(),
            found.holdout.astype(np.uint8).tobytes(),
        )
    )


def unpack_impact(data: bytes, head: Digest) -> Impact:
    """What ``pack_impact`` packed; DecodeError for other bytes, or another head's."""
    try:
        magic, digest, persons, shown = _HEAD.unpack_from(data)
    except struct.error as error:
        raise DecodeError("premium: too short") from error
    if magic != _MAGIC or persons > MOST_PERSONS or shown > 1:
        raise DecodeError("premium: not of this form")
    if digest.hex() != head:
        raise DecodeError("premium of another head")
    width = _COLUMNS + shown
    if len(data) != _HEAD.size + (8 * width + _FLAGS) * persons:
        raise DecodeError(f"premium: {len(data)} bytes for {persons} persons")
    numbers: NDArray[np.int64] = np.frombuffer(data, "<i8", width * persons, _HEAD.size).astype(
        np.int64
    )
    columns = numbers.reshape(width, persons)
    before, after, strata = columns[:_COLUMNS]
    if persons and not 0 <= int(strata.min()) <= int(strata.max()) <= STRATA:
        raise DecodeError("premium: a stratum outside its range")
    at = _HEAD.size + 8 * width * persons
    labels, held = np.frombuffer(data, np.uint8, _FLAGS * persons, at).reshape(_FLAGS, persons)
    if (held > 1).any():
        raise DecodeError("premium: a flag outside its range")
    try:
        return Impact(
            premium=Premium(before=before, after=after, strata=strata),
            labels=labels.copy(),
            holdout=held.astype(np.bool_),
            attested=columns[_COLUMNS] if shown else None,
        )
    except DomainError as error:
        raise DecodeError(f"premium: {error}") from error
