"""A bundle as one file: one way to write it, and nothing in it that reaches a disk."""

import io
import struct
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consortium.errors import DomainError, MessageTooLargeError
from consortium.ledger.archive import LARGEST_ARCHIVE, pack, unpack
from consortium.ledger.findings import Findings

names = st.from_regex(r"[a-z]{1,8}(/[a-z0-9.]{1,8}[a-z])?", fullmatch=True)


def unpacked(data: bytes) -> tuple[dict[str, bytes], list[str]]:
    findings = Findings()
    files = unpack(data, findings)
    return files, [one.name for one in findings.found]


@given(files=st.dictionaries(names, st.binary(max_size=300), max_size=6))
def test_any_files_are_read_back_and_any_zip_tool_reads_them(files: dict[str, bytes]) -> None:
    data = pack(files)
    assert unpacked(data) == (files, [])
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == files


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../b", "a//b", "c:x", "a\\b", ""])
def test_path_that_leads_elsewhere_is_not_packed_and_not_read(name: str) -> None:
    with pytest.raises(DomainError):
        pack({name: b"x"})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"x") if name else archive.writestr("a/", b"")
    files, found = unpacked(buffer.getvalue())
    assert files == {} or "bundle.header" in found
    assert "bundle.path" in found or not name.startswith(("/", ".", "a/.."))


def test_archive_of_another_writer_is_found() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("checkpoint", b"x" * 1000)
    assert {"bundle.header", "bundle.directory"} <= set(unpacked(buffer.getvalue())[1])


def test_file_that_is_there_twice_is_found() -> None:
    one = pack({"a": b"1"})
    head = one[: one.index(b"PK\x01\x02")]
    assert "bundle.path" in unpacked(head + one)[1]


def test_member_with_a_false_size_is_found_and_the_next_one_read() -> None:
    data = bytearray(pack({"a": b"1" * 50, "b": b"2" * 50}))
    data[18:26] = struct.pack("<II", 1 << 30, 1 << 30)
    files, found = unpacked(bytes(data))
    assert files["b"] == b"2" * 50
    assert "bundle.header" in found


def test_no_archive_at_all_is_found() -> None:
    for data in (b"", b"PK\x03\x04", b"nothing of the kind"):
        assert "bundle.directory" in unpacked(data)[1]


def test_archive_over_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(MessageTooLargeError):
        unpack(bytes(LARGEST_ARCHIVE + 1), Findings())
    with pytest.raises(DomainError):
        pack({"a": bytes(LARGEST_ARCHIVE)})
