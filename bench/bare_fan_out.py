"""One asker, a relay and several responders that only pass bytes on: what gRPC itself costs.

Processes of their own, mutual TLS on loopback, streams of grpc.aio that carry plain bytes.
"""

import asyncio
import multiprocessing
import time
from typing import Any

import grpc
import grpc.aio

from bench.bench_round import _certificates

_SERVICE, _METHOD = "bench.FanOut", "Connect"
_ASKER = b"asker"
_WARM = 50

Certificates = dict[str, bytes]


def bare_fan_out(request: int, answer: int, responders: int, count: int) -> list[float]:
    """Milliseconds of ``count`` questions of so many bytes, one after the other."""
    certificates = _certificates()
    context = multiprocessing.get_context("spawn")
    ports: Any = context.Queue()
    relay = context.Process(target=_relay, args=(certificates, responders, ports), daemon=True)
    relay.start()
    port = ports.get(timeout=60)
    others = [
        context.Process(target=_responder, args=(certificates, port, answer), daemon=True)
        for _ in range(responders)
    ]
    for one in others:
        one.start()
    try:
        return asyncio.run(_ask(certificates, port, bytes(request), count))
    finally:
        for one in (*others, relay):
            one.terminate()
            one.join()


def _relay(certificates: Certificates, responders: int, ports: Any) -> None:  # noqa: ANN401 - a queue
    asyncio.run(_relaying(certificates, responders, ports))


async def _relaying(certificates: Certificates, responders: int, ports: Any) -> None:  # noqa: ANN401
    streams: list[Any] = []
    all_here = asyncio.Event()

    async def connect(_requests: object, context: Any) -> None:  # noqa: ANN401 - of grpc.aio
        if await context.read() != _ASKER:
            streams.append(context)
            if len(streams) == responders:
                all_here.set()
            await asyncio.Event().wait()
        await all_here.wait()
        await context.write(_ASKER)
        while isinstance(data := await context.read(), bytes):
            for stream in streams:
                await stream.write(data)
            answers = await asyncio.gather(*(stream.read() for stream in streams))
            await context.write(b"".join(answers))

    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(connect)  # type: ignore[arg-type]
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(_SERVICE, {_METHOD: handler}),)
    )
    credentials = grpc.ssl_server_credentials(
        [(certificates["server_key"], certificates["server"])],
        root_certificates=certificates["ca"],
        require_client_auth=True,
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    ports.put(port)
    await server.wait_for_termination()


def _channel(certificates: Certificates, port: int) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(
        certificates["ca"], certificates["client_key"], certificates["client"]
    )
    options = [("grpc.ssl_target_name_override", "bench")]
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options)


def _responder(certificates: Certificates, port: int, answer: int) -> None:
    asyncio.run(_responding(certificates, port, bytes(answer)))


async def _responding(certificates: Certificates, port: int, answer: bytes) -> None:
    async with _channel(certificates, port) as channel:
        open_call: Any = channel.stream_stream(f"/{_SERVICE}/{_METHOD}")
        call = open_call()
        await call.write(b"responder")
        while isinstance(await call.read(), bytes):
            await call.write(answer)


async def _ask(
    certificates: Certificates, port: int, request: bytes, count: int
) -> list[float]:
    found = []
    async with _channel(certificates, port) as channel:
        open_call: Any = channel.stream_stream(f"/{_SERVICE}/{_METHOD}")
        call = open_call()
        await call.write(_ASKER)
        await call.read()
        for _ in range(_WARM + count):
            began = time.perf_counter()
            await call.write(request)
            await call.read()
            found.append(1000 * (time.perf_counter() - began))
    return found[_WARM:]
