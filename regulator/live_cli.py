"""``riskweave audit join | trust | watch | sample``: the regulator as a live member."""

import argparse
import sys
from pathlib import Path

from consortium.errors import ConfigurationError
from consortium.ids import parse_digest, parse_run_id
from consortium.ledger.findings import Grade
from regulator import wiring
from regulator.live import Wish
from regulator.membership import manifest_lines

_CODES = {Grade.ERROR: 4, Grade.WARNING: 3, Grade.NOTE: 0, None: 0}
"""As of ``riskweave audit verify``."""


def add_live_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands of a regulator that is a member."""
    join = verbs.add_parser(
        "join",
        help="become a member: make keys, trade a token for a certificate",
        description=(
            "Make the regulator's keys in DIR and enrol with the one-time token that the "
            "operator issued with: riskweave coordinator token --regulator"
        ),
    )
    join.add_argument("directory", metavar="DIR", type=Path)
    join.add_argument("--token", required=True, type=Path, metavar="FILE", help="its file")
    join.add_argument(
        "--coordinator", metavar="HOST:PORT", help="enrolment door, if not the token's"
    )
    join.set_defaults(run=_join)

    trust = verbs.add_parser(
        "trust",
        help="show the proposed manifest, or sign the one of a digest",
        description="Without DIGEST nothing is signed. With it the manifest is checked, signed "
        "and pinned; it is in force once all members have signed.",
    )
    trust.add_argument("directory", metavar="DIR", type=Path)
    trust.add_argument("digest", metavar="DIGEST", nargs="?")
    trust.add_argument(
        "--replace", action="store_true", help="though it does not follow the signed one"
    )
    trust.set_defaults(run=_trust)

    watch = verbs.add_parser(
        "watch",
        help="be a live witness: mirror the log, cosign what only grows, raise alarm",
        description=(
            "Keep a full mirror of the log in DIR and cosign its heads. Ends at SIGTERM, at an "
            "alarm, or after SECONDS. Exit code 0: nothing seen, 3: warnings, 4: alarm."
        ),
    )
    watch.add_argument("directory", metavar="DIR", type=Path)
    watch.add_argument("--for", dest="seconds", type=float, metavar="SECONDS")
    watch.add_argument(
        "--keep", action="store_true", help="go on after an alarm, without cosigning"
    )
    watch.add_argument(
        "--settled", action="store_true", help="the alarm on record was looked into: go on"
    )
    watch.set_defaults(run=_watch)

    sample = verbs.add_parser(
        "sample",
        help="draw sums and inquiries to be replayed, by a coin that nobody controls",
        description=(
            "Draw from the mirror in DIR: sums of a closed run that its members must replay, "
            "and records of inquiries that the bundle must show. The seed is made of a head "
            "that was cosigned after the run was closed and of bytes that were committed to "
            "before. The signed challenge is handed in by: riskweave audit watch"
        ),
    )
    sample.add_argument("directory", metavar="DIR", type=Path)
    sample.add_argument("--run", dest="of", metavar="RUN", help="default: the one closed last")
    sample.add_argument("--sums", type=int, metavar="N", help="how many; default: all")
    sample.add_argument(
        "--seed-from",
        type=int,
        metavar="SIZE",
        help="size of the cosigned head that is the coin; default: the newest",
    )
    sample.set_defaults(run=_sample)


def _join(words: argparse.Namespace) -> int:
    try:
        token = words.token.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{words.token}: cannot be read") from error
    place = wiring.join(words.directory, token, words.coordinator)
    print(f"{place.member} is enrolled in {place.federation}; keys are in {words.directory}")
    print(f"next: riskweave audit trust {words.directory}")
    return 0


def _trust(words: argparse.Namespace) -> int:
    if words.digest is None:
        pin, keys = wiring.proposed(words.directory)
        for line in manifest_lines(pin, keys):
            print(line)
        print(f"to sign: riskweave audit trust {words.directory} {pin.manifest.digest}")
        return 0
    pin = wiring.trust(words.directory, parse_digest(words.digest), replacing=words.replace)
    print(f"signed: manifest {pin.manifest.version} of {pin.manifest.federation}")
    print(f"next: riskweave audit watch {words.directory}")
    return 0


def _watch(words: argparse.Namespace) -> int:
    def tell(line: str) -> None:
        print(line, flush=True)

    wish = Wish(keep=words.keep, settled=words.settled)
    return _CODES[wiring.watch(words.directory, tell, wish, seconds=words.seconds)]


def _sample(words: argparse.Namespace) -> int:
    if words.sums is not None and words.sums < 1:
        raise ConfigurationError("--sums: at least one")
    run = None if words.of is None else parse_run_id(words.of)
    log, made = wiring.sample(words.directory, run, words.sums, size=words.seed_from)
    print(f"run {log.run}, closed at entry {log.closed}, {log.sums} sums")
    print(f"coin: head of {log.size} entries, root {log.root.hex()}, and committed bytes")
    print(f"choice {made.challenge.choice}")
    print(f"sums {', '.join(str(number) for number in made.challenge.sums)}")
    for second, place in made.records:
        print(f"record {second}.{place}")
    if not log.committed:
        sys.stderr.write(
            "note: the bytes were committed to after the run was closed; a draw of some sums "
            "will not count as fair, one of all sums does\n"
        )
    print(f"the challenge is signed; riskweave audit watch {words.directory} hands it in")
    return 0
