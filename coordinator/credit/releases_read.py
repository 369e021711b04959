"""Releases out of a folder of documents, for who has only been given files.

A file holds one noisy table, one overlap count, or a list of such counts, in canonical JSON;
whatever else is refused by name, so that nothing is left out silently.
"""

from pathlib import Path

from consortium.canonical import parse_canonical
from consortium.credit.figures import NoisyTable, parse_table
from consortium.documents import value_of
from consortium.errors import ConfigurationError, DataError, ProtocolError
from consortium.identity.overlap import OverlapCount
from coordinator.credit.stress import Stored

_LARGEST = 16 << 20


def read_folder(folder: Path) -> Stored:
    """All releases in the ``*.json`` files of a folder.

    Raises:
        ConfigurationError: no such folder, no file in it, or a file that is no release.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise ConfigurationError(f"{folder}: no folder with *.json files of releases")
    tables: list[NoisyTable] = []
    overlaps: list[OverlapCount] = []
    for file in files:
        try:
            _read(file, tables, overlaps)
        except (ProtocolError, DataError, ConfigurationError) as error:
            raise ConfigurationError(f"{file.name}: no release: {error}") from error
    return Stored(tables=tuple(tables), overlaps=tuple(overlaps))


def _read(file: Path, tables: list[NoisyTable], overlaps: list[OverlapCount]) -> None:
    if file.stat().st_size > _LARGEST:
        raise ConfigurationError(f"above {_LARGEST} bytes")
    data = file.read_bytes().rstrip(b"\n")
    plain = parse_canonical(data)
    if isinstance(plain, dict) and "spec" in plain:
        tables.append(parse_table(data))
        return
    listed = plain if isinstance(plain, list) else [plain]
    overlaps += [_count(one) for one in listed]


def _count(plain: object) -> OverlapCount:
    found = value_of(OverlapCount, plain)
    if found.noisy < 0 or found.variance < 1:
        raise ConfigurationError("an overlap count below 0, or without noise")
    return found
