"""A bundle as one file: a ZIP archive that can be written in one way only (protocol 8.7 (1)).

Members are stored, sorted, without dates, comments or extra fields, so the same files make the
same bytes and every byte of the archive means something: one that is flipped is found, in a
header as well as in a file. Any ZIP tool opens it. Nothing is ever extracted to a disk.
"""

import struct
import zlib
from collections.abc import Mapping

from consortium.errors import DomainError, MessageTooLargeError
from consortium.ledger.findings import Check, Findings

LARGEST_ARCHIVE = 256 << 20
MOST_FILES = 60_000
_LONGEST_NAME = 200

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_LOCAL_SIGN, _CENTRAL_SIGN, _END_SIGN = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_VERSION = 20
_FIRST_DAY = 0x21
"""1 January 1980, the archive format's first."""


def pack(files: Mapping[str, bytes]) -> bytes:
    """The archive of ``files``, path to bytes.

    Raises:
        DomainError: too many or too large, or a path that is not plain ASCII.
    """
    parts: list[bytes] = []
    for name, data in sorted(files.items()):
        if not name.isascii() or not 0 < len(name) <= _LONGEST_NAME or not _plain(name):
            raise DomainError(f"not the path of a bundle's file: {name[:80]!r}")
        parts += [_local(name, data), data]
    parts.append(_directory(files))
    whole = b"".join(parts)
    if len(whole) > LARGEST_ARCHIVE or len(files) > MOST_FILES:
        raise DomainError(f"a bundle of {len(files)} files and {len(whole)} bytes")
    return whole


def unpack(data: bytes, findings: Findings) -> dict[str, bytes]:
    """The files of an archive; whatever is not as ``pack`` writes it is a finding.

    Raises:
        MessageTooLargeError: over the limit, before anything of it is read.
    """
    if len(data) > LARGEST_ARCHIVE:
        raise MessageTooLargeError(len(data), LARGEST_ARCHIVE)
    files: dict[str, bytes] = {}
    start, last = 0, ""
    while data[start : start + 4] == _LOCAL_SIGN and len(files) <= MOST_FILES:
        name, content, end = _member(data, start)
        if not _plain(name) or name in files:
            text = f"a path that is absolute, leads upwards or is there twice: {name[:80]!r}"
            findings.error(Check.BUNDLE, "bundle.path", text)
        else:
            files[name] = content
            head = data[start : start + _LOCAL.size + len(name.encode("latin-1"))]
            if head != _local(name, content) or name <= last:
                text = "header, checksum or order are not what its content makes them"
                findings.error(Check.BUNDLE, "bundle.header", text, place=name)
            last = name
        start = end
    if data[start:] != _directory(files):
        text = f"the directory, {len(data) - start} bytes at {start}, is not that of the files"
        findings.error(Check.BUNDLE, "bundle.directory", text)
    return files


def _member(data: bytes, start: int) -> tuple[str, bytes, int]:
    """Name, content and end of the member at ``start``; a false size is worked around."""
    fields = _LOCAL.unpack(data[start : start + _LOCAL.size].ljust(_LOCAL.size, b"\0"))
    size, name_size = fields[8], fields[9]
    begin = start + _LOCAL.size + name_size
    name = data[start + _LOCAL.size : begin].decode("latin-1")
    end = begin + size
    if data[end : end + 4] not in {_LOCAL_SIGN, _CENTRAL_SIGN, _END_SIGN}:
        nexts = [data.find(sign, begin) for sign in (_LOCAL_SIGN, _CENTRAL_SIGN)]
        end = min([one for one in nexts if one >= 0], default=len(data))
    return name, data[begin:end], end


def _plain(name: str) -> bool:
    parts = name.split("/")
    odd = "\\" in name or ":" in name or not name.isprintable()
    return not odd and not {"", ".", ".."} & set(parts)


def _local(name: str, data: bytes) -> bytes:
    raw = name.encode("latin-1")
    check, size = zlib.crc32(data), len(data)
    head = (_LOCAL_SIGN, _VERSION, 0, 0, 0, _FIRST_DAY, check, size, size, len(raw), 0)
    return _LOCAL.pack(*head) + raw


def _directory(files: Mapping[str, bytes]) -> bytes:
    parts: list[bytes] = []
    offset = 0
    for name, data in sorted(files.items()):
        raw = name.encode("latin-1")
        check, size = zlib.crc32(data), len(data)
        head = (_CENTRAL_SIGN, _VERSION, _VERSION, 0, 0, 0, _FIRST_DAY, check, size, size)
        parts.append(_CENTRAL.pack(*head, len(raw), 0, 0, 0, 0, 0, offset) + raw)
        offset += _LOCAL.size + len(raw) + size
    directory = b"".join(parts)
    count = len(files)
    return directory + _END.pack(_END_SIGN, 0, 0, count, count, len(directory), offset, 0)
