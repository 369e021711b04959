"""Each bug of the table is planted in a copy of the tree, and its tests must fail there.

The same tests pass in the tree as it is: they are part of ``make test``.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.mutants import ROOT, Mutant, mutants

_LEFT_OUT = (".git", ".venv", "build", "docs", "data", "__pycache__", "*.egg-info", ".*_cache")
_TESTS_FAILED = 1


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("mutants") / "tree"
    shutil.copytree(ROOT, place, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    return place


def _outcome(copy: Path, test: str) -> subprocess.CompletedProcess[str]:
    options = ("-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist")
    return subprocess.run(  # noqa: S603 - fixed commands
        [sys.executable, "-m", "pytest", *options, test],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("mutant", mutants(), ids=lambda one: one.bug)
def test_planted_bug_makes_each_of_its_tests_fail(mutant: Mutant, copy: Path) -> None:
    path = copy / mutant.file
    honest = path.read_text(encoding="utf-8")
    path.write_text(mutant.planted(honest), encoding="utf-8")
    try:
        for test in mutant.tests:
            done = _outcome(copy, test)
            assert done.returncode == _TESTS_FAILED, f"{test}\n{done.stdout[-2000:]}"
    finally:
        path.write_text(honest, encoding="utf-8")
