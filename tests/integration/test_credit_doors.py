"""The credit desk's doors with real sockets: one answer, no forbidden fact, no value told."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from consortium.errors import (
    ConsentMissingError,
    DecodeError,
    ForbiddenFieldError,
    PersonError,
)
from partner_node.config import DeskDoors
from partner_node.credit.doors import CreditDesk
from partner_node.desk_caller import DeskCaller
from partner_node.desk_serving import open_doors
from riskweave_client import (
    AskedDecision,
    AsyncClient,
    Client,
    ConsentRecord,
    CreditApplication,
    CreditDecision,
    DeskError,
    Failure,
    FinalDecision,
    Income,
    Standing,
    Wish,
)
from tests.credit_desk_house import Scores, application, consent, desk, write_rules
from tests.desk_house import NOW, Session, config, loan_desk
from tests.node_house import Loop

KEY = str(UUID(int=11))
AS_JSON = {"Content-Type": "application/json"}
PLANTED = "Planted5551234"
"""A value that stands nowhere else: wherever it is found, a value was told."""
TYPED = CreditApplication(
    application="application-1",
    person="11010519",
    wish=Wish(
        product="instalment_small",
        purpose="DURABLES",
        amount=6_000_000,
        currency="TWD",
        tenor_months=12,
    ),
    standing=Standing(
        adult=True,
        has_history=True,
        income=Income(credits=(6_000_000,) * 3, latest_on=date(2026, 11, 5)),
    ),
    consents=tuple(
        ConsentRecord(purpose=purpose, id=f"c-{purpose.lower()}", given_on=date(2026, 11, 20))
        for purpose in ("CREDIT_DECISION", "JOINT_SCORE", "INCOME_DATA")
    ),
)


@contextmanager
def opened(home: Path, scores: Scores | None = None) -> Iterator[Path]:
    """All doors of a credit desk, served in a thread."""
    write_rules(home)
    loop = Loop()
    with desk(home, scores) as service:

        @asynccontextmanager
        async def serving() -> AsyncIterator[None]:
            loans = loan_desk(Session())
            doors = config(home, DeskDoors(rest="socket"))
            credit = CreditDesk(service)
            async with open_doors(doors, loans, now=lambda: NOW, credit=credit):
                yield

        doors = serving()
        try:
            loop.call(doors.__aenter__())
            try:
                yield home
            finally:
                loop.call(doors.__aexit__(None, None, None))
        finally:
            loop.close()


@pytest.fixture
def home(near: Path) -> Iterator[Path]:
    with opened(near) as found:
        yield found


def grpc_client(home: Path) -> Client:
    return Client(f"unix:{home / 'desk.sock'}")


def rest(home: Path) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=str(home / "desk-rest.sock"))
    return httpx.Client(transport=transport, base_url="http://localhost")


def test_all_doors_bring_the_same_bytes_for_one_key(home: Path) -> None:
    body = TYPED.to_json()
    with grpc_client(home) as client, rest(home) as http, DeskCaller(home / "desk.sock") as own:
        typed = client.decide(TYPED, idempotency_key=KEY)
        posted = http.post(
            "/v1/decisions", content=body, headers={"Idempotency-Key": KEY, **AS_JSON}
        )
        asked = own.decide(body, KEY)
    assert posted.status_code == 200
    assert typed.document == posted.content == asked
    assert typed.outcome == "APPROVE"
    assert typed.prices == (Decimal("0.06"), Decimal("0.09"))
    assert typed.review.route == "credit_review_desk"


def test_batches_bring_the_bytes_of_single_calls_at_every_door(home: Path) -> None:
    keys = [str(UUID(int=place)) for place in range(20, 25)]
    forms = [replace(TYPED, application=f"a-{place}") for place in range(5)]
    odd = replace(TYPED, application="no name of an application")
    asked = [AskedDecision(form, key) for form, key in zip(forms, keys, strict=True)]
    listed = [
        {"application": json.loads(form.to_json()), "idempotency_key": key}
        for form, key in zip(forms, keys, strict=True)
    ]
    with grpc_client(home) as client, rest(home) as http:
        many = list(client.decide_many([*asked[:2], AskedDecision(odd), *asked[2:]]))
        single = [
            client.decide(form, idempotency_key=key)
            for form, key in zip(forms, keys, strict=True)
        ]
        posted = http.post(
            "/v1/decisions:batch", json={"requests": [*listed, {"application": {"age": 3}}]}
        )
    failed = many.pop(2)
    assert isinstance(failed, Failure)
    assert failed.code == "domain"
    decided = [one.document for one in many if isinstance(one, CreditDecision)]
    assert decided == [one.document for one in single]
    parts = posted.json()["results"]
    assert [json.dumps(one["decision"]) for one in parts[:5]] == [
        json.dumps(json.loads(one)) for one in decided
    ]
    assert parts[5]["failure"]["code"] == "forbidden_field"
    assert all(b'{"decision":' + one + b"}" in posted.content for one in decided)


def test_batch_longer_than_a_message_is_answered_in_order(home: Path) -> None:
    forms = [replace(TYPED, application=f"a-{place}") for place in range(300)]

    async def ask() -> list[str]:
        async with AsyncClient(f"unix:{home / 'desk.sock'}") as client:
            found = client.decide_many(AskedDecision(form) for form in forms)
            return [one.application async for one in found if isinstance(one, CreditDecision)]

    assert asyncio.run(ask()) == [form.application for form in forms]


@pytest.mark.parametrize("body", [{"requests": []}, {"requests": {}}, {"odd": 1}, {}])
def test_batch_that_is_none_is_refused(home: Path, body: dict[str, object]) -> None:
    with rest(home) as http:
        answer = http.post("/v1/decisions:batch", json=body)
    assert answer.status_code == 400


def test_decision_is_found_by_its_id_with_what_an_officer_made_of_it(home: Path) -> None:
    with grpc_client(home) as client, rest(home) as http:
        made = client.decide(TYPED)
        final = FinalDecision(
            code="NEW_FACTS", role="officer", outcome="DECLINE", reasons=("R22",)
        )
        client.override(made.id, final)
        found = client.decision(made.id)
        posted = http.post(
            f"/v1/decisions/{made.id}/override",
            json={"code": "HARDSHIP", "role": "officer", "outcome": "APPROVE", "limit": 1},
        )
        last = http.get(f"/v1/decisions/{made.id}").json()
    assert [one["after"] for one in found.overrides] == ["DECLINE"]
    assert posted.json()["after"] == "APPROVE"
    assert [one["after"] for one in last["overrides"]] == ["DECLINE", "APPROVE"]


def test_decision_of_no_id_is_not_found_at_any_door(home: Path) -> None:
    with grpc_client(home) as client, rest(home) as http:
        with pytest.raises(DeskError) as refused:
            client.decision("0" * 64)
        assert refused.value.code == "not_found"
        assert http.get(f"/v1/decisions/{'0' * 64}").status_code == 404


FORBIDDEN: dict[str, dict[str, Any]] = {
    "in the application": application(religion=PLANTED),
    "in the standing": application(standing={"maritalStatus": PLANTED}),
    "among the attributes": application(attributes={"contact_list": PLANTED}),
    "in Chinese": application(standing={"民族": PLANTED}),
    "deep inside": application(standing={"income": {"credits": [], "blood_type": PLANTED}}),
}


@pytest.mark.parametrize("where", FORBIDDEN)
def test_forbidden_fact_is_refused_by_name_at_every_door(
    home: Path, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    body = json.dumps(FORBIDDEN[where]).encode()
    with DeskCaller(home / "desk.sock") as own, rest(home) as http:
        with pytest.raises(ForbiddenFieldError) as refused:
            own.decide(body)
        posted = http.post("/v1/decisions", content=body, headers=AS_JSON)
    assert posted.status_code == 422
    assert posted.json()["code"] == "forbidden_field"
    assert PLANTED not in str(refused.value) + posted.text + caplog.text


VALUES: dict[str, dict[str, Any]] = {
    "a date": application(standing={"income": {"credits": [1, 2, 3], "latest_on": PLANTED}}),
    "a member of a list": application(standing={"flags": [PLANTED]}),
    "a number": application(wish={"amount": PLANTED}),
    "a name": application(PLANTED + " with a blank"),
    "a product": application(wish={"product": PLANTED + " "}),
    "a consent": application(consents=[consent("CREDIT_DECISION", given_on=PLANTED)]),
    "a purpose of a consent": application(consents=[consent(PLANTED)]),
    "a currency": application(wish={"currency": PLANTED}),
    "an identifier": application(person=PLANTED),
    "too long": application(person=PLANTED * 40),
}


@pytest.mark.parametrize("what", VALUES)
def test_no_error_and_no_log_tells_a_value(
    near: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    scores = Scores(fails=PersonError("person: not eight digits"))
    body = json.dumps(VALUES[what]).encode()
    with opened(near, scores) as home, DeskCaller(home / "desk.sock") as own:
        with pytest.raises(Exception, match=r"\S") as refused:
            own.decide(body)
        with rest(home) as http:
            posted = http.post("/v1/decisions", content=body, headers=AS_JSON)
    assert posted.status_code in {400, 422}
    assert PLANTED not in str(refused.value) + posted.text + caplog.text


def test_value_is_in_no_log_of_a_decision_that_is_made(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with DeskCaller(home / "desk.sock") as own:
        own.decide(json.dumps(application(PLANTED, person=PLANTED)).encode(), KEY)
    assert PLANTED not in caplog.text


def test_person_stands_in_no_file_of_the_desk(home: Path) -> None:
    with DeskCaller(home / "desk.sock") as own:
        own.decide(json.dumps(application(person=PLANTED)).encode(), KEY)
    data = b"".join(path.read_bytes() for path in home.glob("credit.db*"))
    assert PLANTED.encode() not in data
    assert KEY.encode() not in data


def test_missing_consent_keeps_its_kind_through_the_door(home: Path) -> None:
    body = json.dumps(application(consents=[])).encode()
    with DeskCaller(home / "desk.sock") as own, pytest.raises(ConsentMissingError):
        own.decide(body)


def test_name_twice_in_one_object_is_refused(home: Path) -> None:
    with rest(home) as http:
        body = b'{"application": "a", "application": "b"}'
        posted = http.post("/v1/decisions", content=body, headers=AS_JSON)
    assert posted.status_code == 400


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_form_of_a_web_page_decides_nothing_and_overrides_nothing(
    home: Path, kind: str
) -> None:
    """A browser sends these for any page, and asks nobody before it does."""
    headers = {"Content-Type": kind} if kind else {}
    with rest(home) as http:
        made = http.post("/v1/decisions", json=application()).json()["id"]
        final = json.dumps({"code": "HARDSHIP", "role": "x", "outcome": "APPROVE", "limit": 1})
        for path, body in (
            ("/v1/decisions", json.dumps(application("application-2"))),
            (f"/v1/decisions/{made}/override", final),
            ("/v1/offers", "{}"),
        ):
            posted = http.post(path, content=body, headers=headers)
            assert (posted.status_code, posted.json()["code"]) == (415, "decode")
        assert http.get(f"/v1/decisions/{made}").json()["overrides"] == []


def test_body_that_says_no_length_is_refused_in_words_once_it_is_too_large(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pieces = (b" " * (1 << 16) for _ in range(20))
    with rest(home) as http:
        try:
            posted = http.post("/v1/decisions", content=pieces, headers=AS_JSON)
        except httpx.TransportError:
            pass  # answered while it was sending, and cut off
        else:
            assert (posted.status_code, posted.json()["code"]) == (413, "too_large")
    assert "Traceback" not in caplog.text


WHOLE = json.dumps(application(attributes={"late": 1}))
NO_JSON = (
    WHOLE.replace("11010519", "\\ud800").encode(),
    WHOLE.replace('"late"', '"la\\udfffte"').encode(),
    WHOLE.replace("11010519", "@").encode().replace(b"@", b"\xed\xa0\x80"),
    WHOLE.replace('"late": 1', '"late": NaN').encode(),
    WHOLE.replace('"late": 1', '"late": -Infinity').encode(),
    WHOLE.encode("utf-16"),
)
"""What Python's reader takes and JSON for exchange (RFC 8259, 8.1) is not."""


@pytest.mark.parametrize("body", NO_JSON)
def test_what_no_text_can_hold_is_refused_as_no_json(home: Path, body: bytes) -> None:
    with rest(home) as http, DeskCaller(home / "desk.sock") as own:
        posted = http.post("/v1/decisions", content=body, headers=AS_JSON)
        assert (posted.status_code, posted.json()["code"]) == (400, "decode")
        with pytest.raises(DecodeError):
            own.decide(body)
        whole = http.post("/v1/decisions", content=WHOLE, headers=AS_JSON)
        assert whole.status_code == 200
        large = WHOLE.replace('"late": 1', '"late": 1e999')
        assert http.post("/v1/decisions", content=large, headers=AS_JSON).status_code == 422


def test_paths_of_the_desk_are_described(home: Path) -> None:
    with rest(home) as http:
        paths = http.get("/openapi.json").json()["paths"]
    assert {"/v1/decisions", "/v1/decisions/{name}/override", "/v1/notices/{name}"} <= set(
        paths
    )


def test_node_that_makes_no_notices_says_so(home: Path) -> None:
    with grpc_client(home) as client, pytest.raises(DeskError) as refused:
        client.notice("0" * 64)
    assert refused.value.code == "out_of_order"
