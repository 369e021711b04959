"""The document of a model version: everything that was released, under one digest.

A version is a base model, or the head of one, which names its base (protocol 7.11). The
digest of the bytes is the version, so a node that holds the version's name knows whether the
bytes are right (protocol 12.5).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consortium.canonical import Label, canonical_json, hash_with, parse_canonical
from consortium.documents import document_of, parse_document, plan_digest
from consortium.errors import DecodeError, DigestMismatchError
from consortium.features.bins import Bins
from consortium.features.schema import Schema
from consortium.ids import Digest, parse_digest
from consortium.plan import ModelKind, TrainingPlan
from consortium.scoring.head import Head, head_bytes, parse_head
from models.inference import Model
from models.partials import Joint, families_of

TYPE = "riskweave/model/v1"
HEAD_TYPE = "riskweave/head/v1"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelDocument:
    """One version of a base model. All of it is public."""

    manifest: Digest
    plan: TrainingPlan
    bins: Bins
    model: Model
    joint: Joint
    """What joint scores of the model need beside its weights."""
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
                "joint": {"base": self.joint.base, "centres": dict(self.joint.centres)},
                "metrics": dict(self.metrics),
                "statement": dict(self.statement),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadDocument:
    """One version of a head. All of it is public."""

    manifest: Digest
    plan: TrainingPlan
    head: Head
    pooled: tuple[int, ...]
    """Strata, from 0, that had too few persons: they have the mean of the others."""
    overlap: Mapping[str, object]
    """Noisy counts of the study's training persons by families and partners."""
    metrics: Mapping[str, object]
    """Figures of each stratum, and of all together as "all"."""
    statement: Mapping[str, object]

    @property
    def base(self) -> Digest:
        """The version of the model that it is for."""
        if self.plan.base is None:
            raise DecodeError("head document without a base model")
        return self.plan.base

    def to_bytes(self) -> bytes:
        """The canonical bytes; their digest is the version."""
        return canonical_json(
            {
                "type": HEAD_TYPE,
                "base": self.base,
                "manifest": self.manifest,
                "schema": self.plan.schema,
                "plan_digest": plan_digest(self.plan),
                "plan": parse_canonical(document_of(self.plan)),
                "head": parse_canonical(head_bytes(self.head)),
                "pooled": list(self.pooled),
                "overlap": dict(self.overlap),
                "metrics": dict(self.metrics),
                "statement": dict(self.statement),
            }
        )


Document = ModelDocument | HeadDocument


def version_of(data: bytes) -> Digest:
    """The version that a document's bytes make."""
    return hash_with(Label.MODEL, data)


def verify_version(data: bytes, version: Digest) -> None:
    """Raise DigestMismatchError unless ``data`` is the document of ``version``."""
    if (seen := version_of(data)) != version:
        raise DigestMismatchError("model document", seen, version)


def base_of(data: bytes) -> Digest | None:
    """The base model that a document names; None if it is one itself.

    Raises:
        DecodeError: it is neither.
    """
    body = parse_canonical(data)
    if not isinstance(body, dict) or body.get("type") not in (TYPE, HEAD_TYPE):
        raise DecodeError("neither a model's document nor a head's")
    return None if body["type"] == TYPE else parse_digest(str(body.get("base")))


def parse_any(data: bytes, schema: Schema) -> Document:
    """The document, whichever it is. Errors as of the two."""
    if base_of(data) is None:
        return parse_model_document(data, schema)
    return parse_head_document(data, schema)


def parse_model_document(data: bytes, schema: Schema) -> ModelDocument:
    """The document, or DecodeError if its parts do not belong together."""
    body = _body(data, TYPE)
    try:
        document = ModelDocument(
            manifest=parse_digest(body["manifest"]),
            plan=parse_document(TrainingPlan, canonical_json(body["plan"])),
            bins=Bins.from_canonical(body["bins"], schema),
            model=Model.from_canonical(canonical_json(body["model"])),
            joint=Joint(base=body["joint"]["base"], centres=body["joint"]["centres"]),
            metrics=body["metrics"],
            statement=body["statement"],
        )
    except (KeyError, TypeError) as error:
        raise DecodeError(f"model document lacks {error}") from error
    if document.plan.schema != schema.digest:
        raise DecodeError("model document is for another feature schema")
    if set(document.joint.centres) != set(families_of(document.model.spec)):
        raise DecodeError("model document: centres of other families")
    if document.model.bins != document.bins.digest or document.to_bytes() != data:
        raise DecodeError("model document: its parts do not belong together")
    return document


def parse_head_document(data: bytes, schema: Schema) -> HeadDocument:
    """The document, or DecodeError if its parts do not belong together."""
    body = _body(data, HEAD_TYPE)
    try:
        document = HeadDocument(
            manifest=parse_digest(body["manifest"]),
            plan=parse_document(TrainingPlan, canonical_json(body["plan"])),
            head=parse_head(canonical_json(body["head"])),
            pooled=tuple(body["pooled"]),
            overlap=body["overlap"],
            metrics=body["metrics"],
            statement=body["statement"],
        )
    except (KeyError, TypeError) as error:
        raise DecodeError(f"head document lacks {error}") from error
    plan = document.plan
    if plan.schema != schema.digest:
        raise DecodeError("head document is for another feature schema")
    if plan.model is not ModelKind.HEAD or len(plan.blocks) != 1:
        raise DecodeError("head document: its plan is no head's")
    if document.head.families != plan.blocks[0].families or document.to_bytes() != data:
        raise DecodeError("head document: its parts do not belong together")
    return document


def _body(data: bytes, kind: str) -> Mapping[str, Any]:
    body = parse_canonical(data)
    if not isinstance(body, dict) or body.get("type") != kind:
        raise DecodeError(f"not a document of type {kind}")
    return body
