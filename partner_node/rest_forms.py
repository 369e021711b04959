"""What the desk's JSON looks like, and the page that says so (protocol 13.8).

Read strictly: no field that is not listed, no number written as a text. What the fields say
is checked in ``partner_node.loan_desk``.
"""

import json
from collections.abc import Mapping
from html import escape
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict

from consortium.inquiries import LARGEST_BATCH
from partner_node.loan_desk import LONGEST_TEXT, METHODS, Consent, Question

_STRICT = ConfigDict(strict=True, extra="forbid")
_EXAMPLE: JsonDict = {
    "person": "11010519491231002X",
    "consent": {"reference": "consent-2026-000123", "expires": 1_798_761_600},
}
_STYLE = """
body { font: 16px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
pre { background: #f4f4f4; padding: 1rem; overflow-x: auto }
td { padding: .2rem .8rem }
"""
_Text = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_TEXT)]


class ConsentIn(BaseModel):
    """The consent that the inquiry rests on."""

    model_config = _STRICT
    reference: str = Field(
        default="", description="The bank's own record of the consent. Required."
    )
    purposes: list[str] = Field(
        default_factory=list, description="Codes; empty: JOINT_SCORE.", max_length=8
    )
    expires: int = Field(
        default=0, description="Seconds since 1970, UTC; 0: this inquiry only."
    )
    notice: int = Field(default=0, ge=0, lt=1 << 16, description="Version of the notice.")
    method: str = Field(default="", description=f"One of {', '.join(METHODS)}.")


class ScoreIn(BaseModel):
    """One person that is asked about."""

    model_config = ConfigDict(
        strict=True, extra="forbid", json_schema_extra={"examples": [_EXAMPLE]}
    )
    person: _Text = Field(description="The identifier in the federation's form.")
    consent: ConsentIn = ConsentIn()
    attributes: dict[str, float | str | None] | None = Field(
        default=None,
        description="Own features of an applicant; null: the customer's own row counts.",
    )
    brief: bool = Field(default=False, description="Without losses and what_if.")


class BatchIn(BaseModel):
    """Several persons at once."""

    model_config = _STRICT
    requests: list[ScoreIn] = Field(min_length=1, max_length=LARGEST_BATCH)


class ReasonOut(BaseModel):
    """One reason."""

    code: str
    zh: str
    en: str
    points: int
    source: str


class LossOut(BaseModel):
    """Points lost by one own attribute, or by a family's total."""

    family: str
    feature: str
    bin: str
    points: int
    source: str


class ChangeOut(BaseModel):
    """One own attribute in a better bin, on today's other data."""

    feature: str
    now: str
    then: str
    gain: int
    points: int


class ScoreOut(BaseModel):
    """A score: ``points = best - sum of losses - unattributed``."""

    points: int
    pd: str
    eta: int
    band: str
    fallback: str
    calibration: str
    best: int
    unattributed: int
    reasons: list[ReasonOut]
    losses: list[LossOut]
    no_data: list[str]
    what_if: list[ChangeOut]
    model: str
    head: str
    policy: str
    request: str
    interval: str
    answered_at: int


class FailureOut(BaseModel):
    """Why there is no score; ``code`` is one of S01 to S18, or a name of the error tree."""

    code: str
    text: str


class ResultOut(BaseModel):
    """One of the two."""

    score: ScoreOut | None = None
    failure: FailureOut | None = None


class BatchOut(BaseModel):
    """Results in the order of the requests."""

    results: list[ResultOut]


class StatusOut(BaseModel):
    """How the desk stands."""

    partner: str
    manifest: str
    delivery: str
    model: str
    head: str
    fallback: str
    partners: int


def question_of(body: ScoreIn, key: str = "") -> Question:
    """The question that the body asks, under an idempotency key."""
    consent = body.consent
    return Question(
        person=body.person,
        consent=Consent(
            reference=consent.reference,
            purposes=tuple(consent.purposes),
            expires=consent.expires,
            notice=consent.notice,
            method=consent.method,
        ),
        attributes=body.attributes,
        key=key,
        brief=body.brief,
    )


def page(document: Mapping[str, Any]) -> str:
    """The OpenAPI document as one page without scripts."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f"<title>{escape(document['info']['title'])}</title>",
        f"<style>{_STYLE}</style>",
        f"<h1>{escape(document['info']['title'])}</h1>",
        "<p>The machine-readable form is <a href=/openapi.json>/openapi.json</a>.</p>",
    ]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts.append(f"<h2>{method.upper()} {escape(path)}</h2>")
            parts.append(f"<p>{escape(operation['summary'])}</p><table>")
            for status, reply in operation["responses"].items():
                parts.append(f"<tr><td>{status}<td>{escape(reply['description'])}")
            parts.append("</table>")
    for name, schema in document["components"]["schemas"].items():
        parts.append(f"<h3>{escape(name)}</h3><p>{escape(schema.get('description', ''))}</p>")
        body = json.dumps(schema.get("examples") or schema.get("properties"), indent=2)
        parts.append(f"<pre>{escape(body)}</pre>")
    return "".join(parts)
