"""The desk's doors with real sockets and certificates (protocol 13.8)."""

import asyncio
import json
import logging
import socket
import ssl
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
import httpx
import pytest

from consortium.errors import (
    CertificateError,
    ConfigurationError,
    PersonError,
    RepeatedKeyError,
    ScoreRefusalError,
    TransportError,
)
from partner_node import desk_wire
from partner_node.config import DeskDoors
from partner_node.desk import Score
from partner_node.desk_caller import DeskCaller
from partner_node.desk_certificates import DeskAuthority, write_client
from partner_node.loan_desk import Consent, Failure, Question
from partner_node.wiring import now
from proto.v1 import desk_pb2
from riskweave_client import Applicant, AsyncClient, Client, DeskError, Tls
from riskweave_client import Consent as ClientConsent
from riskweave_client import Failure as ClientFailure
from riskweave_client import Score as ClientScore
from tests.coordinator_house import free_address
from tests.desk_house import NOW, Session, config, open_desk
from tests.node_house import Loop

CONSENT = ClientConsent("consent-1")
QUESTION = Question(person="12345678", consent=Consent(reference="consent-1"))
BODY = {"person": "12345678", "consent": {"reference": "consent-1"}}
KEY = {"Idempotency-Key": "0d0a8c8e-4f3b"}


@dataclass
class Open:
    """A desk that serves in a thread."""

    directory: Path
    session: Session

    @property
    def target(self) -> str:
        return f"unix:{self.directory / 'desk.sock'}"


@contextmanager
def opened(
    directory: Path, doors: DeskDoors | None = None, session: Session | None = None
) -> Iterator[Open]:
    loop = Loop()
    serving = open_desk(directory, session, doors)
    try:
        found = loop.call(serving.__aenter__())
        try:
            yield Open(directory, found)
        finally:
            loop.call(serving.__aexit__(None, None, None))
    finally:
        loop.close()


@pytest.fixture
def desk(near: Path) -> Iterator[Open]:
    with opened(near) as found:
        yield found


def client_tls(directory: Path, name: str = "loans") -> Tls:
    authority = DeskAuthority(directory)
    authority.create(config(directory).partner, now=NOW_REAL)
    out = directory / f"out-{name}"
    write_client(authority.issue_client(name, now=NOW_REAL), out)
    return Tls.read(out)


NOW_REAL = now()
"""Certificates are checked against the machine's own clock, by TLS."""


# --- gRPC over the socket ---------------------------------------------------------------------


def test_socket_is_for_its_owner_alone(desk: Open) -> None:
    mode = (desk.directory / "desk.sock").stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_score_through_the_client_is_typed_and_whole(desk: Open) -> None:
    with Client(desk.target) as client:
        score = client.score("12345678", CONSENT)
    assert (score.points, score.pd, score.band) == (517, Decimal("0.4688"), "3+")
    assert score.joint
    assert score.points == score.best - sum(x.points for x in score.losses) - score.unattributed
    assert [one.code for one in score.reasons] == ["R31", "R01", "R06", "R32"]
    assert score.what_if[0].points == score.points + score.what_if[0].gain


def test_attributes_of_an_applicant_arrive_missing_ones_too(desk: Open) -> None:
    with Client(desk.target) as client:
        client.score("12345678", CONSENT, {"late": 5, "months": None})
        client.score("12345678", CONSENT, {})
        client.score("12345678", CONSENT)
    seen = [asked[0].attributes for asked in desk.session.asked]
    assert seen == [{"late": 5.0, "months": None}, {}, None]


@pytest.mark.parametrize("fallback", ["unreachable", "too_few_partners"])
def test_fallback_is_no_error_and_never_silent(near: Path, fallback: str) -> None:
    with (
        opened(near, session=Session(fallback=fallback)) as desk,
        Client(desk.target) as client,
    ):
        score = client.score("12345678", CONSENT)
    assert (score.band, score.fallback, score.joint) == ("0", fallback, False)
    assert not score.request


