"""Both doors over real TLS: who gets in, what is answered, what an error looks like."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from grpc_health.v1 import health_pb2, health_pb2_grpc

from consortium import enrolment_codec, federation_codec
from consortium.canonical import Label
from consortium.crypto.statements import vote_statement
from consortium.errors import CertificateError
from consortium.ids import Digest, PartnerId, RunId
from consortium.messages import Vote
from coordinator import commands, wiring
from coordinator.authority import SERVER_NAME, Authority
from coordinator.interceptors import PeerInterceptor
from tests.coordinator_house import DEADLINE_S, POLICY, House, NodeKeys, ask, enrol
from tests.gate_house import gate_row

RUN = RunId("ab" * 16)
V1 = Digest("01" * 32)


@pytest.fixture
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House.build(tmp_path_factory.mktemp("c"))


def run(story: Coroutine[None, None, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 6 * DEADLINE_S))


def vote(house: House, name: str) -> Vote:
    unsigned = Vote(
        version=V1,
        member=PartnerId(name),
        accept=True,
        reason="own_check",
        number=1,
        signature=b"",
    )
    statement = vote_statement(unsigned, house.manifest.digest)
    signature = house.nodes[name].identity.sign(Label.VOTE, statement)
    return replace(unsigned, signature=signature)


async def refusal(question: Coroutine[None, None, bytes]) -> tuple[grpc.StatusCode, str | None]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await question
    return caught.value.code(), caught.value.details()


def test_newcomer_fetches_and_signs_the_draft_and_nothing_else(house: House) -> None:
    async def story() -> None:
        newcomer = NodeKeys.of("newcomer")
        enrol(house.desk, newcomer)
        draft = house.desk.membership.propose("test", house.desk.schema, POLICY)
        async with house.serving(), house.channel(newcomer) as channel:
            request = federation_codec.encode_manifest_request(None)
            bundle = federation_codec.decode_manifest_bundle(
                await ask(channel, "GetManifest", request)
            )
            assert bundle.signatures == ()
            signed = newcomer.sign(draft.digest)
            await ask(channel, "SignManifest", federation_codec.encode_signed(signed))
            stored = house.desk.store.manifests.get(draft.digest)
            assert stored is not None
            assert stored.signatures == (signed,)
            code, text = await refusal(ask(channel, "ListModels", b""))
            assert (code, text) == (grpc.StatusCode.UNAUTHENTICATED, "certificate refused")

    run(story())


def test_certificate_of_another_authority_does_not_pass_the_handshake(house: House) -> None:
    async def story() -> None:
        other = Authority(Authority.create("other", now=wiring.now()))
        intruder = NodeKeys.of("bank_a")
        der = other.issue_partner(intruder.partner, intruder.csr(), now=wiring.now())
        certificate = x509.load_der_x509_certificate(der)
        intruder.certificate = certificate.public_bytes(serialization.Encoding.PEM)
        async with house.serving(), house.channel(intruder) as channel:
            code, _ = await refusal(ask(channel, "ListModels", b""))
            assert code is grpc.StatusCode.UNAVAILABLE

    run(story())


def test_partner_under_a_revoked_key_is_refused(house: House) -> None:
    async def story() -> None:
        old = house.nodes["bank_a"]
        enrol(house.desk, NodeKeys.of("bank_a"))
        async with house.serving(), house.channel(old) as channel:
            code, text = await refusal(ask(channel, "GetManifest", b""))
            assert code is grpc.StatusCode.UNAUTHENTICATED
            assert text == CertificateError.public

    run(story())


def test_quorum_of_votes_makes_a_model_active(house: House) -> None:
    async def story() -> None:
        house.desk.store.models.add(V1, RUN, b"{}", 1, gate=gate_row(V1, passed=True))
        statuses = []
        async with house.serving():
            for name, node in house.nodes.items():
                async with house.channel(node) as channel:
                    request = federation_codec.encode_vote(vote(house, name))
                    reply = await ask(channel, "CastVote", request)
                    statuses.append(federation_codec.decode_vote_reply(reply))
            async with house.channel(house.nodes["bank_a"]) as channel:
                active = await ask(
                    channel, "GetModel", federation_codec.encode_model_request(None)
                )
                assert federation_codec.decode_model_document(active).version == V1
                listed = federation_codec.decode_model_list(
                    await ask(channel, "ListModels", b"")
                )
                assert [entry.status for entry in listed] == ["active"]
        assert statuses == ["candidate", "active"]

    run(story())


def test_vote_in_the_name_of_another_partner_is_refused(house: House) -> None:
    async def story() -> None:
        house.desk.store.models.add(V1, RUN, b"{}", 1, gate=gate_row(V1, passed=True))
        async with house.serving(), house.channel(house.nodes["bank_a"]) as channel:
            forged = federation_codec.encode_vote(vote(house, "bank_b"))
            code, _ = await refusal(ask(channel, "CastVote", forged))
            assert code is grpc.StatusCode.UNAUTHENTICATED
        assert house.desk.store.models.votes(V1) == ()

    run(story())


def test_model_that_is_not_there_is_an_error_without_details(house: House) -> None:
    async def story() -> None:
        async with house.serving(), house.channel(house.nodes["bank_a"]) as channel:
            request = federation_codec.encode_model_request(V1)
            code, text = await refusal(ask(channel, "GetModel", request))
            assert code is grpc.StatusCode.FAILED_PRECONDITION
            assert V1 not in str(text)

    run(story())


def test_garbage_as_a_question_is_an_invalid_argument(house: House) -> None:
    async def story() -> None:
        async with house.serving(), house.channel(house.nodes["bank_a"]) as channel:
            code, text = await refusal(ask(channel, "CastVote", b"\xff\xff"))
            assert (code, text) == (grpc.StatusCode.INVALID_ARGUMENT, "message not understood")

    run(story())


def test_unforeseen_exception_leaves_without_its_text() -> None:
    def authenticate(_pem: bytes, _listed: bool) -> PartnerId:  # noqa: FBT001 - a port
        raise ValueError("row 4711: income 12,345")

    async def story() -> None:
        server = grpc.aio.server(interceptors=(PeerInterceptor(authenticate),))
        method = grpc.unary_unary_rpc_method_handler(lambda request, _: request)
        handler = grpc.method_handlers_generic_handler("a.Service", {"Ask": method})
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/a.Service/Ask")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(b"", timeout=DEADLINE_S)
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert caught.value.details() == "internal error"
        await server.stop(0)

    run(story())


def test_enrolment_door_trades_a_token_for_a_certificate_once(house: House) -> None:
    async def story() -> None:
        newcomer = NodeKeys.of("newcomer")
        families = house.desk.schema.families
        token = commands.issue_token(house.desk, newcomer.partner, families, hours=1)
        root = grpc.ssl_channel_credentials(house.desk.authority.certificate_pem)
        address = house.desk.config.enrolment_address
        options = (("grpc.ssl_target_name_override", SERVER_NAME),)
        async with (
            house.serving(),
            grpc.aio.secure_channel(address, root, options=options) as channel,
        ):
            call = channel.unary_unary(f"/{enrolment_codec.ENROLMENT_SERVICE}/Enrol")
            request = enrolment_codec.encode_enrolment_request(newcomer.request(token))
            enrolled = enrolment_codec.decode_enrolled(await call(request, timeout=DEADLINE_S))
            assert enrolled.address == house.desk.config.federation_address
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(request, timeout=DEADLINE_S)
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
            assert caught.value.details() == "join token refused"

    run(story())


def test_health_service_says_serving_without_a_manifest_entry(house: House) -> None:
    async def story() -> None:
        newcomer = NodeKeys.of("newcomer")
        enrol(house.desk, newcomer)
        async with house.serving(), house.channel(newcomer) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            reply = await stub.Check(health_pb2.HealthCheckRequest(), timeout=DEADLINE_S)
            assert reply.status == health_pb2.HealthCheckResponse.SERVING

    run(story())
