"""Health doors of both roles, and the probe of the containers against them."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from consortium.errors import ConfigurationError, StorageError, TransportError
from coordinator import cli, waiting
from tests.coordinator_house import House, free_address
from upkeep.health_door import SOCKET, Page, Pages, open_health

PROBE = Path(__file__).resolve().parents[2] / "deploy" / "bin" / "probe"


async def probed(directory: Path, *words: str) -> tuple[int, str]:
    """Run the program of the containers."""
    process = await asyncio.create_subprocess_exec(
        PROBE, directory, *words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def asked(listen: str, request: bytes) -> bytes:
    host, _, port = listen.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def broken() -> Page:
    raise StorageError("bank_a's row 17 cannot be read")


def test_probe_tells_a_door_that_answers_from_one_that_does_not(tmp_path: Path) -> None:
    directory = tmp_path / ("deep" * 30)  # longer than a socket's path may be
    directory.mkdir()

    async def scene() -> None:
        pages: Pages = {"/readyz": broken}
        assert (await probed(directory))[0] == 1
        async with open_health(directory, pages, None):
            assert await probed(directory) == (0, "ok\n")
            assert (directory / SOCKET).stat().st_mode & 0o077 == 0
            status, text = await probed(directory, "--ready")
            assert status == 1
            assert "bank_a" not in text, "an error's own text stays inside"
        assert (await probed(directory))[0] == 1
        async with open_health(directory, {"/readyz": _ready}, None):
            assert await probed(directory, "--ready") == (0, "ready\n")

    asyncio.run(scene())


def _ready() -> Page:
    return Page(b"ready\n")


def test_probe_costs_little_more_than_a_bare_interpreter(tmp_path: Path) -> None:
    def cpu(words: list[str | Path]) -> float:
        times = []
        for _ in range(3):
            process = subprocess.Popen(  # noqa: S603 - our own
                words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            _, _, used = os.wait4(process.pid, 0)
            times.append(used.ru_utime + used.ru_stime)
        return min(times)

    bare = cpu([sys.executable, "-I", "-S", "-c", "import socket"])
    # By this interpreter: `python3` of the path may be a shell script in front of one.
    assert cpu([sys.executable, "-I", "-S", PROBE, tmp_path]) < max(3 * bare, 0.06)


def test_healthz_is_answered_while_a_page_hangs_and_a_flood_is_turned_away(
    tmp_path: Path,
) -> None:
    address, free = free_address(), threading.Event()

    def hanging() -> Page:
        free.wait(10)
        return Page(b"late\n")

    async def scene() -> None:
        async with open_health(tmp_path, {"/metrics": hanging}, address):
            slow = [asyncio.create_task(asked(address, _get("/metrics"))) for _ in range(3)]
            assert b" 200 OK\r\n" in await asked(address, _get("/healthz"))
            host, _, port = address.rpartition(":")
            idle = [await asyncio.open_connection(host, int(port)) for _ in range(20)]
            assert await asked(address, _get("/healthz")) == b"", "more than 16 at a time"
            for _, writer in idle:
                writer.close()
            free.set()
            assert all(b"late" in one for one in await asyncio.gather(*slow))

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /nothing HTTP/1.1\r\n\r\n", b" 404 "),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b" 405 "),
        (b"GET /healthz?x=1 HTTP/1.0\r\n\r\n", b" 200 "),
        (b"\xff\xfe\r\n\r\n", b" 405 "),
        (b"GET " + b"/" * 5000 + b"\r\n\r\n", b""),
    ],
)
def test_odd_requests_get_an_answer_or_none(
    tmp_path: Path, request_bytes: bytes, status: bytes
) -> None:
    address = free_address()

    async def scene() -> bytes:
        async with open_health(tmp_path, {}, address):
            return await asked(address, request_bytes)

    assert status in asyncio.run(scene())


def test_address_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        async def scene() -> None:
            async with open_health(tmp_path, {}, address):
                pass

        with pytest.raises(ConfigurationError, match=address):
            asyncio.run(scene())
    assert not (tmp_path / SOCKET).exists()


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\n\r\n".encode()


def test_waiting_looks_until_there_are_enough_or_time_is_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen, pauses = iter((0, 1, 1, 2)), list[float]()
    assert waiting.wait(lambda: next(seen), 2, pauses.append, seconds=60) == 2
    assert len(pauses) == 3
    with pytest.raises(TransportError, match="1 of 2 after 4 s"):
        waiting.wait(lambda: 1, 2, pauses.append, seconds=4)
    house = House.build(tmp_path / "c")
    directory = str(house.desk.config.directory)
    assert cli.main(["wait", directory, "--joined", "2"]) == 0
    assert capsys.readouterr().out == "2 joined\n"
    for goal in ("--connected", "--active", "--cosigned"):
        with pytest.raises(TransportError, match="0 of 1"):
            cli.main(["wait", directory, goal, "1", "--timeout", "0"])
