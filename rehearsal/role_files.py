"""What the owners of the roles would write: a node's settings, the operator's policy."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from consortium.errors import ConfigurationError
from consortium.figure_policy import figures_document
from consortium.gates import gate_document
from consortium.manifest import Policy
from coordinator.scoring_config import scoring_tables
from rehearsal.config import Party

_DEADLINE_MS = 20_000


def settings_text(party: Party, directory: Path, *, decides: bool = False) -> str:
    """The tables of ``node.toml`` that the party's owner would write.

    Args:
        party: The partner.
        directory: Where relative paths of its query start.
        decides: Whether it decides: on everybody at once, so nobody is in a hurry.
    """
    data = {
        "query": party.query,
        "person": party.person,
        "label": party.label,
        "directory": str(directory),
        "memory_limit": party.memory_limit,
        "threads": party.threads,
    }
    budget = {
        "run_epsilon": party.run_epsilon,
        "lifetime_epsilon": party.lifetime_epsilon,
    }
    if party.tables_epsilon is not None:
        budget["tables_epsilon"] = party.tables_epsilon
    lines = [*toml_lines("[data]", data), *toml_lines("[budget]", budget)]
    if party.study_consent is not None:
        lines += toml_lines("[scoring]", {"study_consent": party.study_consent})
    if decides:
        lines += toml_lines("[credit]", {"deadline_ms": _DEADLINE_MS})
    return "\n".join(lines) + "\n"


def policy_text(policy: Policy) -> str:
    """The ``[policy]`` and ``[scoring]`` that the operator would propose."""
    values = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(policy).items()
        if name not in {"family_m", "scoring", "gate", "figures"}
    }
    scoring, customers = scoring_tables(policy.scoring)
    lines = [
        *toml_lines("[policy]", values),
        *toml_lines("[policy.family_m]", dict(policy.family_m)),
        *toml_lines("[gate]", gate_document(policy.gate)),
        *toml_lines("[figures]", figures_document(policy.figures)),
        *toml_lines("[scoring]", scoring),
        *toml_lines("[scoring.customers]", customers),
    ]
    return "\n".join(lines) + "\n"


def toml_lines(head: str, values: Mapping[str, object]) -> list[str]:
    """A table of a TOML file; ConfigurationError for a value that such a file cannot have."""
    return ["", head, *(f"{key} = {_literal(value, key)}" for key, value in values.items())]


def _literal(value: object, key: str) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_literal(item, key) for item in value) + "]"
    if isinstance(value, (str, bool, int)):
        # JSON's texts, whole numbers and truth values are TOML's too, but for DEL.
        return json.dumps(value, ensure_ascii=True).replace("\x7f", "\\u007f")
    raise ConfigurationError(f"{key}: a value of type {type(value).__name__} has no place here")
