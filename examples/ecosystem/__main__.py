"""Write the files of a synthetic market.

python -m examples.ecosystem --profile tiny --seed 1 --out DIR
"""

import argparse
from dataclasses import replace
from pathlib import Path

from examples.ecosystem.files import write
from examples.ecosystem.profiles import PROFILES
from examples.ecosystem.world import generate

VARIANTS = {
    "zero-overlap": {"overlap": 0.0},
    "poison": {"poison": True},
    "drift": {"drift": True},
    "group-effect": {"group_effect": True},
    "masked": {"masked": True},
}


def main() -> None:
    """Generate and write what the command line asks for."""
    parser = argparse.ArgumentParser(description="Write a SYNTHETIC market of lenders.")
    parser.add_argument("--profile", choices=sorted(PROFILES), default="tiny")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--variant", choices=sorted(VARIANTS), action="append", default=[])
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    profile = PROFILES[options.profile]
    for name in options.variant:
        profile = replace(profile, **VARIANTS[name])
    observed, truth = generate(profile, options.seed)
    for path in write(observed, truth, options.out):
        print(path)


if __name__ == "__main__":
    main()
