"""One federation on this machine, step by step, through the same doors that people use.

Set-up goes through the roles' own command lines, serving through real processes. Private
keys are made where they belong and no step here is one that an operator could not take.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from consortium.errors import OutOfOrderError, TransportError
from consortium.ids import PartnerId, parse_digest
from coordinator import cli as coordinator_cli
from coordinator import commands, control
from coordinator import config as coordinator_config
from coordinator import wiring as coordinator_wiring
from coordinator.events import RunEvent
from coordinator.storage import Store
from partner_node import cli as node_cli
from partner_node.config_reading import load_config
from regulator import cli as regulator_cli
from rehearsal.budgets import NodeBudget, parse_budget, parse_reason
from rehearsal.config import Party, Rehearsal, source_of
from rehearsal.desk import decide_all, furnish_desk
from rehearsal.desk_forms import CreditDoor
from rehearsal.heads import calibrate, check_in_use
from rehearsal.joint import Desk, Tokens, ask_all, serves, token_loads
from rehearsal.processes import Processes, RehearsalError, free_ports, riskweave
from rehearsal.results import AuditVerdict, JointRecord
from rehearsal.results_desk import DeskRecord
from rehearsal.role_files import policy_text, settings_text

COORDINATOR = "coordinator"
_VERDICTS = {0: "verified", regulator_cli.WARNED: "warnings", regulator_cli.FAILED: "failed"}
_UP_S = 60.0
"""Longest wait for a process to come up: a cold machine reads a lot of libraries."""
_MORE_S = 3.0
"""More for each partner: they share this machine."""
_TOGETHER = 8
"""Nodes that come up at a time: fifty at once would keep each other from it."""


class Watcher(Protocol):
    """Whoever shows people how far the rehearsal is."""

    def step(self, text: str) -> None:
        """Something begins."""

    def event(self, event: RunEvent) -> None:
        """The run went on."""


@dataclass(frozen=True, slots=True)
class Places:
    """Directories under the report's."""

    work: Path
    logs: Path

    @property
    def coordinator(self) -> Path:
        """The coordinator's own directory."""
        return self.work / COORDINATOR

    @property
    def regulator(self) -> Path:
        """The live regulator's own directory."""
        return self.work / "regulator"

    @property
    def control_socket(self) -> Path:
        """The operator's door."""
        return coordinator_config.load_config(self.coordinator).control_socket

    def node(self, party: Party) -> Path:
        """A partner's own directory."""
        return self.work / party.id


