"""A head for the model that a rehearsal has just brought into use, through the operator's door.

What ``riskweave coordinator calibrate`` does, with the settings of the rehearsal's ``[head]``:
the plan is made from the active model, and the run is followed to its end.
"""

from collections.abc import Callable
from pathlib import Path

from consortium.errors import TransportError
from coordinator import control, wiring
from coordinator.calibration import HeadSettings
from coordinator.events import RunEvent
from rehearsal.processes import RehearsalError


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
        plan = wiring.plan_of_head(desk, settings)
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
