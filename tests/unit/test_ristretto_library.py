"""The library is loaded from the node's directory, whatever the temporary one is (6.7)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

_LOAD = """
import sys, tempfile
from pathlib import Path
from partner_node.ristretto_library import load_ristretto
before = tempfile.tempdir
load_ristretto(Path(sys.argv[1]))
load_ristretto(Path(sys.argv[1]))
assert tempfile.tempdir == before
from consortium.crypto.ristretto import hash_to_group
print(hash_to_group(b"x").hex(), [path.name for path in Path(sys.argv[1]).iterdir()])
"""

_BARE = "import rbcl"


def _run(program: str, *arguments: str, temporary: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
    return subprocess.run(  # noqa: S603 - this interpreter, fixed programs
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=ROOT,
    )


def _mount_without_exec(at: Path) -> bool:
    """A file system that executes nothing; only root can make one."""
    done = subprocess.run(  # noqa: S603 - a fixed command
        ["mount", "-t", "tmpfs", "-o", "noexec,size=16m", "tmpfs", str(at)],  # noqa: S607
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def test_nothing_is_left_in_either_directory(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    done = _run(_LOAD, str(tmp_path / "node"), temporary=temporary)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(maxsplit=1)[1].strip() == "[]"
    assert list(temporary.iterdir()) == []
    assert (tmp_path / "node").stat().st_mode & 0o077 == 0


def test_temporary_directory_that_executes_nothing_is_not_needed(tmp_path: Path) -> None:
    temporary = tmp_path / "noexec"
    temporary.mkdir()
    if not _mount_without_exec(temporary):
        pytest.skip("only root can mount a file system without exec")
    try:
        assert _run(_BARE, temporary=temporary).returncode != 0
        done = _run(_LOAD, str(tmp_path / "node"), temporary=temporary)
        assert done.returncode == 0, done.stderr
        # And where the node's own directory executes nothing, the text says so.
        done = _run(_LOAD, str(temporary / "node"), temporary=tmp_path)
        assert "ConfigurationError" in done.stderr
        assert "noexec" in done.stderr
    finally:
        subprocess.run(["umount", str(temporary)], check=True)  # noqa: S603, S607


def test_import_of_the_group_writes_nothing(tmp_path: Path) -> None:
    program = "import consortium.identity.epoch, sys; assert 'rbcl' not in sys.modules"
    assert _run(program, temporary=tmp_path).returncode == 0
    assert list(tmp_path.iterdir()) == []
