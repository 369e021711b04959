"""The log as static files: hash tiles and entry bundles (C2SP tlog-tiles).

Paths and bytes only; where files lie is the roles'. A bundle is up to 256 entries, each after
its length in two bytes; a tile is up to 256 hashes of complete subtrees.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from consortium.canonical import u16
from consortium.errors import DecodeError, DomainError
from consortium.ledger.merkle import HASH_BYTES, Tree
from consortium.messages import LARGEST_ENTRY

WIDTH = 256
CHECKPOINT = "checkpoint"

_HEIGHT = 8
_PATH = re.compile(
    r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
)
_MOST_LEVELS = 64


@dataclass(frozen=True, slots=True)
class TilePath:
    """Which tile: of hashes at a level, or of entries (level None)."""

    level: int | None
    index: int
    width: int = WIDTH

    def __str__(self) -> str:
        level = "entries" if self.level is None else str(self.level)
        digits = f"{self.index:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
        number = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        part = "" if self.width == WIDTH else f".p/{self.width}"
        return f"tile/{level}/{number}{part}"


def parse_path(text: str) -> TilePath:
    """The tile of a path, or DecodeError."""
    match = _PATH.fullmatch(text)
    if match is None:
        raise DecodeError(f"not the path of a tile: {text[:80]!r}")
    found = TilePath(
        level=None if match[1] == "entries" else int(match[1]),
        index=int(match[2].replace("x", "").replace("/", "")),
        width=int(match[3]) if match[3] else WIDTH,
    )
    wide = match[3] is not None and found.width >= WIDTH
    if wide or (found.level or 0) >= _MOST_LEVELS or str(found) != text:
        raise DecodeError(f"not the path of a tile: {text[:80]!r}")
    return found


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """One bundle: each entry after its length.

    Raises:
        DomainError: no entry, more than 256, or one that is too long.
    """
    if not 1 <= len(entries) <= WIDTH:
        raise DomainError(f"a bundle of {len(entries)} entries")
    for entry in entries:
        if not 0 < len(entry) <= LARGEST_ENTRY:
            raise DomainError(f"an entry of {len(entry)} bytes")
    return b"".join(u16(len(entry)) + entry for entry in entries)


def decode_bundle(data: bytes) -> tuple[bytes, ...]:
    """The entries of one bundle.

    Raises:
        DecodeError: a length leads beyond the end, or there are no or too many entries. The
            text says at which entry. Fault: who made or changed it.
    """
    entries: list[bytes] = []
    start = 0
    while start < len(data):
        length = int.from_bytes(data[start : start + 2], "big")
        end = start + 2 + length
        if not length or end > len(data) or len(entries) == WIDTH:
            raise DecodeError(f"bundle: broken at its entry {len(entries)}")
        entries.append(data[start + 2 : end])
        start = end
    if not entries:
        raise DecodeError("bundle: empty")
    return tuple(entries)


def bundle_paths(size: int) -> tuple[TilePath, ...]:
    """The bundles that hold a log of ``size`` entries, in order."""
    return _level_paths(None, size)


def tile_paths(size: int) -> tuple[TilePath, ...]:
    """The hash tiles of a tree of ``size``, level by level; never an empty one."""
    paths: list[TilePath] = []
    level = 0
    while count := size >> (_HEIGHT * level):
        paths += _level_paths(level, count)
        level += 1
    return tuple(paths)


def _level_paths(level: int | None, count: int) -> tuple[TilePath, ...]:
    full, rest = divmod(count, WIDTH)
    whole = [TilePath(level, index) for index in range(full)]
    return (*whole, TilePath(level, full, rest)) if rest else tuple(whole)


def tile_of(tree: Tree, path: TilePath) -> bytes:
    """The hashes of one tile, MTH(D[(n·256+i)·256**l : (n·256+i+1)·256**l]) for each i."""
    if path.level is None:
        raise DomainError("a bundle of entries is not made from hashes")
    hashes = tree.complete(_HEIGHT * path.level)
    start = path.index * WIDTH
    found = hashes[start : start + path.width]
    if len(found) != path.width:
        raise DomainError(f"the tree of {tree.size} has no {path}")
    return b"".join(found)


def split_tile(data: bytes) -> tuple[bytes, ...]:
    """The hashes of a tile, or DecodeError."""
    count, rest = divmod(len(data), HASH_BYTES)
    if rest or not 1 <= count <= WIDTH:
        raise DecodeError(f"a tile of {len(data)} bytes")
    return tuple(data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES))


def files_of(entries: Sequence[bytes]) -> Mapping[str, bytes]:
    """The entry bundles of a log by path."""
    return {
        str(path): encode_bundle(part)
        for path, part in zip(bundle_paths(len(entries)), _parts(entries), strict=True)
    }


def _parts(entries: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(entries), WIDTH):
        yield entries[start : start + WIDTH]
