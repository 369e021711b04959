"""ADAPTER HTTP: the credit desk's paths beside the score's (protocol 13.8).

Bodies are read by the desk's own strict reader and not by a model of FastAPI's, which would
take a forbidden name for an unknown one; the form is shown in the description all the same.
"""

from collections.abc import Callable
from datetime import date
from typing import Annotated, Any

from fastapi import FastAPI, Header, Query, Request
from fastapi.responses import Response

from consortium.inquiries import LARGEST_BATCH
from partner_node.credit.doors import CreditDesk
from partner_node.credit.sample import sample_application
from partner_node.rest_forms import FailureOut

Caller = Callable[[Request], str]
"""Who asks, by the certificate; raises CertificateError."""

_JSON = "application/json"
BATCH_MS = 10_000
"""Time of a batch."""
_APPLICATION = sample_application(on=date(2026, 11, 20), currency="TWD")
_OVERRIDE: dict[str, Any] = {
    "code": "NEW_FACTS",
    "role": "credit_officer",
    "outcome": "APPROVE",
    "limit": 3_000_000,
    "note": "stays in this node",
}
_FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": FailureOut, "description": text}
    for status, text in {
        400: "Not of its form",
        404: "Nothing of this id",
        409: "The idempotency key came with another request",
        413: "Too large",
        415: "Not sent as application/json",
        422: "A fact that no rule may see, a value out of bounds, or no consent",
        503: "No rules are in force here, or the disk is full",
    }.items()
}


def _body(example: object) -> dict[str, Any]:
    content = {_JSON: {"schema": {"type": "object", "examples": [example]}}}
    return {"requestBody": {"required": True, "content": content}}


def add_decisions(app: FastAPI, credit: CreditDesk, caller: Caller) -> None:
    """Add the credit desk's paths.

    Args:
        app: Of the score's paths.
        credit: What makes and keeps decisions.
        caller: Who asks, by the certificate; raises CertificateError.
    """
    _add_deciding(app, credit, caller)
    _add_kept(app, credit, caller)
    _add_offers(app, credit, caller)
    _add_notices(app, credit, caller)


def _add_deciding(app: FastAPI, credit: CreditDesk, caller: Caller) -> None:
    @app.post(
        "/v1/decisions",
        responses=_FAILURES,
        summary="Decide on an application",
        openapi_extra=_body(_APPLICATION),
    )
    async def decide(
        request: Request, idempotency_key: Annotated[str, Header(max_length=128)] = ""
    ) -> Response:
        made = await credit.decide(
            await request.body(),
            key=idempotency_key,
            caller=caller(request),
            left_ms=credit.deadline_ms,
        )
        return Response(made, media_type=_JSON)

    @app.post(
        "/v1/decisions:batch",
        responses=_FAILURES,
        summary=f"Decide on 1 to {LARGEST_BATCH} applications, in order",
        openapi_extra=_body(
            {"requests": [{"application": _APPLICATION, "idempotency_key": ""}]}
        ),
    )
    async def batch(request: Request) -> Response:
        found = await credit.decide_listed(
            await request.body(), caller=caller(request), deadline_ms=BATCH_MS
        )
        return Response(found, media_type=_JSON)


def _add_kept(app: FastAPI, credit: CreditDesk, caller: Caller) -> None:
    @app.get("/v1/decisions/{name}", responses=_FAILURES, summary="A stored decision")
    async def decision(request: Request, name: str) -> Response:
        caller(request)
        return Response(await credit.decision(name), media_type=_JSON)

    @app.post(
        "/v1/decisions/{name}/override",
        responses=_FAILURES,
        summary="An officer's final decision",
        openapi_extra=_body(_OVERRIDE),
    )
    async def override(request: Request, name: str) -> Response:
        made = await credit.override(name, await request.body(), caller=caller(request))
        return Response(made, media_type=_JSON)


def _add_offers(app: FastAPI, credit: CreditDesk, caller: Caller) -> None:
    @app.post(
        "/v1/offers",
        responses=_FAILURES,
        summary="What suits an applicant",
        openapi_extra=_body({}),
    )
    async def offer(
        request: Request, idempotency_key: Annotated[str, Header(max_length=128)] = ""
    ) -> Response:
        made = await credit.offer(
            await request.body(), key=idempotency_key, caller=caller(request)
        )
        return Response(made, media_type=_JSON)


def _add_notices(app: FastAPI, credit: CreditDesk, caller: Caller) -> None:
    @app.get("/v1/notices/{name}", responses=_FAILURES, summary="The notice of a decision")
    async def notice(
        request: Request,
        name: str,
        form: Annotated[str, Query(alias="format")] = "html",
        lang: str = "zh",
    ) -> Response:
        caller(request)
        document, kind = await credit.notice(name, form, lang)
        return Response(document, media_type=kind)
