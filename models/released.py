"""What a finished run releases: the model, or the head, that its published sums lead to.

One place for coordinator, nodes and auditor, so that none can mean something else by it.
"""

from consortium.credit.tables import Calibration
from consortium.scoring.head import Head, head_bytes
from models import head
from models.inference import Model
from models.run import RunSession


def model_of(session: RunSession) -> Model:
    """The released weights with each block's recalibration."""
    weights, numbers = session.released_weights, session.state.calibration
    lines = zip(numbers[::2], numbers[1::2], strict=True)
    return Model(
        spec=session.spec,
        bins=session.bins.digest,
        weights=tuple(weights[block.window] for block in session.spec.blocks),
        calibration=tuple(
            Calibration(alpha=float(alpha), beta=float(beta)) for alpha, beta in lines
        ),
    )


def head_of(session: RunSession) -> Head:
    """The released head of a run that has counted its study."""
    families = session.plan.blocks[0].families
    return head.head_of(session.head_weights, families, float(session.plan.start))


def released_bytes(session: RunSession) -> bytes:
    """Canonical bytes of the model, or of the head, as they stand in the document."""
    if session.is_head:
        return head_bytes(head_of(session))
    return model_of(session).to_canonical()
