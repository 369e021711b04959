"""Let Atheris search the decoders: ``python -m tests.fuzz.run SECONDS DIRECTORY [NAME ...]``.

So many seconds each, two at a time; without names, all of ``targets.py``. Coverage of the
house's own code guides the search. A decoder that raises what is not of the house, hangs for
ten seconds or takes more memory than it may is named at the end, and the status is 1; its
directory holds a log with the trace, and the bytes that did it. The corpus stays, so the next
run in the same directory goes on from there.
"""

import os
import re
import sys
import time
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["consortium", "models", "coordinator", "partner_node", "regulator", "tomllib"],
):
    from consortium.errors import RiskWeaveError
    from tests.fuzz.targets import TARGETS, Target

HANG_SECONDS = 10
MEMORY_MB = 1024
"""Of the process, whose libraries alone take some 200."""
LONGEST = 1 << 16
AT_A_TIME = 2


def search(target: Target, seconds: int, directory: Path) -> None:
    """Never returns: the process ends when the time is over, or with what was found."""
    corpus = directory / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.samples()):
        (corpus / f"honest-{number}").write_bytes(data)
    log = os.open(directory / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    end = time.monotonic() + seconds
    tried = 0

    def once(data: bytes) -> None:
        nonlocal tried
        tried += 1
        with suppress(RiskWeaveError):
            target.read(data)
        if time.monotonic() > end:
            # libFuzzer's own limit would end it through the libraries' destructors, of which
            # one aborts when its threads stayed behind at the fork.
            os.write(1, f"{tried} inputs, nothing found\n".encode())
            os._exit(0)

    options = (
        f"-timeout={HANG_SECONDS}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-max_len={LONGEST}",
        f"-artifact_prefix={directory}/",
    )
    atheris.Setup([sys.argv[0], *options, str(corpus)], once)
    atheris.Fuzz()


def search_all(names: list[str], seconds: int, directory: Path) -> list[str]:
    """Each decoder in a process of its own, forked after the instrumentation; who failed."""
    running: dict[int, str] = {}
    failed: list[str] = []
    waiting = list(names)
    while waiting or running:
        while waiting and len(running) < AT_A_TIME:
            name = waiting.pop(0)
            process = os.fork()
            if process == 0:
                search(TARGETS[name], seconds, directory / folder_of(name))
                os._exit(1)
            running[process] = name
        process, status = os.wait()
        name = running.pop(process)
        if status:
            failed.append(name)
    return failed


def folder_of(name: str) -> str:
    """A decoder's name as that of a directory."""
    return re.sub(r"\W+", "-", name)


if __name__ == "__main__":
    FAILED = search_all(sys.argv[3:] or list(TARGETS), int(sys.argv[1]), Path(sys.argv[2]))
    for one in FAILED:
        sys.stderr.write(f"failed: {one}; see {sys.argv[2]}/{folder_of(one)}/log\n")
    sys.exit(bool(FAILED))
