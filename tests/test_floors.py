"""The house stands as drawn: contracts, generated code, and documents that name what exists."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from consortium.canonical import Label
from consortium.errors import RefusalCode

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
FLOORS = (
    *("proto", "consortium", "models", "partner_node", "coordinator", "regulator"),
    *("rehearsal", "riskweave_client", "upkeep"),
)

_NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_THREAT = re.compile(r"^### (T\d+) ", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
_CITED = re.compile(r"\bprotocol ((?:\d+\.)+\d+)")


def _run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - fixed commands
        command, cwd=cwd, capture_output=True, text=True, check=False
    )


def _functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def _threats() -> dict[str, str]:
    parts = _THREAT.split((DOCS / "threat_model.md").read_text(encoding="utf-8"))
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _sources() -> list[Path]:
    return [path for floor in FLOORS for path in sorted((ROOT / floor).rglob("*.py"))]


def test_import_contracts_hold() -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    done = _run(str(linter), "--no-cache")
    assert done.returncode == 0, done.stdout + done.stderr


def test_generated_classes_are_those_of_the_proto_files(tmp_path: Path) -> None:
    copy = tmp_path / "proto"
    shutil.copytree(ROOT / "proto", copy, ignore=shutil.ignore_patterns("__pycache__"))
    done = _run(sys.executable, "-m", "proto.generate", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names = {path.name for path in copy.glob("v1/*_pb2*")}
    assert names == {path.name for path in (ROOT / "proto" / "v1").glob("*_pb2*")}
    for name in sorted(names):
        made = (copy / "v1" / name).read_text(encoding="utf-8")
        assert made == (ROOT / "proto" / "v1" / name).read_text(encoding="utf-8"), name


def test_coordinator_starts_without_torch() -> None:
    done = _run(
        sys.executable,
        "-c",
        "import sys, coordinator.cli; print('torch' in sys.modules or 'opacus' in sys.modules)",
    )
    assert done.stdout.strip() == "False", done.stderr


def test_regulator_runs_with_its_own_folders_and_dependencies_alone(tmp_path: Path) -> None:
    """A stranger's machine: four folders and the door, and none of the parties' frameworks."""
    for name in ("consortium", "models", "regulator", "upkeep"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "riskweave.py", tmp_path)
    banned = [
        "torch",
        "opacus",
        "flwr",
        "grpc",
        "sqlalchemy",
        "duckdb",
        "pyarrow",
        "google.protobuf",
    ]
    done = _run(
        sys.executable,
        "-c",
        f"import sys\nfor name in {banned}: sys.modules[name] = None\n"
        "import regulator.cli, riskweave\n"
        "raise SystemExit(riskweave.main(['audit', 'verify', '--help']))",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "--manifest" in done.stdout


def test_threats_are_numbered_without_a_gap() -> None:
    assert list(_threats()) == [f"T{number}" for number in range(1, len(_threats()) + 1)]


@pytest.mark.parametrize("threat", sorted(_threats(), key=lambda name: int(name[1:])))
def test_every_threat_names_tests_that_exist(threat: str) -> None:
    named = _NAMED_TEST.findall(_threats()[threat])
    assert named, f"{threat} names no test"
    for file, function in named:
        assert (ROOT / file).is_file(), f"{threat} names {file}, which is not there"
        assert function in _functions(ROOT / file), f"{file} has no {function}"


def test_every_protocol_number_cited_in_code_is_in_the_protocol() -> None:
    text = (DOCS / "protocol.md").read_text(encoding="utf-8")
    known = set(re.findall(r"\*\*(\d+(?:\.\d+)+)\*\*", text))
    missing = {
        f"{path.relative_to(ROOT)}: {number}"
        for path in _sources()
        for number in _CITED.findall(path.read_text(encoding="utf-8"))
        if number not in known
    }
    assert not missing


def test_every_domain_line_and_refusal_code_is_in_the_protocol() -> None:
    text = (DOCS / "protocol.md").read_text(encoding="utf-8")
    lines = {label.value.strip() for label in Label} | {code.value for code in RefusalCode}
    assert not {line for line in lines if f"`{line}`" not in text}


def test_every_domain_line_is_used_and_a_blocks_context_has_its_own() -> None:
    files = (path for path in _sources() if path.name != "canonical.py")
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    spelt = {label: f"_DOMAIN = {label.line!r}".replace("'", '"') for label in Label}
    unused = {
        label.name
        for label in Label
        if f"Label.{label.name}" not in text and spelt[label] not in text
    }
    assert not unused
    assert text.count("hash_with(Label.CONTEXT") == text.count("hash_with(Label.BLOCK") == 1


def test_links_between_documents_lead_somewhere() -> None:
    broken = {
        f"{page.relative_to(ROOT)} -> {target}"
        for page in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
        for target in _LINK.findall(page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    }
    assert not broken
