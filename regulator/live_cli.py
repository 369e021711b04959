"""``riskweave audit join | trust | watch | sample``: the regulator as a live member."""

import argparse
from pathlib import Path

from consortium.errors import ConfigurationError
from consortium.ids import parse_digest, parse_run_id
from consortium.ledger.entries import AuditChallenge
from consortium.ledger.findings import Grade
from regulator import wiring
from regulator.live import Wish
from regulator.membership import manifest_lines
from regulator.sampling import Drawn
from regulator.sampling import Wish as Drawings

_CODES = {Grade.ERROR: 4, Grade.WARNING: 3, Grade.NOTE: 0, None: 0}
"""As of ``riskweave audit verify``."""


def add_live_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands of a regulator that is a member."""
    _add_membership(verbs)
    _add_watch(verbs)
    _add_sample(verbs)


def _add_membership(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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


def _add_watch(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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


def _add_sample(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    sample = verbs.add_parser(
        "sample",
        help="draw sums, decisions and inquiries to be replayed, by a coin nobody controls",
        description=(
            "Draw from the mirror in DIR, or from a bundle: sums of a closed run and credit "
            "decisions that partners must make again, and records of inquiries that the "
            "bundle must show. The seed is made of bytes that were committed to, and of the "
            "first head over what is audited that an entry of somebody else rests on. The "
            "signed challenges are handed in by: riskweave audit watch"
        ),
    )
    sample.add_argument("directory", metavar="DIR", type=Path)
    sample.add_argument("--run", dest="of", metavar="RUN", help="default: the one closed last")
    sample.add_argument("--sums", type=int, metavar="N", help="how many; default: all")
    sample.add_argument(
        "--decisions",
        type=int,
        default=0,
        metavar="N",
        help="draw N decisions of each partner's newest batch (and no run without --run)",
    )
    sample.add_argument(
        "--batches",
        type=int,
        default=1,
        metavar="M",
        help="of how many of its newest batches; default: 1",
    )
    sample.add_argument(
        "--bundle", type=Path, metavar="FILE", help="draw from this bundle, not from the mirror"
    )
    sample.add_argument(
        "--manifest", metavar="HASH", help="with --bundle: digest of the manifest you trust"
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
        print(wiring.log_line(line), flush=True)

    wish = Wish(keep=words.keep, settled=words.settled)
    return _CODES[wiring.watch(words.directory, tell, wish, seconds=words.seconds)]


def _sample(words: argparse.Namespace) -> int:
    if (words.sums is not None and words.sums < 1) or words.decisions < 0 or words.batches < 1:
        raise ConfigurationError("--sums, --decisions, --batches: at least one")
    if (words.bundle is None) != (words.manifest is None):
        raise ConfigurationError("--bundle needs --manifest, the digest that you trust")
    wish = Drawings(
        run=None if words.of is None else parse_run_id(words.of),
        sums=words.sums,
        decisions=words.decisions,
        batches=words.batches,
    )
    bundle = words.bundle and (words.bundle, parse_digest(words.manifest))
    for one in wiring.sample(words.directory, wish, bundle):
        _tell(one)
    print(f"the challenge is signed; riskweave audit watch {words.directory} hands it in")
    return 0


def _tell(drawn: Drawn) -> None:
    print(drawn.about)
    print(f"coin: head of {drawn.coin.size} entries, root {drawn.root.hex()}, and bytes")
    print(f"choice {drawn.challenge.choice}")
    if isinstance(drawn.challenge, AuditChallenge):
        print(f"sums {', '.join(str(number) for number in drawn.challenge.sums)}")
    else:
        print(f"decisions: {drawn.challenge.places}, their places known to who knows the count")
    for second, place in drawn.records:
        print(f"record {second}.{place}")
