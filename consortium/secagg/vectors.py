"""The one form in which a vector travels: NumPy's format, with an honest sender's header.

NumPy's own reader opens archives, parses the header as an expression and allocates what it
asks for, all before it looks at the data. Here the only header that an honest sender writes
for that many numbers is compared, byte for byte (protocol 12.4).
"""

import io
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from consortium.errors import DecodeError

HEADER_BYTES = 128
"""NumPy pads the header of a flat array of any length to this."""

WORDS, REALS = "<u8", "<f8"


def read_vector(data: bytes, dtype: str) -> NDArray[Any]:
    """The flat array in ``data``, of ``WORDS`` or ``REALS``.

    Raises:
        DecodeError: any other bytes. Nothing was allocated for them. Fault: the sender.
    """
    kind = np.dtype(dtype)
    count, rest = divmod(len(data) - HEADER_BYTES, kind.itemsize)
    if count < 0 or rest or data[:HEADER_BYTES] != _header(count, dtype):
        raise DecodeError(f"{len(data)} bytes are not a flat array of {dtype}")
    return np.frombuffer(data, kind, offset=HEADER_BYTES).astype(kind.newbyteorder("="))


def _header(count: int, dtype: str) -> bytes:
    buffer = io.BytesIO()
    fields = {"descr": dtype, "fortran_order": False, "shape": (count,)}
    npy.write_array_header_1_0(buffer, fields)
    return buffer.getvalue()
