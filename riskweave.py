"""The door: picks a role and imports it only then, so that no image needs the others'."""

import os
import sys
from collections.abc import Callable, Sequence

USAGE = """\
usage: riskweave [--debug] ROLE ...

  riskweave node ...           a partner's node: keys, data, budget, serving
  riskweave coordinator ...    the operator's side: members, manifest, training
  riskweave models ...         the coordinator's model registry
  riskweave trends ...         the operator's view of the market, from noisy tables
  riskweave stress ...         what happens elsewhere if a line closes, or the market turns
  riskweave restart ...        campaigns that take borrowers of closed lines back, in waves
  riskweave risk ...           the risk register: what is red, whose it is, what it stops
  riskweave audit ...          the regulator's side: verify a bundle, offline
  riskweave rehearse ...       a whole consortium on this machine, from one file
  riskweave doctor DIR         what keeps a node or a coordinator from working, and the remedy
  riskweave desk ...           a partner's credit desk: decisions, reasons, replay
  riskweave shadow ...         what the installed software leaks, without anybody's rows

  --version   print the version
  --debug     show where an error came from (also: RISKWEAVE_DEBUG=1)

`riskweave ROLE --help` says more.
"""

Role = Callable[[Sequence[str]], int]


def _node() -> Role:
    from partner_node.cli import main as role

    return role


def _desk() -> Role:
    from partner_node.credit.cli import main as role

    return role


def _coordinator() -> Role:
    from coordinator.cli import main as role

    return role


def _models() -> Role:
    from coordinator.cli_models import main as role

    return role


def _trends() -> Role:
    from coordinator.credit.trends_cli import main as role

    return role


def _stress() -> Role:
    from coordinator.credit.cli import main as role

    return role


def _restart() -> Role:
    from coordinator.credit.cli_restart import main as role

    return role


def _risk() -> Role:
    from coordinator.credit.cli_risk import main as role

    return role


def _rehearse() -> Role:
    from rehearsal.cli import main as role

    return role


def _shadow() -> Role:
    from rehearsal.shadow.cli import main as role

    return role


def _audit() -> Role:
    from regulator.cli import main as role

    return role


def _doctor() -> Role:
    return _diagnose


def _diagnose(words: Sequence[str]) -> int:
    """The doctor of the role whose directory is named."""
    from pathlib import Path

    if any((Path(word) / "coordinator.toml").exists() for word in words):
        from coordinator.cli import doctor_main as role
    else:
        from partner_node.cli import doctor_main as role
    return role(words)


ROLES = {
    "node": (_node, "node"),
    "desk": (_desk, "node"),
    "coordinator": (_coordinator, "coordinator"),
    "models": (_models, "coordinator"),
    "restart": (_restart, "coordinator"),
    "risk": (_risk, "coordinator"),
    "audit": (_audit, "regulator"),
    "trends": (_trends, "coordinator"),
    "stress": (_stress, "coordinator"),
    "rehearse": (_rehearse, "rehearsal"),
    "doctor": (_doctor, "node"),
    "shadow": (_shadow, "rehearsal"),
}
"""Subcommand -> how to import it, and the extra that installs what it needs."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``riskweave ARGV``: 0 done, 1 an error of ours in one line, 2 wrong usage."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = words[:1] == ["--debug"]
    words = words[1:] if debug else words
    debug = debug or os.environ.get("RISKWEAVE_DEBUG", "") not in {"", "0"}
    if words[:1] == ["--version"]:
        return _say(f"riskweave {_version()}")
    if words[:1] in (["--help"], ["-h"]):
        return _say(USAGE.rstrip())
    if not words or words[0] not in ROLES:
        sys.stderr.write(USAGE)
        return 2
    return _run(words[0], words[1:], debug=debug)


def _run(name: str, words: Sequence[str], *, debug: bool) -> int:
    from consortium.errors import RiskWeaveError

    load, extra = ROLES[name]
    try:
        return load()(words)
    except RiskWeaveError as error:
        if debug:
            raise
        return _fail(str(error) or error.public)
    except ModuleNotFoundError as error:
        if debug:
            raise
        return _fail(
            f"{name} is not installed here: {error.name} is missing; "
            f"install it with: pip install 'riskweave[{extra}]'"
        )
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Who read our output has seen enough; nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("riskweave")
    except PackageNotFoundError:
        return "source"


def _say(text: str) -> int:
    sys.stdout.write(text + "\n")
    return 0


def _fail(text: str) -> int:
    sys.stderr.write(f"error: {' '.join(text.split())}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
