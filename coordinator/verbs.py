"""How a verb of any of the coordinator's commands is added: its help, directory and form."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    Verbs: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

Command = Callable[[argparse.Namespace], int]


def add_verb(verbs: "Verbs", name: str, command: Command, text: str) -> argparse.ArgumentParser:
    """Add a verb that works on a coordinator's directory."""
    verb = verbs.add_parser(name, help=text, description=text)
    verb.set_defaults(command=command)
    verb.add_argument("directory", metavar="DIR", type=Path, help="coordinator directory")
    return verb


def with_json(verb: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Let a script ask for JSON."""
    verb.add_argument("--json", action="store_true", help="print JSON for scripts")
    return verb
