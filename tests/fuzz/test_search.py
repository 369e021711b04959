"""Atheris at every decoder; RISKWEAVE_FUZZ_SECONDS each (default 20; before a release 600)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.samples import ROOT

SECONDS = int(os.environ.get("RISKWEAVE_FUZZ_SECONDS", "20"))
MOST_DECODERS = 100
PLANTED = """
import json, sys
from pathlib import Path
from tests.fuzz import run
from tests.fuzz.targets import Target

run.TARGETS["planted"] = Target(read=json.loads, samples=lambda: (b"[1]",))
sys.exit(bool(run.search_all(["planted"], 20, Path(sys.argv[1]))))
"""
"""A decoder that lets an error of a library through."""

pytest.importorskip("atheris", reason="the extra [fuzz] is not installed")


def _run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(600 + MOST_DECODERS * (SECONDS + 10))
def test_no_input_that_atheris_finds_breaks_a_decoder(tmp_path: Path) -> None:
    ended = _run("-m", "tests.fuzz.run", str(SECONDS), str(tmp_path))
    found = [line for line in ended.stderr.splitlines() if line.startswith("failed: ")]
    assert (ended.returncode, found) == (0, []), ended.stderr[-2_000:]


@pytest.mark.slow
def test_decoder_that_lets_an_error_of_a_library_through_is_named(tmp_path: Path) -> None:
    ended = _run("-c", PLANTED, str(tmp_path))
    assert ended.returncode == 1, ended.stderr[-2_000:]
    assert list((tmp_path / "planted").glob("crash-*"))
