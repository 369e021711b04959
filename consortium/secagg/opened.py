"""What a partner opens to the regulator's program on its own premises (protocol 9.4).

JSON lines, canonical: the run with its seed, then one line for each attempt with the exact sum
and the mask keys of that attempt alone. The agreement key stays where it is: nobody finds keys
whose streams add up to words of its choice. All of it is secret, and is erased afterwards.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from consortium.crypto.keys import KEY_BYTES, Secret
from consortium.documents import document_of, parse_document
from consortium.errors import DecodeError
from consortium.ids import Digest, PartnerId, RunId
from consortium.messages import SumRequest
from consortium.plan import ReleaseKind
from consortium.secagg.replay import Exact

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedRun:
    """The first line."""

    run: RunId
    member: PartnerId
    manifest: Digest
    code: Digest
    """Of the installation that made the sums again."""
    seed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedKey:
    """The mask key shared with one other member in one attempt."""

    member: PartnerId
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedAttempt:
    """Every further line."""

    kind: ReleaseKind
    round: int
    attempt: int
    values: bytes = field(repr=False)
    """The exact sum, little-endian int64; empty: the rows could not be read."""
    held: bytes
    """One byte, 0 or 1, for each coordinate."""
    same_rows: bool
    keys: tuple[OpenedKey, ...]
    """None at all: they could not be made."""

    def exact(self) -> Exact | None:
        """The sum over the rows; DecodeError if the parts do not belong together."""
        if not self.values:
            return None
        if len(self.values) != 8 * len(self.held) or set(self.held) - {0, 1}:
            raise DecodeError("opened sum: values and places do not belong together")
        return Exact(
            values=np.frombuffer(self.values, dtype="<i8").astype(np.int64),
            held=np.frombuffer(self.held, dtype=np.uint8).astype(np.bool_),
            same_rows=self.same_rows,
        )

    def mask_keys(self) -> Mapping[PartnerId, Secret] | None:
        """By the other member; DecodeError for keys of another length."""
        if any(len(one.key) != KEY_BYTES for one in self.keys):
            raise DecodeError("opened key: not 32 bytes")
        return {one.member: Secret(one.key) for one in self.keys} if self.keys else None


def opened_attempt(
    request: SumRequest, exact: Exact | None, keys: Mapping[PartnerId, Secret] | None
) -> OpenedAttempt:
    """One attempt as it is handed over. Secret."""
    return OpenedAttempt(
        kind=request.kind,
        round=request.round,
        attempt=request.attempt,
        values=b"" if exact is None else exact.values.astype("<i8").tobytes(),
        held=b"" if exact is None else exact.held.astype(np.uint8).tobytes(),
        same_rows=exact is None or exact.same_rows,
        keys=tuple(
            OpenedKey(member=name, key=key.expose())
            for name, key in sorted((keys or {}).items())
        ),
    )


def line_of(value: OpenedRun | OpenedAttempt) -> bytes:
    """One line, its end included."""
    return document_of(value) + b"\n"


def read_opened(lines: Iterable[bytes]) -> tuple[OpenedRun, Iterator[OpenedAttempt]]:
    """The run and its attempts, one at a time; DecodeError naming the field."""
    rest = iter(lines)
    first = next(rest, b"")
    run = parse_document(OpenedRun, first.rstrip(b"\n"))
    if len(run.seed) != KEY_BYTES:
        raise DecodeError("opened seed: not 32 bytes")
    return run, (parse_document(OpenedAttempt, one.rstrip(b"\n")) for one in rest)
