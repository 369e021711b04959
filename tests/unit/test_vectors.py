import io
import sys
import zipfile

import numpy as np
import pytest
from flwr.app import Array
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import Generator  # noqa: TID251 - the type of the tests' generator

from consortium.errors import DecodeError
from consortium.secagg.vectors import HEADER_BYTES, REALS, WORDS, read_vector


@pytest.mark.parametrize("count", [0, 1, 3, 999, 10_000])
def test_what_flower_writes_is_read_back_bit_for_bit(count: int, rng: Generator) -> None:
    words = rng.integers(0, 2**64, count, dtype=np.uint64)
    back = read_vector(Array(words).data, WORDS)
    assert (back.dtype, back.tobytes()) == (np.uint64, words.tobytes())
    reals = rng.normal(size=count)
    back = read_vector(Array(reals).data, REALS)
    assert (back.dtype, back.tobytes()) == (np.float64, reals.tobytes())
    assert back.flags.writeable


def _written(array: np.ndarray, **how: bool) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **how)
    return buffer.getvalue()


def _headed(fields: str) -> bytes:
    """Eight bytes of data under a header of the sender's making."""
    head = fields.encode().ljust(HEADER_BYTES - 11) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(8)


def _archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("words.npy", _written(np.zeros(3, dtype=np.uint64)))
    return buffer.getvalue()


SHAPED = "{{'descr': '<u8', 'fortran_order': False, 'shape': ({},), }}"
HOSTILE = {
    "nothing": b"",
    "magic only": b"\x93NUMPY",
    "archive": _archive(),
    "objects": _written(np.array([None]), allow_pickle=True),
    "other type": _written(np.zeros(3, dtype=np.int64)),
    "other width": _written(np.zeros(3, dtype=np.uint32)),
    "other byte order": _written(np.zeros(3, dtype=">u8")),
    "two axes": _written(np.zeros((3, 1), dtype=np.uint64)),
    "no axis": _written(np.zeros((), dtype=np.uint64)),
    "one byte short": _written(np.zeros(3, dtype=np.uint64))[:-1],
    "one word more": _written(np.zeros(3, dtype=np.uint64)) + bytes(8),
    "eight terabytes": _headed(SHAPED.format(2**40)),
    "more than an address": _headed(SHAPED.format(2**70)),
    "negative shape": _headed(SHAPED.format(-1)),
    "open brace": _headed("{'descr': '<u8'"),
    "expression": _headed("__import__('os').getpid()"),
    "deep nesting": _headed("(" * 100),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_bytes_that_no_honest_sender_writes_are_refused(name: str) -> None:
    with pytest.raises(DecodeError):
        read_vector(HOSTILE[name], WORDS)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_vector_or_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        read_vector(data, WORDS)


@pytest.mark.skipif(sys.byteorder != "little", reason="writes in its own order")
@given(st.integers(0, HEADER_BYTES - 1), st.integers(1, 255))
def test_every_byte_of_the_header_counts(place: int, change: int) -> None:
    data = bytearray(_written(np.arange(4, dtype=np.uint64)))
    data[place] ^= change
    with pytest.raises(DecodeError):
        read_vector(bytes(data), WORDS)
