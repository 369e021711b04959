"""What a user types: every command explains itself, and says no in one line."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import coordinator.cli
import coordinator.cli_models
import coordinator.credit.cli_restart
import coordinator.credit.cli_risk
import partner_node.cli
import partner_node.credit.cli
import regulator.cli
import rehearsal.cli
import rehearsal.shadow.cli

ROOT = Path(__file__).resolve().parent.parent

ROLES: dict[str, Callable[[list[str]], int]] = {
    "coordinator": coordinator.cli.main,
    "node": partner_node.cli.main,
    "models": coordinator.cli_models.main,
    "audit": regulator.cli.main,
    "rehearse": rehearsal.cli.main,
    "shadow": rehearsal.shadow.cli.main,
    "desk": partner_node.credit.cli.main,
    "restart": coordinator.credit.cli_restart.main,
    "risk": coordinator.credit.cli_risk.main,
}
VERBS: dict[str, tuple[str, ...]] = {
    "coordinator": (
        "backup",
        "restore",
        "wait",
        "bundle",
        "calibrate",
        "init",
        "inquiries",
        "overlap",
        "token",
        "manifest",
        "revoke",
        "exit",
        "rotate",
        "serve",
        "status",
        "train",
        *("charter", "governance", "contribution", "retrain"),
    ),
    "node": (
        *("init", "join", "trust", "serve", "check-data", "budget"),
        *("status", "models", "validate", "accept", "refuse"),
        *("tokenize", "withdraw", "score", "desk-client", "replay", "incident", "revoke"),
        *(
            "elsewhere",
            "charter",
            "rotate",
            "kill-switch",
            "leave",
            "what-left",
            "backup",
            "restore",
        ),
    ),
    "models": ("list", "show", "statement", "gate", "activate", "rollback"),
    "audit": ("artefacts", "report", "verify", "join", "trust", "watch", "sample", "replay"),
    "rehearse": (),
    "shadow": (),
    "desk": (
        *("init", "decide", "show", "replay", "override", "admission"),
        *("notice", "offer", "list", "sheet", "restart", "ladder", "counsel", "learn"),
        *("watch", "closure-risk", "withdraw", "delete", "sweep", "campaign", "seal", "answer"),
        *("attest", "revoke-attestation", "take-revocations", "verify-attestation"),
    ),
    "restart": ("plan", "run", "report"),
    "risk": ("list", "check", "waive", "act"),
}
_LISTED = re.compile(r"^ {4}([a-z][a-z-]+)(?: |$)", re.MULTILINE)


def _riskweave(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - fixed commands
        [sys.executable, "-m", "riskweave", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def _commands() -> Iterator[tuple[str, ...]]:
    for role, verbs in VERBS.items():
        yield (role,)
        yield from ((role, verb) for verb in verbs)


def _help_of(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> str:
    role, *verbs = command
    with pytest.raises(SystemExit) as end:
        ROLES[role]([*verbs, "--help"])
    assert end.value.code == 0
    return capsys.readouterr().out


def test_door_lists_the_roles() -> None:
    done = _riskweave("--help")
    assert done.returncode == 0
    assert all(role in done.stdout for role in ROLES)


def test_door_knows_its_version() -> None:
    try:
        expected = version("riskweave")
    except PackageNotFoundError:
        expected = "source"
    assert _riskweave("--version").stdout == f"riskweave {expected}\n"


@pytest.mark.parametrize("command", list(_commands()), ids=" ".join)
def test_every_command_explains_itself(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = _help_of(command, capsys)
    assert f"riskweave {' '.join(command)}" in shown
    assert len(shown.splitlines()) > 4


@pytest.mark.parametrize("role", [role for role, verbs in VERBS.items() if verbs])
def test_no_command_is_missing_from_this_list(
    role: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sorted(set(_LISTED.findall(_help_of((role,), capsys)))) == sorted(VERBS[role])


@pytest.mark.parametrize("arguments", [(), ("nobody",), ("node", "dance")], ids=str)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    assert _riskweave(*arguments).returncode == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("audit", "verify", "no/such/bundle.zip", "--manifest", "ab" * 32),
        ("coordinator", "status", "no/such/directory"),
        ("node", "status", "no/such/directory"),
        ("rehearse", "no/such/file.toml", "--report", "build/never"),
        ("shadow", "--epsilon", "1000"),
    ],
    ids=str,
)
def test_our_own_error_is_one_line_without_a_traceback(arguments: tuple[str, ...]) -> None:
    done = _riskweave(*arguments)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("error: ")
