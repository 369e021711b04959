"""A closure from end to end with real processes, by the commands that people would type.

python -m examples.ecosystem.journey --out build/closure

Four lenders and an operator on this machine, each with keys, certificates and a database of
its own; all that follows is ``riskweave`` and nothing else. The transcript says how long each
command took. Everything is SYNTHETIC.
"""

import argparse
import io
import json
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import riskweave
from examples.ecosystem.people import PRODUCTS
from examples.ecosystem.town import LENDERS, Town, outcomes, town, write_town
from rehearsal.processes import Processes, free_ports
from rehearsal.processes import riskweave as command

FILES = Path(__file__).parent / "federation"
SCENARIOS = Path(__file__).parents[1] / "scenarios" / "winter.toml"
CLOSES = "lender_1"
COORDINATOR = "coordinator"
PATIENCE_S = 120.0
CARD = PRODUCTS.index("card")
EXPOSURE = "2000000"
"""Most exposure that one person adds to a total, minor units."""
LOSS = "500000"
SHOWN = 14
"""Lines of a command's output that the transcript shows."""


class CommandError(Exception):
    """A command ended as it should not."""


class Shell:
    """Runs commands, shows them and their first lines, and keeps the transcript."""

    def __init__(self, transcript: Path) -> None:
        self._file = transcript.open("w", encoding="utf-8")
        self.seconds: list[tuple[str, float]] = []

    def say(self, text: str) -> None:
        """A line of the story."""
        print(text, flush=True)
        self._file.write(text + "\n")
        self._file.flush()

    def run(self, *words: str, expect: int = 0, quiet: bool = False) -> str:
        """What the command prints; CommandError if it ends with another code."""
        began, out, err = time.monotonic(), io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = riskweave.main(words)
        took = time.monotonic() - began
        self.seconds.append((" ".join(words[:2]), took))
        if not quiet:
            self.say(f"$ riskweave {' '.join(words)}   [{took:.1f} s]")
            lines = (out.getvalue() + err.getvalue()).rstrip().splitlines()
            for line in lines[:SHOWN]:
                self.say(f"    {line[:150]}")
            if len(lines) > SHOWN:
                self.say(f"    ... {len(lines) - SHOWN} more lines")
        if code != expect:
            raise CommandError(f"{' '.join(words)}: exit {code}\n{err.getvalue()}")
        return out.getvalue()

    def read(self, *words: str) -> Any:  # noqa: ANN401 - parsed JSON
        """The same with ``--json``, not shown."""
        return json.loads(self.run(*words, "--json", quiet=True))


