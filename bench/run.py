"""``python -m bench.run [NAME ...]``: run all benchmarks, or the ones named."""

import importlib
import sys

from bench.result import OUT, machine, save

NAMES = (
    "round",
    "secagg",
    "clipped_sum",
    "engine",
    "utility_gmsc",
    "crash_budget",
    "tokenize",
    "joint_score",
    "verify",
    "canary",
    "score_log",
    "desk",
    "coverage",
    "closure_taiwan",
    "contribution",
    "elasticity",
    "stress",
    "campaign",
    "crash",
    "soak",
)


def main(arguments: list[str]) -> int:
    """Run and print; 2 for an unknown name."""
    unknown = [name for name in arguments if name not in NAMES]
    if unknown:
        print(f"no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    for name in arguments or NAMES:
        before = machine()
        result = importlib.import_module(f"bench.bench_{name}").run(OUT)
        print(f"{name}: ratios {dict(result.ratios)}, figures {dict(result.figures)}")
        print(f"  {save(result, before)} and {OUT / f'{result.name}.svg'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
