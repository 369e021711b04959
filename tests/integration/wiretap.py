"""A tap between one node and the coordinator, and a detector of what must not be there.

The tap terminates TLS on both sides, with the keys of both, as no attacker could: it sees
every byte before encryption. The detector looks for a value in each form in which software
writes one.
"""

import asyncio
import base64
import re
import ssl
import struct
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _PADDED = 0, 0x8
_SHORT = 8
"""Needles of fewer bytes turn up by chance; they count only if two values are found."""


@dataclass
class Tap:
    """All plaintext of all connections, each direction apart."""

    address: str = ""
    flows: list[bytearray] = field(default_factory=list)

    def captured(self) -> list[bytes]:
        """Every byte as it was written, and every message put together again."""
        raw = [bytes(flow) for flow in self.flows]
        return [*raw, *(message for flow in raw for message in messages(flow))]


def messages(flow: bytes) -> Iterator[bytes]:
    """The gRPC messages of one direction of an HTTP/2 connection, none of them compressed."""
    streams: dict[int, bytearray] = defaultdict(bytearray)
    at = len(PREFACE) if flow.startswith(PREFACE) else 0
    while at + 9 <= len(flow):
        size = int.from_bytes(flow[at : at + 3], "big")
        kind, flags = flow[at + 3], flow[at + 4]
        stream = int.from_bytes(flow[at + 5 : at + 9], "big") & 0x7FFFFFFF
        body = flow[at + 9 : at + 9 + size]
        if kind == _DATA:
            streams[stream] += body[1 : len(body) - body[0]] if flags & _PADDED else body
        at += 9 + size
    for content in streams.values():
        start = 0
        while start + 5 <= len(content):
            assert content[start] == 0, "a compressed message cannot be searched"
            size = int.from_bytes(content[start + 1 : start + 5], "big")
            yield bytes(content[start + 5 : start + 5 + size])
            start += 5 + size


# --- the tap ----------------------------------------------------------------------------------


@contextmanager
def tapped(coordinator: Path, node: Path, target: tuple[str, int]) -> Iterator[Tap]:
    """Listen on a free port with the coordinator's certificate; dial on with the node's."""
    tap = Tap()
    loop = asyncio.new_event_loop()
    ready, stop = threading.Event(), asyncio.Event()

    async def serve() -> None:
        inside = _server_side(coordinator / "keys")
        outside = _client_side(node / "keys")

        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _carry(tap, (reader, writer), target, outside)

        server = await asyncio.start_server(carry, "127.0.0.1", 0, ssl=inside)
        async with server:
            tap.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield tap
    finally:
        loop.call_soon_threadsafe(stop.set)