class Journey:
    """The town's story, one chapter a method."""

    def __init__(self, out: Path, made: Town, processes: Processes, shell: Shell) -> None:
        self.out, self.town = out, made
        self._processes, self._shell = processes, shell
        self.month = made.last.isoformat()[:7]
        self.verdict = ""
        """What the auditor's program said."""
        self.seconds = 0.0
        """Of all commands together."""

    @property
    def operator(self) -> str:
        """The operator's directory."""
        return str(self.out / COORDINATOR)

    def node(self, lender: str) -> str:
        """A lender's own directory."""
        return str(self.out / lender)

    # --- 1: the federation ------------------------------------------------------------------

    def found(self) -> None:
        """Keys, tokens, certificates, one manifest that all have signed; processes serve."""
        run = self._shell.run
        federation, enrolment = free_ports(2)
        run(
            *("coordinator", "init", self.operator, "--name", "town"),
            *("--schema", str(FILES / "schema.toml"), "--policy", str(FILES / "policy.toml")),
            *("--address", f"127.0.0.1:{federation}", "--enrolment", f"127.0.0.1:{enrolment}"),
        )
        self._start(COORDINATOR, "coordinator")
        self._wait(self._is_up, "the coordinator is up")
        for lender in LENDERS:
            self._join(lender)
        run("coordinator", "manifest", self.operator, "propose")
        digest = self._digest()
        for lender in LENDERS:
            run("node", "trust", self.node(lender), digest, quiet=lender != LENDERS[0])
            self._start(lender, "node")
        self._until("connected")
        run("coordinator", "status", self.operator)

    def _digest(self) -> str:
        found = self._shell.read("coordinator", "manifest", self.operator, "show")
        return str(found["digest"])

    def _join(self, lender: str) -> None:
        run, quiet = self._shell.run, lender != LENDERS[0]
        token, market = str(self.out / f"{lender}.token"), self.out / "market" / lender
        settings = self.out / f"{lender}.toml"
        text = (FILES / "node.toml").read_text(encoding="utf-8")
        settings.write_text(text.replace("@market@", str(market)), encoding="utf-8")
        node, families = self.node(lender), ("--families", "repayment,usage")
        run(
            "coordinator",
            "token",
            self.operator,
            lender,
            *families,
            "--out",
            token,
            quiet=quiet,
        )
        run("node", "init", node, "--id", lender, "--settings", str(settings), quiet=quiet)
        run("node", "join", node, "--token", token, quiet=quiet)
        since = ("--since", "2026-01-01")
        run("desk", "init", node, "--pack", "tw", *since, quiet=quiet)
        policy = Path(node, "credit", "policy.toml")
        # These lenders reinstate PDs below 5 %, and rebuild from there to 18 % step by step.
        rules = policy.read_text(encoding="utf-8")
        policy.write_text(rules.replace('a_pd = "0.12"', 'a_pd = "0.05"'), encoding="utf-8")
        query = f"query = \"SELECT * FROM '{market / 'SYNTHETIC_lines.parquet'}'\"\n"
        Path(node, "credit", "lines.toml").write_text(query, encoding="utf-8")

    # --- 2: a score of all --------------------------------------------------------------------

    def train(self) -> str:
        """Pseudonyms, base model, head; every lender votes. The head's version."""
        run = self._shell.run
        self._wait(self._has_key, "the key of the pseudonyms is made")
        for lender in LENDERS:
            run("node", "tokenize", self.node(lender), quiet=lender != LENDERS[0])
        run("node", "check-data", self.node(LENDERS[0]))
        run("coordinator", "train", self.operator, str(FILES / "plan.toml"))
        self._vote()
        askers = ("--askers", ",".join(LENDERS), "--epsilon", "2")
        run("coordinator", "calibrate", self.operator, *askers)
        head = self._vote()
        self._wait(lambda: self._serves(head), "every lender serves the head")
        return head

    def _vote(self) -> str:
        run = self._shell.run
        (version,) = [
            one["version"]
            for one in self._shell.read("models", "list", "--dir", self.operator)
            if one["status"] == "candidate"
        ]
        for lender in LENDERS:
            quiet = lender != LENDERS[0]
            run("node", "validate", self.node(lender), version, quiet=quiet)
            run("node", "accept", self.node(lender), version, quiet=quiet)
        return str(version)

    # --- 3: what if it closes? ----------------------------------------------------------------

    def stress(self) -> Path:
        """Tiers, elasticities and common borrowers; then the closure's own question."""
        run = self._shell.run
        today = datetime.now(UTC).date()
        for lender in LENDERS:
            run("node", "elsewhere", self.node(lender), quiet=lender != LENDERS[0])
        self._table("tiers", "--month", self.month, "--bound", EXPOSURE)
        self._table("elasticity", "--month", today.isoformat()[:7])
        # One round needs the pairs of the lender that closes; three rounds need all twelve.
        for peer in LENDERS:
            if peer != CLOSES:
                run("coordinator", "overlap", self.operator, CLOSES, peer, self.month)
        out = str(self.out / "reports" / "stress")
        run(
            *("stress", "run", self.operator, "--close", f"{CLOSES}:NEAR,LOW"),
            *("--rounds", "1", "--policy", str(FILES / "stress.toml"), "--out", out),
        )
        (report,) = Path(out).glob("*closure-stress-*.json")
        run("stress", "show", str(report), "--html", str(report.with_suffix(".html")))
        return report

    def _table(self, kind: str, *words: str) -> None:
        text = self._shell.run("stress", "plan", self.operator, kind, *words, "--synthetic")
        plan = self.out / f"{kind}.toml"
        plan.write_text(text, encoding="utf-8")
        self._shell.run("coordinator", "train", self.operator, str(plan))

    def scenario(self) -> None:
        """A winter that every node reckons on its own lines."""
        self._table(
            "scenario", "--month", self.month, "--bound", LOSS, "--scenario", str(SCENARIOS)
        )
        out = ("--out", str(self.out / "reports" / "stress"))
        self._shell.run("stress", "run", self.operator, "--scenario", str(SCENARIOS), *out)

    def premium(self, head: str) -> None:
        """What the customers of the lender that closes lose with its history."""
        words = ("--first", self.month, "--last", self.month, "--synthetic")
        whose = ("--closing", CLOSES, "--head", head, "--epsilon", "4", "--attempts", "1")
        for kind in ("premium", "premium_fit"):
            self._shell.run("trends", "run", self.operator, kind, *words, *whose)

    # --- 4: the way back ----------------------------------------------------------------------

    def place(self) -> None:
        """Every lender places the borrowers of its closed lines into tiers."""
        for lender in LENDERS:
            file = str(self.out / "market" / lender / "SYNTHETIC_closed.json")
            self._shell.run("desk", "restart", self.node(lender), file)

    def campaign(self, name: str, plan: str, *, factor: float) -> None:
        """Plan, enrol, open, offer, see what became of it, and take the look."""
        run, today = self._shell.run, datetime.now(UTC).date()
        days = {
            "@closed_from@": (self.town.last - timedelta(days=365)).isoformat(),
            "@closed_to@": self.town.last.isoformat(),
            "@begins@": today.isoformat(),
        }
        text = (FILES / plan).read_text(encoding="utf-8")
        for mark, day in days.items():
            text = text.replace(mark, day)
        file = self.out / plan
        file.write_text(text, encoding="utf-8")
        run("restart", "plan", self.operator, str(file))
        self._until("cosigned")
        card = name.startswith("card")
        for lender in LENDERS:
            cohort = self._cohort(lender, card=card)
            run("desk", "campaign", self.node(lender), "enrol", name, "--file", str(cohort))
        run(*self._order(name, "open", "LO", "go"))
        self._until("cosigned")
        for lender in LENDERS:
            self._offered(lender, name, factor)
        run("restart", "run", self.operator, name)
        reports = str(self.out / "reports" / "restart")
        run("restart", "report", self.operator, name, "--out", reports)
        run("restart", "report", self.operator, name)

    def _order(self, name: str, move: str, role: str, reason: str) -> Sequence[str]:
        order = ("--order", move, "--role", role, "--reason", reason)
        return ("restart", "run", self.operator, name, *order)

    def _cohort(self, lender: str, *, card: bool) -> Path:
        """The lines of one product, or of all others: the lender chooses its cohort."""
        _, partner = self.town.partner(lender)
        text = (self.out / "market" / lender / "SYNTHETIC_cohort.json").read_text("utf-8")
        kept = [
            one
            for one in json.loads(text)
            if (partner.lines.product[int(one["line"].split("-")[1])] == CARD) == card
        ]
        file = self.out / f"{lender}_{'card' if card else 'flash'}.json"
        file.write_text(json.dumps(kept), encoding="utf-8")
        return file

    def _offered(self, lender: str, name: str, factor: float) -> None:
        run, node = self._shell.run, self.node(lender)
        run("desk", "campaign", node, "offer", name)
        members = self._shell.read("desk", "campaign", node, "list", name)
        listed = self.out / f"{lender}_{name}_members.json"
        listed.write_text(json.dumps(members), encoding="utf-8")
        became = outcomes(self.town, lender, members, plan=0.08, factor=factor)
        file = self.out / f"{lender}_{name}_became.json"
        file.write_text(json.dumps(became), encoding="utf-8")
        run("desk", "campaign", node, "outcome", name, "--file", str(file))

    # --- 5: the market, the register, the audit -----------------------------------------------

    def trends(self) -> None:
        """Tables of the market's months, and the report over all that is there."""
        run = self._shell.run
        first = (self.town.last.replace(day=1) - timedelta(days=335)).isoformat()[:7]
        period = ("--first", first, "--last", self.month, "--synthetic")
        run("trends", "run", self.operator, "vintages", *period, "--ages", "11")
        run("trends", "run", self.operator, "roll_rates", *period)
        run("trends", "run", self.operator, "closures", *period, "--by", "cause")
        month = ("--first", self.month, "--last", self.month, "--synthetic")
        run("trends", "run", self.operator, "concentration", *month, "--bound", EXPOSURE)
        run("trends", "list", self.operator)
        run("trends", "show", self.operator, "--out", str(self.out / "reports" / "trends"))

    def register(self, stress: Path, *, expect: int = 0) -> None:
        """What is red, whose it is, and what it stops."""
        run = self._shell.run
        run("risk", "list", self.operator, "--stress", str(stress))
        run("risk", "check", self.operator, expect=expect)

    def audit(self) -> None:
        """The whole log as one file; a stranger's program examines it."""
        run = self._shell.run
        self._until("cosigned")
        bundle = str(self.out / "audit.zip")
        digest = self._digest()
        run("coordinator", "bundle", self.operator, bundle)
        self.verdict = run("audit", "verify", bundle, "--manifest", digest)
        for lender in LENDERS:
            run("node", "budget", self.node(lender), quiet=lender != LENDERS[0])

    # --- waiting ------------------------------------------------------------------------------

    def _start(self, name: str, role: str) -> None:
        self._processes.start(name, command(role, "serve", str(self.out / name)))

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        self._processes.wait_until(condition, PATIENCE_S, what=what, blame=COORDINATOR)

    def _until(self, goal: str) -> None:
        patience = ("--timeout", f"{PATIENCE_S:.0f}")
        number = str(len(LENDERS))
        words = ("coordinator", "wait", self.operator, f"--{goal}", number, *patience)
        self._shell.run(*words, quiet=True)

    def _is_up(self) -> bool:
        try:
            self._shell.read("coordinator", "status", self.operator)
        except CommandError:
            return False
        return True

    def _has_key(self) -> bool:
        states = (self._shell.read("node", "status", self.node(one)) for one in LENDERS)
        return all(one["epoch_installed"] for one in states)

    def _serves(self, head: str) -> bool:
        states = (self._shell.read("node", "status", self.node(one)) for one in LENDERS)
        return all(one["served_head"] == head for one in states)


