"""A SuperLink's ServerApp: ours, over a directory of plan, manifest and schema.

``server_app`` is used by both sides of the comparison; ``app`` finds the directory in the
run's configuration. The state after every sum, and the model, are written to the directory.
"""

import threading
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from consortium.canonical import parse_canonical
from consortium.documents import document_of, parse_document
from consortium.features.schema import Schema
from consortium.manifest import parse_manifest
from consortium.messages import SumRequest
from consortium.plan import TrainingPlan
from coordinator.releases import candidate_of
from coordinator.server_app import Deadlines, RunPorts, build_server_app
from models.run import ClosedSum, RunSession

DEADLINES = Deadlines(attempt=120, offer=120, quorum=120)

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """What the SuperLink starts."""
    server_app(Path(str(context.run_config["directory"])))(grid, context)


def server_app(directory: Path) -> ServerApp:
    """The product's ServerApp for the plan in ``directory``."""
    manifest = parse_manifest((directory / "manifest").read_bytes())
    schema = Schema.from_canonical(
        parse_canonical((directory / "schema").read_bytes()), source="schema"
    )
    plan = parse_document(TrainingPlan, (directory / "plan").read_bytes())
    session = RunSession(plan, schema)

    def closed(_request: SumRequest, _seconds: float, _sum: ClosedSum | None) -> None:
        number = len(session.state.attempts)
        (directory / f"state-{number:02}").write_bytes(document_of(session.state))
        if session.finished:
            (directory / "model").write_bytes(candidate_of(session, manifest).document)

    # Nothing tells a ServerApp that a SuperNode came: it has to look again.
    ports = RunPorts(
        manifest=manifest, wait_for_change=threading.Event().wait, on_closed=closed
    )
    return build_server_app(session, ports, DEADLINES)
