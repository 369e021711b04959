"""Regenerate the classes in ``proto/v1`` from the .proto files: ``python -m proto.generate``.

The result is committed and never edited. ``make proto`` runs this, and CI fails if the
result then differs from what is committed.
"""

import subprocess
import sys
from pathlib import Path

_SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def main() -> None:
    """Write the generated files, relative to the root of the repository."""
    folder = Path(__file__).resolve().parent / "v1"
    root = folder.parent.parent
    for old in folder.iterdir():
        if old.name.endswith(_SUFFIXES):
            old.unlink()
    sources = sorted(path.relative_to(root).as_posix() for path in folder.glob("*.proto"))
    # protoc finds protoc-gen-mypy beside the interpreter, whether or not that is on PATH.
    plugins = Path(sys.executable).parent
    command = [
        sys.executable,
        *("-m", "grpc_tools.protoc", "--proto_path=."),
        f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
        *("--python_out=.", "--grpc_python_out=.", "--mypy_out=.", "--mypy_grpc_out=."),
        *sources,
    ]
    subprocess.run(command, cwd=root, check=True)  # noqa: S603 - a fixed command


if __name__ == "__main__":
    main()
