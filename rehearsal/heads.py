"""A head for the model that a rehearsal has just brought into use, through the operator's door.

What ``riskweave coordinator calibrate`` does, with the settings of the rehearsal's ``[head]``:
the plan is made from the active model, and the run is followed to its end. And whether a
version is in use after all votes: what is not is served by nobody, however long one waits.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from consortium.errors import TransportError
from coordinator import commands, control, gating, wiring
from coordinator.calibration import HeadSettings
from coordinator.events import RunEvent
from coordinator.storage import Store
from rehearsal.processes import RehearsalError

_ACTIVE = "active"
"""Status of the version of its kind that is served."""


def calibrate(
    coordinator: Path, settings: HeadSettings, watch: Callable[[RunEvent], None]
) -> tuple[RunEvent, ...]:
    """Train the head of the active model; the last event names its version.

    Args:
        coordinator: The serving coordinator's directory.
        settings: Of the rehearsal.
        watch: Is shown every event.

    Raises:
        RehearsalError: the run failed, or the coordinator is gone.
        ConfigurationError, ManifestError: no model is active, or nobody may ask.
    """
    desk = wiring.open_desk(coordinator)
    try:
        plan = commands.plan_of_head(desk, settings)
    finally:
        desk.store.close()
    events: list[RunEvent] = []
    try:
        for event in control.start_run(desk.config.control_socket, plan):
            events.append(event)
            watch(event)
    except TransportError as error:
        raise RehearsalError(str(error)) from error
    if not events or events[-1].stage != "finished":
        text = events[-1].text if events else "no event came"
        raise RehearsalError(f"the head's run failed: {text}")
    return tuple(events)


def check_in_use(
    store: Store, version: str, votes: Mapping[str, bool | None], *, what: str
) -> None:
    """Return if a version is active; else say why it is not.

    Args:
        store: The coordinator's.
        version: Of a model or a head.
        votes: How each partner voted on it, None where its vote was not needed any more.
        what: How to name the version to people.

    Raises:
        RehearsalError: with the lines of its release gate that failed, or who refused it.
    """
    rows = [row for row in store.models.all() if row.version == version]
    if rows and rows[0].status == _ACTIVE:
        return
    reason = gating.refusal_of(store, rows[0].version) if rows else "it is not on record"
    against = [name for name, vote in votes.items() if vote is False]
    if not reason:
        reason = f"refused by {', '.join(against)}" if against else "too few votes"
    raise RehearsalError(f"{what} {version[:12]} is not served: {reason}")