def test_question_without_consent_is_an_invalid_argument_with_s08(desk: Open) -> None:
    channel = grpc.insecure_channel(desk.target)
    call: Any = cast("Any", channel).unary_unary("/riskweave.v1.CreditDesk/Score")
    with channel, pytest.raises(grpc.RpcError) as refused:
        call(desk_pb2.DeskScoreRequest(person="12345678").SerializeToString())
    error = cast("grpc.Call", refused.value)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert ("riskweave-code", "S08") in [tuple(one) for one in error.trailing_metadata()]
    assert desk.session.asked == []


def test_refusals_reach_the_client_with_their_codes(desk: Open) -> None:
    with Client(desk.target) as client:
        for person, consent, code in (
            ("12345678", ClientConsent(""), "S08"),
            ("12345678", ClientConsent("r", expires=1), "S08"),
            ("somebody", CONSENT, "person"),
            ("", CONSENT, "decode"),
        ):
            with pytest.raises(DeskError) as refused:
                client.score(person, consent)
            assert refused.value.code == code
            assert "somebody" not in str(refused.value)
        with pytest.raises(DeskError) as refused:
            client.score("12345678", CONSENT, {"salary": 1.0})
        assert refused.value.code == "data"


def test_same_key_brings_the_same_bytes_over_the_wire(desk: Open) -> None:
    question = replace(QUESTION, key="0d0a8c8e-4f3b")
    channel = grpc.insecure_channel(desk.target)
    call: Any = cast("Any", channel).unary_unary("/riskweave.v1.CreditDesk/Score")
    with channel:
        sent = desk_wire.encode_question(question)
        assert call(sent) == call(sent)
        other = desk_wire.encode_question(replace(question, person="87654321"))
        with pytest.raises(grpc.RpcError) as refused:
            call(other)
    assert cast("grpc.Call", refused.value).code() is grpc.StatusCode.ALREADY_EXISTS
    assert len(desk.session.asked) == 1


