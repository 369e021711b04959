"""Certificates are renewed while streams are up: nothing is lost, the old key ends (2.6)."""

import argparse
import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from consortium.canonical import Label
from consortium.codec import StreamKind
from consortium.crypto.statements import renewal_statement
from consortium.errors import (
    CertificateError,
    ConfigurationError,
    EnrolmentError,
    RefusalError,
    SignatureError,
)
from consortium.ids import PartnerId
from consortium.messages import Hello, Renewal
from coordinator import membership
from coordinator import wiring as operator
from coordinator.server_certificate import fits
from coordinator.streams import StreamHub
from partner_node import cli_keys, doctor, link_stream, renewal, serving, wiring
from partner_node.keystore import Keystore, Pin, write_file
from partner_node.kill_switch import FILE, KillSwitch
from tests.node_house import DEADLINE_S, PACE, Federation, Seen, echo

BANK_A = PartnerId("bank_a")
QUICK = replace(PACE, look=0.02)


@contextmanager
def up(federation: Federation, node: wiring.Desk, **ports: object) -> Iterator[Seen]:
    """The node's link, which looks at certificate and kill switch like a serving node's."""
    looks = {
        "renewed": node.keys.certificate_stamp,
        "stopped": lambda: node.switch.on,
        **ports,
    }
    handle = looks.pop("handle", echo)
    with federation.linked(node, handle, pace=QUICK, **looks) as seen:  # type: ignore[arg-type]
        seen.wait(Seen.both_up)
        yield seen


def ask(hub: StreamHub, payload: bytes) -> bytes:
    return hub.send(BANK_A, payload, timeout_s=DEADLINE_S).result(DEADLINE_S)


def test_renewal_in_the_middle_of_a_question_loses_no_answer_and_both_streams_change_over(
    federation: Federation,
) -> None:
    asked, go_on = threading.Event(), asyncio.Event()

    async def slow(payload: bytes) -> bytes:
        if payload == b"slow":
            asked.set()
            await go_on.wait()
        return await echo(payload)

    with federation.serving() as hub:
        federation.found("bank_a", "bank_b")
        node = federation.nodes["bank_a"]
        before = node.keys.tls_spki()
        with up(federation, node, handle=slow) as seen:
            waiting = hub.send(BANK_A, b"slow", timeout_s=DEADLINE_S)
            assert asked.wait(DEADLINE_S)
            renewal.rotate(node)
            assert node.keys.tls_spki() != before
            seen.wait(lambda now: all(count == 2 for count in now.ups.values()))
            assert not waiting.done()
            assert ask(hub, b"meanwhile") == b"echo meanwhile"
            federation.loop.call(_set(go_on))
            assert waiting.result(DEADLINE_S) == b"echo slow"
            assert seen.downs == dict.fromkeys(StreamKind, 0)
            assert hub.connected() == hub.scoring_connected() == (BANK_A,)


