"""From a finished run to a release candidate: figures, statement, document, version.

Every figure here comes from a noised sum; nothing is known of one partner.
"""

from dataclasses import dataclass

from consortium.features.bins import private_features
from consortium.ids import Digest
from consortium.manifest import Manifest
from consortium.privacy.statement import statement
from models.document import HeadDocument, ModelDocument, version_of
from models.figures import joint_part, metrics_part, overlap_part
from models.released import head_of, model_of
from models.run import RunFailedError, RunSession


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model document and the version that its bytes make it."""

    version: Digest
    document: bytes


def candidate_of(session: RunSession, manifest: Manifest) -> Candidate:
    """The release candidate of a finished run.

    Raises:
        RunFailedError: the run is not finished, or its recalibration is not usable.
    """
    if not session.finished:
        raise RunFailedError("the run is not finished")
    if session.is_head:
        return _head_candidate(session, manifest)
    model = model_of(session)
    document = ModelDocument(
        manifest=manifest.digest,
        plan=session.plan,
        bins=session.bins,
        model=model,
        joint=joint_part(session, model),
        metrics=metrics_part(session),
        statement=_statement(session),
    ).to_bytes()
    return Candidate(version_of(document), document)


def _statement(session: RunSession) -> dict[str, object]:
    return statement(
        session.plan,
        session.state.attempts,
        width=session.spec.size,
        grid=len(private_features(session.schema)),
    )


# --- heads ------------------------------------------------------------------------------------


def _head_candidate(session: RunSession, manifest: Manifest) -> Candidate:
    plan, state = session.plan, session.state
    served = head_of(session)
    document = HeadDocument(
        manifest=manifest.digest,
        plan=plan,
        head=served,
        pooled=state.pooled,
        overlap=overlap_part(session),
        metrics=metrics_part(session),
        statement=_statement(session),
    ).to_bytes()
    return Candidate(version_of(document), document)
