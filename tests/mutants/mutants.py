"""The table of planted bugs, read once for the tests of it."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Mutant:
    """One bug and the tests that must fail with it."""

    bug: str
    file: str
    find: str
    put: str
    tests: tuple[str, ...]

    def planted(self, text: str) -> str:
        """The source with the bug in it; AssertionError if it does not fit exactly once."""
        assert text.count(self.find) == 1, f"{self.bug}: {text.count(self.find)} places"
        return text.replace(self.find, self.put)


def mutants() -> tuple[Mutant, ...]:
    document = tomllib.loads((Path(__file__).parent / "table.toml").read_text("utf-8"))
    return tuple(Mutant(**{**one, "tests": tuple(one["tests"])}) for one in document["mutant"])
