"""The document of a model version: everything that was released, under one digest.

The digest of the bytes is the version, so a node that holds the version's name knows
whether the bytes are right (protocol 12.5).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from consortium.canonical import Label, canonical_json, hash_with, parse_canonical
from consortium.documents import document_of, parse_document, plan_digest
from consortium.errors import DecodeError, DigestMismatchError
from consortium.features.bins import Bins
from consortium.features.schema import Schema
from consortium.ids import Digest, parse_digest
from consortium.plan import TrainingPlan
from models.inference import Model

TYPE = "riskweave/model/v1"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelDocument:
    """One version. All of it is public."""

    manifest: Digest
    plan: TrainingPlan
    bins: Bins
    model: Model
    metrics: Mapping[str, object]
    """Figures of each block from noised sums; decimals as strings."""
    statement: Mapping[str, object]

    def to_bytes(self) -> bytes:
        """The canonical bytes; their digest is the version."""
        return canonical_json(
            {
                "type": TYPE,
                "manifest": self.manifest,
                "schema": self.plan.schema,
                "plan_digest": plan_digest(self.plan),
                "plan": parse_canonical(document_of(self.plan)),
                "bins": self.bins.to_canonical(),
                "model": parse_canonical(self.model.to_canonical()),
                "metrics": dict(self.metrics),
                "statement": dict(self.statement),
            }
        )


def version_of(data: bytes) -> Digest:
    """The version that a document's bytes make."""
    return hash_with(Label.MODEL, data)


def verify_version(data: bytes, version: Digest) -> None:
    """Raise DigestMismatchError unless ``data`` is the document of ``version``."""
    if (seen := version_of(data)) != version:
        raise DigestMismatchError("model document", seen, version)


def parse_model_document(data: bytes, schema: Schema) -> ModelDocument:
    """The document, or DecodeError if its parts do not belong together."""
    body = parse_canonical(data)
    if not isinstance(body, dict) or body.get("type") != TYPE:
        raise DecodeError(f"not a document of type {TYPE}")
    try:
        document = ModelDocument(
            manifest=parse_digest(body["manifest"]),
            plan=parse_document(TrainingPlan, canonical_json(body["plan"])),
            bins=Bins.from_canonical(body["bins"], schema),
            model=Model.from_canonical(canonical_json(body["model"])),
            metrics=body["metrics"],
            statement=body["statement"],
        )
    except KeyError as error:
        raise DecodeError(f"model document lacks {error}") from error
    if document.plan.schema != schema.digest:
        raise DecodeError("model document is for another feature schema")
    if document.model.bins != document.bins.digest or document.to_bytes() != data:
        raise DecodeError("model document: its parts do not belong together")
    return document
