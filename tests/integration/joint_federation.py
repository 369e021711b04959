"""A federation of real processes at whose every desk a score is joint."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from partner_node.config_reading import load_config
from rehearsal.joint import serves, token_loads
from tests.integration.federation import Federation


def with_joint_scores(text: str, customers: Mapping[str, int]) -> str:
    """The text of a rehearsal's file with joint scores and no bound in the way."""
    assert text.count("[plan]\n") == 1
    named = ", ".join(f"{name} = {most}" for name, most in customers.items())
    scoring = f"""
[rehearsal.scoring]
delivery = "joint"
epoch = 1
scores_per_second = 100000
scores_per_day = 1000000
tokens_per_second = 100000
tokens_per_day = 1000000
load_hours = 0
customers = {{ {named} }}

[plan]
"""
    return text.replace("[plan]\n", scoring)


def desk_of(federation: Federation, name: str) -> Path:
    """The socket of a node's desk."""
    return load_config(federation.directory(name)).desk_socket


def train_and_serve(
    federation: Federation, names: Iterable[str], train: Callable[[Federation], str]
) -> None:
    """Load every pseudonym while a version is trained, vote for it, wait until desks answer."""
    nodes = {name: federation.directory(name) for name in names}
    with token_loads(nodes) as loads:
        version = train(federation)
        federation.steps.vote_all(version)
        loads.wait(federation.processes.check)
    for name in nodes:
        wait_for_joint_scores(federation, name)


def wait_for_joint_scores(federation: Federation, name: str) -> None:
    """Until the node's desk answers jointly."""
    desk = desk_of(federation, name)
    federation.wait(lambda: serves(desk, ""), what=f"{name} serves", blame=name)


def trained(federation: Federation) -> str:
    """The version that one run gives."""
    version = federation.start_run().wait_for_end().version
    assert version
    return version
