"""Asks a health door as its owner's programs do."""

import socket
import subprocess
from pathlib import Path

PROBE = Path(__file__).resolve().parents[1] / "deploy" / "bin" / "probe"


def probe(directory: Path, *words: str) -> tuple[int, str]:
    """Status and text of the containers' probe."""
    done = subprocess.run(  # noqa: S603 - our own
        [PROBE, directory, *words], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def page_of(directory: Path, path: str) -> bytes:
    """The body of a page."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(directory / "health.sock"))
        connection.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
        answer = b""
        while part := connection.recv(1 << 16):
            answer += part
    return answer.partition(b"\r\n\r\n")[2]
