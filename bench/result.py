"""The one form of a benchmark's result: build/bench/NAME.json and NAME.svg."""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

OUT = Path("build/bench")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What every benchmark returns."""

    name: str
    figures: Mapping[str, object]
    anchors: Mapping[str, object]
    ratios: Mapping[str, float]


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
    }


def save(result: Result, before: Mapping[str, object]) -> Path:
    """Write the JSON; the plot is the benchmark's own."""
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / f"{result.name}.json"
    document = {**asdict(result), "machine": dict(before)}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path
