"""How a verb of ``riskweave node`` is declared, and how it shows what it found."""

import argparse
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    Verbs: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001


def add_verb(
    verbs: "Verbs", name: str, command: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    """A verb about a node's directory; ``text`` is what its help says."""
    verb = verbs.add_parser(name, help=text, description=text)
    verb.set_defaults(command=command)
    verb.add_argument("directory", metavar="DIR", type=Path, help="node directory")
    return verb


def add_json(verb: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Let the verb print JSON, too; returns it."""
    verb.add_argument("--json", action="store_true", help="print JSON for scripts")
    return verb


def show(found: dict[str, object], *, as_json: bool) -> int:
    """Print names and values, a line each; returns exit status 0."""
    if as_json:
        print(json.dumps(found))
        return 0
    width = max(len(name) for name in found)
    for name, value in found.items():
        shown = ", ".join(str(item) for item in value) if isinstance(value, list) else value
        print(f"{name:<{width}}  {'-' if shown in (None, '') else shown}")
    return 0


def day(seconds: int) -> str:
    """The date of a time, UTC."""
    return datetime.fromtimestamp(seconds, tz=UTC).date().isoformat()