class Federation:
    """The steps, in the order of their definition."""

    def __init__(self, rehearsal: Rehearsal, places: Places, processes: Processes) -> None:
        self._rehearsal = rehearsal
        self._places = places
        self._processes = processes
        self._talk = places.logs / "set-up.log"

    def set_up(self) -> None:
        """Keys, tokens, certificates, a manifest signed by all, processes serving."""
        self._found_coordinator()
        directory = str(self._places.coordinator)
        self._processes.start(COORDINATOR, riskweave("coordinator", "serve", directory))
        for party in self._rehearsal.parties:
            self._found_node(party)
        self._wait_for_coordinator()
        for party in self._rehearsal.parties:
            node, token = str(self._places.node(party)), str(self._token(party))
            self._call(node_cli.main, "join", node, "--token", token)
        if self._rehearsal.regulator is not None:
            self._found_regulator(self._rehearsal.regulator)
        self._call(coordinator_cli.main, "manifest", directory, "propose")
        digest = self._manifest()
        for party in self._rehearsal.parties:
            node = str(self._places.node(party))
            self._call(node_cli.main, "trust", node, digest)
        if self._rehearsal.regulator is not None:
            self._call(regulator_cli.main, "trust", str(self._places.regulator), digest)
        # Only now: who serves before all have signed dials again and again.
        self._serve_all()
        if self._rehearsal.regulator is not None:
            watcher = str(self._places.regulator)
            command = riskweave("audit", "watch", watcher, "--keep")
            self._processes.start(self._rehearsal.regulator, command)

    def _serve_all(self) -> None:
        parties = self._rehearsal.parties
        for place, party in enumerate(parties):
            if place >= _TOGETHER:
                self._wait_for(parties[place - _TOGETHER])
            node = str(self._places.node(party))
            self._processes.start(party.id, riskweave("node", "serve", node))

    def wait_for_all(self) -> None:
        """Until the manifest is in force and every partner's streams are up."""
        for party in self._rehearsal.parties:
            self._wait_for(party)

    def _wait_for(self, party: Party) -> None:
        self._processes.wait_until(
            lambda: self._connected(party.id),
            _UP_S + _MORE_S * len(self._rehearsal.parties),
            what=f"{party.id} is connected",
            blame=party.id,
        )

    def train(self, watcher: Watcher) -> tuple[RunEvent, ...]:
        """Start the run and follow it to its end."""
        events: list[RunEvent] = []
        try:
            for event in control.start_run(
                self._places.control_socket, self._rehearsal.plan_text
            ):
                events.append(event)
                watcher.event(event)
        except TransportError as error:
            self._processes.check()
            raise self._processes.error(str(error), COORDINATOR) from error
        if not events or events[-1].stage != "finished":
            text = events[-1].text if events else "no event came"
            raise self._processes.error(f"the run failed: {text}", COORDINATOR)
        return tuple(events)

    def vote_all(self, version: str) -> dict[str, bool | None]:
        """Every partner's vote on a version."""
        return {str(party.id): self.vote(party, version) for party in self._rehearsal.parties}

    def check_in_use(
        self, version: str, votes: Mapping[str, bool | None], *, what: str
    ) -> None:
        """Raise RehearsalError with the reasons if the votes did not bring it into use."""
        config = coordinator_config.load_config(self._places.coordinator)
        with contextlib.closing(Store(config.storage_url)) as store:
            check_in_use(store, version, votes, what=what)

    @contextlib.contextmanager
    def tokens(self) -> Iterator[Tokens]:
        """Every node gives its customers pseudonyms, beside the training."""
        nodes = {str(one.id): self._places.node(one) for one in self._rehearsal.parties}
        with token_loads(nodes) as loads:
            yield loads

    def score(self, tokens: Tokens, watcher: Watcher) -> JointRecord:
        """Head, votes on it, and joint scores for the hold-out persons of all askers.

        Raises:
            RehearsalError: a load, the head's run or a question failed, or the head is refused.
        """
        rehearsal = self._rehearsal
        watcher.step("waiting for the pseudonyms of all customers")
        tokens.wait(self._processes.check)
        head, spent = "", {"both": rehearsal.plan.epsilon}
        if rehearsal.head is not None:
            watcher.step("training the head of joint scores")
            events = calibrate(self._places.coordinator, rehearsal.head, watcher.event)
            head = events[-1].version
            self.check_in_use(head, self.vote_all(head), what="the head of joint scores")
            spent = {"head": rehearsal.head.epsilon, "both": rehearsal.epsilon}
        askers = [rehearsal.party(name) for name in rehearsal.askers]
        desks = {
            str(party.id): Desk(
                load_config(self._places.node(party)).desk_socket,
                source_of(rehearsal, party),
            )
            for party in askers
        }
        for party in askers:
            self._processes.wait_until(
                lambda name=party.id: serves(desks[name].socket, head),  # type: ignore[misc]
                _UP_S,
                what=f"{party.id} serves joint scores",
                blame=party.id,
            )
        watcher.step("asking for the joint scores of all hold-out persons")
        return ask_all(desks, rehearsal.plan, head=head, spent=spent)

    def decide(self, watcher: Watcher) -> DeskRecord | None:
        """Decisions of the askers' credit desks on all their hold-out persons.

        Raises:
            RehearsalError: a person got no decision, or one does not replay.
        """
        rehearsal = self._rehearsal
        if rehearsal.credit is None:
            return None
        watcher.step("deciding on all hold-out persons at the askers' credit desks")
        doors = {}
        for name in rehearsal.askers:
            party = rehearsal.party(name)
            node = self._places.node(party)
            furnish_desk(node, rehearsal.credit.rules)
            desk = Desk(load_config(node).desk_socket, source_of(rehearsal, party))
            doors[str(name)] = CreditDoor(desk, node)
        return decide_all(doors, rehearsal.plan, rehearsal.credit, self._places.work.parent)

    def vote(self, party: Party, version: str) -> bool | None:
        """Let a partner test the model on its own rows and vote by its own thresholds.

        None if its vote was not needed any more: the quorum was reached before.
        """
        node = str(self._places.node(party))
        output = self._places.logs / f"validate-{party.id}-{version[:12]}.json"
        with output.open("w", encoding="utf-8") as file, contextlib.redirect_stdout(file):
            accepts = node_cli.main(["validate", node, version, "--json"]) == 0
        reason = parse_reason(str(party.id), output.read_text(encoding="utf-8"))
        verb = ["accept"] if accepts else ["refuse", "--reason", reason]
        try:
            self._call(node_cli.main, verb[0], node, version, *verb[1:])
        except OutOfOrderError:
            return None
        return accepts

    def wait_for_witnesses(self) -> None:
        """Until enough partners have cosigned the newest head of the log."""
        desk = coordinator_wiring.open_desk(self._places.coordinator)
        with contextlib.closing(desk.store):
            self._processes.wait_until(
                lambda: commands.is_witnessed(desk),
                _UP_S,
                what="the partners have cosigned the log",
                blame=COORDINATOR,
            )

    def audit(self) -> AuditVerdict:
        """Write the log as one file, and let the regulator's program examine it.

        Raises:
            RehearsalError: it could not be examined; what it found is no error here.
        """
        bundle = self.bundle("audit.zip")
        code, page = self._examined(bundle, "audit", "--pdf")
        return AuditVerdict(
            verdict=_VERDICTS[code],
            bundle=bundle,
            manifest=parse_digest(self._manifest()),
            page=page,
        )

    # --- what a tamperer needs (rehearsal.tamper) ---------------------------------------------

    @property
    def coordinator(self) -> Path:
        """The operator's own directory."""
        return self._places.coordinator

    @property
    def witnesses(self) -> tuple[PartnerId, ...]:
        """Partners, and the regulator if there is one."""
        regulator = self._rehearsal.regulator
        live = () if regulator is None else (regulator,)
        return (*(party.id for party in self._rehearsal.parties), *live)

    def bundle(self, name: str) -> Path:
        """Write the audit bundle of the database as it stands."""
        path = self._places.work.parent / name
        self._call(coordinator_cli.main, "bundle", str(self.coordinator), str(path))
        return path

    def examine(self, bundle: Path, name: str) -> Path:
        """Let the regulator's program write its report; returns the page."""
        return self._examined(bundle, name)[1]

    def serve_again(self, between: Callable[[], None]) -> None:
        """Stop the coordinator, do something, start it, wait until everybody is back."""
        self._processes.end(COORDINATOR)
        between()
        self._processes.start(
            COORDINATOR, riskweave("coordinator", "serve", str(self.coordinator))
        )
        self._wait_for_coordinator()
        self.wait_for_all()

    def ask_for_another_run(self) -> str:
        """Start the plan once more; returns how it ended."""
        events = list(control.start_run(self._places.control_socket, self._rehearsal.plan_text))
        return events[-1].text or events[-1].stage

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition; RehearsalError if it does not come."""
        self._processes.wait_until(condition, _UP_S, what=what, blame=COORDINATOR)

    def _examined(self, bundle: Path, name: str, *options: str) -> tuple[int, Path]:
        pages = self._places.work.parent / name
        command = ["report", str(bundle), "--manifest", self._manifest(), "--out", str(pages)]
        with self._log():
            code = regulator_cli.main([*command, *options])
        if code not in _VERDICTS:
            raise RehearsalError(f"the audit ended with {code}: {self._talk}")
        return code, pages / "report.en.html"

    def budget(self, party: Party) -> NodeBudget:
        """The partner's own report of what it has spent and has left."""
        output = self._places.logs / f"budget-{party.id}.json"
        with output.open("w", encoding="utf-8") as file, contextlib.redirect_stdout(file):
            node_cli.main(["budget", str(self._places.node(party)), "--json"])
        return parse_budget(str(party.id), output.read_text(encoding="utf-8"))

    def release(self, version: str) -> tuple[bytes, str]:
        """The model document and where the votes brought it."""
        config = coordinator_config.load_config(self._places.coordinator)
        with contextlib.closing(Store(config.storage_url)) as store:
            for row in store.models.all():
                if row.version == version:
                    return row.document, row.status
        raise RehearsalError(f"the registry does not have model {version}")

    def _found_coordinator(self) -> None:
        directory, rehearsal = self._places.coordinator, self._rehearsal
        policy = self._places.work / "policy.toml"
        policy.write_text(policy_text(rehearsal.policy), encoding="utf-8")
        federation, enrolment = free_ports(2)
        self._call(
            coordinator_cli.main,
            "init",
            str(directory),
            *("--name", "rehearsal"),
            *("--schema", str(rehearsal.schema_path)),
            *("--policy", str(policy)),
            *("--storage", rehearsal.storage),
            *("--address", f"127.0.0.1:{federation}"),
            *("--enrolment", f"127.0.0.1:{enrolment}"),
        )
        for party in rehearsal.parties:
            self._call(
                coordinator_cli.main,
                "token",
                str(directory),
                party.id,
                *("--out", str(self._token(party))),
                *("--families", ",".join(party.families)),
            )

    def _found_regulator(self, name: str) -> None:
        """Enrol it like a partner, on its own token; it signs the manifest like all others."""
        token = self._places.work / f"{name}.token"
        directory = str(self._places.coordinator)
        issued = ("token", directory, name, "--regulator", "--out", str(token))
        self._call(coordinator_cli.main, *issued)
        watcher = str(self._places.regulator)
        self._call(regulator_cli.main, "join", watcher, "--token", str(token))

    def _found_node(self, party: Party) -> None:
        directory = self._places.node(party)
        settings = self._places.work / f"{party.id}.toml"
        text = settings_text(
            party, self._rehearsal.directory, decides=self._rehearsal.credit is not None
        )
        settings.write_text(text, encoding="utf-8")
        node, path = str(directory), str(settings)
        self._call(node_cli.main, "init", node, "--id", party.id, "--settings", path)

    def _token(self, party: Party) -> Path:
        return self._places.work / f"{party.id}.token"

    def _manifest(self) -> str:
        output = self._places.logs / "manifest.json"
        with output.open("w", encoding="utf-8") as file, contextlib.redirect_stdout(file):
            coordinator_cli.main(["manifest", str(self._places.coordinator), "show", "--json"])
        return str(json.loads(output.read_text(encoding="utf-8"))["digest"])

    def _wait_for_coordinator(self) -> None:
        self._processes.wait_until(
            lambda: self._status() is not None,
            _UP_S,
            what="the coordinator serves",
            blame=COORDINATOR,
        )

    def _connected(self, name: str) -> bool:
        status = self._status()
        if status is None or not status.manifest_complete:
            return False
        return any(one.partner == name and one.training for one in status.partners)

    def _status(self) -> control.Status | None:
        try:
            return control.fetch_status(self._places.control_socket)
        except TransportError:
            return None  # not up yet

    def _call(self, main: Callable[[Sequence[str]], int], *arguments: str) -> None:
        """One command line of a role, its output kept in the log of the set-up."""
        with self._log():
            code = main(arguments)
        if code != 0:
            shown = " ".join(arguments)
            raise RehearsalError(f"`riskweave ... {shown}` ended with {code}: {self._talk}")

    @contextlib.contextmanager
    def _log(self) -> Iterator[None]:
        with (
            self._talk.open("a", encoding="utf-8") as file,
            contextlib.redirect_stdout(file),
            contextlib.redirect_stderr(file),
        ):
            yield
