"""A SuperNode's ClientApp: ours, over the node directory that its node-config names.

The SuperNode starts a process for every message, so a session lives for one message only.
"""

from pathlib import Path

from flwr.app import Context

from partner_node.client_app import build_app
from partner_node.training_parts import worker_sessions
from partner_node.training_session import TrainingSession


def session_of(context: Context) -> TrainingSession:
    """The session of the node that this process answers for."""
    return worker_sessions(Path(str(context.node_config["directory"])))(context)


app = build_app(session_of)
