"""``riskweave shadow``: does the software that is installed here leak more than it claims?"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from consortium.audit.result import AuditVerdict, canaries_for
from consortium.canonical import canonical_json
from consortium.crypto.keys import Secret
from consortium.errors import ConfigurationError
from partner_node.wiring import code_digest, entropy
from rehearsal.shadow.setting import Settings
from rehearsal.shadow.summary import lines_of
from rehearsal.shadow.trial import audited

_SEED_BYTES = 32


def main(argv: Sequence[str]) -> int:
    """Run ``riskweave shadow ARGV``: 0 if the claim stands, 1 if it is refuted."""
    arguments = _parser().parse_args(argv)
    settings = Settings(
        code=code_digest(),
        epsilon=arguments.epsilon,
        delta=arguments.delta,
        canaries=arguments.canaries or canaries_for(arguments.epsilon),
        rounds=arguments.rounds,
        partners=arguments.partners,
        noise_mode=arguments.noise_mode,
    )
    for path in (arguments.out, arguments.html):
        if path is not None and not path.resolve().parent.is_dir():
            raise ConfigurationError(f"{path}: no such directory")
    given = [_seed(text) for text in arguments.seed]
    seeds: list[Secret] = []

    def fresh() -> Secret:
        seeds.append(given[len(seeds)] if len(seeds) < len(given) else entropy())
        return seeds[-1]

    def said(text: str) -> None:
        print(json.dumps({"step": text}) if arguments.json else text, file=sys.stderr)

    began = time.monotonic()
    audit, measured = audited(settings, fresh, said=said)
    seconds = round(time.monotonic() - began, 2)
    document = audit.to_canonical()
    if arguments.out is not None:
        arguments.out.write_bytes(canonical_json(document))
    if arguments.html is not None:
        from rehearsal.shadow.page import write_page  # noqa: PLC0415 - loads matplotlib

        write_page(arguments.html, audit, measured, seconds=seconds)
    # Seeds are shown after the fact: nobody's rows were there, and others can repeat it.
    shown = [seed.expose().hex() for seed in seeds]
    if arguments.json:
        summary = {"digest": audit.digest, "seconds": seconds, "seeds": shown}
        print(json.dumps({"audit": document, **summary}))
    else:
        print("\n".join(lines_of(audit)))
        print(f"seeds {' '.join(shown)}; {seconds} s. No real row was read, no budget charged.")
    return 0 if audit.verdict is AuditVerdict.PASSED else 1


def _seed(text: str) -> Secret:
    try:
        value = bytes.fromhex(text)
    except ValueError as error:
        raise ConfigurationError("--seed: not hex") from error
    if len(value) != _SEED_BYTES:
        raise ConfigurationError(f"--seed: {len(value)} bytes, not {_SEED_BYTES}")
    return Secret(value)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="riskweave shadow",
        description=(
            "Test what the installed software leaks: rounds of a shadow federation with "
            "canaries, and on no data, against the epsilon that is claimed. Reads no real row "
            "and charges no budget."
        ),
    )
    parser.add_argument("--epsilon", metavar="E", default="1", help="the claim (1)")
    parser.add_argument("--delta", metavar="D", default="0.000001", help="of the claim (1e-6)")
    parser.add_argument(
        "--canaries",
        metavar="M",
        type=int,
        help="as many as a release needs: 4,000 if epsilon is at most 1, else 1,000",
    )
    parser.add_argument("--rounds", metavar="T", type=int, default=60, help="of each run (60)")
    parser.add_argument("--partners", metavar="K", type=int, default=4, help="in all (4)")
    parser.add_argument("--noise-mode", choices=("shared", "own"), default="shared")
    parser.add_argument(
        "--seed",
        metavar="HEX",
        action="append",
        default=[],
        help="repeat an earlier trial; a second one is for its repetition",
    )
    parser.add_argument("--out", metavar="FILE", type=Path, help="the canonical document")
    parser.add_argument("--html", metavar="FILE", type=Path, help="a page with plots")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    return parser