def travel(out: Path, *, persons: int = 0) -> Journey:
    """The whole story into a new folder."""
    out.mkdir(parents=True)
    logs = out / "logs"
    logs.mkdir()
    shell = Shell(out / "transcript.txt")
    today = datetime.now(UTC).date()
    shell.say(f"SYNTHETIC: a town of four lenders, {today}")
    made = town(today, persons=persons)
    write_town(made, out / "market")
    with Processes(logs) as processes:
        journey = Journey(out, made, processes, shell)
        journey.found()
        head = journey.train()
        report = journey.stress()
        journey.scenario()
        journey.premium(head)
        journey.place()
        journey.campaign("flash-return", "stopped.toml", factor=6)
        journey.campaign("card-return", "passed.toml", factor=1)
        journey.trends()
        journey.register(report)
        journey.audit()
    journey.seconds = sum(took for _, took in shell.seconds)
    shell.say(f"all commands together: {journey.seconds:.0f} s")
    return journey


def main() -> None:
    """Run the story and say where its papers are."""
    parser = argparse.ArgumentParser(description="A SYNTHETIC closure, from end to end.")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--persons", type=int, default=0, help="of the town")
    options = parser.parse_args()
    travel(options.out.resolve(), persons=options.persons)


if __name__ == "__main__":
    main()