def test_question_over_its_limit_and_garbage_are_refused(desk: Open) -> None:
    channel = grpc.insecure_channel(desk.target)
    call: Any = cast("Any", channel).unary_unary("/riskweave.v1.CreditDesk/Score")
    with channel:
        for data, status in (
            (b"\xff" * 40, grpc.StatusCode.INVALID_ARGUMENT),
            (b"\x0a" * (desk_wire.REQUEST_LIMIT + 1), grpc.StatusCode.RESOURCE_EXHAUSTED),
            (b"\x0a" * (desk_wire.BATCH_LIMIT + 1), grpc.StatusCode.RESOURCE_EXHAUSTED),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                call(data)
            assert cast("grpc.Call", refused.value).code() is status
    assert desk.session.asked == []


def test_caller_that_does_not_wait_is_told_so(near: Path) -> None:
    async def ask() -> None:
        session = Session(gate=asyncio.Event())
        async with (
            open_desk(near, session),
            AsyncClient(f"unix:{near / 'desk.sock'}") as client,
        ):
            with pytest.raises(DeskError) as refused:
                await client.score("12345678", CONSENT, timeout=0.2)
            assert refused.value.code == "deadline_exceeded"

    asyncio.run(ask())


def test_batch_answers_in_order_and_counts_who_fails(desk: Open) -> None:
    applicants = [Applicant(f"{n:08d}" if n % 7 else "nobody", CONSENT) for n in range(600)]
    with Client(desk.target) as client:
        found = list(client.score_batch(applicants))
    assert len(found) == 600
    assert [n for n, one in enumerate(found) if isinstance(one, ClientFailure)] == [
        n for n in range(600) if n % 7 == 0
    ]
    assert [len(asked) for asked in desk.session.asked] == [219, 219, 76]


def test_batch_in_lock_step_does_not_wait_for_more(desk: Open) -> None:
    async def step_by_step() -> list[int]:
        async with grpc.aio.insecure_channel(desk.target) as channel:
            opening: Any = channel.stream_stream("/riskweave.v1.CreditDesk/ScoreBatch")
            call = opening()
            sizes = []
            for size in (1, 3, 256):
                await call.write(desk_wire.encode_batch([QUESTION] * size))
                sizes.append(len(desk_wire.decode_results(await call.read())))
            await call.done_writing()
            return sizes

    assert asyncio.run(step_by_step()) == [1, 3, 256]


@pytest.mark.parametrize("size", [0, 257])
def test_message_of_a_batch_of_another_size_ends_it(desk: Open, size: int) -> None:
    channel = grpc.insecure_channel(desk.target)
    call: Any = cast("Any", channel).stream_stream("/riskweave.v1.CreditDesk/ScoreBatch")
    with channel, pytest.raises(grpc.RpcError) as refused:
        list(call(iter([desk_wire.encode_batch([QUESTION] * size)])))
    assert cast("grpc.Call", refused.value).code() is grpc.StatusCode.INVALID_ARGUMENT


def test_asynchronous_client_scores_one_and_many(desk: Open) -> None:
    async def ask() -> tuple[int, int]:
        async def applicants() -> AsyncIterator[Applicant]:
            for n in range(300):
                yield Applicant(f"{n:08d}", CONSENT, brief=True)

        async with AsyncClient(desk.target) as client:
            one = await client.score("12345678", CONSENT, idempotency_key="0d0a8c8e-4f3b")
            many = [found async for found in client.score_batch(applicants())]
        assert all(isinstance(found, ClientScore) and not found.losses for found in many)
        return one.points, len(many)

    assert asyncio.run(ask()) == (517, 300)


def test_operators_end_translates_refusals(desk: Open) -> None:
    with DeskCaller(desk.directory / "desk.sock") as caller:
        assert caller.score(QUESTION).points == 517
        assert caller.status().partner == "bank_a"
        with pytest.raises(ScoreRefusalError, match=r"^S08 a consent"):
            caller.score(replace(QUESTION, consent=Consent()))
        with pytest.raises(PersonError):
            caller.score(replace(QUESTION, person="somebody"))
        caller.score(replace(QUESTION, key="0d0a8c8e-4f3b"))
        with pytest.raises(RepeatedKeyError):
            caller.score(replace(QUESTION, key="0d0a8c8e-4f3b", brief=True))
        found = list(caller.score_batch([[QUESTION, replace(QUESTION, person="x")]]))
    assert isinstance(found[0][0], Score)
    assert isinstance(found[0][1], Failure)


def test_no_desk_at_a_path_is_an_error_of_transport(near: Path) -> None:
    with pytest.raises(TransportError):
        DeskCaller(near / "desk.sock")
    with Client(f"unix:{near / 'desk.sock'}") as client, pytest.raises(DeskError) as refused:
        client.status()
    assert refused.value.code == "unavailable"


def test_nothing_of_a_question_is_logged(desk: Open, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Client(desk.target) as client:
        client.score("12345678", CONSENT, {"late": 5.0})
        with pytest.raises(DeskError):
            client.score("12345678x", CONSENT)
    assert "12345678" not in caplog.text
    assert "consent-1" not in caplog.text


# --- gRPC over TCP ----------------------------------------------------------------------------


@pytest.fixture
def port(near: Path) -> Iterator[tuple[Path, str]]:
    """A desk over TCP: its directory and address."""
    address = free_address()
    loop = Loop()
    serving = open_desk(near, None, DeskDoors(listen=address), now=now)
    loop.call(serving.__aenter__())
    yield near, address
    loop.call(serving.__aexit__(None, None, None))
    loop.close()


def test_client_with_a_certificate_of_the_node_is_served(port: tuple[Path, str]) -> None:
    directory, address = port
    with Client(address, client_tls(directory)) as client:
        assert client.score("12345678", CONSENT).points == 517
        assert len(list(client.score_batch([Applicant("12345678", CONSENT)]))) == 1
        assert client.status().partner == "bank_a"


def test_two_clients_keys_are_their_own(port: tuple[Path, str]) -> None:
    directory, address = port
    key = "0d0a8c8e-4f3b"
    with (
        Client(address, client_tls(directory, "loans")) as loans,
        Client(address, client_tls(directory, "cards")) as cards,
    ):
        first = loans.score("12345678", CONSENT, idempotency_key=key)
        second = cards.score("12345678", CONSENT, idempotency_key=key)
        assert loans.score("12345678", CONSENT, idempotency_key=key) == first
    assert first.request != second.request


def test_wrong_or_missing_certificate_is_refused(
    port: tuple[Path, str], tmp_path: Path
) -> None:
    directory, address = port
    ours = client_tls(directory)
    (tmp_path / "keys").mkdir(mode=0o700)
    strange = client_tls(tmp_path)
    stranger = Tls(strange.key, strange.certificate, ours.authority)
    with Client(address, stranger) as client, pytest.raises(DeskError) as refused:
        client.status()
    assert refused.value.code == "unavailable"
    bare = grpc.secure_channel(
        address,
        grpc.ssl_channel_credentials(ours.authority),
        options=(("grpc.ssl_target_name_override", "desk.riskweave"),),
    )
    call: Any = cast("Any", bare).unary_unary("/riskweave.v1.CreditDesk/Status")
    with bare, pytest.raises(grpc.RpcError):
        call(b"", timeout=5)
    plain = grpc.insecure_channel(address)
    call = cast("Any", plain).unary_unary("/riskweave.v1.CreditDesk/Status")
    with plain, pytest.raises(grpc.RpcError):
        call(b"", timeout=5)


def test_desk_that_is_not_the_nodes_gets_no_question(
    port: tuple[Path, str], tmp_path: Path
) -> None:
    directory, address = port
    ours = client_tls(directory)
    (tmp_path / "keys").mkdir(mode=0o700)
    other = client_tls(tmp_path)
    deceived = Tls(ours.key, ours.certificate, other.authority)
    with Client(address, deceived) as client, pytest.raises(DeskError) as refused:
        client.score("12345678", CONSENT)
    assert refused.value.code == "unavailable"


def test_client_whose_file_is_deleted_or_replaced_is_shut_out_at_once(
    port: tuple[Path, str],
) -> None:
    directory, address = port
    old = client_tls(directory)
    with Client(address, old) as client:
        assert client.status().partner == "bank_a"
        DeskAuthority(directory).issue_client("loans", now=NOW_REAL)
        with pytest.raises(DeskError) as refused:
            client.score("12345678", CONSENT)
        assert refused.value.code == CertificateError.code
        with pytest.raises(DeskError):
            list(client.score_batch([Applicant("12345678", CONSENT)]))


def test_servers_own_certificate_is_no_clients(port: tuple[Path, str]) -> None:
    directory, address = port
    server = DeskAuthority(directory).server([], now=NOW_REAL)
    shown = Tls(server.key.expose(), server.certificate, server.authority)
    with Client(address, shown) as client, pytest.raises(DeskError):
        client.status()


def test_expired_certificate_is_refused(near: Path) -> None:
    config(near)
    authority = DeskAuthority(near)
    authority.create(config(near).partner, now=NOW)
    tls = authority.issue_client("loans", now=NOW)
    der = pem_to_der(tls.certificate)
    assert authority.admit(der, now=NOW).name == "loans"
    for moment in (NOW - 3_600, NOW + 366 * 86_400):
        with pytest.raises(CertificateError, match="expired"):
            authority.admit(der, now=moment)
    with pytest.raises(CertificateError, match="cannot be read"):
        authority.admit(b"", now=NOW)


def test_names_of_clients_are_checked_and_their_keys_not_overwritten(near: Path) -> None:
    config(near)
    authority = DeskAuthority(near)
    authority.create(config(near).partner, now=NOW)
    with pytest.raises(ConfigurationError):
        authority.issue_client("../loans", now=NOW)
    with pytest.raises(ConfigurationError, match="socket"):
        authority.issue_client("local", now=NOW)
    tls = authority.issue_client("loans", now=NOW)
    write_client(tls, near / "out")
    assert stat.S_IMODE((near / "out" / "client.key").stat().st_mode) == 0o600
    with pytest.raises(ConfigurationError, match="exists already"):
        write_client(tls, near / "out")


def pem_to_der(pem: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem.decode())


def test_address_in_use_is_said_in_one_line(near: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        for doors in (DeskDoors(listen=address), DeskDoors(rest=address)):
            with pytest.raises(ConfigurationError, match=address), opened(near, doors):
                pass


def test_path_too_long_for_a_socket_is_said_in_one_line(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    with pytest.raises(ConfigurationError, match="107 bytes"), opened(deep):
        pass


# --- REST -------------------------------------------------------------------------------------


@pytest.fixture
def rest(near: Path) -> Iterator[httpx.Client]:
    with opened(near, DeskDoors(rest="socket")) as desk:
        assert stat.S_IMODE((near / "desk-rest.sock").stat().st_mode) == 0o600
        transport = httpx.HTTPTransport(uds=str(desk.directory / "desk-rest.sock"))
        with httpx.Client(transport=transport, base_url="http://localhost") as client:
            yield client
    assert not (near / "desk-rest.sock").exists()


def test_rest_score_is_the_same_as_by_grpc(near: Path) -> None:
    with opened(near, DeskDoors(rest="socket")) as desk:
        transport = httpx.HTTPTransport(uds=str(near / "desk-rest.sock"))
        with httpx.Client(transport=transport, base_url="http://localhost") as rest:
            reply = rest.post("/v1/scores", json=BODY, headers=KEY)
            again = rest.post("/v1/scores", json=BODY, headers=KEY)
        with DeskCaller(desk.directory / "desk.sock") as caller:
            by_grpc = caller.score(replace(QUESTION, key=KEY["Idempotency-Key"]))
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.content == again.content == by_grpc.to_bytes()
    assert len(desk.session.asked) == 1


def test_rest_batch_answers_in_order(rest: httpx.Client) -> None:
    reply = rest.post("/v1/scores:batch", json={"requests": [BODY, BODY | {"person": "x"}]})
    first, second = reply.json()["results"]
    assert first["score"]["points"] == 517
    assert second["failure"]["code"] == "person"


def test_rest_status_and_description(rest: httpx.Client) -> None:
    assert rest.get("/v1/status").json()["delivery"] == "joint"
    document = rest.get("/openapi.json").json()
    assert set(document["paths"]) == {"/v1/scores", "/v1/scores:batch", "/v1/status"}
    assert document["components"]["schemas"]["ScoreIn"]["examples"]
    page = rest.get("/docs").text
    assert "/v1/scores" in page
    assert "<script" not in page
    assert "http" not in page.replace("<!doctype html>", "")


def test_description_names_the_fields_that_are_sent(rest: httpx.Client) -> None:
    schemas = rest.get("/openapi.json").json()["components"]["schemas"]
    sent = rest.post("/v1/scores", json=BODY).json()
    assert set(schemas["ScoreOut"]["properties"]) == set(sent)
    for name, schema in (("reasons", "Reason"), ("losses", "Loss"), ("what_if", "Change")):
        assert set(schemas[f"{schema}Out"]["properties"]) == set(sent[name][0])


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"person": "12345678"}, 400, "S08"),
        (BODY | {"person": "somebody"}, 422, "person"),
        (BODY | {"person": ""}, 400, "decode"),
        (BODY | {"person": 12345678}, 400, "decode"),
        (BODY | {"colour": "red"}, 400, "decode"),
        (BODY | {"attributes": {"salary": 1.0}}, 422, "data"),
        ({}, 400, "decode"),
        ([], 400, "decode"),
    ],
)
def test_rest_refuses_with_status_and_code_and_shows_no_value(
    rest: httpx.Client, body: object, status: int, code: str
) -> None:
    reply = rest.post("/v1/scores", json=body)
    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert "somebody" not in reply.text
    assert "12345678" not in reply.text