def _server_side(keys: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "tls.pem", keys / "tls.key")
    context.load_verify_locations(keys / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    return context


def _client_side(keys: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(keys / "node.pem", keys / "tls.key")
    context.load_verify_locations(keys / "ca.pem")
    context.set_alpn_protocols(["h2"])
    return context


async def _carry(
    tap: Tap,
    near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    target: tuple[str, int],
    outside: ssl.SSLContext,
) -> None:
    far_reader, far_writer = await asyncio.open_connection(
        *target, ssl=outside, server_hostname="coordinator.riskweave"
    )
    await asyncio.gather(_pump(tap, near[0], far_writer), _pump(tap, far_reader, near[1]))


async def _pump(tap: Tap, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    flow = bytearray()
    tap.flows.append(flow)
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            flow += data
            writer.write(data)
            await writer.drain()
        writer.close()


# --- the detector -----------------------------------------------------------------------------

Form = Callable[[float | str], bytes | None]


def _packed(kind: str) -> Form:
    def pack(value: float | str) -> bytes | None:
        if isinstance(value, str) or (kind[1] in "qi" and value != int(value)):
            return None
        return struct.pack(kind, int(value) if kind[1] in "qi" else value)

    return pack


def _text(value: float | str) -> bytes:
    if isinstance(value, str):
        return value.encode()
    return str(int(value) if value == int(value) else value).encode()


def varint(value: int) -> bytes:
    """As in protobuf."""
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _varint(value: float | str) -> bytes | None:
    return None if isinstance(value, str) or value != int(value) else varint(int(value))


def _zigzag(value: float | str) -> bytes | None:
    return None if isinstance(value, str) or value != int(value) else varint(2 * int(value))


PLAIN: dict[str, Form] = {
    "text": _text,
    "utf-16": lambda value: _text(value).decode().encode("utf-16-le"),
    "float64 le": _packed("<d"),
    "float64 be": _packed(">d"),
    "float32 le": _packed("<f"),
    "float32 be": _packed(">f"),
    "int64 le": _packed("<q"),
    "int64 be": _packed(">q"),
    "int32 le": _packed("<i"),
    "int32 be": _packed(">i"),
    "varint": _varint,
    "zigzag": _zigzag,
}


def needles(value: float | str) -> Iterator[tuple[str, bytes]]:
    """The value in every form, each plain, in hex and in base64 at every alignment."""
    for name, form in PLAIN.items():
        plain = form(value)
        if plain is None:
            continue
        yield name, plain
        yield f"hex of {name}", plain.hex().encode()
        yield f"HEX of {name}", plain.hex().upper().encode()
        for shift, start in enumerate((0, 2, 3)):
            text = base64.b64encode(bytes(shift) + plain).rstrip(b"=")
            end = len(text) - (1 if (shift + len(plain)) % 3 else 0)
            yield f"base64 of {name}, {shift}", text[start:end]


def found(haystacks: Iterable[bytes], values: Iterable[float | str]) -> set[str]:
    """Forms in which planted values occur.

    A short needle alone proves nothing: four given bytes turn up in a megabyte of random
    ones once in 4,000 captures. Two different values in the same short form do so less than
    once in ten million.
    """
    whole = b"\0\xff\0".join(haystacks)
    hits: dict[str, set[bytes]] = defaultdict(set)
    sure = set()
    for value in values:
        for name, needle in needles(value):
            if needle in whole:
                hits[name].add(needle)
                if len(needle) >= _SHORT:
                    sure.add(name)
    return sure | {name for name, seen in hits.items() if len(seen) > 1}


def counts_found(haystacks: Iterable[bytes], counts: Iterable[int]) -> set[int]:
    """Counts that occur as a number of their own in text, or as a protobuf integer."""
    seen: set[int] = set()
    for haystack in haystacks:
        for count in counts:
            if re.search(rb"(?<![0-9A-Za-z.+/])%d(?![0-9A-Za-z.+/])" % count, haystack):
                seen.add(count)
        integers: set[int] = set()
        _walk(haystack, integers)
        seen |= integers & set(counts)
    return seen


def _walk(data: bytes, integers: set[int]) -> bool:
    """Collect the integers of ``data`` and its parts as protobuf; False if it is none."""
    at = 0
    mine: set[int] = set()
    while at < len(data):
        key, at = _read_varint(data, at)
        kind = key & 7
        if at < 0 or not key >> 3 or kind in (3, 4, 6, 7):
            return False
        if kind == 0:
            value, at = _read_varint(data, at)
            mine |= {value, value >> 1}
        elif kind == 2:
            size, at = _read_varint(data, at)
            if at < 0 or at + size > len(data):
                return False
            part = data[at : at + size]
            _walk(part, integers)
            at += size
        else:
            size = 8 if kind == 1 else 4
            part = data[at : at + size]
            mine.add(int.from_bytes(part, "little"))
            if kind == 1 and len(part) == size:
                number = struct.unpack("<d", part)[0]
                mine |= (
                    {int(number)} if number == number // 1 and abs(number) < 2**53 else set()
                )
            at += size
        if at < 0 or at > len(data):
            return False
    integers |= mine
    return True


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The value and where it ends; -1 if it does not end."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            return 0, -1
        value |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
    return 0, -1