def test_stream_that_is_ended_before_its_successor_is_up_is_not_dialled_anew(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The coordinator's two words travel on two connections."""
    greet = link_stream.Stream.greet
    first: dict[StreamKind, link_stream.Stream] = {}

    async def late(stream: link_stream.Stream, hello: Hello, pin: Pin) -> None:
        await greet(stream, hello, pin)
        earlier = first.setdefault(stream.kind, stream)
        if earlier is not stream and stream.kind is StreamKind.TRAINING:
            await earlier.call.code()  # its end is heard before the welcome

    monkeypatch.setattr(link_stream.Stream, "greet", late)
    with federation.serving() as hub:
        federation.found("bank_a", "bank_b")
        node = federation.nodes["bank_a"]
        with up(federation, node) as seen:
            renewal.rotate(node)
            seen.wait(lambda now: all(count == 2 for count in now.ups.values()))
            assert ask(hub, b"still") == b"echo still"
            assert seen.downs == dict.fromkeys(StreamKind, 0)


async def _set(event: asyncio.Event) -> None:
    event.set()


def test_old_key_is_let_in_for_its_overlap_and_not_a_second_longer(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with federation.serving():
        federation.found("bank_a", "bank_b")
        node, members = federation.nodes["bank_a"], federation.desk.membership
        old = (node.config.directory / "keys" / "node.pem").read_bytes()
        renewal.rotate(node)
        new = (node.config.directory / "keys" / "node.pem").read_bytes()
        assert members.authenticate(old, listed=True) == BANK_A
        assert members.authenticate(new, listed=True) == BANK_A
        later = operator.now() + membership.OVERLAP_S
        monkeypatch.setattr(members, "_now", lambda: later + 5)
        assert members.authenticate(new, listed=True) == BANK_A
        with pytest.raises(CertificateError, match="not the enrolled one"):
            members.authenticate(old, listed=True)


def test_thief_of_the_tls_key_alone_cannot_renew_it(federation: Federation) -> None:
    with federation.serving():
        federation.found("bank_a", "bank_b")
        node, other = federation.nodes["bank_a"], federation.nodes["bank_b"]
        csr = node.keys.renewal_request(BANK_A)
        statement = renewal_statement(BANK_A, csr)
        forged = other.keys.identity().sign(Label.RENEWAL, statement)
        with node.door() as door:
            with pytest.raises(SignatureError):
                door.renew(Renewal(csr=csr, signature=forged))
            used = node.keys.certificate_request(BANK_A)
            signed = node.keys.identity().sign(Label.RENEWAL, renewal_statement(BANK_A, used))
            with pytest.raises(EnrolmentError):
                door.renew(Renewal(csr=used, signature=signed))


def test_node_that_is_stopped_anywhere_in_a_renewal_has_a_key_with_its_certificate(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every rename and every write may be the last thing that happens."""
    rename = Path.replace
    with federation.serving():
        federation.found("bank_a", "bank_b")
        node = federation.nodes["bank_a"]
        for last in range(1, 6):
            left = iter(range(last))

            def step(path: Path, target: Path, left: Iterator[int] = left) -> Path:
                if next(left, None) is None:
                    raise KeyboardInterrupt
                return rename(path, target)

            with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
                patched.setattr(Path, "replace", step)
                renewal.rotate(node)
            again = Keystore(node.config.directory)
            assert again.tls(BANK_A, now=wiring.now()).certificate
            with replace(node, keys=again).door() as door:
                door.check_health()
        # A power cut that has kept the certificate's new name and not its key's.
        keys = node.config.directory / "keys"
        old = (keys / "tls.key").read_bytes()
        renewal.rotate(node)
        write_file(keys / "tls.next.key", (keys / "tls.key").read_bytes())
        write_file(keys / "tls.key", old)
        assert Keystore(node.config.directory).tls(BANK_A, now=wiring.now()).certificate


def test_certificate_is_renewed_a_month_before_its_end_and_not_before(
    federation: Federation,
) -> None:
    with federation.serving():
        federation.found("bank_a", "bank_b")
        node = federation.nodes["bank_a"]
        until = node.keys.certificate_until(BANK_A) or 0
        month = renewal.RENEW_DAYS * renewal.DAY_S
        assert not renewal.renew_if_due(node, until - month)
        before = node.keys.tls_spki()
        assert renewal.renew_if_due(node, until - month + 1)
        assert node.keys.tls_spki() != before


def test_serving_coordinator_takes_up_another_certificate_and_streams_stay(
    federation: Federation,
) -> None:
    with federation.serving() as hub:
        federation.found("bank_a", "bank_b")
        node = federation.nodes["bank_a"]
        with up(federation, node) as seen:
            other = operator.open_desk(federation.desk.config.directory)
            other.certificate.rotate(now=operator.now())
            pair = federation.desk.certificate.renewed()
            assert pair is not None
            assert fits(pair)
            assert pair.certificate != federation.desk.tls.certificate
            with node.door() as door:
                door.check_health()
            assert ask(hub, b"still") == b"echo still"
            assert seen.downs == dict.fromkeys(StreamKind, 0)


# --- kill switch ------------------------------------------------------------------------------


def test_kill_switch_ends_both_streams_and_lets_nothing_out_until_it_is_off(
    federation: Federation, capsys: pytest.CaptureFixture[str]
) -> None:
    with federation.serving() as hub:
        federation.found("bank_a", "bank_b")
        node = federation.nodes["bank_a"]
        home = str(node.config.directory)
        door = node.door()
        with up(federation, node) as seen:
            assert switch(home, "on", "--reason", "audit") == 0
            assert "audit" in capsys.readouterr().out
            seen.wait(lambda now: all(now.downs.values()))
            assert hub.wait_for(lambda now: now == (), DEADLINE_S)
            with pytest.raises(RefusalError, match="kill switch"), door:
                door.list_models()
            with pytest.raises(RefusalError, match="R20"):
                node.door()
            again = wiring.open_desk(node.config.directory)
            assert again.switch.on
            found = {one.check: one for one in doctor.diagnose(node.config.directory)}
            assert "it is on" in found["kill switch"].seen
            assert switch(home, "off") == 0
            assert hub.wait_for(lambda now: now == (BANK_A,), DEADLINE_S)
            assert ask(hub, b"again") == b"echo again"


def switch(home: str, *arguments: str) -> int:
    parser = argparse.ArgumentParser()
    cli_keys.add_verbs(parser.add_subparsers())
    found = parser.parse_args(["kill-switch", home, *arguments])
    result: int = found.command(found)
    return result


def test_frame_that_waits_when_the_kill_switch_is_turned_on_does_not_leave(
    federation: Federation,
) -> None:
    asked, go_on = threading.Event(), asyncio.Event()
    on = [False]

    async def slow(payload: bytes) -> bytes:
        asked.set()
        await go_on.wait()
        return await echo(payload)

    with federation.serving() as hub:
        federation.found("bank_a", "bank_b")
        node = federation.nodes["bank_a"]
        patient = {"handle": slow, "stopped": lambda: on[0]}
        with up(federation, node, **patient) as seen:
            waiting = hub.send(BANK_A, b"secret", timeout_s=DEADLINE_S)
            assert asked.wait(DEADLINE_S)
            on[0] = True
            federation.loop.call(_set(go_on))
            seen.wait(lambda now: now.downs[StreamKind.TRAINING] == 1)
            assert waiting.exception(DEADLINE_S) is not None


def test_kill_switch_that_cannot_be_looked_at_is_on(tmp_path: Path) -> None:
    assert not KillSwitch(tmp_path).on
    (tmp_path / "blocked").write_text("no directory")
    assert KillSwitch(tmp_path / "blocked").on
    (tmp_path / FILE).write_text("not JSON")
    assert KillSwitch(tmp_path).why() == "its file cannot be read"


def test_key_file_that_others_may_read_keeps_the_node_from_serving(
    federation: Federation,
) -> None:
    node = federation.node("bank_a")
    node.keys.check_modes()
    path = node.config.directory / "keys" / "agreement.key"
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match=f"chmod 600 {path}"):
        serving.serve(node.config.directory)