def test_rest_failure_of_a_path_or_method_has_the_form_of_all_others(
    rest: httpx.Client,
) -> None:
    for reply, status in ((rest.get("/v1/nothing"), 404), (rest.get("/v1/scores"), 405)):
        assert reply.status_code == status
        assert reply.json().keys() == {"code", "text"}
    assert rest.get("/v1/scores").headers["allow"] == "POST"


def test_rest_key_with_another_question_is_a_conflict(rest: httpx.Client) -> None:
    assert rest.post("/v1/scores", json=BODY, headers=KEY).status_code == 200
    reply = rest.post("/v1/scores", json=BODY | {"brief": True}, headers=KEY)
    assert (reply.status_code, reply.json()["code"]) == (409, "repeated_key")


def test_rest_body_over_its_limit_is_refused_counted_or_not(rest: httpx.Client) -> None:
    large = json.dumps(BODY | {"attributes": {"late": "x" * (2 << 20)}}).encode()
    assert rest.post("/v1/scores", content=large).status_code == 413

    padded = json.dumps(BODY).encode() + b" " * (2 << 20)  # sound but for its length

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(padded), 1 << 16):
            yield padded[start : start + (1 << 16)]

    try:
        kind = {"Content-Type": "application/json"}
        status = rest.post("/v1/scores", content=pieces(), headers=kind).status_code
    except httpx.TransportError:
        status = 0  # cut off while it was sending
    assert status != 200


