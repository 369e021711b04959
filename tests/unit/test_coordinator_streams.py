"""Streams over real TLS on loopback, with a node whose every frame the test writes."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future
from pathlib import Path

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from consortium import codec
from consortium.canonical import Label
from consortium.codec import Frame, StreamKind
from consortium.crypto.keys import verify_signature
from consortium.crypto.statements import welcome_statement
from consortium.errors import MessageTooLargeError, TransportError
from consortium.ids import Digest, PartnerId
from consortium.messages import FlowerMessage, Goodbye, Welcome
from coordinator.doors import CALLS
from coordinator.streams import Settings, StreamHub
from proto.v1 import training_pb2
from tests.coordinator_house import DEADLINE_S, House, NodeKeys, RawStream, enrol

BANK = PartnerId("bank_a")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House.build(tmp_path_factory.mktemp("c"))


def run(story: Coroutine[None, None, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 6 * DEADLINE_S))


async def greeted(house: House, channel: grpc.aio.Channel, name: str = "bank_a") -> RawStream:
    stream = RawStream.open(channel)
    await stream.say(house.hello(house.nodes[name]))
    welcome = await stream.hear()
    assert welcome is not None
    assert isinstance(welcome.body, Welcome)
    return stream


async def until_connected(hub: StreamHub, *names: str) -> None:
    wanted = tuple(PartnerId(name) for name in names)
    assert await asyncio.to_thread(hub.wait_for, lambda now: now == wanted, DEADLINE_S)


async def failure(future: "Future[bytes]") -> BaseException | None:
    return await asyncio.to_thread(future.exception, DEADLINE_S)


async def farewell(stream: RawStream) -> str:
    frame = await stream.hear()
    assert frame is not None
    assert isinstance(frame.body, Goodbye)
    return frame.body.code


def test_welcome_proves_the_identity_that_the_manifest_names(house: House) -> None:
    async def story() -> None:
        async with house.serving(), house.channel(house.nodes["bank_a"]) as channel:
            for kind in StreamKind:
                stream = RawStream.open(channel, kind)
                await stream.say(house.hello(house.nodes["bank_a"]))
                frame = await stream.hear()
                assert frame is not None
                assert isinstance(frame.body, Welcome)
                verify_signature(
                    bytes.fromhex(house.manifest.coordinator.identity),
                    Label.HELLO,
                    welcome_statement(b"n" * 32, house.manifest.digest, BANK, kind),
                    frame.body.signature,
                )

    run(story())


def test_answer_reaches_the_question_of_its_own_frame_id(house: House) -> None:
    async def story() -> None:
        async with house.serving() as hub, house.channel(house.nodes["bank_a"]) as channel:
            stream = await greeted(house, channel)
            await until_connected(hub, "bank_a")
            futures = [hub.send(BANK, text, timeout_s=DEADLINE_S) for text in (b"1", b"2")]
            questions = [await stream.hear(), await stream.hear()]
            for frame in reversed(questions):
                assert frame is not None
                assert isinstance(frame.body, FlowerMessage)
                await stream.say(FlowerMessage(b"re " + frame.body.payload), frame.id)
            answers = [await asyncio.wrap_future(future) for future in futures]
            assert answers == [b"re 1", b"re 2"]

    run(story())


def test_send_to_an_absent_partner_fails_without_an_exception(house: House) -> None:
    async def story() -> None:
        async with house.serving() as hub:
            error = await failure(hub.send(PartnerId("nobody"), b"", timeout_s=1))
            assert isinstance(error, TransportError)

    run(story())


def test_send_before_serving_fails_without_an_exception(house: House) -> None:
    hub = StreamHub(house.desk.membership.greet)
    assert isinstance(hub.send(BANK, b"", timeout_s=1).exception(0), TransportError)


def test_question_without_answer_fails_in_time_and_its_late_answer_is_dropped(
    house: House,
) -> None:
    async def story() -> None:
        async with house.serving() as hub, house.channel(house.nodes["bank_a"]) as channel:
            stream = await greeted(house, channel)
            await until_connected(hub, "bank_a")
            error = await failure(hub.send(BANK, b"?", timeout_s=0.05))
            assert "no answer within" in str(error)
            question = await stream.hear()
            assert question is not None
            await stream.say(FlowerMessage(b"late"), question.id)
            again = hub.send(BANK, b"!", timeout_s=DEADLINE_S)
            question = await stream.hear()
            assert question is not None
            await stream.say(FlowerMessage(b"in time"), question.id)
            assert await asyncio.wrap_future(again) == b"in time"

    run(story())


def test_second_stream_replaces_the_first_and_fails_its_waiters_at_once(house: House) -> None:
    async def story() -> None:
        node = house.nodes["bank_a"]
        async with (
            house.serving() as hub,
            house.channel(node) as one,
            house.channel(node) as two,
        ):
            first = await greeted(house, one)
            await until_connected(hub, "bank_a")
            waiting = hub.send(BANK, b"?", timeout_s=600)
            assert (await first.hear()) is not None
            second = await greeted(house, two)
            error = await failure(waiting)
            assert isinstance(error, TransportError)
            assert await farewell(first) == "replaced"
            assert await first.hear() is None
            hub.send(BANK, b"!", timeout_s=DEADLINE_S)
            frame = await second.hear()
            assert frame is not None
            assert frame.body == FlowerMessage(b"!")
            assert hub.connected() == (BANK,)

    run(story())


def test_node_that_leaves_fails_its_waiters_at_once(house: House) -> None:
    async def story() -> None:
        async with house.serving() as hub:
            async with house.channel(house.nodes["bank_a"]) as channel:
                stream = await greeted(house, channel)
                await until_connected(hub, "bank_a")
                waiting = hub.send(BANK, b"?", timeout_s=600)
                assert (await stream.hear()) is not None
            assert isinstance(await failure(waiting), TransportError)
            await until_connected(hub)

    run(story())


def test_silent_node_is_dropped(house: House) -> None:
    async def story() -> None:
        hasty = Settings(heartbeat_s=0.05, silence_s=0.2)
        async with (
            house.serving(hasty) as hub,
            house.channel(house.nodes["bank_a"]) as channel,
        ):
            stream = await greeted(house, channel)
            assert await farewell(stream) == "silent"
            await until_connected(hub)

    run(story())


def test_node_that_never_greets_is_dropped(house: House) -> None:
    async def story() -> None:
        async with (
            house.serving(Settings(hello_s=0.05)),
            house.channel(house.nodes["bank_a"]) as channel,
        ):
            assert await farewell(RawStream.open(channel)) == "out_of_order"

    run(story())


def test_streams_without_a_greeting_are_few_for_one_certificate(house: House) -> None:
    async def story() -> None:
        node = house.nodes["bank_a"]
        async with (
            house.serving(Settings(greetings=2, hello_s=60)),
            house.channel(node) as one,
            house.channel(node) as two,
            house.channel(house.nodes["bank_b"]) as three,
        ):
            streams = [RawStream.open(channel) for channel in (one, two, two)]
            heard = {asyncio.create_task(stream.hear()): stream for stream in streams}
            done, waiting = await asyncio.wait(
                heard, timeout=DEADLINE_S / 2, return_when=asyncio.FIRST_COMPLETED
            )
            frames = [task.result() for task in done]
            assert [frame and type(frame.body) for frame in frames] == [Goodbye]
            await greeted(house, three, "bank_b")
            first = waiting.pop()
            await heard[first].say(house.hello(node))
            frame = await first
            assert frame is not None
            assert isinstance(frame.body, Welcome)
            await greeted(house, two)

    run(story())


def test_calls_on_one_connection_are_bounded(house: House) -> None:
    async def story() -> None:
        async with house.serving(), house.channel(house.nodes["bank_a"]) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch
            request = health_pb2.HealthCheckRequest()
            calls = [watch(request) for _ in range(CALLS)]
            for call in calls:
                assert (await call.read()).status == health_pb2.HealthCheckResponse.SERVING
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await watch(request, timeout=0.5).read()
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            calls[0].cancel()
            await watch(request, timeout=DEADLINE_S).read()

    run(story())


def test_question_before_the_greeting_is_refused(house: House) -> None:
    async def story() -> None:
        async with house.serving(), house.channel(house.nodes["bank_a"]) as channel:
            stream = RawStream.open(channel)
            await stream.say(FlowerMessage(b"x"))
            assert await farewell(stream) == "out_of_order"

    run(story())


def test_unknown_protocol_version_gets_a_goodbye_that_says_so(house: House) -> None:
    async def story() -> None:
        async with house.serving(), house.channel(house.nodes["bank_a"]) as channel:
            stream = RawStream.open(channel)
            frame = training_pb2.TrainingUp()
            frame.hello.protocol_version = 99
            await stream.call.write(frame.SerializeToString())
            assert await farewell(stream) == "version"

    run(story())


def test_node_under_another_manifest_gets_a_goodbye_that_says_so(house: House) -> None:
    async def story() -> None:
        async with house.serving(), house.channel(house.nodes["bank_a"]) as channel:
            stream = RawStream.open(channel)
            stranger = House(house.desk, house.nodes, house.manifest)
            hello = stranger.hello(house.nodes["bank_a"])
            other = type(hello)(
                protocol_version=hello.protocol_version,
                software=hello.software,
                partner=hello.partner,
                manifest=Digest("0" * 64),
                nonce=hello.nonce,
            )
            await stream.say(other)
            assert await farewell(stream) == "manifest"

    run(story())


def test_greeting_in_the_name_of_another_partner_is_refused(house: House) -> None:
    async def story() -> None:
        async with house.serving() as hub, house.channel(house.nodes["bank_a"]) as channel:
            stream = RawStream.open(channel)
            await stream.say(house.hello(house.nodes["bank_b"]))
            assert await farewell(stream) == "certificate"
            assert hub.connected() == ()

    run(story())


def test_enrolled_node_outside_the_manifest_gets_no_stream(house: House) -> None:
    async def story() -> None:
        newcomer = NodeKeys.of("newcomer")
        enrol(house.desk, newcomer)
        async with house.serving(), house.channel(newcomer) as channel:
            stream = RawStream.open(channel)
            await stream.say(house.hello(newcomer))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stream.hear()
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert caught.value.details() == "certificate refused"

    run(story())


def test_scoring_frame_over_its_limit_ends_the_stream_unparsed(house: House) -> None:
    async def story() -> None:
        async with house.serving(), house.channel(house.nodes["bank_a"]) as channel:
            stream = RawStream.open(channel, StreamKind.SCORING)
            await stream.say(house.hello(house.nodes["bank_a"]))
            assert (await stream.hear()) is not None
            await stream.call.write(bytes(StreamKind.SCORING.limit + 1))
            assert await farewell(stream) == "too_large"

    run(story())


def test_training_frame_over_its_limit_ends_the_stream(house: House) -> None:
    async def story() -> None:
        small = Settings(training_limit=1 << 20)
        async with (
            house.serving(small) as hub,
            house.channel(house.nodes["bank_a"]) as channel,
        ):
            stream = await greeted(house, channel)
            await until_connected(hub, "bank_a")
            waiting = hub.send(BANK, b"?", timeout_s=600)
            big = codec.encode_up(StreamKind.TRAINING, Frame(FlowerMessage(bytes(2 << 20)), 1))
            await stream.call.write(big)
            assert isinstance(await failure(waiting), TransportError)
            await until_connected(hub)

    run(story())


def test_question_over_the_limit_is_not_sent(house: House) -> None:
    async def story() -> None:
        small = Settings(training_limit=1 << 20)
        async with (
            house.serving(small) as hub,
            house.channel(house.nodes["bank_a"]) as channel,
        ):
            await greeted(house, channel)
            await until_connected(hub, "bank_a")
            error = await failure(hub.send(BANK, bytes(1 << 20), timeout_s=1))
            assert isinstance(error, MessageTooLargeError)

    run(story())


def test_garbage_ends_the_stream_and_fails_its_waiters(house: House) -> None:
    async def story() -> None:
        async with house.serving() as hub, house.channel(house.nodes["bank_a"]) as channel:
            stream = await greeted(house, channel)
            await until_connected(hub, "bank_a")
            waiting = hub.send(BANK, b"?", timeout_s=600)
            assert (await stream.hear()) is not None
            await stream.call.write(b"\xff\xff\xff")
            assert isinstance(await failure(waiting), TransportError)
            assert await farewell(stream) == "decode"

    run(story())


def test_graceful_stop_says_goodbye_to_every_node(house: House) -> None:
    async def story() -> None:
        node = house.nodes["bank_a"]
        async with house.channel(node) as channel:
            async with house.serving() as hub:
                stream = await greeted(house, channel)
                await until_connected(hub, "bank_a")
                waiting = hub.send(BANK, b"?", timeout_s=600)
                assert (await stream.hear()) is not None
            assert isinstance(await failure(waiting), TransportError)
            assert await farewell(stream) == "stopping"

    run(story())


def test_idle_hub_connects_two_partners_sorted(house: House) -> None:
    async def story() -> None:
        nodes = house.nodes
        async with (
            house.serving() as hub,
            house.channel(nodes["bank_b"]) as two,
            house.channel(nodes["bank_a"]) as one,
        ):
            await greeted(house, two, "bank_b")
            await greeted(house, one, "bank_a")
            await until_connected(hub, "bank_a", "bank_b")
            assert hub.scoring_connected() == ()

    run(story())


def test_second_coordinator_on_the_same_address_is_refused(
    house: House, tmp_path: Path
) -> None:
    async def story() -> None:
        async with house.serving():
            with pytest.raises(Exception, match="cannot listen on 127"):
                async with house.serving():
                    raise AssertionError("two servers share one port")

    assert tmp_path.is_dir()
    run(story())