def test_web_page_under_a_foreign_name_is_not_answered_on_loopback(near: Path) -> None:
    address = free_address()
    with opened(near, DeskDoors(rest=address)) as desk:
        for host, status in (
            ("127.0.0.1:80", 200),
            ("localhost", 200),
            ("evil.example", 421),
            ("evil.example:9080", 421),
            ("127.0.0.1.evil.example", 421),
        ):
            reply = httpx.post(f"http://{address}/v1/scores", json=BODY, headers={"Host": host})
            assert reply.status_code == status, host
        # A form of a web page is sent as text and may not pass for JSON.
        headers = {"Content-Type": "text/plain"}
        reply = httpx.post(
            f"http://{address}/v1/scores", content=json.dumps(BODY), headers=headers
        )
        assert reply.status_code == 415
    assert len(desk.session.asked) == 2


def test_rest_over_tls_wants_a_client_certificate(near: Path, tmp_path: Path) -> None:
    address = free_address()
    loop = Loop()
    serving = open_desk(near, None, DeskDoors(rest=address, rest_tls=True), now=now)
    loop.call(serving.__aenter__())
    try:
        tls = client_tls(near)
        context = _context(near, "loans", tls)
        url = f"https://{address}/v1/scores"
        with httpx.Client(verify=context) as client:
            assert client.post(url, json=BODY).status_code == 200
            DeskAuthority(near).issue_client("loans", now=NOW_REAL)
            assert client.post(url, json=BODY).status_code == 401
        (tmp_path / "keys").mkdir(mode=0o700)
        strange = client_tls(tmp_path)
        for refused in (
            _context(tmp_path, "loans", replace(strange, authority=tls.authority)),
            _context(tmp_path, "", replace(strange, authority=tls.authority)),
        ):
            with httpx.Client(verify=refused) as client, pytest.raises(httpx.HTTPError):
                client.post(url, json=BODY)
    finally:
        loop.call(serving.__aexit__(None, None, None))
        loop.close()


def _context(directory: Path, name: str, tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=tls.authority.decode())
    if name:
        out = directory / f"out-{name}"
        context.load_cert_chain(out / "client.pem", out / "client.key")
    return context
